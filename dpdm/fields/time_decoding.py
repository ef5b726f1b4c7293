"""Decode times: numbers since a date, packed dates, decimal years and text.

CF counts seconds to days since a date. Files also count calendar months or years, pack a date
into a number (20120115, or ``day as %Y%m%d.%f`` of CDO and GrADS), give decimal years or text.
Each is read where it is unambiguous. A fraction of a month or year is one of that month or year.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Hashable
from datetime import timedelta
from typing import Any

import cftime
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.coders import CFDatetimeCoder

from dpdm.errors import DpdmError
from dpdm.fields.date_formats import YEAR_LIMITS, parse_times

SET_TIME_AXIS_HINT = (
    "Set the times, here monthly from January 2000: "
    "cdo -r settunits,days -settaxis,2000-01-15,12:00,1mon IN.nc OUT.nc."
)
TIME_NAMES = ("valid_time", "time", "date", "times")
CF_CALENDARS = {
    "": "standard", "gregorian": "standard", "standard": "standard",
    "proleptic_gregorian": "proleptic_gregorian", "gregorian_proleptic": "proleptic_gregorian",
    "julian": "julian", "noleap": "noleap", "no_leap": "noleap", "365_day": "noleap",
    "365day": "noleap", "365_days": "noleap", "365": "noleap", "all_leap": "all_leap",
    "366_day": "all_leap", "366day": "all_leap", "366": "all_leap", "360_day": "360_day",
    "360day": "360_day", "360_days": "360_day", "360": "360_day",
}  # fmt: skip
_UNITS = {
    "microseconds": "microseconds? microsecs? us µs μs",
    "milliseconds": "milliseconds? millisecs? msecs? ms",
    "seconds": "seconds? secs? s",
    "minutes": "minutes? mins?",
    "hours": "hours? hrs? hr? h",
    "days": "days? d",
    "weeks": "weeks?",
    "common_years": "common_years?",
    "months": "months? mons? mo calendar_months?",
    "years": "years? yrs? y calendar_years?",
}
_DAYS = {"weeks": 7, "common_years": 365}  # which xarray does not count
_SINCE = re.compile(r"(?P<unit>[a-zµμ_ ]+?)\s+(since|after|from|ref)\s+(?P<date>\S.*)", re.I)
_DATE = re.compile(
    r"(?P<year>[-+]?\d{1,5})(?:-(?P<month>\d{1,2})(?:-(?P<day>\d{1,2}))?)?"
    r"(?:(?:[T_]|\s+)(?P<hour>\d{1,2})(?::(?P<minute>\d{1,2})(?::(?P<second>\d{1,2})"
    r"(?:[.,]\d*)?)?)?)?\s*(?:Z|UTC|GMT|(?P<zone>[-+]?\d{1,2}(?::\d{2})?))?",
    re.I,
)
_YEAR_ZERO = re.compile(r"\s*[-+]?0+(?!\d)")
_TEXT_DATE = re.compile(r"(\d{1,2})-([a-z]{3})-(\d{4})(.*)", re.I)
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_PACKED = {"year as %Y": 1, "month as %Y%m": 100, "day as %Y%m%d": 10_000}
_UNITLESS = ("", "1", "yyyymm", "yyyymmdd", "yyyy-mm", "yyyy-mm-dd", "date", "dates", "none")
_YEAR = re.compile(r"(decimal |fractional )?(calendar )?(years?|yrs?)( a\.?d\.?| c\.?e\.?)?", re.I)


def decode_times(ds: xr.Dataset) -> xr.Dataset:
    """Decode the times of a dataset, and leave those that cannot be decoded as numbers.

    Bounds, of climatologies too, are read in the units of their axis.
    """
    if "trajectory" in ds.dims:
        return _decode_since_units(ds)
    out = {}
    for name, variable in _time_variables(ds).items():
        try:
            read = decode_time_variable(name, variable)
        except DpdmError:
            continue  # `check_dates` reports it where this time is needed
        if read is not ds.variables[name]:
            out[name] = read
    coords = {name: array for name, array in out.items() if name in ds.coords}
    data = {name: array for name, array in out.items() if name not in ds.coords}
    return ds.assign_coords(coords).assign(data)


def _decode_since_units(ds: xr.Dataset) -> xr.Dataset:
    """Decode only times with a reference date, not those of a dynamical system."""
    found = {n: v for n, v in ds.variables.items() if _SINCE.fullmatch(_unit(v))}
    return ds.assign_coords({name: decode_time_variable(name, v) for name, v in found.items()})


def _time_variables(ds: xr.Dataset) -> dict[Hashable, xr.Variable]:
    """Return all variables that may be times; bounds inherit the units of their axis."""
    found = {n: v for n, v in ds.variables.items() if _is_time(n, v)}
    for axis in list(found.values()):
        for key in ("bounds", "climatology"):
            name = axis.attrs.get(key, axis.encoding.get(key))
            if name in ds.variables:
                given = {k: axis.attrs[k] for k in ("units", "calendar") if k in axis.attrs}
                bounds = ds.variables[name].copy(deep=False)
                bounds.attrs = given | bounds.attrs
                found[str(name)] = bounds
    return found


def _is_time(name: Hashable, variable: xr.Variable) -> bool:
    standard, axis = (variable.attrs.get(key) for key in ("standard_name", "axis"))
    named = str(name).lower() in TIME_NAMES or standard == "time" or axis == "T"
    return named or bool(_SINCE.fullmatch(_unit(variable)) or _packed_divisor(_unit(variable)))


def _unit(variable: xr.Variable) -> str:
    return str(variable.attrs.get("units", "")).strip()


def _packed_divisor(unit: str) -> int:
    """Return the divisor that gives the year of a packed date, 0 for other units."""
    return next((size for text, size in _PACKED.items() if unit.startswith(text)), 0)


def decode_time_variable(name: Hashable, variable: xr.Variable) -> xr.Variable:
    """Decode the dates of a variable, or return it unchanged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of years that nanoseconds or CF do not have
        return _decode_any_time(name, variable)


