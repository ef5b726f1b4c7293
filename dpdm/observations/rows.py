"""Compare and copy the rows of large tables, column by column."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Index = NDArray[np.int64]


def copy_lazily(table: pd.DataFrame) -> pd.DataFrame:
    """Return a copy of a table, of which pandas 3 copies a column only when it is changed."""
    return table.assign()


def number_groups(columns: Iterable[pd.Series | NDArray[np.generic]]) -> Index:
    """Number the groups of equal rows (N,) in order of appearance; missing values are equal.

    Example:
        >>> number_groups([pd.Series(["b", "b", "a"]), np.array([np.nan, np.nan, 1.0])])
        array([0, 0, 1])
    """
    numbers: Index | None = None
    for column in columns:
        codes, words = pd.factorize(column, use_na_sentinel=False)
        if numbers is None:
            numbers = codes.astype(np.int64)
        elif len(words) > 1:
            numbers = pd.factorize(numbers * len(words) + codes)[0].astype(np.int64)
    return np.zeros(0, np.int64) if numbers is None else numbers
