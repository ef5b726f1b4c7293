"""Adjust the input of a reconstruction to the climate that the prior was trained on.

A reanalysis of the nineteenth century or a climate model has another mean and another variability
than the training data of a prior. The two climates of a **reference period** are compared for each
calendar month and cell, and the difference is removed from every month of the input:

- ``mean`` adds a constant to a variable, or multiplies an amount by one, so that the means of the
  reference period are those of the training data. Differences between years, ratios of amounts,
  and so the trend are conserved.
- ``quantile`` is quantile delta mapping (`dpdm.fields.climatology`). The variability becomes that
  of the training data too; the change of each quantile since the reference period is conserved.

The climates are compared on the input's grid. Where the input is finer than the stored climate,
they are compared on the grid of the latter, and the correction is interpolated.

A month within the reference period is ranked among that period; a month before it, among as many
years starting with itself; a month after it, among as many years ending with itself. So no month
depends on later ones than itself and the reference period, and a series may grow.

Months are counted from January of the year 0, in any calendar.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError, DpdmWarning
from dpdm.evaluate.metrics import Row
from dpdm.evaluate.scores import mean_of_valid
from dpdm.fields.climatology import (
    MONTHS_PER_YEAR,
    Climate,
    empirical_probability,
    empirical_quantile,
    mean_ignoring_missing,
)
from dpdm.fields.grid import Array, Grid, extend_grid, grid_of
from dpdm.fields.regrid import apply_matrices, apply_mean, bilinear_matrices, mean_matrices
from dpdm.fields.subset import describe_extent, select_covered
from dpdm.fields.time import month_numbers, period_of, time_bounds
from dpdm.fields.value_checks import load_checked_fields
from dpdm.prior import Prior

Indices = NDArray[np.intp]
MonthSpan = tuple[int, int]
_MONTH = re.compile(r"(\d{4})(?:-(0[1-9]|1[0-2]))?")


@dataclass(frozen=True)
class ReferencePeriod:
    """A period within a monthly series.

    Attributes:
        span: Its first and last month, counted from the year 0.
        month_indices: The month of each step of the series (T,), counted alike.
    """

    span: MonthSpan
    month_indices: Indices

    def month(self, index: int) -> int:
        """Return the calendar month of a step, 0 to 11."""
        return int(self.month_indices[index]) % MONTHS_PER_YEAR

    def month_steps(self, month: int) -> Indices:
        """Return the steps of a calendar month within the period."""
        return self.select_years(month, *self.year_range(month))

    def ranking_steps(self, index: int) -> Indices:
        """Return the steps of the same calendar month among which a step is ranked."""
        year, month = divmod(int(self.month_indices[index]), MONTHS_PER_YEAR)
        first, last = self.year_range(month)
        shift = min(year - first, 0) + max(year - last, 0)
        return self.select_years(month, first + shift, last + shift)

    def year_range(self, month: int) -> MonthSpan:
        """Return the first and the last year of a calendar month within the period."""
        first, last = self.span
        return -((month - first) // MONTHS_PER_YEAR), (last - month) // MONTHS_PER_YEAR

    def select_years(self, month: int, first: int, last: int) -> Indices:
        """Return the steps of a calendar month from one year to another."""
        years, months = np.divmod(self.month_indices, MONTHS_PER_YEAR)
        return np.flatnonzero((months == month) & (years >= first) & (years <= last))

    def __str__(self) -> str:
        return format_month_span(self.span)


def make_reference_period(
    fields: xr.Dataset, ends: Sequence[str], min_years: int
) -> ReferencePeriod:
    """Return the reference period of a series, with enough years of each calendar month."""
    span, labels = parse_month_span(ends), month_indices(fields)
    available = int(labels.min()), int(labels.max())
    if span[0] < available[0] or span[1] > available[1]:
        raise DpdmError(
            f"The input is from {format_month_span(available)}, the reference period of [adjust] "
            f"from {format_month_span(span)}.",
            "Choose a reference period within the input.",
        )
    reference = ReferencePeriod(span, labels)
    years = [
        len(np.unique(labels[reference.month_steps(month)])) for month in range(MONTHS_PER_YEAR)
    ]
    if min(years) < min_years:
        raise DpdmError(
            f"The input has {min(years)} years of month {int(np.argmin(years)) + 1} in the "
            f"reference period of [adjust], {reference}; {min_years} are needed.",
            "Choose a longer one" + ('; "mean" needs 2 years.' if min_years > 2 else "."),
        )
    return reference


def parse_month_span(ends: Sequence[str]) -> MonthSpan:
    """Return the first and the last month of a period, counted from the year 0.

    Example:
        >>> parse_month_span(["1981", "2010-12"])
        (23772, 24131)
    """
    matches = [_MONTH.fullmatch(str(end)) for end in ends]
    if len(matches) == 2 and matches[0] and matches[1]:
        first = int(matches[0][1]) * MONTHS_PER_YEAR + int(matches[0][2] or 1) - 1
        last = int(matches[1][1]) * MONTHS_PER_YEAR + int(matches[1][2] or MONTHS_PER_YEAR) - 1
        if first <= last:
            return first, last
    raise DpdmError(
        f"[adjust] reference is {list(ends)}.",
        'Give its first and its last month, as ["1981-01", "2010-12"].',
    )


def month_indices(fields: xr.Dataset) -> Indices:
    """Return the month of each step, counted from the year 0."""
    if period_of(fields.get("time"), time_bounds(fields)) != "month":
        raise DpdmError(
            "The input is not monthly, and the stored climate is.",
            'Give monthly means, or set method = "none" in [adjust].',
        )
    return month_numbers(fields["time"], time_bounds(fields))


def format_month_span(span: MonthSpan) -> str:
    """Return the first and the last month of a period as text.

    Example:
        >>> format_month_span((23772, 24131))
        '1981-01 to 2010-12'
    """
    return " to ".join(
        f"{month // MONTHS_PER_YEAR:04d}-{month % MONTHS_PER_YEAR + 1:02d}" for month in span
    )


MIN_REFERENCE_YEARS = {"none": 0, "mean": 2, "quantile": 10}  # of each calendar month
MONTH_CACHE_BYTES = 2**28


@dataclass(frozen=True)
class ClimateReference:
    """The climate that the input is adjusted to.

    Attributes:
        climate: The climate of the training data.
        reference: The reference period of the input.
        source: Period and digest of the climate.
    """

    climate: Climate
    reference: ReferencePeriod
    source: str


@dataclass(frozen=True)
class BiasAdjustment:
    """A series, adjusted to the climate of the training data.

    Attributes:
        fields: The complete series (time, lat, lon), lazy.
        method: "none", "mean" or "quantile".
        match: The climate and the reference period; None with "none".
        cache: Steps that were read (C, h, w), on the grid of the climate.
    """

    fields: xr.Dataset
    method: str
    match: ClimateReference | None = None
    cache: dict[int, Array] = field(default_factory=dict, repr=False)

    def step(self, index: int) -> xr.Dataset:
        """Return the adjusted fields of a step, loaded."""
        original = load_checked_fields(self.fields.isel(time=index))
        if self.match is None:
            return original
        climate = self.match.climate
        if self.method == "quantile":
            self.cache_step(index, climate.average_to_climate_grid(original))
        adjusted = climate.apply_change(original, self.correction(self.match, index))
        check_climate_coverage(climate, climate.values(original), adjusted)
        arrays = {name: original[name] for name in climate.names}
        return original.assign(
            {
                n: a.copy(data=adjusted[i].astype(a.dtype))
                for i, (n, a) in enumerate(arrays.items())
            }
        )

    def correction(self, match: ClimateReference, index: int) -> Array:
        """Return the change of a step (C, h, w), on the grid of the climate."""
        climate, month = match.climate, match.reference.month(index)
        reference = self.read_steps(match, match.reference.month_steps(month))
        if self.method == "mean":
            return climate.compute_change(mean_ignoring_missing(reference), climate.mean[month])
        probability = empirical_probability(
            self.read_steps(match, match.reference.ranking_steps(index)),
            self.read_step(match, index),
        )
        return climate.compute_change(
            empirical_quantile(reference, probability), climate.at(month, probability)
        )

    def read_steps(self, match: ClimateReference, indices: Indices) -> Array:
        """Return steps (n, C, h, w) on the grid of the climate."""
        return np.stack([self.read_step(match, int(index)) for index in indices])

    def read_step(self, match: ClimateReference, index: int) -> Array:
        """Return a step (C, h, w) on the grid of the climate, from the cache if possible."""
        if index not in self.cache:
            fields = load_checked_fields(self.fields.isel(time=index))
            self.cache_step(index, match.climate.average_to_climate_grid(fields))
        return self.cache[index]

    def cache_step(self, index: int, values: Array) -> None:
        """Cache a step, and remove the oldest ones above the limit."""
        self.cache[index] = values
        while len(self.cache) > max(1, MONTH_CACHE_BYTES // values.nbytes):
            self.cache.pop(next(iter(self.cache)))

    def describe(self) -> str:
        """Return the adjustment in a sentence."""
        if self.match is None:
            return "The input is not adjusted."
        statistics = {"mean": "the mean", "quantile": "the quantiles (quantile delta mapping)"}
        return (
            f"Adjusted, month by month, from {statistics[self.method]} of the input's "
            f"{self.match.reference} to {'that' if self.method == 'mean' else 'those'} of the "
            f"prior's training data, {self.match.source}."
        )

    def table(self) -> list[Row]:
        """Compare the reference period with the training data, unadjusted and adjusted.

        Returns:
            Two rows for each variable: the area-weighted ``bias``, the ``rmse`` of the twelve
            means and, where quantiles are stored, ``spread``, the interannual standard deviation
            over that of the training data.
        """
        if self.match is None:
            return []
        scores = {
            "unadjusted": self.scores(self.match, False),
            f"{self.method}-adjusted": self.scores(self.match, True),
        }
        return [
            {"variable": name, "units": self.fields[name].attrs.get("units", ""), "method": method}
            | {key: float(values[i]) for key, values in found.items()}
            for i, name in enumerate(self.match.climate.names)
            for method, found in scores.items()
        ]

    def scores(self, match: ClimateReference, adjusted: bool) -> dict[str, Array]:
        """Return the scores (C,) of the reference period, unadjusted or adjusted."""
        climate, weights = match.climate, match.climate.grid.weights
        parts = [self.month_errors(match, month, adjusted) for month in range(MONTHS_PER_YEAR)]
        error, square, variance, trained = (
            np.mean([mean_of_valid(each, weights) for each in kind], axis=0)
            for kind in zip(*parts, strict=True)
        )
        spread = {"spread": np.sqrt(variance / trained)} if len(climate.levels) else {}
        return {"bias": error, "rmse": np.sqrt(square)} | spread

    def month_errors(
        self, match: ClimateReference, month: int, adjusted: bool
    ) -> tuple[Array, ...]:
        """Return error, squared error and variance of a month, and the trained variance."""
        climate, steps = match.climate, match.reference.month_steps(month)
        sample = (
            np.stack([climate.average_to_climate_grid(self.step(int(step))) for step in steps])
            if adjusted
            else self.read_steps(match, steps)
        )
        mean = mean_ignoring_missing(sample)
        error, variance = mean - climate.mean[month], mean_ignoring_missing((sample - mean) ** 2)
        return error, error**2, variance, climate.variance(month, len(steps))


def fit_bias_adjustment(
    fields: xr.Dataset, prior: Prior, method: str, reference: Sequence[str]
) -> BiasAdjustment:
    """Return the adjustment of a series (time, lat, lon) to the prior's training climate."""
    if method not in MIN_REFERENCE_YEARS:
        known = ", ".join(f'"{each}"' for each in MIN_REFERENCE_YEARS)
        raise DpdmError(f'[adjust] method is "{method}".', f"Give one of {known}.")
    if method == "none":
        return BiasAdjustment(fields, method)
    check_climate_stored(prior, method)
    period = make_reference_period(fields, reference, MIN_REFERENCE_YEARS[method])
    climate = regrid_climate(
        grid_of(fields), prior, [n for n in prior.normaliser.names if n in fields]
    )
    first = load_checked_fields(fields.isel(time=0))
    changed = climate.apply_change(first, climate.mean[period.month(0)])
    check_climate_coverage(climate, climate.values(first), changed)
    adjusted = BiasAdjustment(
        fields, method, ClimateReference(climate, period, climate_source(prior))
    )
    if mismatch := find_period_mismatch(period, prior):
        warnings.warn(f"{mismatch} {describe_mean_shift(adjusted)}", DpdmWarning, stacklevel=2)
    return adjusted


