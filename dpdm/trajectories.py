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

from dpdm.bound import placed
from dpdm.contract import SAMPLING_OF, Contract
from dpdm.diffusion.denoise import Denoiser
from dpdm.errors import DpdmError
from dpdm.fields.tensors import Channel, Normaliser, worded
from dpdm.fields.trajectories import (
    cadence_of,
    check_times,
    on_components,
    spacing_of,
    stacked,
)
from dpdm.memory import check_memory
from dpdm.nets.mlp import MLP
from dpdm.prior import Prior, new_denoiser
from dpdm.recipe import LayersRecipe, PlanesRecipe

LEVELS = (0.01, 0.1, 1.0)


@dataclass(frozen=True)
class Trajectories:
    """What one training run on trajectories needs.

    Attributes:
        taught: Normalised trajectories to learn from (N, T, C, ...), float32.
        held: Normalised trajectories that only measure progress.
        normaliser: The scaling of the components or variables.
        contract: What the prior will say of itself.
        recipe: The settings.
        start: The prior whose weights and scaling it begins with, or nothing.
        measure: What the scores are.
        area: None: all cells count alike.
    """

    taught: Tensor
    held: Tensor
    normaliser: Normaliser
    contract: Contract
    recipe: LayersRecipe | PlanesRecipe
    start: Prior | None = None
    measure: str = "RMSE over noise"
    area: Tensor | None = None

    def fresh(self) -> Denoiser:
        """Return an untrained denoiser, which knows the covariance of the windows."""
        values = len(self.normaliser.channels) * self.contract.states
        denoiser = new_denoiser(values, self.contract.net)
        if isinstance(denoiser.backbone, MLP):
            denoiser.backbone.settle(covariance(self.taught, self.contract.states))
        return denoiser

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return windows (B, w C, ...), drawn at random, and where their cells lie."""
        return self.windows(self.taught, self.recipe.train.batch, rng), self.given

    @property
    def given(self) -> Tensor:
        """Give where the cells of a state lie (1, G, H, W), nothing for components."""
        return placed(self.contract.plane)[None]

    def windows(self, source: Tensor, count: int, rng: np.random.Generator) -> Tensor:
        """Return windows (count, w C, ...) of trajectories, drawn at random."""
        starts = source.shape[1] - self.contract.states + 1
        numbers = rng.integers(0, source.shape[0] * starts, count)
        return windows_at(source, numbers, self.contract.states)

    def scores(self, student: Denoiser, device: str) -> dict[str, float]:
        """Return the RMSE of denoising at a few levels, over the noise that was added."""
        rng = np.random.default_rng(1)
        x = self.windows(self.held, 16 if self.contract.plane else 1024, rng).to(device)
        return denoised(student, x, self.given.to(device), rng)

    def extra(self) -> dict[str, dict[str, Tensor]]:
        """Return nothing: there are no further tensors."""
        return {}


@torch.no_grad()
def denoised(
    student: Denoiser, x: Tensor, given: Tensor, rng: np.random.Generator
) -> dict[str, float]:
    """Return the RMSE of denoising some windows x at a few levels, over the noise."""
    noise = torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32)).to(x)
    features, clean = student.features(given), x.nan_to_num()
    out = {}
    for level in LEVELS:
        x_hat = student.moments(clean + level * noise, x.new_full((len(x),), level), features)[0]
        out[f"at {level:g}"] = float((x_hat - x).square().nanmean().sqrt()) / level
    return out


def windows_at(source: Tensor, numbers: NDArray[np.int64], states: int) -> Tensor:
    """Return windows (count, w C, ...) by their numbers, counted through all trajectories."""
    which, first = np.divmod(numbers, source.shape[1] - states + 1)
    return source[which[:, None], first[:, None] + np.arange(states)].flatten(1, 2)


def covariance(source: Tensor, states: int, most: int = 200_000) -> Tensor:
    """Return the covariance (w C, w C) of windows, from evenly spaced ones, float64."""
    count = source.shape[0] * (source.shape[1] - states + 1)
    rows = windows_at(source, np.arange(0, count, -(-count // most)), states).double()
    return rows.T @ rows / len(rows)


def prepare(
    ds: xr.Dataset,
    path: Path,
    states: int,
    recipe: LayersRecipe | PlanesRecipe,
    start: Prior | None = None,
) -> Trajectories:
    """Return the lesson that the trajectories of a file teach, in windows of so many states.

    Raises:
        DpdmError: When the trajectories are too few, too short or damaged, or when the prior to
            begin with is of others.
    """
    check_window(ds, states, path)
    check_times(ds, path)
    check_recipe(ds, recipe)
    taught, last = split(ds, path)
    seen = ds.isel(trajectory=slice(last))
    check_memory(seen)
    values = stacked(seen, path)
    contract = describe(ds, states, recipe, (taught, last - taught))
    normaliser = scaled(ds, values[:taught], path)
    if start is not None:
        check_start(start, normaliser, contract)
        normaliser = start.normaliser
    for number, channel in enumerate(normaliser.channels):
        values[:, :, number] = (values[:, :, number] - channel.mean) / channel.std
    x = torch.from_numpy(values)
    return Trajectories(x[:taught], x[taught:], normaliser, contract, recipe, start)


def check_window(ds: xr.Dataset, states: int, path: Path | str) -> None:
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


def check_recipe(ds: xr.Dataset, recipe: LayersRecipe | PlanesRecipe) -> None:
    """Refuse settings that do not fit trajectories."""
    if recipe.train.draws != 1:
        raise DpdmError(
            f"train, draws is {recipe.train.draws}.", "For trajectories it is 1: widen the batch."
        )
    if isinstance(recipe, PlanesRecipe) and recipe.net.periodic:
        extents = ds.sizes["y"], ds.sizes["x"]
        if any(n % 4 for n in extents):
            raise DpdmError(
                f"A periodic plane of {extents[0]} by {extents[1]} cells cannot be halved twice.",
                "Give extents that are multiples of 4, or set periodic = false under [net].",
            )


def check_start(start: Prior, normaliser: Normaliser, contract: Contract) -> None:
    """Refuse to begin with a prior of other states, windows or another network."""
    its, own = start.contract, contract
    for what, one, other in (
        ("states", start.normaliser.names, normaliser.names),
        ("window", its.states, own.states),
        ("plane", list(its.plane), list(own.plane)),
        ("network", plain(its.net), plain(own.net)),
    ):
        if one != other:
            raise DpdmError(
                f"The prior to begin with has another {what}: {one}, not {other}.",
                "Begin with a prior of the same, or without --start.",
            )


def plain(net: Mapping[str, Any]) -> dict[str, Any]:
    """Return a network's sizes as they come back from a file."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in net.items()}


