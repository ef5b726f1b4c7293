r"""Adjust the input of a reconstruction to the climate that the prior was trained on.

A prior reads coarse fields as its training data were; a reanalysis of the nineteenth century or a
climate model has another mean and another variability. Over a **reference period** the two
climates are compared, calendar month by calendar month and cell by cell, and what separates them
is taken off every month of the input:

- ``mean`` adds a constant to a variable, or multiplies an amount by one, so that the means of the
  reference period are those of the training data. Differences between any two years, or ratios of
  amounts, pass through exactly: so does the trend.
- ``quantile`` is quantile delta mapping (`dpdm.fields.climate`). The variability becomes the
  training data's too; the change of each quantile since the reference period is kept.

The climates are compared on the input's grid, or on the grid of the stored one where the input is
finer; there the correction is lerped, and what the input knows of finer relief stays.

A month is ranked among the reference period if it is one of it, among as many years from itself on
if it lies before, and among as many years up to itself if it lies after. So no month depends on
what comes later than both itself and the reference period, and a series may grow.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError, DpdmWarning
from dpdm.evaluate.match import extent, whole
from dpdm.evaluate.metrics import Row
from dpdm.evaluate.scores import mean_of_seen
from dpdm.fields.climate import MONTHS, Climate, mean_seen, quantile, rank
from dpdm.fields.grid import (
    Array,
    Grid,
    grid_of,
    lerp_matrices,
    mean_matrices,
    remap,
    spread_mean,
    widened,
)
from dpdm.fields.reference import Indices, Reference, reference_of, span_of
from dpdm.fields.store import load
from dpdm.prior import Prior

YEARS = {"none": 0, "mean": 2, "quantile": 10}  # that a reference period needs, of each month
ROOM = 2**28  # bytes of months that are kept in memory


@dataclass(frozen=True)
class Match:
    """What the input is compared with.

    Attributes:
        climate: The climate of the training data.
        reference: The reference period of the input.
        source: What the climate is that of.
    """

    climate: Climate
    reference: Reference
    source: str


@dataclass(frozen=True)
class Adjustment:
    """A series, and what takes its climate to that of the training data.

    Attributes:
        fields: The whole series (time, lat, lon), lazy.
        method: "none", "mean" or "quantile".
        match: What it is compared with; nothing with "none".
        kept: Steps that were read (C, h, w), on the grid of the climate.
    """

    fields: xr.Dataset
    method: str
    match: Match | None = None
    kept: dict[int, Array] = field(default_factory=dict, repr=False)

    def step(self, index: int) -> xr.Dataset:
        """Return the adjusted fields of a step, loaded."""
        plain = load(self.fields.isel(time=index))
        if self.match is None:
            return plain
        climate = self.match.climate
        if self.method == "quantile":  # which ranks the step among others
            self.keep(index, climate.seen(plain))
        moved = climate.moved(plain, self.correction(self.match, index))
        check_known(climate, climate.values(plain), moved)
        arrays = {name: plain[name] for name in climate.names}
        return plain.assign(
            {n: a.copy(data=moved[i].astype(a.dtype)) for i, (n, a) in enumerate(arrays.items())}
        )

    def correction(self, match: Match, index: int) -> Array:
        """Return what a step is changed by (C, h, w), on the grid of the climate."""
        climate, month = match.climate, match.reference.month(index)
        past = self.stack(match, match.reference.steps(month))
        if self.method == "mean":
            return climate.change(mean_seen(past), climate.mean[month])
        share = rank(self.stack(match, match.reference.window(index)), self.at(match, index))
        return climate.change(quantile(past, share), climate.at(month, share))

    def stack(self, match: Match, indices: Indices) -> Array:
        """Return steps (n, C, h, w) on the grid of the climate."""
        return np.stack([self.at(match, int(index)) for index in indices])

    def at(self, match: Match, index: int) -> Array:
        """Return a step (C, h, w) on the grid of the climate, read once while there is room."""
        if index not in self.kept:
            self.keep(index, match.climate.seen(load(self.fields.isel(time=index))))
        return self.kept[index]

    def keep(self, index: int, seen: Array) -> None:
        """Keep a step, and forget the oldest ones where there is no room."""
        self.kept[index] = seen
        while len(self.kept) > max(1, ROOM // seen.nbytes):
            self.kept.pop(next(iter(self.kept)))

    def words(self) -> str:
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

    def scores(self, match: Match, after: bool) -> dict[str, Array]:
        """Return the scores (C,) of the reference period, before or after."""
        climate, weights = match.climate, match.climate.grid.weights
        parts = [self.apart(match, month, after) for month in range(MONTHS)]
        error, square, own, its = (
            np.mean([mean_of_seen(each, weights) for each in kind], axis=0)
            for kind in zip(*parts, strict=True)
        )
        spread = {"spread": np.sqrt(own / its)} if len(climate.levels) else {}
        return {"bias": error, "rmse": np.sqrt(square)} | spread

    def apart(self, match: Match, month: int, after: bool) -> tuple[Array, ...]:
        """Return a calendar month's error, its square, its variance and the training data's."""
        climate, steps = match.climate, match.reference.steps(month)
        sample = (
            np.stack([climate.seen(self.step(int(step))) for step in steps])
            if after
            else self.stack(match, steps)
        )
        mean = mean_seen(sample)
        error, variance = mean - climate.mean[month], mean_seen((sample - mean) ** 2)
        return error, error**2, variance, climate.variance(month, len(steps))


def adjustment(
    fields: xr.Dataset, prior: Prior, method: str, reference: Sequence[str]
) -> Adjustment:
    """Return what takes a series to the climate of a prior's training data.

    Args:
        fields: The whole series (time, lat, lon), lazy, as far as it is known.
        prior: The prior.
        method: "none", "mean" or "quantile".
        reference: First and last month, or year, of the reference period.
    """
    if method not in YEARS:
        known = ", ".join(f'"{each}"' for each in YEARS)
        raise DpdmError(f'[adjust] method is "{method}".', f"Give one of {known}.")
    if method == "none":
        return Adjustment(fields, method)
    check_stored(prior, method)
    period = reference_of(fields, reference, YEARS[method])
    climate = climate_at(
        grid_of(fields), prior, [n for n in prior.normaliser.names if n in fields]
    )
    first = load(fields.isel(time=0))
    there = climate.moved(first, climate.mean[period.month(0)])
    check_known(climate, climate.values(first), there)
    adjusted = Adjustment(fields, method, Match(climate, period, source(prior)))
    if apart := other_climate(period, prior):
        warnings.warn(f"{apart} {shift(adjusted)}", DpdmWarning, stacklevel=2)
    return adjusted


def other_climate(reference: Reference, prior: Prior) -> str:
    """Return the two periods, if the reference period does not meet that of the training data."""
    first, last = span_of(ends) if len(ends := training_period(prior)) == 2 else reference.span
    if reference.span[0] <= last and first <= reference.span[1]:
        return ""
    return (
        f"The reference period of [adjust], {reference}, does not overlap that of the prior's "
        f"climate, {' to '.join(ends)}: the change of the climate between them is removed with "
        "the bias."
    )


def shift(adjusted: Adjustment) -> str:
    """Return by how much the adjustment moves the means of the reference period, as a sentence."""
    match = adjusted.match
    assert match is not None
    climate = match.climate
    bias = adjusted.scores(match, False)["bias"]
    usual = mean_of_seen(climate.mean.mean(0), climate.grid.weights)
    moved = []
    for i, name in enumerate(climate.names):
        units = adjusted.fields[name].attrs.get("units", "")
        ratio = 100 * (usual[i] / (usual[i] + bias[i]) - 1)
        moved.append(
            f"{name} {ratio:+.1f}%" if climate.amounts[i] else f"{name} {-bias[i]:+.2f} {units}"
        )
    return f"On average it moves {', '.join(moved)}."


def check_stored(prior: Prior, method: str) -> None:
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


def check_known(climate: Climate, values: Array, moved: Array) -> None:
    """Refuse fields (C, H, W) with values where one of the two climates has none."""
    for name, old, new in zip(climate.names, values, moved, strict=True):
        lost = np.isfinite(old) & ~np.isfinite(new)
        if lost.any():
            raise DpdmError(
                f"{name} has values in {lost.sum()} of {lost.size} cells where the training data "
                "or the reference period has none.",
                'Cut the input to where both have some, or set method = "none" in [adjust].',
            )


def climate_at(grid: Grid, prior: Prior, names: list[str]) -> Climate:
    """Return the climate of a prior's training data where that of an input is compared to it."""
    stored = as_dataset(prior, names)
    own = grid_of(stored)
    if not widened(own, 1, 1).covers(grid):
        raise DpdmError(
            f"The input ({extent(grid)}) reaches beyond the climate of the prior's training data "
            f"({extent(own)}).",
            'Cut the input, or set method = "none" in [adjust].',
        )
    finer = np.prod(grid.spacing) < 0.999 * np.prod(own.spacing)
    part = whole(stored, grid) if finer else None
    if part is None:
        part = remap(stored, grid, lerp_matrices(own, grid), spread_mean)
    at, channels = grid_of(part), {c.name: c for c in prior.normaliser.channels}
    amounts = np.array([channels[name].transform == "log1p" for name in names])[:, None, None]
    down, up = mean_matrices(grid, at), lerp_matrices(at, grid)
    mean = part["mean"].values.astype(float)
    if "quantiles" not in part:
        return Climate(names, amounts, at, down, up, mean)
    quantiles, levels = part["quantiles"].values, prior.coarse["probabilities"].numpy()
    return Climate(names, amounts, at, down, up, mean, quantiles.astype(float), levels)


def as_dataset(prior: Prior, names: list[str]) -> xr.Dataset:
    """Return the stored means and quantiles of some variables, labelled."""
    dims = {
        "mean": ("month", "variable", "lat", "lon"),
        "quantiles": ("month", "level", "variable", "lat", "lon"),
    }
    arrays = {k: (dims[k], v.numpy()) for k, v in prior.coarse.items() if k in dims}
    grid = Grid(prior.coarse["lat"].numpy(), prior.coarse["lon"].numpy())
    stored = xr.Dataset(arrays, grid.coords() | {"variable": prior.normaliser.names})
    return stored.sel(variable=names)


def training_period(prior: Prior) -> list[str]:
    """Return the first and the last month of the climate that a prior stores."""
    training = prior.contract.training
    return training.get("climate_period") or [day[:7] for day in training.get("period", [])]


def source(prior: Prior) -> str:
    """Say what the stored climate is that of, and its digest."""
    digest = hashlib.sha256(b"".join(v.numpy().tobytes() for _, v in sorted(prior.coarse.items())))
    return f"{' to '.join(training_period(prior))} (SHA-256 {digest.hexdigest()[:12]})"