def find_period_mismatch(reference: ReferencePeriod, prior: Prior) -> str:
    """Return a warning if the reference period does not overlap that of the training data."""
    first, last = (
        parse_month_span(ends) if len(ends := read_training_period(prior)) == 2 else reference.span
    )
    if reference.span[0] <= last and first <= reference.span[1]:
        return ""
    return (
        f"The reference period of [adjust], {reference}, does not overlap that of the prior's "
        f"climate, {' to '.join(ends)}: the change of the climate between them is removed with "
        "the bias."
    )


def describe_mean_shift(adjusted: BiasAdjustment) -> str:
    """Return the mean change of the adjustment over the reference period, as a sentence."""
    match = adjusted.match
    assert match is not None
    climate = match.climate
    bias = adjusted.scores(match, False)["bias"]
    mean = mean_of_valid(climate.mean.mean(0), climate.grid.weights)
    changes = []
    for i, name in enumerate(climate.names):
        units = adjusted.fields[name].attrs.get("units", "")
        ratio = 100 * (mean[i] / (mean[i] + bias[i]) - 1)
        changes.append(
            f"{name} {ratio:+.1f}%" if climate.amounts[i] else f"{name} {-bias[i]:+.2f} {units}"
        )
    return f"The mean change is {', '.join(changes)}."


