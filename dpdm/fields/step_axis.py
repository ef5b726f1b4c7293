"""Time axes of whole periods, stamped in their middle and with bounds, in any year.

Periods are numbered: months from January of the year 0, seasons from December to February of the
year 0, years by themselves, days and shorter or other steps from 1850-01-01 in multiples of their
length. The calendar is the standard one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import cftime
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.fields.time import MONTHS_PER_PERIOD, days_between

Numbers = NDArray[np.int64]
CALENDAR = "standard"
EPOCH = cftime.datetime(1850, 1, 1, calendar=CALENDAR)
NANOSECOND_YEARS = (1678, 2261)  # whole years of numpy's dates in nanoseconds


def number_periods(parts: Numbers, period: str, days: float) -> Numbers:
    """Return the number of the period that each date lies in.

    Args:
        parts: Year, month, day, hour, minute and second (N, 6).
        period: Name of the period, as in `time.period_of`.
        days: Length of other periods than months, seasons and years.

    Example:
        >>> dates = np.array([[1999, 12, 3, 0, 0, 0], [2000, 2, 29, 0, 0, 0]])
        >>> [number_periods(dates, name, 0).tolist() for name in ("month", "season", "year")]
        [[23999, 24001], [8000, 8000], [1999, 2000]]
    """
    if count := MONTHS_PER_PERIOD.get(period):
        months = parts[:, 0] * 12 + parts[:, 1] - 1
        return np.asarray((months + (count == 3)) // count, np.int64)
    unique, which = np.unique(parts, axis=0, return_inverse=True)
    dates = [cftime.datetime(*date, calendar=CALENDAR) for date in unique.tolist()]
    passed = days_between([EPOCH] * len(dates), dates)
    return np.floor(passed / days + 1e-9).astype(np.int64)[which.ravel()]


def period_start(number: int, period: str, days: float) -> cftime.datetime:
    """Return the first moment of a period."""
    if count := MONTHS_PER_PERIOD.get(period):
        month = number * count - (count == 3)
        return cftime.datetime(month // 12, month % 12 + 1, 1, calendar=CALENDAR)
    return EPOCH + timedelta(days=number * days)


def period_axis(numbers: Sequence[int] | Numbers, period: str, days: float) -> xr.Dataset:
    """Return ``time`` and ``time_bnds`` (time, 2) of numbered periods.

    Example:
        >>> axis = period_axis([12 * 1872 + 1], "month", 0)
        >>> str(axis["time"].values[0])[:13]
        '1872-02-15T12'
    """
    edges = [[period_start(int(n) + more, period, days) for more in (0, 1)] for n in numbers]
    stamps = [start + (end - start) / 2 for start, end in edges]
    low, high = NANOSECOND_YEARS
    plain = all(low <= start.year and end.year <= high for start, end in edges)
    time, bounds = (
        np.array([d.isoformat() for d in dates], "M8[ns]") if plain else np.array(dates, object)
        for dates in (stamps, [end for pair in edges for end in pair])
    )
    return xr.Dataset(
        coords={"time": ("time", time), "time_bnds": (("time", "bnds"), bounds.reshape(-1, 2))}
    )
