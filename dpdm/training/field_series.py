"""What a training run works on: the series, its split, its scaling and its windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from dpdm.diffusion.denoise import Denoiser
from dpdm.errors import DpdmError
from dpdm.fields.climatology import coarse_climate_grid, compute_climate, find_covered_cells
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.regrid import average_conservative, interpolate_bilinear
from dpdm.fields.time import days_between, period_of, step_months, time_bounds, year_fractions
from dpdm.prior import Prior
from dpdm.prior.model_card import ModelCard
from dpdm.prior.networks import new_denoiser
from dpdm.prior.normaliser import Normaliser, VariableSpec, variable_spec_attrs
from dpdm.training.config import FieldRecipe
from dpdm.training.field_windows import (
    ConditionDropout,
    Index,
    TrainingSeries,
    WindowSampler,
    fit_normaliser,
    make_example,
    make_window_sampler,
    residual_climatology,
    residual_importance,
)

HeldOutWindow = tuple[Index, Index, int]


@dataclass(frozen=True)
class FieldTrainingSet:
    """Everything that one training run needs.

    Attributes:
        archive: The training series.
        normaliser: Its scaling.
        places: Windows to train on.
        steps: Time steps to train on.
        validation_windows: Windows and steps that only measure progress.
        contract: What the prior will say of itself.
        recipe: The settings.
        start: The prior whose weights and scaling it begins with, or nothing.
        score_name: What the scores are.
        climate: Climate of the coarse training series, as `Prior.coarse` holds it.
        area: None: all cells count alike.
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

    def new_network(self) -> Denoiser:
        """Return an untrained denoiser."""
        return new_denoiser(len(self.normaliser.channels), self.contract.net)

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return x (B, C, h, w) and given (B, G, h, w)."""
        archive, settings = self.archive, self.recipe.train
        drops = replace(
            ConditionDropout(*settings.drop), mirror=0.5 if self.recipe.data.mirror else 0.0
        )
        windows = [
            make_example(
                archive, self.normaliser, self.places.draw_window(rng, archive.grid.shape[1]),
                int(rng.choice(self.steps)), archive.view(rng), rng, drops,
            )
            for _ in range(settings.batch)
        ]  # fmt: skip
        x = torch.stack([w.x for w in windows]) * archive.leave_out_factor
        return x, torch.stack([w.conditioning for w in windows])

    def scores(self, student: Denoiser, device: str) -> dict[str, float]:
        """Return each variable's RMSE of the one-evaluation mean over that of the lerp."""
        if not self.validation_windows:
            return {}
        pairs = [
            squared_errors(self, student, n, device) for n in range(len(self.validation_windows))
        ]
        errors = np.sum(pairs, axis=0)
        ratios = map(float, np.sqrt(errors[0] / errors[1]))
        return dict(zip(self.normaliser.names, ratios, strict=True))

    def extra(self) -> dict[str, dict[str, Tensor]]:
        """Return the climate, and the residual climatology with its axes, if there are any."""
        monthly = self.archive.climatology
        residual = {} if monthly is None else {"fields": monthly} | grid_axes(self.archive.grid)
        return {"climatology": residual, "coarse": self.climate}


def grid_axes(grid: Grid) -> dict[str, Tensor]:
    """Return the axes of a grid."""
    return {"lat": torch.from_numpy(grid.lat), "lon": torch.from_numpy(grid.lon)}


@torch.no_grad()
def squared_errors(
    lesson: FieldTrainingSet, student: Denoiser, number: int, device: str
) -> NDArray[np.float64]:
    """Return squared errors (2, C) of mean and lerp in one held-out window, in physical units."""
    archive = lesson.archive
    rows, columns, step = lesson.validation_windows[number]
    rng = np.random.default_rng([1, number])
    window = make_example(
        archive, lesson.normaliser, (rows, columns), step, archive.view(rng), rng
    )
    zero = torch.zeros_like(window.x[None], device=device)
    sigma = torch.full((1,), lesson.contract.sigma[1], device=device)
    moments = student.moments(zero, sigma, student.features(window.conditioning[None].to(device)))
    mean, variance = (m[0].cpu() for m in moments)
    best = lesson.normaliser.expectation(
        window.base + window.scale * mean, window.scale**2 * variance
    )
    errors = [(each - window.fine).square().nanmean((1, 2)) for each in (best, window.lerp)]
    return torch.stack(errors).numpy()


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
    steps, late = split_field_steps(fine, recipe)
    archive = TrainingSeries(
        stack_time_series(fine), stack_time_series(statics)[0], grid,
        year_fractions(fine.get("time"), fine.get("time_bnds")), factors,
        None if coarse is None else interpolate_coarse(coarse, statics, grid),
        has_fixed_grid(factors, coarse),
    )  # fmt: skip
    allowed = training_cells(grid, recipe)
    raw = Normaliser(tuple(field_spec(fine[n]) for n in fine.data_vars))
    archive = add_residual_climatology(archive, raw, steps, recipe)
    normaliser = (
        fit_normaliser(archive, raw, allowed, steps) if start is None else start.normaliser
    )
    train = select_training_windows(archive, normaliser, allowed, steps, recipe)
    held = select_validation_windows(archive, recipe, train, late)
    contract = describe_field_prior(fine, archive, steps, recipe)
    usual = training_climate(fine if coarse is None else coarse, steps, recipe, factors[1], grid)
    return FieldTrainingSet(
        archive, normaliser, train, steps, held, contract, recipe, start, climate=usual
    )


