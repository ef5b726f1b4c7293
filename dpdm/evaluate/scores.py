r"""The scores: one signature, ``score(forecast, truth, weights)``, and one number a time step.

Every score averages over the cells with their area as weight. A cell that is missing (NaN) in
either field is left out and the weights of the others are renormalised. Latitude and longitude
are reduced; time and any further dimension (methods, members) stay. One time step is in memory
at a time, so lazily opened files of any length will do.

Scores of an ensemble, which is a forecast with the dimension ``realization``.

Its CRPS is the fair one,

.. math:: \frac1M \sum_i |x_i - y| - \frac1{M(M-1)} \sum_{i<j} |x_i - x_j|,

whose expectation does not depend on the number M of members, so that it is comparable with the
absolute error of a single field, which is what it becomes without members.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage

from dpdm.errors import DpdmError
from dpdm.fields.grid import grid_of
from dpdm.fields.regrid import average_conservative
from dpdm.fields.subset import select_covered

Array = NDArray[np.floating]
P = ParamSpec("P")

SPATIAL_DIMS = ("lat", "lon")
SSIM_RADIUS = 5  # of the 11 x 11 window of SSIM
SSIM_SIGMA = 1.5  # width of its Gaussian, in cells


def score_by_step(score: Callable[P, xr.DataArray]) -> Callable[P, xr.DataArray]:
    """Let a score of one time step serve a series, with one step in memory at a time."""
    one_step: Callable[..., xr.DataArray] = score
    signature = inspect.signature(score)

    @wraps(score)
    def over_time(*args: P.args, **options: P.kwargs) -> xr.DataArray:
        given = signature.bind(*args, **options).arguments
        series = share_first_coordinates(given)
        if series is None:
            return one_step(**load_arguments(given))
        steps = [one_step(**select_argument_step(given, i)) for i in range(series.sizes["time"])]
        times = {"time": series["time"]} if "time" in series.coords else {}
        return xr.concat(steps, "time").assign_coords(times)

    return over_time


def select_argument_step(given: dict[str, Any], step: int) -> dict[str, Any]:
    """Return arguments with the series among them cut to one time step."""
    return load_arguments(
        {
            name: value.isel(time=step, drop=True)
            if "time" in getattr(value, "dims", ())
            else value
            for name, value in given.items()
        }
    )


def load_arguments(given: dict[str, Any]) -> dict[str, Any]:
    """Return arguments with the fields among them in memory."""
    return {
        name: value.compute() if isinstance(value, xr.DataArray) else value
        for name, value in given.items()
    }


def share_first_coordinates(given: dict[str, Any]) -> xr.DataArray | None:
    """Return the first field that is a series, None where none is."""
    fields = [value for value in given.values() if isinstance(value, xr.DataArray)]
    try:
        xr.align(*fields, join="exact", copy=False)
    except ValueError as error:
        raise DpdmError(
            f"The fields to compare differ in their cells or times: {error}.",
            "Bring them to one grid and one set of times first.",
        ) from error
    return next((field for field in fields if "time" in field.dims), None)


def area_weights(fields: xr.Dataset | xr.DataArray) -> xr.DataArray:
    """Return the area of each cell over the mean area, labelled."""
    coords = {axis: fields[axis] for axis in SPATIAL_DIMS}
    return xr.DataArray(grid_of(fields).weights, coords, SPATIAL_DIMS)


def area_mean(field: xr.DataArray, weights: xr.DataArray) -> xr.DataArray:
    """Return the weighted mean of the cells that are there; both have dimensions lat and lon."""
    mean: xr.DataArray = xr.apply_ufunc(
        mean_of_valid, field, weights, input_core_dims=[SPATIAL_DIMS, SPATIAL_DIMS]
    )
    return mean


def mean_of_valid(values: Array, weights: Array) -> Array:
    """Return the weighted mean over the last two axes, NaN where nothing is seen.

    Example:
        >>> float(mean_of_valid(np.array([[1.0, np.nan, 4.0]]), np.array([[2.0, 9.0, 4.0]])))
        3.0
    """
    seen = ~np.isnan(values)
    total = np.einsum("...yx,yx", np.where(seen, values, 0.0), weights)
    area = np.einsum("...yx,yx", seen, weights)
    mean: Array = np.divide(total, area, out=np.full_like(total, np.nan), where=area > 0)
    return mean


@score_by_step
def rmse(forecast: xr.DataArray, truth: xr.DataArray, weights: xr.DataArray) -> xr.DataArray:
    """Return the root of the mean squared error of each time step.

    The RMSE of a series is the root of the mean over time of the squares of these.
    """
    return area_mean((forecast - truth).astype(float) ** 2, weights) ** 0.5


@score_by_step
def bias(forecast: xr.DataArray, truth: xr.DataArray, weights: xr.DataArray) -> xr.DataArray:
    """Return the mean of forecast minus truth."""
    return area_mean((forecast - truth).astype(float), weights)


@score_by_step
def acc(
    forecast: xr.DataArray, truth: xr.DataArray, climatology: xr.DataArray, weights: xr.DataArray
) -> xr.DataArray:
    """Return the centred anomaly correlation (WMO-No. 485), NaN where an anomaly is constant."""
    seen = (forecast - truth).notnull()
    anomalies = [(field - climatology).astype(float).where(seen) for field in (forecast, truth)]
    a, b = (field - area_mean(field, weights) for field in anomalies)
    norm = (area_mean(a**2, weights) * area_mean(b**2, weights)) ** 0.5
    return area_mean(a * b, weights) / norm.where(norm > 0)


@score_by_step
def psnr(
    forecast: xr.DataArray, truth: xr.DataArray, weights: xr.DataArray, data_range: float
) -> xr.DataArray:
    """Return the peak signal-to-noise ratio in dB, 20 log10(data_range / RMSE)."""
    error = rmse(forecast, truth, weights)
    with np.errstate(divide="ignore"):
        return error.copy(data=20 * np.log10(data_range / error.values))


@score_by_step
def ssim(
    forecast: xr.DataArray, truth: xr.DataArray, weights: xr.DataArray, data_range: float
) -> xr.DataArray:
    """Return the mean structural similarity (Wang et al. 2004, doi:10.1109/TIP.2003.819861).

    Gaussian windows of 11 x 11 cells (sigma 1.5), K1 = 0.01, K2 = 0.03. Windows that reach beyond
    the edge are left out, unless the field is smaller than one; a missing cell is left out of
    the windows that hold it.
    """
    similarity = xr.apply_ufunc(
        similarity_map,
        forecast,
        truth,
        kwargs={"data_range": data_range},
        input_core_dims=[SPATIAL_DIMS, SPATIAL_DIMS],
        output_core_dims=[SPATIAL_DIMS],
    )
    return area_mean(similarity, weights)


def similarity_map(x: Array, y: Array, data_range: float) -> Array:
    """Return SSIM around each cell, NaN where there is none; x and y with shape (..., H, W)."""
    x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
    seen = np.isfinite(x) & np.isfinite(y)
    share = gaussian_blur(seen.astype(float))

    def local(field: Array) -> Array:
        total = gaussian_blur(np.where(seen, field, 0.0))
        return np.divide(total, share, out=np.zeros_like(total), where=share > 0)

    mx, my = local(x), local(y)
    vx, vy, cov = local(x * x) - mx**2, local(y * y) - my**2, local(x * y) - mx * my
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    with np.errstate(invalid="ignore"):
        value = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return np.where(seen & full_window_mask(x.shape[-2:]), value, np.nan)


def gaussian_blur(field: Array) -> Array:
    """Return the Gaussian mean around each cell, with zeros beyond the edge."""
    offsets = np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1)
    kernel = np.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2)
    for axis in (-2, -1):
        field = ndimage.correlate1d(field, kernel / kernel.sum(), axis, mode="constant")
    return field


def full_window_mask(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Tell which cells have a whole window around them; all, in a field smaller than a window."""
    whole = np.zeros(shape, bool)
    whole[SSIM_RADIUS:-SSIM_RADIUS, SSIM_RADIUS:-SSIM_RADIUS] = True
    return whole if whole.any() else ~whole


