r"""Compute the reference methods from the coarse field.

- **lerp**: bilinear interpolation.
- **lerp + lapse rate**: the classical elevation correction. The *elevation detail* is the
  topography minus the bilinear interpolation of its coarse-cell means; temperature falls by 6.5 K
  per kilometre of it, and surface pressure follows the hypsometric equation,
  :math:`p' = p \exp(-g z / R T)`.
- **delta method**: bilinear interpolation of the coarse anomaly, plus a fine climatology of the
  month. Anomalies refer to the climatology's own coarse means, and interpolation is linear, so
  this is lerp + climatology - lerp of its coarse means, also called lerp + residual climatology:
  it adds what lerp missed on average in each calendar month. Amounts are at least 0.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from dpdm.constants import GAS_CONSTANT, GRAVITY, LAPSE_RATE, STANDARD_TEMPERATURE
from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.regrid import average_conservative, interpolate_bilinear
from dpdm.fields.subset import select_covered
from dpdm.fields.time import Numbers

AMOUNTS = ("tp",)  # which are never negative


def smooth_to_coarse(fine: xr.Dataset, coarse: Grid) -> xr.Dataset:
    """Interpolate the means over the coarse cells that the fine field covers entirely."""
    covered = select_covered(xr.Dataset(coords=coarse.coords()), grid_of(fine))
    if covered is None:
        raise DpdmError(
            "The topography or climatology covers fewer than 2 x 2 cells of the coarse grid.",
            "Give a file of a larger domain.",
        )
    return interpolate_bilinear(average_conservative(fine, grid_of(covered)), grid_of(fine))


def subgrid_detail(fine: xr.Dataset, coarse: Grid) -> xr.Dataset:
    """Return the detail that interpolation from the coarse grid cannot represent."""
    return fine - smooth_to_coarse(fine, coarse)


def apply_lapse_rate(lerped: xr.Dataset, height: xr.DataArray) -> xr.Dataset:
    """Adjust interpolated t2m (K) and sp (Pa) to an elevation detail (m).

    Pressure takes the mean temperature of the layer; without t2m, the standard atmosphere's.
    """
    adjusted = xr.Dataset()
    if "t2m" in lerped:
        adjusted["t2m"] = lerped["t2m"] - LAPSE_RATE * height
    if "sp" in lerped:
        ground = lerped["t2m"] if "t2m" in lerped else standard_temperature(lerped["sp"])
        layer = ground - LAPSE_RATE * height / 2
        adjusted["sp"] = lerped["sp"] * np.exp(-GRAVITY * height / (GAS_CONSTANT * layer))
    return adjusted


def apply_delta_method(coarse: xr.Dataset, detail: xr.Dataset, known: Grid) -> xr.Dataset:
    """Interpolate the coarse anomaly and add the climatology.

    Args:
        coarse: The coarse fields of one step.
        detail: The climatology minus the interpolation of its coarse means, on the output's cells.
        known: The cells where the climatology is known. Coarse cells beyond them have no anomaly.
    """
    covered = select_covered(coarse[[n for n in detail if n in coarse]], known)
    assert covered is not None  # or there would be no detail
    fields = interpolate_bilinear(covered, grid_of(detail)) + detail
    return fields.assign({n: fields[n].clip(min=0.0) for n in AMOUNTS if n in fields})


def standard_temperature(pressure: xr.DataArray) -> xr.DataArray:
    """Return the temperature (K) of the ICAO standard atmosphere at a pressure (Pa).

    Example:
        >>> float(standard_temperature(xr.DataArray(101325.0)))
        288.15
    """
    return STANDARD_TEMPERATURE * (pressure / 101325.0) ** (GAS_CONSTANT * LAPSE_RATE / GRAVITY)


def monthly_means(fields: xr.Dataset, months: Numbers) -> xr.Dataset:
    """Return the means of the steps of each month (time,), one step in memory at a time."""
    present = sorted({int(month) for month in months})
    means = [running_mean(fields.isel(time=months == month)) for month in present]
    return xr.concat(means, dim=xr.DataArray(present, dims="month", name="month"))


def running_mean(fields: xr.Dataset) -> xr.Dataset:
    """Return the mean of valid values over time, reading step by step."""
    total = count = xr.Dataset()
    for step in range(fields.sizes["time"]):
        field = fields.isel(time=step, drop=True).compute().astype(float)
        total = field.fillna(0.0) + (total if step else 0.0)
        count = field.notnull() + (count if step else 0)
    return total / count.where(count > 0)
