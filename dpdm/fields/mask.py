"""Cells inside polygons, for example of countries, out of a GeoJSON file.

A cell is inside where its centre is, or lies on the border. GeoJSON has longitudes from -180 to
180 and cuts polygons at the dateline; fields may have them from 0 to 360. So each centre is looked
for on every turn of the circle that the polygons reach.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.extra import extra
from dpdm.fields.grid import Grid
from dpdm.readable import read_text

HINT = "Convert it: ogr2ogr -f GeoJSON -t_srs EPSG:4326 MASK.geojson IN.shp."
WGS84 = ("CRS84", "EPSG::4326", "EPSG:4326")


def inside(grid: Grid, path: Path) -> NDArray[np.bool_]:
    """Tell which cells (H, W) have their centre inside the polygons of a GeoJSON file."""
    area = polygons(path)
    west, south, east, north = area.bounds
    found = np.zeros(grid.shape, bool)
    for turn in (-720.0, -360.0, 0.0, 360.0, 720.0):
        columns = np.flatnonzero((grid.lon + turn >= west) & (grid.lon + turn <= east))
        rows = np.flatnonzero((grid.lat >= south) & (grid.lat <= north))
        found[np.ix_(rows, columns)] |= _holds(area, grid.lat[rows], grid.lon[columns] + turn)
    if not found.any():
        raise DpdmError(
            f"The polygons of {path}, of longitudes {west:g} to {east:g} and latitudes {south:g} "
            f"to {north:g}, hold no cell of the field, which has {grid.lon_edges[0]:g} to "
            f"{grid.lon_edges[-1]:g} and {grid.lat_edges[0]:g} to {grid.lat_edges[-1]:g}.",
            "Give a mask that meets the field, of areas no smaller than its cells.",
        )
    return found


def polygons(path: Path) -> Any:
    """Return the union of a GeoJSON file's polygons, a shapely geometry in degrees."""
    shapely = extra("shapely", "Masks")
    said = _read(path)
    try:
        parts = [shapely.from_geojson(json.dumps(part)) for part in _geometries(said)]
    except (
        shapely.errors.GEOSException,
        TypeError,
        AttributeError,
        KeyError,
        RecursionError,
    ) as fault:
        raise DpdmError(f"{path} is not GeoJSON: {fault}.", HINT) from fault
    areas = [part for part in parts if part.geom_type in ("Polygon", "MultiPolygon")]
    area = shapely.union_all([shapely.make_valid(part) for part in areas])
    if area.is_empty:
        raise DpdmError(f"{path} holds no polygon.", "Give a file of areas, of countries perhaps.")
    _check_degrees(path, said, area.bounds)
    shapely.prepare(area)
    return area


def _read(path: Path) -> Any:
    try:
        said = json.loads(read_text(path))
    except (ValueError, RecursionError) as fault:
        raise DpdmError(f"{path} is not GeoJSON: {fault}.", HINT) from fault
    if not isinstance(said, dict) or "type" not in said:
        raise DpdmError(f"{path} is not GeoJSON: it has no type.", HINT)
    return said


def _geometries(said: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every geometry of a GeoJSON object, out of features and collections."""
    if said["type"] == "Feature":
        yield from _geometries(said["geometry"]) if said["geometry"] else ()
    elif said["type"] in ("FeatureCollection", "GeometryCollection"):
        parts = said["features" if said["type"] == "FeatureCollection" else "geometries"]
        for part in parts:
            yield from _geometries(part)
    else:
        yield said


def _check_degrees(path: Path, said: dict[str, Any], bounds: tuple[float, ...]) -> None:
    """Refuse coordinates of another reference system, said or seen."""
    name = str((said.get("crs") or {}).get("properties", {}).get("name", "CRS84"))
    west, south, east, north = bounds
    if not name.endswith(WGS84) or max(-west, east) > 540 or max(-south, north) > 90:
        raise DpdmError(
            f"{path} is not in degrees of WGS 84: it says {name}, and x reaches from {west:g} to "
            f"{east:g}, y from {south:g} to {north:g}.",
            HINT,
        )


def _holds(area: Any, lat: NDArray[np.float64], lon: NDArray[np.float64]) -> Any:
    x, y = np.meshgrid(lon, lat)
    return extra("shapely", "Masks").intersects_xy(area, x, y)
