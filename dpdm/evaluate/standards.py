"""Standardise variables, so that all count alike in a score of several.

Each variable is an anomaly over its standard deviation in the truth. The anomalies are those of
the anomaly correlation, where each variable has them, and else refer to the truth's mean over
cells and times, as those of a single time do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dpdm.errors import DpdmError
from dpdm.evaluate.comparison import Comparison
from dpdm.evaluate.joint_scores import ROUNDING, moment_matrix
from dpdm.fields.grid import Array

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
    constant = square <= (ROUNDING * (origin or 0.0)) ** 2
    return mean + (origin or 0.0), 0.0 if constant else float(max(0.0, square - mean**2) ** 0.5)


def read_centre(comparison: Comparison, name: str, step: int) -> Array:
    """Return the climatology (lat, lon) that anomalies of a variable refer to at a step."""
    normal = comparison.climatology_at(name, step)
    assert normal is not None  # or make_standards would have chosen the mean
    return normal.transpose("lat", "lon").values.astype(float)
