r"""The mean state of the Earth at each place, as it goes round with the year.

Its first two harmonics are fitted by least squares to the whole series,

.. math:: m(t) = a_0 + \sum_{k=1}^{2} a_k \cos 2 \pi k t + b_k \sin 2 \pi k t,

with t the fraction of the year passed. Two hold all but a few per cent of the seasonal cycle, and
so few numbers are hardly noisy even if the series has only a few years.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

HARMONICS = 2
YEAR = 0.9  # of a year that a series must cover for its seasons to be known


def waves(season: float | None) -> list[float]:
    """Return 1 and the cosines and sines of a fraction of the year; 0 where no season applies.

    Example:
        >>> [round(v, 9) for v in waves(0.25)], waves(None)
        ([1.0, 0.0, 1.0, -1.0, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0])
    """
    if season is None:
        return [1.0] + 2 * HARMONICS * [0.0]
    angles = 2 * np.pi * season * np.arange(1, HARMONICS + 1)
    return [1.0, *(float(f(angle)) for angle in angles for f in (np.cos, np.sin))]


def basis(seasons: Sequence[float | None]) -> Tensor:
    """Return the harmonics at some moments, with shape (T, K)."""
    return torch.tensor([waves(season) for season in seasons], dtype=torch.float64)


def harmonics(
    states: Iterable[NDArray[np.float32]], seasons: Sequence[float | None]
) -> NDArray[np.float64]:
    """Fit the harmonics of states (C, H, W), with shape (K, C, H, W), NaN where all are missing.

    A series that covers no whole year has a mean only; the others are 0.
    """
    known = basis(seasons).numpy()
    passed = {int(12 * s) for s in seasons if s is not None}
    known[:, 1:] *= len(passed) >= 12 * YEAR
    normal: NDArray[np.float64] = np.zeros(0)
    for row, state in zip(known, states, strict=True):
        there = np.isfinite(state)
        if not normal.size:
            total = np.zeros((len(row), *state.shape))
            normal = np.zeros((len(row), len(row), *state.shape))
        total += row.reshape(-1, 1, 1, 1) * np.where(there, state, 0.0)
        normal += np.outer(row, row)[:, :, None, None, None] * there
    return solved(normal, total)


def solved(normal: NDArray[np.float64], total: NDArray[np.float64]) -> NDArray[np.float64]:
    """Solve the normal equations (K, K, ...) of each place for totals (K, ...)."""
    matrices = np.moveaxis(normal, (0, 1), (-2, -1))
    right = np.moveaxis(total, 0, -1)[..., None]
    found: NDArray[np.float64] = np.moveaxis((np.linalg.pinv(matrices) @ right)[..., 0], -1, 0)
    return np.where(normal[0, 0] > 0, found, np.nan)
