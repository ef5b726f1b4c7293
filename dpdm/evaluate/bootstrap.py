"""How sure a ratio of RMSEs is: a paired bootstrap over time steps and tiles of about 10 degrees.

Errors are alike in neighbouring cells and, where the ground makes them, in all time steps. So both
factors are drawn again, times and tiles each with replacement, and a block counts as often as its
time and its tile together (Owen 2007, doi:10.1214/07-AOAS122). Drawing the blocks one by one would
take a tile's twelve months for twelve independent witnesses.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.fields.grid import Array, grid_of

TILE_DEGREES = 10.0  # degrees
RESAMPLES = 1000


def tile_starts(fields: xr.DataArray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first row and the first column of each tile of about 10 degrees."""
    grid = grid_of(fields)
    tiles = [
        max(1, round(cells * spacing / TILE_DEGREES))
        for cells, spacing in zip(grid.shape, grid.spacing, strict=True)
    ]
    rows, columns = (
        np.linspace(0, cells, count, endpoint=False).astype(np.intp)
        for cells, count in zip(grid.shape, tiles, strict=True)
    )
    return rows, columns


def tile_sums(field: xr.DataArray) -> xr.DataArray:
    """Return the sum over each tile, with dimension ``tile`` for latitude and longitude."""
    rows, columns = tile_starts(field)

    def add(values: Array) -> Array:
        filled = np.nan_to_num(values)
        total: Array = np.add.reduceat(np.add.reduceat(filled, rows, -2), columns, -1)
        return total.reshape(*values.shape[:-2], -1)

    sums: xr.DataArray = xr.apply_ufunc(
        add, field, input_core_dims=[["lat", "lon"]], output_core_dims=[["tile"]]
    )
    return sums


def ratio_interval(errors: Array, reference: Array, seed: int = 0) -> tuple[float, float]:
    """Return the 95% interval of the ratio of two RMSEs.

    Args:
        errors: Sums of squared errors, with shape (time, tile).
        reference: The same of the reference, in the same blocks.
        seed: Of the resampling.

    Returns:
        The 2.5th and 97.5th percentile of 1000 resamples; NaN when there is but one block.
    """
    if errors.size < 2:
        return np.nan, np.nan
    random = np.random.default_rng(seed)
    times, tiles = (random.multinomial(n, np.full(n, 1 / n), RESAMPLES) for n in errors.shape)
    top, bottom = (((times @ sums) * tiles).sum(1) for sums in (errors, reference))
    ratios = np.sqrt(top[bottom > 0] / bottom[bottom > 0])
    low, high = np.percentile(ratios, [2.5, 97.5]) if ratios.size else (np.nan, np.nan)
    return float(low), float(high)
