"""The time steps of an analysis without coarse fields: those observed, or those of a period."""

from __future__ import annotations

from datetime import timedelta

import cftime
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid
from dpdm.fields.step_axis import CALENDAR, number_periods, period_axis
from dpdm.fields.time import (
    days_between,
    is_dated,
    is_within,
    period_of_length,
    step_timestamps,
    time_bounds,
)
from dpdm.observations.collocation import date_components, footprints_in_domain
from dpdm.observations.stations import is_for_verification
from dpdm.observations.status import is_usable
from dpdm.prior.model_card import ModelCard
from dpdm.states.requirements import LONGER_PERIODS

Dates = tuple[str, str]
MAX_STEPS = 1_000_000


def observed_axis(table: pd.DataFrame, contract: ModelCard, grid: Grid) -> xr.Dataset | None:
    """Return time and bounds of all periods with an observation that can be used, in order.

    None if the observations have no dates. Where none can be used, the axis has the periods of
    all, so that their screening can say why.

    Args:
        table: The observations, as read.
        contract: The prior's, whose steps the periods are, or longer ones.
        grid: The domain.
    """
    dated = table["time"].notna().to_numpy()
    if not dated.any() or not (contract.step or contract.cadence):
        return None
    if table["time"].dtype.kind in "if":
        raise DpdmError(
            f"The observations' times are numbers, as {table['time'][dated].iloc[0]:g} is, and "
            "the climatology needs dates.",
            "Write dates, as 1950-07 or 1950-07-01.",
        )
    used = dated & is_usable(table) & ~is_for_verification(table)
    used &= footprints_in_domain(table, grid)
    rows = table[used if used.any() else dated]
    period = observed_period(rows, contract.step)
    numbers = number_periods(date_components(rows["time"].to_numpy()), period, contract.cadence)
    return period_axis(np.unique(numbers), period, contract.cadence)


def observed_period(rows: pd.DataFrame, step: str) -> str:
    """Return the period of the observations: the prior's, or the longer one that most cover."""
    if "end" not in rows or not (known := rows["end"].notna()).any():
        return step
    lengths = days_between(rows.loc[known, "time"], rows.loc[known, "end"])
    period = period_of_length(float(np.median(lengths)))
    return period if period in LONGER_PERIODS.get(step, ()) else step


def period_steps(dates: Dates, contract: ModelCard) -> xr.Dataset:
    """Return time and bounds of all steps of the prior in a period, its ends included."""
    step, days = contract.step, contract.cadence
    if not (step or days):
        raise DpdmError(
            f"The prior is of fields without dates, and the period is {' to '.join(dates)}.",
            "Use a prior of months, days or other steps.",
        )
    ends = np.array([date_ends(dates[0])[0], date_ends(dates[1])[1]], dtype=object)
    first, last = number_periods(date_components(ends), step, days)
    if not 0 < last - first + 1 <= MAX_STEPS:
        raise DpdmError(
            f"From {dates[0]} to {dates[1]} there are {last - first + 1} steps of the prior.",
            "Check the period.",
        )
    return period_axis(np.arange(first, last + 1), step, days)


def date_ends(date: str) -> tuple[cftime.datetime, cftime.datetime]:
    """Return the first and the last second of a year, month or day.

    Example:
        >>> [str(end) for end in date_ends("1872-02")]
        ['1872-02-01 00:00:00', '1872-02-29 23:59:59']
    """
    parts = [int(part) for part in date.split("-")]
    try:
        start = cftime.datetime(*parts, *[1] * (3 - len(parts)), calendar=CALENDAR)
    except ValueError as error:
        raise DpdmError(f"{date} is not a date.", "Check the period.") from error
    if len(parts) == 3:
        return start, start + timedelta(days=1, seconds=-1)
    months = 12 * start.year + start.month - 1 + (12 if len(parts) == 1 else 1)
    after = cftime.datetime(months // 12, months % 12 + 1, 1, calendar=CALENDAR)
    return start, after - timedelta(seconds=1)


def steps_between(fields: xr.Dataset, dates: Dates) -> NDArray[np.int64]:
    """Return the positions of the steps whose date lies in a period; refuse none."""
    if "time" not in fields.dims or not is_dated(fields["time"]):
        raise DpdmError(
            f"--dates {','.join(dates)} selects steps, and the analysis has no dated ones.",
            "Leave it out, or give a file with dates.",
        )
    stamps = step_timestamps(fields["time"], time_bounds(fields))
    chosen = np.array([n for n, stamp in enumerate(stamps) if is_within(stamp, *dates)], np.int64)
    if not chosen.size:
        raise DpdmError(
            f"No step lies within --dates {','.join(dates)}: they are from {stamps[0][:10]} to "
            f"{stamps[-1][:10]}.",
            "Give dates within that, or leave --dates out.",
        )
    return chosen
