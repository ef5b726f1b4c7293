"""The interval and the period (day, month, season or year) of each step of a field.

A stamp may be at the start, middle or end of its interval, and does not determine the period.

**Period.** With bounds, a step is an hour (anything shorter than a day), a day, or one, three or
twelve whole months, if most of the intervals are. Without, it follows from the lower quartile of
distances between stamps: 27.5 to 31.5 days for months, 88.5 to 92.5 for seasons, 359.5 to 366.5
for years, in any calendar. Stamps that drift through the months are not months; stamps a year
apart that lie neither at the ends nor in the middle of the year are one month of each year.
Anything else, and a single step without bounds, is unknown: the empty string.

**Date.** A step has the date of its stamp, or of the middle of its interval where the stamp lies
outside of that or in another month, as in raw CESM files.

**Interval.** Months are whole calendar months, days and years without bounds are those of the
stamp, and all others reach as far as their bounds, or half way to their neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import cftime
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
PERIOD_DAYS = {
    "hour": (0.0, 0.99),
    "day": (0.99, 1.01),
    "month": (27.5, 31.5),
    "season": (88.5, 92.5),
    "year": (359.5, 366.5),
}  # days
LABEL_LENGTHS = {"year": 4, "month": 7, "season": 7, "day": 10}  # characters of a label
CLIMATOLOGY_YEARS = "climatology_years"  # attribute of time_bnds: years before, years after
MONTHS_PER_PERIOD = {"month": 1, "season": 3, "year": 12}
MONTH_EDGE_TOLERANCE = 0.05  # of a month, by which bounds may miss its ends
_LONGEST = {"day": 1, "month": 31, "year": 366}  # days
MAX_STAMP_SHIFT = 0.25  # of a month; more is another way of stamping, not drift
MATCHING_PERIODS = (
    "day",
    "month",
    "season",
    "year",
)  # periods that are the same wherever they are stamped
MID_MONTH_DAYS = range(14, 18)  # days on which months are stamped in their middle
WRONG_BOUNDS_HINT = "If the bounds are wrong, remove them: ncks -C -O -x -v {name} IN.nc OUT.nc."
MAX_STAMP_DRIFT = 0.2  # of a month, through a whole series


def is_dated(time: xr.DataArray | None) -> bool:
    """Tell whether a time axis holds dates."""
    return time is not None and (time.dtype.kind == "M" or time.dtype == object)


def time_bounds(fields: xr.Dataset) -> xr.DataArray | None:
    """Return the time bounds (time, 2) of canonical fields, if they have any."""
    return fields.get("time_bnds")


def days_between(starts: Any, ends: Any) -> Array:
    """Return the days from starts to ends, dates of numpy or cftime."""
    gaps = np.ravel(np.asarray(ends) - np.asarray(starts))
    one = np.timedelta64(1, "D") if gaps.dtype.kind == "m" else timedelta(days=1)
    return np.array(gaps / one, dtype=np.float64)


def period_of_length(days: float) -> str:
    """Return the period of a length in days, empty if there is none.

    Example:
        >>> [period_of_length(days) for days in (0.25, 1, 27.2, 28, 91, 365, 3650)]
        ['hour', 'day', '', 'month', 'season', 'year', '']
    """
    fits = [name for name, (low, high) in PERIOD_DAYS.items() if low < days <= high]
    return fits[0] if fits else ""


def period_of(
    time: xr.DataArray | None, bounds: xr.DataArray | None = None, single: str = ""
) -> str:
    """Return the period of the steps: hour, day, month, season, year, or empty if unknown.

    Args:
        time: The time axis, ascending, in any calendar; times that are no dates have no period.
        bounds: Its bounds (time, 2).
        single: The period of a single step without bounds.

    Example:
        >>> stamps = xr.date_range("2000-01", periods=3, freq="MS")
        >>> period_of(xr.DataArray(stamps, dims="time"))
        'month'
    """
    if time is None or not is_dated(time):
        return ""
    if bounds is not None:
        return _period_of_intervals(*_bounds_ends(bounds))
    if time.size < 2:
        return single
    name = period_of_length(time_spacing(time))
    if name == "month" and _stamp_drift(time) > MAX_STAMP_DRIFT:
        return ""
    return "month" if name == "year" and _is_one_month(time) else name


def time_spacing(time: xr.DataArray) -> float:
    """Return the usual distance between stamps, in days: the lower quartile."""
    gaps = days_between(time.values[:-1], time.values[1:])
    return float(np.quantile(gaps, 0.25, method="lower"))


def step_length(time: xr.DataArray | None, bounds: xr.DataArray | None = None) -> float:
    """Return the usual length of a step in days, 0 where nothing shows it."""
    if time is None or not is_dated(time):
        return 0.0
    if bounds is not None:
        return float(np.median(days_between(*_bounds_ends(bounds))))
    return time_spacing(time) if time.size > 1 else 0.0


def step_dates(time: xr.DataArray, bounds: xr.DataArray | None = None) -> xr.DataArray:
    """Return the date of each step (time,), which lies within its interval."""
    if bounds is None or not is_dated(time):
        return time
    starts, ends = _bounds_ends(bounds)
    middle = _name_time(starts + (ends - starts) / 2)
    counts = _whole_months(starts, ends)
    inside = (time.values >= starts) & (time.values < ends)
    own = np.where(
        (counts == 1) | (counts == 3), _month_of_year(time) == _month_of_year(middle), inside
    )
    own = np.where(counts == 12, _calendar_years(time) == _calendar_years(middle), own)
    return _name_time(np.where(own, time.values, middle.values))


def step_intervals(
    time: xr.DataArray, bounds: xr.DataArray | None = None, single: str = "day"
) -> tuple[Any, Any]:
    """Return the start and the end (time,) of each step, dates of the kind of the axis."""
    if bounds is None:
        period = period_of(time, None, single)
        return (
            _calendar_period_ends(time.values, period)
            if period in _LONGEST
            else _midpoint_intervals(time.values)
        )
    (starts, ends), months = (
        _bounds_ends(bounds),
        _calendar_period_ends(step_dates(time, bounds).values, "month"),
    )
    whole = _whole_months(starts, ends) == 1
    return np.where(whole, months[0], starts), np.where(whole, months[1], ends)


def step_days(time: xr.DataArray, bounds: xr.DataArray | None = None) -> xr.DataArray:
    """Return the length of each step (time,) in days."""
    return xr.DataArray(days_between(*step_intervals(time, bounds)), dims="time")


def days_in_month(time: xr.DataArray, bounds: xr.DataArray | None = None) -> xr.DataArray:
    """Return the days (time,) of the calendar month of each step, or of the mean of its months."""
    own = step_dates(time, bounds).dt.days_in_month.values
    if bounds is not None:
        counts = _whole_months(*_bounds_ends(bounds))
        own = np.where(counts > 1, step_days(time, bounds) / np.maximum(counts, 1), own)
    return xr.DataArray(own, dims="time")


def step_months(time: xr.DataArray, bounds: xr.DataArray | None = None) -> Numbers:
    """Return the calendar month (time,) of each step, 1 to 12."""
    return np.asarray(step_dates(time, bounds).dt.month.values, np.int64)


def step_years(time: xr.DataArray, bounds: xr.DataArray | None = None) -> Numbers:
    """Return the year (time,) of each step."""
    return _calendar_years(step_dates(time, bounds))


def days_of_year(time: xr.DataArray, bounds: xr.DataArray | None = None) -> Numbers:
    """Return the day of the year (time,) of each step, 1 to 366."""
    return np.asarray(step_dates(time, bounds).dt.dayofyear.values, np.int64)


def step_timestamps(time: xr.DataArray, bounds: xr.DataArray | None = None) -> list[str]:
    """Return the date of each step to the second: ``2012-01-16T12:00:00``."""
    dates = step_dates(time, bounds).dt
    parts = (
        getattr(dates, n).values for n in ("year", "month", "day", "hour", "minute", "second")
    )
    return [
        f"{y:04d}-{m:02d}-{d:02d}T{h:02d}:{n:02d}:{s:02d}"
        for y, m, d, h, n, s in zip(*(part.tolist() for part in parts), strict=True)
    ]


def distinct_date_labels(time: xr.DataArray, styles: Sequence[str]) -> list[str]:
    """Return dates in the shortest style in which all differ, or else in the longest.

    Example:
        >>> times = xr.DataArray(["2012-01-16", "2012-02-15"], dims="time").astype("M8[ns]")
        >>> distinct_date_labels(times, ["%Y", "%Y-%m", "%Y-%m-%d"])
        ['2012-01', '2012-02']
    """
    labels: list[str] = []
    for style in styles:
        labels = [str(label) for label in time.dt.strftime(style).values]
        if len(set(labels)) == len(labels):
            break
    return labels


def step_labels(
    time: xr.DataArray, bounds: xr.DataArray | None = None, period: str = ""
) -> list[str]:
    """Return the label of each step: its year, month or day, or its date to the minute.

    Args:
        time: The time axis.
        bounds: Its bounds (time, 2).
        period: The period of the steps; by default that of the axis.
    """
    length = LABEL_LENGTHS.get(period or period_of(time, bounds), 16)
    # The year has more than four characters before the year 0 and after 9999.
    return [stamp[: stamp.index("-", 1) - 4 + length] for stamp in step_timestamps(time, bounds)]


def label_year(label: str) -> str:
    """Return the year of a label.

    Example:
        >>> label_year("2012-01"), label_year("-021-01"), label_year("12000")
        ('2012', '-021', '12000')
    """
    return label[0] + label[1:].partition("-")[0]


def month_numbers(time: xr.DataArray, bounds: xr.DataArray | None = None) -> Numbers:
    """Return the month (time,) of each step, counted from January of the year 0."""
    return _month_of_year(step_dates(time, bounds))


def year_fractions(
    time: xr.DataArray | None, bounds: xr.DataArray | None = None
) -> list[float | None]:
    """Return the fraction of the year passed at each step, None where no season applies.

    Monthly steps stand for the middle of their month; so does a single step without bounds. Steps
    longer than 45 days are means over seasons or years.
    """
    if time is None:
        return [None]
    if step_length(time, bounds) > 45:
        return [None] * time.size
    if period_of(time, bounds, single="month") == "month":
        return [(float(month) - 0.5) / 12 for month in step_months(time, bounds)]
    return [(float(day) - 0.5) / 365.25 for day in days_of_year(time, bounds)]


def is_stamped_as_month(time: xr.DataArray) -> bool:
    """Tell whether a single stamp is the first day or the middle of a month."""
    stamp = time.dt
    first = stamp.day.item() == 1 and stamp.hour.item() == 0
    return bool(first or stamp.day.item() in MID_MONTH_DAYS)


def bounds_enclose_times(bounds: xr.DataArray, time: xr.DataArray) -> bool:
    """Tell whether bounds (time, 2) are intervals that contain their stamps or end there."""
    starts, ends = _bounds_ends(bounds)
    return bool(((starts < ends) & (starts <= time.values) & (time.values <= ends)).all())


def check_bounds(time: xr.DataArray, bounds: xr.DataArray, name: str) -> None:
    """Refuse bounds that enclose no time, or not their stamps."""
    starts, ends = _bounds_ends(bounds)
    stamps = time.values
    for place in np.flatnonzero(~(starts < ends))[:1]:
        raise DpdmError(
            f"{name} of time {stamps[place]} runs from {starts[place]} to {ends[place]}, not an "
            "interval.",
            WRONG_BOUNDS_HINT.format(name=name),
        )
    for place in np.flatnonzero((stamps < starts) | (stamps > ends))[:1]:
        raise DpdmError(
            f"time {stamps[place]} lies outside of its {name}, {starts[place]} to {ends[place]}.",
            WRONG_BOUNDS_HINT.format(name=name),
        )


def common_period(fields: Sequence[xr.Dataset]) -> str:
    """Return the common period of fields; a single step without bounds has any period."""
    known = {
        period_of(f["time"], time_bounds(f))
        for f in fields
        if f.sizes.get("time", 0) > 1 or time_bounds(f) is not None
    }
    return known.pop() if len(known) == 1 else ""


def copy_times(fields: xr.Dataset, other: xr.Dataset) -> xr.Dataset:
    """Return fields with the time stamps of other fields that have steps of the same period.

    Months stamped on their first day and months stamped in their middle are the same months.
    """
    if "time" not in fields.dims or "time" not in other.dims:
        return fields
    period = common_period([fields, other])
    if period not in MATCHING_PERIODS or fields["time"].dt.calendar != other["time"].dt.calendar:
        return fields
    own, others = (step_labels(f["time"], time_bounds(f), period) for f in (fields, other))
    stamps = dict(zip(others, other["time"].values, strict=True))
    if len(set(own)) < len(own) or len(stamps) < len(others):
        return fields
    renewed = fields["time"].values.copy()
    renewed[:] = [stamps.get(label, old) for label, old in zip(own, renewed, strict=True)]
    time = fields["time"].copy(data=renewed)
    time.encoding = fields["time"].encoding
    return fields.assign_coords(time=time)


def is_within(stamp: str, first: str, last: str) -> bool:
    """Tell whether a date lies in a period, ends included; an empty end is open.

    Example:
        >>> is_within("1862-07-16T12", "1862-07", "1862-07"), is_within("1862", "1863", "")
        (True, False)
    """
    return first <= stamp[: len(first)] and (not last or stamp[: len(last)] <= last)


def _period_of_intervals(starts: Any, ends: Any) -> str:
    name = period_of_length(float(np.median(days_between(starts, ends))))
    if name not in MONTHS_PER_PERIOD:
        return name
    fits = _whole_months(starts, ends) == MONTHS_PER_PERIOD[name]
    return name if fits.mean() > 0.5 else ""


def _whole_months(starts: Any, ends: Any) -> Numbers:
    """Count the months of intervals (time,) that are whole months, 0 for all others."""
    first, last = _fractional_months(_name_time(starts)), _fractional_months(_name_time(ends))
    whole = np.abs([first - first.round(), last - last.round()]).max(0) <= MONTH_EDGE_TOLERANCE
    return np.where(whole, (last - first).round(), 0).astype(np.int64)


def _stamp_drift(time: xr.DataArray) -> float:
    """Return the drift of stamps through the months, in months."""
    steps = np.diff(_fractional_months(time))
    slips = steps - steps.round()
    return float(np.abs(slips[np.abs(slips) < MAX_STAMP_SHIFT].sum()))


def _is_one_month(time: xr.DataArray) -> bool:
    """Tell whether stamps a year apart are one month of each year, not annual means."""
    months, days = time.dt.month.values, time.dt.day.values
    edge = ((months == 1) & (days == 1)) | ((months == 12) & (days >= 30))
    return bool(((months != 6) & (months != 7) & ~edge).all())


def _fractional_months(time: xr.DataArray) -> Array:
    """Return dates as months since the year 0, with the fraction of the month passed."""
    dates = time.dt
    passed = dates.day.values - 1 + (dates.hour.values + dates.minute.values / 60) / 24
    return np.asarray(_month_of_year(time) + passed / dates.days_in_month.values, np.float64)


def _month_of_year(time: xr.DataArray) -> Numbers:
    return np.asarray(_calendar_years(time) * 12 + time.dt.month.values - 1, np.int64)


def _calendar_years(time: xr.DataArray) -> Numbers:
    return np.asarray(time.dt.year.values, np.int64)


def _bounds_ends(bounds: xr.DataArray) -> tuple[Any, Any]:
    values = bounds.transpose("time", ...).values
    return values[:, 0], values[:, 1]


def _name_time(values: Any) -> xr.DataArray:
    return xr.DataArray(values, dims="time", name="time")


def _calendar_period_ends(dates: Any, period: str) -> tuple[Any, Any]:
    """Return the start and the end of the days, months or years that dates lie in."""
    if dates.dtype.kind == "M":
        starts = dates.astype(f"M8[{period[0].upper()}]")
        return starts.astype(dates.dtype), (starts + 1).astype(dates.dtype)
    starts = [_period_start(date, period) for date in dates]
    ends = [_period_start(start + timedelta(days=_LONGEST[period]), period) for start in starts]
    return np.array(starts, dtype=object), np.array(ends, dtype=object)


def _period_start(date: Any, period: str) -> Any:
    first = {"month": {"day": 1}, "year": {"day": 1, "month": 1}}.get(period, {})
    return date.replace(hour=0, minute=0, second=0, microsecond=0, **first)


def _midpoint_intervals(values: Any) -> tuple[Any, Any]:
    """Return intervals that reach half way to the neighbours."""
    gaps = np.diff(values)
    middle = values[:-1] + gaps / 2
    first, last = values[:1] - gaps[:1] / 2, values[-1:] + gaps[-1:] / 2
    edges = np.concatenate([first, middle, last])
    return edges[:-1], edges[1:]


def time_labels(fields: xr.Dataset) -> list[str]:
    """Return the label of each time step, a part of every member's seed: ``1862-07-16T12``."""
    if "time" not in fields.dims:
        return [""]
    parts = [getattr(fields["time"].dt, n).values for n in ("year", "month", "day", "hour")]
    return [f"{y:04d}-{m:02d}-{d:02d}T{h:02d}" for y, m, d, h in zip(*parts, strict=True)]


