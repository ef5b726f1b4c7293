r"""Forecast trajectories with a surrogate model that is linear in states and their features.

A window of states is advanced by some model steps with

.. math:: x_{t + \ell} = x_t + W \, [1, x_t, h(x_t)],

which may be iterated. W is the ridge regression of the increments, in closed form; its penalty is
chosen on validation data. In tuning, the layers are trained with the head, in the training loop.

References:
    Finn et al. (2024), https://doi.org/10.5194/npg-31-409-2024, sections 3.2 and 4.2.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from dpdm.diffusion.denoise import Denoiser
from dpdm.errors import DpdmError
from dpdm.fields.trajectories import COMPONENT_DIMS, check_times, trajectory_cadence
from dpdm.fields.write import Writer
from dpdm.paths import check_output
from dpdm.prior import Prior, find_prior, load_prior
from dpdm.prior.model_card import ModelCard
from dpdm.prior.normaliser import Normaliser
from dpdm.states.ensemble import empty_variable, ensemble_provenance, finish_layout
from dpdm.states.features import FeatureOptions, window_features
from dpdm.states.options import EnsembleOptions
from dpdm.states.trajectories import TrajectorySpace
from dpdm.states.trajectory_domain import open_trajectory_file
from dpdm.tensor_files import read_prefixed_tensors
from dpdm.training import split_trajectories
from dpdm.training.config import PerceptronRecipe, PerceptronTrainSettings
from dpdm.training.loop import run_training

RIDGE_PENALTIES = tuple(10.0**n for n in range(-10, 1))  # over the mean variance of predictors
MAX_FITTING_PAIRS = 200_000


@dataclass(frozen=True)
class LeadPairs:
    """Normalised windows and those a lead later, (B, w C)."""

    inputs: Tensor
    targets: Tensor


class Surrogate(Denoiser):
    """A linear forecast from the states and the features of a denoiser.

    Args:
        prior: The prior, whose layers are copied.
        options: The layers, and their noise level.
        values: Number of values w C of a window.
    """

    size: Tensor
    mean: Tensor

    def __init__(self, prior: Prior, options: FeatureOptions, values: int) -> None:
        super().__init__(deepcopy(prior.denoiser.backbone), prior.denoiser.sigma_data)
        self.prior = replace(prior, denoiser=self)
        self.options, self.values = options, values
        count = 1 + values + self.compute_features(torch.zeros(1, values)).shape[1]
        self.register_buffer("size", torch.ones(values))
        self.register_buffer("mean", torch.zeros(count - 1))
        self.head = nn.Linear(count - 1, values)

    def compute_features(self, x: Tensor) -> Tensor:
        """Return the features of windows (B, w C)."""
        windows = x.reshape(len(x), self.prior.contract.states, -1)
        return window_features(self.prior, windows, self.options, str(x.device))

    def predictors(self, x: Tensor) -> Tensor:
        """Return the predictors of windows (B, w C)."""
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
def fit_head(surrogate: Surrogate, fit: LeadPairs, validation: LeadPairs) -> float:
    """Fit the head by ridge regression, and return its RMSE on validation pairs.

    The penalty, relative to the mean variance of the predictors, minimises that RMSE.
    """
    phi = surrogate.predictors(fit.inputs).double()
    increment = (fit.targets - fit.inputs).double()
    size, mean, centre = increment.std(0), phi.mean(0), increment.mean(0)
    phi = phi - mean
    gram, moment = phi.T @ phi / len(phi), phi.T @ ((increment - centre) / size) / len(phi)
    eye = torch.eye(len(gram), dtype=gram.dtype) * gram.diagonal().mean()
    surrogate.size.copy_(size)
    surrogate.mean.copy_(mean)
    surrogate.head.bias.copy_(centre / size)
    candidates = []
    for penalty in RIDGE_PENALTIES:
        weight = torch.linalg.solve(gram + penalty * eye, moment).T
        surrogate.head.weight.copy_(weight)
        rmse = pair_rmse(surrogate(validation.inputs), validation.targets)
        candidates.append((rmse, weight))
    best, weight = min(candidates, key=lambda pair: pair[0])
    surrogate.head.weight.copy_(weight)
    return best


def pair_rmse(one: Tensor, other: Tensor) -> float:
    """Return the root mean square difference."""
    return float((one - other).square().mean().sqrt())


@dataclass(frozen=True)
class SurrogateTask:
    """Task of the training loop: tune a surrogate."""

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
        """Return a copy of the surrogate with trainable layers."""
        return deepcopy(self.surrogate).requires_grad_()

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return windows and later windows, concatenated (B, 2 w C), without conditioning."""
        rows = torch.from_numpy(
            rng.integers(0, len(self.train_pairs.inputs), self.recipe.train.batch)
        )
        pairs = self.train_pairs
        return torch.cat([pairs.inputs[rows], pairs.targets[rows]], dim=1), torch.zeros(1, 0)

    @torch.no_grad()
    def scores(self, student: Denoiser, device: str) -> dict[str, float]:
        """Return the RMSE on validation pairs over that of persistence."""
        pairs = self.validation_pairs
        now, later = pairs.inputs.to(device), pairs.targets.to(device)
        return {"one step": pair_rmse(student(now), later) / pair_rmse(now, later)}

    def calibration(self, network: Any, device: str) -> dict[str, float]:
        """Return nothing: a surrogate has no spread."""
        return {}

    def extra(self) -> dict[str, dict[str, Tensor]]:
        """Return no further tensors."""
        return self.stored_tensors


