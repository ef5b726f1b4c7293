"""What trajectories of a dynamical system teach: short windows of successive states.

A trajectory is x (T, C) where a state is a few components, or (T, C, H, W) where it is fields on a
plane. The first eight tenths of the trajectories are learnt from, the next tenth measures
progress, and the last is never looked at: it is there for an honest test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from dpdm.diffusion.denoise import Denoiser
from dpdm.errors import DpdmError
from dpdm.fields.trajectories import (
    check_times,
    is_component_state,
    plane_spacing,
    stack_trajectories,
    trajectory_cadence,
)
from dpdm.nets.mlp import MLP
from dpdm.prior import Prior, plane_coordinates
from dpdm.prior.model_card import SAMPLING_BY_KIND, ModelCard
from dpdm.prior.networks import new_denoiser
from dpdm.prior.normaliser import Normaliser, VariableSpec, variable_spec_attrs
from dpdm.system import check_field_memory
from dpdm.training.config import PerceptronRecipe, PlaneRecipe

VALIDATION_SIGMAS = (0.01, 0.1, 1.0)


@dataclass(frozen=True)
class TrajectoryTrainingSet:
    """What one training run on trajectories needs.

    Attributes:
        train_states: Normalised trajectories to learn from (N, T, C, ...), float32.
        validation_states: Normalised trajectories that only measure progress.
        normaliser: The scaling of the components or variables.
        contract: What the prior will say of itself.
        recipe: The settings.
        start: The prior whose weights and scaling it begins with, or nothing.
        score_name: What the scores are.
        area: None: all cells count alike.
    """

    train_states: Tensor
    validation_states: Tensor
    normaliser: Normaliser
    contract: ModelCard
    recipe: PerceptronRecipe | PlaneRecipe
    start: Prior | None = None
    score_name: str = "RMSE over noise"
    area: Tensor | None = None

    def new_network(self) -> Denoiser:
        """Return an untrained denoiser, which knows the covariance of the windows."""
        values = len(self.normaliser.channels) * self.contract.states
        denoiser = new_denoiser(values, self.contract.net)
        if isinstance(denoiser.backbone, MLP):
            denoiser.backbone.initialise(
                window_covariance(self.train_states, self.contract.states)
            )
        return denoiser

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return windows (B, w C, ...), drawn at random, and where their cells lie."""
        return self.windows(
            self.train_states, self.recipe.train.batch, rng
        ), self.window_conditioning

    @property
    def window_conditioning(self) -> Tensor:
        """Give where the cells of a state lie (1, G, H, W), nothing for components."""
        return plane_coordinates(self.contract.plane)[None]

    def windows(self, source: Tensor, count: int, rng: np.random.Generator) -> Tensor:
        """Return windows (count, w C, ...) of trajectories, drawn at random."""
        starts = source.shape[1] - self.contract.states + 1
        numbers = rng.integers(0, source.shape[0] * starts, count)
        return select_windows(source, numbers, self.contract.states)

    def scores(self, student: Denoiser, device: str) -> dict[str, float]:
        """Return the RMSE of denoising at a few levels, over the noise that was added."""
        rng = np.random.default_rng(1)
        x = self.windows(self.validation_states, 16 if self.contract.plane else 1024, rng).to(
            device
        )
        return denoising_scores(student, x, self.window_conditioning.to(device), rng)

    def extra(self) -> dict[str, dict[str, Tensor]]:
        """Return nothing: there are no further tensors."""
        return {}


@torch.no_grad()
def denoising_scores(
    student: Denoiser, x: Tensor, given: Tensor, rng: np.random.Generator
) -> dict[str, float]:
    """Return the RMSE of denoising some windows x at a few levels, over the noise."""
    noise = torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32)).to(x)
    features, clean = student.features(given), x.nan_to_num()
    out = {}
    for level in VALIDATION_SIGMAS:
        x_hat = student.moments(clean + level * noise, x.new_full((len(x),), level), features)[0]
        out[f"at {level:g}"] = float((x_hat - x).square().nanmean().sqrt()) / level
    return out


def select_windows(source: Tensor, numbers: NDArray[np.int64], states: int) -> Tensor:
    """Return windows (count, w C, ...) by their numbers, counted through all trajectories."""
    which, first = np.divmod(numbers, source.shape[1] - states + 1)
    return source[which[:, None], first[:, None] + np.arange(states)].flatten(1, 2)


