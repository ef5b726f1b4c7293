"""Trajectories as states, composed of the prior's windows.

Smoothing needs no model here: the prior's denoiser of windows, composed in time, represents
trajectories, and earlier and later observations guide all their states at once.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from dpdm.diffusion.guidance import Observation
from dpdm.diffusion.noise import MemberNoise, Noise
from dpdm.diffusion.tile import TimeWindows, tile_denoiser
from dpdm.errors import DpdmWarning
from dpdm.fields.file_names import restore_names
from dpdm.fields.level_names import parse_level
from dpdm.nets.layers import concatenate_features, record_outputs
from dpdm.observations.observation_operator import (
    observation_operator,
    values_and_errors,
    whitening_operator,
)
from dpdm.observations.quality_control import check_observations
from dpdm.observations.sounder import SounderChannels
from dpdm.observations.status import ObsStatus, mark_status
from dpdm.operators.geometry import GridAxis, GridLayout
from dpdm.operators.linear import as_single_row, compose_maps, pick_cells
from dpdm.operators.registry import ObsLocations
from dpdm.prior import CLIMATE_STATES, Prior
from dpdm.prior.variable_spec import VariableSpec
from dpdm.prior.windows import state_scaling, window_denoiser
from dpdm.states.ensemble import add_statistic_attrs, ensemble_layout
from dpdm.states.options import EnsembleOptions, SamplerConfig
from dpdm.states.sampling import Background, Completion, Modules, Numbers, Step, draw_samples
from dpdm.system import check_required_memory
from dpdm.types import Denoise, Fields, Operator

Array = NDArray[np.float64]
TRAJECTORY_AXIS = {"long_name": "number of the trajectory"}
WORKING_COPIES = 100  # of a trajectory, for guidance and sampling
BIAS_WARNING = (
    "Without corrections, trajectories composed of windows are known to be biased: they jump from "
    "state to state, and observations have little effect in time. Use --corrections 3."
)


@dataclass(frozen=True)
class StateFile:
    """The states of a file.

    Attributes:
        path: The file.
        values: Trajectories (N, T, C, ...).
        axes: Axes and global attributes of the file.
        attrs: Metadata of each variable.
    """

    path: Path
    values: NDArray[Any]
    axes: xr.Dataset
    attrs: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class TrajectorySpace:
    """Trajectories of components, or of fields on a plane.

    Attributes:
        prior: A prior of trajectories.
        options: Options of the ensemble.
        sampler: Settings of the sampler.
        time: Times of the states (T,), dates or numbers.
        inner: Coordinates of a state: its components, or y and x.
        numbers: Numbers of the trajectories; empty for a single one.
        sounder: Channels of brightness temperatures, or None.
        file: The trajectories of a file, or None.
    """

    prior: Prior
    options: EnsembleOptions
    sampler: SamplerConfig
    time: xr.DataArray
    inner: Mapping[str, xr.DataArray]
    numbers: tuple[int, ...] = ()
    sounder: SounderChannels | None = None
    file: StateFile | None = field(default=None, repr=False)

    @property
    def steps(self) -> Sequence[Step]:
        """Return the numbers of the trajectories."""
        return self.numbers or (None,)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape (T, C, ...) of x."""
        return self.extent

    @property
    def extent(self) -> tuple[int, ...]:
        """Return the shape (T, C, ...) of a physical trajectory."""
        return self.time.size, len(self.prior.normaliser.channels), *self.prior.contract.plane

    @property
    def names(self) -> list[str]:
        """Return the names of the variables or components."""
        return self.prior.normaliser.names

    @property
    def file_axes(self) -> xr.Dataset:
        """Return the axes and global attributes of the file."""
        return xr.Dataset() if self.file is None else self.file.axes

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Return the global attributes of the file."""
        return self.file_axes.attrs

    @property
    def notes(self) -> dict[str, object]:
        """Return no further provenance."""
        return {}

    @property
    def weights(self) -> Array:
        """Return equal weights."""
        return np.ones(())

    @property
    def variables(self) -> Sequence[str]:
        """Return the variables that can be observed."""
        return (self.prior.contract.variable,) if self.prior.contract.variable else self.names

    @cached_property
    def layout(self) -> GridLayout:
        """Return the cells of a state on a plane."""
        centres = [self.inner[side].values.astype(float) for side in ("y", "x")]
        periods = [
            len(c) * (c[-1] - c[0]) / (len(c) - 1) if self.prior.contract.periodic else 0.0
            for c in centres
        ]
        y, x = (GridAxis(*each) for each in zip("yx", centres, periods, strict=True))
        return GridLayout(y, x, sphere=False)

    @cached_property
    def frame(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the states, which broadcast to (T, C, ...)."""
        return state_scaling(self.prior)

    def label(self, step: Step) -> str:
        """Return the label that, with the seed, determines the noise of a trajectory."""
        return "trajectory" if step is None else f"trajectory {step}"

    def noise(self, step: Step, seed: int) -> MemberNoise:
        """Return the noise of the members of a trajectory."""
        return MemberNoise(self.shape, seed, self.label(step))

    def denoiser(
        self, step: Step, sampler: SamplerConfig, observation: Observation | None = None
    ) -> Denoise:
        """Return the denoiser of trajectories (B, T, C, ...)."""
        spans = TimeWindows(self.time.size, self.prior.contract.states)
        denoise = tile_denoiser(window_denoiser(self.prior, sampler.device), spans)
        return denoise if observation is None else sampler.guide(denoise, observation)

    def normalise(self, values: Array, step: Step) -> Tensor:
        """Return x (T, C, ...) of a physical trajectory (C, T, H, W)."""
        return self.scale(values)

    def scale(self, values: Array) -> Tensor:
        """Return a physical trajectory (C, T, H, W) in standard deviations (T, C, ...)."""
        states = torch.from_numpy(values).movedim(1, 0).contiguous().reshape(self.extent)
        mean, std = self.frame
        return ((states - mean) / std).float()

    def unscale(self, x: Fields) -> Fields:
        """Return trajectories in standard deviations (B, T, C, ...) as physical (B, C, T, ...)."""
        mean, std = (each.to(x) for each in self.frame)
        return (mean + std * x).movedim(2, 1)

    def physical(self, x: Fields) -> Fields:
        """Return x (B, T, C, ...) as physical trajectories (B, C, T, H, W)."""
        states = self.unscale(x)
        return states if self.prior.contract.plane else states[..., None, None]

    def completion(
        self, step: Step, noise: Noise, around: Array | None, origin: Tensor | None
    ) -> Completion:
        """Return the function from x of a member to the physical member (C, T, H, W)."""

        def complete(x: Tensor, number: int) -> Array:
            member: Array = self.physical(x[None].double())[0].numpy()
            return member

        return complete

    def mask_unknown(self, member: Array, step: Step) -> Array:
        """Return the member, of which all is written."""
        return member

    @cached_property
    def climate(self) -> list[Fields]:
        """Return states of the unconditional prior, constant in time."""
        states = self.prior.contract.states
        noise = MemberNoise((states, *self.shape[1:]), self.options.seed, "climate")
        sampler = replace(self.sampler, corrections=0, block=CLIMATE_STATES)
        drawn = draw_samples(
            window_denoiser(self.prior, sampler.device), noise, range(CLIMATE_STATES), sampler
        )
        constant = (self.physical(x[None, states // 2 : states // 2 + 1]) for x in drawn)
        return [x.expand(-1, -1, self.time.size, -1, -1) for x in constant]

    def check_analysis(self, count: int) -> None:
        """Refuse an analysis that does not fit into memory, and warn of a known bias."""
        stored = 1 if self.options.keep == "members" else self.options.members
        hint = "Give fewer --members, --keep members, or a shorter trajectory."
        check_required_memory(
            (stored + WORKING_COPIES) * 4 * math.prod(self.extent), "The members take", hint
        )
        composed = self.time.size > self.prior.contract.states
        if composed and not self.sampler.corrections and self.prior.denoiser.law is None:
            warnings.warn(BIAS_WARNING, DpdmWarning, stacklevel=2)

    def screen(self, table: pd.DataFrame, coverage: float = 0.0) -> pd.DataFrame:
        """Return observations with the status and the step of each."""
        table, plane = table.copy(), self.prior.contract.plane
        mark_status(table, ~table["variable"].isin(self.variables), ObsStatus.NO_VARIABLE)
        for name in ("y", "x") if plane else ("component",):
            column = table[name] if name in table else pd.Series("", table.index)
            mark_status(table, column.isna() | (column == ""), ObsStatus(f"no {name}"))
        if not plane and "component" in table:
            mark_status(table, ~table["component"].isin(self.names), ObsStatus.OTHER_COMPONENT)
        if self.numbers:
            mark_status(table, table["trajectory"].isna(), ObsStatus.NO_TRAJECTORY)
        return check_observations(table, time=self.time)

    def rows(self, table: pd.DataFrame, step: Step) -> NDArray[np.bool_]:
        """Return a mask of the observations of a trajectory."""
        if step is None:
            return np.ones(len(table), bool)
        mask: NDArray[np.bool_] = (table["trajectory"] == step).to_numpy()
        return mask

    def operator(self, rows: pd.DataFrame, tried: bool = False) -> Operator:
        """Return the operator from physical trajectories (B, C, T, H, W) to the rows' values."""
        if self.prior.contract.plane:
            count, channels, *plane = self.extent
            return observation_operator(
                rows, self.sites, (channels, count, *plane) if tried else ()
            )
        numbers = torch.tensor([self.names.index(name) for name in rows["component"]])
        cell = pick_cells((1, 1), torch.zeros(len(rows), dtype=torch.long))
        first, last = self.interval(rows)
        links = cell.for_channel(numbers)
        return links.at_step(first) if last is None else links.average_steps(first, last)

    def sites(self, rows: pd.DataFrame) -> ObsLocations:
        """Return locations and steps of some rows on the plane."""
        first, last = self.interval(rows)
        y, x = (rows[side].to_numpy(float, copy=True) for side in ("y", "x"))
        return ObsLocations(self.layout, tuple(self.names), y, x, first, last)

    def interval(self, rows: pd.DataFrame) -> tuple[Tensor, Tensor | None]:
        """Return the first and the last step of rows (N,), None for the last of single steps."""
        names = [name for name in ("step", "last") if name in rows]
        first, *last = (torch.from_numpy(rows[n].to_numpy(np.int64, copy=True)) for n in names)
        return first, last[0] if last else None

    def background_equivalents(
        self, step: Step, operator: Operator, named: NDArray[np.object_]
    ) -> Array:
        """Return the equivalents of states of the prior (N, P)."""
        values: Array = torch.cat([operator(x) for x in self.climate]).T.numpy()
        return values

    def unresolved_variance(self, operator: Operator) -> Tensor | float:
        """Return the variance of observed values (N,) that drawn states do not represent."""
        return 0.0

    def observation(
        self, step: Step, rows: pd.DataFrame, operator: Operator, background: Background
    ) -> Observation:
        """Return rows as observations of x, with independent errors."""
        value, error = values_and_errors(rows, np.float32)
        equivalents = torch.from_numpy(background[0].T.copy())
        white = whitening_operator(rows, self.sounder)
        if white is not None:
            operator = compose_maps(operator, as_single_row, white)
            value = white(as_single_row(value[None]))[0]
            equivalents, error = white(as_single_row(equivalents)), error**0
        variance = error**2 + torch.as_tensor(self.unresolved_variance(operator)).float()
        scale = equivalents.var(0, correction=0).float()
        return Observation(
            compose_maps(self.physical, operator), value, variance, scale,
            steps=self.sampler.steps_taken,
        )  # fmt: skip

    def values(self, step: Step) -> Array:
        """Return a physical trajectory (C, T, H, W) of the file."""
        assert self.file is not None
        number = 0 if step is None else self.numbers.index(step)
        states: Array = np.moveaxis(self.file.values[number].astype(float), 1, 0)
        return states if self.prior.contract.plane else states[..., None, None]

    def centre(self, members: Array, step: Step) -> Array:
        """Return members shifted so that their mean is the trajectory."""
        moved: Array = members - members.mean(0) + self.values(step)
        return moved

    @torch.no_grad()
    def features(self, x: Tensor, step: Step, modules: Modules, sigma: float) -> Tensor:
        """Return the outputs of layers at the states of noisy x (T, F, ...)."""
        windows = x.unfold(0, self.prior.contract.states, 1).movedim(-1, 1)
        windows = windows.to(self.sampler.device)
        features = compute_window_features(
            self.prior, windows, modules, sigma, self.sampler.device
        )
        return self.centre_windows(features.cpu(), len(x))

    def centre_windows(self, windows: Tensor, count: int) -> Tensor:
        """Return for each state the features of the window that is centred at it."""
        index = torch.arange(count) - self.prior.contract.states // 2
        return windows[index.clamp(0, len(windows) - 1)]

    def axes(self, step: Step = None) -> dict[str, xr.DataArray]:
        """Return trajectory, time and, on a plane, y and x."""
        axes = self.file_axes
        axes = axes if step is None else axes.isel(trajectory=[self.numbers.index(step)])
        sides = ("y", "x") if self.prior.contract.plane else ()
        return {n: axes[n].reset_coords(drop=True) for n in ("trajectory", "time", *sides)}

    def add_times(self, layout: xr.Dataset) -> xr.Dataset:
        """Return the layout: trajectories have no bounds of times."""
        return layout

    @cached_property
    def variables_written(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the metadata of each variable that is written."""
        channels, variable = self.prior.normaliser.channels, self.prior.contract.variable
        if self.file is not None:
            return self.file.attrs
        if variable:
            return {variable: {"long_name": variable, "units": channels[0].units or "1"}}
        return {channel.name: channel_attrs(channel) for channel in channels}

    def label_values(
        self, values: Numbers, member: int | None = None, statistic: str = "", step: Step = None
    ) -> xr.Dataset:
        """Return physical states (C, T, H, W) with axes and metadata."""
        axes: dict[str, Any] = {} if member is None else {"realization": [member]}
        axes |= {"trajectory": [self.numbers[0] if step is None else step]} if self.numbers else {}
        coords: dict[str, Any] = axes | {"time": self.time} | dict(self.inner)
        arrays = {}
        for c, (name, attrs) in enumerate(self.variables_written.items()):
            states = values[c] if self.prior.contract.plane else values[..., 0, 0].T
            array = xr.DataArray(states[(None,) * len(axes)], coords, list(coords), name, attrs)
            array = add_statistic_attrs(self.to_file_units(array, statistic), statistic)
            arrays[f"{name}_{statistic}" if statistic else name] = array
        return restore_names(xr.Dataset(arrays))

    def to_file_units(self, array: xr.DataArray, statistic: str) -> xr.DataArray:
        """Return a variable in the units of the file."""
        return array

    def template(self) -> xr.Dataset:
        """Return the layout of the output, with the axes of the input file if there is one."""
        count, channels, *plane = self.extent
        numbers = np.array(self.numbers, np.int32)
        many = {"trajectory": ("trajectory", numbers, TRAJECTORY_AXIS)} if numbers.size else {}
        axes: dict[str, Any] = {**many, "time": self.time, **self.inner}
        if self.file is not None and many:
            axes = {str(n): axis for n, axis in self.file_axes.coords.items()}
        shape = (channels, count, *(plane or (1, 1)))
        layout = ensemble_layout(
            shape, self.options, self.label_values, {"realization": None, **axes}
        )
        return layout.assign_attrs(self.attrs)


def compute_window_features(
    prior: Prior,
    windows: Tensor,
    modules: Modules,
    sigma: float,
    device: str,
    season: float | None = None,
    extent: tuple[int, ...] | None = None,
) -> Tensor:
    """Return the outputs of layers at normalised windows (B, w, C, ...), on an extent."""
    with record_outputs(modules) as recorded:
        window_denoiser(prior, device, season)(windows, windows.new_full((len(windows),), sigma))
    return concatenate_features(recorded, tuple(windows.shape[3:]) if extent is None else extent)


def channel_attrs(channel: VariableSpec) -> dict[str, Any]:
    """Return the metadata of a channel's variable."""
    attrs = {"long_name": channel.long_name or channel.name, "units": channel.units or "1"}
    attrs |= {"standard_name": channel.standard_name} if channel.standard_name else {}
    level = parse_level(channel.name, channel.family)
    return attrs if level is None else attrs | level.attributes
