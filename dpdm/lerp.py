"""The baseline: bilinear interpolation of a file."""

from pathlib import Path

import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.checks import everywhere
from dpdm.fields.grid import Grid, grid_of, refine
from dpdm.fields.grid import lerp as interpolate
from dpdm.fields.input import FileOptions
from dpdm.fields.store import open_fields
from dpdm.memory import available
from dpdm.remap import remap_file

BYTES = 32  # of a cell: double and single precision, before and after


def lerp(
    coarse: Path,
    fine: Path,
    grid: Path | None,
    factor: int | None,
    ask: FileOptions = FileOptions(),
) -> None:
    """Write the lerp to the grid of a file, or to cells cut into ``factor`` by ``factor``."""
    codes = everywhere(ask.missing)
    like = None if grid is None else open_fields(grid, needed=(), missing=codes)
    target = None if like is None else grid_of(like)

    def rule(fields: xr.Dataset) -> xr.Dataset:
        return interpolate(fields, target or cut(grid_of(fields), factor or 0, coarse))

    if target is not None and not grid_of(ask.open(coarse)).covers(target):
        raise DpdmError(
            f"The grid of {grid} reaches beyond the cells of {coarse}.",
            "Cut the target, or give a larger input: nothing is extrapolated.",
        )
    title = f"Bilinear interpolation of {coarse.name}"
    remap_file(coarse, fine, rule, title, ask, () if grid is None else (grid,))


def cut(grid: Grid, factor: int, path: Path) -> Grid:
    """Return the grid whose cells are cut into ``factor`` by ``factor``."""
    if factor < 1:
        raise DpdmError(f"The factor for {path} is {factor}.", "Give a whole number of 1 or more.")
    cells = grid.shape[0] * grid.shape[1] * factor**2
    if BYTES * cells > available():
        raise DpdmError(
            f"The factor {factor} would cut a field of {path} into {cells:.2g} cells, more than "
            "fit into memory.",
            "Give a smaller factor, or a smaller region.",
        )
    lat, lon = grid.spacing
    return refine(grid, (lat / factor, lon / factor))
