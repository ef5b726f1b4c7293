"""Which step of a field an observation belongs to.

With bounds, the step whose interval holds the stamp (start included, end not). Without, the axis
itself tells: steps a month apart are months, and any stamp within the month matches; so with years
and days; otherwise a step reaches half way to its neighbours. Numbers, as on a model's own axis,
must agree to a hundredth of a step.
"""

from typing import Any

import cftime
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError

Steps = NDArray[np.int64]
PERIODS = {"day": (0.99, 1.01), "month": (27.5, 31.5), "year": (359.5, 366.5)}  # days


def steps(
    stamps: pd.Series, time: xr.DataArray, bounds: xr.DataArray | None = None, period: str = ""
) -> Steps:
    """Return the index of the step that each stamp belongs to, -1 where there is none.

    Args:
        stamps: Dates or numbers.
        time: The field's axis, ascending, in any calendar.
        bounds: Its bounds (time, 2).
        period: What a step stands for, day, month or year; by default the axis tells, and a lone
            step is a day.

    Raises:
        DpdmError: One has dates where the other has numbers.
    """
    known = stamps.notna().to_numpy()
    out = np.full(len(stamps), -1, dtype=np.int64)
    if not known.any():
        return out
    said = stamps.to_numpy()[known]
    dated = said.dtype.kind == "M" or hasattr(said[0], "year")
    if dated != (time.dtype.kind in "MO"):
        raise DpdmError(
            f"The observations' times are {'dates' if dated else 'numbers'}, as {said[0]} is, "
            f"and the field's are {'numbers' if dated else 'dates'}.",
            "Give both the same.",
        )
    out[known] = _dated(said, time, bounds, period) if dated else _numbered(said, time)
    return out


def _numbered(said: np.ndarray, time: xr.DataArray) -> Steps:
    axis, values = time.values.astype(float), said.astype(float)
    nearest = np.abs(values[:, None] - axis).argmin(axis=1)
    spacing = np.diff(axis).min() if axis.size > 1 else 1.0
    return np.where(np.abs(values - axis[nearest]) <= 0.01 * spacing, nearest, -1)


def _dated(
    said: np.ndarray, time: xr.DataArray, bounds: xr.DataArray | None, period: str
) -> Steps:
    calendar = time.dt.calendar
    moments = {stamp: _days(stamp, calendar) for stamp in pd.unique(said)}
    days = np.array([moments[stamp] for stamp in said])
    if bounds is not None:
        ends = np.array([[_days(t, calendar) for t in pair] for pair in bounds.values])
        return _within(days, ends)
    axis = np.array([_days(t, calendar) for t in time.values])
    period = period or _period(axis)
    if not period:
        return _within(days, _halves(axis))
    labels = {stamp: _label(stamp, period) for stamp in moments}
    at = {_label(t, period): i for i, t in enumerate(time.values)}
    return np.array([at.get(labels[stamp], -1) for stamp in said], dtype=np.int64)


def _period(axis: NDArray[np.float64]) -> str:
    """Tell from the spacing what a step stands for."""
    if axis.size == 1:
        return "day"
    spacing = float(np.median(np.diff(axis)))
    fits = [name for name, (low, high) in PERIODS.items() if low <= spacing <= high]
    return fits[0] if fits else ""


def _halves(axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return intervals that reach half way to the neighbours."""
    middle = (axis[1:] + axis[:-1]) / 2
    edges = np.r_[2 * axis[0] - middle[0], middle, 2 * axis[-1] - middle[-1]]
    return np.stack([edges[:-1], edges[1:]], axis=1)


def _within(days: NDArray[np.float64], ends: NDArray[np.float64]) -> Steps:
    at = np.searchsorted(ends[:, 0], days, side="right") - 1
    inside = (at >= 0) & (days < ends[np.maximum(at, 0), 1])
    return np.where(inside, at, -1)


def _words(stamp: Any) -> tuple[int, int, int, int, int, int]:
    date = stamp if isinstance(stamp, cftime.datetime) else pd.Timestamp(stamp)
    return date.year, date.month, date.day, date.hour, date.minute, date.second


def _label(stamp: Any, period: str) -> tuple[int, ...]:
    return _words(stamp)[: {"year": 1, "month": 2, "day": 3}[period]]


def _days(stamp: Any, calendar: str) -> float:
    """Count days in a field's calendar, NaN where it has no such day."""
    try:
        date = cftime.datetime(*_words(stamp), calendar=calendar)
    except ValueError:
        return np.nan
    return float(cftime.date2num(date, "days since 1850-01-01", calendar=calendar))
