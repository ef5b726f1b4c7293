"""How far a warped raster reaches, and how large its pixels are.

GDAL chooses pixels that are as many along the diagonal as those of the field, over all that the
field becomes. Near the pole in Mercator, or beyond the equator in a polar projection, that is
without bound, and the pixels are huge. Then the field is taken only within the area for which the
reference system was made, as the register of EPSG has it.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

from dpdm.errors import DpdmError
from dpdm.export.gdal import cpl
from dpdm.fields.extra import extra
from dpdm.fields.grid import Grid

Bounds = tuple[float, float, float, float]  # west, south, east, north
DEGREE = 111e3  # m
RASTERS = "GeoTIFFs"


def laid(grid: Grid, crs: Any) -> tuple[Any, tuple[int, int]]:
    """Return the affine map and the shape of the pixels that a grid becomes."""
    whole = bounds_of(grid)
    found = pixels(grid, crs, whole)
    if found is None or not _sound(found[0], grid, crs):
        found = pixels(grid, crs, meeting(whole, grid.cyclic, area_of_use(crs)) or whole)
    if found is None:
        raise _beyond(crs)
    return found


def bounds_of(grid: Grid) -> Bounds:
    """Return the edges of a grid: west, south, east and north."""
    west, east = map(float, grid.lon_edges[[0, -1]])
    south, north = map(float, grid.lat_edges[[0, -1]])
    return west, south, east, north


def pixels(grid: Grid, crs: Any, bounds: Bounds) -> tuple[Any, tuple[int, int]] | None:
    """Return GDAL's choice of pixels for a part of a grid, if it has one."""
    west, south, east, north = bounds
    rows, columns = grid.spacing
    count = [max(2, round(c)) for c in ((east - west) / columns, (north - south) / rows)]
    warp, errors = extra("rasterio.warp", RASTERS), extra("rasterio.errors", RASTERS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PendingDeprecationWarning)  # of affine by rasterio
            transform, width, height = warp.calculate_default_transform(
                "EPSG:4326", crs, *count, *bounds
            )
    except (errors.RasterioError, cpl()):
        return None
    return transform, (height, width)


def _sound(transform: Any, grid: Grid, crs: Any) -> bool:
    """Tell whether pixels are about as large as the cells."""
    if not crs.is_projected:
        return True
    size = transform.a * crs.linear_units_factor[1] / DEGREE
    return bool(min(grid.spacing) / 3 < size < 3 * max(grid.spacing))


def area_of_use(crs: Any) -> Bounds | None:
    """Return the area for which a reference system was made, if that is known."""
    known = crs.to_wkt(version=extra("rasterio.enums", RASTERS).WktVersion.WKT2_2019)
    boxes = re.findall(r"BBOX\[([^\]]+)\]", known)
    if not boxes:
        return None
    south, west, north, east = map(float, boxes[-1].split(","))
    return west, south, east, north


def meeting(bounds: Bounds, cyclic: bool, area: Bounds | None) -> Bounds | None:
    """Return what bounds and an area share, on the turn of the circle where that is most.

    Example:
        >>> meeting((-190.0, 0.0, -170.0, 90.0), False, (160.0, -60.0, -160.0, 60.0))
        (-190.0, 0.0, -170.0, 60.0)
    """
    if area is None:
        return None
    west, south, east, north = area
    east += 360 * (east < west)
    sides = [(max(bounds[0], west + turn), min(bounds[2], east + turn)) for turn in (-360, 0, 360)]
    left, right = (west, east) if cyclic else max(sides, key=lambda side: side[1] - side[0])
    below, above = max(bounds[1], south), min(bounds[3], north)
    return (left, below, right, above) if left < right and below < above else None


def _beyond(crs: Any) -> DpdmError:
    return DpdmError(
        f"The field does not lie within {crs}.", "Choose a reference system of that region."
    )
