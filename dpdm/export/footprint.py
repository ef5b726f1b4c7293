"""Where on the Earth a raster lies, as catalogues and GeoJSON (RFC 7946) say it.

The outline of a warped raster is walked in its own reference system and laid out in longitude and
latitude without a jump; the dateline cuts it afterwards, into pieces that each lie between -180
and 180. A raster over a pole has every longitude.
"""

from typing import Any

import numpy as np

from dpdm.export.extent import RASTERS
from dpdm.export.frame import Sheet
from dpdm.export.reference import reference
from dpdm.fields.extra import extra
from dpdm.fields.grid import Array, Grid

SIDE = 64  # points of the outline to a side
DIGITS = 6  # of a degree: a tenth of a metre
POLES = (90.0, -90.0)


def footprint(grid: Grid, page: Sheet) -> tuple[list[float], dict[str, Any]]:
    """Return the bounding box and the geometry of a raster, degrees of WGS 84.

    Args:
        grid: The cells of the field.
        page: The pixels of the raster.

    Returns:
        West, south, east and north, with west above east across the dateline; and a polygon, or
        several.
    """
    ring = None if page.crs == reference("EPSG:4326") else outline(page)
    if ring is None:
        return box(grid), geometry(grid)
    if pole := over(page):
        limit = float(ring[:, 1].min() if pole > 0 else ring[:, 1].max())
        south, north = sorted((limit, pole))
        whole = [-180.0, south, 180.0, north]
        return whole, {"type": "Polygon", "coordinates": [_ring(*whole)]}
    return _cut(ring)


def outline(page: Sheet) -> Array | None:
    """Return longitudes and latitudes (N, 2) around a raster, against the clock, without a jump.

    Where it leaves the Earth there is none.
    """
    left, bottom, right, top = edges(page)
    corners = range(5)
    along = np.linspace(0, 4, 4 * SIDE + 1)
    x = np.interp(along, corners, [left, left, right, right, left])
    y = np.interp(along, corners, [top, bottom, bottom, top, top])
    ring = np.array(extra("rasterio.warp", RASTERS).transform(page.crs, "EPSG:4326", x, y)).T
    if not np.isfinite(ring).all():
        return None
    ring[:, 0] = np.unwrap(ring[:, 0], period=360)
    return ring.round(DIGITS)


def edges(page: Sheet) -> tuple[float, float, float, float]:
    """Return the left, bottom, right and top edge of a raster in its own coordinates."""
    wide, _, left, _, high, top = tuple(page.transform)[:6]
    rows, columns = page.shape
    return left, top + high * rows, left + wide * columns, top


def over(page: Sheet) -> float:
    """Return the latitude of the pole that lies within a raster, or 0."""
    left, bottom, right, top = edges(page)
    warp = extra("rasterio.warp", RASTERS)
    for pole in POLES:
        (x,), (y,) = warp.transform("EPSG:4326", page.crs, [0.0], [pole])
        if left < x < right and bottom < y < top:
            return pole
    return 0.0


def _cut(ring: Array) -> tuple[list[float], dict[str, Any]]:
    """Return box and geometry of an outline without a jump, cut at the dateline."""
    shapely = extra("shapely", RASTERS)
    whole = shapely.Polygon(ring)
    west, south, east, north = (float(end) for end in whole.bounds)
    first, last = 360 * np.floor((west + 180) / 360), 360 * np.ceil((east - 180) / 360)
    rings = []
    for turn in np.arange(first, last + 1, 360):
        piece = whole.intersection(shapely.box(turn - 180, -90, turn + 180, 90))
        rings += [[(side - (turn, 0)).tolist()] for side in _sides(piece)]
    around = east - west >= 360
    ends = (-180.0, 180.0) if around else (float(west - first), float(east - last))
    bounds = [ends[0], south, ends[1], north]
    if len(rings) == 1:
        return bounds, {"type": "Polygon", "coordinates": rings[0]}
    return bounds, {"type": "MultiPolygon", "coordinates": rings}


def _sides(shape: Any) -> list[Array]:
    """Return the outlines of the polygons of a shape, against the clock."""
    shapely = extra("shapely", RASTERS)
    parts = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon"]
    return [np.array(shapely.geometry.polygon.orient(part).exterior.coords) for part in parts]


def box(grid: Grid) -> list[float]:
    """Return west, south, east and north; west is above east across the dateline."""
    west, east = float(grid.lon_edges[0]), float(grid.lon_edges[-1])
    whole = grid.cyclic or east - west >= 360
    west, east = west + 360 * (west < -180), east - 360 * (east > 180)
    west, east = (-180.0, 180.0) if whole else (west, east)
    return [west, float(grid.lat_edges[0]), east, float(grid.lat_edges[-1])]


def geometry(grid: Grid) -> dict[str, Any]:
    """Return the outline, cut in two at the dateline."""
    west, south, east, north = box(grid)
    if west < east:
        return {"type": "Polygon", "coordinates": [_ring(west, south, east, north)]}
    parts = [_ring(west, south, 180.0, north), _ring(-180.0, south, east, north)]
    return {"type": "MultiPolygon", "coordinates": [[part] for part in parts]}


def _ring(west: float, south: float, east: float, north: float) -> list[list[float]]:
    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    return [list(corner) for corner in corners]
