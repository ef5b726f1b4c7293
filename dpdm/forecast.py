r"""Trajectories in, a surrogate of their model on the denoiser's features out, and its forecast.

A surrogate of a model: what is linear in a state, and in a denoiser's features of it.

A window of states is taken some model steps ahead by

.. math:: x_{t + \ell} = x_t + W \, [1, x_t, h(x_t)],

which may be iterated. W is the ridge regression of the increments, in closed form; its penalty is
chosen where nothing was fitted. Tuned, the layers learn beside the head, in the one training loop.

References:
    Finn et al. (2024), https://doi.org/10.5194/npg-31-409-2024, sections 3.2 and 4.2.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from dpdm.diffusion.denoise import Denoiser
from dpdm.errors import DpdmError
from dpdm.fields.trajectories import COMPONENT_DIMS, check_times, trajectory_cadence
from dpdm.fields.write import Writer, check_output
from dpdm.prior import Prior, find_prior, load_prior
from dpdm.prior.model_card import ModelCard
from dpdm.prior.normaliser import Normaliser
from dpdm.states import refuse_field_options
from dpdm.states.ensemble import (
    EnsembleOptions,
    empty_variable,
    ensemble_provenance,
    finish_layout,
)
from dpdm.states.features import FeatureOptions, window_features
from dpdm.states.field_domain import FieldConditioning
from dpdm.states.trajectories import TrajectorySpace
from dpdm.states.trajectory_domain import open_trajectory_file
from dpdm.tensor_files import read_prefixed_tensors
from dpdm.training import split_trajectories
from dpdm.training.config import PerceptronRecipe, PerceptronTrainSettings
from dpdm.training.loop import run_training

RIDGE_PENALTIES = tuple(
    10.0**n for n in range(-10, 1)
)  # shares of the mean variance of a predictor
MAX_FITTING_PAIRS = 200_000  # pairs to fit by


@dataclass(frozen=True)
class LeadPairs:
    """Windows now, and a lead later: normalised, (B, w C)."""

    inputs: Tensor
    targets: Tensor


class Surrogate(Denoiser):
    """Take windows ahead by the features of a denoiser, and a linear head.

    Args:
        prior: Whose denoiser; its layers are copied.
        look: The layers, and their noise level.
        values: Values w C of a window.
    """

    size: Tensor
    mean: Tensor

    def __init__(self, prior: Prior, look: FeatureOptions, values: int) -> None:
        super().__init__(deepcopy(prior.denoiser.backbone), prior.denoiser.sigma_data)
        self.prior = replace(prior, denoiser=self)
        self.look, self.values = look, values
        count = 1 + values + self.compute_features(torch.zeros(1, values)).shape[1]
        self.register_buffer("size", torch.ones(values))
        self.register_buffer("mean", torch.zeros(count - 1))
        self.head = nn.Linear(count - 1, values)

    def compute_features(self, x: Tensor) -> Tensor:
        """Return the features of windows (B, w C)."""
        windows = x.reshape(len(x), self.prior.contract.states, -1)
        return window_features(self.prior, windows, self.look, str(x.device))

    def predictors(self, x: Tensor) -> Tensor:
        """Return what the head sees of windows (B, w C)."""
        return torch.cat([x, self.compute_features(x)], dim=1)

    def forward(self, x: Tensor, *unused: Tensor) -> Tensor:
        """Return windows (B, w C) a lead later."""
        out: Tensor = x + self.head(self.predictors(x) - self.mean) * self.size
        return out

    def loss(
        self, x: Tensor, sigma: Tensor, noise: Tensor, given: Tensor, area: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the squared error of the increments over their variance; no likelihood."""
        now, then = x.chunk(2, dim=1)
        error = ((self(now) - then) / self.size).square().mean(1)
        return error, torch.zeros_like(error)


