r"""Scores of an ensemble, which is a forecast with the dimension ``realization``.

Its CRPS is the fair one,

.. math:: \frac1M \sum_i |x_i - y| - \frac1{M(M-1)} \sum_{i<j} |x_i - x_j|,

whose expectation does not depend on the number M of members, so that it is comparable with the
absolute error of a single field, which is what it becomes without members.
"""

import numpy as np
import xarray as xr

from dpdm.evaluate.scores import Array, area_mean, rmse, stepwise


@stepwise
def crps(forecast: xr.DataArray, truth: xr.DataArray, weights: xr.DataArray) -> xr.DataArray:
    """Return the fair CRPS of an ensemble, or the mean absolute error of a single field.

    By sorting, O(M log M); Zamo and Naveau 2018, doi:10.1007/s11004-017-9709-7, eq. eFAIR.
    """
    if "realization" not in forecast.dims:
        return area_mean(abs(forecast - truth).astype(float), weights)
    errors = (forecast - truth).transpose(..., "realization")
    return area_mean(xr.apply_ufunc(fair, errors, input_core_dims=[["realization"]]), weights)


def fair(errors: Array) -> Array:
    """Return the fair CRPS of members minus truth, with shape (..., M).

    Example:
        >>> float(fair(np.array([-1.0, 3.0])))
        0.0
    """
    count = errors.shape[-1]
    absolute: Array = np.abs(errors).mean(-1, dtype=float)
    if count == 1:
        return absolute
    order = 2.0 * np.arange(count) - count + 1
    pairs: Array = np.einsum("...m,m", np.sort(errors, axis=-1), order)
    value: Array = absolute - pairs / (count * (count - 1))
    return value


@stepwise
def variance(forecast: xr.DataArray, truth: xr.DataArray, weights: xr.DataArray) -> xr.DataArray:
    """Return the mean of (M + 1) / M times the ensemble variance (ddof 1), where there is truth.

    For an exchangeable ensemble this is the expected squared error of the ensemble mean
    (Fortin et al. 2014, doi:10.1175/JHM-D-14-0008.1). NaN for a single member.
    """
    count = forecast.sizes["realization"]
    spread = (forecast - truth).astype(float).var("realization", ddof=min(1, count - 1))
    fair_spread = spread * (count + 1) / count if count > 1 else spread * np.nan
    seen = (forecast - truth).notnull().all("realization")
    return area_mean(fair_spread.where(seen), weights)


def ssr(forecast: xr.DataArray, truth: xr.DataArray, weights: xr.DataArray) -> xr.DataArray:
    """Return the spread-skill ratio, pooled over space and time; 1 is calibrated.

    The root of the mean of ``variance`` over the mean squared error of the ensemble mean.
    """
    centre = forecast.mean("realization", skipna=False)
    spread, error = variance(forecast, truth, weights), rmse(centre, truth, weights) ** 2
    return (spread.mean() / error.mean()) ** 0.5


@stepwise
def rank_histogram(
    forecast: xr.DataArray, truth: xr.DataArray, weights: xr.DataArray
) -> xr.DataArray:
    """Return the share of the area at which the truth has each rank among the members.

    Where members equal the truth (dry cells), the cell counts in equal parts for each rank that
    it may have: the expectation of breaking the tie at random, without its noise.
    """
    seen = (forecast - truth).notnull().all("realization") & (weights > 0)
    below = (forecast < truth).sum("realization")
    ties = (forecast == truth).sum("realization")
    share = (weights / (ties + 1)).where(seen, 0.0).transpose(*below.dims)
    count = forecast.sizes["realization"] + 1
    steps = (
        np.bincount(rank.values.ravel(), share.values.ravel(), count + 1)
        for rank in (below, below + ties + 1)
    )
    mass = np.cumsum(np.subtract(*steps))[:count].clip(0.0)
    total = mass.sum() or np.nan
    return xr.DataArray(mass / total, {"rank": np.arange(count)}, ["rank"])