def _decode_any_time(name: Hashable, variable: xr.Variable) -> xr.Variable:
    if variable.dtype.kind in "SUO" and variable.ndim == 1 and variable.size:
        return _decode_text_dates(name, variable)
    if variable.dtype.kind not in "iuf":
        return variable
    if found := _SINCE.fullmatch(_unit(variable)):
        return _decode_counts(name, variable, found["unit"].lower(), found["date"])
    if _packed_divisor(_unit(variable)):
        return _decode_packed(name, variable, _packed_divisor(_unit(variable)))
    return _decode_unitless(name, variable)


def _decode_text_dates(name: Hashable, variable: xr.Variable) -> xr.Variable:
    """Read dates written as text."""
    first = variable.values.flat[0]
    if not isinstance(first, str | bytes):
        return variable
    cells = [c.decode("utf-8", "replace") if isinstance(c, bytes) else str(c)
             for c in variable.values]  # fmt: skip
    try:
        values = parse_times([cell.strip("\0 ").replace("_", " ") for cell in cells])
    except DpdmError:
        raise DpdmError(f"{name} is '{cells[0]}', which is not a date.", _ISO_DATE_HINT) from None
    return xr.Variable(
        variable.dims, values, _drop_numeric_attrs(variable.attrs), variable.encoding
    )


_ISO_DATE_HINT = "Write dates year first, as 2012-07-16 or 2012-07-16T12:00."


def _decode_counts(name: Hashable, variable: xr.Variable, unit: str, date: str) -> xr.Variable:
    """Read numbers since a date."""
    kind = next((k for k, spellings in _UNITS.items() if _matches_unit(unit, spellings)), None)
    if kind is None:
        raise DpdmError(f"{name} counts '{unit}', an unknown unit of time.",
                        "Write times in days since a date.")  # fmt: skip
    calendar = read_calendar(name, variable)
    if calendar == "standard" and _YEAR_ZERO.match(date):
        _check_year_zero(name, variable, kind)
        calendar = "proleptic_gregorian"
    epoch = _parse_reference_date(name, date, calendar)
    if kind in ("months", "years"):
        size = 12 if kind == "years" else 1
        return _convert_numbers(
            variable, calendar, lambda number: _add_month_periods(epoch, number, size)
        )
    plain = variable.copy(deep=False)
    if kind in _DAYS:
        plain = plain * _DAYS[kind]
        kind = "days"
    text = f"{kind} since {_format_date(epoch)}"
    plain.attrs = _drop_numeric_attrs(variable.attrs) | {"units": text, "calendar": calendar}
    return _decode_with_xarray(name, plain)


def _matches_unit(unit: str, spellings: str) -> bool:
    return any(re.fullmatch(each, unit.strip()) for each in spellings.split())


