"""The scores: one signature, ``score(forecast, truth, weights)``, and one number a time step.

Every score averages over the cells with their area as weight. A cell that is missing (NaN) in
either field is left out and the weights of the others are renormalised. Latitude and longitude
are reduced; time and any further dimension (methods, members) stay. One time step is in memory
at a time, so lazily opened files of any length will do.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage

from dpdm.errors import DpdmError
from dpdm.evaluate.match import whole
from dpdm.fields.grid import average, grid_of

Array = NDArray[np.floating]
P = ParamSpec("P")

SPACE = ("lat", "lon")
RADIUS = 5  # of the 11 x 11 window of SSIM
SIGMA = 1.5  # width of its Gaussian, in cells


def stepwise(score: Callable[P, xr.DataArray]) -> Callable[P, xr.DataArray]:
    """Let a score of one time step serve a series, with one step in memory at a time."""
    one_step: Callable[..., xr.DataArray] = score
    signature = inspect.signature(score)

    @wraps(score)
    def over_time(*args: P.args, **options: P.kwargs) -> xr.DataArray:
        given = signature.bind(*args, **options).arguments
        series = share_coordinates(given)
        if series is None:
            return one_step(**loaded(given))
        steps = [one_step(**at_step(given, i)) for i in range(series.sizes["time"])]
        times = {"time": series["time"]} if "time" in series.coords else {}
        return xr.concat(steps, "time").assign_coords(times)

    return over_time


def at_step(given: dict[str, Any], step: int) -> dict[str, Any]:
    """Return arguments with the series among them cut to one time step."""
    return loaded(
        {
            name: value.isel(time=step, drop=True)
            if "time" in getattr(value, "dims", ())
            else value
            for name, value in given.items()
        }
    )


def loaded(given: dict[str, Any]) -> dict[str, Any]:
    """Return arguments with the fields among them in memory."""
    return {
        name: value.compute() if isinstance(value, xr.DataArray) else value
        for name, value in given.items()
    }


def share_coordinates(given: dict[str, Any]) -> xr.DataArray | None:
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
    coords = {axis: fields[axis] for axis in SPACE}
    return xr.DataArray(grid_of(fields).weights, coords, SPACE)


def area_mean(field: xr.DataArray, weights: xr.DataArray) -> xr.DataArray:
    """Return the weighted mean of the cells that are there; both have dimensions lat and lon."""
    mean: xr.DataArray = xr.apply_ufunc(
        mean_of_seen, field, weights, input_core_dims=[SPACE, SPACE]
    )
    return mean


def mean_of_seen(values: Array, weights: Array) -> Array:
    """Return the weighted mean over the last two axes, NaN where nothing is seen.

    Example:
        >>> float(mean_of_seen(np.array([[1.0, np.nan, 4.0]]), np.array([[2.0, 9.0, 4.0]])))
        3.0
    """
    seen = ~np.isnan(values)
    total = np.einsum("...yx,yx", np.where(seen, values, 0.0), weights)
    area = np.einsum("...yx,yx", seen, weights)
    mean: Array = np.divide(total, area, out=np.full_like(total, np.nan), where=area > 0)
    return mean


@stepwise
def rmse(forecast: xr.DataArray, truth: xr.DataArray, weights: xr.DataArray) -> xr.DataArray:
    """Return the root of the mean squared error of each time step.

    The RMSE of a series is the root of the mean over time of the squares of these.
    """
    return area_mean((forecast - truth).astype(float) ** 2, weights) ** 0.5


@stepwise
def bias(forecast: xr.DataArray, truth: xr.DataArray, weights: xr.DataArray) -> xr.DataArray:
    """Return the mean of forecast minus truth."""
    return area_mean((forecast - truth).astype(float), weights)


@stepwise
def acc(
    forecast: xr.DataArray, truth: xr.DataArray, climatology: xr.DataArray, weights: xr.DataArray
) -> xr.DataArray:
    """Return the centred anomaly correlation (WMO-No. 485), NaN where an anomaly is constant."""
    seen = (forecast - truth).notnull()
    anomalies = [(field - climatology).astype(float).where(seen) for field in (forecast, truth)]
    a, b = (field - area_mean(field, weights) for field in anomalies)
    norm = (area_mean(a**2, weights) * area_mean(b**2, weights)) ** 0.5
    return area_mean(a * b, weights) / norm.where(norm > 0)


@stepwise
def psnr(
    forecast: xr.DataArray, truth: xr.DataArray, weights: xr.DataArray, data_range: float
) -> xr.DataArray:
    """Return the peak signal-to-noise ratio in dB, 20 log10(data_range / RMSE)."""
    error = rmse(forecast, truth, weights)
    with np.errstate(divide="ignore"):
        return error.copy(data=20 * np.log10(data_range / error.values))


@stepwise
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
        input_core_dims=[SPACE, SPACE],
        output_core_dims=[SPACE],
    )
    return area_mean(similarity, weights)


def similarity_map(x: Array, y: Array, data_range: float) -> Array:
    """Return SSIM around each cell, NaN where there is none; x and y with shape (..., H, W)."""
    x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
    seen = np.isfinite(x) & np.isfinite(y)
    share = blur(seen.astype(float))

    def local(field: Array) -> Array:
        total = blur(np.where(seen, field, 0.0))
        return np.divide(total, share, out=np.zeros_like(total), where=share > 0)

    mx, my = local(x), local(y)
    vx, vy, cov = local(x * x) - mx**2, local(y * y) - my**2, local(x * y) - mx * my
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    with np.errstate(invalid="ignore"):
        value = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return np.where(seen & whole_windows(x.shape[-2:]), value, np.nan)


def blur(field: Array) -> Array:
    """Return the Gaussian mean around each cell, with zeros beyond the edge."""
    offsets = np.arange(-RADIUS, RADIUS + 1)
    kernel = np.exp(-0.5 * (offsets / SIGMA) ** 2)
    for axis in (-2, -1):
        field = ndimage.correlate1d(field, kernel / kernel.sum(), axis, mode="constant")
    return field


def whole_windows(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Tell which cells have a whole window around them; all, in a field smaller than a window."""
    whole = np.zeros(shape, bool)
    whole[RADIUS:-RADIUS, RADIUS:-RADIUS] = True
    return whole if whole.any() else ~whole


def consistency(forecast: xr.DataArray, coarse: xr.DataArray) -> xr.DataArray:
    """Return the RMS difference of the forecast's means over coarse cells and the coarse field.

    Only cells that the forecast covers whole count, weighted by their area.
    """
    given = whole(coarse.to_dataset(name="field"), grid_of(forecast))
    if given is None:
        raise DpdmError(
            "The forecast covers fewer than 2 x 2 whole cells of the coarse field.",
            "Give fields of a larger domain.",
        )
    means = average(forecast.to_dataset(name="field"), grid_of(given))
    return rmse(means["field"], given["field"], area_weights(given))