def training_climate(
    fields: xr.Dataset, steps: Index, recipe: FieldRecipe, factor: int, fine: Grid
) -> dict[str, Tensor]:
    """Return the climate of the months to train on, outside the excluded box, if they are months.

    Fine fields are seen by blocks of the greatest factor, coarse ones as they are.
    """
    if period_of(fields.get("time"), time_bounds(fields)) != "month":
        return {}
    grid = grid_of(fields)
    target = coarse_climate_grid(grid, factor) if grid.is_same(fine) else grid
    months = step_months(fields["time"], time_bounds(fields))[steps]
    box = recipe.data.exclude
    hidden = cells_in_box(target, box) | find_covered_cells(cells_in_box(fine, box), fine, target)
    series = (stack_time_series(fields.isel(time=[step]))[0] for step in steps)
    found = compute_climate(series, months, grid, target, hidden)
    as_tensors = {k: torch.from_numpy(v.astype(np.float32)) for k, v in found.items()}
    return as_tensors | grid_axes(target) if found else {}


def stack_time_series(fields: xr.Dataset) -> NDArray[np.float32]:
    """Return all variables as one array (T, C, H, W); fields without time count as one step."""
    full = fields if "time" in fields.dims else fields.expand_dims("time")
    arrays = [full[n].transpose("time", "lat", "lon").values for n in full.data_vars]
    return np.stack(arrays, axis=1).astype(np.float32)


def interpolate_coarse(coarse: xr.Dataset, statics: xr.Dataset, grid: Grid) -> NDArray[np.float32]:
    """Return the user's coarse fields, and the statics coarsened to them, lerped to the grid."""
    fields = stack_time_series(interpolate_bilinear(coarse, grid))
    smooth = stack_time_series(
        interpolate_bilinear(average_conservative(statics, grid_of(coarse)), grid)
    )
    return np.concatenate([fields, np.repeat(smooth, len(fields), axis=0)], axis=1)


def has_fixed_grid(factors: tuple[int, int], coarse: xr.Dataset | None) -> bool:
    """Tell whether the coarse grid never changes."""
    return coarse is not None or factors[0] == factors[1]


def field_spec(array: xr.DataArray) -> VariableSpec:
    """Return a variable's channel, its scaling still to be fitted."""
    transform = "log1p" if array.name == "tp" else "identity"
    said = variable_spec_attrs(array.attrs)
    return VariableSpec(
        str(array.name), **said, transform=transform, mean=0.0, std=1.0, residual=()
    )


def split_field_steps(fine: xr.Dataset, recipe: FieldRecipe) -> tuple[Index, Index]:
    """Return the steps to train on, and the last ones, held out where there is no box."""
    count = fine.sizes.get("time", 1)
    if recipe.data.validation_box or count < 24:
        return np.arange(count), np.arange(0)
    cut = count - max(1, round(count * recipe.data.validation_share))
    return np.arange(cut), np.arange(cut, count)


def cells_in_box(grid: Grid, box: Sequence[float]) -> NDArray[np.bool_]:
    """Tell which cells lie in a box of west, east, south, north; none does in an empty one."""
    if not box:
        return np.zeros(grid.shape, bool)
    west, east, south, north = box
    lon = ((grid.lon - west) % 360 <= (east - west) % 360) | (east - west >= 360)
    lat = (grid.lat >= south) & (grid.lat <= north)
    return np.outer(lat, lon)


def training_cells(grid: Grid, recipe: FieldRecipe) -> NDArray[np.bool_]:
    """Tell which cells may be trained on."""
    free = ~(
        cells_in_box(grid, recipe.data.exclude) | cells_in_box(grid, recipe.data.validation_box)
    )
    if not free.any():
        raise no_window_error(recipe)
    return free


def no_window_error(recipe: FieldRecipe) -> DpdmError:
    """Return the fault of boxes that leave nothing to train on."""
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
    """Return the windows to train on, drawn by residual and by area."""
    value = residual_importance(archive, normaliser, steps) * archive.grid.weights
    found = make_window_sampler(value, allowed, recipe.net.window, archive.grid.cyclic)
    if found.cumulative_probability[-1] < 0.5:
        raise no_window_error(recipe)
    return found


def select_validation_windows(
    archive: TrainingSeries, recipe: FieldRecipe, train: WindowSampler, late: Index
) -> list[HeldOutWindow]:
    """Return windows that only measure progress: in the box, or in the last steps; at most 48."""
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


def add_residual_climatology(
    archive: TrainingSeries, normaliser: Normaliser, steps: Index, recipe: FieldRecipe
) -> TrainingSeries:
    """Return the archive with its residual climatology where the recipe wants one."""
    months = [
        -1 if archive.season[s] is None else int((archive.season[s] or 0) * 12) for s in steps
    ]
    years = min(months.count(m) for m in range(12))
    wanted = recipe.data.climatology
    if wanted == "no" or (wanted == "auto" and (years < 3 or not archive.fixed_blocks)):
        return archive
    if years < 2 or not archive.fixed_blocks:
        raise DpdmError(
            "A residual climatology needs one coarse grid and two years of every month.",
            'Give one --factor and a longer series, or set climatology = "no" under [data].',
        )
    fields = residual_climatology(archive, normaliser, steps)
    return replace(archive, climatology=fields, leave_out_factor=years / (years - 1))


def describe_field_prior(
    fine: xr.Dataset, archive: TrainingSeries, steps: Index, recipe: FieldRecipe
) -> ModelCard:
    """Return what the prior will say of itself, before it is trained."""
    net = {k: v for k, v in asdict(recipe.net).items() if k != "window"}
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
