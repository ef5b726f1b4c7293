r"""Find step changes of stations against their neighbours; they are reported, not corrected.

Monthly means of a station and of up to ten neighbours are fitted by normals of calendar months,
one set for each station, and a regional value for each month, so that stations with records of
other years do not shift it. The standard normal homogeneity test compares the differences d of
the station from the regional value before and after each month k of n,

.. math:: T = \max_k \; k \bar z_1^2 + (n - k) \bar z_2^2, \qquad z = \frac{d - \bar d}{s},

with s the standard deviation about the running median of four years, so that one step does not
hide another. Autocorrelated months tell less: with their lag-1 autocorrelation r, T is multiplied
by (1 - r) / (1 + r). Where T exceeds `MIN_STATISTIC`, the series is divided, and either part is
tested again. Both sides of a step have at least 24 months. Steps of less than 0.3 K, or of 0.1 in
log(1 + tp), are far below the errors of observations, and are not reported.

References:
    | A homogeneity test applied to precipitation data (Alexandersson, 1986)
    | https://doi.org/10.1002/joc.3370060607
    | Homogenization of Temperature Series via Pairwise Comparisons (Menne & Williams, 2009)
    | https://doi.org/10.1175/2008JCLI2263.1
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dpdm.errors import DpdmWarning
from dpdm.observations.series import MAX_NEIGHBOURS, Array, Index, StationSeries, row_median

MIN_SIDE = 24  # months on each side of a step
MIN_STATISTIC = 30.0  # of 1 in 1000 series without a step and autocorrelated by 0.6
MIN_REFERENCES = 3  # neighbours in a month
FIT_ROUNDS = 5
LEAST_STEP = {"t2m": 0.3, "tp": 0.1}  # K, and of log(1 + tp)
LOCAL = 49  # months of a running median
LISTED = 5  # steps in a warning


@dataclass(frozen=True)
class StepChange:
    """A step of a station against its neighbours.

    Attributes:
        station: Number of the station in its series.
        month: First month after the step, counted from January of year 0.
        size: Later minus earlier difference, in the unit of the values.
        statistic: T.
    """

    station: int
    month: int
    size: float
    statistic: float


def note_step_changes(table: pd.DataFrame, series: StationSeries, variable: str) -> None:
    """Note the steps of a variable in the rows of their stations, in place, and warn."""
    found = find_step_changes(series, comparable_values(series.value, variable))
    steps = [step for step in found if abs(step.size) >= LEAST_STEP[variable]]
    if not steps:
        return
    texts = pd.Series(
        [describe_step(step, variable) for step in steps], [step.station for step in steps]
    )
    notes = texts.groupby(level=0).agg("; ".join)
    of = pd.Series(series.station).map("steps against neighbours: " + notes)
    known = of.notna().to_numpy()
    if "note" not in table:
        table["note"] = ""
    table.iloc[series.rows[known], table.columns.get_loc("note")] = of[known].to_numpy()
    warnings.warn(describe_steps(series, steps, texts, variable), DpdmWarning, stacklevel=2)


def comparable_values(value: Array, variable: str) -> Array:
    """Return values whose differences between stations depend little on their size."""
    return np.log1p(value.clip(min=0)) if variable == "tp" else value


def describe_step(step: StepChange, variable: str) -> str:
    """Return the month and the size of a step.

    Example:
        >>> describe_step(StepChange(0, 1954 * 12 + 2, -0.82, 50.0), "t2m")
        '1954-03 by -0.8 K'
    """
    unit = "in log(1 + mm/day)" if variable == "tp" else "K"
    digits = 2 if variable == "tp" else 1
    return f"{step.month // 12}-{step.month % 12 + 1:02d} by {step.size:+.{digits}f} {unit}"


def describe_steps(
    series: StationSeries, steps: list[StepChange], texts: pd.Series, variable: str
) -> str:
    """Return a sentence with the clearest steps."""
    clearest = np.argsort([-step.statistic for step in steps])[:LISTED]
    listed = [f"{series.label(steps[i].station)} {texts.iloc[i]}" for i in clearest]
    more = f" and {len(steps) - LISTED} more" if len(steps) > LISTED else ""
    count, tested = len({step.station for step in steps}), len(series.lat)
    return (
        f"{variable} of {count} of {tested} stations changes by a step against their neighbours "
        f"({', '.join(listed)}{more}). Their values are used as they are; the report notes them."
    )


def find_step_changes(series: StationSeries, value: Array) -> list[StepChange]:
    """Return the steps of all stations, with their values (N,) as they are compared."""
    months = series.year * 12 + series.month
    first = months.min() // 12 * 12
    matrix = monthly_matrix(series.station, months - first, value, len(series.lat))
    present = np.isfinite(matrix)
    steps = []
    for station in np.flatnonzero(present.sum(axis=1) >= 2 * MIN_SIDE).tolist():
        difference = difference_from_neighbours(matrix, present, station, series.candidates)
        known = np.flatnonzero(np.isfinite(difference))
        for at, size, statistic in split_at_steps(difference[known]):
            month = int(first + known[at])
            steps.append(StepChange(station, month, size, statistic))
    return steps


def monthly_matrix(station: Index, month: Index, value: Array, count: int) -> Array:
    """Return means by station and month (S, T), NaN without values, T a multiple of 12."""
    length = int(month.max()) // 12 * 12 + 12
    at = station * length + month
    total = np.bincount(at, value, count * length)
    number = np.bincount(at, minlength=count * length)
    mean: Array = np.divide(total, number, np.full(len(total), np.nan), where=number > 0)
    return mean.reshape(count, length)


def difference_from_neighbours(
    matrix: Array, present: NDArray[np.bool_], station: int, candidates: Index
) -> Array:
    """Return differences (T,) of a station's departures from its neighbours', NaN where unknown.

    Args:
        matrix: Values by station and month (S, T).
        present: Where they are known (S, T).
        station: The station.
        candidates: The nearest stations of each (S, K), -1 where there are no more.
    """
    own = present[station]
    near = candidates[station][candidates[station] >= 0]
    near = near[present[np.ix_(near, np.flatnonzero(own))].sum(axis=1) >= 2 * MIN_SIDE]
    near = near[:MAX_NEIGHBOURS]
    if len(near) < MIN_REFERENCES:
        return np.full(matrix.shape[1], np.nan)
    others = matrix[near].reshape(len(near), -1, 12)
    years = np.isfinite(others).any(axis=(0, 2))
    others = others[:, years]
    regional = np.zeros(others.shape[1:])
    for _ in range(FIT_ROUNDS):
        departure = others - _mean_by_month(others - regional)[:, None]
        regional = row_median(departure.reshape(len(near), -1).T).reshape(regional.shape)
        regional = np.nan_to_num(regional)
    few = np.isfinite(others).sum(axis=0) < MIN_REFERENCES
    difference = np.full((len(years), 12), np.nan)
    own_years = matrix[station].reshape(-1, 12)[years]
    difference[years] = own_years - np.where(few, np.nan, regional)
    difference = difference - _mean_by_month(difference[None])
    result: Array = difference.ravel()
    return result


def _mean_by_month(values: Array) -> Array:
    """Return means over years (J, 12) of values (J, Y, 12), 0 without any."""
    known = np.isfinite(values)
    total: Array = np.where(known, values, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return total


def split_at_steps(difference: Array) -> list[tuple[int, float, float]]:
    """Return the index, the size and T of the steps of a series (n,), in order."""
    if len(difference) < 2 * MIN_SIDE:
        return []
    found = list(_divide(difference, noise_variance(difference)))
    edges = [0, *(at for at, _ in found), len(difference)]
    level = [difference[i:j].mean() for i, j in pairwise(edges)]
    sizes = np.diff(level)
    return [(at, float(size), t) for (at, t), size in zip(found, sizes, strict=True)]


def _divide(difference: Array, variance: float, start: int = 0) -> Iterator[tuple[int, float]]:
    """Yield the index and T of the steps of a part (n,) that begins at an index, in order."""
    if len(difference) < 2 * MIN_SIDE:
        return
    at, statistic = largest_step(difference, variance)
    if statistic < MIN_STATISTIC:
        return
    yield from _divide(difference[:at], variance, start)
    yield start + at, statistic
    yield from _divide(difference[at:], variance, start + at)


def largest_step(difference: Array, variance: float) -> tuple[int, float]:
    """Return the index and T of the largest step of a series (n,).

    Example:
        >>> series = np.r_[np.tile([0.0, 0.1], 20), np.tile([1.0, 1.1], 20)]
        >>> at, statistic = largest_step(series, 0.01)
        >>> at, round(statistic)
        (40, 2000)
    """
    n, total = len(difference), np.cumsum(difference)
    k = np.arange(1, n)
    before, after = total[:-1] / k, (total[-1] - total[:-1]) / (n - k)
    explained = k * (n - k) / n * (after - before) ** 2
    at = MIN_SIDE - 1 + int(np.argmax(explained[MIN_SIDE - 1 : n - MIN_SIDE]))
    return at + 1, float(explained[at] / max(variance, np.finfo(float).tiny))


def noise_variance(difference: Array) -> float:
    """Return the variance of n differences (n,) that are independent and as informative.

    It is that of departures from the running median over four years, which other steps hardly
    change, by (1 + r) / (1 - r) for their lag-1 autocorrelation r.
    """
    padded = np.pad(difference, 2 * [LOCAL // 2], constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, LOCAL)
    rest = difference - row_median(windows)
    variance = float(np.mean(rest**2))
    if not variance:
        return 0.0
    correlation = float(np.mean(rest[1:] * rest[:-1])) / variance
    return variance * max((1 + correlation) / (1 - correlation), 1.0)