def check_climate_stored(prior: Prior, method: str) -> None:
    """Refuse a prior without the climate that a method needs."""
    if not prior.coarse:
        raise DpdmError(
            "The prior stores no climate of its training data to adjust to.",
            'Train it on all twelve months with this dpdm, or set method = "none" in [adjust].',
        )
    if method == "quantile" and "quantiles" not in prior.coarse:
        raise DpdmError(
            "The prior stores no quantiles of its training data, which need two years of every "
            "month.",
            'Set method = "mean" in [adjust], or train on a longer series.',
        )


def check_climate_coverage(climate: Climate, values: Array, adjusted: Array) -> None:
    """Refuse fields (C, H, W) with values where one of the two climates is missing."""
    for name, old, new in zip(climate.names, values, adjusted, strict=True):
        lost = np.isfinite(old) & ~np.isfinite(new)
        if lost.any():
            raise DpdmError(
                f"{name} has values in {lost.sum()} of {lost.size} cells where the training data "
                "or the reference period has none.",
                'Select a region where both have values, or set method = "none" in [adjust].',
            )


def regrid_climate(grid: Grid, prior: Prior, names: list[str]) -> Climate:
    """Return the climate of a prior's training data on the grid where it is compared."""
    stored = climate_dataset(prior, names)
    stored_grid = grid_of(stored)
    if not extend_grid(stored_grid, 1, 1).covers(grid):
        raise DpdmError(
            f"The input ({describe_extent(grid)}) reaches beyond the climate of the prior's "
            f"training data ({describe_extent(stored_grid)}).",
            'Select a smaller region, or set method = "none" in [adjust].',
        )
    finer = np.prod(grid.spacing) < 0.999 * np.prod(stored_grid.spacing)
    part = select_covered(stored, grid) if finer else None
    if part is None:
        part = apply_matrices(stored, grid, bilinear_matrices(stored_grid, grid), apply_mean)
    at, channels = grid_of(part), {c.name: c for c in prior.normaliser.channels}
    amounts = np.array([channels[name].transform == "log1p" for name in names])[:, None, None]
    down, up = mean_matrices(grid, at), bilinear_matrices(at, grid)
    mean = part["mean"].values.astype(float)
    if "quantiles" not in part:
        return Climate(names, amounts, at, down, up, mean)
    quantiles, levels = part["quantiles"].values, prior.coarse["probabilities"].numpy()
    return Climate(names, amounts, at, down, up, mean, quantiles.astype(float), levels)


def climate_dataset(prior: Prior, names: list[str]) -> xr.Dataset:
    """Return the stored means and quantiles of some variables with axes."""
    dims = {
        "mean": ("month", "variable", "lat", "lon"),
        "quantiles": ("month", "level", "variable", "lat", "lon"),
    }
    arrays = {k: (dims[k], v.numpy()) for k, v in prior.coarse.items() if k in dims}
    grid = Grid(prior.coarse["lat"].numpy(), prior.coarse["lon"].numpy())
    stored = xr.Dataset(arrays, grid.coords() | {"variable": prior.normaliser.names})
    return stored.sel(variable=names)


def read_training_period(prior: Prior) -> list[str]:
    """Return the first and the last month of the climate that a prior stores."""
    training = prior.contract.training
    return training.get("climate_period") or [day[:7] for day in training.get("period", [])]


def climate_source(prior: Prior) -> str:
    """Return the period and the digest of the stored climate."""
    digest = hashlib.sha256(b"".join(v.numpy().tobytes() for _, v in sorted(prior.coarse.items())))
    return f"{' to '.join(read_training_period(prior))} (SHA-256 {digest.hexdigest()[:12]})"