@torch.no_grad()
def fit_head(surrogate: Surrogate, taught: LeadPairs, held: LeadPairs) -> float:
    """Set the head by ridge regression, and return its RMSE on pairs that were not fitted.

    The penalty is a share of the mean variance of the predictors, chosen by that RMSE.
    """
    phi, increment = (
        surrogate.predictors(taught.inputs).double(),
        (taught.targets - taught.inputs).double(),
    )
    size, mean, centre = increment.std(0), phi.mean(0), increment.mean(0)
    phi = phi - mean
    gram, moment = phi.T @ phi / len(phi), phi.T @ ((increment - centre) / size) / len(phi)
    eye = torch.eye(len(gram), dtype=gram.dtype) * gram.diagonal().mean()
    surrogate.size.copy_(size)
    surrogate.mean.copy_(mean)
    surrogate.head.bias.copy_(centre / size)
    found = []
    for penalty in RIDGE_PENALTIES:
        weight = torch.linalg.solve(gram + penalty * eye, moment).T
        surrogate.head.weight.copy_(weight)
        found.append((pair_rmse(surrogate(held.inputs), held.targets), weight))
    best, weight = min(found, key=lambda pair: pair[0])
    surrogate.head.weight.copy_(weight)
    return best


def pair_rmse(one: Tensor, other: Tensor) -> float:
    """Return the root of the mean square of differences."""
    return float((one - other).square().mean().sqrt())