def time_label(fields: xr.Dataset, step: int) -> str:
    """Return the label of one time step."""
    return time_labels(fields[["time"]].isel(time=[step]) if "time" in fields.dims else fields)[0]


def multi_year_bounds(bounds: xr.DataArray) -> xr.DataArray:
    """Return the bounds of a climatology over all its years."""
    before, after = bounds.attrs[CLIMATOLOGY_YEARS]
    dates = to_cftime(bounds.values.ravel(), bounds.dt.calendar)
    shifts = [-before, after] * bounds.sizes["time"]
    moved = [move_to_year(d, d.year + n) for d, n in zip(dates, shifts, strict=True)]
    numpy_dates = bounds.dtype.kind == "M"
    values = np.array([d.isoformat() for d in moved], "M8[ns]") if numpy_dates else np.array(moved)
    return xr.DataArray(values.reshape(bounds.shape), dims=bounds.dims)


def to_cftime(values: np.ndarray, calendar: str) -> list[cftime.datetime]:
    """Return dates of a calendar for dates of any kind."""
    if values.dtype.kind != "M":
        return list(values)
    parts = [stamp.timetuple()[:6] for stamp in values.astype("M8[s]").astype(object)]
    return [cftime.datetime(*six, calendar=calendar) for six in parts]


def move_to_year(date: cftime.datetime, year: int) -> cftime.datetime:
    """Return the date in another year, at most the last day of its month."""
    first = date.replace(year=year, day=1)
    return first.replace(day=min(date.day, first.daysinmonth))
