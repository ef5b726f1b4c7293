"""Accumulate what a report shows of an evaluation: sums over time, and a few numbers a step.

Maps are sums of errors over time. Quantiles of a series come from the area in narrow bins of
values, which are counted from zero so that those of all steps add up; a quantile is accurate to
the width of a bin.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import pandas as pd

from dpdm.evaluate.accumulators import WET_RATE, divide
from dpdm.evaluate.comparison import Comparison, Snapshot
from dpdm.evaluate.indices import RATE_UNITS
from dpdm.evaluate.metrics import REFERENCE, Row, Scores
from dpdm.evaluate.scores import fair_crps
from dpdm.fields.grid import Array
from dpdm.fields.time import distinct_date_labels, is_dated, step_length, time_bounds

VALUE_BINS = 5000  # bins in the truth's range

BinWeights: TypeAlias = pd.Series  # weights by number of the bin


def bin_values(values: Array, weights: Array, width: float) -> BinWeights:
    """Return the weights in bins of values, by number of the bin; NaN is left out.

    Example:
        >>> bin_values(np.array([0.1, 0.7, 0.9, np.nan]), np.ones(4), 0.5).to_dict()
        {0: 1.0, 1: 2.0}
    """
    valid = ~np.isnan(values)
    bins = np.floor(values[valid] / width).astype(np.int64)
    return pd.Series(weights[valid], dtype=float).groupby(bins).sum()


def add_bins(one: BinWeights, other: BinWeights) -> BinWeights:
    """Return the sum of the weights of two sets of bins."""
    return one.add(other, fill_value=0.0)


def binned_quantile(mass: BinWeights, width: float, share: float) -> float:
    """Return the value below which a share of the weight lies, NaN without any weight.

    Example:
        >>> binned_quantile(bin_values(np.arange(100.0), np.ones(100), 1.0), 1.0, 0.25)
        25.0
    """
    if mass.empty:
        return np.nan
    total = mass.cumsum().to_numpy()
    target = share * total[-1]
    i = min(int(np.searchsorted(total, target)), total.size - 1)
    fraction = 1 - (total[i] - target) / mass.iloc[i]
    return float((mass.index[i] + fraction) * width)


TRUTH_LABEL = "truth"
SINGLE_LABEL = "one member"
HIGH_QUANTILE = 0.99  # quantile over the cells of a field, for its extremes


SEASONS = {"DJF": (12, 1, 2), "JJA": (6, 7, 8)}
ALL_TIMES = "all times"
MAX_SEASON_STEP = 100.0  # days; longer steps are of no season


@dataclass
class PeriodSums:
    """Sums of fields over all times or those of a season.

    Attributes:
        steps: Number of times.
        count: Number of valid times of each cell.
        total: Sums of the truth and of the forecast, by label.
    """

    steps: int
    count: Array
    total: dict[str, Array]

    def mean(self, label: str) -> Array:
        """Return the mean over time, NaN without valid times."""
        return divide(self.total[label], self.count)


@dataclass
class VariableSums:
    """Sums over time of one variable.

    Attributes:
        methods: Methods with maps: all but single members and means of subensembles.
        width: Width of a bin of values.
        count: Number of valid times of each cell.
        squared_error: Sums of squared errors on cells, by method; likewise the next two.
        error: Sums of errors.
        absolute: Sums of absolute errors.
        crps: Sum of the fair CRPS on cells; None without members.
        bin_weights: Area in bins of values over all times, by method.
        high: 99th percentile over the cells at each time, by method.
        mean: Area mean at each time, by method.
        scores: Scores of the evaluation at each time.
        periods: Sums of truth and forecast over all times and over seasons.
        wet: Sums of wet steps, of a single member for an ensemble, by label; empty but for
            precipitation.
    """

    methods: list[str]
    width: float
    count: Array
    squared_error: dict[str, Array]
    error: dict[str, Array]
    absolute: dict[str, Array]
    crps: Array | None
    bin_weights: dict[str, BinWeights] = field(default_factory=dict)
    high: list[dict[str, float]] = field(default_factory=list)
    mean: list[dict[str, float]] = field(default_factory=list)
    scores: list[Scores] = field(default_factory=list)
    periods: dict[str, PeriodSums] = field(default_factory=dict)
    wet: dict[str, Array] = field(default_factory=dict)

    def rmse(self, method: str) -> Array:
        """Return the RMSE on cells."""
        return np.sqrt(self.over_time(self.squared_error[method]))

    def over_time(self, total: Array) -> Array:
        """Return the mean over time of a sum, NaN without valid times."""
        return divide(total, self.count)


def shorten_verdict(verdict: str) -> str:
    """Shorten a verdict to a word or two.

    Example:
        >>> shorten_verdict("better than bilinear at the 95% level")
        'better'
        >>> shorten_verdict("not tested against bilinear")
        'not tested'
    """
    words = (
        verdict.partition(" bilinear")[0] if verdict.endswith(("bilinear", "level")) else verdict
    )
    return words.removesuffix(" than").removesuffix(" from").removesuffix(" against")


@dataclass(frozen=True)
class PartScores:
    """The scores of one month or one class of cells.

    Attributes:
        label: Name of the month or class.
        size: Number of times, or share of the area.
        rows: Scores of the methods with maps.
        members: Scores of the ensemble, or of a forecast without members.
    """

    label: str
    size: float
    rows: dict[str, Row]
    members: Row

    @property
    def forecast(self) -> Row:
        """Return the scores of the forecast's mean."""
        return list(self.rows.values())[-1]

    @property
    def ratio(self) -> tuple[float, float, float]:
        """Return the RMSE ratio to lerp and the ends of its interval, NaN without lerp."""
        ratio, low, high = (
            float(self.forecast.get(f"rmse_ratio{end}", np.nan)) for end in ("", "_low", "_high")
        )
        return ratio, low, high

    @property
    def short_verdict(self) -> str:
        """Return the verdict in a word or two, empty without lerp."""
        return shorten_verdict(str(self.forecast.get("verdict", "")))