def consistency(forecast: xr.DataArray, coarse: xr.DataArray) -> xr.DataArray:
    """Return the RMS difference of the forecast's means over coarse cells and the coarse field.

    Only cells that the forecast covers whole count, weighted by their area.
    """
    given = select_covered(coarse.to_dataset(name="field"), grid_of(forecast))
    if given is None:
        raise DpdmError(
            "The forecast covers fewer than 2 x 2 whole cells of the coarse field.",
            "Give fields of a larger domain.",
        )
    means = average_conservative(forecast.to_dataset(name="field"), grid_of(given))
    return rmse(means["field"], given["field"], area_weights(given))


@score_by_step
def crps(forecast: xr.DataArray, truth: xr.DataArray, weights: xr.DataArray) -> xr.DataArray:
    """Return the fair CRPS of an ensemble, or the mean absolute error of a single field.

    By sorting, O(M log M); Zamo and Naveau 2018, doi:10.1007/s11004-017-9709-7, eq. eFAIR.
    """
    if "realization" not in forecast.dims:
        return area_mean(abs(forecast - truth).astype(float), weights)
    errors = (forecast - truth).transpose(..., "realization")
    return area_mean(xr.apply_ufunc(fair_crps, errors, input_core_dims=[["realization"]]), weights)


def fair_crps(errors: Array) -> Array:
    """Return the fair CRPS of members minus truth, with shape (..., M).

    Example:
        >>> float(fair_crps(np.array([-1.0, 3.0])))
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


@score_by_step
def corrected_variance(
    forecast: xr.DataArray, truth: xr.DataArray, weights: xr.DataArray
) -> xr.DataArray:
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

    The root of the mean of ``corrected_variance`` over the mean squared error of the ensemble
    mean.
    """
    centre = forecast.mean("realization", skipna=False)
    spread, error = corrected_variance(forecast, truth, weights), rmse(centre, truth, weights) ** 2
    return (spread.mean() / error.mean()) ** 0.5


@score_by_step
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
