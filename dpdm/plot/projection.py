"""Choose the projection of a domain, and sample fields at the pixels of its map.

Each pixel shows the value of the cell that it lies in, whatever the projection, also across the
dateline and over a pole. No value is interpolated, and the cost is that of the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from scipy import ndimage

from dpdm.fields.grid import Array, Grid, grid_of
from dpdm.plot.page import ccrs

GLOBAL_WIDTH = 300.0  # degrees of longitude, minimum of the globe or a polar cap
CAP_LATITUDE = 25.0  # minimum latitude of a polar cap
POLAR_LATITUDE, TROPICAL_LATITUDE = 66.0, 15.0  # latitudes of a region's centre
MAX_CONE_WIDTH, MAX_CONE_HEIGHT = 120.0, 75.0  # degrees, maximum of a conic projection
OUTLINE_POINTS = 181  # points of a curved edge


@dataclass(frozen=True, eq=False)
class ProjectedGrid:
    """A projection and the pixels on it.

    Attributes:
        crs: The projection.
        extent: West, east, south and north edge, in projected coordinates.
        grid: The domain.
        lat: Latitudes of the pixels from the north, NaN outside the domain.
        lon: Longitudes of the pixels.
        is_polar_cap: Whether the domain is a polar cap, drawn as a disc.
        is_global: Whether the map shows the whole Earth.
    """

    crs: Any
    extent: tuple[float, float, float, float]
    grid: Grid
    lat: Array
    lon: Array
    is_polar_cap: bool
    is_global: bool

    @property
    def size(self) -> tuple[float, float]:
        """Return width and height, in projected coordinates."""
        west, east, south, north = self.extent
        return east - west, north - south

    @property
    def aspect(self) -> float:
        """Return height over width."""
        width, height = self.size
        return height / width

    @property
    def pixel(self) -> float:
        """Return the width of a pixel, in projected coordinates."""
        return self.size[0] / int(self.lat.shape[1])

    def outline(self) -> Array:
        """Return the domain's edge (N, 2), anticlockwise from the southwest."""
        west, east, south, north = domain_edges(self.grid)
        along, up = (
            np.linspace(west, east, OUTLINE_POINTS),
            np.linspace(south, north, OUTLINE_POINTS),
        )
        lon = np.r_[
            along, np.full(OUTLINE_POINTS, east), along[::-1], np.full(OUTLINE_POINTS, west)
        ]
        lat = np.r_[np.full(OUTLINE_POINTS, south), up, np.full(OUTLINE_POINTS, north), up[::-1]]
        return project_places(self.crs, self.grid, lon, lat)

    def centres(self) -> tuple[Array, Array]:
        """Return the centres of columns and rows, in projected coordinates."""
        return pixel_centres(self.extent, self.lat.shape)


def choose_projection(grid: Grid) -> Any:
    """Choose the projection of a domain.

    Equal areas for the globe, stereographic for polar caps and regions, conic for regions of
    middle latitudes, and plain latitudes and longitudes in the tropics.
    """
    west, east, south, north = domain_edges(grid)
    middle, width = (south + north) / 2, east - west
    centre = wrap_longitude((west + east) / 2)
    if width >= GLOBAL_WIDTH:
        if min(abs(south), abs(north)) >= CAP_LATITUDE and south * north > 0:
            return ccrs.Stereographic(90.0 if middle > 0 else -90.0, 0.0)
        return ccrs.EqualEarth(0.0) if north - south > 90 else ccrs.PlateCarree(centre)
    if abs(middle) > POLAR_LATITUDE:
        return ccrs.Stereographic(90.0 if middle > 0 else -90.0, centre)
    if (
        abs(middle) < TROPICAL_LATITUDE
        or width > MAX_CONE_WIDTH
        or north - south > MAX_CONE_HEIGHT
    ):
        return ccrs.PlateCarree(centre)
    sixth = (north - south) / 6
    parallels = (south + sixth, north - sixth)
    return ccrs.LambertConformal(
        centre, middle, standard_parallels=parallels, cutoff=-30.0 if middle > 0 else 30.0
    )


def wrap_longitude(lon: float) -> float:
    """Return a longitude in -180 to 180."""
    return (lon + 180.0) % 360.0 - 180.0


