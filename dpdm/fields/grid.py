r"""Where the cells are: centres, edges, areas, and the two linear maps between grids.

On a regular grid both maps are separable, :math:`Y = R\,X\,C^T` with one sparse matrix per axis:

- the **mean** over the cells that a larger cell covers, weighted by their area (longitude times
  the sine of latitude), which is first-order conservative remapping;
- the **lerp** between the four centres around a point, which is what ``cdo remapbil`` does.
  Beyond the outermost centres it holds the last value.

A missing value is NaN. A mean skips it; a lerp spreads it to the points whose stencil holds it,
and no further.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse

from dpdm.errors import DpdmError

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
        """Give the distance between rows and between columns, in degrees."""
        return step(self.lat), step(self.lon)

    @property
    def cyclic(self) -> bool:
        """Tell whether the columns close the circle."""
        return bool(abs(len(self.lon) * self.spacing[1] - 360) < 1e-3 * self.spacing[1])

    @cached_property
    def lat_edges(self) -> Array:
        """Give the H + 1 edges of the rows; none lies beyond a pole."""
        return np.clip(edges(self.lat), -90, 90)

    @cached_property
    def lon_edges(self) -> Array:
        """Give the W + 1 edges of the columns."""
        return edges(self.lon)

    @cached_property
    def weights(self) -> Array:
        """Give the area of each cell over the mean area, with shape (H, W)."""
        rows = np.diff(np.sin(np.radians(self.lat_edges)))
        return np.repeat((rows / rows.mean())[:, None], len(self.lon), axis=1)

    def coords(self) -> dict[str, tuple[str, Array]]:
        """Give the axes as xarray wants them."""
        return {"lat": ("lat", self.lat), "lon": ("lon", self.lon)}

    def covers(self, other: Grid) -> bool:
        """Tell whether every centre of another grid lies in one of these cells."""
        lat = (other.lat > self.lat_edges[0] - 1e-6) & (other.lat < self.lat_edges[-1] + 1e-6)
        lon = near(other.lon, self.lon)
        inside = (lon > self.lon_edges[0] - 1e-6) & (lon < self.lon_edges[-1] + 1e-6)
        return bool(lat.all() and (self.cyclic or inside.all()))

    def same(self, other: Grid) -> bool:
        """Tell whether two grids have the same cells, to a thousandth of a cell."""
        return self.shape == other.shape and all(
            bool(np.allclose(a, b, rtol=0, atol=1e-3 * step(a)))
            for a, b in ((self.lat, other.lat), (self.lon, other.lon))
        )


def step(centres: Array) -> float:
    """Return the distance between neighbours of a regular axis."""
    return float((centres[-1] - centres[0]) / (len(centres) - 1))


def edges(centres: Array) -> Array:
    """Return the edges of cells that have these regular centres.

    Example:
        >>> edges(np.array([1.0, 2.0, 3.0])).tolist()
        [0.5, 1.5, 2.5, 3.5]
    """
    outer: Array = centres[0] + step(centres) * (np.arange(len(centres) + 1) - 0.5)
    return outer


def grid_of(fields: xr.Dataset | xr.DataArray) -> Grid:
    """Return the grid of canonical fields."""
    return Grid(fields["lat"].values.astype(float), fields["lon"].values.astype(float))


def refine(grid: Grid, spacing: tuple[float, float]) -> Grid:
    """Split every cell into as many whole parts as fit, none finer than ``spacing`` degrees.

    Example:
        >>> refine(Grid(np.array([0.0, 2.5]), np.array([10.0, 12.5])), (0.25, 0.25)).shape
        (20, 20)
    """
    parts = [max(1, int(d / s + 0.05)) for d, s in zip(grid.spacing, spacing, strict=True)]
    lat, lon = (split(axis, n) for axis, n in zip((grid.lat, grid.lon), parts, strict=True))
    return Grid(lat[np.abs(lat) <= 90], lon)


def widened(grid: Grid, rows: int, columns: int) -> Grid:
    """Return a grid with so many more rows and columns on each side; none beyond a pole."""
    lat, lon = (
        axis[0] + step(axis) * np.arange(-more, len(axis) + more)
        for axis, more in zip((grid.lat, grid.lon), (rows, columns), strict=True)
    )
    return Grid(lat[np.abs(lat) <= 90], grid.lon if grid.cyclic else lon)


def split(centres: Array, parts: int) -> Array:
    """Return the centres of cells cut into equal parts."""
    fine = step(centres) / parts
    count = len(centres) * parts
    parted: Array = centres[0] - step(centres) / 2 + fine * (np.arange(count) + 0.5)
    return parted


def blocks(centres: Array, factor: int) -> Array:
    """Return the centres of blocks of ``factor`` neighbouring cells."""
    means: Array = centres.reshape(-1, factor).mean(1)
    return means


def overlap(source: Array, target: Array, period: float = 0.0) -> Matrix:
    """Return the matrix of means over target intervals, from the edges of both, rows summing to 1.

    A row whose interval meets no source is empty. With a ``period`` the axis is a circle.
    """
    shared = sum(
        np.minimum(source[None, 1:] + shift, target[1:, None])
        .__sub__(np.maximum(source[None, :-1] + shift, target[:-1, None]))
        .clip(0)
        for shift in ((-period, 0.0, period) if period else (0.0,))
    )
    shared = np.where(shared < 1e-9 * np.abs(np.diff(target))[:, None], 0.0, shared)
    total = shared.sum(1, keepdims=True)
    return sparse.csr_array(np.divide(shared, total, out=np.zeros_like(shared), where=total > 0))


def nested(fine: Grid, coarse: Grid) -> bool:
    """Tell whether every coarse cell is made of whole fine cells, and every fine cell is used."""
    matrices = [m.toarray() > 1e-6 for m in mean_matrices(fine, coarse)]
    return all(bool((m.sum(0) == 1).all() and m.any(1).all()) for m in matrices)


def mean_matrices(source: Grid, target: Grid) -> tuple[Matrix, Matrix]:
    """Return the area means' matrices, over rows and over columns."""
    below, above = (np.sin(np.radians(g.lat_edges)) for g in (source, target))
    return overlap(below, above), overlap(source.lon_edges, target.lon_edges, 360.0)


