"""Describe a raster as a STAC item: its footprint, dates and bands.

SpatioTemporal Asset Catalog 1.1.0 (https://stacspec.org), with the extension `projection` 2.0.0.
The outline of a warped raster is converted to continuous longitudes and latitudes, then cut at the
dateline (RFC 7946). A raster over a pole has all longitudes.
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
from dpdm.export.warp import RASTER_FORMAT, BandInfo, RasterGrid, parse_crs
from dpdm.fields.grid import Array, Grid
from dpdm.system import import_extra

SIDE_POINTS = 64  # points per side of the outline
COORDINATE_DIGITS = 6  # decimals of a degree: a tenth of a metre
POLES = (90.0, -90.0)


def raster_footprint(grid: Grid, pixels: RasterGrid) -> tuple[list[float], dict[str, Any]]:
    """Return the bounding box and the geometry of a raster in degrees (WGS 84).

    Args:
        grid: The cells of the field.
        pixels: The pixels of the raster.

    Returns:
        West, south, east and north, with west > east across the dateline; and one or several
        polygons.
    """
    ring = None if pixels.crs == parse_crs("EPSG:4326") else raster_outline(pixels)
    if ring is None:
        return grid_bounding_box(grid), grid_geometry(grid)
    if pole := enclosed_pole(pixels):
        limit = float(ring[:, 1].min() if pole > 0 else ring[:, 1].max())
        south, north = sorted((limit, pole))
        bounds = [-180.0, south, 180.0, north]
        return bounds, {"type": "Polygon", "coordinates": [_ring(*bounds)]}
    return _split_outline(ring)


def raster_outline(pixels: RasterGrid) -> Array | None:
    """Return continuous longitudes and latitudes (N, 2) of a raster's outline, anticlockwise.

    Return None if the raster extends beyond the projection.
    """
    left, bottom, right, top = raster_edges(pixels)
    corners = range(5)
    along = np.linspace(0, 4, 4 * SIDE_POINTS + 1)
    x = np.interp(along, corners, [left, left, right, right, left])
    y = np.interp(along, corners, [top, bottom, bottom, top, top])
    ring = np.array(
        import_extra("rasterio.warp", RASTER_FORMAT).transform(pixels.crs, "EPSG:4326", x, y)
    ).T
    if not np.isfinite(ring).all():
        return None
    ring[:, 0] = np.unwrap(ring[:, 0], period=360)
    return ring.round(COORDINATE_DIGITS)


def raster_edges(pixels: RasterGrid) -> tuple[float, float, float, float]:
    """Return the left, bottom, right and top edge of a raster in projected coordinates."""
    width, _, left, _, height, top = tuple(pixels.transform)[:6]
    rows, columns = pixels.shape
    return left, top + height * rows, left + width * columns, top


def enclosed_pole(pixels: RasterGrid) -> float:
    """Return the latitude of the pole within a raster, or 0."""
    left, bottom, right, top = raster_edges(pixels)
    warp = import_extra("rasterio.warp", RASTER_FORMAT)
    for pole in POLES:
        (x,), (y,) = warp.transform("EPSG:4326", pixels.crs, [0.0], [pole])
        if left < x < right and bottom < y < top:
            return pole
    return 0.0


def _split_outline(ring: Array) -> tuple[list[float], dict[str, Any]]:
    """Return box and geometry of a continuous outline, cut at the dateline."""
    shapely = import_extra("shapely", RASTER_FORMAT)
    polygon = shapely.Polygon(ring)
    west, south, east, north = (float(end) for end in polygon.bounds)
    first, last = 360 * np.floor((west + 180) / 360), 360 * np.ceil((east - 180) / 360)
    rings = []
    for turn in np.arange(first, last + 1, 360):
        piece = polygon.intersection(shapely.box(turn - 180, -90, turn + 180, 90))
        rings += [[(side - (turn, 0)).tolist()] for side in _polygon_outlines(piece)]
    around = east - west >= 360
    ends = (-180.0, 180.0) if around else (float(west - first), float(east - last))
    bounds = [ends[0], south, ends[1], north]
    if len(rings) == 1:
        return bounds, {"type": "Polygon", "coordinates": rings[0]}
    return bounds, {"type": "MultiPolygon", "coordinates": rings}


def _polygon_outlines(shape: Any) -> list[Array]:
    """Return the outlines of the polygons of a shape, anticlockwise."""
    shapely = import_extra("shapely", RASTER_FORMAT)
    parts = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon"]
    return [np.array(shapely.geometry.polygon.orient(part).exterior.coords) for part in parts]


def grid_bounding_box(grid: Grid) -> list[float]:
    """Return west, south, east and north; west > east across the dateline."""
    west, east = float(grid.lon_edges[0]), float(grid.lon_edges[-1])
    whole = grid.cyclic or east - west >= 360
    west, east = west + 360 * (west < -180), east - 360 * (east > 180)
    west, east = (-180.0, 180.0) if whole else (west, east)
    return [west, float(grid.lat_edges[0]), east, float(grid.lat_edges[-1])]


def grid_geometry(grid: Grid) -> dict[str, Any]:
    """Return the outline of a grid, cut at the dateline."""
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
    pixels: RasterGrid,
    time: xr.DataArray,
    bands: Sequence[BandInfo],
    tags: Mapping[str, str],
) -> str:
    """Return the STAC item of a raster as JSON.

    Args:
        path: The raster.
        grid: The cells of the field.
        pixels: The pixels of the raster.
        time: The dates of its bands.
        bands: Its bands.
        tags: Its provenance.
    """
    asset = {
        "href": f"./{path.name}",
        "type": COG_MEDIA_TYPE,
        "title": tags["title"],
        "roles": ["data"],
        "bands": [_band(band) for band in bands],
    }
    bounds, geometry = raster_footprint(grid, pixels)
    item = {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": STAC_EXTENSIONS,
        "id": path.stem,
        "bbox": bounds,
        "geometry": geometry,
        "properties": item_dates(time) | _projection(pixels) | {"title": tags["title"]},
        "links": [],
        "assets": {"data": asset},
    }
    return json.dumps(item, indent=2) + "\n"


def _band(band: BandInfo) -> dict[str, Any]:
    names = {
        "minimum": "MINIMUM", "maximum": "MAXIMUM", "mean": "MEAN", "stddev": "STDDEV",
        "valid_percent": "VALID_PERCENT",
    }  # fmt: skip
    statistics = {
        k: band.statistics[f"STATISTICS_{v}"] for k, v in names.items() if band.statistics
    }
    about = {"data_type": "float32", "nodata": "nan", "unit": band.unit, "name": band.name}
    about["description"] = band.date
    return about | ({"statistics": statistics} if statistics else {})


def _projection(pixels: RasterGrid) -> dict[str, Any]:
    known = pixels.crs.to_authority()
    code = {"proj:code": ":".join(known)} if known else {"proj:wkt2": pixels.crs.to_wkt()}
    shape = {
        "proj:shape": list(pixels.shape),
        "proj:transform": list(pixels.transform)[:6],
    }
    return code | shape


def item_dates(time: xr.DataArray) -> dict[str, Any]:
    """Return the date of an item, or its first and last date."""
    first, last = (format_rfc3339(time[i]) for i in (0, -1))
    if first == last:
        return {"datetime": first}
    return {"datetime": None, "start_datetime": first, "end_datetime": last}


def format_rfc3339(time: xr.DataArray) -> str:
    """Format a date by RFC 3339; 30 February of a model calendar becomes the last day."""
    year, month, day = (int(getattr(time.dt, part)) for part in ("year", "month", "day"))
    day = min(day, calendar.monthrange(year, month)[1])
    return f"{year:04d}-{month:02d}-{day:02d}T{time.dt.strftime('%H:%M:%S').item()}Z"


def check_dated(fields: xr.Dataset) -> None:
    """Refuse fields without time, which a STAC item needs."""
    if "time" not in fields.dims:
        raise DpdmError(
            "The field has no time, which a STAC item requires.",
            "Leave --stac out, or set the time: cdo setdate,2012-01-16 IN.nc OUT.nc.",
        )