def split(ds: xr.Dataset, path: Path) -> tuple[int, int]:
    """Return where the trajectories to learn from end, and where those that measure progress."""
    count = ds.sizes["trajectory"]
    tenth = max(1, round(count / 10))
    if count < 3:
        raise DpdmError(
            f"{path} holds {count} trajectories: one is to measure progress, and one to test.",
            "Give at least 3, better many more.",
        )
    return count - 2 * tenth, count - tenth


def scaled(ds: xr.Dataset, values: NDArray[np.float32], path: Path) -> Normaliser:
    """Return mean and standard deviation of each component or variable."""
    first = ds[next(iter(ds.data_vars))]
    if on_components(ds):
        labels = ds["component"].values if "component" in ds.coords else range(values.shape[2])
        said = [(str(label), first.attrs) for label in labels]
    else:
        said = [(str(name), array.attrs) for name, array in ds.data_vars.items()]
    return Normaliser(tuple(channel(*each, values[:, :, c], path) for c, each in enumerate(said)))


def channel(
    name: str, attrs: Mapping[str, Any], values: NDArray[np.float32], path: Path
) -> Channel:
    """Return the channel of one component or variable."""
    mean, std = float(values.mean(dtype=float)), float(values.std(dtype=float))
    if std == 0:
        raise DpdmError(f"{path}: {name} never changes.", "There is nothing to learn of it.")
    return Channel(name, **worded(attrs), transform="identity", mean=mean, std=std, residual=())


def describe(
    ds: xr.Dataset, states: int, recipe: LayersRecipe | PlanesRecipe, split: tuple[int, int]
) -> Contract:
    """Return what the prior will say of itself, before it is trained."""
    net = asdict(recipe.net)
    plane: tuple[int, ...] = () if on_components(ds) else (ds.sizes["y"], ds.sizes["x"])
    training = {
        "trajectories": split[0], "held_out": split[1], "length": ds.sizes["time"],
        "source": str(ds.attrs.get("title", ds.attrs.get("source", ""))),
        "recipe": asdict(recipe),
    }  # fmt: skip
    sigma = (recipe.train.sigma[0], recipe.train.sigma[1])
    sampling = SAMPLING_OF["plane" if plane else "components"]
    return Contract(
        spacing_of(ds, plane), (0, 0), 0, cadence_of(ds),
        sigma, net | ({"given": 4} if plane else {}), training, {}, sampling,
        states, "" if plane else str(next(iter(ds.data_vars))), plane,
        bool(net.get("periodic", False)),
    )  # fmt: skip