def window_covariance(source: Tensor, states: int, most: int = 200_000) -> Tensor:
    """Return the covariance (w C, w C) of windows, from evenly spaced ones, float64."""
    count = source.shape[0] * (source.shape[1] - states + 1)
    rows = select_windows(source, np.arange(0, count, -(-count // most)), states).double()
    return rows.T @ rows / len(rows)


def prepare_trajectory_training(
    ds: xr.Dataset,
    path: Path,
    states: int,
    recipe: PerceptronRecipe | PlaneRecipe,
    start: Prior | None = None,
) -> TrajectoryTrainingSet:
    """Return the lesson that the trajectories of a file teach, in windows of so many states."""
    check_window_length(ds, states, path)
    check_times(ds, path)
    check_trajectory_recipe(ds, recipe)
    taught, last = split_trajectories(ds, path)
    seen = ds.isel(trajectory=slice(last))
    check_field_memory(seen)
    values = stack_trajectories(seen, path)
    contract = describe_trajectory_prior(ds, states, recipe, (taught, last - taught))
    normaliser = trajectory_scaling(ds, values[:taught], path)
    if start is not None:
        check_starting_prior(start, normaliser, contract)
        normaliser = start.normaliser
    for number, channel in enumerate(normaliser.channels):
        values[:, :, number] = (values[:, :, number] - channel.mean) / channel.std
    x = torch.from_numpy(values)
    return TrajectoryTrainingSet(x[:taught], x[taught:], normaliser, contract, recipe, start)


def check_window_length(ds: xr.Dataset, states: int, path: Path | str) -> None:
    """Refuse a window that has no centre, or that the trajectories are too short for."""
    length = ds.sizes["time"]
    if states % 2 == 0:
        raise DpdmError(f"A window of {states} states has no centre.", "Give --window 1, 3, 5...")
    if states > length:
        raise DpdmError(
            f"A window of {states} states is longer than the trajectories of {path}, which "
            f"have {length}.",
            "Give a shorter --window, or longer trajectories.",
        )


def check_trajectory_recipe(ds: xr.Dataset, recipe: PerceptronRecipe | PlaneRecipe) -> None:
    """Refuse settings that do not fit trajectories."""
    if recipe.train.draws != 1:
        raise DpdmError(
            f"train, draws is {recipe.train.draws}.", "For trajectories it is 1: widen the batch."
        )
    if isinstance(recipe, PlaneRecipe) and recipe.net.periodic:
        extents = ds.sizes["y"], ds.sizes["x"]
        if any(n % 4 for n in extents):
            raise DpdmError(
                f"A periodic plane of {extents[0]} by {extents[1]} cells cannot be halved twice.",
                "Give extents that are multiples of 4, or set periodic = false under [net].",
            )


def check_starting_prior(start: Prior, normaliser: Normaliser, contract: ModelCard) -> None:
    """Refuse to begin with a prior of other states, windows or another network."""
    its, own = start.contract, contract
    for what, one, other in (
        ("states", start.normaliser.names, normaliser.names),
        ("window", its.states, own.states),
        ("plane", list(its.plane), list(own.plane)),
        ("network", network_arguments(its.net), network_arguments(own.net)),
    ):
        if one != other:
            raise DpdmError(
                f"The prior to begin with has another {what}: {one}, not {other}.",
                "Begin with a prior of the same, or without --start.",
            )


def network_arguments(net: Mapping[str, Any]) -> dict[str, Any]:
    """Return a network's sizes as they come back from a file."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in net.items()}


def split_trajectories(ds: xr.Dataset, path: Path) -> tuple[int, int]:
    """Return where the trajectories to learn from end, and where those that measure progress."""
    count = ds.sizes["trajectory"]
    tenth = max(1, round(count / 10))
    if count < 3:
        raise DpdmError(
            f"{path} holds {count} trajectories: one is to measure progress, and one to test.",
            "Give at least 3, better many more.",
        )
    return count - 2 * tenth, count - tenth


def trajectory_scaling(ds: xr.Dataset, values: NDArray[np.float32], path: Path) -> Normaliser:
    """Return mean and standard deviation of each component or variable."""
    first = ds[next(iter(ds.data_vars))]
    if is_component_state(ds):
        labels = ds["component"].values if "component" in ds.coords else range(values.shape[2])
        said = [(str(label), first.attrs) for label in labels]
    else:
        said = [(str(name), array.attrs) for name, array in ds.data_vars.items()]
    return Normaliser(
        tuple(component_spec(*each, values[:, :, c], path) for c, each in enumerate(said))
    )


def component_spec(
    name: str, attrs: Mapping[str, Any], values: NDArray[np.float32], path: Path
) -> VariableSpec:
    """Return the channel of one component or variable."""
    mean, std = float(values.mean(dtype=float)), float(values.std(dtype=float))
    if std == 0:
        raise DpdmError(f"{path}: {name} never changes.", "There is nothing to learn of it.")
    return VariableSpec(
        name, **variable_spec_attrs(attrs), transform="identity", mean=mean, std=std, residual=()
    )


def describe_trajectory_prior(
    ds: xr.Dataset, states: int, recipe: PerceptronRecipe | PlaneRecipe, split: tuple[int, int]
) -> ModelCard:
    """Return what the prior will say of itself, before it is trained."""
    net = asdict(recipe.net)
    plane: tuple[int, ...] = () if is_component_state(ds) else (ds.sizes["y"], ds.sizes["x"])
    training = {
        "trajectories": split[0], "held_out": split[1], "length": ds.sizes["time"],
        "source": str(ds.attrs.get("title", ds.attrs.get("source", ""))),
        "recipe": asdict(recipe),
    }  # fmt: skip
    sigma = (recipe.train.sigma[0], recipe.train.sigma[1])
    sampling = SAMPLING_BY_KIND["plane" if plane else "components"]
    return ModelCard(
        plane_spacing(ds, plane), (0, 0), 0, trajectory_cadence(ds),
        sigma, net | ({"given": 4} if plane else {}), training, {}, sampling,
        states, "" if plane else str(next(iter(ds.data_vars))), plane,
        bool(net.get("periodic", False)),
    )  # fmt: skip
