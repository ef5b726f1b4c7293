"""The part of a month, season or year that the values of a station cover.

One value on the third of January is not a mean of January. The length of each value follows from
its own interval, where the table has ends; else from the usual distance between the values of its
station: daily values cover a day, monthly ones their month. A single value of a station
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
    """Return the status of groups of values that cover too little of their step.

    Args:
        table: Observations that can be used, with their ``step``.
        groups: The group (N,) of each, of one place, step and variable.
        time: The field's time axis.
        bounds: Its bounds (time, 2).
        period: The period of a single step.
        least: Share of a step that must be covered.
    """
    found = period_of(time, bounds, lone=period)
    if found not in MONTHS_PER_PERIOD or not len(table) or not least:
        return {}
    lengths = days_between(*step_intervals(time, bounds, lone=period))[table["step"].to_numpy()]
    covered = np.minimum(covered_days(table), lengths)
    first = ~table.assign(group=groups)[["group", "time"]].duplicated().to_numpy()
    total = np.bincount(groups, covered * first)
    step_days = np.zeros(len(total))
    step_days[groups] = lengths
    sparse = np.flatnonzero(total < least * step_days - 1e-6)
    return {
        int(g): ObsStatus.SPARSE.of(f"{total[g]:.3g} of {step_days[g]:.3g} days") for g in sparse
    }


def covered_days(table: pd.DataFrame) -> Array:
    """Return the days that each value (N,) covers, infinite for months and longer."""
    days = series_days(table)
    if "end" in table:
        own = table["end"].notna() & table["time"].notna()
        if own.any():
            days[own.to_numpy()] = days_between(table.loc[own, "time"], table.loc[own, "end"])
    return days


def series_days(table: pd.DataFrame) -> Array:
    """Return the days (N,) that each value covers, from the spacing of its station's series."""
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
    single = np.where(is_month_stamp(table["time"]), np.inf, 1.0)
    monthly = np.array(
        [period_of_length(gap) in MONTHS_PER_PERIOD or gap > 31 for gap in usual_gap]
    )
    return np.where(np.isnan(usual_gap), single, np.where(monthly, np.inf, usual_gap))


def day_numbers(time: pd.Series) -> Array:
    """Return dates of any kind as days since the first one, NaN where missing."""
    out = np.full(len(time), np.nan)
    known = time.notna().to_numpy()
    values = time.to_numpy()[known]
    if len(values):
        out[known] = days_between(np.broadcast_to(values[:1], values.shape), values)
    return out


def is_month_stamp(time: pd.Series) -> NDArray[np.bool_]:
    """Tell whether stamps (N,) are the first, a middle or the last day of a month."""
    values = time.to_numpy()
    if values.dtype.kind != "M":
        dates = [date if hasattr(date, "day") else None for date in values]
        return np.array(
            [d is None or d.day == 1 or d.day in MID_MONTH_DAYS or d.day >= 28 for d in dates]
        )
    index = pd.DatetimeIndex(values)
    usual = (index.day == 1) | index.day.isin(list(MID_MONTH_DAYS)) | index.is_month_end
    return np.asarray(usual | index.isna(), dtype=bool)