@dataclass(frozen=True)
class SurrogateTask:
    """What the training loop is to teach a surrogate."""

    surrogate: Surrogate
    train_pairs: LeadPairs
    validation_pairs: LeadPairs
    recipe: PerceptronRecipe
    normaliser: Normaliser
    contract: ModelCard
    start: Prior | None = None
    area: Tensor | None = None
    score_name: str = "RMSE over persistence"
    stored_tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def new_network(self) -> Denoiser:
        """Return the surrogate with frozen layers, to begin with."""
        return deepcopy(self.surrogate).requires_grad_()

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return windows now and then, side by side (B, 2 w C), and nothing given."""
        rows = torch.from_numpy(
            rng.integers(0, len(self.train_pairs.inputs), self.recipe.train.batch)
        )
        return torch.cat(
            [self.train_pairs.inputs[rows], self.train_pairs.targets[rows]], dim=1
        ), torch.zeros(1, 0)

    @torch.no_grad()
    def scores(self, student: Denoiser, device: str) -> dict[str, float]:
        """Return the RMSE on what is held out, over that of persistence."""
        now, then = (
            self.validation_pairs.inputs.to(device),
            self.validation_pairs.targets.to(device),
        )
        return {"one step": pair_rmse(student(now), then) / pair_rmse(now, then)}

    def extra(self) -> dict[str, dict[str, Tensor]]:
        """Return nothing: there are no further tensors."""
        return self.stored_tensors


def tune_surrogate(
    surrogate: Surrogate,
    taught: LeadPairs,
    held: LeadPairs,
    prior: Prior,
    minutes: float = 0.0,
    steps: int = 1_000_000,
    rate: float = 1e-4,
) -> Surrogate:
    """Return the surrogate with its layers and head taught, for so many minutes or steps.

    It is returned as it was where the tuned one is worse on pairs that were not taught.
    """
    fit = PerceptronTrainSettings(steps=steps, batch=256, learning_rate=rate, weight_decay=0.0)
    lesson = SurrogateTask(
        surrogate, taught, held, PerceptronRecipe(train=fit), prior.normaliser, prior.contract
    )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "surrogate.safetensors"
        run_training(lesson, out, minutes)
        weights = read_prefixed_tensors(out)
    moved = lesson.new_network().requires_grad_(False)
    moved.load_state_dict(weights)
    assert isinstance(moved, Surrogate)
    return min(moved, surrogate, key=lambda known: pair_rmse(known(held.inputs), held.targets))


def select_lead_pairs(
    x: Tensor, width: int, lead: int, most: int = MAX_FITTING_PAIRS
) -> LeadPairs:
    """Return evenly spaced windows of trajectories (N, T, C), and those a lead later."""
    windows = x.unfold(1, width, 1).movedim(-1, 2).flatten(2)
    now, then = (part.flatten(0, 1) for part in (windows[:, :-lead], windows[:, lead:]))
    rows = torch.arange(0, len(now), -(-len(now) // most))
    return LeadPairs(now[rows].contiguous(), then[rows].contiguous())


@torch.no_grad()
def roll_out(surrogate: Surrogate, x: Tensor, steps: int) -> Iterator[Tensor]:
    """Yield windows (B, w C), and what follows a lead later, and a lead later..."""
    yield x
    for _ in range(steps):
        x = surrogate(x)
        yield x


VALID_RMSE = 0.4  # standard deviations, at which a forecast is no longer valid


@dataclass(frozen=True)
class ForecastOptions:
    """What is to be forecast, and by what.

    Attributes:
        lead: Model steps of one step of the surrogate.
        steps: Steps of the surrogate.
        feature_options: The layers, and their noise level.
        minutes: Minutes of tuning the layers; 0 leaves them frozen.
    """

    lead: int = 10
    steps: int = 100
    feature_options: FeatureOptions = field(default_factory=lambda: FeatureOptions(0.1))
    minutes: float = 0.0


def forecast(
    train: Path,
    state: Path,
    out: Path,
    prior: str,
    ahead: ForecastOptions = ForecastOptions(),
    options: EnsembleOptions = EnsembleOptions(),
    overwrite: bool = False,
) -> list[tuple[float, float, float]]:
    """Write what follows the last states of a file's trajectories.

    Returns:
        Lead time, and RMSE of surrogate and of persistence, in standard deviations, on the
        trajectories of the training file that were not looked at.
    """
    path = find_prior(prior)
    check_output(out, [train, state, path], overwrite)
    known = load_prior(path)
    lessons, begun = (read_component_windows(p, known, options) for p in (train, state))
    check_times(lessons.like, train)
    check_lead(lessons, ahead, train)
    step = trajectory_cadence(lessons.like) * ahead.lead
    surrogate, test = train_surrogate(known, lessons, ahead, train)
    skill = judge(surrogate, test, ahead, step)
    width = known.contract.states
    last = torch.stack([x[-width:].flatten() for x in normalise_trajectories(begun)])
    states = torch.stack([*roll_out(surrogate, last, ahead.steps)], dim=1)
    if not bool(states.isfinite().all()):
        raise DpdmError(
            f"The forecast leaves all bounds within {ahead.steps} steps.",
            "Give fewer --steps, another --lead, or more to train on.",
        )
    made = ensemble_provenance(path, [train, state], forecast_settings(ahead))
    write_forecast(begun, states, out, step, made, overwrite)
    return skill


def read_component_windows(path: Path, prior: Prior, options: EnsembleOptions) -> TrajectorySpace:
    """Return trajectories of a few components."""
    if not prior.contract.states or prior.contract.plane:
        raise DpdmError(
            f"A surrogate is of trajectories of a few components, and the prior knows fields: "
            f"{', '.join(prior.normaliser.names)}.",
            "For fields, regress on what dpdm embed writes; docs/embed.md has an example.",
        )
    refuse_field_options(options, FieldConditioning(), bool(options.missing))
    return open_trajectory_file(path, prior, options)


def normalise_trajectories(space: TrajectorySpace) -> list[Tensor]:
    """Return all trajectories, normalised (T, C)."""
    return [space.normalise(space.values(step), step) for step in space.steps]


def check_lead(lessons: TrajectorySpace, ahead: ForecastOptions, path: Path) -> None:
    """Refuse a lead that the trajectories are too short for."""
    length, width = lessons.extent[0], lessons.prior.contract.states
    if not 1 <= ahead.lead <= length - width:
        raise DpdmError(
            f"A lead of {ahead.lead} steps does not fit into the trajectories of {path}, which "
            f"have {length} states.",
            f"Give --lead from 1 to {length - width}.",
        )


def train_surrogate(
    prior: Prior, lessons: TrajectorySpace, ahead: ForecastOptions, path: Path
) -> tuple[Surrogate, Tensor]:
    """Return the surrogate, and the normalised trajectories that it has not seen (N, T, C)."""
    taught, last = split_trajectories(lessons.like.sizes["trajectory"], path)
    x = torch.stack(normalise_trajectories(lessons))
    width = prior.contract.states
    fit, hold = (
        select_lead_pairs(part, width, ahead.lead) for part in (x[:taught], x[taught:last])
    )
    surrogate = Surrogate(prior, ahead.feature_options, fit.inputs.shape[1]).requires_grad_(False)
    fit_head(surrogate, fit, hold)
    if ahead.minutes:
        surrogate = tune_surrogate(surrogate, fit, hold, prior, ahead.minutes)
    return surrogate, x[last:]


def judge(
    surrogate: Surrogate, test: Tensor, ahead: ForecastOptions, step: float
) -> list[tuple[float, float, float]]:
    """Return lead time and the RMSE of surrogate and persistence, as far as the test reaches.

    ``step`` is the time that a step of the surrogate takes.
    """
    width = surrogate.prior.contract.states
    windows = test.unfold(1, width, 1).movedim(-1, 2).flatten(2)
    reach = min(ahead.steps, (windows.shape[1] - 1) // ahead.lead)
    starts = range(0, windows.shape[1] - reach * ahead.lead, max(1, windows.shape[1] // 50))
    first = windows[:, list(starts)].flatten(0, 1)
    out = []
    for k, x in enumerate(roll_out(surrogate, first, reach)):
        true = windows[:, [s + k * ahead.lead for s in starts]].flatten(0, 1)
        out.append((k * step, pair_rmse(x, true), pair_rmse(first, true)))
    return out[1:]


def valid_lead(skill: Sequence[tuple[float, float, float]]) -> float:
    """Return the time until which the RMSE stays below `VALID` standard deviations.

    Example:
        >>> valid([(0.1, 0.2, 1.0), (0.2, 0.3, 1.0), (0.3, 0.5, 1.0)])
        0.2
    """
    good = 0.0
    for time, error, _ in skill:
        if not error < VALID_RMSE:
            break
        good = time
    return good


def write_forecast(
    begun: TrajectorySpace,
    states: Tensor,
    out: Path,
    step: float,
    made: dict[str, str],
    overwrite: bool,
) -> None:
    """Write the last states of normalised windows (N, S, w C), a step apart, as trajectories."""
    values = begun.unscale(states[..., -len(begun.names) :].double()).movedim(1, 2)
    like = begun.like
    begin = float(like["time"].values[-1]) if like["time"].dtype.kind in "fiu" else 0.0
    words = {"long_name": "model time", "units": "1"} | like["time"].attrs
    time = xr.DataArray(begin + step * np.arange(states.shape[1]), dims="time", attrs=words)
    name, attrs = next(iter(begun.variables_written.items()))
    coords = {"trajectory": like["trajectory"], "time": time}
    coords |= {"component": like["component"]} if "component" in like.coords else {}
    sizes = dict(zip(COMPONENT_DIMS, values.shape, strict=True))
    empty = empty_variable(sizes, (1, *values.shape[1:]), attrs)
    title = f"Forecast of {made['steps']} steps by a surrogate on the features of a denoiser"
    bare = xr.Dataset({name: empty}, coords, begun.attrs)
    template = finish_layout(bare, title, made, begun.options.history)
    with Writer(out, template, overwrite) as writer:
        filled = values.numpy().astype(np.float32)
        writer.write(template.assign({name: (COMPONENT_DIMS, filled)}))


def forecast_settings(ahead: ForecastOptions) -> dict[str, object]:
    """Return what decides the forecast beside the files."""
    return {
        "lead": ahead.lead, "steps": ahead.steps, "sigma": f"{ahead.feature_options.sigma:g}",
        "layer": ",".join(ahead.feature_options.layers), "tune_minutes": f"{ahead.minutes:g}",
    }  # fmt: skip


def format_skill(skill: Sequence[tuple[float, float, float]]) -> str:
    """Return the skill at leads that double, and the valid time."""
    rows = [f"{'lead time':>9}  {'RMSE':>6}  persistence"]
    shown = [n - 1 for n in (1, 2, 4, 8, 16, 32, 64, 128) if n <= len(skill)]
    rows += [f"{t:9.4g}  {e:6.3f}  {p:11.3f}" for t, e, p in (skill[n] for n in shown)]
    rows.append(
        f"RMSE in standard deviations, on trajectories that were not looked at; below "
        f"{VALID_RMSE:g} "
        f"until {valid_lead(skill):g}."
    )
    return "\n".join(rows)