def read_calendar(name: Hashable, variable: xr.Variable) -> str:
    """Return the CF name of a variable's calendar."""
    calendar = str(variable.attrs.get("calendar", "")).strip()
    if calendar.lower() not in CF_CALENDARS:
        raise DpdmError(
            f"{name} is in the unknown calendar '{calendar}'.",
            f"Set the right calendar: ncatted -O -a calendar,{name},o,c,standard IN.nc OUT.nc.",
        )
    return CF_CALENDARS[calendar.lower()]


def _check_year_zero(name: Hashable, variable: xr.Variable, kind: str) -> None:
    """Refuse long times since the year 0, which the standard calendar does not have."""
    per = {"microseconds": 8.64e10, "milliseconds": 8.64e7, "seconds": 86400, "minutes": 1440,
           "hours": 24, "weeks": 1 / 7, "months": 1 / 30, "years": 1 / 365}  # fmt: skip
    if variable.size and np.nanmax(variable.values) / per.get(kind, 1) > 2 * 366:
        raise DpdmError(
            f"{name} counts from the year 0, which the standard calendar does not have: dates "
            "may be two days off.",
            "Set the right calendar: ncatted -O -a calendar,"
            f"{name},o,c,proleptic_gregorian IN.nc OUT.nc.",
        )


def _parse_reference_date(name: Hashable, text: str, calendar: str) -> cftime.datetime:
    """Read the date that times are counted from, in UTC."""
    date_text = text.strip()
    if matched := _TEXT_DATE.fullmatch(date_text):
        day, month, year, rest = matched.groups()
        number = MONTHS.index(month.lower()) + 1 if month.lower() in MONTHS else 0
        date_text = f"{year}-{number}-{day}{rest}"
    if re.fullmatch(r"\d{8}(\s.*)?", date_text):
        date_text = f"{date_text[:4]}-{date_text[4:6]}-{date_text[6:]}"
    found = _DATE.fullmatch(date_text)
    if found is None:
        raise _undecodable_error(name, f"since '{text}'")
    year, month, day, *clock = (int(found[k] or 0) for k in _DATE.groupindex if k != "zone")
    try:
        date = cftime.datetime(year, month or 1, day or 1, *clock, calendar=calendar)
        return date - _utc_offset(found["zone"] or "")
    except ValueError as fault:
        raise _undecodable_error(
            name, f"since '{text}', which {calendar} does not have"
        ) from fault


def _utc_offset(text: str) -> timedelta:
    hours, _, minutes = text.partition(":")
    size = timedelta(hours=abs(int(hours or 0)), minutes=int(minutes or 0))
    return -size if hours.startswith("-") else size


def _undecodable_error(name: Hashable, why: str) -> DpdmError:
    return DpdmError(f"{name} cannot be decoded ({why}).", "Write times in days since a date.")


def _format_date(date: cftime.datetime) -> str:
    return (f"{date.year:04d}-{date.month:02d}-{date.day:02d} "
            f"{date.hour:02d}:{date.minute:02d}:{date.second:02d}")  # fmt: skip


def _decode_with_xarray(name: Hashable, variable: xr.Variable) -> xr.Variable:
    """Decode CF times with xarray; load axes and bounds at once."""
    small = variable.ndim < 2 or variable.shape[-1] == 2
    try:
        out = CFDatetimeCoder(time_unit="ns").decode(variable, str(name))
        return _mask_missing_dates(variable, out.load()) if small else out
    except (ValueError, OverflowError, TypeError) as fault:
        raise _undecodable_error(
            name, f"{variable.attrs['units']}: {_value_range(variable)}"
        ) from fault


def _mask_missing_dates(numbers: xr.Variable, dates: xr.Variable) -> xr.Variable:
    """Mask missing numbers, which xarray decodes as dates outside the standard calendar."""
    gaps = ~np.isfinite(numbers.values.astype(float))
    if not gaps.any() or dates.dtype.kind == "M":
        return dates
    values = dates.values.copy()
    values[gaps] = None
    return xr.Variable(dates.dims, values, dates.attrs, dates.encoding)


def _value_range(variable: xr.Variable) -> str:
    values = variable.values
    return f"{np.min(values):g} to {np.max(values):g}" if values.size else "no value"


def _add_month_periods(epoch: cftime.datetime, number: float, size: int) -> cftime.datetime:
    """Add periods of ``size`` months to a date; a fraction is part of the last period."""
    whole = int(np.floor(number))
    start, end = (_shift_months(epoch, n * size) for n in (whole, whole + 1))
    return start + (end - start) * float(number - whole)