def project_grid(grid: Grid, columns: int) -> ProjectedGrid:
    """Return projection and pixels of a domain, with a number of columns."""
    crs = choose_projection(grid)
    is_global = isinstance(crs, ccrs.EqualEarth)
    extent = (*crs.x_limits, *crs.y_limits) if is_global else projected_extent(grid, crs)
    rows = max(2, round(columns * (extent[3] - extent[2]) / (extent[1] - extent[0])))
    x, y = np.meshgrid(*pixel_centres(extent, (rows, columns)))
    earth = ccrs.PlateCarree().transform_points(crs, x, y)[..., :2]
    lon, lat = earth[..., 0], earth[..., 1]
    with np.errstate(invalid="ignore"):
        back = crs.transform_points(ccrs.PlateCarree(), lon, lat)[..., :2]
        true = np.abs(back - np.stack([x, y], -1)).max(-1) < 1e-3 * (extent[1] - extent[0])
    lat, lon = (np.where(true, axis, np.nan) for axis in (lat, lon))
    inside = np.isfinite(grid_positions(grid, lat, lon)[0])
    lat, lon = (np.where(inside, axis, np.nan) for axis in (lat, lon))
    cap = isinstance(crs, ccrs.Stereographic) and bool(np.ptp(grid.lon_edges) >= GLOBAL_WIDTH)
    return ProjectedGrid(crs, extent, grid, lat, lon, cap, is_global)


def pixel_centres(
    extent: tuple[float, float, float, float], shape: tuple[int, int]
) -> tuple[Array, Array]:
    """Return the centres of columns from the west, and of rows from the north."""
    (west, east, south, north), (rows, columns) = extent, shape
    x = west + (east - west) * (np.arange(columns) + 0.5) / columns
    y = north - (north - south) * (np.arange(rows) + 0.5) / rows
    return x, y


def projected_extent(grid: Grid, crs: Any) -> tuple[float, float, float, float]:
    """Return the edges of a domain in projected coordinates."""
    west, east, south, north = domain_edges(grid)
    lat, lon = (
        np.linspace(south, north, OUTLINE_POINTS),
        np.linspace(west, east, 4 * OUTLINE_POINTS),
    )
    rows = [project_places(crs, grid, lon, np.full_like(lon, edge)) for edge in (south, north)]
    columns = [project_places(crs, grid, np.full_like(lat, edge), lat) for edge in (west, east)]
    xy = np.concatenate(rows + columns)
    (left, bottom), (right, top) = xy.min(0), xy.max(0)
    return float(left), float(right), float(bottom), float(top)


def domain_edges(grid: Grid) -> tuple[float, float, float, float]:
    """Return the west, east, south and north edge of a domain, degrees."""
    lat, lon = grid.lat_edges, grid.lon_edges
    return float(lon[0]), float(lon[-1]), float(lat[0]), float(lat[-1])


def project_places(crs: Any, grid: Grid, lon: Array, lat: Array) -> Array:
    """Return projected coordinates (N, 2) of positions, with both ends of a domain distinct."""
    if isinstance(crs, ccrs.PlateCarree):
        middle = (grid.lon_edges[0] + grid.lon_edges[-1]) / 2
        return np.stack([lon - middle, lat], axis=-1)
    xy: Array = crs.transform_points(ccrs.PlateCarree(), lon, lat)[..., :2]
    return xy


def grid_positions(grid: Grid, lat: Array, lon: Array) -> tuple[Array, Array]:
    """Return positions in rows and columns from the first edge, NaN outside the domain."""
    west, _, south, north = domain_edges(grid)
    dlat, dlon = grid.spacing
    first = grid.lat[0] - dlat / 2  # a polar row is cut off at the pole
    rows, columns = (lat - first) / dlat, ((lon - west) % 360.0) / dlon
    with np.errstate(invalid="ignore"):
        inside = (lat >= south) & (lat <= north) & (columns <= len(grid.lon) + 1e-9)
    return np.where(inside, rows, np.nan), np.where(inside, columns, np.nan)


def sample_nearest(sheet: ProjectedGrid, field: xr.DataArray) -> Array:
    """Return the value of the cell of each pixel, NaN outside the field."""
    grid = grid_of(field)
    rows, columns = grid_positions(grid, sheet.lat, sheet.lon)
    known = np.isfinite(rows)
    out = np.full(sheet.lat.shape, np.nan)
    i = np.clip(np.floor(rows[known]).astype(int), 0, len(grid.lat) - 1)
    j = np.clip(np.floor(columns[known]).astype(int), 0, len(grid.lon) - 1)
    out[known] = field.transpose("lat", "lon").values[i, j]
    return out


def sample_spline(sheet: ProjectedGrid, field: xr.DataArray) -> Array:
    """Interpolate a global field to the pixels by splines, NaN outside the domain."""
    grid = grid_of(field)
    rows, columns = grid_positions(grid, sheet.lat, sheet.lon)
    known = np.isfinite(rows)
    out = np.full(sheet.lat.shape, np.nan)
    at = np.stack([rows[known], columns[known]]) - 0.5
    out[known] = ndimage.map_coordinates(field.values, at, order=3, mode="nearest")
    return out
