"""What a report keeps of an evaluation that passes by: sums over time, and a few numbers a step.

Maps are sums of errors over time, so they do not grow with it. Everything else of a step is
a number for each method, or the scores that the evaluation keeps anyway.

Quantiles over more values than memory holds: the area in each narrow bin of values.

Bins are counted from zero, so fields that come one by one, from whatever range, add up. A quantile
is right to the width of a bin.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import pandas as pd

from dpdm.evaluate import Scores
from dpdm.evaluate.comparison import Comparison, Snapshot
from dpdm.evaluate.scores import fair_crps
from dpdm.fields.grid import Array
from dpdm.fields.time import distinct_date_labels, is_dated

VALUE_BINS = 5000  # in the truth's range

BinWeights: TypeAlias = pd.Series  # of weights, by the number of their bin


def bin_values(values: Array, weights: Array, width: float) -> BinWeights:
    """Return the weight in each bin that has some, by its number; NaN is left out.

    Example:
        >>> bin_values(np.array([0.1, 0.7, 0.9, np.nan]), np.ones(4), 0.5).to_dict()
        {0: 1.0, 1: 2.0}
    """
    seen = ~np.isnan(values)
    places = np.floor(values[seen] / width).astype(np.int64)
    return pd.Series(weights[seen], dtype=float).groupby(places).sum()


def add_bins(one: BinWeights, other: BinWeights) -> BinWeights:
    """Return the sum of two."""
    return one.add(other, fill_value=0.0)


def binned_quantile(mass: BinWeights, width: float, share: float) -> float:
    """Return the value below which a share of the weight lies, NaN of nothing.

    Example:
        >>> binned_quantile(bin_values(np.arange(100.0), np.ones(100), 1.0), 1.0, 0.25)
        25.0
    """
    if mass.empty:
        return np.nan
    full = mass.cumsum().to_numpy()
    wanted = share * full[-1]
    place = min(int(np.searchsorted(full, wanted)), full.size - 1)
    inside = 1 - (full[place] - wanted) / mass.iloc[place]
    return float((mass.index[place] + inside) * width)


TRUTH_LABEL = "truth"
SINGLE_LABEL = "one member"
HIGH_QUANTILE = 0.99  # the quantile over the cells of a field that stands for its extremes


@dataclass
class VariableSums:
    """Hold what is kept of one variable.

    Attributes:
        methods: Those with maps: all but single members and means of a part of them.
        width: Of a bin of values.
        count: How many times count, by cell.
        squared_error: Sums of squared errors, by method, on cells; as are the next two.
        error: Sums of errors.
        absolute: Sums of absolute errors.
        crps: The sum of the members' fair CRPS on cells; None without members.
        bin_weights: The area in bins of values, by method, of all times.
        high: The 99th percentile over the cells at each time, by method.
        mean: The area mean at each time, by method.
        scores: Those of the evaluation, of each time.
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

    def rmse(self, method: str) -> Array:
        """Return the root of the mean squared error on cells."""
        return np.sqrt(self.over_time(self.squared_error[method]))

    def over_time(self, total: Array) -> Array:
        """Return a mean over time from a sum, NaN where nothing counted."""
        return np.divide(total, self.count, out=np.full_like(total, np.nan), where=self.count > 0)


class ReportAccumulator:
    """Watch an evaluation and keep what a report shows.

    Attributes:
        case: What is compared, once a moment has passed.
        kept: By variable.
    """

    def __init__(self) -> None:
        self.case: Comparison | None = None
        self.kept: dict[str, VariableSums] = {}

    def __call__(self, case: Comparison, moment: Snapshot, scores: Scores) -> None:
        """Add one variable at one time."""
        self.case = case
        if moment.name not in self.kept:
            self.kept[moment.name] = empty_sums(case, moment)
        kept = self.kept[moment.name]
        kept.scores.append(scores)
        add_errors(kept, moment)
        add_values(kept, moment, case.weights.values)


def empty_sums(case: Comparison, moment: Snapshot) -> VariableSums:
    """Return the sums before the first time."""
    names = list(dict.fromkeys(str(name) for name in moment.fields["method"].values))
    part = {n for n in names[:-1] if n.startswith("mean of ")} - case.rivals.keys()
    methods = [n for n in names if n not in part | {SINGLE_LABEL}]
    shape = moment.truth.shape
    square, error, absolute = ({name: np.zeros(shape) for name in methods} for _ in range(3))
    crps = np.zeros(shape) if moment.ensemble.sizes.get("realization", 1) > 1 else None
    width = (case.value_range[moment.name] or 1.0) / VALUE_BINS
    return VariableSums(methods, width, np.zeros(shape), square, error, absolute, crps)


def add_errors(kept: VariableSums, moment: Snapshot) -> None:
    """Add the errors of one time to the maps."""
    seen = moment.valid_truth.transpose("lat", "lon").values.astype(float)
    kept.count += ~np.isnan(seen)
    for method in kept.methods:
        (field,) = method_values(moment, method)
        error = np.nan_to_num(field - seen)
        kept.error[method] += error
        kept.absolute[method] += np.abs(error)
        kept.squared_error[method] += error**2
    if kept.crps is not None:
        members = moment.ensemble.transpose("lat", "lon", "realization").values
        kept.crps += np.nan_to_num(fair_crps(members - seen[..., None]))


def add_values(kept: VariableSums, moment: Snapshot, weights: Array) -> None:
    """Add the distribution of the values of one time, on the cells that count."""
    seen = moment.valid_truth.transpose("lat", "lon").values.astype(float)
    area = np.where(np.isnan(seen), 0.0, weights)
    total = area.sum() or np.nan
    kept.high.append({})
    kept.mean.append({})
    for method in [TRUTH_LABEL, *dict.fromkeys(map(str, moment.fields["method"].values))]:
        if method in (TRUTH_LABEL, SINGLE_LABEL, *kept.methods):
            fields = [seen] if method == TRUTH_LABEL else list(method_values(moment, method))
            now = bin_areas(fields, area, kept.width)
            kept.high[-1][method] = binned_quantile(now, kept.width, HIGH_QUANTILE)
            kept.mean[-1][method] = float(np.nansum(np.mean(fields, axis=0) * area) / total)
            kept.bin_weights[method] = (
                add_bins(kept.bin_weights[method], now) if method in kept.bin_weights else now
            )


def bin_areas(fields: Iterable[Array], area: Array, width: float) -> BinWeights:
    """Return the area in bins of values, of several fields together."""
    inside = area > 0
    columns = [bin_values(f[inside], area[inside], width) for f in fields]
    total = columns[0]
    for column in columns[1:]:
        total = add_bins(total, column)
    return total


def method_values(moment: Snapshot, method: str) -> Iterator[Array]:
    """Yield the fields of a method: one, or the first few members."""
    for place in np.flatnonzero(moment.fields["method"].values == method):
        yield moment.fields[place].transpose("lat", "lon").values


def comparison_labels(case: Comparison) -> list[str]:
    """Return the times in words: by month where no two are of one month."""
    if not is_dated(case.truth["time"]):
        return [f"time {step + 1}" for step in range(case.steps)]
    return distinct_date_labels(case.truth["time"], ("%Y-%m", "%Y-%m-%d", "%Y-%m-%d %H:%M"))