def _shift_months(date: cftime.datetime, months: int) -> cftime.datetime:
    years, month = divmod(date.month - 1 + months, 12)
    first = date.replace(year=date.year + years, month=month + 1, day=1)
    return first.replace(day=min(date.day, first.daysinmonth))


def _decode_packed(name: Hashable, variable: xr.Variable, size: int) -> xr.Variable:
    """Read dates packed into numbers: 2012.5, 201201.5 or 20120115.5."""
    calendar = read_calendar(name, variable)
    wrong = _invalid_packed_dates(variable.values, size)
    if wrong.size:
        raise _undecodable_error(name, f"{wrong[0]:g} is not a date")
    return _convert_numbers(
        variable, calendar, lambda number: _unpack_date(number, size, calendar)
    )


def _invalid_packed_dates(values: np.ndarray, size: int) -> NDArray[np.float64]:
    """Return the numbers that are not packed dates."""
    known: NDArray[np.float64] = values[np.isfinite(values.astype(float))].astype(float)
    month = np.floor(known) % size // max(size // 100, 1) if size > 1 else np.ones(known.shape)
    day = np.floor(known) % 100 if size == 10_000 else np.ones(known.shape)
    return known[(month < 1) | (month > 12) | (day < 1) | (day > 31)]


def _unpack_date(number: float, size: int, calendar: str) -> cftime.datetime:
    whole = int(np.floor(number))
    year, rest = divmod(whole, size)
    month, day = divmod(rest, 100) if size == 10_000 else (rest or 1, 1)
    date = cftime.datetime(year, month, day, calendar=calendar)
    fraction = round(float(number - whole), 6)
    if size == 10_000:
        return date + timedelta(days=fraction)
    return _add_month_periods(date, fraction, 12 if size == 1 else 1)


def _decode_unitless(name: Hashable, variable: xr.Variable) -> xr.Variable:
    """Read packed dates and decimal years without units where they are unambiguous."""
    values, unit = variable.values, _unit(variable).lower()
    if variable.ndim != 1 or not values.size or not np.isfinite(values.astype(float)).all():
        return variable
    if _YEAR.fullmatch(unit) and values.min() >= 1 and values.max() <= 9999:
        return _decode_packed(name, variable, 1)
    low, high = values.min(), values.max()
    for size in (100, 10_000):
        fits = (
            1000 * size <= low
            and high < 3000 * size
            and not _invalid_packed_dates(values, size).size
        )
        if unit in _UNITLESS and fits:
            return _decode_packed(name, variable, size)
    return variable


def _convert_numbers(
    variable: xr.Variable, calendar: str, date: Callable[[float], cftime.datetime]
) -> xr.Variable:
    """Return dates for numbers: datetime64 where it can hold them, as in xarray."""
    numbers = variable.values.astype(float)
    try:
        dates = [date(n) if np.isfinite(n) else None for n in numbers.ravel().tolist()]
    except (ValueError, OverflowError) as fault:
        raise _undecodable_error("time", f"{_unit(variable)}: {fault}") from fault
    out = np.array(dates, dtype=object).reshape(numbers.shape)
    known = [d.year for d in dates if d is not None]
    real = calendar in ("standard", "proleptic_gregorian")
    if real and known and YEAR_LIMITS[0] <= min(known) and max(known) <= YEAR_LIMITS[1]:
        texts = ["NaT" if d is None else d.isoformat() for d in dates]
        out = np.array(texts, dtype="M8[ns]").reshape(numbers.shape)
    encoding = variable.encoding | {"calendar": calendar}
    return xr.Variable(variable.dims, out, _drop_numeric_attrs(variable.attrs), encoding)


def holds_dates(time: xr.DataArray | xr.Variable) -> bool:
    """Tell whether a time holds dates."""
    known = (value for value in time.values.flat if value is not None)
    return time.dtype.kind == "M" or isinstance(next(known, None), cftime.datetime)


def check_dates(time: xr.DataArray) -> None:
    """Refuse a time whose numbers or texts cannot be read as dates."""
    if holds_dates(time) or not time.size:
        return
    decode_time_variable(str(time.name), time.variable)  # reports the reason, where it is known
    unit = _unit(time.variable)
    raise DpdmError(
        f"{time.name} holds {' '.join([str(time.values.flat[0]), unit]).strip()}, "
        "which is not a date.",
        "Write times in days since a date." if unit else SET_TIME_AXIS_HINT,
    )


def _drop_numeric_attrs(attrs: dict[str, Any]) -> dict[str, Any]:
    """Return attributes without units and calendar."""
    return {key: value for key, value in attrs.items() if key not in ("units", "calendar")}
