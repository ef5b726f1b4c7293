"""The training set of fields on the Earth: the series, its split, scaling and windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from dpdm.diffusion.denoise import Denoiser
from dpdm.errors import DpdmError
from dpdm.fields.climatology import mean_ignoring_missing
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.regrid import average_conservative, interpolate_bilinear
from dpdm.fields.time import days_between, period_of, step_labels, time_bounds, year_fractions
from dpdm.fields.time_axis import select_with_bounds
from dpdm.fields.trajectories import holds_trajectories
from dpdm.prior import Prior
from dpdm.prior.model_card import ModelCard
from dpdm.prior.networks import new_denoiser
from dpdm.prior.normaliser import Normaliser
from dpdm.prior.variable_spec import VariableSpec, count_conditioning_channels, variable_spec_attrs
from dpdm.training import TrainingFiles, TrainingKind, split_steps
from dpdm.training.config import FieldRecipe, read_recipe
from dpdm.training.field_description import describe_fields
from dpdm.training.field_files import (
    check_training_factor,
    cut_to_blocks,
    describe_statics,
    load_series,
    load_statics,
    match_fields,
    training_factor,
)
from dpdm.training.field_statistics import (
    cells_in_box,
    fit_normaliser,
    fit_reference,
    grid_axes,
    residual_importance,
    stack_time_series,
    training_climate,
)
from dpdm.training.field_validation import HeldOutWindow, calibrate_spread, score_windows
from dpdm.training.field_windows import (
    ConditionDropout,
    TrainingSeries,
    WindowSampler,
    make_example,
    make_window_sampler,
)
from dpdm.training.reference import Index, PseudoYears, SeriesClimatology
from dpdm.training.starting_prior import (
    bundled_starting_prior,
    fine_tuning_recipe,
    read_starting_prior,
)

MIN_CLIMATOLOGY_YEARS = 3  # from which on a series is referred to its own climatology


@dataclass(frozen=True)
class FieldTrainingSet:
    """The training set of fields on the Earth.

    Attributes:
        archive: The training series.
        normaliser: Its scaling.
        places: Sampler of training windows.
        steps: Training steps.
        validation_windows: Validation windows: rows, columns and step.
        contract: The model card.
        recipe: The settings.
        start: The prior whose weights and scaling training begins with, or nothing.
        score_name: Name of the validation scores.
        climate: Climate of the coarse training series, as in `Prior.coarse`.
        area: None, for equal weights of all cells.
        notes: What was done with the files, for the user.
        labels: Dates of the steps, nothing for fields without time.
    """

    archive: TrainingSeries
    normaliser: Normaliser
    places: WindowSampler
    steps: Index
    validation_windows: list[HeldOutWindow]
    contract: ModelCard
    recipe: FieldRecipe
    start: Prior | None = None
    score_name: str = "RMSE over lerp"
    climate: dict[str, Tensor] = field(default_factory=dict)
    area: Tensor | None = None
    notes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    def describe(self, files: Sequence[Path]) -> Iterator[str]:
        """Yield what is learnt from what, and what was done with the files."""
        yield from describe_fields(self, files)
        yield from self.notes

    def new_network(self) -> Denoiser:
        """Return an untrained denoiser."""
        return new_denoiser(len(self.normaliser.channels), self.contract.net)

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw x (B, C, h, w) and its conditioning fields (B, G, h, w)."""
        archive, settings = self.archive, self.recipe.train
        variable, everything, season = settings.drop
        mirror = 0.5 if self.recipe.data.mirror else 0.0
        drops = ConditionDropout(variable, everything, season, settings.drop_reference, mirror)
        windows = [
            make_example(
                archive, self.normaliser, self.places.draw_window(rng, archive.grid.shape[1]),
                int(rng.choice(self.steps)), archive.view(rng), rng, drops,
            )
            for _ in range(settings.batch)
        ]  # fmt: skip
        return torch.stack([w.x for w in windows]), torch.stack([w.conditioning for w in windows])

    def scores(self, network: Denoiser, device: str) -> dict[str, float]:
        """Return the validation scores of `score_windows`."""
        return score_windows(self, network, device)

    def calibration(self, network: Denoiser, device: str) -> dict[str, float]:
        """Return the spread inflations of `calibrate_spread`."""
        return calibrate_spread(self, network, device)

    def extra(self) -> dict[str, dict[str, Tensor]]:
        """Return the climate, and the climatology with its axes, as far as known."""
        return {"reference": self.reference, "coarse": self.climate}

    @cached_property
    def reference(self) -> dict[str, Tensor]:
        """Give the climatology of the training steps, in physical units, if there is one."""
        archive, climatology = self.archive, self.archive.climatology
        if climatology is None:
            return {}
        fields = monthly_means(archive.fine, climatology)
        tensors = {"fields": fields} | grid_axes(archive.grid)
        if archive.coarse is not None:
            tensors["lerp"] = monthly_means(archive.coarse[:, : fields.shape[1]], climatology)
        return tensors


