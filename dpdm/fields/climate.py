r"""What is usual in each calendar month, and how one climate is carried over to another.

The climate of a series is the mean of each calendar month and, where there are years enough, its
quantiles. Of n values, the i-th smallest stands at the probability (i - 1/2) / n (Hazen 1914);
between them the quantiles are linear, beyond them constant, and equal values share the middle of
their ranks. So no random numbers are needed for months without rain.

**Quantile delta mapping** (Cannon et al. 2015, doi:10.1175/JCLI-D-14-00754.1) takes a value x of
some window of years to the training data's value of the same rank, and adds what separates x from
the reference period's value of that rank, which is the change of the climate:

.. math:: x' = F_{train}^{-1}(\tau) + x - F_{ref}^{-1}(\tau), \qquad \tau = F_{window}(x)

For amounts, the difference is a ratio. A missing value is NaN, and never counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.fields.grid import Array, Grid, Matrix, mean_matrices, spread_mean

MONTHS = 12
MOST = 21  # quantiles that are stored: a value every 5%
TRACE = 0.01  # mm day-1; amounts below it are as good as none, and no ratio is taken to them


def covering(grid: Grid, factor: int) -> Grid:
    """Return the grid of equal cells over the same area, each of about ``factor`` cells squared.

    Example:
        >>> covering(Grid(np.arange(0.5, 9), np.arange(0.5, 360)), 4).shape
        (2, 90)
    """
    return Grid(parted(grid.lat_edges, factor), parted(grid.lon_edges, factor))


def parted(edges: Array, factor: int) -> Array:
    """Return the centres of two or more equal cells between the outermost edges."""
    count = max(2, (len(edges) - 1) // factor)
    ends = np.linspace(edges[0], edges[-1], count + 1)
    centres: Array = (ends[1:] + ends[:-1]) / 2
    return centres


def met(cells: NDArray[np.bool_], grid: Grid, target: Grid) -> NDArray[np.bool_]:
    """Tell which cells of a target grid some of these cells (H, W) of a grid lie in."""
    rows, columns = mean_matrices(grid, target)
    return np.asarray(rows @ cells.astype(float) @ columns.T > 0)


def climate(
    fields: Iterable[NDArray[np.floating]],
    months: NDArray[np.integer],
    grid: Grid,
    target: Grid,
    hidden: NDArray[np.bool_],
) -> dict[str, Array]:
    """Return the climate of a series, as a coarse grid sees it.

    Args:
        fields: The steps of the series (C, H, W), one after the other.
        months: Calendar month of each step, 1 to 12.
        grid: Its grid.
        target: The coarse grid.
        hidden: Coarse cells (h, w) of which the climate must not tell.

    Returns:
        ``mean`` (12, C, h, w) and, with two years or more of each month, ``quantiles``
        (12, Q, C, h, w) at ``probabilities`` (Q,); nothing where a calendar month is absent.
    """
    years = min(int((months == month).sum()) for month in range(1, MONTHS + 1))
    if not years:
        return {}
    maps = mean_matrices(grid, target)
    coarse = np.array([[spread_mean(f.astype(float), *maps) for f in step] for step in fields])
    samples = [np.where(hidden, np.nan, coarse[months == m]) for m in range(1, MONTHS + 1)]
    means = {"mean": np.stack([mean_seen(sample) for sample in samples])}
    if years < 2:
        return means
    levels = probabilities(years)
    found = np.stack([[quantile(sample, level) for level in levels] for sample in samples])
    return means | {"probabilities": levels, "quantiles": found}


def probabilities(years: int) -> Array:
    """Return the probabilities to store: those of each year, or 21 from the least to the greatest.

    Example:
        >>> probabilities(4).tolist()
        [0.125, 0.375, 0.625, 0.875]
    """
    return np.linspace(0.5 / years, 1 - 0.5 / years, min(years, MOST))


def mean_seen(sample: Array) -> Array:
    """Return the mean (...) of the values (n, ...) that are there, NaN where none is."""
    seen = np.isfinite(sample)
    count = seen.sum(0)
    total = np.where(seen, sample, 0.0).sum(0)
    mean: Array = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean


def rank(sample: Array, value: Array) -> Array:
    """Return the probability at which a value (...) stands in a sample (n, ...).

    Example:
        >>> rank(np.array([0.0, 0.0, 3.0, np.nan]), np.array(0.0)).item()
        0.3333333333333333
    """
    below, equal = (sample < value).sum(0), (sample == value).sum(0)
    share: Array = (below + equal / 2) / np.maximum(np.isfinite(sample).sum(0), 1)
    return share


def quantile(sample: Array, share: Array | float) -> Array:
    """Return the value that stands at a probability (...) in a sample (n, ...).

    Example:
        >>> quantile(np.array([4.0, np.nan, 1.0]), 0.5).item()
        2.5
    """
    last = np.maximum(np.isfinite(sample).sum(0) - 1, 0)
    return between(np.sort(sample, axis=0), np.clip(share * (last + 1.0) - 0.5, 0, last))


def between(values: Array, place: Array) -> Array:
    """Return values (n, ...) at a place (...) along their first axis, linear between two."""
    low, high = (edge(place).astype(int)[None] for edge in (np.floor, np.ceil))
    below, above = (np.take_along_axis(values, each, 0)[0] for each in (low, high))
    found: Array = below + (place - low[0]) * (above - below)
    return found


@dataclass(frozen=True)
class Climate:
    """The climate of one series, to which the fields of another are moved.

    Attributes:
        names: The variables.
        amounts: Which of them (C, 1, 1) are amounts, whose changes are ratios.
        grid: The grid (h, w) on which climates are compared.
        down: Matrices from the fields' grid to it.
        up: Matrices from it to the fields' grid.
        mean: Mean of each calendar month (12, C, h, w).
        quantiles: Quantiles of each calendar month (12, Q, C, h, w), where they are known.
        levels: Their probabilities (Q,).
    """

    names: list[str]
    amounts: NDArray[np.bool_]
    grid: Grid
    down: tuple[Matrix, Matrix]
    up: tuple[Matrix, Matrix]
    mean: Array
    quantiles: Array = field(default_factory=lambda: np.empty(0))
    levels: Array = field(default_factory=lambda: np.empty(0))

    def values(self, fields: xr.Dataset) -> Array:
        """Return the variables (C, H, W) of one step."""
        return np.stack(
            [fields[n].transpose("lat", "lon").values.astype(float) for n in self.names]
        )

    def seen(self, fields: xr.Dataset) -> Array:
        """Return the variables (C, h, w) of one step on the grid of the climate."""
        return np.stack([spread_mean(each, *self.down) for each in self.values(fields)])

    def at(self, month: int, share: Array) -> Array:
        """Return the value that stands at a probability (C, h, w) in a calendar month, 0 to 11."""
        place = np.interp(share, self.levels, np.arange(len(self.levels)))
        return between(self.quantiles[month], place)

    def variance(self, month: int, years: int) -> Array:
        """Return the variance (C, h, w) of a calendar month, as if of so many years, or NaN."""
        if not len(self.levels):
            return np.full(self.mean.shape[1:], np.nan)
        shares = (np.arange(years) + 0.5) / years
        values = [self.at(month, np.full(self.mean.shape[1:], share)) for share in shares]
        return np.asarray(np.var(values, axis=0))

    def change(self, old: Array, new: Array) -> Array:
        """Return what takes old values (C, h, w) to new ones: a difference, or a ratio of amounts.

        Amounts count as a trace at least, so that dry months are neither made wet nor blown up.
        """
        ratio = np.maximum(new, TRACE) / np.maximum(old, TRACE)
        return np.where(self.amounts, ratio, new - old)

    def moved(self, fields: xr.Dataset, by: Array) -> Array:
        """Return the variables (C, H, W) of one step after a change (C, h, w)."""
        values = self.values(fields)
        change = np.stack([spread_mean(each, *self.up) for each in by])
        return np.where(self.amounts, values * change, values + change)
