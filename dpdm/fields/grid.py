r"""Regular latitude-longitude grids: centres, edges and areas of the cells.

On a regular grid both maps are separable, :math:`Y = R\,X\,C^T` with one sparse matrix per axis:

- the **mean** over the cells that a larger cell covers, weighted by their area (longitude times
  the sine of latitude), which is first-order conservative remapping;
- the **lerp** between the four centres around a point, which is what ``cdo remapbil`` does.
  Beyond the outermost centres it holds the last value.

A missing value is NaN. A mean skips it; a lerp spreads it to the points whose stencil holds it,
and no further.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

Array = NDArray[np.float64]
Matrix: TypeAlias = Any  # scipy.sparse.csr_array, or a dense array of its values


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular latitude-longitude grid, both axes ascending.

    Attributes:
        lat: Latitudes of the cell centres, degrees north, with shape (H,).
        lon: Longitudes of the cell centres, degrees east, with shape (W,).

    Example:
        >>> grid = Grid(np.arange(-88.75, 90, 2.5), np.arange(0, 360, 2.5))
        >>> grid.shape, grid.cyclic, grid.spacing
        ((72, 144), True, (2.5, 2.5))
    """

    lat: Array
    lon: Array

    @property
    def shape(self) -> tuple[int, int]:
        """Count the rows and columns."""
        return len(self.lat), len(self.lon)

    @property
    def spacing(self) -> tuple[float, float]:
        """Return the distance between rows and between columns, in degrees."""
        return axis_spacing(self.lat), axis_spacing(self.lon)

    @property
    def cyclic(self) -> bool:
        """Tell whether the columns close the circle."""
        return bool(abs(len(self.lon) * self.spacing[1] - 360) < 1e-3 * self.spacing[1])

    @cached_property
    def lat_edges(self) -> Array:
        """Return the H + 1 edges of the rows; none lies beyond a pole."""
        return np.clip(edges_from_centres(self.lat), -90, 90)

    @cached_property
    def lon_edges(self) -> Array:
        """Return the W + 1 edges of the columns."""
        return edges_from_centres(self.lon)

    @cached_property
    def weights(self) -> Array:
        """Return the area of each cell over the mean area, with shape (H, W)."""
        rows = np.diff(np.sin(np.radians(self.lat_edges)))
        return np.repeat((rows / rows.mean())[:, None], len(self.lon), axis=1)

    def coords(self) -> dict[str, tuple[str, Array]]:
        """Return the axes as xarray coordinates."""
        return {"lat": ("lat", self.lat), "lon": ("lon", self.lon)}

    def covers(self, other: Grid) -> bool:
        """Tell whether every centre of another grid lies in one of these cells."""
        lat = (other.lat > self.lat_edges[0] - 1e-6) & (other.lat < self.lat_edges[-1] + 1e-6)
        lon = align_longitudes(other.lon, self.lon)
        inside = (lon > self.lon_edges[0] - 1e-6) & (lon < self.lon_edges[-1] + 1e-6)
        return bool(lat.all() and (self.cyclic or inside.all()))

    def is_same(self, other: Grid) -> bool:
        """Tell whether two grids have the same cells, to a thousandth of a cell."""
        return self.shape == other.shape and all(
            bool(np.allclose(a, b, rtol=0, atol=1e-3 * axis_spacing(a)))
            for a, b in ((self.lat, other.lat), (self.lon, other.lon))
        )


def axis_spacing(centres: Array) -> float:
    """Return the distance between neighbours of a regular axis."""
    return float((centres[-1] - centres[0]) / (len(centres) - 1))


def edges_from_centres(centres: Array) -> Array:
    """Return the edges of cells that have these regular centres.

    Example:
        >>> edges_from_centres(np.array([1.0, 2.0, 3.0])).tolist()
        [0.5, 1.5, 2.5, 3.5]
    """
    outer: Array = centres[0] + axis_spacing(centres) * (np.arange(len(centres) + 1) - 0.5)
    return outer


def grid_of(fields: xr.Dataset | xr.DataArray) -> Grid:
    """Return the grid of canonical fields."""
    return Grid(fields["lat"].values.astype(float), fields["lon"].values.astype(float))


def refine_grid(grid: Grid, spacing: tuple[float, float]) -> Grid:
    """Split every cell into as many whole parts as fit, none finer than ``spacing`` degrees.

    Example:
        >>> refine_grid(Grid(np.array([0.0, 2.5]), np.array([10.0, 12.5])), (0.25, 0.25)).shape
        (20, 20)
    """
    parts = [max(1, int(d / s + 0.05)) for d, s in zip(grid.spacing, spacing, strict=True)]
    lat, lon = (
        subdivide_cells(axis, n) for axis, n in zip((grid.lat, grid.lon), parts, strict=True)
    )
    return Grid(lat[np.abs(lat) <= 90], lon)


def extend_grid(grid: Grid, rows: int, columns: int) -> Grid:
    """Return a grid with so many more rows and columns on each side; none beyond a pole."""
    lat, lon = (
        axis[0] + axis_spacing(axis) * np.arange(-more, len(axis) + more)
        for axis, more in zip((grid.lat, grid.lon), (rows, columns), strict=True)
    )
    return Grid(lat[np.abs(lat) <= 90], grid.lon if grid.cyclic else lon)


def subdivide_cells(centres: Array, parts: int) -> Array:
    """Return the centres of cells cut into equal parts."""
    fine = axis_spacing(centres) / parts
    count = len(centres) * parts
    parted: Array = centres[0] - axis_spacing(centres) / 2 + fine * (np.arange(count) + 0.5)
    return parted


def block_centres(centres: Array, factor: int) -> Array:
    """Return the centres of blocks of ``factor`` neighbouring cells."""
    means: Array = centres.reshape(-1, factor).mean(1)
    return means


def align_longitudes(lon: Array, other: Array) -> Array:
    """Return the longitudes on the turn of the circle that lies nearest to another axis."""
    turn: Array = lon + 360.0 * np.round((other.mean() - lon.mean()) / 360.0)
    return turn


def recentre_grid(grid: Grid) -> Grid:
    """Return a grid with its western edge in -180 to 180.

    Example:
        >>> lat = np.array([0.0, 1.0])
        >>> recentre_grid(Grid(lat, np.arange(0.5, 360))).lon[[0, -1]].tolist()
        [-179.5, 179.5]
        >>> recentre_grid(Grid(lat, np.arange(-190.0, -170))).lon[[0, -1]].tolist()
        [170.0, 189.0]
    """
    slack = 1e-6 * grid.spacing[1]  # a centre at 180 becomes -180, whatever its last digits
    turns = 360 * np.floor((grid.lon + 180 + slack) / 360)
    return Grid(grid.lat, np.sort(grid.lon - turns) if grid.cyclic else grid.lon - turns[0])
