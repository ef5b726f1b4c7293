"""The training set of trajectories: short windows of successive states.

A trajectory is x (T, C) for states of a few components, or (T, C, H, W) for fields on a plane.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    holds_trajectories,
    is_component_state,
    open_trajectories,
    plane_spacing,
    stack_trajectories,
    trajectory_cadence,
)
from dpdm.nets.mlp import MLP
from dpdm.prior import Prior, load_prior
from dpdm.prior.model_card import SAMPLING_BY_KIND, ModelCard
from dpdm.prior.networks import new_denoiser
from dpdm.prior.normaliser import Normaliser
from dpdm.prior.variable_spec import VariableSpec, variable_spec_attrs
from dpdm.prior.windows import plane_coordinates
from dpdm.system import check_field_memory
from dpdm.training import (
    TrainingFiles,
    TrainingKind,
    count_files,
    network_arguments,
    split_trajectories,
)
from dpdm.training.config import PerceptronRecipe, PlaneRecipe, read_recipe

VALIDATION_SIGMAS = (0.01, 0.1, 1.0)


@dataclass(frozen=True)
class TrajectoryTrainingSet:
    """The training set of trajectories of a dynamical system.

    Attributes:
        train_states: Normalised training trajectories (N, T, C, ...), float32.
        validation_states: Normalised validation trajectories.
        normaliser: The scaling of the components or variables.
        contract: The model card.
        recipe: The settings.
        start: The prior whose weights and scaling training begins with, or nothing.
        score_name: Name of the validation scores.
        area: None, for equal weights of all cells.
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
        """Return an untrained denoiser, initialised by the covariance of the windows."""
        values = len(self.normaliser.channels) * self.contract.states
        denoiser = new_denoiser(values, self.contract.net)
        if isinstance(denoiser.backbone, MLP):
            denoiser.backbone.initialise(
                window_covariance(self.train_states, self.contract.states)
            )
        return denoiser

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw windows (B, w C, ...) at random; return them with the coordinates of a plane."""
        return self.windows(
            self.train_states, self.recipe.train.batch, rng
        ), self.window_conditioning

    @property
    def window_conditioning(self) -> Tensor:
        """Give the coordinates of the cells (1, G, H, W), nothing for components."""
        return plane_coordinates(self.contract.plane)[None]

    def windows(self, source: Tensor, count: int, rng: np.random.Generator) -> Tensor:
        """Draw windows (count, w C, ...) of trajectories at random."""
        starts = source.shape[1] - self.contract.states + 1
        numbers = rng.integers(0, source.shape[0] * starts, count)
        return select_windows(source, numbers, self.contract.states)

    def scores(self, network: Denoiser, device: str) -> dict[str, float]:
        """Return the RMSE of denoising at a few noise levels, relative to the noise."""
        rng = np.random.default_rng(1)
        count = 16 if self.contract.plane else 1024
        x = self.windows(self.validation_states, count, rng).to(device)
        return denoising_scores(network, x, self.window_conditioning.to(device), rng)

    def calibration(self, network: Any, device: str) -> dict[str, float]:
        """Return nothing: the spread is the network's own."""
        return {}

    def extra(self) -> dict[str, dict[str, Tensor]]:
        """Return nothing, as no further tensors are stored."""
        return {}

    def describe(self, files: Sequence[Path]) -> Iterator[str]:
        """Yield the trajectories that are learnt from, and those held out."""
        count, length = self.train_states.shape[:2]
        yield f"variables: {', '.join(self.normaliser.names)}, from {count_files(files)}"
        yield f"training data: {count} trajectories of {length} states"
        yield f"held out: {len(self.validation_states)} trajectories"
        yield f"windows: {self.contract.states} states"


@torch.no_grad()
def denoising_scores(
    network: Denoiser, x: Tensor, given: Tensor, rng: np.random.Generator
) -> dict[str, float]:
    """Return the RMSE of denoising windows x at a few noise levels, relative to the noise."""
    noise = torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32)).to(x)
    features, clean = network.features(given), x.nan_to_num()
    out = {}
    for level in VALIDATION_SIGMAS:
        x_hat = network.moments(clean + level * noise, x.new_full((len(x),), level), features)[0]
        out[f"at {level:g}"] = float((x_hat - x).square().nanmean().sqrt()) / level
    return out


def select_windows(source: Tensor, numbers: NDArray[np.int64], states: int) -> Tensor:
    """Return windows (count, w C, ...) by their numbers, counted through all trajectories."""
    trajectory, first = np.divmod(numbers, source.shape[1] - states + 1)
    return source[trajectory[:, None], first[:, None] + np.arange(states)].flatten(1, 2)


