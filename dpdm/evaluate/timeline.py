"""The steps of a series as climate indices need them: years, days, and steps in succession.

An index of a year needs a whole year: one with all calendar months that the series has, and at
least 98% of the steps of the fullest year. A series without such a year (November to February)
counts as one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.fields.time import (
    Numbers,
    days_between,
    is_dated,
    period_of,
    step_length,
    step_months,
    step_timestamps,
    step_years,
    time_bounds,
)

COMPLETE_SHARE = 0.98  # of the steps of the fullest year: a few days may be missing
LONGEST_GAP = 1.5  # usual distances between stamps that two steps in succession may be apart
NO_BLOCK = -1  # of a step in no whole year, or no whole day


@dataclass(frozen=True)
class Timeline:
    """The steps of a series.

    Attributes:
        period: Hour, day, month, season or year; empty if unknown.
        length: Usual length of a step in days, 0 if unknown.
        years: Number of the whole year of each step, `NO_BLOCK` if in none.
        year_count: Number of whole calendar years.
        days: Number of the whole day of each step, `NO_BLOCK` if in none.
        follows: Whether a step comes next after the one before it.
    """

    period: str
    length: float
    years: Numbers
    year_count: int
    days: Numbers
    follows: NDArray[np.bool_]

    @property
    def pair_count(self) -> int:
        """Count the pairs of successive steps."""
        return int(self.follows.sum())


def read_timeline(truth: xr.Dataset) -> Timeline:
    """Return the steps of a series."""
    time, bounds = truth["time"], time_bounds(truth)
    if not is_dated(time):
        one_year = np.zeros(time.size, np.int64)
        return Timeline("", 0.0, one_year, 0, one_year + NO_BLOCK, np.arange(time.size) > 0)
    years, count = whole_years(step_years(time, bounds), step_months(time, bounds))
    period = period_of(time, bounds)
    days = whole_days([stamp[:-9] for stamp in step_timestamps(time, bounds)])
    return Timeline(period, step_length(time, bounds), years, count, days, successions(time))


def whole_years(years: Numbers, months: Numbers) -> tuple[Numbers, int]:
    """Number the whole years of steps (time,), and count them.

    Example:
        >>> whole_years(np.array([1, 2, 2, 3, 3]), np.array([12, 6, 12, 6, 12]))
        (array([-1,  0,  0,  1,  1]), 2)
    """
    names, steps = np.unique(years, return_counts=True)
    every = len(set(months))
    whole = [
        year
        for year, count in zip(names, steps, strict=True)
        if len(set(months[years == year])) == every and count >= COMPLETE_SHARE * steps.max()
    ]
    if not whole:
        return np.zeros_like(years), 0
    return np.where(np.isin(years, whole), np.searchsorted(whole, years), NO_BLOCK), len(whole)


def whole_days(dates: list[str]) -> Numbers:
    """Number the days of steps that have as many steps as the fullest day.

    Example:
        >>> whole_days(["1", "2", "2", "3", "3"])
        array([-1,  1,  1,  2,  2])
    """
    _, days, steps = np.unique(dates, return_inverse=True, return_counts=True)
    return np.where(steps[days] == steps.max(), days, NO_BLOCK)


def successions(time: xr.DataArray) -> NDArray[np.bool_]:
    """Tell which steps (time,) come next after the step before them."""
    gaps = days_between(time.values[:-1], time.values[1:])
    near = (gaps > 0) & (gaps <= LONGEST_GAP * np.median(gaps)) if gaps.size else gaps > 0
    return np.concatenate([[False], near])
