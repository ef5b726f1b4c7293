"""A STAC item, which says in JSON where and when a raster is, so that catalogues find it.

SpatioTemporal Asset Catalog 1.1.0 (https://stacspec.org), with the extension `projection` 2.0.0.

Where on the Earth a raster lies, as catalogues and GeoJSON (RFC 7946) say it.

The outline of a warped raster is walked in its own reference system and laid out in longitude and
latitude without a jump; the dateline cuts it afterwards, into pieces that each lie between -180
and 180. A raster over a pole has every longitude.
"""

from __future__ import annotations

import calendar
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.export.crs import parse_crs
from dpdm.export.raster import BandInfo
from dpdm.export.warp import RASTER_FORMAT, RasterGrid
from dpdm.fields.grid import Array, Grid
from dpdm.system import import_extra

SIDE_POINTS = 64  # points of the outline to a side
COORDINATE_DIGITS = 6  # of a degree: a tenth of a metre
POLES = (90.0, -90.0)


def raster_footprint(grid: Grid, page: RasterGrid) -> tuple[list[float], dict[str, Any]]:
    """Return the bounding box and the geometry of a raster, degrees of WGS 84.

    Args:
        grid: The cells of the field.
        page: The pixels of the raster.

    Returns:
        West, south, east and north, with west above east across the dateline; and a polygon, or
        several.
    """
    ring = None if page.crs == parse_crs("EPSG:4326") else raster_outline(page)
    if ring is None:
        return grid_bounding_box(grid), grid_geometry(grid)
    if pole := enclosed_pole(page):
        limit = float(ring[:, 1].min() if pole > 0 else ring[:, 1].max())
        south, north = sorted((limit, pole))
        whole = [-180.0, south, 180.0, north]
        return whole, {"type": "Polygon", "coordinates": [_ring(*whole)]}
    return _split_outline(ring)


def raster_outline(page: RasterGrid) -> Array | None:
    """Return longitudes and latitudes (N, 2) around a raster, against the clock, without a jump.

    Where it leaves the Earth there is none.
    """
    left, bottom, right, top = raster_edges(page)
    corners = range(5)
    along = np.linspace(0, 4, 4 * SIDE_POINTS + 1)
    x = np.interp(along, corners, [left, left, right, right, left])
    y = np.interp(along, corners, [top, bottom, bottom, top, top])
    ring = np.array(
        import_extra("rasterio.warp", RASTER_FORMAT).transform(page.crs, "EPSG:4326", x, y)
    ).T
    if not np.isfinite(ring).all():
        return None
    ring[:, 0] = np.unwrap(ring[:, 0], period=360)
    return ring.round(COORDINATE_DIGITS)


def raster_edges(page: RasterGrid) -> tuple[float, float, float, float]:
    """Return the left, bottom, right and top edge of a raster in its own coordinates."""
    wide, _, left, _, high, top = tuple(page.transform)[:6]
    rows, columns = page.shape
    return left, top + high * rows, left + wide * columns, top


def enclosed_pole(page: RasterGrid) -> float:
    """Return the latitude of the pole that lies within a raster, or 0."""
    left, bottom, right, top = raster_edges(page)
    warp = import_extra("rasterio.warp", RASTER_FORMAT)
    for pole in POLES:
        (x,), (y,) = warp.transform("EPSG:4326", page.crs, [0.0], [pole])
        if left < x < right and bottom < y < top:
            return pole
    return 0.0


def _split_outline(ring: Array) -> tuple[list[float], dict[str, Any]]:
    """Return box and geometry of an outline without a jump, cut at the dateline."""
    shapely = import_extra("shapely", RASTER_FORMAT)
    whole = shapely.Polygon(ring)
    west, south, east, north = (float(end) for end in whole.bounds)
    first, last = 360 * np.floor((west + 180) / 360), 360 * np.ceil((east - 180) / 360)
    rings = []
    for turn in np.arange(first, last + 1, 360):
        piece = whole.intersection(shapely.box(turn - 180, -90, turn + 180, 90))
        rings += [[(side - (turn, 0)).tolist()] for side in _polygon_outlines(piece)]
    around = east - west >= 360
    ends = (-180.0, 180.0) if around else (float(west - first), float(east - last))
    bounds = [ends[0], south, ends[1], north]
    if len(rings) == 1:
        return bounds, {"type": "Polygon", "coordinates": rings[0]}
    return bounds, {"type": "MultiPolygon", "coordinates": rings}


