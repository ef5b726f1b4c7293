"""Dates as a picture says them, in any calendar."""

import calendar
from datetime import datetime
from typing import Any

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError

MONTH, YEAR = (27.5, 31.5), 359.5  # days


def pace(time: xr.DataArray) -> str:
    """Tell what a step of an axis stands for: year, month, day or moment.

    Example:
        >>> pace(xr.date_range("2000-01", periods=3, freq="MS").to_series().to_xarray()["index"])
        'month'
    """
    days = np.diff(time.values) / np.timedelta64(1, "D") if time.dtype.kind == "M" else None
    if days is None:
        days = np.array([gap.total_seconds() / 86400 for gap in np.diff(time.values)])
    middle = float(np.median(days)) if len(days) else 1.0
    if middle >= YEAR:
        return "year"
    if MONTH[0] <= middle <= MONTH[1]:
        return "month"
    return "day" if middle >= 1 else "moment"


def said(stamp: xr.DataArray, step: str) -> str:
    """Say a date as long as its step deserves.

    Example:
        >>> said(xr.DataArray(np.datetime64("2012-07-16T12:00", "ns")), "month")
        'July 2012'
    """
    style = {"year": "%Y", "month": "%B %Y", "day": "%Y-%m-%d"}.get(step, "%Y-%m-%d %H:%M")
    return str(stamp.dt.strftime(style).item())


def chosen(time: xr.DataArray, wanted: str, path: Any) -> int:
    """Return the first step whose date begins as the user wrote it; without a wish, the first.

    Raises:
        DpdmError: No step does.
    """
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
    """Return the step of another axis that has the same year, month, day or moment.

    Raises:
        DpdmError: There is none.
    """
    for place, text in enumerate(time.dt.strftime(_style(step)).values.tolist()):
        if text == stamp.dt.strftime(_style(step)).item():
            return place
    raise DpdmError(
        f"{path} has no field of {said(stamp, step)}.", "Give a file of the same period."
    )


def _style(step: str) -> str:
    styles = {"year": "%Y", "month": "%Y-%m", "day": "%Y-%m-%d"}
    return styles.get(step, "%Y-%m-%d %H:%M")


def axis(time: xr.DataArray) -> list[datetime]:
    """Return dates that an axis of a graph knows; a 30 February becomes the month's last day."""
    parts = (time.dt.year, time.dt.month, time.dt.day, time.dt.hour)
    rows = zip(*(part.values.tolist() for part in parts), strict=True)
    return [
        datetime(year, month, min(day, calendar.monthrange(year, month)[1]), hour)
        for year, month, day, hour in rows
    ]
