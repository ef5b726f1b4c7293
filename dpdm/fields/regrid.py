"""Regrid fields between regular grids: bilinear interpolation and conservative averages.

Both are separable: one matrix for the rows and one for the columns.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse

from dpdm.errors import DpdmError
from dpdm.fields.grid import Array, Grid, Matrix, align_longitudes, block_centres, grid_of


def overlap_matrix(source: Array, target: Array, period: float = 0.0) -> Matrix:
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


def is_nested(fine: Grid, coarse: Grid) -> bool:
    """Tell whether every coarse cell consists of fine cells, and all fine cells are used."""
    matrices = [m.toarray() > 1e-6 for m in mean_matrices(fine, coarse)]
    return all(bool((m.sum(0) == 1).all() and m.any(1).all()) for m in matrices)


def mean_matrices(source: Grid, target: Grid) -> tuple[Matrix, Matrix]:
    """Return the matrices of area means, over rows and over columns."""
    below, above = (np.sin(np.radians(g.lat_edges)) for g in (source, target))
    return overlap_matrix(below, above), overlap_matrix(source.lon_edges, target.lon_edges, 360.0)


def linear_matrix(source: Array, target: Array, cyclic: bool = False) -> Matrix:
    """Return the matrix that interpolates linearly between centres.

    Example:
        >>> linear_matrix(np.array([0.0, 1.0]), np.array([-1.0, 0.25])).toarray().tolist()
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


def bilinear_matrices(source: Grid, target: Grid) -> tuple[Matrix, Matrix]:
    """Return the matrices of bilinear interpolation, over rows and over columns."""
    lon = target.lon if source.cyclic else align_longitudes(target.lon, source.lon)
    return linear_matrix(source.lat, target.lat), linear_matrix(source.lon, lon, source.cyclic)


def apply_mean(field: Array, rows: Matrix, columns: Matrix) -> Array:
    """Return the means of finite values, NaN where there are none."""
    seen = np.isfinite(field)
    total: Array = rows @ np.where(seen, field, 0.0) @ columns.T
    if seen.all():
        return total
    share: Array = rows @ seen.astype(float) @ columns.T
    mean: Array = np.divide(total, share, out=np.full_like(total, np.nan), where=share > 1e-9)
    return mean


def apply_bilinear(field: Array, rows: Matrix, columns: Matrix) -> Array:
    """Return the bilinear interpolation, NaN where its stencil holds one."""
    seen = np.isfinite(field)
    value: Array = rows @ np.where(seen, field, 0.0) @ columns.T
    if seen.all():
        return value
    return np.where(rows @ (~seen).astype(float) @ columns.T > 0, np.nan, value)


def apply_matrices(
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


def average_conservative(fields: xr.Dataset, target: Grid) -> xr.Dataset:
    """Return the area-weighted means over the cells of a coarser grid."""
    return apply_matrices(fields, target, mean_matrices(grid_of(fields), target), apply_mean)


def interpolate_bilinear(fields: xr.Dataset, target: Grid) -> xr.Dataset:
    """Return the fields at the centres of another grid, bilinear in latitude and longitude."""
    return apply_matrices(
        fields, target, bilinear_matrices(grid_of(fields), target), apply_bilinear
    )


def coarsen_grid(grid: Grid, factor: int) -> Grid:
    """Return the grid of blocks of ``factor`` by ``factor`` cells."""
    if factor < 1:
        raise DpdmError(f"The factor is {factor}.", "Give a whole number of 1 or more.")
    for name, count in zip(("latitudes", "longitudes"), grid.shape, strict=True):
        if count % factor or count == factor:
            raise DpdmError(
                f"The factor {factor} does not cut {count} {name} into two or more whole blocks.",
                f"Cut the field, or choose a factor that divides {count}.",
            )
    return Grid(block_centres(grid.lat, factor), block_centres(grid.lon, factor))


def coarsen_fields(fields: xr.Dataset, factor: int) -> xr.Dataset:
    """Return the area-weighted means over blocks of ``factor`` by ``factor`` cells."""
    return average_conservative(fields, coarsen_grid(grid_of(fields), factor))