class ReportAccumulator:
    """Accumulate the scores of an evaluation as its callback.

    Attributes:
        comparison: The fields that are compared, after the first call.
        sums: Sums over time, by variable.
    """

    def __init__(self) -> None:
        self.comparison: Comparison | None = None
        self.sums: dict[str, VariableSums] = {}

    def __call__(self, comparison: Comparison, snapshot: Snapshot, scores: Scores) -> None:
        """Add one variable at one time."""
        self.comparison = comparison
        if snapshot.name not in self.sums:
            self.sums[snapshot.name] = empty_sums(comparison, snapshot)
        sums = self.sums[snapshot.name]
        sums.scores.append(scores)
        add_errors(sums, snapshot)
        add_values(sums, snapshot, comparison.weights.values)
        add_means(sums, snapshot, season_names(comparison, snapshot.step))
        if snapshot.name == "tp" and comparison.truth["tp"].attrs.get("units") == RATE_UNITS:
            add_wet_steps(sums, snapshot)


def empty_sums(comparison: Comparison, snapshot: Snapshot) -> VariableSums:
    """Return sums of zero."""
    names = list(dict.fromkeys(str(name) for name in snapshot.fields["method"].values))
    subensembles = {n for n in names[:-1] if n.startswith("mean of ")} - comparison.rivals.keys()
    methods = [n for n in names if n not in subensembles | {SINGLE_LABEL}]
    shape = snapshot.truth.shape
    square, error, absolute = ({name: np.zeros(shape) for name in methods} for _ in range(3))
    crps = np.zeros(shape) if snapshot.ensemble.sizes.get("realization", 1) > 1 else None
    width = (comparison.value_range[snapshot.name] or 1.0) / VALUE_BINS
    return VariableSums(methods, width, np.zeros(shape), square, error, absolute, crps)


def add_errors(sums: VariableSums, snapshot: Snapshot) -> None:
    """Add the errors of one time to the maps."""
    truth = snapshot.valid_truth.transpose("lat", "lon").values.astype(float)
    sums.count += ~np.isnan(truth)
    for method in sums.methods:
        (field,) = method_values(snapshot, method)
        error = np.nan_to_num(field - truth)
        sums.error[method] += error
        sums.absolute[method] += np.abs(error)
        sums.squared_error[method] += error**2
    if sums.crps is not None:
        members = snapshot.ensemble.transpose("lat", "lon", "realization").values
        sums.crps += np.nan_to_num(fair_crps(members - truth[..., None]))


