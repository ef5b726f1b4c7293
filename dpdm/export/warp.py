"""Where the pixels are.

Rasters are read north up and from the west, with longitudes from -180 to 180. So a field that
goes round the Earth is rolled until its westernmost cell is the first at or after -180; a region
keeps together, on the turn on which it begins between -180 and 180. One that crosses the dateline
runs on past 180, as in 170 to 190, which GDAL and QGIS draw in one piece.

How far a warped raster reaches, and how large its pixels are.

GDAL chooses pixels that are as many along the diagonal as those of the field, over all that the
field becomes. Near the pole in Mercator, or beyond the equator in a polar projection, that is
without bound, and the pixels are huge. Then the field is taken only within the area for which the
reference system was made, as the register of EPSG has it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.export.crs import parse_crs
from dpdm.fields.grid import Grid
from dpdm.system import import_extra


@contextmanager
def convert_gdal_errors(path: Path) -> Iterator[None]:
    """Say a fault of GDAL's as a sentence."""
    faults = (import_extra("rasterio.errors", "GeoTIFFs").RasterioError, gdal_error_class())
    try:
        yield
    except faults as fault:
        why = str(fault.__cause__ or fault).rstrip(".")
        raise DpdmError(
            f"{path} cannot be written: {why}.", "Check the folder, the disk and its quota."
        ) from fault


def gdal_error_class() -> type[Exception]:
    """Return the kind of faults that GDAL itself throws."""
    kind: type[Exception] = import_extra("rasterio._err", "GeoTIFFs").CPLE_BaseError
    return kind


Bounds = tuple[float, float, float, float]  # west, south, east, north
NOMINAL_METRES_PER_DEGREE = 111e3  # m
RASTER_FORMAT = "GeoTIFFs"


def raster_layout(grid: Grid, crs: Any) -> tuple[Any, tuple[int, int]]:
    """Return the affine map and the shape of the pixels that a grid becomes."""
    whole = grid_bounds(grid)
    found = suggest_pixels(grid, crs, whole)
    if found is None or not _similar_to_cells(found[0], grid, crs):
        found = suggest_pixels(
            grid, crs, intersect_bounds(whole, grid.cyclic, area_of_use(crs)) or whole
        )
    if found is None:
        raise _outside_error(crs)
    return found


def grid_bounds(grid: Grid) -> Bounds:
    """Return the edges of a grid: west, south, east and north."""
    west, east = map(float, grid.lon_edges[[0, -1]])
    south, north = map(float, grid.lat_edges[[0, -1]])
    return west, south, east, north


def suggest_pixels(grid: Grid, crs: Any, bounds: Bounds) -> tuple[Any, tuple[int, int]] | None:
    """Return GDAL's choice of pixels for a part of a grid, if it has one."""
    west, south, east, north = bounds
    rows, columns = grid.spacing
    count = [max(2, round(c)) for c in ((east - west) / columns, (north - south) / rows)]
    warp, errors = (
        import_extra("rasterio.warp", RASTER_FORMAT),
        import_extra("rasterio.errors", RASTER_FORMAT),
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PendingDeprecationWarning)  # of affine by rasterio
            transform, width, height = warp.calculate_default_transform(
                "EPSG:4326", crs, *count, *bounds
            )
    except (errors.RasterioError, gdal_error_class()):
        return None
    return transform, (height, width)


def _similar_to_cells(transform: Any, grid: Grid, crs: Any) -> bool:
    """Tell whether pixels are about as large as the cells."""
    if not crs.is_projected:
        return True
    size = transform.a * crs.linear_units_factor[1] / NOMINAL_METRES_PER_DEGREE
    return bool(min(grid.spacing) / 3 < size < 3 * max(grid.spacing))


def area_of_use(crs: Any) -> Bounds | None:
    """Return the area for which a reference system was made, if that is known."""
    known = crs.to_wkt(version=import_extra("rasterio.enums", RASTER_FORMAT).WktVersion.WKT2_2019)
    boxes = re.findall(r"BBOX\[([^\]]+)\]", known)
    if not boxes:
        return None
    south, west, north, east = map(float, boxes[-1].split(","))
    return west, south, east, north


def intersect_bounds(bounds: Bounds, cyclic: bool, area: Bounds | None) -> Bounds | None:
    """Return what bounds and an area share, on the turn of the circle where that is most.

    Example:
        >>> intersect_bounds((-190.0, 0.0, -170.0, 90.0), False, (160.0, -60.0, -160.0, 60.0))
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


def _outside_error(crs: Any) -> DpdmError:
    return DpdmError(
        f"The field does not lie within {crs}.", "Choose a reference system of that region."
    )


def recentre_grid(grid: Grid) -> Grid:
    """Return the same cells, from the west in -180 to 180.

    Example:
        >>> lat = np.array([0.0, 1.0])
        >>> recentre_grid(Grid(lat, np.arange(0.5, 360))).lon[[0, -1]].tolist()
        [-179.5, 179.5]
        >>> recentre_grid(Grid(lat, np.arange(-190.0, -170))).lon[[0, -1]].tolist()
        [170.0, 189.0]
    """
    slack = 1e-6 * grid.spacing[1]  # a centre at 180 stands at -180, whatever its last digits
    turns = 360 * np.floor((grid.lon + 180 + slack) / 360)
    return Grid(grid.lat, np.sort(grid.lon - turns) if grid.cyclic else grid.lon - turns[0])


def pixel_transform(grid: Grid) -> Any:
    """Return the affine map from (column, row) of north-up pixels to the edges, in degrees."""
    affine = import_extra("rasterio", RASTER_FORMAT).Affine
    (dlat, dlon), north = grid.spacing, grid.lat[-1]
    return affine(dlon, 0.0, grid.lon[0] - dlon / 2, 0.0, -dlat, north + dlat / 2)


@dataclass(frozen=True)
class RasterGrid:
    """The pixels of a raster, and those that it is made from.

    Attributes:
        crs: Its reference system.
        transform: From (column, row) to its coordinates.
        shape: Rows and columns.
        source: The affine map of the field's own pixels.
    """

    crs: Any
    transform: Any
    shape: tuple[int, int]
    source: Any

    def resample_field(self, field: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return north-up values on these pixels, bilinear between the field's own."""
        if self.transform == self.source:
            return field
        warp = import_extra("rasterio.warp", RASTER_FORMAT)
        out = np.full(self.shape, np.nan, np.float32)
        warp.reproject(
            field, out, src_transform=self.source, src_crs="EPSG:4326", src_nodata=np.nan,
            dst_transform=self.transform, dst_crs=self.crs, dst_nodata=np.nan,
            resampling=warp.Resampling.bilinear,
        )  # fmt: skip
        return out


def make_raster_grid(grid: Grid, crs: str = "") -> RasterGrid:
    """Return the pixels of a grid, in longitude and latitude or in another reference system."""
    source = pixel_transform(grid)
    target = parse_crs(crs or "EPSG:4326")
    if target == parse_crs("EPSG:4326"):
        return RasterGrid(target, source, grid.shape, source)
    transform, shape = raster_layout(grid, target)
    return RasterGrid(target, transform, shape, source)
