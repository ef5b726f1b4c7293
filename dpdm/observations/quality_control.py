r"""Quality control: check observations against a field, and merge collocated ones.

A row that cannot be used is kept, with the reason in its status. Values at one position, step and
variable are merged; duplicates are marked before, by `series_checks`. Their errors are assumed to
be independent:

.. math::

    y = e^2 \sum_i y_i / e_i^2, \qquad e^{-2} = \sum_i e_i^{-2},

so n equal errors shrink by the square root of n; for dependent errors, representativeness above
all, give larger ones. Values of operators are not merged: two directions have no mean, and two
channels of a satellite differ.

One value on the third of January is not a mean of January: `insufficient_coverage` finds values
that cover too little of their month, season or year. The length of a value is its own interval,
where the table has ends; else the usual distance between the values of its station. A single value
of a station covers its month if it is stamped as months are (on the first day, in the middle or on
the last day), and a day otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid, axis_spacing
from dpdm.fields.time import (
    MID_MONTH_DAYS,
    MONTHS_PER_PERIOD,
    days_between,
    is_dated,
    period_of,
    period_of_length,
    step_intervals,
)
from dpdm.fields.variables import LEVEL_VARIABLES, SATELLITE_VARIABLES
from dpdm.observations.collocation import (
    footprints_in_domain,
    match_steps,
    previous_moments,
    wrap_longitudes,
)
from dpdm.observations.columns import (
    IDENTITY_OPERATORS,
    OPERATOR_SETTINGS,
    row_operators,
    row_variables,
    swapped_coordinates_error,
)
from dpdm.observations.rows import copy_lazily, number_groups
from dpdm.observations.stations import is_for_verification, round_positions
from dpdm.observations.status import (
    ObsStatus,
    is_usable,
    mark_status,
    overrule_status,
    status_reasons,
)

Array = NDArray[np.float64]
Index = NDArray[np.int64]
MIN_LAND_FRACTION = 0.05  # land fraction of a land cell
KIND_COLUMNS = ("variable", "operator", "pressure", "channel", *OPERATOR_SETTINGS)
SERIES_COLUMNS = ("lat", "lon", "variable", "pressure", "channel")
MERGE_COLUMNS = (*KIND_COLUMNS, "step", "last", "trajectory", "component", "y", "x", "verify")
GROUP_COLUMNS = ("lat", "lon", *MERGE_COLUMNS)
COVERAGE_COLUMNS = (*SERIES_COLUMNS, "time", "end")
FOOTPRINT_COLUMNS = ("lat", "lon", "operator", "factor", "radius")


def check_observations(
    table: pd.DataFrame,
    domain: Grid | None = None,
    time: xr.DataArray | None = None,
    bounds: xr.DataArray | None = None,
    period: str = "",
    statics: xr.Dataset | None = None,
    relief: float = 1500.0,
    coverage: float = 0.0,
) -> pd.DataFrame:
    """Return observations with their status and step; of a time mean also the last step.

    Args:
        table: The table of `read_observations`.
        domain: The field's grid; None for trajectories.
        time: The field's time axis; None for a single step without time.
        bounds: Bounds of the steps (time, 2).
        period: The period of a step: see `collocation.match_steps`.
        statics: Topography (m) and land fraction on the domain: see `statics.make_statics`.
        relief: Largest difference (m) between the heights of a station and of the relief.
        coverage: Least share of a month, season or year that a station's values cover.
    """
    table = copy_lazily(table)
    if domain is not None:
        _check_swapped_coordinates(table, domain)
        mark_status(table, ~footprints_in_domain(table, domain), ObsStatus.OUTSIDE)
    if domain is not None and statics is not None:
        _mark_land(table, domain, statics, relief)
    table["step"] = 0 if time is None else _match_step_indices(table, time, bounds, period)
    mark_status(table, table["time"].isna() & (table["step"] < 0), ObsStatus.NO_TIME)
    mark_status(table, table["step"] < 0, ObsStatus.NO_STEP)
    if "end" in table and time is not None:
        table["last"] = _match_last_steps(table, time, bounds, period)
        over = (table["last"] != table["step"]) & (domain is not None)
        mark_status(table, over, ObsStatus.SEVERAL_STEPS)
    if time is not None and is_dated(time):
        _mark_sparse(table, time, bounds, period, coverage)
    _check_any_used(table, time)
    return merge_colocated(table)


def _mark_sparse(
    table: pd.DataFrame, time: xr.DataArray, bounds: xr.DataArray | None, period: str, least: float
) -> None:
    """Mark values that cover too little of their month, season or year."""
    if not least:
        return
    dated = is_usable(table) & table["time"].notna().to_numpy()
    used = table.loc[dated, _columns_of(table, (*GROUP_COLUMNS, *COVERAGE_COLUMNS))]
    used = used[row_variables(used).isin(used["variable"]).to_numpy()]
    if used.empty:
        return
    groups = _number_groups(used)
    sparse = insufficient_coverage(used, groups, time, bounds, period, least)
    reasons = pd.Series(groups, index=used.index).map(sparse).dropna()
    table.loc[reasons.index, "status"] = reasons


def count_statuses(table: pd.DataFrame) -> dict[str, int]:
    """Count observations by status, `used` first; merged ones are those without a row left."""
    counts = status_reasons(table).replace("", "used").value_counts()
    return {"used": int(counts.get("used", 0))} | {
        str(reason): int(count) for reason, count in counts.items() if reason != "used"
    }


def merge_colocated(table: pd.DataFrame) -> pd.DataFrame:
    """Merge observations of one position, step and variable.

    The first row gets the mean, weighted by inverse variance, and its error; the status of the
    others names it.
    """
    rows = np.flatnonzero(is_usable(table))
    group = _number_groups(table[_columns_of(table, GROUP_COLUMNS)].iloc[rows])
    several = (np.bincount(group) > 1)[group]
    if not several.any():
        return table
    rows = rows[several]
    _, begin, group = np.unique(group[several], return_index=True, return_inverse=True)
    value, error = (table[name].to_numpy(float, copy=True) for name in ("value", "error"))
    weight = 1.0 / error[rows] ** 2
    total = np.bincount(group, weight)
    first = rows[begin]
    value[first] = np.bincount(group, weight * value[rows]) / total
    error[first] = total**-0.5
    out = table.assign(value=value, error=error)
    later = first[group] != rows
    overrule_status(out, rows[later], _merge_targets(table, first[group[later]]))
    return out


def _number_groups(used: pd.DataFrame) -> Index:
    """Number the groups of one position, step and variable in order of appearance."""
    columns = [name for name in MERGE_COLUMNS if name in used]
    apart = np.where(row_operators(used).isin(IDENTITY_OPERATORS), -1, np.arange(len(used)))
    places = round_positions(used[["lat", "lon"]])
    keys = (places["lat"], places["lon"], apart, *(used[name] for name in columns))
    return number_groups(keys)


def _columns_of(table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name in table]


def _merge_targets(table: pd.DataFrame, rows: Index) -> list[str]:
    """Return the status of rows that are merged into others, by the numbers of these."""
    targets = table[["row", "source"]].iloc[rows]
    return [
        ObsStatus.MERGED.of(f"{row} of {source}")
        for row, source in zip(targets["row"], targets["source"], strict=True)
    ]


def _match_step_indices(
    table: pd.DataFrame, time: xr.DataArray, bounds: xr.DataArray | None, period: str
) -> NDArray[np.int64]:
    """Match times to steps; rows without a time match a single step."""
    found = match_steps(table["time"], time, bounds, period)
    return np.where(table["time"].isna() & (time.size == 1), 0, found)


def _match_last_steps(
    table: pd.DataFrame, time: xr.DataArray, bounds: xr.DataArray | None, period: str
) -> NDArray[np.int64]:
    """Match the ends of time means to their last step; other rows end in their own."""
    means = (table["end"].notna() & table["time"].notna()).to_numpy()
    out: NDArray[np.int64] = table["step"].to_numpy(np.int64, copy=True)
    if means.any():
        out[means] = match_steps(_last_moments(table[means]), time, bounds, period)
    return out


def _last_moments(means: pd.DataFrame) -> pd.Series:
    """Return the last moments of time means, whose interval excludes the end."""
    begin, end = means["time"], means["end"]
    try:
        wrong = means[(end < begin).to_numpy()]
    except TypeError as fault:  # a date against a number, or against a date of another calendar
        what = f"A mean begins at {begin.iloc[0]} and ends at {end.iloc[0]}."
        raise DpdmError(what, "Write both in the same way.") from fault
    if len(wrong):
        row = wrong.iloc[0]
        raise DpdmError(
            f"{row['source']}: row {row['row']} is a mean from {row['time']} to {row['end']}.",
            "Give the earlier time first.",
        )
    return previous_moments(end).where(end > begin, begin)


def _check_swapped_coordinates(table: pd.DataFrame, domain: Grid) -> None:
    rows = is_usable(table) & table["lat"].notna()
    located = table.loc[rows, _columns_of(table, FOOTPRINT_COLUMNS)]
    if (
        len(located)
        and not footprints_in_domain(located, domain).any()
        and footprints_in_domain(located, domain, True).all()
    ):
        raise swapped_coordinates_error(
            "Every observation lies outside the domain, and inside it when exchanged"
        )


def _check_any_used(table: pd.DataFrame, time: xr.DataArray | None) -> None:
    reserved = is_for_verification(table)
    if not (is_usable(table) & ~reserved).any():
        table = table[~reserved]
        counts = {why: n for why, n in count_statuses(table).items() if n}
        summary = ", ".join(f"{n} {why}" for why, n in counts.items())
        hint = _remedy(max(counts, key=lambda why: counts[why]), table, time)
        raise DpdmError(f"No observation is left of {len(table)}: {summary}.", hint)


def _remedy(reason: str, table: pd.DataFrame, time: xr.DataArray | None) -> str:
    """Return the hint for a table without usable observations."""
    if reason == ObsStatus.NO_STEP and time is not None:
        times = table.loc[table["status"] == ObsStatus.NO_STEP, "time"]
        return (
            f"They are from {_format_range(times)}, and the field is from "
            f"{_format_range(time.to_series())}."
        )
    if reason == ObsStatus.NO_POSITION:
        return "Name the columns of positions lat and lon, or y and x on a plane."
    if reason == ObsStatus.NO_TIME:
        return "Name the column of times time, and fill it."
    return "Compare their positions and times with the field's: dpdm info FIELD.nc."


def _format_range(stamps: pd.Series) -> str:
    """Return the first and the last of dates or numbers.

    Example:
        >>> _format_range(pd.Series([2.5, 1.0]))
        '1 to 2.5'
    """
    first, last = (
        f"{at:g}" if isinstance(at, float) else str(at)[:10] for at in (stamps.min(), stamps.max())
    )
    return first if first == last else f"{first} to {last}"


def _mark_land(table: pd.DataFrame, domain: Grid, statics: xr.Dataset, relief: float) -> None:
    """Mark land stations without a land cell, and those far above or below the relief."""
    points = row_operators(table).isin(("", "point")) & ~row_variables(table).isin(
        LEVEL_VARIABLES | SATELLITE_VARIABLES
    )
    checked = table.index[is_usable(table) & table["elevation"].notna() & points]
    part = table.loc[checked, ["lat", "lon", "elevation"]]
    rows, columns = _nearest_cells(part, domain)
    land = _neighbourhood_max(statics["land_fraction"].values, rows, columns, domain.cyclic)
    off = part["elevation"] - statics["topography"].values[rows, columns]
    sea = (land < MIN_LAND_FRACTION) & (part["elevation"] > 0)
    table.loc[checked[off.abs() > relief], "status"] = ObsStatus.OFF_RELIEF.value
    table.loc[checked[sea], "status"] = ObsStatus.NO_LAND.value


def _nearest_cells(table: pd.DataFrame, domain: Grid) -> tuple[Index, Index]:
    """Return row and column of the nearest cell."""
    lat, lon = table["lat"].to_numpy(), wrap_longitudes(table["lon"].to_numpy(), domain)
    rows = np.rint((lat - domain.lat[0]) / axis_spacing(domain.lat)).astype(int)
    columns = np.rint((lon - domain.lon[0]) / axis_spacing(domain.lon)).astype(int)
    height, width = domain.shape
    return rows.clip(0, height - 1), _wrap_columns(columns, width, domain.cyclic)


def _wrap_columns(columns: Index, width: int, cyclic: bool) -> Index:
    return columns % width if cyclic else columns.clip(0, width - 1)


def _neighbourhood_max(field: Array, rows: Index, columns: Index, cyclic: bool) -> Array:
    """Return the largest value of cells and their eight neighbours."""
    height, width = field.shape
    largest: Array = np.full(len(rows), -np.inf)
    for i, j in product((-1, 0, 1), repeat=2):
        at = (rows + i).clip(0, height - 1), _wrap_columns(columns + j, width, cyclic)
        np.maximum(largest, field[at], out=largest)
    return largest


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
    found = period_of(time, bounds, single=period)
    if found not in MONTHS_PER_PERIOD or not len(table) or not least:
        return {}
    lengths = days_between(*step_intervals(time, bounds, single=period))[table["step"].to_numpy()]
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
    group = number_groups(table[name] for name in _columns_of(table, SERIES_COLUMNS))
    stamp = day_numbers(table["time"])
    order = np.lexsort((stamp, group))
    gap = np.diff(stamp[order])
    real = (np.diff(group[order]) == 0) & (gap > 0)  # one value at each time counts
    gaps = pd.Series(gap[real]).groupby(group[order][1:][real])
    usual_gap = np.full(group.max(initial=-1) + 1, np.nan)
    usual = gaps.quantile(0.25, interpolation="lower")
    usual_gap[usual.index] = usual
    monthly = [period_of_length(gap) in MONTHS_PER_PERIOD or gap > 31 for gap in usual_gap]
    days = np.where(monthly, np.inf, usual_gap)[group]
    single = np.where(is_month_stamp(table["time"]), np.inf, 1.0)
    return np.where(np.isnan(days), single, days)


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
