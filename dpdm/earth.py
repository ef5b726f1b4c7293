"""Trajectories of states on the globe: seasons, relief, levels, and where instruments stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
from dpdm.course import Course, check_cadence, check_count
from dpdm.diffusion.tile import Spans, tile
from dpdm.draw import Dice, How, noise
from dpdm.errors import DpdmError
from dpdm.fields.cf import AXES
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.stations import check
from dpdm.fields.store import open_fields
from dpdm.fields.time import seasons
from dpdm.fields.trajectories import check_times
from dpdm.instruments import operator_of
from dpdm.nets.autoencoder import SIDE, Autoencoder
from dpdm.operators.layout import Layout, globe
from dpdm.operators.points import climb, points
from dpdm.operators.registry import Sites
from dpdm.prior import Prior, check_length
from dpdm.sighted import levels_of, screen_observations, weights_of
from dpdm.types import Denoise, Fields, Operator

PARTS = 24  # of the year, within each of which the season given to the network is the same


@dataclass(frozen=True)
class Earth(Course):
    """States on the globe that a prior is to estimate."""

    @property
    def grid(self) -> Grid:
        """Give the prior's grid."""
        return Grid(*(self.prior.climatology[n].double().numpy() for n in ("lat", "lon")))

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
        """Give the shape (T, C, H, W) of a trajectory, of codes where the prior knows codes."""
        if self.prior.coder is None:
            return super().shape
        height, width = (n // SIDE for n in self.prior.contract.plane)
        return self.time.size, self.prior.coder.codes, height, width

    @property
    def extent(self) -> tuple[int, ...]:
        """Give the shape (T, C, H, W) of a physical trajectory."""
        return super().shape

    def lost(self, operator: Operator) -> Tensor | float:
        """Return the variance of observed values (N,) that the code cannot hold."""
        if self.prior.coder is None:
            return 0.0
        examples = self.prior.climatology["lost"].float()
        count = self.time.size
        values = [operator(self.scaled(x.expand(1, count, *x.shape))) for x in examples]
        spread: Tensor = torch.cat(values).var(0)
        return spread

    def completed(self, state: Fields, dice: Dice, member: int) -> Fields:
        """Return a physical trajectory with some of what the code cannot hold, at each time."""
        if self.prior.coder is None:
            return state
        examples = self.prior.climatology["lost"]
        which = noise((self.time.size,), dice.seed, member, f"{dice.label}/lost")
        some = examples[(torch.special.ndtr(which) * len(examples)).long()].to(state)
        return state + (self.frame[1].to(state) * some).movedim(1, 0)

    def physical(self, x: Fields) -> Fields:
        """Return normalised trajectories (B, T, C, ...) as physical ones (B, C, T, H, W)."""
        return self.scaled(x if self.prior.coder is None else self.decoded(x))

    def scaled(self, x: Fields) -> Fields:
        """Return normalised states (B, T, C, H, W) as physical ones (B, C, T, H, W)."""
        mean, std = (each.to(x) for each in self.frame)
        return (mean + std * x).movedim(2, 1)

    def decoded(self, code: Fields) -> Fields:
        """Return the states of codes (B, T, Z, h, w)."""
        coder = cast(Autoencoder, self.prior.coder).to(code.device)
        ground = self.prior.climatology["ground"][None].to(code.device)
        states = coder.decode(code.flatten(0, 1).float(), coder.features(ground), straight=True)
        return states.reshape(*code.shape[:2], *states.shape[1:]).to(code)

    def denoise(self, how: How) -> Denoise:
        """Return the denoiser of whole trajectories, each window in its own season."""
        width = self.prior.contract.states
        spans = Spans(self.time.size, width)
        parts = [self.part(first + width // 2) for first in range(self.time.size - width + 1)]
        bound = {part: windowed(self.prior, how.device, part) for part in set(parts)}
        denoise = tile(bound[parts[0]] if len(bound) == 1 else [bound[p] for p in parts], spans)
        return lawful(denoise, self.prior, self.time.size)

    def part(self, state: int) -> float | None:
        """Return the season of a state, rounded to parts of the year."""
        season = self.season[state]
        return None if season is None else round(season * PARTS) % PARTS / PARTS

    def climate(self, how: How, seed: int) -> list[Fields]:
        """Return states that the prior has learnt from, on their way through the seasons."""
        examples = self.prior.climatology["examples"].float()
        return [self.scaled(x.expand(1, self.time.size, *x.shape)) for x in examples]

    def operator(self, rows: pd.DataFrame) -> Operator:
        """Return the operator from physical trajectories (B, C, T, H, W) to the rows' values."""
        count, channels, *plane = self.extent
        return operator_of(rows, self.sites, (channels, count, *plane))

    def sites(self, rows: pd.DataFrame) -> Sites:
        """Return where and when some rows were measured."""
        lat, lon, height = (
            rows[n].to_numpy(float, copy=True) for n in ("lat", "lon", "elevation")
        )
        up = climb(points(self.layout, lat, lon), self.ground["topography"].values, height)
        pressure = rows["pressure"].to_numpy(float) if "pressure" in rows else None
        seen = self.weights if (rows["variable"] == "tb").any() else {}
        when = self.interval(rows)
        return Sites(self.layout, self.names, lat, lon, *when, up, pressure, self.levels, seen)

    @cached_property
    def levels(self) -> tuple[float, ...]:
        """Give the pressures of the variables, Pa; 0 for those on none."""
        return levels_of(self.prior.normaliser.channels)

    @cached_property
    def weights(self) -> Mapping[str, NDArray[np.float64]]:
        """Give what the channels of the sounder see, on the prior's levels."""
        assert self.sounder is not None
        return weights_of(self.names, self.levels, self.sounder)

    def checked(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return observations with the status and the step of each."""
        table = screen_observations(table, self.prior.normaliser.channels, self.sounder)
        return check(table, self.grid, self.time, statics=self.ground)


def earth_of(prior: Prior, table: pd.DataFrame, grid: Path | None, named: str) -> Earth:
    """Return the states to estimate: at a file's times, or from the first observed to the last.

    Raises:
        DpdmError: When prior, file and observations do not fit each other.
    """
    sides = Grid(*(prior.climatology[n].double().numpy() for n in ("lat", "lon"))).coords()
    inner = xr.Dataset(coords={n: (*sides[n], AXES[n]) for n in sides})
    time = dates(prior, table, named) if grid is None else times_of(grid, prior, inner)
    check_length(prior, time.size, named if grid is None else grid)
    return Earth(prior, time, {n: inner[n] for n in sides})


def times_of(path: Path, prior: Prior, own: xr.Dataset) -> xr.DataArray:
    """Return the times of a file on the prior's grid.

    Raises:
        DpdmError: When it is on another grid, has no times, or uneven ones.
    """
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
    """Return evenly spaced dates from the first observed to the last.

    Raises:
        DpdmError: When there is no date, or when they span more states than make sense.
    """
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
