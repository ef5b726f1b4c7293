"""The usual difference of a station from its neighbours, and the spread about it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dpdm.observations.series import SPREAD_OF_MAD, Array, Index, row_median

WINDOW = 25  # values around one, whose median is its station's usual difference
MIN_SERIES = 8  # values for a usual difference


def usual_difference(station: Index, difference: Array) -> tuple[Array, Array]:
    """Return a station's usual difference around each value (N,), and the spread about it.

    Both are NaN for stations with fewer than `MIN_SERIES` differences.

    Args:
        station: The station of each value, increasing.
        difference: Differences from neighbours, with NaN.
    """
    usual, width = np.full((2, len(difference)), np.nan)
    known = np.flatnonzero(np.isfinite(difference))
    of, value = station[known], difference[known]
    count = np.bincount(of, minlength=int(station.max(initial=0)) + 1)
    middle = running_median(of, value)
    mad = pd.Series(np.abs(value - middle)).groupby(of).transform("median").to_numpy(float)
    enough = count[of] >= MIN_SERIES
    usual[known[enough]] = middle[enough]
    width[known[enough]] = SPREAD_OF_MAD * mad[enough]
    return usual, width


def running_median(station: Index, value: Array) -> Array:
    """Return the median of the `WINDOW` values of its station around each value (N,)."""
    half = WINDOW // 2
    breaks = np.flatnonzero(np.diff(station, prepend=-1)) if len(station) else np.array([], int)
    shift = half * np.cumsum(np.isin(np.arange(len(station)), breaks))
    at = np.arange(len(station)) + shift
    padded = np.full(len(station) + half * (len(breaks) + 1), np.nan)
    padded[at] = value
    median = np.full(len(value), np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW) if len(value) else padded
    for start in range(0, len(value), 100_000):
        part = slice(start, start + 100_000)
        median[part] = row_median(windows[at[part] - half])
    return median
