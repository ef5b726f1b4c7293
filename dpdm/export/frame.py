"""Where the pixels are.

Rasters are read north up and from the west, with longitudes from -180 to 180. So a field that
goes round the Earth is rolled until its westernmost cell is the first at or after -180; a region
keeps together, on the turn on which it begins between -180 and 180. One that crosses the dateline
runs on past 180, as in 170 to 190, which GDAL and QGIS draw in one piece.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpdm.export.extent import RASTERS, laid
from dpdm.export.reference import reference
from dpdm.fields.extra import extra
from dpdm.fields.grid import Grid


def placed(grid: Grid) -> Grid:
    """Return the same cells, from the west in -180 to 180.

    Example:
        >>> placed(Grid(np.array([0.0, 1.0]), np.arange(0.5, 360))).lon[[0, -1]].tolist()
        [-179.5, 179.5]
        >>> placed(Grid(np.array([0.0, 1.0]), np.arange(-190.0, -170))).lon[[0, -1]].tolist()
        [170.0, 189.0]
    """
    slack = 1e-6 * grid.spacing[1]  # a centre at 180 stands at -180, whatever its last digits
    turns = 360 * np.floor((grid.lon + 180 + slack) / 360)
    return Grid(grid.lat, np.sort(grid.lon - turns) if grid.cyclic else grid.lon - turns[0])


def transform_of(grid: Grid) -> Any:
    """Return the affine map from (column, row) of north-up pixels to the edges, in degrees."""
    affine = extra("rasterio", RASTERS).Affine
    (dlat, dlon), north = grid.spacing, grid.lat[-1]
    return affine(dlon, 0.0, grid.lon[0] - dlon / 2, 0.0, -dlat, north + dlat / 2)


@dataclass(frozen=True)
class Sheet:
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

    def lay(self, field: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return north-up values on these pixels, bilinear between the field's own."""
        if self.transform == self.source:
            return field
        warp = extra("rasterio.warp", RASTERS)
        out = np.full(self.shape, np.nan, np.float32)
        warp.reproject(
            field, out, src_transform=self.source, src_crs="EPSG:4326", src_nodata=np.nan,
            dst_transform=self.transform, dst_crs=self.crs, dst_nodata=np.nan,
            resampling=warp.Resampling.bilinear,
        )  # fmt: skip
        return out


def sheet(grid: Grid, crs: str = "") -> Sheet:
    """Return the pixels of a grid, in longitude and latitude or in another reference system."""
    source = transform_of(grid)
    target = reference(crs or "EPSG:4326")
    if target == reference("EPSG:4326"):
        return Sheet(target, source, grid.shape, source)
    transform, shape = laid(grid, target)
    return Sheet(target, transform, shape, source)
