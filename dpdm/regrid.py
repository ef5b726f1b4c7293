"""Regrid the fields of a file, step by step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid, grid_of, refine_grid
from dpdm.fields.metadata import add_cf_metadata
from dpdm.fields.output_units import assign_output_units
from dpdm.fields.read import FileOptions, open_fields
from dpdm.fields.regrid import coarsen_fields, interpolate_bilinear
from dpdm.fields.units import restore_units
from dpdm.fields.value_checks import common_missing_codes, load_checked_fields
from dpdm.fields.write import Writer, check_output
from dpdm.system import available_memory, sha256

StepTransform = Callable[[xr.Dataset], xr.Dataset]


def regrid_file(
    source: Path,
    target: Path,
    transform: StepTransform,
    title: str,
    options: FileOptions,
    inputs: tuple[Path, ...] = (),
) -> None:
    """Write the transform of every step of a file, in the units of the file or of the user."""
    check_output(target, [source, *inputs], options.overwrite)
    fields = assign_output_units(options.open(source), options.out_units)
    steps = fields.sizes.get("time", 1)
    provenance = {"input": source.name, "input_sha256": sha256(source)}
    template = add_cf_metadata(
        restore_units(transform(fields), fields), title, provenance, options.history
    )
    with Writer(target, template, options.overwrite) as writer:
        for step in range(steps):
            one = fields.isel(time=[step]) if "time" in fields.dims else fields
            writer.write(restore_units(transform(load_checked_fields(one)), one))
            options.progress(step + 1, steps)


INTERPOLATION_BYTES = 32  # of a cell: double and single precision, input and output


def interpolate_file(
    coarse: Path,
    fine: Path,
    grid: Path | None,
    factor: int | None,
    options: FileOptions = FileOptions(),
) -> None:
    """Write the bilinear interpolation to the grid of a file, or to a grid refined by a factor."""
    codes = common_missing_codes(options.missing)
    target = None if grid is None else grid_of(open_fields(grid, needed=(), missing=codes))

    def transform(fields: xr.Dataset) -> xr.Dataset:
        return interpolate_bilinear(
            fields, target or split_cells(grid_of(fields), factor or 0, coarse)
        )

    if target is not None and not grid_of(options.open(coarse)).covers(target):
        raise DpdmError(
            f"The grid of {grid} reaches beyond the cells of {coarse}.",
            "Use a smaller target or a larger input: nothing is extrapolated.",
        )
    title = f"Bilinear interpolation of {coarse.name}"
    regrid_file(coarse, fine, transform, title, options, () if grid is None else (grid,))


def split_cells(grid: Grid, factor: int, path: Path) -> Grid:
    """Return a grid refined by a factor."""
    if factor < 1:
        raise DpdmError(f"The factor for {path} is {factor}.", "Give a whole number of 1 or more.")
    cells = grid.shape[0] * grid.shape[1] * factor**2
    if INTERPOLATION_BYTES * cells > available_memory():
        raise DpdmError(
            f"The factor {factor} refines {path} to {cells:.2g} cells, more than fit into memory.",
            "Give a smaller factor, or a smaller region.",
        )
    lat, lon = grid.spacing
    return refine_grid(grid, (lat / factor, lon / factor))


def coarsen_file(
    fine: Path, coarse: Path, factor: int, options: FileOptions = FileOptions()
) -> None:
    """Write the means over blocks of ``factor`` by ``factor`` cells."""
    title = f"Means over blocks of {factor} by {factor} cells of {fine.name}"
    regrid_file(fine, coarse, lambda fields: coarsen_fields(fields, factor), title, options)