def window_covariance(source: Tensor, states: int, max_windows: int = 200_000) -> Tensor:
    """Return the covariance (w C, w C) of windows, from evenly spaced ones, float64."""
    count = source.shape[0] * (source.shape[1] - states + 1)
    rows = select_windows(source, np.arange(0, count, -(-count // max_windows)), states).double()
    return rows.T @ rows / len(rows)


def prepare_trajectory_training(
    ds: xr.Dataset,
    path: Path,
    states: int,
    recipe: PerceptronRecipe | PlaneRecipe,
    start: Prior | None = None,
) -> TrajectoryTrainingSet:
    """Return the training set of trajectories, in windows of ``states`` states."""
    check_window_length(ds, states, path)
    check_times(ds, path)
    check_trajectory_recipe(ds, recipe)
    train_end, validation_end = split_trajectories(ds.sizes["trajectory"], path)
    read = ds.isel(trajectory=slice(validation_end))
    check_field_memory(read)
    values = stack_trajectories(read, path)
    counts = train_end, validation_end - train_end
    contract = describe_trajectory_prior(ds, states, recipe, counts)
    normaliser = trajectory_scaling(ds, values[:train_end], path)
    if start is not None:
        check_starting_prior(start, normaliser, contract)
        normaliser = start.normaliser
    for number, channel in enumerate(normaliser.channels):
        values[:, :, number] = (values[:, :, number] - channel.mean) / channel.std
    x = torch.from_numpy(values)
    return TrajectoryTrainingSet(x[:train_end], x[train_end:], normaliser, contract, recipe, start)


def check_window_length(ds: xr.Dataset, states: int, path: Path | str) -> None:
    """Refuse a window of an even number of states, or longer than the trajectories."""
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
            f"train, draws is {recipe.train.draws}.",
            "Set it to 1 for trajectories, and use a larger batch instead.",
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


def trajectory_scaling(ds: xr.Dataset, values: NDArray[np.float32], path: Path) -> Normaliser:
    """Return the scaling of each component or variable by mean and standard deviation."""
    first = ds[next(iter(ds.data_vars))]
    if is_component_state(ds):
        labels = ds["component"].values if "component" in ds.coords else range(values.shape[2])
        attrs = [(str(label), first.attrs) for label in labels]
    else:
        attrs = [(str(name), array.attrs) for name, array in ds.data_vars.items()]
    return Normaliser(
        tuple(component_spec(*each, values[:, :, c], path) for c, each in enumerate(attrs))
    )


def component_spec(
    name: str, attrs: Mapping[str, Any], values: NDArray[np.float32], path: Path
) -> VariableSpec:
    """Return the scaling of one component or variable."""
    mean, std = float(values.mean(dtype=float)), float(values.std(dtype=float))
    if std == 0:
        raise DpdmError(f"{path}: {name} is constant.", "Remove it from the series.")
    return VariableSpec(
        name, **variable_spec_attrs(attrs), transform="identity", mean=mean, std=std, residual=()
    )


def describe_trajectory_prior(
    ds: xr.Dataset, states: int, recipe: PerceptronRecipe | PlaneRecipe, split: tuple[int, int]
) -> ModelCard:
    """Return the model card of the untrained prior."""
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


def build_trajectory_set(
    sources: TrainingFiles, factor: tuple[int, int] | None, window: int | None
) -> TrajectoryTrainingSet:
    """Return the training set of the trajectories of a file."""
    path = sources.fine[0]
    if len(sources.fine) > 1:
        raise DpdmError(
            f"{', '.join(map(str, sources.fine))} are several files of trajectories.",
            "Give one file with a dimension trajectory, as dpdm testbed writes it.",
        )
    if sources.statics or sources.rename or sources.units or sources.missing:
        raise DpdmError(
            f"{path} holds trajectories; --statics, --var, --units and --missing are for fields.",
            "Leave them out.",
        )
    start = None if sources.start is None else load_prior(sources.start)
    with open_trajectories(path) as ds:
        recipe: PerceptronRecipe | PlaneRecipe = (
            read_recipe(sources.config, PerceptronRecipe)
            if is_component_state(ds)
            else read_recipe(sources.config, PlaneRecipe)
        )
        return prepare_trajectory_training(ds, path, window or 1, recipe, start)


TRAJECTORIES = TrainingKind(
    lambda files, window: window is not None and holds_trajectories(files.fine[0]),
    build_trajectory_set,
)
