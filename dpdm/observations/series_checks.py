r"""Check observations against one another: duplicates, repeated values, spikes, false droughts.

`check_observations` compares rows with a field; here each is compared with the other rows of its
station and with its neighbours, the nearest ten within 300 km that have a value of the same
period. What is marked is not used, and does not count as a neighbour in the checks that follow.

- **Duplicates.** Of equal rows of one station and time one is kept. Of rows of a named station
  that differ by more than rounding, none is used.
- **Repeated values.** In a series that is alive, n successive values are equal with the
  probability p^(n-1), where p is the share of equal pairs, of the station and, with the weight of
  400 pairs, of all. A run is marked if that is below 1e-5, and of four values at least. Totals of
  precipitation count as equal by rate or by month; zeros never do.
- **False droughts.** Zeros in succession are marked where the median of four or more neighbours
  exceeds 0.5 mm/day, by the same probability of a zero among wet neighbours.
- **Spikes.** Departures from the station's normals of calendar months, or without five years from
  the bundled climatology of the place, are compared with the median of four or more neighbours:

  .. math:: z = \frac{d - \operatorname{med}_{\pm 12} d}{\sqrt{\max(s_d, s_0)^2 + s_n^2}}

  d is the difference, from which the median of the 25 values around is taken, so that a station
  that has moved is not marked from then on; s_d its robust spread over time, s_n that among the
  neighbours. Precipitation is compared as log(1 + tp). Beyond `MAX_SPIKE` it is marked. Days and
  hours without normals are compared at the sea level of the standard atmosphere.

References:
    | Comprehensive Automated Quality Assurance of Daily Surface Observations (Durre et al., 2010)
    | https://doi.org/10.1175/2010JAMC2375.1
    | An overview of the Global Historical Climatology Network monthly mean temperature data set,
      version 3 (Lawrimore et al., 2011)
    | https://doi.org/10.1029/2011JD016187
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from dpdm.constants import LAPSE_RATE
from dpdm.observations.columns import OPERATOR_SETTINGS, row_operators
from dpdm.observations.place_climate import place_normals
from dpdm.observations.rows import copy_lazily, number_groups
from dpdm.observations.series import (
    MIN_NEIGHBOURS,
    Array,
    Flags,
    Index,
    StationSeries,
    make_series,
    monthly_normals,
    neighbour_statistics,
)
from dpdm.observations.station_checks import (
    ROUNDING,
    mark_twin_series,
    mark_unlike_neighbours,
    warn_of_stations,
)
from dpdm.observations.stations import is_for_verification, round_positions
from dpdm.observations.status import ObsStatus, is_usable, overrule_status
from dpdm.observations.step_changes import comparable_values, note_step_changes
from dpdm.observations.usual_difference import usual_difference

CHECKED_VARIABLES = ("t2m", "tp")  # in series and among neighbours
PLACE_COLUMNS = ("station", "lat", "lon", "y", "x", "component", "trajectory")
KEY_COLUMNS = (*PLACE_COLUMNS, "time", "end", "variable", "pressure", "channel", "verify")
MIN_RUN = 4  # equal values in succession
MAX_CHANCE = 1e-5  # of such a run in a series that is alive
PRIOR_PAIRS = 400  # weight of all stations in the share of equal pairs of one
MAX_SHARE = 0.2  # of equal pairs, so that a station that is stuck throughout is found
WET = 0.5  # mm day-1
MAX_SPIKE = 5.0  # robust standard deviations
# Least spread of differences from neighbours, with a usual difference and without: of departures
# from the station's normals, of those from the bundled climatology, and of values as they are.
LEAST_SPREAD = {
    "t2m": {"normals": (0.5, 4.0), "climate": (0.6, 1.0), "level": (1.0, 4.0)},
    "tp": {"normals": (0.35, 0.6), "climate": (0.4, 0.5), "level": (0.4, 0.6)},
}


def check_network(table: pd.DataFrame, level: str) -> pd.DataFrame:
    """Return observations checked against one another.

    Rows that are only for verification are checked among themselves.

    Args:
        table: The table of `read_observations`.
        level: "all", "basic" for duplicates and contradictions only, or "none".
    """
    if level == "none":
        return table
    reserved = is_for_verification(table)
    if not reserved.any() or reserved.all():
        return _check_part(table, level)
    parts = [_check_part(part, level) for part in (table[~reserved], table[reserved])]
    whole = pd.concat(parts).sort_index()
    return whole.fillna({"note": ""}) if "note" in whole else whole


def _check_part(table: pd.DataFrame, level: str) -> pd.DataFrame:
    checked = check_rows(table)
    return check_series(checked) if level == "all" else checked


def check_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return observations with duplicates and contradictions marked."""
    table = copy_lazily(table)
    points = is_usable(table) & row_operators(table).isin(("", "point")).to_numpy()
    rows = np.flatnonzero(points)
    if not rows.size:
        return table
    keys = [name for name in (*KEY_COLUMNS, *OPERATOR_SETTINGS) if name in table]
    chosen = round_positions(table[[*keys, "value"]].iloc[rows])
    group = number_groups(chosen[name] for name in keys)
    first = np.unique(group, return_index=True)[1][group]
    value = chosen["value"].to_numpy(float)
    slack = chosen["variable"].map(ROUNDING).fillna(0.0).to_numpy(float) + 1e-9 * np.abs(value)
    other = first != np.arange(len(rows))
    differs = np.abs(value - value[first]) > slack
    named = (chosen["station"] != "").to_numpy() if "station" in chosen else np.zeros_like(other)
    equal = other & ~differs & (named | (value == value[first]))
    _mark_with_row(table, rows, equal, first, ObsStatus.DUPLICATE)
    _mark_contradictions(table, rows, group, differs & named)
    return table


