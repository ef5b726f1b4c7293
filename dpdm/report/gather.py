"""What a report keeps of an evaluation that passes by: sums over time, and a few numbers a step.

Maps are sums of errors over time, so they do not grow with it. Everything else of a step is
a number for each method, or the scores that the evaluation keeps anyway.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from dpdm.evaluate import Case, Moment, Scores
from dpdm.evaluate.ensemble import fair
from dpdm.fields.grid import Array
from dpdm.fields.time import distinct_dates, is_dated
from dpdm.report.quantiles import BINS, Mass, binned, quantile, together

TRUTH = "truth"
SINGLE = "one member"
HIGH = 0.99  # the quantile over the cells of a field that stands for its extremes


@dataclass
class Kept:
    """Hold what is kept of one variable.

    Attributes:
        methods: Those with maps: all but single members and means of a part of them.
        width: Of a bin of values.
        count: How many times count, by cell.
        square: Sums of squared errors, by method, on cells; as are the next two.
        error: Sums of errors.
        absolute: Sums of absolute errors.
        crps: The sum of the members' fair CRPS on cells; None without members.
        mass: The area in bins of values, by method, of all times.
        high: The 99th percentile over the cells at each time, by method.
        mean: The area mean at each time, by method.
        scores: Those of the evaluation, of each time.
    """

    methods: list[str]
    width: float
    count: Array
    square: dict[str, Array]
    error: dict[str, Array]
    absolute: dict[str, Array]
    crps: Array | None
    mass: dict[str, Mass] = field(default_factory=dict)
    high: list[dict[str, float]] = field(default_factory=list)
    mean: list[dict[str, float]] = field(default_factory=list)
    scores: list[Scores] = field(default_factory=list)

    def rmse(self, method: str) -> Array:
        """Return the root of the mean squared error on cells."""
        return np.sqrt(self.over_time(self.square[method]))

    def over_time(self, total: Array) -> Array:
        """Return a mean over time from a sum, NaN where nothing counted."""
        return np.divide(total, self.count, out=np.full_like(total, np.nan), where=self.count > 0)


class Gather:
    """Watch an evaluation and keep what a report shows.

    Attributes:
        case: What is compared, once a moment has passed.
        kept: By variable.
    """

    def __init__(self) -> None:
        self.case: Case | None = None
        self.kept: dict[str, Kept] = {}

    def __call__(self, case: Case, moment: Moment, scores: Scores) -> None:
        """Add one variable at one time."""
        self.case = case
        if moment.name not in self.kept:
            self.kept[moment.name] = nothing(case, moment)
        kept = self.kept[moment.name]
        kept.scores.append(scores)
        add_errors(kept, moment)
        add_values(kept, moment, case.weights.values)


def nothing(case: Case, moment: Moment) -> Kept:
    """Return the sums before the first time."""
    names = list(dict.fromkeys(str(name) for name in moment.fields["method"].values))
    part = {n for n in names[:-1] if n.startswith("mean of ")} - case.also.keys()
    methods = [n for n in names if n not in part | {SINGLE}]
    shape = moment.truth.shape
    square, error, absolute = ({name: np.zeros(shape) for name in methods} for _ in range(3))
    crps = np.zeros(shape) if moment.ensemble.sizes.get("realization", 1) > 1 else None
    width = (case.span[moment.name] or 1.0) / BINS
    return Kept(methods, width, np.zeros(shape), square, error, absolute, crps)


def add_errors(kept: Kept, moment: Moment) -> None:
    """Add the errors of one time to the maps."""
    seen = moment.seen.transpose("lat", "lon").values.astype(float)
    kept.count += ~np.isnan(seen)
    for method in kept.methods:
        (field,) = values_of(moment, method)
        error = np.nan_to_num(field - seen)
        kept.error[method] += error
        kept.absolute[method] += np.abs(error)
        kept.square[method] += error**2
    if kept.crps is not None:
        members = moment.ensemble.transpose("lat", "lon", "realization").values
        kept.crps += np.nan_to_num(fair(members - seen[..., None]))


def add_values(kept: Kept, moment: Moment, weights: Array) -> None:
    """Add the distribution of the values of one time, on the cells that count."""
    seen = moment.seen.transpose("lat", "lon").values.astype(float)
    area = np.where(np.isnan(seen), 0.0, weights)
    total = area.sum() or np.nan
    kept.high.append({})
    kept.mean.append({})
    for method in [TRUTH, *dict.fromkeys(map(str, moment.fields["method"].values))]:
        if method in (TRUTH, SINGLE, *kept.methods):
            fields = [seen] if method == TRUTH else list(values_of(moment, method))
            now = spread_out(fields, area, kept.width)
            kept.high[-1][method] = quantile(now, kept.width, HIGH)
            kept.mean[-1][method] = float(np.nansum(np.mean(fields, axis=0) * area) / total)
            kept.mass[method] = together(kept.mass[method], now) if method in kept.mass else now


def spread_out(fields: Iterable[Array], area: Array, width: float) -> Mass:
    """Return the area in bins of values, of several fields together."""
    inside = area > 0
    columns = [binned(f[inside], area[inside], width) for f in fields]
    total = columns[0]
    for column in columns[1:]:
        total = together(total, column)
    return total


def values_of(moment: Moment, method: str) -> Iterator[Array]:
    """Yield the fields of a method: one, or the first few members."""
    for place in np.flatnonzero(moment.fields["method"].values == method):
        yield moment.fields[place].transpose("lat", "lon").values


def labels(case: Case) -> list[str]:
    """Return the times in words: by month where no two are of one month."""
    if not is_dated(case.truth["time"]):
        return [f"time {step + 1}" for step in range(case.steps)]
    return distinct_dates(case.truth["time"], ("%Y-%m", "%Y-%m-%d", "%Y-%m-%d %H:%M"))
