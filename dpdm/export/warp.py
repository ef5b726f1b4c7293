"""Choose the pixels of a raster, and resample fields to them.

GDAL chooses as many pixels along the diagonal as the field has. Near the pole in Mercator, or
beyond the equator in a polar projection, the extent is unbounded and the pixels are huge; then the
field is cut to the area of use of the reference system in the EPSG register.

Reference systems are codes, PROJ strings or WKT. GDAL and PROJ also accept URLs, file names and
shift grids, which are refused.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid
from dpdm.system import import_extra

Bounds = tuple[float, float, float, float]  # west, south, east, north
NOMINAL_METRES_PER_DEGREE = 111e3  # m
RASTER_FORMAT = "GeoTIFFs"
MAX_CRS_LENGTH = 20_000  # characters
CODE_PATTERN = re.compile(r"(?i)[a-z][a-z0-9_]{1,15}:[a-z0-9.]{1,20}")
PROJ_PATTERN = re.compile(r"\+[a-z_0-9]+(=[-+\w.,^]*)?")  # one word, neither path nor URL
WKT_PATTERN = re.compile(r"(?s)[A-Z0-9_]{4,20}\s*\[.*\]")
EXTERNAL_PATTERN = re.compile(r"(?i)grids|PARAMETERFILE|\+init|\+file")
CRS_ADVICE = "Use a code such as EPSG:3035, a PROJ string or WKT."


@contextmanager
def convert_gdal_errors(path: Path) -> Iterator[None]:
    """Convert errors of GDAL to a DpdmError."""
    faults = (import_extra("rasterio.errors", RASTER_FORMAT).RasterioError, gdal_error_class())
    try:
        yield
    except faults as fault:
        why = str(fault.__cause__ or fault).rstrip(".")
        raise DpdmError(
            f"{path} cannot be written: {why}.", "Check the folder, the disk and its quota."
        ) from fault


def gdal_error_class() -> type[Exception]:
    """Return the class of errors that GDAL raises."""
    kind: type[Exception] = import_extra("rasterio._err", RASTER_FORMAT).CPLE_BaseError
    return kind


def parse_crs(text: str) -> Any:
    """Parse a coordinate reference system."""
    name = f"EPSG:{text.strip()}" if text.strip().isdecimal() else text.strip()
    rasterio = import_extra("rasterio", RASTER_FORMAT)
    if not is_self_contained(name):
        raise _unreadable_error(text)
    try:
        with rasterio.Env():  # captures messages of PROJ
            return rasterio.crs.CRS.from_user_input(name)
    except rasterio.errors.CRSError as fault:
        raise _unreadable_error(text) from fault


def is_self_contained(text: str) -> bool:
    """Return whether a text is a code, a PROJ string or WKT without external references.

    Example:
        >>> is_self_contained("EPSG:3035"), is_self_contained("+proj=moll +lon_0=10"), is_self_contained("http://a.b/c")
        (True, True, False)
        >>> is_self_contained("+proj=longlat +nadgrids=/etc/passwd")
        False
    """
    text = text.replace("+nadgrids=@null", "")  # no grid, as in Web Mercator
    if len(text) > MAX_CRS_LENGTH or not text or EXTERNAL_PATTERN.search(text):
        return False
    return bool(CODE_PATTERN.fullmatch(text) or WKT_PATTERN.fullmatch(text)) or all(
        PROJ_PATTERN.fullmatch(word) for word in text.split()
    )


def _unreadable_error(text: str) -> DpdmError:
    return DpdmError(f"'{text[:100]}' is not a readable coordinate reference system.", CRS_ADVICE)


def raster_layout(grid: Grid, crs: Any) -> tuple[Any, tuple[int, int]]:
    """Return the affine transform and the shape of the pixels of a grid."""
    bounds = grid_bounds(grid)
    layout = suggest_pixels(grid, crs, bounds)
    if layout is None or not _similar_to_cells(layout[0], grid, crs):
        bounds = intersect_bounds(bounds, grid.cyclic, area_of_use(crs)) or bounds
        layout = suggest_pixels(grid, crs, bounds)
    if layout is None:
        raise DpdmError(
            f"The field does not lie within {crs}.", "Choose a reference system of that region."
        )
    return layout


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
    """Return whether pixels are about as large as the cells."""
    if not crs.is_projected:
        return True
    size = transform.a * crs.linear_units_factor[1] / NOMINAL_METRES_PER_DEGREE
    return bool(min(grid.spacing) / 3 < size < 3 * max(grid.spacing))


def area_of_use(crs: Any) -> Bounds | None:
    """Return the area of use of a reference system, if known."""
    wkt = crs.to_wkt(version=import_extra("rasterio.enums", RASTER_FORMAT).WktVersion.WKT2_2019)
    boxes = re.findall(r"BBOX\[([^\]]+)\]", wkt)
    if not boxes:
        return None
    south, west, north, east = map(float, boxes[-1].split(","))
    return west, south, east, north


def intersect_bounds(bounds: Bounds, cyclic: bool, area: Bounds | None) -> Bounds | None:
    """Return the largest intersection of bounds and an area, over all shifts by 360 degrees.

    Example:
        >>> intersect_bounds((-190.0, 0.0, -170.0, 90.0), False, (160.0, -60.0, -160.0, 60.0))
        (-190.0, 0.0, -170.0, 60.0)
    """
    if area is None:
        return None
    west, south, east, north = area
    east += 360 * (east < west)
    overlaps = [
        (max(bounds[0], west + turn), min(bounds[2], east + turn)) for turn in (-360, 0, 360)
    ]
    left, right = (west, east) if cyclic else max(overlaps, key=lambda ends: ends[1] - ends[0])
    bottom, top = max(bounds[1], south), min(bounds[3], north)
    return (left, bottom, right, top) if left < right and bottom < top else None


def pixel_transform(grid: Grid) -> Any:
    """Return the affine transform from (column, row) of north-up pixels to degrees."""
    affine = import_extra("rasterio", RASTER_FORMAT).Affine
    (dlat, dlon), north = grid.spacing, grid.lat[-1]
    return affine(dlon, 0.0, grid.lon[0] - dlon / 2, 0.0, -dlat, north + dlat / 2)


@dataclass(frozen=True)
class RasterGrid:
    """The pixels of a raster.

    Attributes:
        crs: The coordinate reference system.
        transform: The affine transform from (column, row) to its coordinates.
        shape: Rows and columns.
        source: The affine transform of the field's own cells.
    """

    crs: Any
    transform: Any
    shape: tuple[int, int]
    source: Any

    def resample_field(self, field: NDArray[np.float32]) -> NDArray[np.float32]:
        """Interpolate north-up values to these pixels, bilinearly."""
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
    """Return the pixels of a grid in a reference system, by default longitude and latitude."""
    source = pixel_transform(grid)
    target = parse_crs(crs or "EPSG:4326")
    if target == parse_crs("EPSG:4326"):
        return RasterGrid(target, source, grid.shape, source)
    transform, shape = raster_layout(grid, target)
    return RasterGrid(target, transform, shape, source)


@dataclass(frozen=True)
class BandInfo:
    """A band of a raster.

    Attributes:
        date: ISO date of the step, empty without time.
        name: The variable.
        unit: Its unit.
        statistics: Minimum, maximum, mean and so on of its values, by GDAL's names.
        tails: Values that only a few of its values lie below and above; empty without values.
    """

    date: str
    name: str
    unit: str
    statistics: Mapping[str, float]
    tails: tuple[float, ...] = ()
