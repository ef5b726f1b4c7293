"""Estimate the uncertainty of a ratio of RMSEs by a paired bootstrap over times and tiles.

Errors are correlated between neighbouring cells and, where topography causes them, between time
steps. So times and tiles of about 10 degrees are both resampled with replacement (Owen 2007,
doi:10.1214/07-AOAS122). Resampling single blocks would take the twelve months of a tile as
independent.
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
        reference: The same for the reference method.
        seed: Seed of the resampling.

    Returns:
        The 2.5th and 97.5th percentile of 1000 resamples; NaN for a single block.
    """
    if errors.size < 2:
        return np.nan, np.nan
    random = np.random.default_rng(seed)
    times, tiles = (random.multinomial(n, np.full(n, 1 / n), RESAMPLES) for n in errors.shape)
    top, bottom = (((times @ sums) * tiles).sum(1) for sums in (errors, reference))
    ratios = np.sqrt(top[bottom > 0] / bottom[bottom > 0])
    low, high = np.percentile(ratios, [2.5, 97.5]) if ratios.size else (np.nan, np.nan)
    return float(low), float(high)
