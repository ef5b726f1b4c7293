"""The coastlines that come with dpdm: Natural Earth, 1:50 million."""

from functools import cache, lru_cache
from importlib.resources import as_file, files

import numpy as np
from numpy.typing import NDArray

from dpdm.fields.grid import Array
from dpdm.plot.libraries import ccrs
from dpdm.plot.sheet import Sheet

UNITS = 100.0  # of the stored integers, to a degree
FAR = 0.25  # of the sheet's larger side, beyond which neighbours lie on either end of the map


@cache
def coastlines() -> tuple[Array, Array]:
    """Read longitudes and latitudes (N, 2), and which point does not follow the one before."""
    with as_file(files("dpdm") / "data" / "coastlines.npz") as path, np.load(path) as file:
        points, starts = file["points"] / UNITS, file["starts"]
    first = np.zeros(len(points), bool)
    first[starts] = True
    return points, first


@lru_cache(maxsize=1)
def coast_on(sheet: Sheet) -> list[Array]:
    """Return the lines (N, 2) of the coast on a sheet, in its own coordinates.

    A line ends where it leaves the sheet or comes to the edge of the world, and has no more points
    than pixels.
    """
    points, first = coastlines()
    xy = sheet.crs.transform_points(ccrs.PlateCarree(), points[:, 0], points[:, 1])[:, :2]
    with np.errstate(invalid="ignore"):
        inside = around(xy, sheet)
        jump = np.abs(np.diff(xy, axis=0)).max(1) > FAR * max(sheet.size)
    begins = first | np.r_[True, jump | ~inside[:-1]]
    pixels = np.round(xy[inside] / sheet.pixel)
    moved = np.r_[True, np.any(np.diff(pixels, axis=0) != 0, axis=1)]
    kept = moved | begins[inside]
    lines = np.split(xy[inside][kept], np.flatnonzero(begins[inside][kept]))
    return [line for line in lines if len(line) > 1]


def around(xy: Array, sheet: Sheet) -> NDArray[np.bool_]:
    """Tell which points lie on a sheet, or just beside it."""
    west, east, south, north = sheet.extent
    room = 0.02 * max(sheet.size)
    x, y = xy.T
    across = (x > west - room) & (x < east + room)
    inside: NDArray[np.bool_] = across & (y > south - room) & (y < north + room)
    return inside
