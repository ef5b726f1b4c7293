"""Dates as a picture says them, in any calendar."""

import calendar
from datetime import datetime
from typing import Any

import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.time import labels_of, period_of, spacing_of


def pace(time: xr.DataArray) -> str:
    """Return what a step of an axis stands for: year, season, month, day or moment.

    Example:
        >>> pace(xr.date_range("2000-01", periods=3, freq="MS").to_series().to_xarray()["index"])
        'month'
    """
    period = period_of(time, lone="day")
    if period and period != "hour":
        return period
    return "day" if spacing_of(time) >= 1 else "moment"


def said(stamp: xr.DataArray, step: str) -> str:
    """Say a date as long as its step deserves.

    Example:
        >>> said(xr.DataArray("2012-07-16T12:00").astype("M8[ns]"), "month")
        'July 2012'
    """
    spelled = {"year": "%Y", "season": "%B %Y", "month": "%B %Y", "day": "%Y-%m-%d"}
    style = spelled.get(step, "%Y-%m-%d %H:%M")
    return str(stamp.dt.strftime(style).item())


def chosen(time: xr.DataArray, wanted: str, path: Any) -> int:
    """Return the first step whose date begins as the user wrote it; without a wish, the first."""
    texts = time.dt.strftime("%Y-%m-%dT%H:%M:%S").values.tolist()
    sought = wanted.strip().replace(" ", "T")
    for place, text in enumerate(texts):
        if text.startswith(sought):
            return place
    raise DpdmError(
        f"{path} has no time {wanted}; it reaches from {texts[0][:10]} to {texts[-1][:10]}.",
        f"Give the beginning of a date that it has, as --time {texts[0][:7]}.",
    )


def same(time: xr.DataArray, stamp: xr.DataArray, step: str, path: Any) -> int:
    """Return the step of another axis that has the same year, month, day or moment."""
    wanted = labels_of(stamp.expand_dims("time"), period=step)[0]
    for place, text in enumerate(labels_of(time, period=step)):
        if text == wanted:
            return place
    raise DpdmError(
        f"{path} has no field of {said(stamp, step)}.", "Give a file of the same period."
    )


def is_remote(time: xr.DataArray) -> bool:
    """Tell whether a graph's axis of dates, of the years 1 to 9999, does not hold some dates."""
    years = time.dt.year.values
    return bool(years.min() < 100 or years.max() > 9900)


def axis(time: xr.DataArray, remote: bool = False) -> list[datetime] | list[float]:
    """Return dates that an axis of a graph knows; a 30 February becomes the month's last day.

    Args:
        time: A time axis.
        remote: Whether to return decimal years instead.
    """
    if remote:
        days = time.dt.dayofyear.values - 1 + time.dt.hour.values / 24
        decimal: list[float] = (time.dt.year.values + days / 366).tolist()
        return decimal
    parts = (time.dt.year, time.dt.month, time.dt.day, time.dt.hour)
    rows = zip(*(part.values.tolist() for part in parts), strict=True)
    return [
        datetime(year, month, min(day, calendar.monthrange(year, month)[1]), hour)
        for year, month, day, hour in rows
    ]
