"""How far members are from the truth, level by level: place by place, and as a distribution.

``W1`` is what SLAMS reports: the distance between the distributions of all values of a level,
over its standard deviation, wherever the values lie. It hides misplacement, so the others are
beside it: the RMSE of the mean, the fair CRPS and the spread-skill ratio, by area.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpdm.evaluate.scores import fair_crps

Array = NDArray[np.float64]
RANKS = 512


class Scores(NamedTuple):
    """The figures of one analysis, each a mean over levels but for the range of the last."""

    w1: float
    rmse: float
    crps: float
    ssr: float
    least: float
    most: float


HEAD = ("W1", "RMSE", "CRPS", "SSR", "SSR least", "SSR most")


def scores(members: Array, truth: Array, lat: Array, deviation: Array) -> Scores:
    """Return the scores of members (M, K, T, H, W), one of which is a deterministic forecast.

    Args:
        members: Members.
        truth: The truth, with shape (K, T, H, W).
        lat: Latitudes, with shape (H,), degrees.
        deviation: Standard deviation of each level over the globe and the year, with shape (K,).
    """
    area = np.cos(np.radians(lat))[:, None]
    area = area / area.mean()
    error = members.mean(0) - truth
    mse = (error**2 * area).mean((1, 2, 3))
    crps = (fair_crps(np.moveaxis(members - truth, 0, -1)) * area).mean((1, 2, 3))
    count = len(members)
    variance = members.var(0, ddof=1) if count > 1 else np.zeros_like(truth)
    spread = (variance * area).mean((1, 2, 3)) * (count + 1) / count
    ratio = np.sqrt(spread / mse)
    w1 = [marginal(m, t) for m, t in zip(members.swapaxes(0, 1), truth, strict=True)] / deviation
    norm = [np.mean(np.sqrt(mse) / deviation), np.mean(crps / deviation)]
    return Scores(
        float(w1.mean()), *map(float, norm), float(ratio.mean()), ratio.min(), ratio.max()
    )


def marginal(drawn: Array, truth: Array) -> float:
    """Return the Wasserstein distance between two samples of any size, by their quantiles."""
    ranks = (np.arange(RANKS) + 0.5) / RANKS
    return float(np.abs(np.quantile(drawn, ranks) - np.quantile(truth, ranks)).mean())
