"""The coastlines that come with dpdm: Natural Earth, 1:50 million."""

from functools import cache
from importlib.resources import as_file, files

import numpy as np

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


def coast_on(sheet: Sheet) -> list[Array]:
    """Return the lines (N, 2) of the coast on a sheet, in its own coordinates.

    A line ends where it leaves the sheet or comes to the edge of the world, and has no more points
    than pixels.
    """
    points, first = coastlines()
    xy = sheet.crs.transform_points(ccrs.PlateCarree(), points[:, 0], points[:, 1])[:, :2]
    west, east, south, north = sheet.extent
    room = 0.02 * max(east - west, north - south)
    with np.errstate(invalid="ignore"):
        inside = (np.abs(xy - [(west + east) / 2, (south + north) / 2])
                  < [(east - west) / 2 + room, (north - south) / 2 + room]).all(1)  # fmt: skip
        jumps = np.r_[True, np.abs(np.diff(xy, axis=0)).max(1) > FAR * max(sheet.size)]
    cuts = np.flatnonzero(first | jumps | ~inside | np.r_[False, ~inside[:-1]])
    parts = np.split(np.where(inside[:, None], xy, np.nan), cuts)
    return [line for part in parts if len(line := thinned(part, sheet.pixel)) > 1]


def thinned(line: Array, pixel: float) -> Array:
    """Return a line without points that fall on the pixel of the one before, or on none."""
    known = line[np.isfinite(line).all(1)]
    new = np.any(np.diff(np.round(known / pixel), axis=0) != 0, axis=1)
    return known[np.r_[True, new]] if len(known) else known
