"""A file in, the same fields on another grid out, step by step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid, grid_of, refine_grid
from dpdm.fields.metadata import add_cf_metadata
from dpdm.fields.read import FileOptions, open_fields
from dpdm.fields.regrid import coarsen_fields as means
from dpdm.fields.regrid import interpolate_bilinear as interpolate
from dpdm.fields.units import restore_units
from dpdm.fields.value_checks import common_missing_codes, load_checked_fields
from dpdm.fields.write import Writer, check_output
from dpdm.system import available_memory, sha256

StepTransform = Callable[[xr.Dataset], xr.Dataset]


def regrid_file(
    source: Path,
    target: Path,
    rule: StepTransform,
    title: str,
    ask: FileOptions,
    inputs: tuple[Path, ...] = (),
) -> None:
    """Write ``rule`` of every step of a file, in the units of the file."""
    check_output(target, [source, *inputs], ask.overwrite)
    fields = ask.open(source)
    steps = fields.sizes.get("time", 1)
    provenance = {"input": source.name, "input_sha256": sha256(source)}
    template = add_cf_metadata(restore_units(rule(fields), fields), title, provenance, ask.history)
    with Writer(target, template, ask.overwrite) as writer:
        for step in range(steps):
            one = fields.isel(time=[step]) if "time" in fields.dims else fields
            writer.write(restore_units(rule(load_checked_fields(one)), one))
            ask.progress(step + 1, steps)


INTERPOLATION_BYTES = 32  # of a cell: double and single precision, before and after


def interpolate_file(
    coarse: Path,
    fine: Path,
    grid: Path | None,
    factor: int | None,
    ask: FileOptions = FileOptions(),
) -> None:
    """Write the lerp to the grid of a file, or to cells cut into ``factor`` by ``factor``."""
    codes = common_missing_codes(ask.missing)
    like = None if grid is None else open_fields(grid, needed=(), missing=codes)
    target = None if like is None else grid_of(like)

    def rule(fields: xr.Dataset) -> xr.Dataset:
        return interpolate(fields, target or split_cells(grid_of(fields), factor or 0, coarse))

    if target is not None and not grid_of(ask.open(coarse)).covers(target):
        raise DpdmError(
            f"The grid of {grid} reaches beyond the cells of {coarse}.",
            "Cut the target, or give a larger input: nothing is extrapolated.",
        )
    title = f"Bilinear interpolation of {coarse.name}"
    regrid_file(coarse, fine, rule, title, ask, () if grid is None else (grid,))


def split_cells(grid: Grid, factor: int, path: Path) -> Grid:
    """Return the grid whose cells are cut into ``factor`` by ``factor``."""
    if factor < 1:
        raise DpdmError(f"The factor for {path} is {factor}.", "Give a whole number of 1 or more.")
    cells = grid.shape[0] * grid.shape[1] * factor**2
    if INTERPOLATION_BYTES * cells > available_memory():
        raise DpdmError(
            f"The factor {factor} would cut a field of {path} into {cells:.2g} cells, more than "
            "fit into memory.",
            "Give a smaller factor, or a smaller region.",
        )
    lat, lon = grid.spacing
    return refine_grid(grid, (lat / factor, lon / factor))


def coarsen_file(fine: Path, coarse: Path, factor: int, ask: FileOptions = FileOptions()) -> None:
    """Write the means over blocks of ``factor`` by ``factor`` cells."""
    title = f"Means over blocks of {factor} by {factor} cells of {fine.name}"
    regrid_file(fine, coarse, lambda fields: means(fields, factor), title, ask)
