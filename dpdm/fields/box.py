"""Select part of a grid: a box of longitudes and latitudes, or the cells of another grid."""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.grid import Array, Grid, grid_of

Box = tuple[float, float, float, float]


def within(grid: Grid, box: Box) -> Grid:
    """Return the cells whose centres lie in a box: west, east, south, north, in degrees.

    Longitudes may be on any turn; west of 170 and east of -170 is twenty degrees wide.

    Example:
        >>> globe = Grid(np.arange(-88.75, 90, 2.5), np.arange(0, 360, 2.5))
        >>> within(globe, (170, -170, 0, 5)).lon.tolist()
        [170.0, 172.5, 175.0, 177.5, 180.0, 182.5, 185.0, 187.5, 190.0]
    """
    west, east, south, north = box
    if not -90 <= south < north <= 90:
        raise DpdmError(
            f"The box reaches from latitude {south:g} to {north:g}.",
            "Give west, east, south and north, in degrees, as CDO does.",
        )
    rows = grid.lat[(grid.lat >= south) & (grid.lat <= north)]
    width = (east - west) % 360 or 360.0 * (east != west)
    turned = np.sort(west + (grid.lon - west) % 360)
    columns = turned[turned <= west + width + 1e-9]
    if min(len(rows), len(columns)) < 2 or np.ptp(np.diff(columns)) > 1e-3:
        raise DpdmError(
            f"The box {west:g},{east:g},{south:g},{north:g} is not within the grid, which has "
            f"longitudes {grid.lon[0]:g} to {grid.lon[-1]:g} and latitudes {grid.lat[0]:g} to "
            f"{grid.lat[-1]:g}.",
            "Give a box of two cells or more, within it.",
        )
    return Grid(rows, columns + 360 * np.round((grid.lon.mean() - columns.mean()) / 360))


def around(grid: Grid, box: Box, cells: int) -> Grid:
    """Return the cells of a box and so many beside it, as far as there are any.

    Example:
        >>> globe = Grid(np.arange(-88.75, 90, 2.5), np.arange(0, 360, 2.5))
        >>> around(globe, (170, -170, 0, 5), 1).lon[[0, -1]].tolist()
        [167.5, 192.5]
    """
    inner = within(grid, box)
    west, east, south, north = box
    high, wide = (cells * step for step in grid.spacing)
    if (east - west) % 360 + 2 * wide >= 360 - grid.spacing[1] or east == west:
        wide = 0.0
    wider = (west - wide, east + wide, max(-90.0, south - high), min(90.0, north + high))
    outer = within(grid, wider)
    turns = np.round((inner.lon.mean() - outer.lon.mean()) / 360)
    return Grid(outer.lat, outer.lon + 360 * turns)


def place(inner: Grid, outer: Grid) -> tuple[slice, slice]:
    """Return where the rows and columns of a grid lie in one around it."""
    row = int(np.abs(outer.lat - inner.lat[0]).argmin())
    column = int(np.abs(outer.lon - inner.lon[0]).argmin())
    height, width = inner.shape
    return slice(row, row + height), slice(column, column + width)


def pick(fields: xr.Dataset, grid: Grid) -> xr.Dataset | None:
    """Return the fields on the cells of a grid, on any turn; None where they lack one."""
    own = grid_of(fields)
    lat = positions(own.lat, grid.lat, own.spacing[0])
    west = own.lon[0] - own.spacing[1] / 2
    lon = positions(own.lon, west + (grid.lon - west) % 360.0, own.spacing[1])
    if lat is None or lon is None:
        return None
    return fields.isel(lat=lat, lon=lon).assign_coords(grid.coords())


def positions(own: Array, wanted: Array, spacing: float) -> slice | NDArray[np.intp] | None:
    """Return where the wanted centres are, None when one is missing by a thousandth of a cell.

    Example:
        >>> positions(np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.0]), 1.0)
        slice(1, 3, None)
    """
    after = np.searchsorted(own, wanted).clip(1, own.size - 1)
    found = after - (wanted - own[after - 1] < own[after] - wanted)
    if np.abs(own[found] - wanted).max() > 1e-3 * spacing:
        return None
    return as_slice(found)


def as_slice(places: NDArray[np.intp]) -> slice | NDArray[np.intp]:
    """Return places as a slice where they are neighbours, so that no copy is made."""
    run = (np.diff(places) == 1).all()
    return slice(int(places[0]), int(places[-1]) + 1) if run else places
