"""Synthetic sounder channels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from dpdm.observations.sounder import SounderChannels


def gaussian_channels(
    peaks: ArrayLike,
    width: float = 0.35,
    levels: ArrayLike = tuple(range(1000, 0, -25)),
    error: float = 0.3,
    near: float = 0.0,
) -> SounderChannels:
    """Return synthetic channels, whose weights are Gaussian in the logarithm of pressure.

    Args:
        peaks: Pressure of the largest weight, hPa.
        width: Standard deviation in the natural logarithm.
        levels: Pressures of the weights, hPa.
        error: Standard deviation of each, K.
        near: Correlation between the errors of neighbours; powers of it for more distant channels.
    """
    p, peak = np.sort(np.asarray(levels, dtype=float)), np.asarray(peaks, dtype=float)
    bell = np.exp(-0.5 * (np.log(p / peak[:, None]) / width) ** 2) * np.gradient(np.log(p))
    # The surface has the weight of all below the lowest level.
    below = np.sqrt(2 * np.pi) * width * ndtr(-np.log(p[-1] / peak) / width)
    total = bell.sum(1) + below
    distance = np.abs(np.subtract.outer(np.arange(len(peak)), np.arange(len(peak))))
    return SounderChannels(
        tuple(str(i + 1) for i in range(len(peak))),
        p * 100,
        bell / total[:, None],
        below / total,
        np.full(len(peak), error),
        np.where(distance == 0, 1.0, near**distance),
    )
