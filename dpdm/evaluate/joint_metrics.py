"""Register the joint scores: energy and variogram score, and the error of correlations."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import xarray as xr

from dpdm.evaluate.joint_fields import JointFields
from dpdm.evaluate.joint_scores import (
    VARIOGRAM_ORDER,
    correlation_matrix,
    energy_score,
    moment_matrix,
    variogram_score,
)
from dpdm.evaluate.metrics import (
    JOINT,
    JOINT_MEMBERS,
    JOINT_SECTION,
    Means,
    Metric,
    Row,
    Statistic,
    register,
)
from dpdm.evaluate.scores import area_mean
from dpdm.fields.grid import Array

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
        "energy_score_ratio", ("energy_score",), _ratio("energy_score"), "/bilinear",
        "energy score/bilinear", keys=("energy_score_ratio",), section=JOINT_SECTION,
    ),
    Metric(
        "variogram_score", VARIOGRAM, lambda m: m["variogram_score"], "variogram score", digits=3,
        section=JOINT_SECTION,
        note=f"variogram score: fair, of order {VARIOGRAM_ORDER:g}, over pairs of variables.",
    ),
    Metric(
        "variogram_score_ratio", ("variogram_score",), _ratio("variogram_score"), "/bilinear",
        "variogram score/bilinear", keys=("variogram_score_ratio",), section=JOINT_SECTION,
    ),
    Metric(
        "correlation_error", MOMENTS, _correlations, "correlation error", digits=3,
        keys=("correlation_error", "correlations"), section=JOINT_SECTION,
        note="correlation error: RMS error of the correlations between variables over cells and "
        "times.",
    ),
)  # fmt: skip
