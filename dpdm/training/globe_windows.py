"""The training set of global states: windows of successive anomalies, or of their codes.

A state is all variables on all levels at one time: its anomalies from the seasonal climatology of
each cell, divided by their standard deviation on that level.

With ``--latent`` an autoencoder is trained first, and the denoiser is trained on its codes. The
reconstruction residuals of validation states are stored with the prior: they are added to the
errors of observations and to the members.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from dpdm.errors import DpdmError
from dpdm.fields.climatology import fit_harmonics, harmonic_basis
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.read import open_fields, select_member_hint
from dpdm.fields.time import year_fractions
from dpdm.fields.trajectories import check_times, trajectory_cadence
from dpdm.fields.value_checks import load_checked_fields
from dpdm.nets.autoencoder import Autoencoder
from dpdm.nets.wiener import WienerFilter
from dpdm.prior import CLIMATE_STATES, Prior, load_prior
from dpdm.prior.model_card import SAMPLING_BY_KIND, ModelCard
from dpdm.prior.networks import new_denoiser
from dpdm.prior.normaliser import Normaliser
from dpdm.prior.variable_spec import VariableSpec, variable_spec_attrs
from dpdm.prior.windows import average_code_cells, seasonal_conditioning
from dpdm.system import check_field_memory
from dpdm.training import TrainingFiles, TrainingKind, count_files, split_states
from dpdm.training.config import GlobeRecipe, read_recipe
from dpdm.training.field_files import load_statics
from dpdm.training.trajectory_windows import (
    check_starting_prior,
    check_window_length,
    denoising_scores,
    select_windows,
)

IDENTITY_SCALING: dict[str, Any] = {"transform": "identity", "mean": 0.0, "residual": ()}


@dataclass(frozen=True)
class GlobeTrainingSet:
    """The training set of global states.

    Attributes:
        states: Normalised training and validation states (T, C, H, W), float32.
        train_count: Number of training states, which come first.
        season: Fraction of the year passed at each state, None where no season applies.
        ground: Static conditioning fields (G, H, W).
        area: Area of the cells, relative to their mean (H, 1).
        normaliser: The scaling of the variables.
        contract: The model card.
        recipe: The settings.
        stored_tensors: Attributes of the prior that are stored besides its weights.
        start: The prior whose weights training begins with, or nothing.
        score_name: Name of the validation scores.
    """

    states: Tensor
    train_count: int
    season: list[float | None]
    ground: Tensor
    area: Tensor
    normaliser: Normaliser
    contract: ModelCard
    recipe: GlobeRecipe
    stored_tensors: dict[str, Any] = field(default_factory=dict)
    start: Prior | None = None
    score_name: str = "RMSE over noise"

    def new_network(self) -> Any:
        """Return an untrained denoiser with the Wiener filter of the windows."""
        values = self.states.shape[1] * self.contract.states
        denoiser = new_denoiser(values, self.contract.net)
        cast(WienerFilter, denoiser.law).load_state_dict(self.law.state_dict())
        return denoiser

    @cached_property
    def law(self) -> WienerFilter:
        """Give the Wiener filter of the windows, estimated from the training states."""
        law = WienerFilter(*self.contract.net["law"])
        law.initialise(self.states[: self.train_count])
        return law

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw windows (B, w C, H, W) at random, with their conditioning fields."""
        starts = self.train_count - self.contract.states + 1
        return self.windows_from(rng.integers(0, starts, self.recipe.train.batch))

    def windows_from(self, starts: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return the windows that begin at some states, with their conditioning fields."""
        width = self.contract.states
        season = [self.season[int(start) + width // 2] for start in starts]
        x = select_windows(self.states[None], starts, width)
        return x, seasonal_conditioning(self.ground, season)

    def scores(self, network: Any, device: str) -> dict[str, float]:
        """Return the RMSE of denoising at a few noise levels, relative to the noise."""
        rng = np.random.default_rng(1)
        starts = rng.integers(self.train_count, len(self.states) - self.contract.states + 1, 24)
        x, given = (each.to(device) for each in self.windows_from(starts))
        return denoising_scores(network, x, given, rng)

    def calibration(self, network: Any, device: str) -> dict[str, float]:
        """Return nothing: the spread is the network's own."""
        return {}

    def extra(self) -> dict[str, Any]:
        """Return the climatology, static fields, some states, and the autoencoder if any."""
        return self.stored_tensors

    def describe(self, files: Sequence[Path]) -> Iterator[str]:
        """Yield the states that are learnt from, and those held out."""
        yield f"variables: {', '.join(self.normaliser.names)}, from {count_files(files)}"
        rows, columns = self.states.shape[-2:]
        yield f"training data: {self.train_count} states of {rows} x {columns} cells"
        yield f"held out: {len(self.states) - self.train_count} states"
        yield f"windows: {self.contract.states} states"


def prepare_globe_training(
    fields: xr.Dataset, ground: NDArray[np.float64], source: str, states: int,
    recipe: GlobeRecipe, start: Prior | None = None,
) -> GlobeTrainingSet:  # fmt: skip
    """Return the training set of a global series.

    Args:
        fields: The global series.
        ground: Topography (m) and land fraction on its grid (2, H, W).
        source: Name of the series in messages.
        states: States of a window.
        recipe: The settings.
        start: The prior to begin with, or nothing.
    """
    check_globe_series(fields, source)
    check_window_length(fields, states, source)
    check_times(fields, source)
    grid = grid_of(fields)
    check_global_grid(grid, source)
    first, last = split_states(fields.sizes["time"], states, source)
    season = year_fractions(fields["time"], fields.get("time_bnds"))[:last]
    values = stack_variables(fields.isel(time=slice(last)), source)
    cycle = fit_harmonics(values[:first], season[:first])
    subtract_climatology(values, cycle, season)
    normaliser = scale_globe_variables(fields, values[:first], grid)
    values /= np.array([c.std for c in normaliser.channels], np.float32)[:, None, None]
    contract = describe_globe_prior(fields, grid, states, recipe, (first, last), season)
    if start is not None:
        check_starting_prior(start, normaliser, contract)
    x, below = torch.from_numpy(values), globe_conditioning(grid, ground)
    return GlobeTrainingSet(
        x, first, season, below, torch.from_numpy(grid.weights[:, :1]).float(), normaliser,
        contract, recipe, {"climatology": globe_prior_tensors(grid, cycle, below, x[:first])},
        start,
    )  # fmt: skip


def globe_prior_tensors(
    grid: Grid, cycle: NDArray[np.float64], ground: Tensor, train_states: Tensor
) -> dict[str, Tensor]:
    """Return the tensors that a prior of global states stores."""
    some = np.linspace(0, len(train_states) - 1, CLIMATE_STATES).round().astype(int)
    return {
        "lat": torch.from_numpy(grid.lat),
        "lon": torch.from_numpy(grid.lon),
        "harmonics": torch.from_numpy(cycle.astype(np.float32)),
        "ground": ground,
        "examples": train_states[some].half(),
    }


def check_globe_series(fields: xr.Dataset, source: str) -> None:
    """Refuse fields without a time axis, and ensembles."""
    if "time" not in fields.dims:
        raise DpdmError(f"{source} has no time axis.", "Give a series of states.")
    if "realization" in fields.dims:
        raise DpdmError(
            f"{source} holds {fields.sizes['realization']} members.",
            select_member_hint(fields),
        )


def check_global_grid(grid: Grid, source: str) -> None:
    """Refuse a grid that is not global, or whose sides are not multiples of 4."""
    height, width = grid.shape
    if not grid.cyclic or np.ptp(grid.lat_edges) < 180 - 0.01 * grid.spacing[0]:
        raise DpdmError(
            f"{source} does not cover the globe: latitudes {grid.lat_edges[0]:g} to "
            f"{grid.lat_edges[-1]:g}, longitudes {grid.lon_edges[0]:g} to {grid.lon_edges[-1]:g}.",
            "A prior of states needs global fields; for a region give --factor.",
        )
    if height % 4 or width % 4:
        raise DpdmError(
            f"A grid of {height} by {width} cells cannot be halved twice.",
            "Remap it to multiples of 4 cells.",
        )


def stack_variables(fields: xr.Dataset, source: str) -> NDArray[np.float32]:
    """Load all variables (T, C, H, W), checked, NaN where missing."""
    shape = (fields.sizes["time"], len(fields.data_vars), fields.sizes["lat"], fields.sizes["lon"])
    out = np.empty(shape, np.float32)
    for number, name in enumerate(fields.data_vars):
        array = load_checked_fields(fields[[name]], source, gaps=True)[name]
        out[:, number] = array.transpose("time", "lat", "lon").values
    return out


def subtract_climatology(
    values: NDArray[np.float32], cycle: NDArray[np.float64], season: list[float | None]
) -> None:
    """Subtract the seasonal climatology from states (T, C, H, W), in place."""
    for number, row in enumerate(harmonic_basis(season)):
        values[number] -= np.tensordot(row, cycle, 1).astype(np.float32)


def scale_globe_variables(
    fields: xr.Dataset, values: NDArray[np.float32], grid: Grid
) -> Normaliser:
    """Return the scaling by the area mean of the anomalies' variance."""
    area = np.broadcast_to(grid.weights, values.shape[-2:])
    channels = []
    for number, (name, array) in enumerate(fields.data_vars.items()):
        present = np.isfinite(values[:, number]).sum(0)
        if not present.any():
            raise DpdmError(
                f"{name} is missing in all training states.",
                "Remove that variable or level from the series.",
            )
        total = np.nansum(values[:, number].astype(float) ** 2, axis=0)
        std = float(np.sqrt(np.average(total / present.clip(1), weights=area * (present > 0))))
        if not std > 0:
            raise DpdmError(f"{name} is constant.", "Remove it from the series.")
        channels.append(
            VariableSpec(
                str(name), **variable_spec_attrs(array.attrs), **IDENTITY_SCALING, std=std
            )
        )
    return Normaliser(tuple(channels))


def globe_conditioning(grid: Grid, ground: NDArray[np.float64]) -> Tensor:
    """Return the static conditioning fields (6, H, W): topography, land, coordinates."""
    lat, lon = np.meshgrid(np.radians(grid.lat), np.radians(grid.lon), indexing="ij")
    x, y, z = np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)
    fields = np.stack([ground[0] / 1000, ground[1], z, x, y, np.abs(z)])
    return torch.from_numpy(fields.astype(np.float32))


