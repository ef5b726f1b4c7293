"""States of the globe: one trajectory of fields on the prior's grid.

A prior of codes draws codes of states. The reconstruction error of the code inflates the errors of
observations, and examples of it are added to members. Members around a state have the
reconstruction error of that state, so without noise a member is the state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from dpdm.diffusion.guidance import Observation
from dpdm.diffusion.noise import Noise, draw_noise
from dpdm.diffusion.tile import TimeWindows, tile_denoiser
from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.metadata import AXIS_ATTRS
from dpdm.fields.read import open_fields
from dpdm.fields.time import year_fractions
from dpdm.fields.trajectories import check_times
from dpdm.fields.units import from_canonical
from dpdm.fields.value_checks import load_checked_fields
from dpdm.nets.autoencoder import CODE_FACTOR, Autoencoder
from dpdm.observations.observation_operator import (
    channel_weighting,
    screen_observations,
    station_locations,
    variable_pressures,
)
from dpdm.observations.quality_control import check_observations
from dpdm.observations.sounder import SounderChannels
from dpdm.operators.geometry import GridLayout, globe_layout
from dpdm.operators.registry import ObsLocations
from dpdm.prior import Prior, check_trajectory_length
from dpdm.prior.windows import add_covariance, state_scaling, window_denoiser
from dpdm.states.options import EnsembleOptions, FieldConditioning, SamplerConfig
from dpdm.states.requirements import (
    check_cadence,
    check_complete_state,
    check_no_gaps,
    check_state_count,
    refuse_field_options,
)
from dpdm.states.sampling import Completion, Modules, Step, choose_sampler_config
from dpdm.states.trajectories import StateFile, TrajectorySpace, compute_window_features
from dpdm.types import Denoise, Fields, Operator

Array = NDArray[np.float64]
SEASON_PARTS = 24  # of the year, each with one season for the network
GLOBE_DIMS = ("time", "lat", "lon")


@dataclass(frozen=True)
class GlobalSpace(TrajectorySpace):
    """States of the globe, with seasons, topography, levels and sounder."""

    @cached_property
    def grid(self) -> Grid:
        """Return the prior's grid."""
        return prior_grid(self.prior)

    @property
    def weights(self) -> Array:
        """Return the areas of the cells over their mean (H, W)."""
        return self.grid.weights

    @cached_property
    def season(self) -> list[float | None]:
        """Return the fraction of the year of each state."""
        return year_fractions(self.time)

    @cached_property
    def ground(self) -> xr.Dataset:
        """Return topography (m) and land fraction of the prior."""
        height, land = self.prior.climatology["ground"][:2].double().numpy()
        sides = ("lat", "lon")
        arrays = {"topography": (sides, 1000 * height), "land_fraction": (sides, land)}
        return xr.Dataset(arrays, self.grid.coords())

    @cached_property
    def layout(self) -> GridLayout:
        """Return the cells of a state."""
        return globe_layout(self.grid.lat, self.grid.lon)

    @cached_property
    def frame(self) -> tuple[Tensor, Tensor]:
        """Return the seasonal mean of each state (T, C, H, W), and the scale (C, 1, 1)."""
        return state_scaling(self.prior, self.season)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape (T, C, H, W) of x, states or codes."""
        if self.prior.coder is None:
            return self.extent
        height, width = (n // CODE_FACTOR for n in self.prior.contract.plane)
        return self.time.size, self.prior.coder.codes, height, width

    def denoiser(
        self, step: Step, sampler: SamplerConfig, observation: Observation | None = None
    ) -> Denoise:
        """Return the denoiser of trajectories, each window in its season."""
        width = self.prior.contract.states
        spans = TimeWindows(self.time.size, width)
        parts = [
            self.season_part(first + width // 2) for first in range(self.time.size - width + 1)
        ]
        bound = {part: window_denoiser(self.prior, sampler.device, part) for part in set(parts)}
        tiled = tile_denoiser(
            bound[parts[0]] if len(bound) == 1 else [bound[p] for p in parts], spans
        )
        denoise = add_covariance(tiled, self.prior, self.time.size)
        return denoise if observation is None else sampler.guide(denoise, observation)

    def season_part(self, state: int) -> float | None:
        """Return the season of a state, rounded to parts of the year."""
        season = self.season[state]
        return (
            None if season is None else round(season * SEASON_PARTS) % SEASON_PARTS / SEASON_PARTS
        )

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
        self, step: Step, noise: Noise, around: Array | None, origin: Tensor | None
    ) -> Completion:
        """Return the function from x of a member to the physical member (C, T, H, W)."""

        def decode(x: Tensor) -> Array:
            with torch.no_grad():
                member: Array = self.physical(x[None].double())[0].numpy()
            return member

        if around is None or origin is None:
            return lambda x, number: self.complete_member(decode(x), noise, number)
        remainder = around - decode(origin)
        return lambda x, number: decode(x) + remainder

    def complete_member(self, state: Array, noise: Noise, member: int) -> Array:
        """Return a physical trajectory plus an example of reconstruction errors at each time."""
        if self.prior.coder is None:
            return state
        examples = self.prior.climatology["lost"]
        normal = draw_noise((self.time.size,), noise.seed, member, f"{noise.label}/lost")
        chosen = examples[(torch.special.ndtr(normal) * len(examples)).long()].double()
        error: Array = (self.frame[1] * chosen).movedim(1, 0).numpy()
        return state + error

    def unresolved_variance(self, operator: Operator) -> Tensor | float:
        """Return the variance of observed values (N,) of reconstruction errors."""
        if self.prior.coder is None:
            return 0.0
        examples, count = self.prior.climatology["lost"].float(), self.time.size
        values = [operator(self.unscale(x.expand(1, count, *x.shape))) for x in examples]
        variance: Tensor = torch.cat(values).var(0)
        return variance

    @cached_property
    def climate(self) -> list[Fields]:
        """Return training states, as anomalies added to the seasonal means."""
        examples = self.prior.climatology["examples"].float()
        return [self.unscale(x.expand(1, self.time.size, *x.shape)) for x in examples]

    def screen(self, table: pd.DataFrame, coverage: float = 0.0) -> pd.DataFrame:
        """Return observations with the status and the step of each."""
        table = screen_observations(table, self.prior.normaliser.channels, self.sounder)
        return check_observations(table, self.grid, self.time, statics=self.ground)

    def sites(self, rows: pd.DataFrame) -> ObsLocations:
        """Return locations and steps of some rows."""
        first, last = self.interval(rows)
        pressure = rows["pressure"].to_numpy(float) if "pressure" in rows else None
        weights = self.sounder_weights if (rows["variable"] == "tb").any() else {}
        return station_locations(
            rows, self.layout, self.names, self.ground["topography"].values, first=first,
            last=last, pressure=pressure, levels=self.levels, weights=weights,
        )  # fmt: skip

    @cached_property
    def levels(self) -> tuple[float, ...]:
        """Return the pressures of the variables, Pa; 0 for those without a level."""
        return variable_pressures(self.prior.normaliser.channels)

    @cached_property
    def sounder_weights(self) -> Mapping[str, Array]:
        """Return the weighting functions of the sounder on the prior's levels."""
        assert self.sounder is not None
        return channel_weighting(self.names, self.levels, self.sounder)

    @torch.no_grad()
    def features(self, x: Tensor, step: Step, modules: Modules, sigma: float) -> Tensor:
        """Return the outputs of layers at the states of noisy x (T, F, H, W)."""
        width, device = self.prior.contract.states, self.sampler.device
        features = []
        for first in range(len(x) - width + 1):
            window = x[None, first : first + width].to(device)
            season = self.season_part(first + width // 2)
            output = compute_window_features(
                self.prior, window, modules, sigma, device, season, self.extent[2:]
            )
            features.append(output.cpu())
        return self.centre_windows(torch.cat(features), len(x))

    def axes(self, step: Step = None) -> dict[str, xr.DataArray]:
        """Return time, latitude and longitude."""
        return {"time": self.time, **self.inner}

    def to_file_units(self, array: xr.DataArray, statistic: str) -> xr.DataArray:
        """Return a variable in the units of the file."""
        if self.file is None:
            return array
        return from_canonical(array, None, difference=statistic == "spread")


def open_globe_file(
    path: Path, prior: Prior, options: EnsembleOptions, conditioning: FieldConditioning
) -> GlobalSpace:
    """Return the states of a file on the prior's grid, at even times."""
    refuse_field_options(options, conditioning)
    space = observed_globe_states(prior, pd.DataFrame(), path, path.name, options)
    opened = open_fields(path, missing=options.missing)
    check_complete_state(opened, prior, path)
    fields = load_checked_fields(opened[list(space.names)], path)
    arrays = {n: fields[n].transpose(*GLOBE_DIMS).values for n in space.names}
    check_no_gaps(path, arrays)
    attrs = {n: dict(fields[n].attrs) for n in space.names}
    values = np.stack(list(arrays.values()), axis=1)[None]
    file = StateFile(path, values, xr.Dataset(attrs=fields.attrs), attrs)
    return replace(space, sampler=replace(space.sampler, corrections=0), file=file)


def observed_globe_states(
    prior: Prior,
    table: pd.DataFrame,
    grid: Path | None,
    source: str,
    options: EnsembleOptions = EnsembleOptions(),
    sounder: SounderChannels | None = None,
) -> GlobalSpace:
    """Return the states to estimate, at the times of a file or over all observed times."""
    sides = prior_grid(prior).coords()
    inner = xr.Dataset(coords={n: (*sides[n], AXIS_ATTRS[n]) for n in sides})
    time = (
        observed_dates(prior, table, source) if grid is None else globe_times(grid, prior, inner)
    )
    check_trajectory_length(prior, time.size, source if grid is None else grid)
    sampler = choose_sampler_config(options, prior)
    return GlobalSpace(
        prior, options, sampler, time, {n: inner[n] for n in sides}, sounder=sounder
    )


def prior_grid(prior: Prior) -> Grid:
    """Return the grid of a prior of states of the globe."""
    return Grid(*(prior.climatology[n].double().numpy() for n in ("lat", "lon")))


def globe_times(path: Path, prior: Prior, axes: xr.Dataset) -> xr.DataArray:
    """Return the times of a file on the prior's grid."""
    file_fields = open_fields(path)
    if not grid_of(file_fields).is_same(grid_of(axes)):
        height, width = axes.sizes["lat"], axes.sizes["lon"]
        raise DpdmError(
            f"{path} is not on the prior's grid of {height} by {width} cells.",
            "Give a file like those that the prior was trained on.",
        )
    if "time" not in file_fields.dims:
        raise DpdmError(f"{path} has no time axis.", "Give a file with the times of the analysis.")
    check_times(file_fields, path)
    check_cadence(file_fields, prior, path)
    return file_fields["time"].load().reset_coords(drop=True)


def observed_dates(prior: Prior, table: pd.DataFrame, source: str) -> xr.DataArray:
    """Return evenly spaced dates from the first observed to the last."""
    stamps = table["time"].dropna()
    if stamps.empty or stamps.dtype.kind != "M":
        raise DpdmError(
            f"{source} has no dates of the standard calendar.",
            "Give --grid with a file at the times of the analysis.",
        )
    step = pd.Timedelta(days=prior.contract.cadence)
    count = round((stamps.max() - stamps.min()) / step) + 1
    check_state_count(count, prior, source)
    return xr.DataArray(stamps.min() + step * np.arange(count), dims="time", name="time")
