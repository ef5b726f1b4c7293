"""The time that a forecast is valid for: its start plus its lead time.

Files may have either along a dimension, both (with every pair another moment, as in the hourly
accumulations of a reanalysis), or the valid time itself, which then is all that is needed.
"""

from datetime import timedelta
from typing import Any

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.epochs import check_dates

STARTS = ("reftime", "forecast_reference_time", "init", "init_time", "initial_time")
LEADS = ("leadtime", "lead_time", "lead", "step", "forecast_period", "forecast_hour")
_SECONDS = {"d": 86400, "h": 3600, "mi": 60, "s": 1}


def valid(ds: xr.Dataset, known: str | None) -> xr.Dataset:
    """Give a dataset the times that its forecasts are valid for as `valid_time`.

    Args:
        ds: What a file holds.
        known: The time that it names already, if any.
    """
    start, lead = _find(ds, STARTS, "forecast_reference_time"), _find(ds, LEADS, "forecast_period")
    start = known if start is None and lead in ds.dims else start  # GRIB calls the start time
    along = known is not None and known != start and ds[known].ndim > 0
    if start is None or lead is None or along or not {start, lead} & set(ds.dims):
        return ds
    when = _later(ds[start], ds[lead])
    ds = ds.drop_vars([n for n in ("time", "valid_time") if n in ds.variables and n != start])
    if when.ndim == 2:
        return _stacked(ds, when, lead)
    dim = when.dims[0]
    ds = ds.drop_vars([start, lead], errors="ignore").rename({dim: "valid_time"})
    return ds.assign_coords(valid_time=("valid_time", when.values))


def _find(ds: xr.Dataset, names: tuple[str, ...], standard: str) -> str | None:
    """Find a coordinate by its standard name, then by its usual names."""
    few = {str(name): array for name, array in ds.variables.items() if array.ndim < 2}
    marked = [n for n, array in few.items() if array.attrs.get("standard_name") == standard]
    usual = [n for want in names for n in few if n.lower() == want]
    return next(iter(marked + usual), None)


def _later(start: xr.DataArray, lead: xr.DataArray) -> xr.DataArray:
    """Add lead times to starts."""
    check_dates(start)
    spans = [_span(value, lead) for value in np.atleast_1d(lead.values)]
    stamps = start.values.astype("M8[us]").astype(object) if start.dtype.kind == "M" else start
    moments = [stamp + span for stamp in np.ravel(stamps) for span in spans]
    values: Any = np.array(moments, dtype=object).reshape(start.shape + lead.shape)
    values = values.astype("M8[ns]") if start.dtype.kind == "M" else values
    return xr.DataArray(values, dims=(*start.dims, *lead.dims))


def _span(value: Any, lead: xr.DataArray) -> timedelta:
    if lead.dtype.kind == "m":
        return timedelta(microseconds=int(value / np.timedelta64(1, "us")))
    unit = str(lead.attrs.get("units", "")).strip().lower()
    known = [size for letter, size in _SECONDS.items() if unit.startswith(letter)]
    if not known or lead.dtype.kind not in "iuf" or " since " in unit:
        raise DpdmError(
            f"{lead.name} is in '{unit}', so that its steps have no dates.",
            "Write lead times in hours or days.",
        )
    return timedelta(seconds=float(value) * known[0])


def _stacked(ds: xr.Dataset, when: xr.DataArray, lead: str) -> xr.Dataset:
    """Put starts and lead times on one axis, in order of the time that they are valid for."""
    moments = when.values.ravel()
    if len(set(moments.tolist())) < moments.size:
        raise DpdmError(
            f"{ds.sizes[lead]} lead times ({lead}) are valid for the same times.",
            "Give a file of one lead time.",
        )
    dims = [str(dim) for dim in when.dims]
    line = ds.drop_vars(dims).chunk(dict.fromkeys(dims, 1))
    line = line.stack(valid_time=dims, create_index=False).isel(valid_time=np.argsort(moments))
    return line.assign_coords(valid_time=("valid_time", np.sort(moments)))