def _mark_with_row(
    table: pd.DataFrame, rows: Index, chosen: Flags, to: Index, why: ObsStatus
) -> None:
    """Mark chosen rows, in place, with the row that each is compared with."""
    those = table.iloc[rows[to[chosen]]]
    reasons = [
        why.of(f"{row} of {source}")
        for row, source in zip(those["row"], those["source"], strict=True)
    ]
    overrule_status(table, rows[chosen], reasons)


def _mark_contradictions(table: pd.DataFrame, rows: Index, group: Index, differs: Flags) -> None:
    """Mark all rows, in place, of groups of which one differs."""
    wrong = np.isin(group, group[differs])
    value = table["value"].to_numpy(float)[rows]
    spans = pd.Series(value).groupby(group)
    low, high = spans.transform("min").to_numpy(), spans.transform("max").to_numpy()
    reasons = [
        f"{ObsStatus.AMBIGUOUS}: {a:.6g} and {b:.6g} at one time"
        for a, b in zip(low[wrong], high[wrong], strict=True)
    ]
    overrule_status(table, rows[wrong], reasons)


def check_series(table: pd.DataFrame) -> pd.DataFrame:
    """Return observations with repeated values, false droughts, spikes and steps marked."""
    table = copy_lazily(table)
    warn_of_stations(table)
    checks = (
        mark_twin_series,
        mark_repeated_values,
        mark_false_droughts,
        mark_unlike_neighbours,
        mark_spikes,
        note_step_changes,
    )
    for variable in CHECKED_VARIABLES:
        series, count = None, -1
        for check in checks:
            usable = int(is_usable(table).sum())
            if usable != count:  # what was marked does not count in later checks
                series, count = make_series(table, variable), usable
            if series is not None:
                check(table, series, variable)
    return table


def mark_repeated_values(table: pd.DataFrame, series: StationSeries, variable: str) -> None:
    """Mark runs of one value, in place."""
    follows = series.same_station()
    equal = follows & _equals_previous(series, variable)
    run = np.cumsum(~equal) - 1
    length = np.bincount(run)[run]
    pairs, count = (np.bincount(series.station, each).astype(float) for each in (follows, equal))
    share = shrink_share(count, pairs)[series.station]
    wrong = length >= least_run(share)
    reasons = [f"{ObsStatus.REPEATED}: {n} in succession" for n in length[wrong]]
    overrule_status(table, series.rows[wrong], reasons)


def _equals_previous(series: StationSeries, variable: str) -> Flags:
    """Tell which values (N,) equal the one before."""
    if variable != "tp":
        return np.abs(np.diff(series.value, prepend=np.nan)) <= ROUNDING[variable] + 1e-6
    equal = np.zeros(len(series.value), dtype=bool)
    for amount in (series.value, series.value * series.days):
        change = np.abs(np.diff(amount, prepend=np.nan))
        equal |= (change <= 1e-6 * amount) & (amount > 0)
    return equal


