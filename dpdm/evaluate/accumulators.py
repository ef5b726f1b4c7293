"""Accumulate climate indices over time: maps that grow with the cells, not with the series.

Fields have shape (K, H, W): the truth and the methods. Steps come in order. A missing value is NaN
in all of them, and counts for nothing; in the mean of a year it makes that year missing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from dpdm.evaluate.timeline import NO_BLOCK
from dpdm.fields.grid import Array

WET_RATE = 1.0  # mm day-1, from which a step is wet (ETCCDI)
MIN_YEARS = 3  # of a variance between years
MIN_PAIRS = 10  # of an autocorrelation
ROUNDING = 1e-12  # of the mean square: a smaller variance is rounding


class Accumulator(ABC):
    """An index of each cell, accumulated over time."""

    @abstractmethod
    def add(self, fields: Array, year: int, follows: bool) -> None:
        """Add the fields (K, H, W) of a step.

        Args:
            fields: The values.
            year: Number of the whole year, `NO_BLOCK` for a step in none.
            follows: Whether the step comes next after the one before it.
        """

    @abstractmethod
    def result(self) -> Array:
        """Return the index (K, H, W), NaN where it is not defined."""


class YearlyExtreme(Accumulator):
    """The mean over years of the largest or smallest value of each year.

    Args:
        extreme: ``np.fmax`` or ``np.fmin``.
    """

    def __init__(self, extreme: Callable[[Array, Array], Array]) -> None:
        self.extreme = extreme
        self.year = NO_BLOCK
        self.current: Array = np.empty(0)
        self.total: Array = np.zeros(())
        self.count: Array = np.zeros(())

    def add(self, fields: Array, year: int, follows: bool) -> None:
        """Add the fields of a step."""
        if year == NO_BLOCK:
            return
        if year != self.year:
            self._close()
            self.year, self.current = year, fields
        self.current = self.extreme(self.current, fields)

    def _close(self) -> None:
        """Add the extremes of the year that ends."""
        if self.year != NO_BLOCK:
            self.total = self.total + np.nan_to_num(self.current)
            self.count = self.count + np.isfinite(self.current[:1])
        self.year = NO_BLOCK

    def result(self) -> Array:
        """Return the mean over years."""
        self._close()
        return divide(self.total, self.count)


class WetIntensity(Accumulator):
    """The mean of wet steps."""

    def __init__(self) -> None:
        self.total: Array = np.zeros(())
        self.count: Array = np.zeros(())

    def add(self, fields: Array, year: int, follows: bool) -> None:
        """Add the fields of a step."""
        wet = fields >= WET_RATE
        self.total = self.total + np.where(wet, fields, 0.0)
        self.count = self.count + wet

    def result(self) -> Array:
        """Return the mean over wet steps."""
        return divide(self.total, self.count)


class WetFrequency(Accumulator):
    """The share of wet steps."""

    def __init__(self) -> None:
        self.wet: Array = np.zeros(())
        self.count: Array = np.zeros(())

    def add(self, fields: Array, year: int, follows: bool) -> None:
        """Add the fields of a step."""
        self.wet = self.wet + (fields >= WET_RATE)
        self.count = self.count + np.isfinite(fields[:1])

    def result(self) -> Array:
        """Return the share of the valid steps."""
        return divide(self.wet, self.count)


class InterannualVariance(Accumulator):
    """The variance of annual means, over whole years (ddof 1; Welford 1962)."""

    def __init__(self) -> None:
        self.year, self.steps = NO_BLOCK, 0
        self.current: Array = np.zeros(())
        self.count: Array = np.zeros(())
        self.mean: Array = np.zeros(())
        self.squares: Array = np.zeros(())

    def add(self, fields: Array, year: int, follows: bool) -> None:
        """Add the fields of a step."""
        if year == NO_BLOCK:
            return
        if year != self.year:
            self._close()
            self.year, self.steps, self.current = year, 0, np.zeros_like(fields)
        self.steps += 1
        self.current = self.current + (fields - self.current) / self.steps

    def _close(self) -> None:
        """Add the mean of the year that ends."""
        if self.year != NO_BLOCK:
            valid = np.isfinite(self.current[:1])
            self.count = self.count + valid
            step = np.where(valid, self.current - self.mean, 0.0)
            self.mean = self.mean + step / np.maximum(self.count, 1)
            self.squares = self.squares + step * np.where(valid, self.current - self.mean, 0.0)
        self.year = NO_BLOCK

    def result(self) -> Array:
        """Return the variance, NaN where there are fewer than three years."""
        self._close()
        variance = divide(self.squares, self.count - 1)
        return np.where(self.count >= MIN_YEARS, variance, np.nan)


class Autocorrelation(Accumulator):
    """The correlation of successive steps."""

    def __init__(self) -> None:
        self.before: Array = np.empty(0)
        self.sums: list[Array] = [np.zeros(())] * 6

    def add(self, fields: Array, year: int, follows: bool) -> None:
        """Add the fields of a step."""
        if follows:
            valid = np.isfinite(self.before[:1]) & np.isfinite(fields[:1])
            x, y = (np.where(valid, values, 0.0) for values in (self.before, fields))
            terms = valid, x, y, x * x, y * y, x * y
            self.sums = [total + term for total, term in zip(self.sums, terms, strict=True)]
        self.before = fields

    def result(self) -> Array:
        """Return the correlation, NaN where pairs are too few or values constant."""
        count = self.sums[0]
        x, y, xx, yy, xy = (divide(total, count) for total in self.sums[1:])
        vx, vy = (
            np.where(square - mean**2 > ROUNDING * square, square - mean**2, np.nan)
            for square, mean in [(xx, x), (yy, y)]
        )
        return np.where(count >= MIN_PAIRS, (xy - x * y) / np.sqrt(vx * vy), np.nan)


def divide(total: Array, count: Array) -> Array:
    """Return the quotient, NaN where the count is not positive."""
    total, count = np.broadcast_arrays(np.asarray(total, float), np.asarray(count, float))
    missing = np.full(total.shape, np.nan)
    quotient: Array = np.divide(total, count, out=missing, where=count > 0)
    return quotient
