"""How much of a month, season or year the values of a station cover.

One value of the third of January is no mean of January. How long each value stands for follows
from its own interval, where the table has ends; else from the usual distance between the values
of its station: daily values cover a day, monthly ones their month. A single value of a station
covers its month if it is stamped as months are (on the first day, in the middle or on the last
day), and a day otherwise.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from dpdm.fields.time import (
    MID_MONTH_DAYS,
    MONTHS_PER_PERIOD,
    days_between,
    period_of,
    period_of_length,
    step_intervals,
)
from dpdm.observations.status import ObsStatus

Array = NDArray[np.float64]
SERIES_COLUMNS = ("lat", "lon", "variable", "pressure", "channel")


def insufficient_coverage(
    table: pd.DataFrame,
    groups: NDArray[np.int64],
    time: xr.DataArray,
    bounds: xr.DataArray | None,
    period: str,
    least: float,
) -> dict[int, str]:
    """Return what to report of groups of values that cover too little of their step.

    Args:
        table: Observations that can be used, with their ``step``.
        groups: The group (N,) of each, of one place, step and variable.
        time: The field's time axis.
        bounds: Its bounds (time, 2).
        period: What a single step stands for.
        least: Share of a step that must be covered.
    """
    found = period_of(time, bounds, lone=period)
    if found not in MONTHS_PER_PERIOD or not len(table) or not least:
        return {}
    lengths = days_between(*step_intervals(time, bounds, lone=period))[table["step"].to_numpy()]
    covered = np.minimum(covered_days(table), lengths)
    fresh = ~table.assign(group=groups)[["group", "time"]].duplicated().to_numpy()
    total = np.bincount(groups, covered * fresh)
    whole = np.zeros(len(total))
    whole[groups] = lengths
    sparse = np.flatnonzero(total < least * whole - 1e-6)
    return {int(g): ObsStatus.SPARSE.of(f"{total[g]:.3g} of {whole[g]:.3g} days") for g in sparse}


def covered_days(table: pd.DataFrame) -> Array:
    """Return how many days each value (N,) stands for, infinite for months and longer."""
    days = series_days(table)
    if "end" in table:
        own = table["end"].notna() & table["time"].notna()
        if own.any():
            days[own.to_numpy()] = days_between(table.loc[own, "time"], table.loc[own, "end"])
    return days


def series_days(table: pd.DataFrame) -> Array:
    """Return the days (N,) that the values of each station's series stand for."""
    names = [name for name in SERIES_COLUMNS if name in table]
    stamps = pd.Series(day_numbers(table["time"]), index=table.index)
    ordered = table[names].assign(stamp=stamps).drop_duplicates().sort_values("stamp")
    gaps = ordered.groupby(names, dropna=False)["stamp"].diff()
    usual = gaps.groupby([ordered[name] for name in names], dropna=False).quantile(
        0.25, interpolation="lower"
    )
    keys = pd.MultiIndex.from_frame(table[names])
    if len(names) == 1:
        keys = keys.get_level_values(0)
    usual_gap = usual.reindex(keys).to_numpy(dtype=float)
    alone = np.where(is_month_stamp(table["time"]), np.inf, 1.0)
    monthly = np.array(
        [period_of_length(gap) in MONTHS_PER_PERIOD or gap > 31 for gap in usual_gap]
    )
    return np.where(np.isnan(usual_gap), alone, np.where(monthly, np.inf, usual_gap))


def day_numbers(time: pd.Series) -> Array:
    """Return dates of any kind as days, from one of their own; NaN where there is none."""
    out = np.full(len(time), np.nan)
    known = time.notna().to_numpy()
    values = time.to_numpy()[known]
    if len(values):
        out[known] = days_between(np.broadcast_to(values[:1], values.shape), values)
    return out


def is_month_stamp(time: pd.Series) -> NDArray[np.bool_]:
    """Return whether stamps (N,) are such as months have: first, middle or last day."""
    values = time.to_numpy()
    if values.dtype.kind != "M":
        dates = [date if hasattr(date, "day") else None for date in values]
        return np.array(
            [d is None or d.day == 1 or d.day in MID_MONTH_DAYS or d.day >= 28 for d in dates]
        )
    index = pd.DatetimeIndex(values)
    usual = (index.day == 1) | index.day.isin(list(MID_MONTH_DAYS)) | index.is_month_end
    return np.asarray(usual | index.isna(), dtype=bool)
