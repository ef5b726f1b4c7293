"""Adjust a coarse series to the climate that the prior was trained on, or to a climatology.

A reanalysis of the nineteenth century or a climate model has another mean and another variability
than the training data of a prior. The two climates of a **reference period** are compared for each
calendar month and cell, and the difference is removed from every month of the input:

- ``mean`` adds a constant to a variable, or multiplies an amount by one, so that the means of the
  reference period are those of the training data. Differences between years, ratios of amounts,
  and so the trend are conserved.
- ``quantile`` is quantile delta mapping (`dpdm.fields.climatology`). The variability becomes that
  of the training data too; the change of each quantile since the reference period is conserved.
- ``anomalies`` is ``mean``, to the climatology of the target instead of the training data.

The climates are compared on the input's grid. Where the input is finer than the stored climate,
they are compared on the grid of the latter, and the correction is interpolated.

A month within the reference period is ranked among that period; a month before it, among as many
years starting with itself; a month after it, among as many years ending with itself. So no month
depends on later ones than itself and the reference period, and a series may grow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from dpdm import choices
from dpdm.errors import DpdmError
from dpdm.evaluate.metrics import Row
from dpdm.evaluate.scores import mean_of_valid
from dpdm.fields.climate_shift import ClimateShift, compare_climates
from dpdm.fields.climatology import (
    MONTHS_PER_YEAR,
    Climate,
    empirical_probability,
    empirical_quantile,
    mean_ignoring_missing,
)
from dpdm.fields.grid import Array, Grid, extend_grid, grid_of
from dpdm.fields.reference_climatology import ReferenceClimatology
from dpdm.fields.reference_period import (
    Indices,
    ReferencePeriod,
    parse_month_span,
    select_reference_period,
)
from dpdm.fields.regrid import apply_matrices, apply_mean, bilinear_matrices, mean_matrices
from dpdm.fields.subset import describe_extent, select_covered
from dpdm.fields.time import month_numbers, period_of, time_bounds
from dpdm.fields.value_checks import load_checked_fields
from dpdm.prior import Prior
from dpdm.states.driver_adjustment import (
    REFERENCE_HINT,
    climate_on_cells,
    ends_of,
    find_driver_period,
    name_climatology,
    refuse_adjusted,
    require_climatology,
    units_of,
    warn_of_other_period,
)

MIN_REFERENCE_YEARS = {"mean": 2, "quantile": 10}  # of each calendar month
MONTH_CACHE_BYTES = 2**28


def make_reference_period(
    fields: xr.Dataset, ends: Sequence[str], min_years: int
) -> ReferencePeriod:
    """Return the reference period of a series, with enough years of each calendar month."""
    reference = select_reference_period(
        month_indices(fields), parse_month_span(ends), "The input",
        "--reference-period is", REFERENCE_HINT,
    )  # fmt: skip
    years = reference.years_of_months()
    if min(years) < min_years:
        raise DpdmError(
            f"The input has {min(years)} years of month {int(np.argmin(years)) + 1} in "
            f"--reference-period, {reference}; {min_years} are needed.",
            "Choose a longer one" + (", or --method mean." if min_years > 2 else "."),
        )
    return reference


def month_indices(fields: xr.Dataset) -> Indices:
    """Return the month of each step, counted from the year 0."""
    if period_of(fields.get("time"), time_bounds(fields)) != "month":
        raise DpdmError(
            "The input is not monthly, and the stored climate is.",
            "Give monthly means, or use --method anomalies.",
        )
    return month_numbers(fields["time"], time_bounds(fields))


@dataclass(frozen=True)
class ClimateReference:
    """The climate that the input is adjusted to.

    Attributes:
        climate: The climate of the training data, or the climatology.
        reference: The reference period of the input.
        source: What the climate is, with its period.
    """

    climate: Climate
    reference: ReferencePeriod
    source: str


@dataclass(frozen=True)
class BiasAdjustment:
    """A series, adjusted to another climate.

    Attributes:
        fields: The complete series (time, lat, lon), lazy.
        method: "none", "mean", "quantile" or "anomalies".
        match: The climate and the reference period; None with "none".
        cache: Steps that were read (C, h, w), on the grid of the climate.
        means: Means of the reference period (C, h, w), by calendar month.
    """

    fields: xr.Dataset
    method: str
    match: ClimateReference | None = None
    cache: dict[int, Array] = field(default_factory=dict, repr=False)
    means: dict[int, Array] = field(default_factory=dict, repr=False)

    def step(self, index: int) -> xr.Dataset:
        """Return the adjusted fields of a step, loaded."""
        original = load_checked_fields(self.fields.isel(time=index))
        if self.match is None:
            return original
        climate = self.match.climate
        if self.method == "quantile":
            self.cache_step(index, climate.average_to_climate_grid(original))
        adjusted = climate.adjust(original, self.correction(self.match, index))
        check_climate_coverage(climate, climate.values(original), climate.values(adjusted))
        return adjusted

    def correction(self, match: ClimateReference, index: int) -> Array:
        """Return the change of a step (C, h, w), on the grid of the climate."""
        climate, month = match.climate, match.reference.month(index)
        if self.method != "quantile":
            return climate.compute_change(self.month_mean(match, month), climate.mean[month])
        reference = self.read_steps(match, match.reference.month_steps(month))
        probability = empirical_probability(
            self.read_steps(match, match.reference.ranking_steps(index)),
            self.read_step(match, index),
        )
        return climate.compute_change(
            empirical_quantile(reference, probability), climate.at(month, probability)
        )

    def month_mean(self, match: ClimateReference, month: int) -> Array:
        """Return the mean (C, h, w) of a calendar month, 0 to 11, over the reference period."""
        if month not in self.means:
            steps = self.read_steps(match, match.reference.month_steps(month))
            self.means[month] = mean_ignoring_missing(steps)
        return self.means[month]

    def shifts(self) -> list[ClimateShift]:
        """Return the difference of each variable from the climate over the reference period."""
        assert self.match is not None
        own = [self.month_mean(self.match, month) for month in range(MONTHS_PER_YEAR)]
        return compare_climates(np.stack(own), self.match.climate, units_of(self.fields))

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
            return str(self.fields.attrs.get("dpdm_adjustment", "The input is not adjusted."))
        statistic, other = (
            ("the quantiles (quantile delta mapping)", "those")
            if self.method == "quantile"
            else ("the mean", "that")
        )
        return (
            f"Adjusted, month by month, from {statistic} of the input's {self.match.reference} "
            f"to {other} of {self.match.source}."
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
    if method == "none":
        return BiasAdjustment(fields, method)
    if method not in MIN_REFERENCE_YEARS:
        known = ", ".join(f'"{each}"' for each in choices.ADJUSTMENTS)
        raise DpdmError(f'The method of adjustment is "{method}".', f"Give one of {known}.")
    refuse_adjusted(fields, "The input")
    check_climate_stored(prior, method)
    period = make_reference_period(fields, reference, MIN_REFERENCE_YEARS[method])
    climate = regrid_climate(
        grid_of(fields), prior, [n for n in prior.normaliser.names if n in fields]
    )
    check_first_step(fields, climate, period)
    source = f"the prior's training data, {climate_source(prior)}"
    adjusted = BiasAdjustment(fields, method, ClimateReference(climate, period, source))
    ends = read_training_period(prior)
    words = f"the prior's climate ({' to '.join(ends)})"
    warn_of_other_period(adjusted.shifts, period, ends, words, "the input")
    return adjusted


def fit_anomalies(
    fields: xr.Dataset,
    prior: Prior,
    grid: Grid,
    known: ReferenceClimatology | None,
    reference: Sequence[str],
) -> BiasAdjustment:
    """Return the adjustment of a series to a climatology.

    Args:
        fields: The series (time, lat, lon) on the coarse cells around the fine grid.
        prior: The prior.
        grid: The fine grid.
        known: The climatology on coarse cells, or None.
        reference: First and last month of the reference period.
    """
    refuse_adjusted(fields, "The input")
    period = find_driver_period(fields, reference, "The input")
    names = [name for name in prior.normaliser.names if name in fields]
    known = require_climatology(known, names, grid, "the input")
    climate, source = climate_on_cells(known, fields, prior), name_climatology(known)
    check_first_step(fields, climate, period)
    adjusted = BiasAdjustment(fields, "anomalies", ClimateReference(climate, period, source))
    warn_of_other_period(adjusted.shifts, period, ends_of(known), source, "the input")
    return adjusted


def check_first_step(fields: xr.Dataset, climate: Climate, period: ReferencePeriod) -> None:
    """Refuse a series with values where the climate has none, by its first step."""
    first = load_checked_fields(fields.isel(time=0))
    changed = climate.apply_change(first, climate.mean[period.month(0)])
    check_climate_coverage(climate, climate.values(first), changed)


def check_climate_stored(prior: Prior, method: str) -> None:
    """Refuse a prior without the climate that a method needs."""
    if not prior.coarse:
        raise DpdmError(
            "The prior stores no climate of its training data to adjust to.",
            "Train it on all twelve months with this dpdm, or use --method anomalies.",
        )
    if method == "quantile" and "quantiles" not in prior.coarse:
        raise DpdmError(
            "The prior stores no quantiles of its training data, which need two years of every "
            "month.",
            "Use --method mean, or train on a longer series.",
        )


def check_climate_coverage(climate: Climate, values: Array, adjusted: Array) -> None:
    """Refuse fields (C, H, W) with values where one of the two climates is missing."""
    for name, old, new in zip(climate.names, values, adjusted, strict=True):
        lost = np.isfinite(old) & ~np.isfinite(new)
        if lost.any():
            raise DpdmError(
                f"{name} has values in {lost.sum()} of {lost.size} cells where the climate that "
                "it is adjusted to, or the reference period, has none.",
                "Select a region where both have values.",
            )


def regrid_climate(grid: Grid, prior: Prior, names: list[str]) -> Climate:
    """Return the climate of a prior's training data on the grid where it is compared."""
    stored = climate_dataset(prior, names)
    stored_grid = grid_of(stored)
    if not extend_grid(stored_grid, 1, 1).covers(grid):
        raise DpdmError(
            f"The input ({describe_extent(grid)}) reaches beyond the climate of the prior's "
            f"training data ({describe_extent(stored_grid)}).",
            "Select a smaller region, or use --method anomalies.",
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
