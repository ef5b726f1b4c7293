r"""What a forecaster can do with the coarse field alone: the rows that a prior has to beat.

- **lerp**: bilinear interpolation.
- **lerp + lapse rate**: the classical correction for height. The *elevation detail* is the
  topography minus the lerp of its means over the coarse cells; temperature falls by 6.5 K for each
  kilometre of it, and surface pressure follows the hypsometric equation,
  :math:`p' = p \exp(-g z / R T)`.
- **lerp + residual climatology**: adds what lerp missed on average, for each calendar month, in a
  fine training file. Both averaging and lerp are linear, so the mean residual is the residual of
  the mean.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from dpdm.constants import GAS_CONSTANT, GRAVITY, LAPSE_RATE, STANDARD_TEMPERATURE
from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.regrid import average_conservative, interpolate_bilinear
from dpdm.fields.subset import select_covered
from dpdm.fields.time import is_dated


def smooth_to_coarse(fine: xr.Dataset, coarse: Grid) -> xr.Dataset:
    """Return the lerp of the means over those coarse cells that the fine field covers whole."""
    frame = select_covered(xr.Dataset(coords=coarse.coords()), grid_of(fine))
    if frame is None:
        raise DpdmError(
            "The topography or climatology covers fewer than 2 x 2 cells of the coarse grid.",
            "Give a file of a larger domain.",
        )
    return interpolate_bilinear(average_conservative(fine, grid_of(frame)), grid_of(fine))


def subgrid_detail(fine: xr.Dataset, coarse: Grid) -> xr.Dataset:
    """Return the fine field minus ``smooth_to_coarse``: what interpolation cannot show."""
    return fine - smooth_to_coarse(fine, coarse)


def apply_lapse_rate(lerped: xr.Dataset, height: xr.DataArray) -> xr.Dataset:
    """Return t2m (K) and sp (Pa), moved by a height (m) from where the lerp puts them.

    Pressure takes the mean temperature of the layer; without t2m, the standard atmosphere's.
    """
    moved = xr.Dataset()
    if "t2m" in lerped:
        moved["t2m"] = lerped["t2m"] - LAPSE_RATE * height
    if "sp" in lerped:
        ground = lerped["t2m"] if "t2m" in lerped else standard_temperature(lerped["sp"])
        layer = ground - LAPSE_RATE * height / 2
        moved["sp"] = lerped["sp"] * np.exp(-GRAVITY * height / (GAS_CONSTANT * layer))
    return moved


def standard_temperature(pressure: xr.DataArray) -> xr.DataArray:
    """Return the temperature (K) of the ICAO standard atmosphere at a pressure (Pa).

    Example:
        >>> float(standard_temperature(xr.DataArray(101325.0)))
        288.15
    """
    return STANDARD_TEMPERATURE * (pressure / 101325.0) ** (GAS_CONSTANT * LAPSE_RATE / GRAVITY)


def monthly_means(fields: xr.Dataset) -> xr.Dataset:
    """Return the mean of each calendar month, one time step in memory at a time.

    Fields without dates give one mean, under month 0.
    """
    if "time" not in fields.dims:
        return fields.expand_dims(month=[0]).astype(float)
    time = fields["time"]
    months = time.dt.month.values if is_dated(time) else np.zeros(time.size)
    present = sorted({int(month) for month in months})
    means = [running_mean(fields.isel(time=months == month)) for month in present]
    return xr.concat(means, dim=xr.DataArray(present, dims="month", name="month"))


def running_mean(fields: xr.Dataset) -> xr.Dataset:
    """Return the mean over time where values are not missing, reading step by step."""
    total = count = xr.Dataset()
    for step in range(fields.sizes["time"]):
        field = fields.isel(time=step, drop=True).compute().astype(float)
        total = field.fillna(0.0) + (total if step else 0.0)
        count = field.notnull() + (count if step else 0)
    return total / count.where(count > 0)


def select_month_mean(means: xr.Dataset, month: int) -> xr.Dataset:
    """Return the means of a calendar month, or the mean of all for month 0."""
    present = means["month"].values.tolist()
    if month == 0 or present == [0]:
        return means.mean("month")
    if month not in present:
        raise DpdmError(
            f"The climatology has no month {month} (it has {', '.join(map(str, present))}).",
            "Give one that covers all months of the truth, or none.",
        )
    return means.sel(month=month, drop=True)
