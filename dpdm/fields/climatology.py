r"""The climatology of each calendar month, and quantile mapping from one climate to another.

The climate of a series is the mean of each calendar month and, where there are years enough, its
quantiles. Of n values, the i-th smallest stands at the probability (i - 1/2) / n (Hazen 1914);
between them the quantiles are linear, beyond them constant, and equal values share the middle of
their ranks. So no random numbers are needed for months without rain.

**Quantile delta mapping** (Cannon et al. 2015, doi:10.1175/JCLI-D-14-00754.1) takes a value x of
some window of years to the training data's value of the same rank, and adds the difference
between x and the reference period's value of that rank, which is the climate change:

.. math:: x' = F_{train}^{-1}(\tau) + x - F_{ref}^{-1}(\tau), \qquad \tau = F_{window}(x)

For amounts, the difference is a ratio. A missing value is NaN, and never counts.

The seasonal cycle at each place: its mean and first two harmonics are fitted by least squares to
the whole series,

.. math:: m(t) = a_0 + \sum_{k=1}^{2} a_k \cos 2 \pi k t + b_k \sin 2 \pi k t,

with t the fraction of the year passed. Two harmonics hold
most of the seasonal cycle, and are hardly noisy even in a series of a few years.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.fields.grid import Array, Grid, Matrix
from dpdm.fields.regrid import apply_mean, mean_matrices

MONTHS_PER_YEAR = 12
MAX_QUANTILES = 21  # quantiles that are stored: a value every 5%
TRACE_AMOUNT = (
    0.01  # mm day-1; amounts below it are as good as none, and no ratio is taken to them
)


def coarse_climate_grid(grid: Grid, factor: int) -> Grid:
    """Return the grid of equal cells over the same area, each of about ``factor`` cells squared.

    Example:
        >>> coarse_climate_grid(Grid(np.arange(0.5, 9), np.arange(0.5, 360)), 4).shape
        (2, 90)
    """
    return Grid(split_extent(grid.lat_edges, factor), split_extent(grid.lon_edges, factor))


def split_extent(edges: Array, factor: int) -> Array:
    """Return the centres of two or more equal cells between the outermost edges."""
    count = max(2, (len(edges) - 1) // factor)
    ends = np.linspace(edges[0], edges[-1], count + 1)
    centres: Array = (ends[1:] + ends[:-1]) / 2
    return centres


def find_covered_cells(cells: NDArray[np.bool_], grid: Grid, target: Grid) -> NDArray[np.bool_]:
    """Tell which cells of a target grid contain any of the cells (H, W) of a grid."""
    rows, columns = mean_matrices(grid, target)
    return np.asarray(rows @ cells.astype(float) @ columns.T > 0)


def compute_climate(
    fields: Iterable[NDArray[np.floating]],
    months: NDArray[np.integer],
    grid: Grid,
    target: Grid,
    hidden: NDArray[np.bool_],
) -> dict[str, Array]:
    """Return the climate of a series on a coarse grid.

    Args:
        fields: The steps of the series (C, H, W), one after the other.
        months: Calendar month of each step, 1 to 12.
        grid: Its grid.
        target: The coarse grid.
        hidden: Coarse cells (h, w) that are left missing.

    Returns:
        ``mean`` (12, C, h, w) and, with two years or more of each month, ``quantiles``
        (12, Q, C, h, w) at ``quantile_probabilities`` (Q,); nothing where a calendar month is
        absent.
    """
    years = min(int((months == month).sum()) for month in range(1, MONTHS_PER_YEAR + 1))
    if not years:
        return {}
    maps = mean_matrices(grid, target)
    coarse = np.array([[apply_mean(f.astype(float), *maps) for f in step] for step in fields])
    samples = [
        np.where(hidden, np.nan, coarse[months == m]) for m in range(1, MONTHS_PER_YEAR + 1)
    ]
    means = {"mean": np.stack([mean_ignoring_missing(sample) for sample in samples])}
    if years < 2:
        return means
    levels = quantile_probabilities(years)
    found = np.stack(
        [[empirical_quantile(sample, level) for level in levels] for sample in samples]
    )
    return means | {"probabilities": levels, "quantiles": found}


def quantile_probabilities(years: int) -> Array:
    """Return the probabilities to store: those of each year, or 21 from the least to the greatest.

    Example:
        >>> quantile_probabilities(4).tolist()
        [0.125, 0.375, 0.625, 0.875]
    """
    return np.linspace(0.5 / years, 1 - 0.5 / years, min(years, MAX_QUANTILES))


def mean_ignoring_missing(sample: Array) -> Array:
    """Return the mean (...) of the finite values (n, ...), NaN where there are none."""
    seen = np.isfinite(sample)
    count = seen.sum(0)
    total = np.where(seen, sample, 0.0).sum(0)
    mean: Array = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean


def empirical_probability(sample: Array, value: Array) -> Array:
    """Return the probability at which a value (...) stands in a sample (n, ...).

    Example:
        >>> empirical_probability(np.array([0.0, 0.0, 3.0, np.nan]), np.array(0.0)).item()
        0.3333333333333333
    """
    below, equal = (sample < value).sum(0), (sample == value).sum(0)
    share: Array = (below + equal / 2) / np.maximum(np.isfinite(sample).sum(0), 1)
    return share


def empirical_quantile(sample: Array, share: Array | float) -> Array:
    """Return the value that stands at a probability (...) in a sample (n, ...).

    Example:
        >>> empirical_quantile(np.array([4.0, np.nan, 1.0]), 0.5).item()
        2.5
    """
    last = np.maximum(np.isfinite(sample).sum(0) - 1, 0)
    return interpolate_first_axis(
        np.sort(sample, axis=0), np.clip(share * (last + 1.0) - 0.5, 0, last)
    )


def interpolate_first_axis(values: Array, place: Array) -> Array:
    """Return values (n, ...) at a place (...) along their first axis, linear between two."""
    low, high = (edge(place).astype(int)[None] for edge in (np.floor, np.ceil))
    below, above = (np.take_along_axis(values, each, 0)[0] for each in (low, high))
    found: Array = below + (place - low[0]) * (above - below)
    return found


@dataclass(frozen=True)
class Climate:
    """The climate of one series, to which another series is adjusted.

    Attributes:
        names: The variables.
        amounts: Which of them (C, 1, 1) are amounts, whose changes are ratios.
        grid: The grid (h, w) on which climates are compared.
        to_climate_grid: Matrices from the fields' grid to it.
        to_field_grid: Matrices from it to the fields' grid.
        mean: Mean of each calendar month (12, C, h, w).
        quantiles: Quantiles of each calendar month (12, Q, C, h, w), where they are known.
        levels: Their probabilities (Q,).
    """

    names: list[str]
    amounts: NDArray[np.bool_]
    grid: Grid
    to_climate_grid: tuple[Matrix, Matrix]
    to_field_grid: tuple[Matrix, Matrix]
    mean: Array
    quantiles: Array = field(default_factory=lambda: np.empty(0))
    levels: Array = field(default_factory=lambda: np.empty(0))

    def values(self, fields: xr.Dataset) -> Array:
        """Return the variables (C, H, W) of one step."""
        return np.stack(
            [fields[n].transpose("lat", "lon").values.astype(float) for n in self.names]
        )

    def average_to_climate_grid(self, fields: xr.Dataset) -> Array:
        """Return the variables (C, h, w) of one step on the grid of the climate."""
        return np.stack([apply_mean(each, *self.to_climate_grid) for each in self.values(fields)])

    def at(self, month: int, share: Array) -> Array:
        """Return the value that stands at a probability (C, h, w) in a calendar month, 0 to 11."""
        place = np.interp(share, self.levels, np.arange(len(self.levels)))
        return interpolate_first_axis(self.quantiles[month], place)

    def variance(self, month: int, years: int) -> Array:
        """Return the variance (C, h, w) of a calendar month over a number of years, or NaN."""
        if not len(self.levels):
            return np.full(self.mean.shape[1:], np.nan)
        shares = (np.arange(years) + 0.5) / years
        values = [self.at(month, np.full(self.mean.shape[1:], share)) for share in shares]
        return np.asarray(np.var(values, axis=0))

    def compute_change(self, old: Array, new: Array) -> Array:
        """Return the change from old values (C, h, w) to new ones: a difference, or a ratio.

        Amounts are set to a trace at least, which limits the ratios of dry months.
        """
        ratio = np.maximum(new, TRACE_AMOUNT) / np.maximum(old, TRACE_AMOUNT)
        return np.where(self.amounts, ratio, new - old)

    def apply_change(self, fields: xr.Dataset, by: Array) -> Array:
        """Return the variables (C, H, W) of one step after a change (C, h, w)."""
        values = self.values(fields)
        change = np.stack([apply_mean(each, *self.to_field_grid) for each in by])
        return np.where(self.amounts, values * change, values + change)

    def adjust(self, fields: xr.Dataset, by: Array) -> xr.Dataset:
        """Return one step after a change (C, h, w), in the precision of the fields."""
        changed = zip(self.names, self.apply_change(fields, by), strict=True)
        arrays = {n: fields[n].transpose("lat", "lon") for n in self.names}
        return fields.assign(
            {n: arrays[n].copy(data=values.astype(arrays[n].dtype)) for n, values in changed}
        )


HARMONIC_COUNT = 2
MIN_YEAR_FRACTION = 0.9  # of a year that a series must cover for its seasons to be known


def annual_harmonics(season: float | None) -> list[float]:
    """Return 1 and the cosines and sines of a fraction of the year; 0 where no season applies.

    Example:
        >>> [round(v, 9) for v in annual_harmonics(0.25)], annual_harmonics(None)
        ([1.0, 0.0, 1.0, -1.0, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0])
    """
    if season is None:
        return [1.0] + 2 * HARMONIC_COUNT * [0.0]
    angles = 2 * np.pi * season * np.arange(1, HARMONIC_COUNT + 1)
    return [1.0, *(float(f(angle)) for angle in angles for f in (np.cos, np.sin))]


def harmonic_basis(seasons: Sequence[float | None]) -> Array:
    """Return the harmonics at some moments, with shape (T, K)."""
    return np.array([annual_harmonics(season) for season in seasons], dtype=np.float64)


def fit_harmonics(
    states: Iterable[NDArray[np.float32]], seasons: Sequence[float | None]
) -> NDArray[np.float64]:
    """Fit the harmonics of states (C, H, W), with shape (K, C, H, W), NaN where all are missing.

    A series that covers no whole year has a mean only; the others are 0.
    """
    known = harmonic_basis(seasons)
    passed = {int(12 * s) for s in seasons if s is not None}
    known[:, 1:] *= len(passed) >= 12 * MIN_YEAR_FRACTION
    normal: NDArray[np.float64] = np.zeros(0)
    for row, state in zip(known, states, strict=True):
        present = np.isfinite(state)
        if not normal.size:
            total = np.zeros((len(row), *state.shape))
            normal = np.zeros((len(row), len(row), *state.shape))
        total += row.reshape(-1, 1, 1, 1) * np.where(present, state, 0.0)
        normal += np.outer(row, row)[:, :, None, None, None] * present
    return solve_normal_equations(normal, total)


def solve_normal_equations(
    normal: NDArray[np.float64], total: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Solve the normal equations (K, K, ...) of each place for totals (K, ...)."""
    matrices = np.moveaxis(normal, (0, 1), (-2, -1))
    right = np.moveaxis(total, 0, -1)[..., None]
    found: NDArray[np.float64] = np.moveaxis((np.linalg.pinv(matrices) @ right)[..., 0], -1, 0)
    return np.where(normal[0, 0] > 0, found, np.nan)
