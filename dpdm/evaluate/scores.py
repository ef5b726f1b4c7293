r"""Compute scores: ``score(forecast, truth, weights)`` returns one number for each time step.

Scores average over latitude and longitude with the area of the cells as weight, and keep all other
dimensions (time, methods, members). A cell that is missing (NaN) in either field is left out. A
series is read one time step at a time. A forecast with dimension ``realization`` is an ensemble;
its CRPS is the fair one,

.. math:: \frac1M \sum_i |x_i - y| - \frac1{M(M-1)} \sum_{i<j} |x_i - x_j|,

whose expectation does not depend on the number M of members, so that it is comparable with the
absolute error of a single field, which it becomes without members.

Spectra are those of a two-dimensional cosine transform, which has no discontinuity at the edges of
a domain that is not periodic (Denis, Cote and Laprise 2002, Mon. Weather Rev. 130, 1812). The
normalised wavenumber :math:`\alpha = \sqrt{(i/H)^2 + (j/W)^2}` is 1 for a wavelength of two cells;
wavelengths are two cells over :math:`\alpha`, with distances in cells along both axes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import fft, ndimage

from dpdm.errors import DpdmError
from dpdm.fields.grid import grid_of
from dpdm.fields.regrid import average_conservative
from dpdm.fields.subset import select_covered

Array = NDArray[np.floating]
P = ParamSpec("P")

SPATIAL_DIMS = ("lat", "lon")
SSIM_RADIUS = 5  # of the 11 x 11 window of SSIM
SSIM_SIGMA = 1.5  # width of its Gaussian, in cells
SPECTRAL_BANDS = ("large", "middle", "small")


def score_by_step(score: Callable[P, xr.DataArray]) -> Callable[P, xr.DataArray]:
    """Apply a score of one time step to each step of a series, one in memory at a time."""
    one_step: Callable[..., xr.DataArray] = score
    signature = inspect.signature(score)

    @wraps(score)
    def over_time(*args: P.args, **options: P.kwargs) -> xr.DataArray:
        arguments = signature.bind(*args, **options).arguments
        series = find_series(arguments)
        if series is None:
            return one_step(**load_arguments(arguments))
        steps = [
            one_step(**select_argument_step(arguments, i)) for i in range(series.sizes["time"])
        ]
        times = {"time": series["time"]} if "time" in series.coords else {}
        return xr.concat(steps, "time").assign_coords(times)

    return over_time


def select_argument_step(arguments: dict[str, Any], step: int) -> dict[str, Any]:
    """Return the arguments at one time step."""
    return load_arguments(
        {
            name: value.isel(time=step, drop=True)
            if "time" in getattr(value, "dims", ())
            else value
            for name, value in arguments.items()
        }
    )


def load_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Load the fields among the arguments into memory."""
    return {
        name: value.compute() if isinstance(value, xr.DataArray) else value
        for name, value in arguments.items()
    }


def find_series(arguments: dict[str, Any]) -> xr.DataArray | None:
    """Return the first field with a time axis, if any, and require equal coordinates."""
    fields = [value for value in arguments.values() if isinstance(value, xr.DataArray)]
    try:
        xr.align(*fields, join="exact", copy=False)
    except ValueError as error:
        raise DpdmError(
            f"The fields to compare have different cells or times: {error}.",
            "Regrid them to one grid and select the same times first.",
        ) from error
    return next((field for field in fields if "time" in field.dims), None)


def area_weights(fields: xr.Dataset | xr.DataArray) -> xr.DataArray:
    """Return the area of each cell over the mean area (lat, lon)."""
    coords = {axis: fields[axis] for axis in SPATIAL_DIMS}
    return xr.DataArray(grid_of(fields).weights, coords, SPATIAL_DIMS)


def area_mean(field: xr.DataArray, weights: xr.DataArray) -> xr.DataArray:
    """Return the weighted mean of the finite cells of a field (..., lat, lon)."""
    mean: xr.DataArray = xr.apply_ufunc(
        mean_of_valid, field, weights, input_core_dims=[SPATIAL_DIMS, SPATIAL_DIMS]
    )
    return mean


def mean_of_valid(values: Array, weights: Array) -> Array:
    """Return the weighted mean of finite values over the last two axes, NaN without any.

    Example:
        >>> float(mean_of_valid(np.array([[1.0, np.nan, 4.0]]), np.array([[2.0, 9.0, 4.0]])))
        3.0
    """
    valid = ~np.isnan(values)
    total = np.einsum("...yx,yx", np.where(valid, values, 0.0), weights)
    area = np.einsum("...yx,yx", valid, weights)
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
    valid = (forecast - truth).notnull()
    anomalies = [(field - climatology).astype(float).where(valid) for field in (forecast, truth)]
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

    Gaussian windows of 11 x 11 cells (sigma 1.5), K1 = 0.01, K2 = 0.03. Windows that extend beyond
    the edge are left out, unless the field is smaller than a window; so are missing cells within
    a window.
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
    """Return the SSIM of x and y (..., H, W) around each cell, NaN where undefined."""
    x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
    valid = np.isfinite(x) & np.isfinite(y)
    share = gaussian_blur(valid.astype(float))

    def local(field: Array) -> Array:
        total = gaussian_blur(np.where(valid, field, 0.0))
        return np.divide(total, share, out=np.zeros_like(total), where=share > 0)

    mx, my = local(x), local(y)
    vx, vy, cov = local(x * x) - mx**2, local(y * y) - my**2, local(x * y) - mx * my
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    with np.errstate(invalid="ignore"):
        value = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return np.where(valid & full_window_mask(x.shape[-2:]), value, np.nan)


