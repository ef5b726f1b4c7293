r"""Reference states of training: the climatology of a series, and anomalies without one.

A prior learns what a coarse anomaly from a known fine state tells of the fine anomaly. A series of
years gives such pairs: each month with the climatology of the **other** years. A climatology alone
gives them as **pseudo-years**: the reference is a calendar month R, and the target differs from it
by seasonal differences of the same place and by those of other places,

.. math:: T(F) = T(R) + s \sum_{i=1}^2 w_i (T(M_{j_i}) - T(M_{k_i})) + g (v Z + f v Z' + u)

with calendar months M, weights :math:`w_i \sim N(0, 1)`, and sizes s and v drawn for each window.
Z is the standardised difference of two months of a window elsewhere on the globe, every first to
third cell of it; Z' is the same minus its value some cells apart, which leaves the fine scales; u
is one number for the whole window. The first sum fits the place: it has the anomalies that relief
and coasts cause. The others do not, as weather: the network learns not to trust every anomaly. For
amounts g = T(R) / (T(R) + 0.5) leaves dry places dry, else g = 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dpdm.fields.grid import Array
from dpdm.prior.normaliser import Normaliser

Floats = NDArray[np.float32]
Index = NDArray[np.intp]
Cells = tuple[Any, ...]  # an index of rows and columns, behind that of the variables
FINE_WEATHER = 0.6  # of the standard deviation of the weather
MEDIAN_SEASONAL = 0.11  # of the weights of seasonal differences
MEDIAN_WEATHER = {"identity": 0.2, "log1p": 0.13}  # of transformed values
CellValues = Callable[[Index, Index], Array]
"""Give the values (..., h, w) of fields at some rows and columns."""
Drawn = Callable[[Array, Index, Index], Array]  # from the mean of the steps at rows and columns


@dataclass(frozen=True)
class SeriesClimatology:
    """The climatology of each calendar month of a series, without the year of a step.

    Attributes:
        months: Calendar month of each step (T,), 0 to 11.
        training: The training steps (N,), of which the climatology is made.
    """

    months: NDArray[np.intp]
    training: Index

    def sums(self, fields: NDArray[np.floating]) -> MonthlySums:
        """Return the sums of a whole series (T, C, H, W) over the training steps."""
        total = np.zeros((12, *fields.shape[1:]))
        count = np.zeros((12, *fields.shape[1:]), np.int16)
        for step in self.training:
            seen = np.isfinite(fields[step])
            total[self.months[step]] += np.where(seen, fields[step], 0.0)
            count[self.months[step]] += seen
        return MonthlySums(total, count)

    def reference(
        self, fields: NDArray[np.floating], sums: MonthlySums, steps: slice, cells: Cells
    ) -> Array:
        """Return the mean over some steps of their climatology (C, h, w).

        Args:
            fields: The whole series (T, C, H, W).
            sums: Its sums.
            steps: Steps; the years of training steps are left out of their own climatology.
            cells: Rows and columns.
        """
        numbers = range(*steps.indices(len(self.months)))
        states = [self.step_reference(fields[step][cells], sums, step, cells) for step in numbers]
        mean: Array = np.mean(states, axis=0)
        return mean

    def step_reference(
        self, values: NDArray[np.floating], sums: MonthlySums, step: int, cells: Cells
    ) -> Array:
        """Return the climatology (C, h, w) of the calendar month of a step with some values."""
        month = self.months[step]
        total, count = sums.total[month][cells], sums.count[month][cells]
        if step in self.training_steps:
            seen = np.isfinite(values)
            total, count = total - np.where(seen, values, 0.0), count - seen
        mean: Array = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
        return mean

    @cached_property
    def training_steps(self) -> frozenset[int]:
        """Give the training steps as a set."""
        return frozenset(self.training.tolist())


@dataclass(frozen=True)
class MonthlySums:
    """Sums of a series over the training steps of each calendar month.

    The climatology without a year is their difference, at the same cost for any number of years.

    Attributes:
        total: Sums of the values that are not missing (12, C, H, W).
        count: Numbers of these values (12, C, H, W).
    """

    total: Array
    count: NDArray[np.int16]


@dataclass(frozen=True)
class PseudoYears:
    """Draw fields of pseudo-years from a climatology.

    Attributes:
        modelled: Transformed climatology (12, C, H, W).
        normaliser: The scaling of the variables.
        cyclic: Whether the columns are cyclic.
    """

    modelled: Floats
    normaliser: Normaliser
    cyclic: bool

    def draw(self, rows: Index, columns: Index, rng: np.random.Generator) -> Drawn:
        """Draw an anomaly for a window, to be added to a climatology."""
        count = self.modelled.shape[1]
        size = MEDIAN_SEASONAL * np.exp(0.7 * rng.standard_normal())
        seasonal = self.draw_seasonal(size * rng.standard_normal(2), rng)
        medians = np.array([MEDIAN_WEATHER[c.transform] for c in self.normaliser.channels])
        common, own = rng.standard_normal(), rng.standard_normal(count)
        strength = medians * np.exp(0.7 * common + 0.3 * own)
        weather = self.draw_weather(rows, columns, strength, rng)
        shift = (2.8 * medians * rng.standard_normal(count))[:, None, None]
        amounts = np.array([c.transform != "identity" for c in self.normaliser.channels])

        def drawn(mean: Array, rows: Index, columns: Index) -> Array:
            base = self.normaliser.forward(torch.from_numpy(mean)).numpy()
            gate = np.where(amounts[:, None, None], base / (base + 0.5), 1.0)
            anomaly = seasonal(rows, columns) + gate * (weather(rows, columns) + shift)
            physical: Array = self.normaliser.inverse(torch.from_numpy(base + anomaly)).numpy()
            return physical

        return drawn

    def difference(self, months: tuple[int, int], rows: Index, columns: Index) -> Array:
        """Return the difference of two transformed calendar months (C, h, w)."""
        j, k = (self.modelled[m][:, rows[:, None], columns[None, :]].astype(float) for m in months)
        gap: Array = j - k
        return gap

    def draw_seasonal(self, weights: Array, rng: np.random.Generator) -> CellValues:
        """Draw the seasonal differences of the same place."""
        pairs = [draw_months(rng) for _ in weights]

        def values(rows: Index, columns: Index) -> Array:
            parts = [self.difference(pair, rows, columns) for pair in pairs]
            total: Array = np.tensordot(weights, np.stack(parts), 1)
            return total

        return values

    def draw_weather(
        self, rows: Index, columns: Index, strength: Array, rng: np.random.Generator
    ) -> CellValues:
        """Draw Z times v, with a standard deviation v (C,) in a window, and its fine part."""
        broad = self.draw_elsewhere(rng, 0)
        fine = self.draw_elsewhere(rng, int(rng.integers(4, 13)))
        share = FINE_WEATHER * np.exp(0.3 * rng.standard_normal())
        first, second = (
            standardise(part, rows, columns, rng.choice([-1.0, 1.0], len(strength)) * size)
            for part, size in ((broad, strength), (fine, share * strength))
        )
        return lambda rows, columns: first(rows, columns) + second(rows, columns)

    def draw_elsewhere(self, rng: np.random.Generator, apart: int) -> CellValues:
        """Draw the seasonal difference of another place, minus that some cells apart if any."""
        height, width = self.modelled.shape[-2:]
        months, zoom = draw_months(rng), int(rng.integers(1, 4))
        south, west = int(rng.integers(2 * height)), int(rng.integers(width))

        def values(rows: Index, columns: Index) -> Array:
            there = [south + zoom * rows, west + zoom * columns]
            field = self.difference(months, *self.fold(*there))
            if apart:
                field -= self.difference(months, *self.fold(*(n + apart for n in there)))
            return field

        return values

    def fold(self, rows: Index, columns: Index) -> tuple[Index, Index]:
        """Return rows and columns of the grid for any numbers."""
        height, width = self.modelled.shape[-2:]
        return reflect(rows, height), columns % width if self.cyclic else reflect(columns, width)


def standardise(values: CellValues, rows: Index, columns: Index, size: Array) -> CellValues:
    """Return fields with mean 0 and standard deviation ``size`` (C,) in a window.

    They are magnified ten times at most.
    """
    window = values(rows, columns)
    mean = np.nanmean(window, axis=(1, 2))[:, None, None]
    deviation = np.maximum(np.nanstd(window, axis=(1, 2)), np.abs(size) / 10)
    scale = (size / deviation)[:, None, None]
    return lambda rows, columns: scale * (values(rows, columns) - mean)


def draw_months(rng: np.random.Generator) -> tuple[int, int]:
    """Draw two calendar months that are one to three months apart."""
    first, apart = int(rng.integers(12)), int(rng.integers(1, 4))
    return first, (first + (apart if rng.random() < 0.5 else -apart)) % 12


def reflect(numbers: Index, count: int) -> Index:
    """Return indices reflected at the ends of an axis.

    Example:
        >>> reflect(np.array([-1, 0, 3, 4, 8]), 4).tolist()
        [0, 0, 3, 3, 0]
    """
    folded = numbers % (2 * count)
    out: Index = np.where(folded < count, folded, 2 * count - 1 - folded)
    return out
