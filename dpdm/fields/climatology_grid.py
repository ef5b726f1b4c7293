"""Bring monthly fields to a target grid, and refuse those that do not fit it.

A grid that is a part of the fields' grid takes its cells. Finer fields are averaged over the area
of the target's cells, others interpolated bilinearly; larger cells are refused, for detail is not
made up.
"""

from __future__ import annotations

from math import ceil, floor

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.grid import Array, Grid, align_longitudes, extend_grid, grid_of
from dpdm.fields.regrid import (
    apply_matrices,
    apply_mean,
    average_conservative,
    bilinear_matrices,
    mean_matrices,
)
from dpdm.fields.statics import MEAN_SPACING_RATIO, read_bundled_statics, regrid_statics
from dpdm.fields.subset import locate_subgrid, select_on_grid

COARSEST_RATIO = 1.6  # spacing of the fields over that of the target
LAND = 0.5  # land fraction from which on a cell is land
Cells = NDArray[np.intp]


def cells_around(own: Grid, grid: Grid) -> tuple[Cells, Cells, Array]:
    """Return the rows, the columns and their longitudes between which a grid's cells lie."""
    south, north = (grid.lat_edges[[0, -1]] - own.lat[0]) / own.spacing[0]
    rows = np.arange(max(0, floor(south)), min(own.shape[0] - 1, ceil(north)) + 1)
    step, count = own.spacing[1], own.shape[1]
    turn = 0.0 if own.cyclic else float((align_longitudes(grid.lon, own.lon) - grid.lon)[0])
    west, east = (grid.lon_edges[[0, -1]] + turn - own.lon[0]) / step
    columns = np.arange(floor(west), ceil(east) + 1)
    if not own.cyclic:
        columns = columns[(columns >= 0) & (columns < count)]
    if len(columns) >= count:
        return rows, np.arange(count), own.lon
    return rows, columns % count, own.lon[0] + step * columns


def extend_within(own: Grid, grid: Grid, margin: tuple[int, int]) -> Grid:
    """Return a grid with a margin of rows and columns, cut to the extent of the climatology."""
    wide = extend_grid(grid, *margin)
    south, north = own.lat_edges[[0, -1]]
    west, east = own.lon_edges[[0, -1]]
    lon = align_longitudes(wide.lon, own.lon)
    inside = own.cyclic | ((lon >= west - 1e-6) & (lon <= east + 1e-6))
    rows = (wide.lat >= south - 1e-6) & (wide.lat <= north + 1e-6)
    return Grid(wide.lat[rows], wide.lon[inside])


def select_around(fields: xr.Dataset, grid: Grid) -> xr.Dataset:
    """Return the cells of fields between which a grid's cells lie, on contiguous longitudes."""
    rows, columns, lon = cells_around(grid_of(fields), grid)
    return fields.isel(lat=rows, lon=columns).assign_coords(lon=lon)


def regrid_months(fields: xr.Dataset, grid: Grid) -> xr.Dataset:
    """Return monthly fields on a grid.

    Where some of the cells between which a value lies are unknown, the others count.
    """
    same = select_on_grid(fields, grid)
    if same is not None:
        return same
    own = grid_of(fields)
    if any(t > MEAN_SPACING_RATIO * s for t, s in zip(grid.spacing, own.spacing, strict=True)):
        return average_conservative(fields, grid)
    return interpolate_known(fields, grid)


def select_cells(fields: xr.Dataset, grid: Grid) -> xr.Dataset:
    """Return the cells of a grid out of fields that have them."""
    rows, columns = locate_subgrid(grid, grid_of(fields))
    return fields.isel(lat=rows, lon=columns)


def average_covered(fields: xr.Dataset, target: Grid) -> xr.Dataset:
    """Return the means over the cells of a coarser grid, NaN where the fields have no cell."""
    matrices = mean_matrices(grid_of(fields), target)
    rows, columns = (np.asarray(matrix.sum(axis=1)) > 0 for matrix in matrices)
    covered = xr.DataArray(np.outer(rows, columns), dims=("lat", "lon"))
    return apply_matrices(fields, target, matrices, apply_mean).where(covered)


def interpolate_known(fields: xr.Dataset, target: Grid) -> xr.Dataset:
    """Return the bilinear interpolation of the known ones among the cells around each centre."""
    return apply_matrices(fields, target, bilinear_matrices(grid_of(fields), target), apply_mean)


def check_extent(own: Grid, grid: Grid, name: str) -> None:
    """Refuse a climatology that does not cover a grid."""
    if not own.covers(grid):
        raise DpdmError(
            f"{name} reaches over {describe_extent(own)}, and the target over "
            f"{describe_extent(grid)}.",
            "Give a climatology that covers the target, or a smaller target with --bbox.",
        )


def describe_extent(grid: Grid) -> str:
    """Return the extent of the cells in words.

    Example:
        >>> describe_extent(Grid(np.array([10.5, 11.5]), np.array([100.5, 101.5])))
        'latitudes 10 to 12 and longitudes 100 to 102'
    """
    (south, north), (west, east) = grid.lat_edges[[0, -1]], grid.lon_edges[[0, -1]]
    return f"latitudes {south:g} to {north:g} and longitudes {west:g} to {east:g}"


def check_climatology_spacing(own: Grid, grid: Grid, name: str) -> None:
    """Refuse a climatology whose cells are much larger than the target's."""
    for axis, word in enumerate(("latitude", "longitude")):
        coarse, fine = own.spacing[axis], grid.spacing[axis]
        if coarse > COARSEST_RATIO * fine:
            raise DpdmError(
                f"{name} has a {word} spacing of {coarse:.4g} degrees, the target of {fine:.4g}.",
                "Give a climatology about as fine as the target: detail is not made up.",
            )


def check_land(fields: xr.Dataset, grid: Grid, name: str) -> None:
    """Refuse months without values on land; missing values at sea are allowed."""
    land = regrid_statics(read_bundled_statics(), grid)["land_fraction"].values > LAND
    for variable, array in select_cells(fields, grid).data_vars.items():
        gaps: NDArray[np.bool_] = array.isnull().any("month").values
        if gaps.all():
            raise DpdmError(
                f"{name}: {variable} has no value on the target grid.",
                "Give a climatology of this region.",
            )
        if (gaps & land).any():
            row, column = np.argwhere(gaps & land)[0]
            raise DpdmError(
                f"{name}: {variable} is missing in {int((gaps & land).sum())} cells of land in "
                f"the target, first at latitude {grid.lat[row]:g}, longitude "
                f"{grid.lon[column]:g}.",
                "Fill the gaps, or leave them out with --bbox.",
            )
