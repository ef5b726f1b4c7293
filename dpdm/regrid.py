"""Regrid the fields of a file, step by step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.file_names import restore_names
from dpdm.fields.grid import Grid, grid_of, refine_grid
from dpdm.fields.metadata import add_cf_metadata
from dpdm.fields.named_grids import Target, fit_grid, target_path
from dpdm.fields.output_units import assign_output_units
from dpdm.fields.read import FileOptions, open_fields
from dpdm.fields.regrid import coarsen_fields, interpolate_bilinear
from dpdm.fields.units import restore_units
from dpdm.fields.value_checks import common_missing_codes, load_checked_fields
from dpdm.fields.write import Writer
from dpdm.file_group import Source, describe_inputs
from dpdm.paths import check_output
from dpdm.system import available_memory

StepTransform = Callable[[xr.Dataset], xr.Dataset]


def regrid_file(
    source: Source,
    target: Path,
    transform: StepTransform,
    title: str,
    options: FileOptions,
    inputs: tuple[Path, ...] = (),
) -> None:
    """Write the transform of every step of files, under their names.

    Units are those of the files, or those that the user wants.
    """
    check_output(target, [source, *inputs], options.overwrite)
    fields = assign_output_units(options.open(source), options.out_units)
    steps = fields.sizes.get("time", 1)
    provenance = describe_inputs(source)
    template = add_cf_metadata(
        to_file(transform(fields), fields), title, provenance, options.history
    )
    with Writer(target, template, options.overwrite) as writer:
        for step in range(steps):
            one = fields.isel(time=[step]) if "time" in fields.dims else fields
            writer.write(to_file(transform(load_checked_fields(one)), one))
            options.progress(step + 1, steps)


def to_file(regridded: xr.Dataset, fields: xr.Dataset) -> xr.Dataset:
    """Return regridded fields in the units and under the names of their file."""
    return restore_names(restore_units(regridded, fields))


INTERPOLATION_BYTES = 32  # of a cell: double and single precision, input and output


def interpolate_file(
    coarse: Source,
    fine: Path,
    grid: Target | None,
    factor: int | None,
    options: FileOptions = FileOptions(),
) -> None:
    """Write the bilinear interpolation to a target grid, or to a grid refined by a factor."""
    target = None if grid is None else open_target(grid, coarse, options)

    def transform(fields: xr.Dataset) -> xr.Dataset:
        return interpolate_bilinear(
            fields, target or split_cells(grid_of(fields), factor or 0, coarse)
        )

    if target is not None and not grid_of(options.open(coarse)).covers(target):
        raise DpdmError(
            f"The target grid {target_path(grid)} reaches beyond the cells of {coarse}.",
            "Use a smaller target or a larger input: nothing is extrapolated.",
        )
    title = f"Bilinear interpolation of {coarse.name}"
    regrid_file(coarse, fine, transform, title, options, (grid,) if isinstance(grid, Path) else ())


def open_target(grid: Target, coarse: Source, options: FileOptions) -> Grid:
    """Return the grid of a target; a global one as far as the input reaches."""
    if isinstance(grid, Grid):
        return fit_grid(grid, grid_of(options.open(coarse)))
    codes = common_missing_codes(options.missing)
    return grid_of(open_fields(grid, needed=(), missing=codes))


def split_cells(grid: Grid, factor: int, path: Source) -> Grid:
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
    fine: Source, coarse: Path, factor: int, options: FileOptions = FileOptions()
) -> None:
    """Write the means over blocks of ``factor`` by ``factor`` cells."""
    title = f"Means over blocks of {factor} by {factor} cells of {fine.name}"
    regrid_file(fine, coarse, lambda fields: coarsen_fields(fields, factor), title, options)