def monthly_means(fields: NDArray[np.float32], climatology: SeriesClimatology) -> Tensor:
    """Return the training mean of each calendar month (12, C, H, W)."""
    months = climatology.months[climatology.training]
    means = [mean_ignoring_missing(fields[climatology.training[months == m]]) for m in range(12)]
    return torch.from_numpy(np.stack(means).astype(np.float32))


def prepare_field_training(
    fine: xr.Dataset,
    statics: xr.Dataset,
    factors: tuple[int, int],
    recipe: FieldRecipe,
    coarse: xr.Dataset | None = None,
    start: Prior | None = None,
) -> FieldTrainingSet:
    """Return the training set of a fine series, with block means or coarse fields as input."""
    grid = grid_of(fine)
    count = fine.sizes.get("time", 1)
    end = count if recipe.data.validation_box else split_steps(count, recipe.data.validation_share)
    steps, late = np.arange(end), np.arange(end, count)
    archive = TrainingSeries(
        stack_time_series(fine), stack_time_series(statics)[0], grid,
        year_fractions(fine.get("time"), fine.get("time_bnds")), factors,
        None if coarse is None else interpolate_coarse(coarse, statics, grid),
        coarse is not None or factors[0] == factors[1],
    )  # fmt: skip
    allowed = training_cells(grid, recipe)
    raw = Normaliser(tuple(field_spec(fine[n]) for n in fine.data_vars))
    archive = add_reference(archive, raw, steps, recipe)
    normaliser = (
        fit_normaliser(archive, raw, allowed, steps) if start is None else start.normaliser
    )
    train = select_training_windows(archive, normaliser, allowed, steps, recipe)
    if archive.has_reference and not normaliser.takes_reference:
        normaliser = fit_reference(archive, normaliser, train, steps)
    held = select_validation_windows(archive, recipe, train, late)
    contract = describe_field_prior(fine, archive, steps, recipe, normaliser.takes_reference)
    usual = training_climate(fine if coarse is None else coarse, steps, recipe, factors[1], grid)
    labels = step_labels(fine["time"], time_bounds(fine)) if "time" in fine.dims else ()
    return FieldTrainingSet(
        archive, normaliser, train, steps, held, contract, recipe, start, climate=usual,
        labels=tuple(labels),
    )  # fmt: skip


def interpolate_coarse(coarse: xr.Dataset, statics: xr.Dataset, grid: Grid) -> NDArray[np.float32]:
    """Return the user's coarse fields and coarsened statics, interpolated to the grid."""
    fields = stack_time_series(interpolate_bilinear(coarse, grid))
    smooth = stack_time_series(
        interpolate_bilinear(average_conservative(statics, grid_of(coarse)), grid)
    )
    return np.concatenate([fields, np.repeat(smooth, len(fields), axis=0)], axis=1)


def field_spec(array: xr.DataArray) -> VariableSpec:
    """Return the specification of a variable, with its scaling yet to be fitted."""
    transform = "log1p" if array.name == "tp" else "identity"
    attrs = variable_spec_attrs(array.attrs)
    return VariableSpec(
        str(array.name), **attrs, transform=transform, mean=0.0, std=1.0, residual=()
    )


def training_cells(grid: Grid, recipe: FieldRecipe) -> NDArray[np.bool_]:
    """Mark the cells outside the excluded and the validation box."""
    free = ~(
        cells_in_box(grid, recipe.data.exclude) | cells_in_box(grid, recipe.data.validation_box)
    )
    if not free.any():
        raise no_window_error(recipe)
    return free


def no_window_error(recipe: FieldRecipe) -> DpdmError:
    """Return the error of boxes that leave no window to train on."""
    return DpdmError(
        f"No window of {recipe.net.window} cells fits outside the excluded boxes.",
        "Set a smaller window under [net], or smaller boxes under [data].",
    )


def select_training_windows(
    archive: TrainingSeries,
    normaliser: Normaliser,
    allowed: NDArray[np.bool_],
    steps: Index,
    recipe: FieldRecipe,
) -> WindowSampler:
    """Return the sampler of training windows, in proportion to residual and area."""
    value = residual_importance(archive, normaliser, steps) * archive.grid.weights
    found = make_window_sampler(value, allowed, recipe.net.window, archive.grid.cyclic)
    if found.cumulative_probability[-1] < 0.5:
        raise no_window_error(recipe)
    return found


def select_validation_windows(
    archive: TrainingSeries, recipe: FieldRecipe, train: WindowSampler, late: Index
) -> list[HeldOutWindow]:
    """Draw 48 validation windows, in the validation box or in the last steps."""
    rng = np.random.default_rng(recipe.train.seed)
    box, steps = recipe.data.validation_box, late
    found = train
    if box:
        inner = cells_in_box(archive.grid, box)
        found = make_window_sampler(
            archive.grid.weights, inner, recipe.net.window, archive.grid.cyclic
        )
        steps = np.arange(len(archive.fine))
        if found.cumulative_probability[-1] < 0.5:
            raise DpdmError(
                f"The validation box {list(box)} is smaller than a window.",
                f"A window is {recipe.net.window} cells wide: widen the box under [data].",
            )
    count = 48 if len(steps) else 0
    width = archive.grid.shape[1]
    return [(*found.draw_window(rng, width), int(rng.choice(steps))) for _ in range(count)]


