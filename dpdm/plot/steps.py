"""Select the steps of a picture: a date, a season, or the same ones in another file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.time import period_of, step_labels, step_months, time_spacing
from dpdm.fields.value_checks import check_values
from dpdm.file_group import Source
from dpdm.plot.data import PlotVariable

INITIALS = "JFMAMJJASOND"
MONTHS = len(INITIALS)


def time_resolution(time: xr.DataArray) -> str:
    """Return the period of the steps of an axis: year, season, month, day or moment.

    Example:
        >>> months = xr.date_range("2000-01", periods=3, freq="MS")
        >>> time_resolution(months.to_series().to_xarray()["index"])
        'month'
    """
    period = period_of(time, single="day")
    if period and period != "hour":
        return period
    return "day" if time_spacing(time) >= 1 else "moment"


def format_date(stamp: xr.DataArray, step: str) -> str:
    """Format a date to the precision of its period.

    Example:
        >>> format_date(xr.DataArray("2012-07-16T12:00").astype("M8[ns]"), "month")
        'July 2012'
    """
    spelled = {"year": "%Y", "season": "%B %Y", "month": "%B %Y", "day": "%Y-%m-%d"}
    style = spelled.get(step, "%Y-%m-%d %H:%M")
    return str(stamp.dt.strftime(style).item())


def date_texts(time: xr.DataArray) -> list[str]:
    """Return the dates of an axis as ISO texts."""
    texts: list[str] = time.dt.strftime("%Y-%m-%dT%H:%M:%S").values.tolist()
    return texts


def iso_start(date: str) -> str:
    """Return the beginning of a date as the beginning of an ISO text."""
    return date.strip().replace(" ", "T")


def find_first_step(time: xr.DataArray, date: str, path: Any) -> int:
    """Return the first step whose date begins with the given text, which may be empty."""
    return find_steps(time, date, path)[0]


def find_steps(time: xr.DataArray, date: str, path: Any) -> list[int]:
    """Return the steps whose dates begin with the given text, which may be empty."""
    texts, start = date_texts(time), iso_start(date)
    steps = [step for step, text in enumerate(texts) if text.startswith(start)]
    if steps:
        return steps
    raise DpdmError(
        f"{path} has no time {date}; its dates are {texts[0][:10]} to {texts[-1][:10]}.",
        f"Give the beginning of one of its dates, as in --time {texts[0][:7]}.",
    )


def find_same_step(time: xr.DataArray, stamp: xr.DataArray, step: str, path: Any) -> int:
    """Return the step of another axis with the same year, month, day or moment."""
    (label,) = step_labels(stamp.expand_dims("time"), period=step)
    for index, other in enumerate(step_labels(time, period=step)):
        if other == label:
            return index
    raise DpdmError(
        f"{path} has no field of {format_date(stamp, step)}.", "Give a file with that date."
    )


class StepChoice(NamedTuple):
    """The steps of a picture, whose mean is drawn.

    Attributes:
        steps: Their numbers.
        label: The date, or the season and its steps.
    """

    steps: list[int]
    label: str


def select_steps(source: PlotVariable, date: str, season: str) -> StepChoice:
    """Return the step of a date, or all steps of a season whose dates begin with a text."""
    if not season:
        step, label = find_date(source, date)
        return StepChoice([step], label)
    months, time = season_months(season), source.time
    near = [i for i, text in enumerate(date_texts(time)) if text.startswith(iso_start(date))]
    numbers = step_months(time, source.bounds)
    steps = [i for i in near if numbers[i] in months]
    present = {int(numbers[i]) for i in steps}
    absent = [month for month in months if month not in present]
    if absent:
        raise DpdmError(
            f"{source.path} has no step of month {absent[0]}{f' in {date}' if date else ''}, "
            f"which {season.upper()} needs.",
            "Give a file with these months, or another --season.",
        )
    return StepChoice(steps, f"{season_label(source, season, steps)}, mean of {len(steps)} steps")


def season_label(source: PlotVariable, season: str, steps: Sequence[int]) -> str:
    """Return the name of a season with its years, as in DJF 1991-2020."""
    years = source.time.dt.year.values[list(steps)]
    ends = dict.fromkeys([int(years.min()), int(years.max())])
    return f"{season.upper()} {'-'.join(map(str, ends))}"


def season_months(season: str) -> list[int]:
    """Return the numbers of the months of a season, from their initials.

    Example:
        >>> season_months("DJF"), season_months("jjas")
        ([12, 1, 2], [6, 7, 8, 9])
    """
    start = (2 * INITIALS).find(season.upper())
    if start < 0 or not 2 <= len(season) <= MONTHS:
        raise DpdmError(
            f"{season} is not the initials of successive months.",
            "Give a season such as DJF, MAM, JJAS or ONDJFM.",
        )
    return [(start + i) % MONTHS + 1 for i in range(len(season))]


def read_steps(array: xr.DataArray, steps: Sequence[int], path: Source) -> xr.DataArray:
    """Read the mean of some steps, one in memory at a time."""
    mean: xr.DataArray = reduce(add, (read_step(array, step, path) for step in steps))
    return mean if len(steps) == 1 else mean / len(steps)


def read_step(array: xr.DataArray, step: int, path: Source) -> xr.DataArray:
    """Read one step and check its values."""
    one = array.isel(time=step) if "time" in array.dims else array
    loaded = one.drop_vars("time", errors="ignore").compute()
    check_values(xr.Dataset({"the field": loaded}), str(path))
    return loaded


def find_date(source: PlotVariable, date: str) -> tuple[int, str]:
    """Return the step of a date and the date as text; 0 and an empty text without time."""
    if "time" not in source.full_array.dims and not date:
        return 0, ""
    step = find_first_step(source.time, date, source.path)
    return step, format_date(source.time[step], time_resolution(source.time))


def find_matching_step(other: PlotVariable, source: PlotVariable, step: int) -> int:
    """Return the step of another file with the date of a step of the first."""
    if (
        "time" not in source.full_array.dims
        or other.full_array.sizes.get("time", 1) == 1 == (source.full_array.sizes["time"])
    ):
        return 0
    return find_same_step(other.time, source.time[step], time_resolution(source.time), other.path)
