r"""Surface winds by physics: the wind over land is half of that over the sea.

A coarse wind is the mean over its cell. The fine wind is a smooth wind w, as it would be over
water, times the ratio r of the speed over the ground to that,

.. math:: v = r \, w, \qquad r = (1/2)^{f}, \qquad w = lerp(q)

with the land fraction f of the fine cells. The coarse winds q are those whose block means of v are
the given ones: they are found by a few passes, each of which adds what the block means lack
(van Cittert's iteration). So the detail that bilinear interpolation smooths away is restored, and
coasts are where the land is.

What remains is weather, as large as the smallest scale that the coarse field shows, and the
surface, whose roughness the land fraction describes only in part:

.. math:: \sigma_v^2 = \frac{n}{4} \big( a \, \overline{d^2} + b \, V(r) \, w_c^2 \big)

with the factor n of the coarse cells, the coarse winds :math:`w_c` over their mean ratio, their
difference d from the block means of their interpolation (its square averaged over the components
and over 3 by 3 coarse cells), and the variance V(r) within the coarse cell. The speed over land,
a and b were chosen on hours of ERA5 over Bengal, Germany and Indonesia and on the months 2008 to
2011 of Ireland (docs/method.md).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

Array = NDArray[np.float64]
Map = Callable[[Array], Array]
WINDS = ("u10", "v10")
LAND_SPEED = 0.5  # speed over land, of that over water
PASSES = 4
REACH = PASSES + 4  # coarse cells, beyond which none changes a wind or its spread
WEATHER_SHARE, SURFACE_SHARE = 1.25, 0.15  # a and b, by four
LEAST_SPREAD = 0.02  # m s-1
LENGTH = 1.3  # cells, of the correlation of x, by four


def speed_ratio(land: Array) -> Array:
    """Return the speed over the ground over that above water, from the land fraction."""
    ratio: Array = LAND_SPEED**land
    return ratio


def solve_coarse_winds(known: Array, ratio: Array, mean: Map, lerp: Map) -> Array:
    """Return the coarse winds q whose fine winds have the known block means (..., h, w).

    Args:
        known: Known block means (..., h, w).
        ratio: Ratio r of the fine cells (H, W).
        mean: Return block means of fine cells.
        lerp: Interpolate coarse cells to fine ones.
    """
    mean_ratio = mean(ratio)
    winds = known / mean_ratio
    for _ in range(PASSES):
        winds = winds + (known - mean(ratio * lerp(winds))) / mean_ratio
    return winds


def coarse_variance(known: Array, ratio: Array, mean: Map, lerp: Map, cyclic: bool) -> Array:
    """Return the error variance (C, h, w) of fine winds by four.

    Args:
        known: Known block means of each component (C, h, w).
        ratio: Ratio r of the fine cells (H, W).
        mean: Return block means of fine cells.
        lerp: Interpolate coarse cells to fine ones.
        cyclic: Whether the coarse columns are cyclic.
    """
    winds = known / mean(ratio)
    detail = ((winds - mean(lerp(winds))) ** 2).mean(0)
    weather = uniform_filter(detail, 3, mode=("nearest", "wrap" if cyclic else "nearest"))
    surface = (mean(ratio**2) - mean(ratio) ** 2).clip(0) * winds**2
    variance: Array = WEATHER_SHARE * weather + SURFACE_SHARE * surface
    return variance


def wind_spread(variance: Array, factor: float) -> Array:
    """Return the standard deviation of fine winds, from their variance by four, at a factor."""
    spread: Array = np.sqrt(LEAST_SPREAD**2 + factor / 4 * variance)
    return spread


def correlation_length(factor: float) -> float:
    """Return the correlation length of x at a factor, cells."""
    return LENGTH * float(np.sqrt(factor / 4))