def describe_globe_prior(
    fields: xr.Dataset, grid: Grid, states: int, recipe: GlobeRecipe, split: tuple[int, int],
    season: list[float | None],
) -> ModelCard:  # fmt: skip
    """Return the model card of the untrained prior."""
    time = fields["time"].values
    training = {
        "period": [str(time[0])[:10], str(time[split[0] - 1])[:10]],
        "held_out": [str(time[split[0]])[:10], str(time[split[1] - 1])[:10]],
        "source": str(fields.attrs.get("title", fields.attrs.get("source", ""))),
        "recipe": asdict(recipe),
    }
    net = asdict(recipe.net) | {"given": 10, "globe": True}
    rows = len(fields.data_vars) * grid.shape[0]
    net["law"] = [states, rows, grid.shape[1], min(net.pop("modes"), rows)]
    sigma = (recipe.train.sigma[0], recipe.train.sigma[1])
    return ModelCard(
        grid.spacing, (0, 0), 0, trajectory_cadence(fields), sigma, net, training, {},
        SAMPLING_BY_KIND["globe"], states, "", grid.shape, globe=True,
    )  # fmt: skip


CODING_BLOCK = 64  # states encoded at a time
MAX_FITTING_STATES = 200  # states that the initial linear maps are fitted to


@dataclass(frozen=True)
class AutoencoderTask(GlobeTrainingSet):
    """The training set of an autoencoder: single states."""

    score_name: str = "RMSE of reconstruction"

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw states (B, C, H, W) at random, with the static conditioning fields."""
        numbers = rng.integers(0, self.train_count, self.recipe.train.batch)
        return self.states[numbers], self.ground[None]

    def new_network(self) -> Autoencoder:
        """Return an autoencoder initialised by the best linear maps."""
        coder = Autoencoder(**self.contract.net)
        coder.load_state_dict(self.initial_autoencoder.state_dict())
        return coder

    @cached_property
    def initial_autoencoder(self) -> Autoencoder:
        """Give the initial autoencoder."""
        coder = Autoencoder(**self.contract.net)
        stride = max(1, self.train_count // MAX_FITTING_STATES)
        coder.initialise(self.states[: self.train_count : stride])
        return coder

    @torch.no_grad()
    def scores(self, network: Autoencoder, device: str) -> dict[str, float]:
        """Return the RMSE of reconstructed states, relative to their standard deviation."""
        x = self.states[self.train_count :: 4].to(device)
        error = [x_hat - x for x, x_hat in reconstruct_states(network, x, self.ground.to(device))]
        size = (torch.cat(error).square() * self.area.to(device)).nanmean((0, 2, 3)).sqrt()
        return dict(zip(self.normaliser.names, map(float, size), strict=True))


def autoencoder_task(task: GlobeTrainingSet) -> AutoencoderTask:
    """Return the training set of the autoencoder of some states."""
    recipe, channels = task.recipe, task.states.shape[1]
    size = {k: v for k, v in asdict(recipe.code).items() if k != "share"}
    net = size | {"channels": channels, "given": len(task.ground)}
    steps = max(1, round(recipe.code.share * recipe.train.steps))
    fit = replace(recipe.train, batch=4 * recipe.train.batch, steps=steps)
    return AutoencoderTask(
        task.states, task.train_count, task.season, task.ground, task.area,
        task.normaliser, replace(task.contract, net=net, states=1),
        replace(recipe, train=fit), task.stored_tensors,
    )  # fmt: skip


def latent_task(
    task: GlobeTrainingSet, autoencoder: AutoencoderTask, path: Path
) -> GlobeTrainingSet:
    """Return the training set of the codes of the states, by the autoencoder of a file."""
    prior = load_prior(path)
    its, own = prior.contract.net, autoencoder.contract.net
    if prior.normaliser != autoencoder.normaliser or its != own:
        raise DpdmError(
            f"{path} is an autoencoder of other states, or of another size.",
            "Remove it, or use --overwrite to train it again.",
        )
    coder = cast(Autoencoder, prior.denoiser)
    codes = torch.cat(list(encode_states(coder, task.states, task.ground)))
    residual, size = reconstruction_residual(coder, task)
    stds = [channel.std for channel in task.normaliser.channels]
    rmse = dict(zip(task.normaliser.names, np.multiply(size, stds).tolist(), strict=True))
    code = {"net": prior.contract.net, "reconstruction": rmse}
    rows = codes.shape[1] * codes.shape[2]
    law = [task.contract.states, rows, codes.shape[3], min(task.recipe.net.modes, rows)]
    net = task.contract.net | {"law": law}
    climate = task.stored_tensors["climatology"] | {"lost": residual.half()}
    return replace(
        task, states=codes, ground=average_code_cells(task.ground),
        area=average_code_cells(task.area),
        contract=replace(task.contract, net=net, code=code),
        stored_tensors=task.stored_tensors | {"climatology": climate, "coder": coder},
    )  # fmt: skip


def reconstruction_residual(
    coder: Autoencoder, task: GlobeTrainingSet
) -> tuple[Tensor, list[float]]:
    """Return the reconstruction residuals of validation states, 0 where missing, and RMSE (C,)."""
    ends = task.train_count, len(task.states) - 1
    numbers = np.linspace(*ends, CLIMATE_STATES).round().astype(int)
    pairs = reconstruct_states(coder, task.states[numbers], task.ground)
    residual = torch.cat([x - x_hat for x, x_hat in pairs])
    size = (residual.square() * task.area).nanmean((0, 2, 3)).sqrt()
    return residual.nan_to_num(), size.tolist()


@torch.no_grad()
def encode_states(coder: Autoencoder, states: Tensor, ground: Tensor) -> Iterator[Tensor]:
    """Yield the codes of states, block by block."""
    features = coder.features(ground[None])
    for block in torch.split(states, CODING_BLOCK):
        yield coder.encode(block, features)


@torch.no_grad()
def reconstruct_states(
    coder: Autoencoder, states: Tensor, ground: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield states and their reconstructions, block by block."""
    features = coder.features(ground[None])
    codes = encode_states(coder, states, ground)
    for block, code in zip(torch.split(states, CODING_BLOCK), codes, strict=True):
        yield block, coder.decode(code, features)


def build_globe_set(
    sources: TrainingFiles, factor: tuple[int, int] | None, window: int | None
) -> GlobeTrainingSet:
    """Return the training set of the states of the globe of some files."""
    recipe = read_recipe(sources.config, GlobeRecipe)
    fields = open_fields(
        sources.fine, None, sources.rename, sources.units, missing=sources.missing
    )
    check_field_memory(fields)
    ground = load_statics(sources, grid_of(fields)).to_array().values
    start = None if sources.start is None else load_prior(sources.start)
    names = ", ".join(p.name for p in sources.fine)
    return prepare_globe_training(fields, ground, names, window or 1, recipe, start)


GLOBE = TrainingKind(
    lambda files, window: window is not None, build_globe_set, autoencoder_task, latent_task
)