def shrink_share(count: Array, total: Array) -> Array:
    """Return shares (S,), drawn to the share of all, which is not quite 0."""
    common = (count.sum() + 1) / (total.sum() + PRIOR_PAIRS)
    share: Array = (count + PRIOR_PAIRS * common) / (total + PRIOR_PAIRS)
    return share.clip(max=MAX_SHARE)


def least_run(share: Array) -> Array:
    """Return the length of runs that chance hardly makes.

    Example:
        >>> least_run(np.array([0.01, 0.05, 0.2]))
        array([4., 5., 9.])
    """
    runs: Array = np.maximum(MIN_RUN, 1 + np.ceil(np.log(MAX_CHANCE) / np.log(share)))
    return runs


def mark_false_droughts(table: pd.DataFrame, series: StationSeries, variable: str) -> None:
    """Mark zeros of precipitation among wet neighbours, in place."""
    dry = series.value == 0
    if variable != "tp" or dry.sum() < MIN_RUN:
        return
    everything = np.arange(len(series.value))
    median, _, count = neighbour_statistics(series, series.value, everything)
    wet = (count >= MIN_NEIGHBOURS) & (median > WET)
    share = shrink_share(*np.array([[(wet & dry).sum()], [wet.sum()]], dtype=float))
    run = np.cumsum(~(dry & np.r_[False, dry[:-1]] & series.same_station())) - 1
    dubious = np.bincount(run, wet & dry)[run] >= np.maximum(least_run(share), MIN_RUN)
    wrong = dubious & dry & wet
    reasons = [f"{ObsStatus.DRY}: their median is {amount:.2g} mm/day" for amount in median[wrong]]
    overrule_status(table, series.rows[wrong], reasons)


def mark_spikes(table: pd.DataFrame, series: StationSeries, variable: str) -> None:
    """Mark values far from what their neighbours suggest, in place."""
    score, count = spike_scores(series, variable)
    wrong = np.abs(score) > MAX_SPIKE
    reasons = [
        f"{ObsStatus.SPIKE}: {z:+.1f} robust standard deviations from {n} neighbours"
        for z, n in zip(score[wrong], count[wrong], strict=True)
    ]
    overrule_status(table, series.rows[wrong], reasons)


def spike_scores(series: StationSeries, variable: str) -> tuple[Array, Index]:
    """Return scores z (N,), NaN without enough neighbours, and the number of neighbours (N,)."""
    score = np.full(len(series.value), np.nan)
    number = np.zeros(len(series.value), dtype=np.int64)
    for departure, chosen, kind in _departures(series, variable):
        median, spread, count = neighbour_statistics(series, departure, chosen)
        part = series.keep(_as_flags(chosen, len(score)))
        difference = departure[chosen] - median
        difference[count < MIN_NEIGHBOURS] = np.nan
        usual, width = usual_difference(part.station, difference)
        bare = np.isnan(usual)
        floors = LEAST_SPREAD[variable][kind]
        least = np.where(bare, floors[1], floors[0])
        width = np.fmax(np.fmax(width, least), spread)
        score[chosen] = (difference - np.where(bare, 0.0, usual)) / width
        number[chosen] = count
    return score, number


def _departures(series: StationSeries, variable: str) -> Iterator[tuple[Array, Index, str]]:
    """Yield departures (N,), the numbers of values that are judged by them, and their kind.

    Values are judged by their station's normals, or else by the climatology of the place, or else
    as they are but for their height.
    """
    value = comparable_values(series.value, variable)
    left = np.isfinite(value)
    for kind, reference in REFERENCES.items():
        departure = value - reference(series, variable, value) if left.any() else value
        chosen = left & np.isfinite(departure)
        left &= ~chosen
        if chosen.any():
            yield departure, np.flatnonzero(chosen), kind


def _sea_level(series: StationSeries, variable: str, value: Array) -> Array:
    """Return what the height of each value's station (N,) adds in the standard atmosphere."""
    if variable != "t2m":
        return np.zeros(len(value))
    return -LAPSE_RATE * series.height[series.station]


REFERENCES: dict[str, Callable[[StationSeries, str, Array], Array]] = {
    "normals": lambda series, variable, value: monthly_normals(series, value),
    "climate": lambda series, variable, value: place_normals(series, variable),
    "level": _sea_level,
}


def _as_flags(numbers: Index, count: int) -> Flags:
    flags = np.zeros(count, dtype=bool)
    flags[numbers] = True
    return flags
