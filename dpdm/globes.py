"""What a series of fields on the Earth teaches about their course: windows of successive states.

A state is all variables on all levels at one time. It is modelled as what it departs from the
seasonal mean of its place, over the standard deviation of that on its level. The first eight
tenths of the series are learnt from, the next tenth measures progress, and the last is never
looked at: it is there for an honest test.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from dpdm.bound import seasoned
from dpdm.contract import SAMPLING_OF, Contract
from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.seasons import basis, harmonics
from dpdm.fields.store import load, one_member
from dpdm.fields.tensors import Channel, Normaliser, worded
from dpdm.fields.time import seasons
from dpdm.fields.trajectories import cadence_of, check_times
from dpdm.nets.wiener import Wiener
from dpdm.prior import CLIMATE, Prior, new_denoiser
from dpdm.recipe import GlobesRecipe
from dpdm.trajectories import check_start, check_window, denoised, windows_at

PLAIN: dict[str, Any] = {"transform": "identity", "mean": 0.0, "residual": ()}


@dataclass(frozen=True)
class Globes:
    """What one training run on states of the globe needs.

    Attributes:
        states: Normalised states (T, C, H, W), float32, of all times but those for the test.
        taught: How many of them are learnt from; the others measure progress.
        season: Fraction of the year passed at each of them, None where no season applies.
        ground: What is given of each cell (G, H, W).
        area: Area of the cells over their mean (H, 1).
        normaliser: The scaling of the variables.
        contract: What the prior will say of itself.
        recipe: The settings.
        beside: What the prior keeps beside its weights, by its attributes.
        start: The prior whose weights it begins with, or nothing.
        measure: What the scores are.
    """

    states: Tensor
    taught: int
    season: list[float | None]
    ground: Tensor
    area: Tensor
    normaliser: Normaliser
    contract: Contract
    recipe: GlobesRecipe
    beside: dict[str, Any] = field(default_factory=dict)
    start: Prior | None = None
    measure: str = "RMSE over noise"

    def fresh(self) -> Any:
        """Return an untrained denoiser, which knows the Gaussian law of the windows."""
        values = self.states.shape[1] * self.contract.states
        denoiser = new_denoiser(values, self.contract.net)
        cast(Wiener, denoiser.law).load_state_dict(self.law.state_dict())
        return denoiser

    @cached_property
    def law(self) -> Wiener:
        """Give the Gaussian law of the windows, estimated from what is learnt from."""
        law = Wiener(*self.contract.net["law"])
        law.settle(self.states[: self.taught])
        return law

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return windows (B, w C, H, W), drawn at random, and what is given of them."""
        starts = self.taught - self.contract.states + 1
        return self.at(rng.integers(0, starts, self.recipe.train.batch))

    def at(self, starts: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return windows that begin at some states, and what is given of them."""
        width = self.contract.states
        season = [self.season[int(start) + width // 2] for start in starts]
        x = windows_at(self.states[None], starts, width)
        return x, seasoned(self.ground, season)

    def scores(self, student: Any, device: str) -> dict[str, float]:
        """Return the RMSE of denoising at a few levels, over the noise that was added."""
        rng = np.random.default_rng(1)
        starts = rng.integers(self.taught, len(self.states) - self.contract.states + 1, 24)
        x, given = (each.to(device) for each in self.at(starts))
        return denoised(student, x, given, rng)

    def extra(self) -> dict[str, Any]:
        """Return the seasonal mean, the ground, some states, and what made codes of them."""
        return self.beside


def prepare(
    fields: xr.Dataset, ground: NDArray[np.float64], named: str, states: int,
    recipe: GlobesRecipe, start: Prior | None = None,
) -> Globes:  # fmt: skip
    """Return the lesson that a series of fields teaches, in windows of so many states.

    Args:
        fields: The series, on the whole globe.
        ground: Topography (m) and land fraction on its grid (2, H, W).
        named: What a message calls the series.
        states: States of a window.
        recipe: The settings.
        start: The prior to begin with, or nothing.

    Raises:
        DpdmError: When the series is short, uneven, not global or damaged.
    """
    check_series(fields, named)
    check_window(fields, states, named)
    check_times(fields, named)
    grid = grid_of(fields)
    check_globe(grid, named)
    first, last = split(fields.sizes["time"], states, named)
    season = seasons(fields["time"], fields.get("time_bnds"))[:last]
    values = stacked(fields.isel(time=slice(last)), named)
    cycle = harmonics(values[:first], season[:first])
    depart(values, cycle, season)
    normaliser = scaled(fields, values[:first], grid)
    values /= np.array([c.std for c in normaliser.channels], np.float32)[:, None, None]
    contract = describe(fields, grid, states, recipe, (first, last), season)
    if start is not None:
        check_start(start, normaliser, contract)
    x, below = torch.from_numpy(values), beneath(grid, ground)
    return Globes(
        x, first, season, below, torch.from_numpy(grid.weights[:, :1]).float(), normaliser,
        contract, recipe, {"climatology": kept(grid, cycle, below, x[:first])}, start,
    )  # fmt: skip


def kept(
    grid: Grid, cycle: NDArray[np.float64], ground: Tensor, taught: Tensor
) -> dict[str, Tensor]:
    """Return the tensors that a prior of states on the globe keeps."""
    some = np.linspace(0, len(taught) - 1, CLIMATE).round().astype(int)
    return {
        "lat": torch.from_numpy(grid.lat),
        "lon": torch.from_numpy(grid.lon),
        "harmonics": torch.from_numpy(cycle.astype(np.float32)),
        "ground": ground,
        "examples": taught[some].half(),
    }


def check_series(fields: xr.Dataset, named: str) -> None:
    """Refuse fields that are no series, or an ensemble of them.

    Raises:
        DpdmError: When they are.
    """
    if "time" not in fields.dims:
        raise DpdmError(f"{named} has no time axis.", "Give a series of states.")
    if "realization" in fields.dims:
        raise DpdmError(
            f"{named} holds {fields.sizes['realization']} members.",
            one_member(fields),
        )


def check_globe(grid: Grid, named: str) -> None:
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


def split(count: int, states: int, named: str) -> tuple[int, int]:
    """Return where the states to learn from end, and where those that measure progress."""
    first, last = round(0.8 * count), round(0.9 * count)
    if last - first < states:
        raise DpdmError(
            f"{named} holds {count} states; a tenth of them is less than a window of {states}.",
            f"Give at least {10 * states}, better thousands.",
        )
    return first, last


def stacked(fields: xr.Dataset, named: str) -> NDArray[np.float32]:
    """Return all variables in memory (T, C, H, W), checked, NaN where missing."""
    shape = (fields.sizes["time"], len(fields.data_vars), fields.sizes["lat"], fields.sizes["lon"])
    out = np.empty(shape, np.float32)
    for number, name in enumerate(fields.data_vars):
        array = load(fields[[name]], named, gaps=True)[name]
        out[:, number] = array.transpose("time", "lat", "lon").values
    return out


def depart(
    values: NDArray[np.float32], cycle: NDArray[np.float64], season: list[float | None]
) -> None:
    """Turn states (T, C, H, W) into departures from the seasonal mean, in place."""
    known = basis(season).numpy()
    for number, row in enumerate(known):
        values[number] -= np.tensordot(row, cycle, 1).astype(np.float32)


def scaled(fields: xr.Dataset, values: NDArray[np.float32], grid: Grid) -> Normaliser:
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
        channels.append(Channel(str(name), **worded(array.attrs), **PLAIN, std=std))
    return Normaliser(tuple(channels))


def beneath(grid: Grid, ground: NDArray[np.float64]) -> Tensor:
    """Return what is given of each cell (6, H, W): relief, land, and where it lies."""
    lat, lon = np.meshgrid(np.radians(grid.lat), np.radians(grid.lon), indexing="ij")
    where = [
        np.sin(lat),
        np.cos(lat) * np.cos(lon),
        np.cos(lat) * np.sin(lon),
        np.abs(np.sin(lat)),
    ]
    return torch.from_numpy(np.stack([ground[0] / 1000, ground[1], *where]).astype(np.float32))


def describe(
    fields: xr.Dataset, grid: Grid, states: int, recipe: GlobesRecipe, split: tuple[int, int],
    season: list[float | None],
) -> Contract:  # fmt: skip
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
    return Contract(
        grid.spacing, (0, 0), 0, cadence_of(fields), sigma, net, training, {},
        SAMPLING_OF["globe"], states, "", grid.shape, globe=True,
    )  # fmt: skip
