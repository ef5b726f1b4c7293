"""Which step of a field an observation belongs to.

With bounds, the step whose interval holds the stamp (start included, end not). Without, the axis
itself tells: steps a month apart are months, and any stamp within the month matches; so with years
and days; otherwise a step reaches half way to its neighbours. Numbers, as on a model's own axis,
must agree to a hundredth of a step.
"""

from datetime import timedelta
from typing import Any

import cftime
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.time import MATCHED, period_of

Array = NDArray[np.float64]
Steps = NDArray[np.int64]


def steps(
    stamps: pd.Series, time: xr.DataArray, bounds: xr.DataArray | None = None, period: str = ""
) -> Steps:
    """Return the index of the step that each stamp belongs to, -1 where there is none.

    Args:
        stamps: Dates or numbers.
        time: The field's axis, ascending, in any calendar.
        bounds: Its bounds (time, 2).
        period: What a step stands for, day, month or year, where the axis does not decide; a
            single step is a day otherwise.
    """
    known = stamps.notna().to_numpy()
    out = np.full(len(stamps), -1, dtype=np.int64)
    if not known.any():
        return out
    said = stamps.to_numpy()[known]
    dated = said.dtype.kind == "M" or hasattr(said[0], "year")
    if dated != (time.dtype.kind in "MO"):
        kind = "dates" if dated else "numbers"
        raise DpdmError(
            f"The observations' times are {kind}, as {said[0]!s:.19} is, "
            f"and the field's are {'numbers' if dated else 'dates'}.",
            "Give both the same.",
        )
    out[known] = _dated(said, time, bounds, period) if dated else _numbered(said, time)
    return out


def before(ends: pd.Series) -> pd.Series:
    """Return the moments just before some dates; numbers are those of steps themselves."""
    if ends.dtype.kind == "M":
        return ends - pd.Timedelta(1, "s")
    dated = ends.dtype == object
    return ends - timedelta(seconds=1) if dated else ends


def _numbered(said: np.ndarray, time: xr.DataArray) -> Steps:
    axis, values = time.values.astype(float), said.astype(float)
    nearest = np.abs(values[:, None] - axis).argmin(axis=1)
    spacing = np.diff(axis).min() if axis.size > 1 else 1.0
    return np.where(np.abs(values - axis[nearest]) <= 0.01 * spacing, nearest, -1)


def _dated(
    said: np.ndarray, time: xr.DataArray, bounds: xr.DataArray | None, period: str
) -> Steps:
    calendar = time.dt.calendar
    words, axis = _words(said), _words(time.values)
    if bounds is not None:
        return _within(_days(words, calendar), _days(_words(bounds.values.ravel()), calendar))
    days = _days(axis, calendar)
    period = period_of(time) or period or ("day" if time.size == 1 else "")
    if period not in MATCHED:
        return _within(_days(words, calendar), _halves(days))
    at = {label: i for i, label in enumerate(_labels(axis, period).tolist())}
    return np.array([at.get(label, -1) for label in _labels(words, period).tolist()], np.int64)


def _halves(axis: Array) -> Array:
    """Return starts and ends, in turn, of intervals that reach half way to the neighbours."""
    middle = (axis[1:] + axis[:-1]) / 2
    edges = np.r_[2 * axis[0] - middle[0], middle, 2 * axis[-1] - middle[-1]]
    return np.stack([edges[:-1], edges[1:]], axis=1).ravel()


def _within(days: Array, ends: Array) -> Steps:
    at = np.searchsorted(ends[::2], days, side="right") - 1
    inside = (at >= 0) & (days < ends[1::2][np.maximum(at, 0)])
    return np.where(inside, at, -1)


def _words(stamps: Any) -> NDArray[np.int64]:
    """Return year, month, day, hour, minute and second (N, 6) of dates of any kind."""
    parts = ("year", "month", "day", "hour", "minute", "second")
    if stamps.dtype.kind == "M":
        index = pd.DatetimeIndex(stamps)
        return np.stack([getattr(index, part) for part in parts], axis=1).astype(np.int64)
    return np.array([[getattr(date, part) for part in parts] for date in stamps], np.int64)


def _labels(words: NDArray[np.int64], period: str) -> NDArray[np.int64]:
    """Number the years, months or days that dates lie in."""
    count = {"year": 1, "month": 2, "day": 3}[period]
    labels: NDArray[np.int64] = words[:, :count] @ np.array([10_000, 100, 1])[:count]
    return labels


def _days(words: NDArray[np.int64], calendar: str) -> Array:
    """Count days in a field's calendar, NaN where it has no such day."""
    dates, which = np.unique(words[:, :3], axis=0, return_inverse=True)
    whole = np.array([_day(date, calendar) for date in dates.tolist()])
    days: Array = whole[which.ravel()] + words[:, 3:] @ [3600, 60, 1] / 86400
    return days


def _day(words: list[int], calendar: str) -> float:
    try:
        date = cftime.datetime(*words, calendar=calendar)
    except ValueError:
        return np.nan
    return float(cftime.date2num(date, "days since 1850-01-01", calendar=calendar))