def stencil(source: Array, target: Array, cyclic: bool = False) -> Matrix:
    """Return the matrix that interpolates linearly between centres.

    Example:
        >>> stencil(np.array([0.0, 1.0]), np.array([-1.0, 0.25])).toarray().tolist()
        [[1.0, 0.0], [0.75, 0.25]]
    """
    if cyclic:
        target = source[0] + (target - source[0]) % 360.0
        source = np.append(source, source[0] + 360.0)
    left = np.clip(np.searchsorted(source, target, side="right") - 1, 0, len(source) - 2)
    right = np.clip((target - source[left]) / (source[left + 1] - source[left]), 0.0, 1.0)
    right = np.where(np.abs(right - np.round(right)) < 1e-9, np.round(right), right)
    count = len(source) - cyclic
    rows = np.arange(len(target))
    matrix = sparse.coo_array(
        (np.r_[1 - right, right], (np.r_[rows, rows], np.r_[left, left + 1] % count)),
        shape=(len(target), count),
    ).tocsr()
    matrix.eliminate_zeros()
    return matrix


def lerp_matrices(source: Grid, target: Grid) -> tuple[Matrix, Matrix]:
    """Return the lerp's matrices, over rows and over columns."""
    lon = target.lon if source.cyclic else near(target.lon, source.lon)
    return stencil(source.lat, target.lat), stencil(source.lon, lon, source.cyclic)


def near(lon: Array, other: Array) -> Array:
    """Return the longitudes on the turn of the circle that lies nearest to another axis."""
    turn: Array = lon + 360.0 * np.round((other.mean() - lon.mean()) / 360.0)
    return turn


def spread_mean(field: Array, rows: Matrix, columns: Matrix) -> Array:
    """Return the means of the values that are there, NaN where there are none."""
    seen = np.isfinite(field)
    total: Array = rows @ np.where(seen, field, 0.0) @ columns.T
    if seen.all():
        return total
    share: Array = rows @ seen.astype(float) @ columns.T
    mean: Array = np.divide(total, share, out=np.full_like(total, np.nan), where=share > 1e-9)
    return mean


def spread_lerp(field: Array, rows: Matrix, columns: Matrix) -> Array:
    """Return the lerp, NaN where its stencil holds one."""
    seen = np.isfinite(field)
    value: Array = rows @ np.where(seen, field, 0.0) @ columns.T
    if seen.all():
        return value
    return np.where(rows @ (~seen).astype(float) @ columns.T > 0, np.nan, value)


def remap(
    fields: xr.Dataset,
    target: Grid,
    matrices: tuple[Matrix, Matrix],
    rule: Callable[[Array, Matrix, Matrix], Array],
) -> xr.Dataset:
    """Apply a pair of matrices to each lat-lon slice, in float64, lazily where the input is."""

    def each(values: NDArray[np.floating]) -> NDArray[np.floating]:
        flat = values.reshape(-1, *values.shape[-2:]).astype(float)
        out = np.stack([rule(field, *matrices) for field in flat])
        return out.reshape(*values.shape[:-2], *target.shape).astype(values.dtype)

    def one(array: xr.DataArray) -> xr.DataArray:
        whole = array.chunk({"lat": -1, "lon": -1}) if array.chunks else array
        sizes = {"_lat": target.shape[0], "_lon": target.shape[1]}
        mapped: xr.DataArray = xr.apply_ufunc(
            each,
            whole.drop_vars(["lat", "lon"]),
            input_core_dims=[["lat", "lon"]],
            output_core_dims=[["_lat", "_lon"]],
            dask="parallelized",
            dask_gufunc_kwargs={"output_sizes": sizes},
            output_dtypes=[array.dtype],
            keep_attrs=True,
        )
        return mapped.rename({"_lat": "lat", "_lon": "lon"}).assign_coords(target.coords())

    arrays = {name: one(array) for name, array in fields.data_vars.items()}
    return xr.Dataset(arrays, attrs=fields.attrs)


def average(fields: xr.Dataset, target: Grid) -> xr.Dataset:
    """Return the area-weighted means over the cells of a coarser grid."""
    return remap(fields, target, mean_matrices(grid_of(fields), target), spread_mean)


def lerp(fields: xr.Dataset, target: Grid) -> xr.Dataset:
    """Return the fields at the centres of another grid, bilinear in latitude and longitude."""
    return remap(fields, target, lerp_matrices(grid_of(fields), target), spread_lerp)


def coarsened(grid: Grid, factor: int) -> Grid:
    """Return the grid of blocks of ``factor`` by ``factor`` cells."""
    if factor < 1:
        raise DpdmError(f"The factor is {factor}.", "Give a whole number of 1 or more.")
    for name, count in zip(("latitudes", "longitudes"), grid.shape, strict=True):
        if count % factor or count == factor:
            raise DpdmError(
                f"The factor {factor} does not cut {count} {name} into two or more whole blocks.",
                f"Cut the field, or choose a factor that divides {count}.",
            )
    return Grid(blocks(grid.lat, factor), blocks(grid.lon, factor))


def coarsen(fields: xr.Dataset, factor: int) -> xr.Dataset:
    """Return the area-weighted means over blocks of ``factor`` by ``factor`` cells."""
    return average(fields, coarsened(grid_of(fields), factor))
