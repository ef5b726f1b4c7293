"""States on the globe, one after the other, as one trajectory: as such priors know them.

Where the prior knows codes, its denoiser draws codes of states. What the code cannot hold widens
the errors of observations, and members are given some of it; members around a state keep what
that state's code cannot hold, so that without noise a member is the state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from dpdm.bound import lawful, scaling, windowed
from dpdm.diffusion.tile import Spans, tile
from dpdm.draw import (
    Completion,
    MemberNoise,
    Modules,
    SamplerConfig,
    Seen,
    Step,
    noise,
    sampler_config,
)  # fmt: skip
from dpdm.ensemble import EnsembleOptions
from dpdm.errors import DpdmError
from dpdm.fields.cf import AXES
from dpdm.fields.channels import Channels
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.stations import check
from dpdm.fields.store import load, open_fields
from dpdm.fields.time import seasons
from dpdm.fields.trajectories import check_times
from dpdm.fields.units import from_canonical
from dpdm.instruments import locate
from dpdm.nets.autoencoder import SIDE, Autoencoder
from dpdm.operators.layout import Layout, globe
from dpdm.operators.registry import Sites
from dpdm.prior import Prior, check_length
from dpdm.sighted import levels_of, screen_observations, weights_of
from dpdm.states.axes import check_cadence, check_count
from dpdm.states.domain import check_whole
from dpdm.states.fields import without_gaps
from dpdm.states.trajectories import StateFile, TrajectorySpace, window_features
from dpdm.types import Denoise, Fields, Operator

Array = NDArray[np.float64]
PARTS = 24  # of the year, within each of which the season given to the network is the same
SIDES = ("time", "lat", "lon")


@dataclass(frozen=True)
class GlobalSpace(TrajectorySpace):
    """States on the globe: seasons, relief, levels, and where instruments stand."""

    @cached_property
    def grid(self) -> Grid:
        """Give the prior's grid."""
        return own_grid(self.prior)

    @property
    def weights(self) -> Array:
        """Give the areas of the cells over their mean (H, W)."""
        return self.grid.weights

    @cached_property
    def season(self) -> list[float | None]:
        """Give the fraction of the year passed at each state."""
        return seasons(self.time)

    @cached_property
    def ground(self) -> xr.Dataset:
        """Give topography (m) and land fraction, as the prior was given them."""
        height, land = self.prior.climatology["ground"][:2].double().numpy()
        sides = ("lat", "lon")
        arrays = {"topography": (sides, 1000 * height), "land_fraction": (sides, land)}
        return xr.Dataset(arrays, self.grid.coords())

    @cached_property
    def layout(self) -> Layout:
        """Give the cells of a state."""
        return globe(self.grid.lat, self.grid.lon)

    @cached_property
    def frame(self) -> tuple[Tensor, Tensor]:
        """Give the seasonal mean of each state (T, C, H, W), and the scale (C, 1, 1)."""
        return scaling(self.prior, self.season)

    @property
    def shape(self) -> tuple[int, ...]:
        """Give the shape (T, C, H, W) of x, of codes where the prior knows codes."""
        if self.prior.coder is None:
            return self.extent
        height, width = (n // SIDE for n in self.prior.contract.plane)
        return self.time.size, self.prior.coder.codes, height, width

    def denoiser(self, step: Step, sampler: SamplerConfig, seen: Seen = None) -> Denoise:
        """Return the denoiser of whole trajectories, each window in its own season."""
        width = self.prior.contract.states
        spans = Spans(self.time.size, width)
        parts = [
            self.season_part(first + width // 2) for first in range(self.time.size - width + 1)
        ]
        bound = {part: windowed(self.prior, sampler.device, part) for part in set(parts)}
        each = tile(bound[parts[0]] if len(bound) == 1 else [bound[p] for p in parts], spans)
        denoise = lawful(each, self.prior, self.time.size)
        return denoise if seen is None else sampler.guide(denoise, seen)

    def season_part(self, state: int) -> float | None:
        """Return the season of a state, rounded to parts of the year."""
        season = self.season[state]
        return None if season is None else round(season * PARTS) % PARTS / PARTS

    def normalise(self, values: Array, step: Step) -> Tensor:
        """Return x of a physical trajectory (C, T, H, W), normalised states or codes."""
        x = self.scale(values)
        if self.prior.coder is None:
            return x
        coder, ground = self.prior.coder, self.prior.climatology["ground"]
        with torch.no_grad():
            return coder.cpu().encode(x, coder.features(ground[None].float()))

    def physical(self, x: Fields) -> Fields:
        """Return x (B, T, C, ...) as physical trajectories (B, C, T, H, W)."""
        return self.unscale(x if self.prior.coder is None else self.decode_states(x))

    def decode_states(self, code: Fields) -> Fields:
        """Return the states of codes (B, T, Z, h, w)."""
        coder = cast(Autoencoder, self.prior.coder).to(code.device)
        ground = self.prior.climatology["ground"][None].to(code.device)
        states = coder.decode(code.flatten(0, 1).float(), coder.features(ground), straight=True)
        return states.reshape(*code.shape[:2], *states.shape[1:]).to(code)

    def completion(
        self, step: Step, noise: MemberNoise, around: Array | None, origin: Tensor | None
    ) -> Completion:
        """Return the function from x of a member to the physical member (C, T, H, W)."""

        def bare(x: Tensor) -> Array:
            with torch.no_grad():
                member: Array = self.physical(x[None].double())[0].numpy()
            return member

        if around is None or origin is None:
            return lambda x, number: self.complete_member(bare(x), noise, number)
        rest = around - bare(origin)
        return lambda x, number: bare(x) + rest

    def complete_member(self, state: Array, own: MemberNoise, member: int) -> Array:
        """Return a physical trajectory with some of what the code cannot hold, at each time."""
        if self.prior.coder is None:
            return state
        examples = self.prior.climatology["lost"]
        which = noise((self.time.size,), own.seed, member, f"{own.label}/lost")
        some = examples[(torch.special.ndtr(which) * len(examples)).long()].double()
        lost: Array = (self.frame[1] * some).movedim(1, 0).numpy()
        return state + lost

    def lost_variance(self, operator: Operator) -> Tensor | float:
        """Return the variance of observed values (N,) that the code cannot hold."""
        if self.prior.coder is None:
            return 0.0
        examples, count = self.prior.climatology["lost"].float(), self.time.size
        values = [operator(self.unscale(x.expand(1, count, *x.shape))) for x in examples]
        spread: Tensor = torch.cat(values).var(0)
        return spread

    @cached_property
    def climate(self) -> list[Fields]:
        """Give states that the prior has learnt from, on their way through the seasons."""
        examples = self.prior.climatology["examples"].float()
        return [self.unscale(x.expand(1, self.time.size, *x.shape)) for x in examples]

    def screen(self, table: pd.DataFrame, coverage: float = 0.0) -> pd.DataFrame:
        """Return observations with the status and the step of each."""
        table = screen_observations(table, self.prior.normaliser.channels, self.sounder)
        return check(table, self.grid, self.time, statics=self.ground)

    def sites(self, rows: pd.DataFrame) -> Sites:
        """Return where and when some rows were measured."""
        first, last = self.interval(rows)
        pressure = rows["pressure"].to_numpy(float) if "pressure" in rows else None
        seen = self.sounder_weights if (rows["variable"] == "tb").any() else {}
        return locate(
            rows, self.layout, self.names, self.ground["topography"].values, first=first,
            last=last, pressure=pressure, levels=self.levels, weights=seen,
        )  # fmt: skip

    @cached_property
    def levels(self) -> tuple[float, ...]:
        """Give the pressures of the variables, Pa; 0 for those on none."""
        return levels_of(self.prior.normaliser.channels)

    @cached_property
    def sounder_weights(self) -> Mapping[str, Array]:
        """Give what the channels of the sounder see, on the prior's levels."""
        assert self.sounder is not None
        return weights_of(self.names, self.levels, self.sounder)

    @torch.no_grad()
    def features(self, x: Tensor, step: Step, modules: Modules, sigma: float) -> Tensor:
        """Return the outputs of layers at the states of noisy x (T, F, H, W)."""
        width, device = self.prior.contract.states, self.sampler.device
        found = []
        for first in range(len(x) - width + 1):
            window = x[None, first : first + width].to(device)
            season = self.season_part(first + width // 2)
            one = window_features(
                self.prior, window, modules, sigma, device, season, self.extent[2:]
            )
            found.append(one.cpu())
        return self.centre_windows(torch.cat(found), len(x))

    def axes(self, step: Step = None) -> dict[str, xr.DataArray]:
        """Return time, latitude and longitude."""
        return {"time": self.time, **self.inner}

    def to_file_units(self, array: xr.DataArray, statistic: str) -> xr.DataArray:
        """Return a variable in the units of the file."""
        if self.file is None:
            return array
        return from_canonical(array, None, difference=statistic == "spread")


def of_file(path: Path, prior: Prior, options: EnsembleOptions) -> GlobalSpace:
    """Return the states of a file on the prior's grid, at even times."""
    space = observed_space(prior, pd.DataFrame(), path, path.name, options)
    opened = open_fields(path, missing=options.missing)
    check_whole(opened, prior, path)
    fields = load(opened[list(space.names)], path)
    arrays = {n: fields[n].transpose(*SIDES).values for n in space.names}
    without_gaps(path, arrays)
    words = {n: dict(fields[n].attrs) for n in space.names}
    like = xr.Dataset(attrs=fields.attrs)
    file = StateFile(path, np.stack(list(arrays.values()), axis=1)[None], like, words)
    return replace(space, sampler=replace(space.sampler, corrections=0), file=file)


def observed_space(
    prior: Prior,
    table: pd.DataFrame,
    grid: Path | None,
    named: str,
    options: EnsembleOptions = EnsembleOptions(),
    sounder: Channels | None = None,
) -> GlobalSpace:
    """Return the states to estimate: at a file's times, or from the first observed to the last."""
    sides = own_grid(prior).coords()
    inner = xr.Dataset(coords={n: (*sides[n], AXES[n]) for n in sides})
    time = dates(prior, table, named) if grid is None else times_of(grid, prior, inner)
    check_length(prior, time.size, named if grid is None else grid)
    sampler = sampler_config(options, prior)
    return GlobalSpace(
        prior, options, sampler, time, {n: inner[n] for n in sides}, sounder=sounder
    )


def own_grid(prior: Prior) -> Grid:
    """Return the grid of a prior of states of the globe."""
    return Grid(*(prior.climatology[n].double().numpy() for n in ("lat", "lon")))


def times_of(path: Path, prior: Prior, own: xr.Dataset) -> xr.DataArray:
    """Return the times of a file on the prior's grid."""
    like = open_fields(path)
    if not grid_of(like).same(grid_of(own)):
        height, width = own.sizes["lat"], own.sizes["lon"]
        raise DpdmError(
            f"{path} is not on the prior's grid of {height} by {width} cells.",
            "Give a file like those that the prior was trained on.",
        )
    if "time" not in like.dims:
        raise DpdmError(f"{path} has no time axis.", "Give a file with the wanted times.")
    check_times(like, path)
    check_cadence(like, prior, path)
    return like["time"].load().reset_coords(drop=True)


def dates(prior: Prior, table: pd.DataFrame, named: str) -> xr.DataArray:
    """Return evenly spaced dates from the first observed to the last."""
    stamps = table["time"].dropna()
    if stamps.empty or stamps.dtype.kind != "M":
        raise DpdmError(
            f"{named} has no dates of the standard calendar.",
            "Give --grid with a file on the wanted times.",
        )
    step = pd.Timedelta(days=prior.contract.cadence)
    count = round((stamps.max() - stamps.min()) / step) + 1
    check_count(count, prior, named)
    return xr.DataArray(stamps.min() + step * np.arange(count), dims="time", name="time")
