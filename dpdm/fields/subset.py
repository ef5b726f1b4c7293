"""Select part of a grid: a box, the cells of another grid, or those inside polygons.

A cell is inside a polygon of a GeoJSON file if its centre is inside or on the border. GeoJSON has
longitudes from -180 to 180 and cuts polygons at the dateline; fields may have them from 0 to 360.
So each centre is tested at every multiple of 360 degrees that the polygons reach.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.grid import Array, Grid, grid_of
from dpdm.system import import_extra, read_text

Box = tuple[float, float, float, float]


def select_box(grid: Grid, box: Box) -> Grid:
    """Return the cells whose centres lie in a box: west, east, south, north, in degrees.

    Longitudes may be on any turn; west of 170 and east of -170 is twenty degrees wide.

    Example:
        >>> globe = Grid(np.arange(-88.75, 90, 2.5), np.arange(0, 360, 2.5))
        >>> select_box(globe, (170, -170, 0, 5)).lon.tolist()
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


def select_padded_box(grid: Grid, box: Box, cells: int, align: int = 1) -> Grid:
    """Return the cells of a box and a margin of cells around it, as far as the grid reaches.

    Its first row and column are multiples of ``align`` on the grid, for which the margin widens.

    Example:
        >>> globe = Grid(np.arange(-88.75, 90, 2.5), np.arange(0, 360, 2.5))
        >>> select_padded_box(globe, (170, -170, 0, 5), 1).lon[[0, -1]].tolist()
        [167.5, 192.5]
        >>> select_padded_box(globe, (170, -170, 0, 5), 1, align=4).lon[[0, -1]].tolist()
        [160.0, 192.5]
    """
    inner, (height, width) = select_box(grid, box), grid.shape
    row = int(np.abs(grid.lat - inner.lat[0]).argmin())
    column = int(np.abs((grid.lon - inner.lon[0] + 180) % 360 - 180).argmin())
    rows = padded_range(row, len(inner.lat), cells, align)
    columns = padded_range(column, len(inner.lon), cells, align)
    if not grid.cyclic:
        columns = range(max(columns.start, 0), min(columns.stop, width))
    elif len(columns) >= width:
        columns = range(column, column + len(inner.lon))
    lat = grid.lat[max(rows.start, 0) : min(rows.stop, height)]
    lon = np.array([grid.lon[n % width] + 360.0 * (n // width) for n in columns])
    turns = np.round((inner.lon[0] - lon[column - columns.start]) / 360)
    return Grid(lat, lon + 360 * turns)


def padded_range(start: int, count: int, cells: int, align: int) -> range:
    """Return ``count`` positions with a margin, from a multiple of ``align`` on."""
    return range((start - cells) // align * align, start + count + cells)


def locate_subgrid(inner: Grid, outer: Grid) -> tuple[slice, slice]:
    """Return the rows and columns of a grid within a larger one."""
    row = int(np.abs(outer.lat - inner.lat[0]).argmin())
    column = int(np.abs(outer.lon - inner.lon[0]).argmin())
    height, width = inner.shape
    return slice(row, row + height), slice(column, column + width)


def select_on_grid(fields: xr.Dataset, grid: Grid) -> xr.Dataset | None:
    """Return the fields on the cells of a grid, None where they lack a cell."""
    own = grid_of(fields)
    lat = centre_positions(own.lat, grid.lat, own.spacing[0])
    west = own.lon[0] - own.spacing[1] / 2
    lon = centre_positions(own.lon, west + (grid.lon - west) % 360.0, own.spacing[1])
    if lat is None or lon is None:
        return None
    return fields.isel(lat=lat, lon=lon).assign_coords(grid.coords())


def centre_positions(own: Array, wanted: Array, spacing: float) -> slice | NDArray[np.intp] | None:
    """Return the positions of centres on an axis, None if one is off by a thousandth of a cell.

    Example:
        >>> centre_positions(np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.0]), 1.0)
        slice(1, 3, None)
    """
    after = np.searchsorted(own, wanted).clip(1, own.size - 1)
    found = after - (wanted - own[after - 1] < own[after] - wanted)
    if np.abs(own[found] - wanted).max() > 1e-3 * spacing:
        return None
    return as_slice(found)


def as_slice(places: NDArray[np.intp]) -> slice | NDArray[np.intp]:
    """Return contiguous positions as a slice, which avoids a copy."""
    run = (np.diff(places) == 1).all()
    return slice(int(places[0]), int(places[-1]) + 1) if run else places


GEOJSON_HINT = "Convert it: ogr2ogr -f GeoJSON -t_srs EPSG:4326 MASK.geojson IN.shp."
WGS84_NAMES = ("CRS84", "EPSG::4326", "EPSG:4326")


def cells_in_polygons(grid: Grid, path: Path) -> NDArray[np.bool_]:
    """Tell which cells (H, W) have their centre inside the polygons of a GeoJSON file."""
    area = read_polygons(path)
    west, south, east, north = area.bounds
    found = np.zeros(grid.shape, bool)
    for turn in (-720.0, -360.0, 0.0, 360.0, 720.0):
        columns = np.flatnonzero((grid.lon + turn >= west) & (grid.lon + turn <= east))
        rows = np.flatnonzero((grid.lat >= south) & (grid.lat <= north))
        found[np.ix_(rows, columns)] |= _polygon_contains(
            area, grid.lat[rows], grid.lon[columns] + turn
        )
    if not found.any():
        raise DpdmError(
            f"The polygons of {path}, of longitudes {west:g} to {east:g} and latitudes {south:g} "
            f"to {north:g}, hold no cell of the field, which has {grid.lon_edges[0]:g} to "
            f"{grid.lon_edges[-1]:g} and {grid.lat_edges[0]:g} to {grid.lat_edges[-1]:g}.",
            "Give a mask that meets the field, of areas no smaller than its cells.",
        )
    return found


def read_polygons(path: Path) -> Any:
    """Return the union of a GeoJSON file's polygons, a shapely geometry in degrees."""
    shapely = import_extra("shapely", "Masks")
    document = _read_geojson(path)
    try:
        parts = [shapely.from_geojson(json.dumps(part)) for part in _geometries(document)]
    except (
        shapely.errors.GEOSException,
        TypeError,
        AttributeError,
        KeyError,
        RecursionError,
    ) as fault:
        raise DpdmError(f"{path} is not GeoJSON: {fault}.", GEOJSON_HINT) from fault
    areas = [part for part in parts if part.geom_type in ("Polygon", "MultiPolygon")]
    area = shapely.union_all([shapely.make_valid(part) for part in areas])
    if area.is_empty:
        raise DpdmError(
            f"{path} holds no polygon.", "Give a file of areas, for example of countries."
        )
    _check_degrees(path, document, area.bounds)
    shapely.prepare(area)
    return area


def _read_geojson(path: Path) -> Any:
    try:
        document = json.loads(read_text(path))
    except (ValueError, RecursionError) as fault:
        raise DpdmError(f"{path} is not GeoJSON: {fault}.", GEOJSON_HINT) from fault
    if not isinstance(document, dict) or "type" not in document:
        raise DpdmError(f"{path} is not GeoJSON: it has no type.", GEOJSON_HINT)
    return document


def _geometries(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every geometry of a GeoJSON object, out of features and collections."""
    if document["type"] == "Feature":
        yield from _geometries(document["geometry"]) if document["geometry"] else ()
    elif document["type"] in ("FeatureCollection", "GeometryCollection"):
        parts = document["features" if document["type"] == "FeatureCollection" else "geometries"]
        for part in parts:
            yield from _geometries(part)
    else:
        yield document


def _check_degrees(path: Path, document: dict[str, Any], bounds: tuple[float, ...]) -> None:
    """Refuse coordinates of another reference system than WGS 84 in degrees."""
    name = str((document.get("crs") or {}).get("properties", {}).get("name", "CRS84"))
    west, south, east, north = bounds
    if not name.endswith(WGS84_NAMES) or max(-west, east) > 540 or max(-south, north) > 90:
        raise DpdmError(
            f"{path} is not in degrees of WGS 84: its system is {name}, and x reaches from "
            f"{west:g} to {east:g}, y from {south:g} to {north:g}.",
            GEOJSON_HINT,
        )


def _polygon_contains(area: Any, lat: NDArray[np.float64], lon: NDArray[np.float64]) -> Any:
    x, y = np.meshgrid(lon, lat)
    return import_extra("shapely", "Masks").intersects_xy(area, x, y)


def select_spatial(fields: xr.Dataset) -> xr.Dataset:
    """Return the variables that lie on the latitude-longitude grid."""
    return fields[[str(v) for v, a in fields.data_vars.items() if {"lat", "lon"} <= {*a.dims}]]


def cut_to_grid(fields: xr.Dataset, grid: Grid, what: str) -> xr.Dataset:
    """Return the fields on the cells of a grid that is a part of theirs."""
    part = select_on_grid(fields, grid)
    if part is None:
        own = grid_of(fields)
        raise DpdmError(
            f"The {what} ({describe_extent(own)}) does not have the truth's cells "
            f"({describe_extent(grid)}).",
            "Cut the truth, or interpolate: cdo remapbil,TRUTH.nc IN.nc OUT.nc.",
        )
    return part


def describe_extent(grid: Grid) -> str:
    """Return the size and extent of a grid as text.

    Example:
        >>> describe_extent(Grid(np.arange(0, 5, 0.5), np.arange(10, 12, 0.5)))
        '10 x 4 cells, lat 0 to 4.5, lon 10 to 11.5'
    """
    height, width = grid.shape
    lat, lon = grid.lat, grid.lon
    return (
        f"{height} x {width} cells, lat {lat[0]:g} to {lat[-1]:g}, lon {lon[0]:g} to {lon[-1]:g}"
    )


def select_covered(coarse: xr.Dataset, fine: Grid) -> xr.Dataset | None:
    """Return the part of a coarse field whose cells a fine grid covers completely.

    Its longitudes begin where the fine ones do. None where it is less than two by two cells.
    """
    grid = grid_of(coarse)
    slack = [1e-3 * spacing for spacing in grid.spacing]
    south, north = grid.lat_edges[:-1], grid.lat_edges[1:]
    part = coarse.isel(
        lat=(south >= fine.lat_edges[0] - slack[0]) & (north <= fine.lat_edges[-1] + slack[0])
    )
    if not fine.cyclic:
        west = (grid.lon_edges[:-1] - fine.lon_edges[0] + slack[1]) % 360.0 - slack[1]
        inside = west + grid.spacing[1] <= np.ptp(fine.lon_edges) + slack[1]
        part = part.assign_coords(lon=fine.lon_edges[0] + west + grid.spacing[1] / 2)
        part = part.isel(lon=inside).sortby("lon")
    return part if min(part.sizes["lat"], part.sizes["lon"]) > 1 else None
