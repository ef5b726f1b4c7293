"""What a series of fields on the Earth teaches about their course: windows of successive states.

A state is all variables on all levels at one time. It is modelled as what it departs from the
seasonal mean of its place, over the standard deviation of that on its level. The first eight
tenths of the series are learnt from, the next tenth measures progress, and the last is never
looked at: it is there for an honest test.

What a series of states teaches an autoencoder, and the codes that a denoiser then learns.

A prior of codes is used as any other: its denoiser knows codes, and observations see what the
decoder makes of them. What the code cannot hold is never hidden: its size is kept in the prior,
it widens the errors of observations, and members are given some of it, as it was found in states
that were not learnt from.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from dpdm.fields.read import select_member_hint
from dpdm.fields.time import year_fractions
from dpdm.fields.trajectories import check_times, trajectory_cadence
from dpdm.fields.value_checks import load_checked_fields
from dpdm.nets.autoencoder import Autoencoder
from dpdm.nets.wiener import WienerFilter
from dpdm.prior import CLIMATE_STATES, Prior, new_denoiser
from dpdm.prior.bound_denoiser import average_code_cells, seasonal_conditioning
from dpdm.prior.model_card import SAMPLING_BY_KIND, ModelCard
from dpdm.prior.normaliser import Normaliser, VariableSpec, variable_spec_attrs
from dpdm.training.config import GlobeRecipe
from dpdm.training.trajectory_windows import (
    check_starting_prior,
    check_window_length,
    denoising_scores,
    select_windows,
)

IDENTITY_SCALING: dict[str, Any] = {"transform": "identity", "mean": 0.0, "residual": ()}


@dataclass(frozen=True)
class GlobeTrainingSet:
    """What one training run on states of the globe needs.

    Attributes:
        states: Normalised states (T, C, H, W), float32, of all times but those for the test.
        train_count: How many of them are learnt from; the others measure progress.
        season: Fraction of the year passed at each of them, None where no season applies.
        ground: What is given of each cell (G, H, W).
        area: Area of the cells over their mean (H, 1).
        normaliser: The scaling of the variables.
        contract: What the prior will say of itself.
        recipe: The settings.
        stored_tensors: What the prior keeps beside its weights, by its attributes.
        start: The prior whose weights it begins with, or nothing.
        score_name: What the scores are.
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
        """Return an untrained denoiser, which knows the Gaussian law of the windows."""
        values = self.states.shape[1] * self.contract.states
        denoiser = new_denoiser(values, self.contract.net)
        cast(WienerFilter, denoiser.law).load_state_dict(self.law.state_dict())
        return denoiser

    @cached_property
    def law(self) -> WienerFilter:
        """Give the Gaussian law of the windows, estimated from what is learnt from."""
        law = WienerFilter(*self.contract.net["law"])
        law.initialise(self.states[: self.train_count])
        return law

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return windows (B, w C, H, W), drawn at random, and what is given of them."""
        starts = self.train_count - self.contract.states + 1
        return self.windows_from(rng.integers(0, starts, self.recipe.train.batch))

    def windows_from(self, starts: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return windows that begin at some states, and what is given of them."""
        width = self.contract.states
        season = [self.season[int(start) + width // 2] for start in starts]
        x = select_windows(self.states[None], starts, width)
        return x, seasonal_conditioning(self.ground, season)

    def scores(self, student: Any, device: str) -> dict[str, float]:
        """Return the RMSE of denoising at a few levels, over the noise that was added."""
        rng = np.random.default_rng(1)
        starts = rng.integers(self.train_count, len(self.states) - self.contract.states + 1, 24)
        x, given = (each.to(device) for each in self.windows_from(starts))
        return denoising_scores(student, x, given, rng)

    def extra(self) -> dict[str, Any]:
        """Return the seasonal mean, the ground, some states, and what made codes of them."""
        return self.stored_tensors


def prepare_globe_training(
    fields: xr.Dataset, ground: NDArray[np.float64], named: str, states: int,
    recipe: GlobeRecipe, start: Prior | None = None,
) -> GlobeTrainingSet:  # fmt: skip
    """Return the lesson that a series of fields teaches, in windows of so many states.

    Args:
        fields: The series, on the whole globe.
        ground: Topography (m) and land fraction on its grid (2, H, W).
        named: What a message calls the series.
        states: States of a window.
        recipe: The settings.
        start: The prior to begin with, or nothing.
    """
    check_globe_series(fields, named)
    check_window_length(fields, states, named)
    check_times(fields, named)
    grid = grid_of(fields)
    check_global_grid(grid, named)
    first, last = split_globe_states(fields.sizes["time"], states, named)
    season = year_fractions(fields["time"], fields.get("time_bnds"))[:last]
    values = stack_variables(fields.isel(time=slice(last)), named)
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
    grid: Grid, cycle: NDArray[np.float64], ground: Tensor, taught: Tensor
) -> dict[str, Tensor]:
    """Return the tensors that a prior of states on the globe keeps."""
    some = np.linspace(0, len(taught) - 1, CLIMATE_STATES).round().astype(int)
    return {
        "lat": torch.from_numpy(grid.lat),
        "lon": torch.from_numpy(grid.lon),
        "harmonics": torch.from_numpy(cycle.astype(np.float32)),
        "ground": ground,
        "examples": taught[some].half(),
    }


def check_globe_series(fields: xr.Dataset, named: str) -> None:
    """Refuse fields that are no series, or an ensemble of them."""
    if "time" not in fields.dims:
        raise DpdmError(f"{named} has no time axis.", "Give a series of states.")
    if "realization" in fields.dims:
        raise DpdmError(
            f"{named} holds {fields.sizes['realization']} members.",
            select_member_hint(fields),
        )


def check_global_grid(grid: Grid, named: str) -> None:
    """Refuse fields that are not of the whole globe, or cannot be halved twice."""
    height, width = grid.shape
    if not grid.cyclic or np.ptp(grid.lat_edges) < 180 - 0.01 * grid.spacing[0]:
        raise DpdmError(
            f"{named} does not cover the globe: latitudes {grid.lat_edges[0]:g} to "
            f"{grid.lat_edges[-1]:g}, longitudes {grid.lon_edges[0]:g} to {grid.lon_edges[-1]:g}.",
            "A prior of states is of the whole globe; for a region give --factor.",
        )
    if height % 4 or width % 4:
        raise DpdmError(
            f"A grid of {height} by {width} cells cannot be halved twice.",
            "Remap it to multiples of 4 cells.",
        )


def split_globe_states(count: int, states: int, named: str) -> tuple[int, int]:
    """Return where the states to learn from end, and where those that measure progress."""
    first, last = round(0.8 * count), round(0.9 * count)
    if last - first < states:
        raise DpdmError(
            f"{named} holds {count} states; a tenth of them is less than a window of {states}.",
            f"Give at least {10 * states}, better thousands.",
        )
    return first, last


def stack_variables(fields: xr.Dataset, named: str) -> NDArray[np.float32]:
    """Return all variables in memory (T, C, H, W), checked, NaN where missing."""
    shape = (fields.sizes["time"], len(fields.data_vars), fields.sizes["lat"], fields.sizes["lon"])
    out = np.empty(shape, np.float32)
    for number, name in enumerate(fields.data_vars):
        array = load_checked_fields(fields[[name]], named, gaps=True)[name]
        out[:, number] = array.transpose("time", "lat", "lon").values
    return out


def subtract_climatology(
    values: NDArray[np.float32], cycle: NDArray[np.float64], season: list[float | None]
) -> None:
    """Turn states (T, C, H, W) into departures from the seasonal mean, in place."""
    known = harmonic_basis(season).numpy()
    for number, row in enumerate(known):
        values[number] -= np.tensordot(row, cycle, 1).astype(np.float32)


def scale_globe_variables(
    fields: xr.Dataset, values: NDArray[np.float32], grid: Grid
) -> Normaliser:
    """Return the channels, scaled by the area mean of the departures' variance."""
    area = np.broadcast_to(grid.weights, values.shape[-2:])
    channels = []
    for number, (name, array) in enumerate(fields.data_vars.items()):
        known = np.isfinite(values[:, number]).sum(0)
        if not known.any():
            raise DpdmError(
                f"{name} is missing everywhere in what is learnt from.",
                "Leave that variable or level out of the series.",
            )
        total = np.nansum(values[:, number].astype(float) ** 2, axis=0)
        std = float(np.sqrt(np.average(total / known.clip(1), weights=area * (known > 0))))
        if not std > 0:
            raise DpdmError(f"{name} never changes.", "There is nothing to learn of it.")
        channels.append(
            VariableSpec(
                str(name), **variable_spec_attrs(array.attrs), **IDENTITY_SCALING, std=std
            )
        )
    return Normaliser(tuple(channels))


def globe_conditioning(grid: Grid, ground: NDArray[np.float64]) -> Tensor:
    """Return what is given of each cell (6, H, W): relief, land, and where it lies."""
    lat, lon = np.meshgrid(np.radians(grid.lat), np.radians(grid.lon), indexing="ij")
    where = [
        np.sin(lat),
        np.cos(lat) * np.cos(lon),
        np.cos(lat) * np.sin(lon),
        np.abs(np.sin(lat)),
    ]
    return torch.from_numpy(np.stack([ground[0] / 1000, ground[1], *where]).astype(np.float32))


def describe_globe_prior(
    fields: xr.Dataset, grid: Grid, states: int, recipe: GlobeRecipe, split: tuple[int, int],
    season: list[float | None],
) -> ModelCard:  # fmt: skip
    """Return what the prior will say of itself, before it is trained."""
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


CODING_BLOCK = 64  # states at a time
MAX_FITTING_STATES = 200  # states that linear maps are fitted to


@dataclass(frozen=True)
class AutoencoderTask(GlobeTrainingSet):
    """What the training of an autoencoder needs: single states."""

    score_name: str = "RMSE of reconstruction"

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return states (B, C, H, W), drawn at random, and the ground beneath them."""
        numbers = rng.integers(0, self.train_count, self.recipe.train.batch)
        return self.states[numbers], self.ground[None]

    def new_network(self) -> Autoencoder:
        """Return an autoencoder that knows the best linear maps."""
        coder = Autoencoder(**self.contract.net)
        coder.load_state_dict(self.initial_autoencoder.state_dict())
        return coder

    @cached_property
    def initial_autoencoder(self) -> Autoencoder:
        """Give the autoencoder that training sets out from."""
        coder = Autoencoder(**self.contract.net)
        coder.initialise(
            self.states[: self.train_count : max(1, self.train_count // MAX_FITTING_STATES)]
        )
        return coder

    @torch.no_grad()
    def scores(self, student: Autoencoder, device: str) -> dict[str, float]:
        """Return the RMSE of reconstructed states over their standard deviation."""
        x = self.states[self.train_count :: 4].to(device)
        error = [x_hat - x for x, x_hat in reconstruct_states(student, x, self.ground.to(device))]
        size = (torch.cat(error).square() * self.area.to(device)).nanmean((0, 2, 3)).sqrt()
        return dict(zip(self.normaliser.names, map(float, size), strict=True))


def autoencoder_task(subject: GlobeTrainingSet) -> AutoencoderTask:
    """Return the lesson of the autoencoder, from that of the states."""
    recipe, channels = subject.recipe, subject.states.shape[1]
    size = {k: v for k, v in asdict(recipe.code).items() if k != "share"}
    net = size | {"channels": channels, "given": len(subject.ground)}
    steps = max(1, round(recipe.code.share * recipe.train.steps))
    fit = replace(recipe.train, batch=4 * recipe.train.batch, steps=steps)
    return AutoencoderTask(
        subject.states, subject.train_count, subject.season, subject.ground, subject.area,
        subject.normaliser, replace(subject.contract, net=net, states=1),
        replace(recipe, train=fit), subject.stored_tensors,
    )  # fmt: skip


def latent_task(subject: GlobeTrainingSet, prior: Prior) -> GlobeTrainingSet:
    """Return the lesson of the codes that a trained autoencoder makes of the states."""
    coder = cast(Autoencoder, prior.denoiser)
    codes = torch.cat(list(encode_states(coder, subject.states, subject.ground)))
    lost, size = reconstruction_residual(coder, subject)
    stds = [channel.std for channel in subject.normaliser.channels]
    known = dict(zip(subject.normaliser.names, np.multiply(size, stds).tolist(), strict=True))
    code = {"net": prior.contract.net, "reconstruction": known}
    rows = codes.shape[1] * codes.shape[2]
    law = [subject.contract.states, rows, codes.shape[3], min(subject.recipe.net.modes, rows)]
    net = subject.contract.net | {"law": law}
    climate = subject.stored_tensors["climatology"] | {"lost": lost.half()}
    return replace(
        subject, states=codes, ground=average_code_cells(subject.ground),
        area=average_code_cells(subject.area),
        contract=replace(subject.contract, net=net, code=code),
        stored_tensors=subject.stored_tensors | {"climatology": climate, "coder": coder},
    )  # fmt: skip


def check_autoencoder(prior: Prior, lesson: AutoencoderTask, path: Path) -> None:
    """Refuse an autoencoder that was trained on other states, or has another size."""
    if prior.normaliser != lesson.normaliser or prior.contract.net != lesson.contract.net:
        raise DpdmError(
            f"{path} is an autoencoder of other states, or of another size.",
            "Remove it, or say --overwrite to train it again.",
        )


def reconstruction_residual(
    coder: Autoencoder, subject: GlobeTrainingSet
) -> tuple[Tensor, list[float]]:
    """Return what the codes lose of states that were not learnt from, and its RMSE (C,).

    Where a value is missing nothing is lost: a member is whole where the seasonal mean is.
    """
    numbers = (
        np.linspace(subject.train_count, len(subject.states) - 1, CLIMATE_STATES)
        .round()
        .astype(int)
    )
    pairs = reconstruct_states(coder, subject.states[numbers], subject.ground)
    lost = torch.cat([x - x_hat for x, x_hat in pairs])
    size = (lost.square() * subject.area).nanmean((0, 2, 3)).sqrt()
    return lost.nan_to_num(), size.tolist()


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
    """Yield states, and what their codes stand for, block by block."""
    features = coder.features(ground[None])
    codes = encode_states(coder, states, ground)
    for block, code in zip(torch.split(states, CODING_BLOCK), codes, strict=True):
        yield block, coder.decode(code, features)