def season_names(comparison: Comparison, step: int) -> list[str]:
    """Return the seasons that a step is of, none for steps that are longer."""
    truth, month = comparison.truth, comparison.month(step)
    if not month or step_length(truth["time"], time_bounds(truth)) > MAX_SEASON_STEP:
        return []
    return [name for name, months in SEASONS.items() if month in months]


def add_means(sums: VariableSums, snapshot: Snapshot, seasons: list[str]) -> None:
    """Add one time to the sums of truth and forecast over all times, and over its seasons."""
    truth = snapshot.valid_truth.transpose("lat", "lon").values.astype(float)
    last = sums.methods[-1]
    (field,) = method_values(snapshot, last)
    valid = ~np.isnan(truth)
    fields = {TRUTH_LABEL: truth, last: np.where(valid, field, 0.0)}
    for period in [ALL_TIMES, *seasons]:
        if period not in sums.periods:
            empty = {label: np.zeros(truth.shape) for label in fields}
            sums.periods[period] = PeriodSums(0, np.zeros(truth.shape), empty)
        own = sums.periods[period]
        own.steps += 1
        own.count += valid
        for label, values in fields.items():
            own.total[label] += np.nan_to_num(values)


def add_wet_steps(sums: VariableSums, snapshot: Snapshot) -> None:
    """Count the wet steps of truth, interpolation and forecast: an average would drizzle."""
    truth = snapshot.valid_truth.transpose("lat", "lon").values.astype(float)
    known = [str(name) for name in snapshot.fields["method"].values]
    last = SINGLE_LABEL if SINGLE_LABEL in known else sums.methods[-1]
    fields = {TRUTH_LABEL: [truth]} | {
        label: list(method_values(snapshot, label))
        for label in (REFERENCE, last)
        if label in known
    }
    valid = ~np.isnan(truth)
    for label, candidates in fields.items():
        wet = np.mean([values >= WET_RATE for values in candidates], axis=0) * valid
        sums.wet[label] = sums.wet.get(label, np.zeros(truth.shape)) + wet


def add_values(sums: VariableSums, snapshot: Snapshot, weights: Array) -> None:
    """Add the distribution of the valid values of one time."""
    truth = snapshot.valid_truth.transpose("lat", "lon").values.astype(float)
    area = np.where(np.isnan(truth), 0.0, weights)
    total = area.sum() or np.nan
    sums.high.append({})
    sums.mean.append({})
    for method in [TRUTH_LABEL, *dict.fromkeys(map(str, snapshot.fields["method"].values))]:
        if method in (TRUTH_LABEL, SINGLE_LABEL, *sums.methods):
            fields = [truth] if method == TRUTH_LABEL else list(method_values(snapshot, method))
            bins = bin_areas(fields, area, sums.width)
            sums.high[-1][method] = binned_quantile(bins, sums.width, HIGH_QUANTILE)
            sums.mean[-1][method] = float(np.nansum(np.mean(fields, axis=0) * area) / total)
            sums.bin_weights[method] = (
                add_bins(sums.bin_weights[method], bins) if method in sums.bin_weights else bins
            )


def bin_areas(fields: Iterable[Array], area: Array, width: float) -> BinWeights:
    """Return the area in bins of the values of several fields."""
    inside = area > 0
    columns = [bin_values(f[inside], area[inside], width) for f in fields]
    total = columns[0]
    for column in columns[1:]:
        total = add_bins(total, column)
    return total


def method_values(snapshot: Snapshot, method: str) -> Iterator[Array]:
    """Yield the fields of a method: one, or the first members."""
    for index in np.flatnonzero(snapshot.fields["method"].values == method):
        yield snapshot.fields[index].transpose("lat", "lon").values


def comparison_labels(comparison: Comparison) -> list[str]:
    """Return labels of the times: months, or dates where a month has several times."""
    if not is_dated(comparison.truth["time"]):
        return [f"time {step + 1}" for step in range(comparison.steps)]
    return distinct_date_labels(comparison.truth["time"], ("%Y-%m", "%Y-%m-%d", "%Y-%m-%d %H:%M"))
