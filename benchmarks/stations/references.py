"""What the analysis at stations is compared with: the nearest station, and covariances."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]


def distances(table: pd.DataFrame) -> Array:
    """Return distances between all observations, km."""
    lat, lon = (np.radians(table[n].to_numpy(float)) for n in ("lat", "lon"))
    cosine = np.cos(lat[:, None]) * np.cos(lat) * np.cos(lon[:, None] - lon)
    return 6371.0 * np.arccos((cosine + np.sin(lat[:, None]) * np.sin(lat)).clip(-1, 1))


def nearest(table: pd.DataFrame, out: NDArray[np.bool_]) -> Array:
    """Return what the nearest used station says, a temperature brought to the height."""
    found = np.full((out.sum(), 1), np.nan)
    for _, rows in table.groupby(["variable", "step"]):
        target, source = (np.array([i for i in rows.index if out[i] == o]) for o in (True, False))
        if target.size:
            best = distances(table.loc[[*target, *source]])[: len(target), len(target) :].argmin(1)
            value, height = (table[n].to_numpy(float) for n in ("value", "elevation"))
            rate = -6.5e-3 if rows["variable"].iloc[0] == "t2m" else 0.0
            said = value[source[best]] + rate * (height[target] - height[source[best]])
            found[np.searchsorted(np.flatnonzero(out), target), 0] = said
    return found


def left_out(
    innovation: Array, error: Array, near: Array, length: float, variance: float
) -> tuple[Array, Array]:
    """Return each innovation's error from the others, and its variance, by the closed form."""
    cover = variance * np.exp(-((near / length) ** 2) / 2) + np.diag(error**2)
    inverse = np.linalg.inv(cover)
    return inverse @ innovation / np.diag(inverse), 1 / np.diag(inverse)