def _polygon_outlines(shape: Any) -> list[Array]:
    """Return the outlines of the polygons of a shape, against the clock."""
    shapely = import_extra("shapely", RASTER_FORMAT)
    parts = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon"]
    return [np.array(shapely.geometry.polygon.orient(part).exterior.coords) for part in parts]


def grid_bounding_box(grid: Grid) -> list[float]:
    """Return west, south, east and north; west is above east across the dateline."""
    west, east = float(grid.lon_edges[0]), float(grid.lon_edges[-1])
    whole = grid.cyclic or east - west >= 360
    west, east = west + 360 * (west < -180), east - 360 * (east > 180)
    west, east = (-180.0, 180.0) if whole else (west, east)
    return [west, float(grid.lat_edges[0]), east, float(grid.lat_edges[-1])]


def grid_geometry(grid: Grid) -> dict[str, Any]:
    """Return the outline, cut in two at the dateline."""
    west, south, east, north = grid_bounding_box(grid)
    if west < east:
        return {"type": "Polygon", "coordinates": [_ring(west, south, east, north)]}
    parts = [_ring(west, south, 180.0, north), _ring(-180.0, south, east, north)]
    return {"type": "MultiPolygon", "coordinates": [[part] for part in parts]}


def _ring(west: float, south: float, east: float, north: float) -> list[list[float]]:
    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    return [list(corner) for corner in corners]


STAC_VERSION = "1.1.0"
STAC_EXTENSIONS = ["https://stac-extensions.github.io/projection/v2.0.0/schema.json"]
COG_MEDIA_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"


def stac_item(
    path: Path,
    grid: Grid,
    page: RasterGrid,
    time: xr.DataArray,
    bands: Sequence[BandInfo],
    tags: Mapping[str, str],
) -> str:
    """Return the item of a raster, as JSON.

    Args:
        path: The raster.
        grid: The cells of the field.
        page: The pixels of the raster.
        time: The dates of its bands.
        bands: What they hold.
        tags: Its provenance.
    """
    asset = {
        "href": f"./{path.name}",
        "type": COG_MEDIA_TYPE,
        "title": tags["title"],
        "roles": ["data"],
        "bands": [_band(band) for band in bands],
    }
    bounds, place = raster_footprint(grid, page)
    said = {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": STAC_EXTENSIONS,
        "id": path.stem,
        "bbox": bounds,
        "geometry": place,
        "properties": item_dates(time) | _projection(page) | {"title": tags["title"]},
        "links": [],
        "assets": {"data": asset},
    }
    return json.dumps(said, indent=2) + "\n"


def _band(band: BandInfo) -> dict[str, Any]:
    names = {
        "minimum": "MINIMUM", "maximum": "MAXIMUM", "mean": "MEAN", "stddev": "STDDEV",
        "valid_percent": "VALID_PERCENT",
    }  # fmt: skip
    found = {k: band.statistics[f"STATISTICS_{v}"] for k, v in names.items() if band.statistics}
    said = {"data_type": "float32", "nodata": "nan", "unit": band.unit, "name": band.name}
    return said | {"description": band.date} | ({"statistics": found} if found else {})


def _projection(page: RasterGrid) -> dict[str, Any]:
    known = page.crs.to_authority()
    code = {"proj:code": ":".join(known)} if known else {"proj:wkt2": page.crs.to_wkt()}
    shape = {"proj:shape": list(page.shape), "proj:transform": list(page.transform)[:6]}
    return code | shape


def item_dates(time: xr.DataArray) -> dict[str, Any]:
    """Return the date of an item, or the first and the last."""
    first, last = (format_rfc3339(time[i]) for i in (0, -1))
    if first == last:
        return {"datetime": first}
    return {"datetime": None, "start_datetime": first, "end_datetime": last}


def format_rfc3339(time: xr.DataArray) -> str:
    """Return a date as the internet has it (RFC 3339).

    February has 30 days in some models' calendars; the last that it has stands for those.
    """
    year, month, day = (int(getattr(time.dt, part)) for part in ("year", "month", "day"))
    day = min(day, calendar.monthrange(year, month)[1])
    return f"{year:04d}-{month:02d}-{day:02d}T{time.dt.strftime('%H:%M:%S').item()}Z"


def check_dated(fields: xr.Dataset) -> None:
    """Refuse fields without time, for a STAC item has one."""
    if "time" not in fields.dims:
        raise DpdmError(
            "The field has no time, and a STAC item must have one.",
            "Leave --stac out, or set the time: cdo setdate,2012-01-16 IN.nc OUT.nc.",
        )
