r"""Compare the distribution and the spectrum of a field with the truth's.

The Wasserstein distance is the area between two distribution functions,
:math:`\int |F(v) - G(v)| dv`, in the unit of the variable: the mean distance by which values have
to move (Villani 2009, doi:10.1007/978-3-540-71050-9). The log-spectral distance is the root of the
mean over the rings of wavenumbers of :math:`(10 \log_{10} P / Q)^2`, in dB (Gray and Markel 1976,
doi:10.1109/TASSP.1976.1162849).
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from dpdm.evaluate.scores import SPATIAL_DIMS, score_by_step
from dpdm.fields.grid import Array


@score_by_step
def wasserstein(
    forecast: xr.DataArray, truth: xr.DataArray, weights: xr.DataArray
) -> xr.DataArray:
    """Return the Wasserstein distance of the values over the cells, weighted by area."""
    distance: xr.DataArray = xr.apply_ufunc(
        wasserstein_of_cells,
        forecast,
        truth,
        weights,
        input_core_dims=[SPATIAL_DIMS] * 3,
        vectorize=True,
    )
    return distance


def wasserstein_of_cells(one: Array, other: Array, weights: Array) -> float:
    """Return the distance of two fields of equal weights, NaN without a cell that both have.

    Example:
        >>> float(wasserstein_of_cells(np.array([0.0, 1.0]), np.array([3.0, 2.0]), np.ones(2)))
        2.0
    """
    valid = np.isfinite(one) & np.isfinite(other) & (weights > 0)
    if not valid.any():
        return np.nan
    values = np.concatenate([one[valid], other[valid]])
    mass = weights[valid] / weights[valid].sum()
    order = np.argsort(values, kind="stable")
    difference = np.cumsum(np.concatenate([mass, -mass])[order])[:-1]
    return float(np.abs(difference) @ np.diff(values[order]))


def log_spectral_distance(power: xr.DataArray, truth: xr.DataArray) -> float | None:
    """Return the log-spectral distance (dB) of two spectra on dimension ``wavenumber``.

    Rings in which the truth has no power are left out; None without any, or where the other
    spectrum has none there.
    """
    ours, true = power.values, truth.values
    rings = true > 0
    if not rings.any() or not (ours[rings] > 0).all():
        return None
    return float(np.sqrt(np.mean((10 * np.log10(ours[rings] / true[rings])) ** 2)))