def gaussian_blur(field: Array) -> Array:
    """Return the Gaussian mean around each cell, taking zeros beyond the edge."""
    offsets = np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1)
    kernel = np.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2)
    for axis in (-2, -1):
        field = ndimage.correlate1d(field, kernel / kernel.sum(), axis, mode="constant")
    return field


def full_window_mask(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Select the cells whose window fits in the field; all if no window fits."""
    fits = np.zeros(shape, bool)
    fits[SSIM_RADIUS:-SSIM_RADIUS, SSIM_RADIUS:-SSIM_RADIUS] = True
    return fits if fits.any() else ~fits


def consistency(forecast: xr.DataArray, coarse: xr.DataArray) -> xr.DataArray:
    """Return the RMS difference between the forecast's coarse-cell means and the coarse field.

    Only coarse cells that the forecast covers entirely count, weighted by their area.
    """
    covered = select_covered(coarse.to_dataset(name="field"), grid_of(forecast))
    if covered is None:
        raise DpdmError(
            "The forecast covers fewer than 2 x 2 whole cells of the coarse field.",
            "Give fields of a larger domain.",
        )
    means = average_conservative(forecast.to_dataset(name="field"), grid_of(covered))
    return rmse(means["field"], covered["field"], area_weights(covered))


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
    """Return the mean of (M + 1) / M times the ensemble variance (ddof 1) where truth is valid.

    For an exchangeable ensemble this is the expected squared error of the ensemble mean
    (Fortin et al. 2014, doi:10.1175/JHM-D-14-0008.1). NaN for a single member.
    """
    count = forecast.sizes["realization"]
    spread = (forecast - truth).astype(float).var("realization", ddof=min(1, count - 1))
    fair_spread = spread * (count + 1) / count if count > 1 else spread * np.nan
    valid = (forecast - truth).notnull().all("realization")
    return area_mean(fair_spread.where(valid), weights)


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
    """Return the share of the area in which the truth has each rank among the members.

    A cell where members equal the truth (a dry cell) counts in equal parts for each possible rank:
    the expectation of breaking the tie at random.
    """
    valid = (forecast - truth).notnull().all("realization") & (weights > 0)
    below = (forecast < truth).sum("realization")
    ties = (forecast == truth).sum("realization")
    share = (weights / (ties + 1)).where(valid, 0.0).transpose(*below.dims)
    count = forecast.sizes["realization"] + 1
    steps = (
        np.bincount(rank.values.ravel(), share.values.ravel(), count + 1)
        for rank in (below, below + ties + 1)
    )
    mass = np.cumsum(np.subtract(*steps))[:count].clip(0.0)
    total = mass.sum() or np.nan
    return xr.DataArray(mass / total, {"rank": np.arange(count)}, ["rank"])


@score_by_step
def spectrum(field: xr.DataArray) -> xr.DataArray:
    """Return the variance in each ring of wavenumbers, on dimension ``wavenumber``.

    The coordinate is the centre of the ring. Missing cells take the mean of the others. The mean
    (wavenumber 0) and the corners beyond 1 are left out.
    """
    height, width = field.sizes["lat"], field.sizes["lon"]
    count = min(height, width)
    filled = field.fillna(field.mean(("lat", "lon"))).astype(float)
    power: xr.DataArray = xr.apply_ufunc(
        ring_sums,
        filled,
        kwargs={"count": count},
        input_core_dims=[["lat", "lon"]],
        output_core_dims=[["wavenumber"]],
    )
    return power.assign_coords(wavenumber=(np.arange(count) + 0.5) / count)


def ring_sums(values: Array, count: int) -> Array:
    """Return the variance of fields (..., H, W) in each of ``count`` rings."""
    *lead, height, width = values.shape
    i, j = np.ogrid[:height, :width]
    ring = np.floor(np.hypot(i / height, j / width) * count + 1e-9).astype(int).ravel()
    inside = (ring < count) & (np.arange(ring.size) > 0)
    power = fft.dctn(values, axes=(-2, -1), norm="ortho").reshape(-1, ring.size) ** 2
    sums = [np.bincount(ring[inside], row[inside], count) for row in power]
    shares: Array = np.reshape(sums, (*lead, count)) / ring.size
    return shares


def spectrum_ratio(forecast: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """Return the forecast's power over the truth's in each third of the wavenumbers.

    ``band="small"`` is the smallest-scale third; below 1 the forecast is smoother than the truth.
    Powers are averaged over time and members before the division. Cells missing in either field
    are left out of both.
    """
    return band_ratio(
        spectrum(forecast.where(truth.notnull())), spectrum(truth.where(forecast.notnull()))
    )


def band_ratio(forecast: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """Return the ratio of two spectra, averaged over time and members, in three bands."""
    numerator, denominator = (
        band_sums(power.mean([d for d in ("time", "realization") if d in power.dims]))
        for power in (forecast, truth)
    )
    return numerator / denominator.where(denominator > 0)


def band_sums(power: xr.DataArray) -> xr.DataArray:
    """Return the sums of a spectrum over its three bands."""
    band = np.minimum(np.floor(power["wavenumber"].values * 3), 2).astype(int)
    member_of = xr.DataArray(
        np.eye(3)[band], dims=("wavenumber", "band"), coords={"band": list(SPECTRAL_BANDS)}
    )
    return (power * member_of).sum("wavenumber")
