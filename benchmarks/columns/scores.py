"""How estimates of columns, Gaussian ones or members, stand to the truth above ground."""

from dataclasses import dataclass

import numpy as np

from benchmarks.columns.references import Guess, normal_crps
from benchmarks.columns.state import Array, Numbers
from dpdm.evaluate.bootstrap import ratio_interval
from dpdm.evaluate.scores import fair_crps

Estimate = Guess | Array


@dataclass(frozen=True)
class Score:
    """How one estimate stands to the truth.

    Attributes:
        error: Squared errors of the mean (N, K), NaN below ground.
        variance: What they should be by the estimate's own spread.
        crps: Continuous ranked probability scores.
    """

    error: Array
    variance: Array
    crps: Array

    def rmse(self) -> float:
        """Return the root mean square error."""
        return float(np.sqrt(np.nanmean(self.error)))

    def ssr(self) -> float:
        """Return the ratio of spread and error."""
        return float(np.sqrt(np.nanmean(self.variance) / np.nanmean(self.error)))

    def at(self, level: int) -> "Score":
        """Return that of one level."""
        return Score(self.error[:, level], self.variance[:, level], self.crps[:, level])


def score(estimate: Estimate, truth: Array) -> Score:
    """Return the scores of a Gaussian estimate or of members (M, N, K)."""
    if isinstance(estimate, Guess):
        spread = np.where(np.isfinite(truth), estimate.spread, np.nan)
        return Score((estimate.mean - truth) ** 2, spread**2, normal_crps(estimate, truth))
    errors = estimate - truth
    count = len(errors)
    variance: Array = errors.var(0, ddof=1) * (count + 1) / count
    return Score(errors.mean(0) ** 2, variance, fair_crps(np.moveaxis(errors, 0, -1)))


def middle(estimate: Estimate) -> Array:
    """Return the mean (N, K)."""
    mean: Array = estimate.mean if isinstance(estimate, Guess) else estimate.mean(0)
    return mean


def widened(estimate: Estimate, factor: float) -> Estimate:
    """Return an estimate with a wider spread around the same mean."""
    if isinstance(estimate, Guess):
        return Guess(estimate.mean, estimate.spread * factor)
    mean = middle(estimate)
    return mean + factor * (estimate - mean)


def interval(one: Score, other: Score, block: Numbers) -> tuple[float, float]:
    """Return the 95% interval of the ratio of two RMSEs, by blocks in space."""
    _, number = np.unique(block, return_inverse=True)
    mine, its = (np.bincount(number, np.nansum(e.error, 1))[None] for e in (one, other))
    return ratio_interval(mine.astype(float), its.astype(float))