def tune_surrogate(
    surrogate: Surrogate,
    training: LeadPairs,
    validation: LeadPairs,
    prior: Prior,
    minutes: float = 0.0,
    steps: int = 1_000_000,
    rate: float = 1e-4,
) -> Surrogate:
    """Return the surrogate after tuning its layers and head for some minutes or steps.

    If tuning makes it worse on validation pairs, the original is returned.
    """
    settings = PerceptronTrainSettings(
        steps=steps, batch=256, learning_rate=rate, weight_decay=0.0
    )
    recipe = PerceptronRecipe(train=settings)
    task = SurrogateTask(surrogate, training, validation, recipe, prior.normaliser, prior.contract)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "surrogate.safetensors"
        run_training(task, out, minutes)
        weights = read_prefixed_tensors(out)
    tuned = task.new_network().requires_grad_(False)
    tuned.load_state_dict(weights)
    assert isinstance(tuned, Surrogate)
    return min(tuned, surrogate, key=lambda s: pair_rmse(s(validation.inputs), validation.targets))


def select_lead_pairs(
    x: Tensor, width: int, lead: int, limit: int = MAX_FITTING_PAIRS
) -> LeadPairs:
    """Return evenly spaced windows of trajectories (N, T, C), and those a lead later."""
    windows = x.unfold(1, width, 1).movedim(-1, 2).flatten(2)
    now, later = (part.flatten(0, 1) for part in (windows[:, :-lead], windows[:, lead:]))
    rows = torch.arange(0, len(now), -(-len(now) // limit))
    return LeadPairs(now[rows].contiguous(), later[rows].contiguous())


@torch.no_grad()
def roll_out(surrogate: Surrogate, x: Tensor, steps: int) -> Iterator[Tensor]:
    """Yield windows (B, w C), and their forecasts at multiples of the lead."""
    yield x
    for _ in range(steps):
        x = surrogate(x)
        yield x


VALID_RMSE = 0.4  # standard deviations, above which a forecast is not valid


@dataclass(frozen=True)
class ForecastOptions:
    """Options of a forecast.

    Attributes:
        lead: Model steps of one step of the surrogate.
        steps: Number of steps of the surrogate.
        feature_options: The layers, and their noise level.
        minutes: Minutes of tuning the layers; 0 for none.
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
    forecast_options: ForecastOptions = ForecastOptions(),
    options: EnsembleOptions = EnsembleOptions(),
    overwrite: bool = False,
) -> list[tuple[float, float, float]]:
    """Write forecasts from the last states of a file's trajectories.

    Returns:
        Lead time, and RMSE of surrogate and of persistence, in standard deviations, on test
        trajectories of the training file.
    """
    path = find_prior(prior)
    check_output(out, [train, state, path], overwrite)
    loaded = load_prior(path)
    training, start = (read_component_windows(p, loaded, options) for p in (train, state))
    check_times(training.file_axes, train)
    check_lead(training, forecast_options, train)
    step = trajectory_cadence(training.file_axes) * forecast_options.lead
    surrogate, test = train_surrogate(loaded, training, forecast_options, train)
    skill = verify_surrogate(surrogate, test, forecast_options, step)
    width = loaded.contract.states
    last = torch.stack([x[-width:].flatten() for x in normalise_trajectories(start)])
    states = torch.stack([*roll_out(surrogate, last, forecast_options.steps)], dim=1)
    if not bool(states.isfinite().all()):
        raise DpdmError(
            f"The forecast diverges within {forecast_options.steps} steps.",
            "Use fewer --steps, another --lead, or more training data.",
        )
    settings = forecast_settings(forecast_options)
    provenance = ensemble_provenance(path, [train, state], settings)
    write_forecast(start, states, out, step, provenance, overwrite)
    return skill


def read_component_windows(path: Path, prior: Prior, options: EnsembleOptions) -> TrajectorySpace:
    """Return trajectories of a few components."""
    if not prior.contract.states or prior.contract.plane:
        raise DpdmError(
            f"A surrogate is of trajectories of a few components, and the prior is of fields: "
            f"{', '.join(prior.normaliser.names)}.",
            "For fields, regress on the output of dpdm embed; docs/embed.md has an example.",
        )
    return open_trajectory_file(path, prior, options)


def normalise_trajectories(space: TrajectorySpace) -> list[Tensor]:
    """Return all trajectories, normalised (T, C)."""
    return [space.normalise(space.values(step), step) for step in space.steps]


def check_lead(training: TrajectorySpace, options: ForecastOptions, path: Path) -> None:
    """Refuse a lead longer than the trajectories."""
    length, width = training.extent[0], training.prior.contract.states
    if not 1 <= options.lead <= length - width:
        raise DpdmError(
            f"A lead of {options.lead} steps does not fit into the trajectories of {path}, which "
            f"have {length} states.",
            f"Give --lead from 1 to {length - width}.",
        )


def train_surrogate(
    prior: Prior, training: TrajectorySpace, options: ForecastOptions, path: Path
) -> tuple[Surrogate, Tensor]:
    """Return the surrogate, and normalised test trajectories (N, T, C)."""
    fitted, validated = split_trajectories(training.file_axes.sizes["trajectory"], path)
    x = torch.stack(normalise_trajectories(training))
    width = prior.contract.states
    fit, validation = (
        select_lead_pairs(part, width, options.lead) for part in (x[:fitted], x[fitted:validated])
    )
    surrogate = Surrogate(prior, options.feature_options, fit.inputs.shape[1]).requires_grad_(
        False
    )
    fit_head(surrogate, fit, validation)
    if options.minutes:
        surrogate = tune_surrogate(surrogate, fit, validation, prior, options.minutes)
    return surrogate, x[validated:]


def verify_surrogate(
    surrogate: Surrogate, test: Tensor, options: ForecastOptions, step: float
) -> list[tuple[float, float, float]]:
    """Return lead time and the RMSE of surrogate and persistence on test trajectories.

    ``step`` is the model time of a step of the surrogate.
    """
    width = surrogate.prior.contract.states
    windows = test.unfold(1, width, 1).movedim(-1, 2).flatten(2)
    count = min(options.steps, (windows.shape[1] - 1) // options.lead)
    starts = range(0, windows.shape[1] - count * options.lead, max(1, windows.shape[1] // 50))
    first = windows[:, list(starts)].flatten(0, 1)
    out = []
    for k, x in enumerate(roll_out(surrogate, first, count)):
        true = windows[:, [s + k * options.lead for s in starts]].flatten(0, 1)
        out.append((k * step, pair_rmse(x, true), pair_rmse(first, true)))
    return out[1:]


def valid_lead(skill: Sequence[tuple[float, float, float]]) -> float:
    """Return the lead time up to which the RMSE is below `VALID_RMSE` standard deviations.

    Example:
        >>> valid_lead([(0.1, 0.2, 1.0), (0.2, 0.3, 1.0), (0.3, 0.5, 1.0)])
        0.2
    """
    valid = 0.0
    for time, error, _ in skill:
        if not error < VALID_RMSE:
            break
        valid = time
    return valid


def write_forecast(
    start: TrajectorySpace,
    states: Tensor,
    out: Path,
    step: float,
    provenance: dict[str, str],
    overwrite: bool,
) -> None:
    """Write the last states of normalised windows (N, S, w C), a step apart, as trajectories."""
    values = start.unscale(states[..., -len(start.names) :].double()).movedim(1, 2)
    axes = start.file_axes
    first_time = float(axes["time"].values[-1]) if axes["time"].dtype.kind in "fiu" else 0.0
    time_attrs = {"long_name": "model time", "units": "1"} | axes["time"].attrs
    time = xr.DataArray(
        first_time + step * np.arange(states.shape[1]), dims="time", attrs=time_attrs
    )
    name, attrs = next(iter(start.variables_written.items()))
    coords = {"trajectory": axes["trajectory"], "time": time}
    coords |= {"component": axes["component"]} if "component" in axes.coords else {}
    sizes = dict(zip(COMPONENT_DIMS, values.shape, strict=True))
    empty = empty_variable(sizes, (1, *values.shape[1:]), attrs)
    title = f"Forecast of {provenance['steps']} steps by a surrogate on the features of a denoiser"
    layout = xr.Dataset({name: empty}, coords, start.attrs)
    template = finish_layout(layout, title, provenance, start.options.history)
    with Writer(out, template, overwrite) as writer:
        filled = values.numpy().astype(np.float32)
        writer.write(template.assign({name: (COMPONENT_DIMS, filled)}))


def forecast_settings(options: ForecastOptions) -> dict[str, object]:
    """Return the settings of the forecast for its provenance."""
    return {
        "lead": options.lead, "steps": options.steps,
        "sigma": f"{options.feature_options.sigma:g}",
        "layer": ",".join(options.feature_options.layers),
        "tune_minutes": f"{options.minutes:g}",
    }  # fmt: skip


def format_skill(skill: Sequence[tuple[float, float, float]]) -> str:
    """Return the skill at doubling lead times, and the valid lead time, as text."""
    rows = [f"{'lead time':>9}  {'RMSE':>6}  persistence"]
    shown = [n - 1 for n in (1, 2, 4, 8, 16, 32, 64, 128) if n <= len(skill)]
    rows += [f"{t:9.4g}  {e:6.3f}  {p:11.3f}" for t, e, p in (skill[n] for n in shown)]
    rows.append(
        f"RMSE in standard deviations, on test trajectories; below {VALID_RMSE:g} "
        f"until {valid_lead(skill):g}."
    )
    return "\n".join(rows)
