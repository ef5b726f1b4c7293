"""Over which time an amount of precipitation fell, so that it becomes a rate.

The bounds of the time axis give the period of a plain sum. The cell methods (CF-1.11, 7.3) of a
file may give another: ``time: sum within days time: mean over days`` is the mean daily amount,
whatever the bounds enclose, and so is the monthly mean of daily accumulations of ECMWF (step type
``avgad``). A mean of amounts that names no period is refused: to guess would be wrong by a factor
of 30.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.time import step_days

_CELL_METHOD = re.compile(r"time: (\w+)(?: within (\w+))?(?: over (\w+))?(?: \(([^)]*)\))?")
_INTERVAL = re.compile(r"interval:\s*([\d.]+)\s*(hour|hr|h|day|d)s?\b")
DAYS_PER_PERIOD = {"hours": 1 / 24, "days": 1.0, "hour": 1 / 24, "day": 1.0}


class CellMethod(NamedTuple):
    """One cell method of the time axis: its operation, over what, and the interval of the data."""

    name: str
    within: str
    over: str
    comment: str


def time_cell_methods(array: xr.DataArray) -> list[CellMethod]:
    """Return the cell methods of a variable's time axis, in the order they were applied.

    Example:
        >>> text = "area: mean time: sum within days time: mean over days"
        >>> [each[:3] for each in time_methods(xr.DataArray(attrs={"cell_methods": text}))]
        [('sum', 'days', ''), ('mean', '', 'days')]
    """
    text = str(array.attrs.get("cell_methods", ""))
    return [CellMethod(*(part or "" for part in found)) for found in _CELL_METHOD.findall(text)]


def accumulation_days(
    array: xr.DataArray, unit: str, bounds: xr.DataArray | None, extent: Callable[[], str] = str
) -> Any:
    """Return over how many days each amount fell: one number, or one a step (time).

    Args:
        array: An amount, with the attributes of its file.
        unit: Its unit, for the sentences of a refusal.
        bounds: The bounds of its steps (time, 2).
        extent: Gives its least and greatest value, for the same.
    """
    methods = time_cell_methods(array)
    if array.attrs.get("GRIB_stepType") == "avgad":
        return 1.0
    if (days := _days_from_cell_methods(methods)) is not None:
        return days
    if any(method.name == "mean" for method in methods) and not _is_plain_sum(methods):
        raise DpdmError(
            f"{array.name} is a mean of amounts ({unit}, cell_methods "
            f"'{array.attrs['cell_methods']}'), and nothing gives the period of each amount.",
            f"If it is per day, use --units tp={unit}/day; per month, --units tp={unit}/month.",
        )
    if bounds is None:
        raise DpdmError(
            f"{array.name} is an amount ({extent()} {unit}), and no time bounds give the period "
            "in which it fell.",
            f"If it is per day, use --units tp={unit}/day; per month, --units tp={unit}/month.",
        )
    lengths = step_days(array["time"], bounds)
    if not bool((lengths > 0).all()):
        raise DpdmError(
            f"The time bounds of {array.name} enclose no time.", f"Use --units tp={unit}/day."
        )
    return lengths


def rate_unit(array: xr.DataArray, unit: str) -> str:
    """Return the unit of the rate that an amount is if its period is stated, else nothing.

    What is written in that unit can be read without cell methods.
    """
    avgad = array.attrs.get("GRIB_stepType") == "avgad"
    days = 1.0 if avgad else _days_from_cell_methods(time_cell_methods(array))
    if days is None:
        return ""
    return {1.0: f"{unit} day-1", 1 / 24: f"{unit} hour-1"}.get(days, "mm day-1")


def mean_cell_methods(array: xr.DataArray) -> str:
    """Return the cell methods of a rate: those of space, and a mean over time.

    Example:
        >>> text = "area: mean time: sum within days time: mean over days"
        >>> mean_methods(xr.DataArray(attrs={"cell_methods": text}))
        'area: mean time: mean'
    """
    text = _CELL_METHOD.sub("", str(array.attrs.get("cell_methods", "")))
    return " ".join([*text.split(), "time: mean"])


def _days_from_cell_methods(methods: list[CellMethod]) -> float | None:
    """Return the days of an amount that the cell methods themselves give."""
    sums = [method for method in methods if method.name == "sum"]
    if sums and sums[0].within in DAYS_PER_PERIOD:
        return DAYS_PER_PERIOD[sums[0].within]
    means = [method for method in methods if method.name == "mean"]
    if means and not _is_plain_sum(methods) and (found := _INTERVAL.search(means[-1].comment)):
        return float(found[1]) * (1.0 if found[2].startswith("d") else 1 / 24)
    return None


def _is_plain_sum(methods: list[CellMethod]) -> bool:
    """Return whether amounts were summed over the whole step, last of all.

    The mean over the years of a climatology leaves an amount that of the step in one year.
    """
    kept = [method for method in methods if (method.name, method.over) != ("mean", "years")]
    return bool(kept) and kept[-1].name == "sum" and kept[-1].within in ("", "years")
