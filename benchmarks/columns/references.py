r"""Columns estimated without a learnt prior: climate, regression, neighbours, kernels.

Regression on noisy values, with as many columns as here, is optimal interpolation with the
covariances of the columns that it was fitted to:

.. math:: \hat x = \bar x + C A^T (A C A^T + I)^{-1} (y - A \bar x)

It is fitted level by level to columns whose level lies above ground, each seen several times with
other errors. Its spread is that of what it leaves of those.

Kernel ridge regression estimates what linear regression leaves, by how alike columns look; its
spread is what it leaves of a column without that column.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.special import ndtr

from benchmarks.columns.state import Air, Array, Sight

TIMES = 8  # that a column is seen, with other errors
NEAREST = 10
KERNELS = [(width, ridge) for width in (3.0, 6.0) for ridge in (1e-3, 1e-2)]
RIDGES = (0.0, 1e-5, 1e-4, 1e-3, 1e-2)


@dataclass(frozen=True)
class Guess:
    """A Gaussian estimate of columns: mean (N, K) and standard deviation (K,) or (N, K)."""

    mean: Array
    spread: Array


@dataclass(frozen=True)
class Regression:
    """A linear map from what is seen to temperatures.

    Attributes:
        centre: Mean of what is seen, with shape (M,).
        scale: Standard deviation of it.
        weight: Of each value, last the mean, with shape (M + 1, K).
        spread: Standard deviation of what is left, with shape (K,).
    """

    centre: Array
    scale: Array
    weight: Array
    spread: Array

    def __call__(self, y: Array) -> Guess:
        """Return temperatures of what was seen (N, M)."""
        return Guess(with_one((y - self.centre) / self.scale) @ self.weight, self.spread)


def with_one(x: Array) -> Array:
    """Return rows with a one at their end."""
    return np.c_[x, np.ones(len(x))]


def climate(train: Air, count: int) -> Guess:
    """Return the mean column, as often as is asked."""
    mean, spread = np.nanmean(train.truth, 0), np.nanstd(train.truth, 0)
    return Guess(np.tile(mean, (count, 1)), spread)


def regression(train: Air, sight: Sight, ridge: float = 0.0) -> Regression:
    """Return the regression of columns on what is seen of them, with noise."""
    y = np.concatenate([sight.of(train.state, 1000 + n) for n in range(TIMES)])
    truth = np.tile(train.truth, (TIMES, 1))
    centre, scale = y.mean(0), y.std(0)
    x = with_one((y - centre) / scale)
    penalty = np.diag(np.r_[np.full(len(centre), ridge), 0.0])
    weight = np.empty((x.shape[1], truth.shape[1]))
    for level, wanted in enumerate(truth.T):
        kept = np.isfinite(wanted)
        some = x[kept]
        normal = some.T @ some / len(some) + penalty
        weight[:, level] = np.linalg.solve(normal, some.T @ wanted[kept] / len(some))
    return Regression(centre, scale, weight, np.nanstd(truth - x @ weight, 0))


def chosen(train: Air, held: Air, sight: Sight) -> tuple[Regression, float]:
    """Return the regression whose ridge is best on what was held out, and that ridge."""
    made = {ridge: regression(train, sight, ridge) for ridge in RIDGES}
    y = sight.of(held.state, 1)
    left = {ridge: np.nanmean((each(y).mean - held.truth) ** 2) for ridge, each in made.items()}
    best = min(left, key=lambda ridge: left[ridge])
    return made[best], best


def neighbours(train: Air, sight: Sight, y: Array) -> Guess:
    """Return the mean of the columns that look most alike, and their spread."""
    seen = sight.of(train.state, 1000)
    centre, scale = seen.mean(0), seen.std(0)
    _, which = cKDTree((seen - centre) / scale).query((y - centre) / scale, NEAREST)
    alike = train.state[which, : train.truth.shape[1]]
    return Guess(alike.mean(1), alike.std(1, ddof=1))


def kernel(train: Air, held: Air, sight: Sight, linear: Regression) -> "Kernel":
    """Return the kernel regression whose width and ridge are best on what was held out."""
    y, seen = sight.of(held.state, 1), sight.of(train.state, 1000)
    made = [fitted(train, seen, linear, *each) for each in KERNELS]
    return min(made, key=lambda m: float(np.nanmean((m(y).mean - held.truth) ** 2)))


@dataclass(frozen=True)
class Kernel:
    """What linear regression leaves, by likeness to the columns of training.

    Attributes:
        linear: The linear regression.
        looks: What was seen of the columns, standardised, with shape (N, M).
        weight: Of each column, with shape (N, K).
        width: Of the Gaussian kernel.
        spread: Standard deviation of what is left, with shape (K,).
    """

    linear: Regression
    looks: Array
    weight: Array
    width: float
    spread: Array

    def __call__(self, y: Array) -> Guess:
        """Return temperatures of what was seen (N, M)."""
        looks = (y - self.linear.centre) / self.linear.scale
        more = likeness(looks, self.looks, self.width) @ self.weight
        return Guess(self.linear(y).mean + more, self.spread)


def fitted(train: Air, seen: Array, linear: Regression, width: float, ridge: float) -> Kernel:
    """Return the kernel regression of the columns as they are seen."""
    left = train.truth - linear(seen).mean
    looks = (seen - linear.centre) / linear.scale
    inverse = np.linalg.inv(
        likeness(looks, looks, width) + ridge * len(looks) * np.eye(len(looks))
    )
    weight = inverse @ np.nan_to_num(left)
    without = np.where(np.isfinite(left), weight / np.diag(inverse)[:, None], np.nan)
    return Kernel(linear, looks, weight, width, np.nanstd(without, 0))


def likeness(one: Array, other: Array, width: float) -> Array:
    """Return how alike rows are (N, N'), from 0 to 1."""
    value: Array = np.exp(-cdist(one, other, "sqeuclidean") / (2 * width**2))
    return value


def normal_crps(guess: Guess, truth: Array) -> Array:
    """Return the CRPS of Gaussian estimates, with the shape of the truth."""
    z = (truth - guess.mean) / guess.spread
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    value: Array = guess.spread * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))
    return value
