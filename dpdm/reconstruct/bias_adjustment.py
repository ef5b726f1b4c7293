"""Adjust the input of a reconstruction to the climate that the prior was trained on.

A prior reads coarse fields as its training data were; a reanalysis of the nineteenth century or a
climate model has another mean and another variability. Over a **reference period** the two
climates are compared, calendar month by calendar month and cell by cell, and what separates them
is taken off every month of the input:

- ``mean`` adds a constant to a variable, or multiplies an amount by one, so that the means of the
  reference period are those of the training data. Differences between any two years, or ratios of
  amounts, pass through exactly: so does the trend.
- ``quantile`` is quantile delta mapping (`dpdm.fields.climatology`). The variability becomes the
  training data's too; the change of each quantile since the reference period is kept.

The climates are compared on the input's grid, or on the grid of the stored one where the input is
finer; there the correction is lerped, and what the input knows of finer relief stays.

A month is ranked among the reference period if it is one of it, among as many years from itself on
if it lies before, and among as many years up to itself if it lies after. So no month depends on
what comes later than both itself and the reference period, and a series may grow.

The reference period of a monthly series, and the years among which a month is ranked.

Months are counted from January of the year 0, in whatever calendar, so that no date is ever made.
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
        return self.between(month, *self.year_range(month))

    def ranking_steps(self, index: int) -> Indices:
        """Return the steps of the same calendar month among which a step is ranked.

        They are those of the period, or of as many years from the step on before it, and up to the
        step after it.
        """
        year, month = divmod(int(self.month_indices[index]), MONTHS_PER_YEAR)
        first, last = self.year_range(month)
        off = min(year - first, 0) + max(year - last, 0)
        return self.between(month, first + off, last + off)

    def year_range(self, month: int) -> MonthSpan:
        """Return the first and the last year of a calendar month within the period."""
        first, last = self.span
        return -((month - first) // MONTHS_PER_YEAR), (last - month) // MONTHS_PER_YEAR

    def between(self, month: int, first: int, last: int) -> Indices:
        """Return the steps of a calendar month from one year to another."""
        years, months = np.divmod(self.month_indices, MONTHS_PER_YEAR)
        return np.flatnonzero((months == month) & (years >= first) & (years <= last))

    def __str__(self) -> str:
        return format_month_span(self.span)


def make_reference_period(fields: xr.Dataset, words: Sequence[str], least: int) -> ReferencePeriod:
    """Return the reference period of a series.

    Args:
        fields: The whole series.
        words: First and last month, or year, of the period.
        least: Years that each calendar month needs.
    """
    span, labels = parse_month_span(words), month_indices(fields)
    whole = int(labels.min()), int(labels.max())
    if span[0] < whole[0] or span[1] > whole[1]:
        raise DpdmError(
            f"The input reaches from {format_month_span(whole)}, the reference period of "
            f"[adjust] from "
            f"{format_month_span(span)}.",
            "Give a reference period within the input.",
        )
    reference = ReferencePeriod(span, labels)
    years = [
        len(np.unique(labels[reference.month_steps(month)])) for month in range(MONTHS_PER_YEAR)
    ]
    if min(years) < least:
        raise DpdmError(
            f"The input has {min(years)} years of month {int(np.argmin(years)) + 1} in the "
            f"reference period of [adjust], {reference}; {least} are needed.",
            "Give a longer reference period" + ('; "mean" needs 2 years.' if least > 2 else "."),
        )
    return reference


def parse_month_span(words: Sequence[str]) -> MonthSpan:
    """Return the first and the last month of a period, counted from the year 0.

    Example:
        >>> span_of(["1981", "2010-12"])
        (23772, 24131)
    """
    found = [_MONTH.fullmatch(str(word)) for word in words]
    if len(found) == 2 and found[0] and found[1]:
        first = int(found[0][1]) * MONTHS_PER_YEAR + int(found[0][2] or 1) - 1
        last = int(found[1][1]) * MONTHS_PER_YEAR + int(found[1][2] or MONTHS_PER_YEAR) - 1
        if first <= last:
            return first, last
    raise DpdmError(
        f"[adjust] reference is {list(words)}.",
        'Give its first and its last month, as ["1981-01", "2010-12"].',
    )


def month_indices(fields: xr.Dataset) -> Indices:
    """Return the month of each step, counted from the year 0."""
    if period_of(fields.get("time"), time_bounds(fields)) != "month":
        raise DpdmError(
            "The input's steps are not months, and the climate is one of months.",
            'Give monthly means, or set method = "none" in [adjust].',
        )
    return month_numbers(fields["time"], time_bounds(fields))


def format_month_span(span: MonthSpan) -> str:
    """Say from which month to which a period reaches.

    Example:
        >>> spell((23772, 24131))
        '1981-01 to 2010-12'
    """
    return " to ".join(
        f"{month // MONTHS_PER_YEAR:04d}-{month % MONTHS_PER_YEAR + 1:02d}" for month in span
    )


MIN_REFERENCE_YEARS = {
    "none": 0,
    "mean": 2,
    "quantile": 10,
}  # that a reference period needs, of each month
MONTH_CACHE_BYTES = 2**28  # bytes of months that are kept in memory


@dataclass(frozen=True)
class ClimateReference:
    """What the input is compared with.

    Attributes:
        climate: The climate of the training data.
        reference: The reference period of the input.
        source: What the climate is that of.
    """

    climate: Climate
    reference: ReferencePeriod
    source: str


@dataclass(frozen=True)
class BiasAdjustment:
    """A series, and what takes its climate to that of the training data.

    Attributes:
        fields: The whole series (time, lat, lon), lazy.
        method: "none", "mean" or "quantile".
        match: What it is compared with; nothing with "none".
        cache: Steps that were read (C, h, w), on the grid of the climate.
    """

    fields: xr.Dataset
    method: str
    match: ClimateReference | None = None
    cache: dict[int, Array] = field(default_factory=dict, repr=False)

    def step(self, index: int) -> xr.Dataset:
        """Return the adjusted fields of a step, loaded."""
        plain = load_checked_fields(self.fields.isel(time=index))
        if self.match is None:
            return plain
        climate = self.match.climate
        if self.method == "quantile":  # which ranks the step among others
            self.cache_step(index, climate.average_to_climate_grid(plain))
        moved = climate.apply_change(plain, self.correction(self.match, index))
        check_climate_coverage(climate, climate.values(plain), moved)
        arrays = {name: plain[name] for name in climate.names}
        return plain.assign(
            {n: a.copy(data=moved[i].astype(a.dtype)) for i, (n, a) in enumerate(arrays.items())}
        )

    def correction(self, match: ClimateReference, index: int) -> Array:
        """Return what a step is changed by (C, h, w), on the grid of the climate."""
        climate, month = match.climate, match.reference.month(index)
        past = self.read_steps(match, match.reference.month_steps(month))
        if self.method == "mean":
            return climate.compute_change(mean_ignoring_missing(past), climate.mean[month])
        share = empirical_probability(
            self.read_steps(match, match.reference.ranking_steps(index)),
            self.read_step(match, index),
        )
        return climate.compute_change(empirical_quantile(past, share), climate.at(month, share))

    def read_steps(self, match: ClimateReference, indices: Indices) -> Array:
        """Return steps (n, C, h, w) on the grid of the climate."""
        return np.stack([self.read_step(match, int(index)) for index in indices])

    def read_step(self, match: ClimateReference, index: int) -> Array:
        """Return a step (C, h, w) on the grid of the climate, read once while there is room."""
        if index not in self.cache:
            self.cache_step(
                index,
                match.climate.average_to_climate_grid(
                    load_checked_fields(self.fields.isel(time=index))
                ),
            )
        return self.cache[index]

    def cache_step(self, index: int, seen: Array) -> None:
        """Keep a step, and forget the oldest ones where there is no room."""
        self.cache[index] = seen
        while len(self.cache) > max(1, MONTH_CACHE_BYTES // seen.nbytes):
            self.cache.pop(next(iter(self.cache)))

    def describe(self) -> str:
        """Say in a sentence what is done to the input."""
        if self.match is None:
            return "The input is not adjusted."
        how = {"mean": "the mean", "quantile": "the quantiles (quantile delta mapping)"}
        return (
            f"Adjusted, month by month, from {how[self.method]} of the input's "
            f"{self.match.reference} to {'that' if self.method == 'mean' else 'those'} of the "
            f"prior's training data, {self.match.source}."
        )

    def table(self) -> list[Row]:
        """Compare the reference period to the training data, before and after.

        Returns:
            Two rows for each variable: the area-weighted ``bias``, the ``rmse`` of the twelve
            means and, where quantiles are stored, ``spread``, the interannual standard deviation
            over that of the training data.
        """
        if self.match is None:
            return []
        scores = {
            "before": self.scores(self.match, False),
            self.method: self.scores(self.match, True),
        }
        return [
            {"variable": name, "units": self.fields[name].attrs.get("units", ""), "method": method}
            | {key: float(values[i]) for key, values in found.items()}
            for i, name in enumerate(self.match.climate.names)
            for method, found in scores.items()
        ]

    def scores(self, match: ClimateReference, after: bool) -> dict[str, Array]:
        """Return the scores (C,) of the reference period, before or after."""
        climate, weights = match.climate, match.climate.grid.weights
        parts = [self.month_errors(match, month, after) for month in range(MONTHS_PER_YEAR)]
        error, square, own, its = (
            np.mean([mean_of_valid(each, weights) for each in kind], axis=0)
            for kind in zip(*parts, strict=True)
        )
        spread = {"spread": np.sqrt(own / its)} if len(climate.levels) else {}
        return {"bias": error, "rmse": np.sqrt(square)} | spread

    def month_errors(self, match: ClimateReference, month: int, after: bool) -> tuple[Array, ...]:
        """Return a calendar month's error, its square, its variance and the training data's."""
        climate, steps = match.climate, match.reference.month_steps(month)
        sample = (
            np.stack([climate.average_to_climate_grid(self.step(int(step))) for step in steps])
            if after
            else self.read_steps(match, steps)
        )
        mean = mean_ignoring_missing(sample)
        error, variance = mean - climate.mean[month], mean_ignoring_missing((sample - mean) ** 2)
        return error, error**2, variance, climate.variance(month, len(steps))


def fit_bias_adjustment(
    fields: xr.Dataset, prior: Prior, method: str, reference: Sequence[str]
) -> BiasAdjustment:
    """Return what takes a series to the climate of a prior's training data.

    Args:
        fields: The whole series (time, lat, lon), lazy, as far as it is known.
        prior: The prior.
        method: "none", "mean" or "quantile".
        reference: First and last month, or year, of the reference period.
    """
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
    there = climate.apply_change(first, climate.mean[period.month(0)])
    check_climate_coverage(climate, climate.values(first), there)
    adjusted = BiasAdjustment(
        fields, method, ClimateReference(climate, period, climate_source(prior))
    )
    if apart := find_period_mismatch(period, prior):
        warnings.warn(f"{apart} {describe_mean_shift(adjusted)}", DpdmWarning, stacklevel=2)
    return adjusted


def find_period_mismatch(reference: ReferencePeriod, prior: Prior) -> str:
    """Return the two periods, if the reference period does not meet that of the training data."""
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
    """Return by how much the adjustment moves the means of the reference period, as a sentence."""
    match = adjusted.match
    assert match is not None
    climate = match.climate
    bias = adjusted.scores(match, False)["bias"]
    usual = mean_of_valid(climate.mean.mean(0), climate.grid.weights)
    moved = []
    for i, name in enumerate(climate.names):
        units = adjusted.fields[name].attrs.get("units", "")
        ratio = 100 * (usual[i] / (usual[i] + bias[i]) - 1)
        moved.append(
            f"{name} {ratio:+.1f}%" if climate.amounts[i] else f"{name} {-bias[i]:+.2f} {units}"
        )
    return f"On average it moves {', '.join(moved)}."


def check_climate_stored(prior: Prior, method: str) -> None:
    """Refuse a prior that does not store what a method needs."""
    if not prior.coarse:
        raise DpdmError(
            "The prior stores no climate of its training data to adjust to.",
            'Train it on all twelve months with this dpdm, or set method = "none" in [adjust].',
        )
    if method == "quantile" and "quantiles" not in prior.coarse:
        raise DpdmError(
            "The prior stores means of its training data and no quantiles, which need two years "
            "of every month.",
            'Set method = "mean" in [adjust], or train on a longer series.',
        )


def check_climate_coverage(climate: Climate, values: Array, moved: Array) -> None:
    """Refuse fields (C, H, W) with values where one of the two climates has none."""
    for name, old, new in zip(climate.names, values, moved, strict=True):
        lost = np.isfinite(old) & ~np.isfinite(new)
        if lost.any():
            raise DpdmError(
                f"{name} has values in {lost.sum()} of {lost.size} cells where the training data "
                "or the reference period has none.",
                'Cut the input to where both have some, or set method = "none" in [adjust].',
            )


def regrid_climate(grid: Grid, prior: Prior, names: list[str]) -> Climate:
    """Return the climate of a prior's training data where that of an input is compared to it."""
    stored = climate_dataset(prior, names)
    own = grid_of(stored)
    if not extend_grid(own, 1, 1).covers(grid):
        raise DpdmError(
            f"The input ({describe_extent(grid)}) reaches beyond the climate of the prior's "
            f"training data "
            f"({describe_extent(own)}).",
            'Cut the input, or set method = "none" in [adjust].',
        )
    finer = np.prod(grid.spacing) < 0.999 * np.prod(own.spacing)
    part = select_covered(stored, grid) if finer else None
    if part is None:
        part = apply_matrices(stored, grid, bilinear_matrices(own, grid), apply_mean)
    at, channels = grid_of(part), {c.name: c for c in prior.normaliser.channels}
    amounts = np.array([channels[name].transform == "log1p" for name in names])[:, None, None]
    down, up = mean_matrices(grid, at), bilinear_matrices(at, grid)
    mean = part["mean"].values.astype(float)
    if "quantiles" not in part:
        return Climate(names, amounts, at, down, up, mean)
    quantiles, levels = part["quantiles"].values, prior.coarse["probabilities"].numpy()
    return Climate(names, amounts, at, down, up, mean, quantiles.astype(float), levels)


def climate_dataset(prior: Prior, names: list[str]) -> xr.Dataset:
    """Return the stored means and quantiles of some variables, labelled."""
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
    """Say what the stored climate is that of, and its digest."""
    digest = hashlib.sha256(b"".join(v.numpy().tobytes() for _, v in sorted(prior.coarse.items())))
    return f"{' to '.join(read_training_period(prior))} (SHA-256 {digest.hexdigest()[:12]})"
