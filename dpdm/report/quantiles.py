"""Quantiles over more values than memory holds: the area in each narrow bin of values.

Bins are counted from zero, so fields that come one by one, from whatever range, add up. A quantile
is right to the width of a bin.
"""

from typing import TypeAlias

import numpy as np
import pandas as pd  # type: ignore[import-untyped]

from dpdm.fields.grid import Array

BINS = 5000  # in the truth's range

Mass: TypeAlias = pd.Series  # of weights, by the number of their bin


def binned(values: Array, weights: Array, width: float) -> Mass:
    """Return the weight in each bin that has some, by its number; NaN is left out.

    Example:
        >>> binned(np.array([0.1, 0.7, 0.9, np.nan]), np.ones(4), 0.5).to_dict()
        {0: 1.0, 1: 2.0}
    """
    seen = ~np.isnan(values)
    places = np.floor(values[seen] / width).astype(np.int64)
    return pd.Series(weights[seen], dtype=float).groupby(places).sum()


def together(one: Mass, other: Mass) -> Mass:
    """Return the sum of two."""
    return one.add(other, fill_value=0.0)


def quantile(mass: Mass, width: float, share: float) -> float:
    """Return the value below which a share of the weight lies, NaN of nothing.

    Example:
        >>> quantile(binned(np.arange(100.0), np.ones(100), 1.0), 1.0, 0.25)
        25.0
    """
    if mass.empty:
        return np.nan
    full = mass.cumsum().to_numpy()
    wanted = share * full[-1]
    place = min(int(np.searchsorted(full, wanted)), full.size - 1)
    inside = 1 - (full[place] - wanted) / mass.iloc[place]
    return float((mass.index[place] + inside) * width)
