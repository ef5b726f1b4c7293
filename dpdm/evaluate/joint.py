"""Score variables together: energy and variogram score, and errors of their correlations.

Each variable is an anomaly over its standard deviation in the truth, so that all count alike. The
anomalies are those of the anomaly correlation, where each variable has them, and else refer to the
mean over cells and times, as those of a single time do. Only cells that no method misses in any
variable count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.evaluate.comparison import Comparison, Snapshot
from dpdm.evaluate.joint_scores import (
    VARIOGRAM_ORDER,
    correlation_matrix,
    energy_score,
    moment_matrix,
    variogram_score,
)
from dpdm.evaluate.metrics import (
    FIELDS,
    JOINT,
    JOINT_MEMBERS,
    JOINT_SECTION,
    MEMBERS,
    Means,
    Metric,
    Row,
    Scores,
    Statistic,
    compute_statistics,
    group_by_method,
    method_rows,
    metric_notes,
    register,
)
from dpdm.evaluate.scores import area_mean
from dpdm.fields.grid import Array

BAND_VALUES = 4_000_000  # values of members and variables that are standardised at once
LEAST_ANOMALY = 1e-6  # of the deviation over cells and times: less is rounding


@dataclass(frozen=True)
class Standard:
    """What the values of a variable are standardised by.

    Attributes:
        mean: Mean over cells and times; None where anomalies refer to the climatology.
        deviation: Standard deviation over cells and times of what remains.
    """

    mean: float | None
    deviation: float


@dataclass(frozen=True)
class JointFields:
    """The fields of all variables at one time, from which joint statistics are computed.

    Attributes:
        names: The variables.
        parts: The fields of each variable, with dimensions ``method`` or ``realization``, lat and
            lon.
        truths: The truth (lat, lon) of each variable, NaN where any method misses any variable.
        centres: What anomalies of each variable refer to (lat, lon).
        deviations: Standard deviation of each variable's anomalies.
        weights: Area of the cells.
    """

    names: tuple[str, ...]
    parts: tuple[xr.DataArray, ...]
    truths: tuple[Array, ...]
    centres: tuple[Array, ...]
    deviations: tuple[float, ...]
    weights: xr.DataArray

    @property
    def fields(self) -> xr.DataArray:
        """Return the fields of the first variable, whose labels are those of all."""
        return self.parts[0]

    def bands(self) -> Iterator[tuple[slice, Array, Array]]:
        """Yield some rows, and the standardised values (K, D, N) and truth (D, N) in them."""
        height, width = self.weights.shape
        row_values = len(self.parts) * len(self.fields) * width
        rows = max(1, BAND_VALUES // row_values)
        for start in range(0, height, rows):
            band = slice(start, start + rows)
            values = [self._standardise(i, part.values, band) for i, part in enumerate(self.parts)]
            truth = [self._standardise(i, field, band) for i, field in enumerate(self.truths)]
            yield band, np.stack(values, -2), np.stack(truth, -2)

    def _standardise(self, i: int, values: Array, band: slice) -> Array:
        """Return the standardised values (..., N) of a variable in some rows."""
        anomalies: Array = (values[..., band, :] - self.centres[i][band]) / self.deviations[i]
        return anomalies.reshape(*values.shape[:-2], -1)

    def map_scores(self, score: Callable[[Array, Array], Array]) -> Array:
        """Return a score of members and truth on the cells (lat, lon)."""
        cells = [score(values, truth) for _, values, truth in self.bands()]
        return np.concatenate(cells).reshape(self.weights.shape)


class JointScores:
    """The joint scores of an evaluation, step by step.

    Raises:
        DpdmError: There are fewer than two variables, or one is constant.
    """

    def __init__(self, comparison: Comparison) -> None:
        if len(comparison.names) < 2:
            raise DpdmError(
                "Joint scores need two variables or more, and the forecast and the truth share "
                f"{comparison.names[0]} alone.",
                "Omit --joint, or give files that share another variable.",
            )
        self.comparison = comparison
        self.standards = make_standards(comparison)
        self.steps: list[Scores] = []

    def add(self, snapshots: Sequence[Snapshot]) -> None:
        """Add the fields of all variables at one time."""
        methods, members = join_snapshots(self.comparison, self.standards, snapshots)
        scores = {FIELDS: compute_statistics(methods, JOINT)}
        if members is not None:
            scores[MEMBERS] = compute_statistics(members, JOINT_MEMBERS)
        self.steps.append(scores)

    def rows(self) -> list[Row]:
        """Return a row of joint scores for each method that has all variables."""
        about = {"variables": self.comparison.names, "units": "1"}
        rows = method_rows(group_by_method(self.steps), np.nan)
        return [about | row | name_correlations(row, self.comparison.names) for row in rows]

    def notes(self) -> list[str]:
        """Return notes on how the joint scores were computed, a sentence each."""
        deviations = ", ".join(
            f"{name} {standard.deviation:.3g} {self.comparison.truth[name].attrs.get('units', '')}"
            for name, standard in self.standards.items()
        )
        pooled = any(standard.mean is not None for standard in self.standards.values())
        origin = "the truth's mean over cells and times" if pooled else "what ACC refers to"
        return [
            f"Joint scores: of anomalies from {origin}, over their standard deviation in the "
            f"truth ({deviations}).",
            *metric_notes(JOINT_SECTION),
        ]


def make_standards(comparison: Comparison) -> dict[str, Standard]:
    """Return what each variable is standardised by, from the truth at all times."""
    names = comparison.names
    pooled = {name: pool_truth(comparison, name, centred=False) for name in names}
    for name, (_, deviation) in pooled.items():
        if not deviation > 0:
            raise DpdmError(
                f"Joint scores need variables that vary, and the truth's {name} is the same at "
                "all cells and times.",
                "Omit --joint, or give a longer period or a larger domain.",
            )
    if all(comparison.climatology_at(name, 0) is not None for name in names):
        own = {name: pool_truth(comparison, name, centred=True)[1] for name in names}
        if all(own[name] > LEAST_ANOMALY * pooled[name][1] for name in names):
            return {name: Standard(None, own[name]) for name in names}
    return {name: Standard(*pooled[name]) for name in names}


def pool_truth(comparison: Comparison, name: str, centred: bool) -> tuple[float, float]:
    """Return the area-weighted mean and deviation of the truth, or of its anomalies."""
    moments = np.zeros((2, 2))
    origin = None
    for step in range(comparison.steps):
        field = comparison.truth[name].isel(time=step, drop=True).transpose("lat", "lon")
        values = field.values.astype(float)
        if centred:
            values = values - read_centre(comparison, name, step)
        if origin is None and np.isfinite(values).any():
            origin = float(np.nanmean(values))
        shifted = values.reshape(1, -1) - (origin or 0.0)
        moments += moment_matrix(shifted, comparison.weights.values.ravel())
    if not moments[0, 0] > 0:
        return np.nan, np.nan
    mean, square = moments[0, 1] / moments[0, 0], moments[1, 1] / moments[0, 0]
    deviation = float(np.sqrt(max(0.0, square - mean**2)))
    return mean + (origin or 0.0), deviation if square > 1e-24 * (origin or 0.0) ** 2 else 0.0


def read_centre(comparison: Comparison, name: str, step: int) -> Array:
    """Return the climatology (lat, lon) that anomalies of a variable refer to at a step."""
    normal = comparison.climatology_at(name, step)
    assert normal is not None  # or make_standards would have chosen the mean
    return normal.transpose("lat", "lon").values.astype(float)


def join_snapshots(
    comparison: Comparison, standards: Mapping[str, Standard], snapshots: Sequence[Snapshot]
) -> tuple[JointFields, JointFields | None]:
    """Return the methods that have all variables, and the ensemble if there is one."""
    labels = reduce(common_labels, [list(map(str, s.fields["method"].values)) for s in snapshots])
    valid = reduce(np.logical_and, [valid_cells(s) for s in snapshots])
    methods = JointFields(
        tuple(s.name for s in snapshots),
        tuple(select_methods(s.fields, labels) for s in snapshots),
        tuple(np.where(valid, s.truth.transpose("lat", "lon").values, np.nan) for s in snapshots),
        tuple(centre_of(comparison, standards[s.name], s) for s in snapshots),
        tuple(standards[s.name].deviation for s in snapshots),
        comparison.weights,
    )
    if snapshots[0].ensemble.sizes.get("realization", 1) < 2:
        return methods, None
    order = "realization", "lat", "lon"
    return methods, replace(methods, parts=tuple(s.ensemble.transpose(*order) for s in snapshots))


def common_labels(one: Sequence[str], other: Sequence[str]) -> list[str]:
    """Return the labels of one list that the other has as well."""
    return [label for label in one if label in other]


def valid_cells(snapshot: Snapshot) -> Array:
    """Select the cells (lat, lon) that no method misses."""
    valid: Array = snapshot.valid_truth.notnull().transpose("lat", "lon").values
    return valid


def select_methods(fields: xr.DataArray, labels: Sequence[str]) -> xr.DataArray:
    """Return the fields (method, lat, lon) whose labels are among those given."""
    chosen = np.isin(fields["method"].values.astype(str), labels)
    return fields.isel(method=np.flatnonzero(chosen)).transpose("method", "lat", "lon")


def centre_of(comparison: Comparison, standard: Standard, snapshot: Snapshot) -> Array:
    """Return what anomalies refer to on the cells (lat, lon)."""
    if standard.mean is None:
        return read_centre(comparison, snapshot.name, snapshot.step)
    return np.full(comparison.weights.shape, standard.mean)


Score = Callable[[Array, Array], Array]


def score_methods(score: Score) -> Callable[[JointFields], xr.DataArray]:
    """Return the statistic of a score of each method, as of one member."""

    def compute(sample: JointFields) -> xr.DataArray:
        cells = [
            np.stack([score(one[None], truth) for one in values])
            for _, values, truth in sample.bands()
        ]
        shape = (len(sample.fields), *sample.weights.shape)
        field = np.concatenate(cells, -1).reshape(shape)
        return area_mean(label_methods(sample, field, "lat", "lon"), sample.weights)

    return compute


def score_members(score: Score) -> Callable[[JointFields], xr.DataArray]:
    """Return the statistic of a score of the ensemble."""

    def compute(sample: JointFields) -> xr.DataArray:
        field = xr.DataArray(sample.map_scores(score), dims=("lat", "lon"))
        return area_mean(field, sample.weights.drop_vars(["lat", "lon"]))

    return compute


def label_methods(sample: JointFields, values: Array, *dims: str) -> xr.DataArray:
    """Label values (K, ...) by method, with the coordinates of the cells."""
    cells = {dim: sample.weights[dim] for dim in dims if dim in sample.weights.coords}
    coords = {"method": sample.fields["method"].values, **cells}
    return xr.DataArray(values, coords, ("method", *dims))


def band_weights(sample: JointFields, band: slice, truth: Array) -> Array:
    """Return the weights (N,) of the cells of some rows, zero where the truth is missing."""
    weights = sample.weights.values[band].ravel()
    return np.where(np.isfinite(truth).all(0), weights, 0.0)


def method_moments(sample: JointFields) -> xr.DataArray:
    """Return the moment matrix of each method."""
    total = sum(
        np.stack([moment_matrix(one, band_weights(sample, band, truth)) for one in values])
        for band, values, truth in sample.bands()
    )
    return label_methods(sample, np.asarray(total), "term", "other")


def member_moments(sample: JointFields) -> xr.DataArray:
    """Return the moment matrix of all members."""
    total = sum(
        moment_matrix(values, band_weights(sample, band, truth))
        for band, values, truth in sample.bands()
    )
    return xr.DataArray(total, dims=("term", "other"))


def truth_moments(sample: JointFields) -> xr.DataArray:
    """Return the moment matrix of the truth."""
    total = sum(
        moment_matrix(truth, band_weights(sample, band, truth))
        for band, _, truth in sample.bands()
    )
    return xr.DataArray(total, dims=("term", "other"))


def _correlations(means: Means) -> Row:
    """Return the RMS error of correlations between variables, and each with the truth's.

    Empty where a variable of the method or the truth is constant.
    """
    ours, true = (
        correlation_matrix(means.values[name].sum("time").values)
        for name in ("moments", "truth_moments")
    )
    pairs = [(ours[i, j], true[i, j]) for i, j in combinations(range(len(ours)), 2)]
    if not np.isfinite(pairs).all():
        return {}
    error = float(np.sqrt(np.mean([(a - b) ** 2 for a, b in pairs])))
    return {"correlation_error": error, "correlations": [list(map(float, pair)) for pair in pairs]}


def name_correlations(row: Row, names: Sequence[str]) -> Row:
    """Return the correlations of a row by the pair of variables."""
    if "correlations" not in row:
        return {}
    pairs = [f"{one}, {other}" for one, other in combinations(names, 2)]
    return {"correlations": {
        pair: {"forecast": ours, "truth": true}
        for pair, (ours, true) in zip(pairs, row["correlations"], strict=True)
    }}  # fmt: skip


def _ratio(name: str) -> Callable[[Means], Row]:
    """Return the ratio of a score to that of the reference, an empty row without one."""

    def reduce_means(means: Means) -> Row:
        return {} if means.reference is None else {f"{name}_ratio": means.ratio(name)}

    return reduce_means


ENERGY, VARIOGRAM = (
    (
        Statistic(name, score_methods(score), JOINT),
        Statistic(name, score_members(score), JOINT_MEMBERS),
    )
    for name, score in (("energy_score", energy_score), ("variogram_score", variogram_score))
)
MOMENTS = (
    Statistic("moments", method_moments, JOINT),
    Statistic("moments", member_moments, JOINT_MEMBERS),
    Statistic("truth_moments", truth_moments, JOINT),
    Statistic("truth_moments", truth_moments, JOINT_MEMBERS),
)

register(
    Metric(
        "energy_score", ENERGY, lambda m: m["energy_score"], "energy score", digits=3,
        section=JOINT_SECTION,
        note="energy score: fair; of a single field the distance to the truth.",
    ),
    Metric(
        "energy_score_ratio", ("energy_score",), _ratio("energy_score"), "/lerp",
        "energy score/lerp", keys=("energy_score_ratio",), section=JOINT_SECTION,
    ),
    Metric(
        "variogram_score", VARIOGRAM, lambda m: m["variogram_score"], "variogram score", digits=3,
        section=JOINT_SECTION,
        note=f"variogram score: fair, of order {VARIOGRAM_ORDER:g}, over pairs of variables.",
    ),
    Metric(
        "variogram_score_ratio", ("variogram_score",), _ratio("variogram_score"), "/lerp",
        "variogram score/lerp", keys=("variogram_score_ratio",), section=JOINT_SECTION,
    ),
    Metric(
        "correlation_error", MOMENTS, _correlations, "correlation error", digits=3,
        keys=("correlation_error", "correlations"), section=JOINT_SECTION,
        note="correlation error: RMS error of the correlations between variables over cells and "
        "times.",
    ),
)  # fmt: skip
