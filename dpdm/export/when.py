"""Dates as files and names have them."""

from pathlib import Path

import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.time import distinct_dates


def dates(time: xr.DataArray) -> list[str]:
    """Return ISO dates, with the time of the day where it is not midnight.

    Example:
        >>> times = xr.DataArray(["2012-01-16", "2012-02-15T12"], dims="time").astype("M8[ns]")
        >>> dates(times)
        ['2012-01-16', '2012-02-15T12:00:00']
    """
    texts = time.dt.strftime("%Y-%m-%dT%H:%M:%S").values
    return [str(text).removesuffix("T00:00:00") for text in texts]


def labels(time: xr.DataArray) -> list[str]:
    """Return the day of each step, and the time where a day has several: 2012-01-16T0600."""
    texts = distinct_dates(time, ("%Y-%m-%d", "%Y-%m-%dT%H%M"))
    if len(set(texts)) < len(texts):
        raise DpdmError("Two steps are of the same minute.", "Choose one of them with --time.")
    return texts


def split_names(target: Path, time: xr.DataArray) -> list[Path]:
    """Return the name of each step's own file, as OUT_2012-01-16.tif."""
    return [target.with_name(f"{target.stem}_{text}{target.suffix}") for text in labels(time)]
