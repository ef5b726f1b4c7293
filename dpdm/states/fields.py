"""Fields on the Earth as states: each a time step, on a fine grid around coarse fields, if any.

A field is a residual to the lerp of its own block means, if the prior is to know them, or a whole
field of which nothing is known beside.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from dpdm.diffusion.block_means import BlockMeans
from dpdm.diffusion.noise import MemberNoise
from dpdm.diffusion.observation import Observation
from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.regrid import interpolate_bilinear, mean_matrices
from dpdm.fields.subset import locate_subgrid
from dpdm.fields.time import period_of_length, time_label, year_fractions
from dpdm.fields.units import from_canonical
from dpdm.fields.value_checks import load_checked_fields
from dpdm.nets.layers import concatenate_features, record_outputs
from dpdm.observations.observation_operator import (
    observation_operator,
    station_locations,
    values_and_errors,
)
from dpdm.observations.quality_control import check_observations
from dpdm.observations.status import ObsStatus, mark_status
from dpdm.operators.geometry import globe_layout
from dpdm.operators.registry import WIND_OPERATORS, ObsLocations
from dpdm.prior import CLIMATE_STATES, Prior
from dpdm.prior.conditioning import to_tensor
from dpdm.states.ensemble import (
    EnsembleOptions,
    add_statistic_attrs,
    ensemble_blocks,
    ensemble_layout,
)
from dpdm.states.field_posterior import Conditioning, Posterior
from dpdm.states.sampling import (
    Background,
    Completion,
    Modules,
    Numbers,
    SamplerConfig,
    Seen,
    Step,
    draw_ensemble,
)
from dpdm.system import check_required_memory
from dpdm.types import Denoise, Operator

Array = NDArray[np.float64]
STATISTICS_BYTES = (
    20  # of a member's value for statistics: single precision twice, deviations in double
)
MEMBER_BYTES = 64  # of a value of the member that is drawn


@dataclass(frozen=True)
class FieldFile:
    """Fields of a file as states, with the cells along each side of the blocks that are known."""

    path: Path
    fields: xr.Dataset
    factor: int


@dataclass(frozen=True)
class FieldSpace:
    """A coarse file and a prior that fit each other, and the grid between them.

    Attributes:
        coarse: Canonical coarse fields, lazy; only variables that the prior has. Where there are
            none, fields on the fine grid of which nothing is known.
        prior: The prior.
        grid: The fine grid.
        statics: Statics on it (2, H, W).
        smooth: Statics averaged to the coarse grid and lerped back (2, H, W).
        options: What the user asks.
        sampler: How to sample.
        blind: Whether there are no coarse fields.
        outside: Which cells of a file are missing because the mask says so; none without one.
        kept: The grid of the file, where it is a box of the fine grid.
        note: How the period of the coarse fields differs from the prior's, if it does.
        file: The fine fields that something is made of, if there are any.
    """

    coarse: xr.Dataset
    prior: Prior
    grid: Grid
    statics: Array
    smooth: Array
    options: EnsembleOptions
    sampler: SamplerConfig
    blind: bool = False
    outside: NDArray[np.bool_] | None = None
    kept: Grid | None = None
    note: str = ""
    file: FieldFile | None = None
    cache: dict[int, Posterior] = field(default_factory=dict, init=False, repr=False)

    @property
    def names(self) -> list[str]:
        """Name the variables."""
        return self.prior.normaliser.names

    @property
    def shape(self) -> tuple[int, ...]:
        """Give the shape (C, H, W) of x."""
        return len(self.names), *self.grid.shape

    @property
    def weights(self) -> Array:
        """Give the areas of the cells over their mean (H, W)."""
        return self.grid.weights

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Give what the file says of itself."""
        return self.coarse.attrs if self.file is None else self.file.fields.attrs

    @property
    def shown(self) -> Grid:
        """Give the grid of the file."""
        return self.grid if self.kept is None else self.kept

    @property
    def notes(self) -> dict[str, object]:
        """Give what provenance must tell of the input, beside its name."""
        notes: dict[str, object] = {"period": self.note} if self.note else {}
        return notes if self.file is None else notes | {"factor": self.file.factor}

    @property
    def steps(self) -> Sequence[int]:
        """List the time steps; a field without time is one."""
        return range(int(self.coarse.sizes.get("time", 1)))

    @property
    def factor(self) -> tuple[float, float] | None:
        """Give coarse over fine spacing, along latitude and longitude, if anything is known."""
        if self.blind:
            return None
        (a, b), (c, d) = grid_of(self.coarse).spacing, self.grid.spacing
        return a / c, b / d

    @property
    def ground(self) -> xr.Dataset:
        """Give topography (m) and land fraction."""
        arrays = zip(("topography", "land_fraction"), self.statics, strict=True)
        return xr.Dataset({n: (("lat", "lon"), v) for n, v in arrays}, self.grid.coords())

    def label(self, step: Step) -> str:
        """Return what decides the noise of a step, beside the seed."""
        return time_label(self.coarse, step or 0)

    def at(self, step: int) -> xr.Dataset:
        """Return one step's coarse fields, loaded and checked."""
        one = self.coarse.isel(time=step) if "time" in self.coarse.dims else self.coarse
        return one if self.blind else load_checked_fields(one)

    def conditioning(self, step: int) -> Conditioning:
        """Return what is known of one step."""
        fields, shape = self.at(step), self.grid.shape
        season = year_fractions(self.coarse.get("time"), self.coarse.get("time_bnds"))[step]
        known = to_tensor(interpolate_bilinear(fields, self.grid), self.names, shape)
        means = None
        if self.options.consistent:
            rows, columns = mean_matrices(self.grid, grid_of(fields))
            value = to_tensor(fields, self.names, grid_of(fields).shape)
            row_means, column_means = (torch.from_numpy(m.toarray()) for m in (rows, columns))
            means = BlockMeans(row_means, column_means, value)
        monthly = select_residual_climatology(self.prior, self.grid, season)
        return Conditioning(
            known, self.statics, self.smooth, self.grid, self.factor, season, monthly, means
        )

    def posterior(self, step: Step) -> Posterior:
        """Return the prior, bound to what is known of a step; the last one is kept."""
        number = step or 0
        if number not in self.cache:
            self.cache.clear()
            known = self.conditioning(number)
            self.cache[number] = Posterior(self.prior, known, self.sampler)
        return self.cache[number]

    def denoiser(self, step: Step, sampler: SamplerConfig, seen: Seen = None) -> Denoise:
        """Return the denoiser of the whole domain at one step."""
        return self.posterior(step).denoise(sampler, seen)

    def normalise(self, values: Array, step: Step) -> Tensor:
        """Return x of physical fields (C, H, W)."""
        return self.posterior(step).normalise(values)

    def completion(
        self, step: Step, noise: MemberNoise, around: Array | None, origin: Tensor | None
    ) -> Completion:
        """Return the function from x of a member to the physical member (C, H, W)."""
        posterior = self.posterior(step)
        return lambda x, number: posterior.member(x)

    def mask_unknown(self, member: Array, step: Step) -> Array:
        """Return the part of a member that is written, missing where nothing is known."""
        lost = self.posterior(step).known.lerp.isnan().numpy() & (not self.blind)
        for name, values, gone in zip(self.names, member, lost, strict=True):
            if not gone.all() and not np.isfinite(values[~gone]).any():
                raise DpdmError(
                    f"The prior draws no finite value of {name}.",
                    "Its training may have diverged: use another --prior, or train it again.",
                )
        part = (..., *locate_subgrid(self.shown, self.grid))
        gone = lost[part] if self.outside is None else lost[part] | self.outside
        return np.where(gone, np.nan, member[part])

    def members(self, step: int, numbers: Sequence[int]) -> Iterator[Array]:
        """Yield what is written of some members, or of the mean if there are none to be drawn."""
        if not self.options.members:
            yield self.mask_unknown(self.posterior(step).expectation(), step)
            return
        for member in draw_ensemble(self, step, self.sampler, numbers, self.options.seed):
            yield self.mask_unknown(member, step)

    def check_analysis(self, count: int) -> None:
        """Refuse an analysis whose members' values at observations do not fit into memory."""
        needed = 8 * count * (CLIMATE_STATES + self.options.members)
        check_required_memory(needed, "Members at observations take", "Give fewer --members.")

    def screen(self, table: pd.DataFrame, coverage: float = 0.0) -> pd.DataFrame:
        """Return observations with the status and the step of each."""
        table, coarse = table.copy(), self.coarse
        mark_status(table, ~table["variable"].isin(self.names), ObsStatus.NO_VARIABLE)
        time = coarse["time"] if "time" in coarse.dims else None
        period, bounds = period_of_length(self.prior.contract.cadence), coarse.get("time_bnds")
        return check_observations(
            table, self.grid, time, bounds, period, self.ground, coverage=coverage
        )

    def rows(self, table: pd.DataFrame, step: Step) -> NDArray[np.bool_]:
        """Return which observations are of a step."""
        found: NDArray[np.bool_] = (table["step"] == step).to_numpy()
        return found

    def operator(self, rows: pd.DataFrame, tried: bool = False) -> Operator:
        """Return the operator from fields (B, C, H, W) to the values of rows (B, N)."""
        shape = self.shape if tried else ()
        return observation_operator(rows, self.sites, shape)

    def sites(self, rows: pd.DataFrame) -> ObsLocations:
        """Return where some rows were measured."""
        cells = globe_layout(self.grid.lat, self.grid.lon)
        return station_locations(rows, cells, self.names, self.statics[0])

    def background_equivalents(
        self, step: Step, operator: Operator, named: NDArray[np.object_]
    ) -> Array:
        """Return quantiles of the prior at observations (N, Q)."""
        return self.posterior(step).equivalents(operator, np.isin(named, list(WIND_OPERATORS)))

    def observation(
        self, step: Step, rows: pd.DataFrame, operator: Operator, background: Background
    ) -> Observation:
        """Return rows as observations of x."""
        value, error = values_and_errors(rows)
        seen = Observation(operator, value, error**2, shared=background[1])
        return self.posterior(step).modelled(seen)

    def values(self, step: Step) -> Array:
        """Return physical fields (C, H, W) of the file."""
        assert self.file is not None
        path, fields = self.file.path, self.file.fields
        one = load_checked_fields(
            fields.isel(time=step) if "time" in fields.dims else fields, path
        )
        found: Array = to_tensor(one, self.names, self.grid.shape).numpy()
        check_no_gaps(path, dict(zip(self.names, found, strict=True)))
        return found

    def centre(self, members: Array, step: Step) -> Array:
        """Move modelled values: where it hardly rains, no member's rain turns negative."""
        normaliser = self.prior.normaliser
        u, state = map(normaliser.forward, map(torch.from_numpy, (members, self.values(step))))
        moved: Array = normaliser.inverse(u - u.mean(0) + state).numpy()
        return moved

    @torch.no_grad()
    def features(self, x: Tensor, step: Step, modules: Modules, sigma: float) -> Tensor:
        """Return the outputs of layers at noisy x (F, H, W), blended as windows are."""
        posterior, fields = self.posterior(step), x[None].to(self.sampler.device)
        windows, answers = posterior.windows, []
        for where, known in zip(windows.window_slices(), posterior.features, strict=True):
            with record_outputs(modules) as kept:
                self.prior.denoiser.moments(fields[where], fields.new_full((1,), sigma), known)
            answers.append(concatenate_features(kept, windows.extent))
        blank = fields.new_zeros(1, answers[0].shape[1], *x.shape[1:])
        return windows.join(answers, blank)[0].cpu()

    def axes(self, step: Step = None) -> dict[str, xr.DataArray]:
        """Return time, if there is any, latitude and longitude."""
        sides = xr.Dataset(coords=self.grid.coords())
        axes = {n: sides[n] for n in ("lat", "lon")}
        if "time" not in self.coarse.dims:
            return axes
        time = self.coarse["time"].reset_coords(drop=True)
        return {"time": time if step is None else time[[step]]} | axes

    def add_times(self, laid_out: xr.Dataset) -> xr.Dataset:
        """Return a layout with the bounds of its times, if there are any."""
        known = {n: self.coarse[n] for n in ("time_bnds",) if n in self.coarse.coords}
        return laid_out.assign_coords(known)

    def bounds(self, step: int) -> xr.DataArray | None:
        """Return the time bounds of a step, which amounts need, if there are any."""
        return self.coarse["time_bnds"].isel(time=[step]) if "time_bnds" in self.coarse else None

    def label_values(
        self, values: Numbers, member: int | None = None, statistic: str = "", step: Step = None
    ) -> xr.Dataset:
        """Return physical fields (C, H, W), labelled, in the units of the input."""
        coords: dict[str, Any] = dict(self.shown.coords())
        dims, number = ["lat", "lon"], step or 0
        if "time" in self.coarse.dims:
            coords["time"], dims = ("time", self.coarse["time"].values[[number]]), ["time", *dims]
        if member is not None:
            coords["realization"], dims = ("realization", [member]), ["realization", *dims]
        out = {}
        for name, found in zip(self.names, values, strict=True):
            if name in self.coarse:
                whole = found.astype(np.float32)[(None,) * (len(dims) - 2)]
                array = xr.DataArray(whole, coords, dims, name, self.coarse[name].attrs)
                back = from_canonical(array, self.bounds(number), statistic == "spread")
                out[f"{name}_{statistic}" if statistic else name] = add_statistic_attrs(
                    back, statistic
                )
        return xr.Dataset(out)

    def blocks(self, step: int, members: Iterable[NDArray[Any]]) -> Iterator[xr.Dataset]:
        """Yield what one step writes of its members (C, H, W), or of the mean alone."""
        yield from ensemble_blocks(members, self.options, partial(self.label_values, step=step))

    def template(self) -> xr.Dataset:
        """Return the layout of the file."""
        self.check_members()
        sides = xr.Dataset(coords=self.shown.coords())
        known = [n for n in ("time", "time_bnds") if n in self.coarse.variables]
        times = {n: self.coarse[n].load() for n in known}
        axes = {"lat": sides["lat"], "lon": sides["lon"], "realization": None, **times}
        shape = (len(self.names), *self.shown.shape)
        return ensemble_layout(shape, self.options, self.label_values, axes).assign_attrs(
            self.coarse.attrs
        )

    def check_members(self) -> None:
        """Refuse an ensemble whose members of one step do not fit into memory."""
        values = len(self.names) * math.prod(self.shown.shape)
        kept = 0 if self.options.keep == "members" else self.options.members
        needed = values * (STATISTICS_BYTES * kept + MEMBER_BYTES)
        hint = "Give fewer --members, --keep members, or a smaller region with --bbox."
        check_required_memory(
            needed, f"{self.options.members} members of one step take", hint, share=0.8
        )


def select_residual_climatology(
    prior: Prior, grid: Grid, season: float | None
) -> torch.Tensor | None:
    """Return the prior's residual climatology of a season, if it has one for this grid."""
    if not prior.climatology:
        return None
    own = Grid(prior.climatology["lat"].numpy(), prior.climatology["lon"].numpy())
    if not own.is_same(grid):
        raise DpdmError(
            "The prior holds the residual climatology of its training region, and the target is "
            "another grid.",
            'Give the training grid with --grid, or train without: climatology = "no".',
        )
    fields = prior.climatology["fields"].double()
    return fields.mean(0) if season is None else fields[int(season * 12)]


def check_no_gaps(path: Path, fields: Mapping[str, Array]) -> None:
    """Refuse fields with missing values."""
    for name, values in fields.items():
        if count := int(np.isnan(values).sum()):
            raise DpdmError(
                f"{path}: {name} is missing in {count} of {values.size} cells.",
                "A state must be whole: cut the field, or fill them.",
            )
