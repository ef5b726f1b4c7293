"""Standardise the time axis of a file: a sorted `time` in the calendar of the file, with bounds.

Bounds give the period over which an amount fell. Those of a climatology span all its years
(CF-1.11, 7.4): inside dpdm they are those of one year, and an attribute stores the years before
and after.

The valid time of a forecast is its start plus its lead time. Files may have either along a
dimension, both (as the hourly accumulations of a reanalysis), or the valid time itself.

Twelve months without a year, as in a climatology, are dated in one year.

They become the months of a year whose February has 28 days, each with its own bounds, so that
seasons and amounts come out right.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.time import (
    CLIMATOLOGY_YEARS,
    bounds_enclose_times,
    check_bounds,
    is_dated,
    move_to_year,
    step_dates,
    to_cftime,
)
from dpdm.fields.time_decoding import (
    MONTHS,
    SET_TIME_AXIS_HINT,
    TIME_NAMES,
    check_dates,
)

START_NAMES = ("reftime", "forecast_reference_time", "init", "init_time", "initial_time")
LEAD_NAMES = ("leadtime", "lead_time", "lead", "step", "forecast_period", "forecast_hour")
_SECONDS = {"d": 86400, "h": 3600, "mi": 60, "s": 1}


def add_valid_time(ds: xr.Dataset, known: str | None) -> xr.Dataset:
    """Add the valid time of forecasts to a dataset as `valid_time`.

    Args:
        ds: The dataset of a file.
        known: The time axis found by name, if any.
    """
    start, lead = (
        _find_forecast_coordinate(ds, START_NAMES, "forecast_reference_time"),
        _find_forecast_coordinate(ds, LEAD_NAMES, "forecast_period"),
    )
    start = known if start is None and lead in ds.dims else start  # GRIB calls the start time
    along = known is not None and known != start and ds[known].ndim > 0
    if start is None or lead is None or along or not {start, lead} & set(ds.dims):
        return ds
    when = _add_lead_times(ds[start], ds[lead])
    ds = ds.drop_vars([n for n in ("time", "valid_time") if n in ds.variables and n != start])
    if when.ndim == 2:
        return _stack_start_and_lead(ds, when, lead)
    dim = when.dims[0]
    ds = ds.drop_vars([start, lead], errors="ignore").rename({dim: "valid_time"})
    return ds.assign_coords(valid_time=("valid_time", when.values))


def _find_forecast_coordinate(ds: xr.Dataset, names: tuple[str, ...], standard: str) -> str | None:
    """Find a coordinate by its standard name, then by its usual names."""
    small = {str(name): array for name, array in ds.variables.items() if array.ndim < 2}
    marked = [n for n, array in small.items() if array.attrs.get("standard_name") == standard]
    usual = [n for want in names for n in small if n.lower() == want]
    return next(iter(marked + usual), None)


def _add_lead_times(start: xr.DataArray, lead: xr.DataArray) -> xr.DataArray:
    """Add lead times to starts."""
    check_dates(start)
    spans = [_lead_to_timedelta(value, lead) for value in np.atleast_1d(lead.values)]
    stamps = start.values.astype("M8[us]").astype(object) if start.dtype.kind == "M" else start
    moments = [stamp + span for stamp in np.ravel(stamps) for span in spans]
    values: Any = np.array(moments, dtype=object).reshape(start.shape + lead.shape)
    values = values.astype("M8[ns]") if start.dtype.kind == "M" else values
    return xr.DataArray(values, dims=(*start.dims, *lead.dims))


def _lead_to_timedelta(value: Any, lead: xr.DataArray) -> timedelta:
    if lead.dtype.kind == "m":
        return timedelta(microseconds=int(value / np.timedelta64(1, "us")))
    unit = str(lead.attrs.get("units", "")).strip().lower()
    known = [size for letter, size in _SECONDS.items() if unit.startswith(letter)]
    if not known or lead.dtype.kind not in "iuf" or " since " in unit:
        raise DpdmError(
            f"{lead.name} is in '{unit}', not a unit of time.",
            "Write lead times in hours or days.",
        )
    return timedelta(seconds=float(value) * known[0])


def _stack_start_and_lead(ds: xr.Dataset, when: xr.DataArray, lead: str) -> xr.Dataset:
    """Stack starts and lead times on one axis, in order of their valid time."""
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


CLIMATOLOGY_YEAR = 2001
MONTH_DIM_NAMES = ("month", "months", "month_number", "month_of_year", "mon")


def find_month_dim(ds: xr.Dataset) -> str | None:
    """Return the dimension of twelve months, where the file has no other time."""
    dim = next((str(d) for d in ds.dims if str(d).lower() in MONTH_DIM_NAMES), None)
    if (
        dim is None
        or ds.sizes[dim] != 12
        or any(str(n).lower() in TIME_NAMES for n in ds.variables)
    ):
        return None
    return dim if sorted(_parse_month_numbers(ds, dim)) == list(range(1, 13)) else None


def date_twelve_months(ds: xr.Dataset) -> xr.Dataset:
    """Name twelve steps without dates as months, and put twelve dated ones in order.

    The steps may have no times, or numbers that count the months.
    """
    for dim in (str(d) for d in ds.dims if str(d).lower() in (*TIME_NAMES, "t")):
        if ds.sizes[dim] != 12:
            continue
        if dim in ds.variables and is_dated(ds[dim]):
            return ds.sortby(dim)
        numbers = ds[dim].values.tolist() if dim in ds.variables else []
        counted = sorted(numbers) in ([], list(range(12)), list(range(1, 13)))
        if counted and "since" not in str(ds[dim].attrs.get("units", "")):
            ordered = ds.sortby(dim) if numbers else ds
            return ordered.drop_vars(dim, errors="ignore").rename({dim: "month"})
    return ds


def assign_year(ds: xr.Dataset) -> xr.Dataset:
    """Date twelve months without a year in 2001, in order."""
    dim = find_month_dim(ds)
    if dim is None:
        return ds
    edges = np.arange(
        f"{CLIMATOLOGY_YEAR}-01", f"{CLIMATOLOGY_YEAR + 1}-02", dtype="M8[M]"
    ).astype("M8[ns]")
    ds = ds.isel({dim: np.argsort(_parse_month_numbers(ds, dim))})
    ds = ds.drop_vars(dim, errors="ignore").rename({dim: "time"})
    return ds.assign_coords(
        time=("time", edges[:-1] + np.diff(edges) // 2, {"bounds": "month_bnds"}),
        month_bnds=(("time", "bnds"), np.stack([edges[:-1], edges[1:]], axis=1)),
    )


def _parse_month_numbers(ds: xr.Dataset, dim: str) -> list[int]:
    """Return the numbers of months from numbers or names, 0 for anything else."""
    if dim not in ds.variables:
        return list(range(1, ds.sizes[dim] + 1))
    values = ds[dim].values.tolist()
    if ds[dim].dtype.kind in "iuf":
        return [int(value) if float(value).is_integer() else 0 for value in values]
    names = [v.decode() if isinstance(v, bytes) else str(v) for v in values]
    return [MONTHS.index(w[:3].lower()) + 1 if w[:3].lower() in MONTHS else 0 for w in names]


TIME_BOUNDS_NAMES = ("time_bnds", "time_bounds", "time_bound")


def standardise_time(ds: xr.Dataset) -> tuple[xr.Dataset, xr.DataArray | None]:
    """Name the time axis `time`, check it, and separate its bounds.

    A scalar time becomes a dimension of one step. A file may have no time.

    Returns:
        The dataset, and the bounds (time, bnds) where the file has them.
    """
    ds = assign_year(ds)
    ds = add_valid_time(ds, _find_time(ds))
    name = _find_time(ds)
    if name is None:
        return _drop_undated_step(ds), None
    ds = _rename_time_axis(ds, name)
    _check_time_axis(ds["time"])
    return _separate_bounds(ds)


def _separate_bounds(ds: xr.Dataset) -> tuple[xr.Dataset, xr.DataArray | None]:
    bounds = _take_bounds(ds, "bounds")
    if bounds is None and (spans := _take_bounds(ds, "climatology")) is not None:
        return ds, _bounds_within_year(ds["time"], spans)
    if bounds is None or (bounds[:, 0] == bounds[:, 1]).all():  # the bounds of moments
        return ds, None
    return _check_stamps(ds, bounds), bounds


def centre_end_stamps(ds: xr.Dataset, name: str) -> xr.Dataset:
    """Move the stamps of a time axis of any name into their bounds, if it has any."""
    if ds[name].dims != (name,) or not is_dated(ds[name]):
        return ds
    moved, _ = _separate_bounds(ds if name == "time" else ds.rename({name: "time"}))
    return ds.assign_coords({name: (name, moved["time"].values, ds[name].attrs)})


def _check_stamps(ds: xr.Dataset, bounds: xr.DataArray) -> xr.Dataset:
    """Move stamps at the end of their step to its middle, after a check of the bounds."""
    time = ds["time"]
    check_bounds(time, bounds, _bounds_name(ds, "bounds"))
    moved = time.copy(data=step_dates(time, bounds).values)
    moved.encoding = time.encoding
    return ds.assign_coords(time=moved)


def _find_time(ds: xr.Dataset) -> str | None:
    """Find the valid time: an axis before a scalar, that of GRIB first."""
    usual = [str(name) for name in ds.variables if str(name).lower() in TIME_NAMES]
    marked = [str(name) for name in ds.cf.coordinates.get("time", [])]
    names = sorted(dict.fromkeys(usual + marked), key=lambda n: (-ds[n].ndim, _time_axis_rank(n)))
    return next((name for name in names if ds[name].ndim < 2), None)


def _time_axis_rank(name: str) -> int:
    return TIME_NAMES.index(name.lower()) if name.lower() in TIME_NAMES else len(TIME_NAMES)


def _rename_time_axis(ds: xr.Dataset, name: str) -> xr.Dataset:
    if ds[name].ndim == 0:
        on_grid = [key for key, array in ds.data_vars.items() if array.ndim >= 2]
        ds = ds.drop_vars([n for n in ds.coords if n == "time" and name != "time"])
        scalar = ds.set_coords(name).rename({name: "time"} if name != "time" else {})
        return scalar.assign({key: scalar[key].expand_dims("time") for key in on_grid})
    dim = ds[name].dims[0]
    if dim != name:
        ds = ds.drop_vars([n for n in (dim,) if n in ds.variables])
        ds = ds.set_coords(name).swap_dims({dim: name})
    if name != "time":
        ds = ds.drop_vars("time", errors="ignore").rename({name: "time"})
    return ds


def _check_time_axis(time: xr.DataArray) -> None:
    check_dates(time)
    if bool(time.isnull().any()):
        raise DpdmError("time has missing steps.", "Remove them.")
    values = time.values
    for before, after in pairwise(values):
        if before == after:
            raise DpdmError(f"time {after} is repeated.", "Remove one of the two steps.")
        if before > after:
            raise DpdmError(
                f"time {after} comes after {before}.",
                "Sort the steps: cdo sorttimestamp IN.nc OUT.nc.",
            )


def _drop_undated_step(ds: xr.Dataset) -> xr.Dataset:
    """Drop a time of one step that has no date, and refuse several steps."""
    for dim in ("time", "valid_time", "t", "Time"):
        if ds.sizes.get(dim, 1) > 1 and dim not in ds.variables:
            raise DpdmError(f"its {ds.sizes[dim]} steps have no times.", SET_TIME_AXIS_HINT)
    return ds.isel(time=0, drop=True) if "time" in ds.dims else ds


def _take_bounds(ds: xr.Dataset, key: str) -> xr.DataArray | None:
    """Return the bounds (time, 2) that the axis names, or that have a usual name."""
    time, name = ds["time"], _bounds_name(ds, key)
    if name not in ds.variables:
        return None
    bounds = ds[name].load()
    if bounds.shape == (2,) and time.size == 1:
        bounds = bounds.expand_dims("time")
    if bounds.shape != (time.size, 2):
        return None
    if bounds.dtype.kind in "fiu" and key == "bounds":
        bounds = _decode_bounds(bounds, time)
    if bounds.dtype.kind not in "MO":
        return None
    found = xr.DataArray(bounds.values, dims=("time", "bnds"), name="time_bnds")
    named = key in time.attrs or key in time.encoding
    return found if named or bounds_enclose_times(found, time) else None


def _bounds_name(ds: xr.Dataset, key: str) -> str:
    """Return the name of the bounds, a usual one where the axis names none."""
    time = ds["time"]
    if name := time.attrs.get(key, time.encoding.get(key, "")):
        return str(name)
    climatology = "climatology" in time.attrs or "climatology" in time.encoding
    usual = () if key != "bounds" or climatology else TIME_BOUNDS_NAMES
    return next((name for name in usual if name in ds.variables), "")


def _decode_bounds(bounds: xr.DataArray, time: xr.DataArray) -> xr.DataArray:
    """Decode bounds that the axis does not name, in its units."""
    units, calendar = time.encoding.get("units"), time.encoding.get("calendar", "standard")
    if units is None:
        return bounds
    found = bounds.drop_vars(list(bounds.coords)).assign_attrs(units=units, calendar=calendar)
    return xr.decode_cf(found.to_dataset(name="bounds"))["bounds"]


def _bounds_within_year(time: xr.DataArray, spans: xr.DataArray) -> xr.DataArray | None:
    """Return the bounds of a climatology within the year of its stamps.

    None for parts of days over many days, and for steps of different years.
    """
    calendar = time.dt.calendar
    moments, edges = (to_cftime(v, calendar) for v in (time.values, spans.values.ravel()))
    pairs, years = [], set()
    for moment, start, end in zip(moments, edges[::2], edges[1::2], strict=True):
        begun = move_to_year(start, moment.year)
        begun = begun if begun <= moment else move_to_year(start, moment.year - 1)
        ended = move_to_year(end, begun.year)
        ended = ended if ended > begun else move_to_year(end, begun.year + 1)
        pairs.append([begun, ended])
        years.add((begun.year - start.year, end.year - ended.year))
    if len(years) != 1 or any(e.hour != s.hour for s, e in pairs):
        return None
    values = np.array(pairs, dtype=object)
    if time.dtype.kind == "M":
        values = np.array([[d.isoformat() for d in pair] for pair in pairs], dtype="M8[ns]")
    return xr.DataArray(
        values, dims=("time", "bnds"), name="time_bnds", attrs={CLIMATOLOGY_YEARS: years.pop()}
    )


def select_with_bounds(ds: xr.Dataset, names: Iterable[Hashable]) -> xr.Dataset:
    """Return some variables with their time bounds, which ``ds[names]`` drops."""
    bounds = {n: ds[n] for n in ("time_bnds",) if n in ds.coords}
    return ds[list(names)].assign_coords(bounds)