def add_reference(
    archive: TrainingSeries, normaliser: Normaliser, steps: Index, recipe: FieldRecipe
) -> TrainingSeries:
    """Return the series with the reference states that the settings ask for.

    They are the climatology of a series of years, or pseudo-years of a single one.
    """
    wanted = recipe.data.climatology
    months = np.array([-1 if s is None else int(s * 12) for s in archive.season])
    years = min(int((months[steps] == m).sum()) for m in range(12))
    if wanted == "no" or (wanted == "auto" and years < MIN_CLIMATOLOGY_YEARS):
        return archive
    if wanted == "pseudo":
        return replace(archive, pseudo=pseudo_years(archive, normaliser, months, steps))
    if years < 2:
        raise DpdmError(
            "A climatology as the reference state needs two years of every month.",
            'Give a longer series, or set climatology = "no" under [data].',
        )
    return replace(archive, climatology=SeriesClimatology(months, steps))


def pseudo_years(
    archive: TrainingSeries, normaliser: Normaliser, months: Index, steps: Index
) -> PseudoYears:
    """Return pseudo-years of a series of twelve calendar months."""
    if sorted(months[steps]) != list(range(12)) or archive.coarse is not None:
        raise DpdmError(
            f"Pseudo-years are drawn from one climatology of 12 months, and the series has "
            f"{len(steps)} training steps.",
            'Give twelve calendar months without --coarse, or climatology = "auto" under [data].',
        )
    order = steps[np.argsort(months[steps])]
    modelled = normaliser.forward(torch.from_numpy(archive.fine[order])).numpy()
    return PseudoYears(modelled, normaliser, archive.grid.cyclic)


def describe_field_prior(
    fine: xr.Dataset, archive: TrainingSeries, steps: Index, recipe: FieldRecipe, reference: bool
) -> ModelCard:
    """Return the model card of the untrained prior, which takes reference states or not."""
    net = {k: v for k, v in asdict(recipe.net).items() if k != "window"}
    if reference:
        net["given"] = count_conditioning_channels(len(fine.data_vars), reference)
    grid, time = archive.grid, fine.get("time")
    gaps = [0.0] if time is None or time.size < 2 else days_between(time[:-1], time[1:])
    cadence = float(np.median(gaps))
    period = [] if time is None else [str(time.values[steps[i]])[:10] for i in (0, -1)]
    region = [float(e) for e in (*grid.lon_edges[[0, -1]], *grid.lat_edges[[0, -1]])]
    training: dict[str, Any] = {
        "period": period,
        "region": region,
        "excluded": list(recipe.data.exclude),
        "validation_box": list(recipe.data.validation_box),
        "source": str(fine.attrs.get("title", fine.attrs.get("source", ""))),
        "recipe": asdict(recipe),
    }
    sigma = (recipe.train.sigma[0], recipe.train.sigma[1])
    return ModelCard(
        grid.spacing,
        archive.factors,
        recipe.net.window,
        cadence,
        sigma,
        net,
        training,
        period=period_of(time, time_bounds(fine)),
    )


def build_field_set(
    sources: TrainingFiles, factor: tuple[int, int] | None, window: int | None = None
) -> FieldTrainingSet:
    """Return the training set of the fields on the Earth of some files."""
    if holds_trajectories(sources.fine[0]):
        raise DpdmError(
            f"{sources.fine[0]} holds trajectories.",
            "Give the states of a window, as in --window 5, and no --factor or --coarse.",
        )
    recipe = read_recipe(sources.config, FieldRecipe)
    fine, found, notes = load_series(sources.fine, sources)
    coarse = load_series(sources.coarse, sources)[0] if sources.coarse else None
    fine, coarse = match_fields(fine, coarse)
    factor = factor or training_factor(fine, coarse)
    check_training_factor(factor, grid_of(fine))
    fine, cut = cut_to_blocks(fine, factor) if coarse is None else (fine, [])
    ground = load_statics(sources, grid_of(fine), found)
    bundled = bundled_starting_prior(
        sources, grid_of(fine), list(map(str, fine.data_vars)), factor, recipe
    )
    start = bundled
    if bundled is not None:
        recipe = fine_tuning_recipe(recipe, bundled, fine.sizes.get("time", 1), grid_of(fine))
    elif sources.start is not None:
        start = read_starting_prior(sources.start, fine, recipe)
    if start is not None:
        fine, coarse = match_fields(select_with_bounds(fine, start.normaliser.names), coarse)
    task = prepare_field_training(fine, ground, factor, recipe, coarse, start)
    return replace(task, notes=(describe_statics(sources, found), *notes, *cut))


FIELDS = TrainingKind(lambda files, window: window is None, build_field_set)
