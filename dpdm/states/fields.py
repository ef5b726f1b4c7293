"""Fields on the Earth as states: time steps on a fine grid, given coarse fields or not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from dpdm.diffusion.guidance import Observation
from dpdm.diffusion.noise import Noise
from dpdm.diffusion.place_noise import PlaceNoise
from dpdm.errors import DpdmError
from dpdm.fields.climatology_grid import interpolate_known
from dpdm.fields.driver_climate import DriverClimate
from dpdm.fields.file_names import restore_names
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.reference_climatology import ReferenceClimatology
from dpdm.fields.regrid import interpolate_bilinear
from dpdm.fields.subset import locate_subgrid
from dpdm.fields.time import period_of_length, time_label, year_fractions
from dpdm.fields.units import from_canonical
from dpdm.fields.value_checks import load_checked_fields
from dpdm.file_group import Source
from dpdm.nets.layers import concatenate_features, record_outputs
from dpdm.observations.observation_operator import (
    log_amount_values,
    log_amounts,
    observation_operator,
    operator_names,
    station_locations,
    values_and_errors,
)
from dpdm.observations.quality_control import check_observations
from dpdm.observations.rows import copy_lazily
from dpdm.observations.status import ObsStatus, mark_status
from dpdm.operators.geometry import globe_layout
from dpdm.operators.registry import AMOUNT_OPERATORS, WIND_OPERATORS, ObsLocations
from dpdm.prior import CLIMATE_STATES, Prior
from dpdm.prior.normaliser import to_tensor
from dpdm.states.ensemble import add_statistic_attrs, ensemble_layout
from dpdm.states.field_posterior import (
    Conditioning,
    Posterior,
    block_means,
    conditional_base,
)
from dpdm.states.options import EnsembleOptions, SamplerConfig
from dpdm.states.physical_variables import PhysicalFields
from dpdm.states.requirements import check_no_gaps
from dpdm.states.sampling import Background, Completion, Modules, Numbers, Step, draw_ensemble
from dpdm.system import check_required_memory
from dpdm.types import Denoise, Operator

Array = NDArray[np.float64]
STATISTICS_BYTES = 20  # of a value: single precision twice, deviations in double precision
MEMBER_BYTES = 64  # of a value of the member that is drawn


@dataclass(frozen=True)
class FieldFile:
    """Fields of a file, and the factor of the block means that condition the prior, 0 for none."""

    path: Source
    fields: xr.Dataset
    factor: int


@dataclass(frozen=True)
class FieldSpace:
    """Fields on a fine grid, given coarse fields and a prior.

    Attributes:
        coarse: Canonical coarse fields of variables of the prior, lazy; without coarse fields,
            missing values on the fine grid.
        prior: The prior.
        grid: The fine grid.
        statics: Statics on it (2, H, W).
        smooth: Statics averaged to the coarse grid and interpolated back (2, H, W).
        options: Options of the ensemble.
        sampler: Settings of the sampler.
        blind: Whether there are no coarse fields.
        outside: Cells of the output outside the polygons of a mask, or None.
        output_grid: The grid of the output, if it is a part of the fine grid.
        note: Difference between the periods of the coarse fields and of the prior, if any.
        file: The fields of a file of fine fields, or None.
        climatology: The reference climatology on the fine grid, or None.
        coarse_climatology: The same on the grid of the coarse fields, None without them.
        driver: The climate of the coarse fields and the one that replaces it, or None.
        background: "climatology" where the coarse fields are the climatology, because there are
            no others; empty where they come from a file.
        physics: What variables that no network draws need of the coarse fields.
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
    output_grid: Grid | None = None
    note: str = ""
    file: FieldFile | None = None
    climatology: ReferenceClimatology | None = None
    coarse_climatology: ReferenceClimatology | None = None
    driver: DriverClimate | None = None
    background: str = ""
    physics: PhysicalFields = field(default_factory=PhysicalFields)
    cache: dict[int, Posterior] = field(default_factory=dict, init=False, repr=False)

    @property
    def names(self) -> list[str]:
        """Return the names of the variables."""
        return self.prior.normaliser.names

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape (C, H, W) of x."""
        return len(self.names), *self.grid.shape

    @property
    def weights(self) -> Array:
        """Return the areas of the cells over their mean (H, W)."""
        return self.grid.weights

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Return the global attributes of the file."""
        return self.coarse.attrs if self.file is None else self.file.fields.attrs

    @property
    def shown(self) -> Grid:
        """Return the grid of the output."""
        return self.grid if self.output_grid is None else self.output_grid

    @property
    def shown_part(self) -> tuple[slice, slice]:
        """Return the rows and columns of the output on the fine grid."""
        return locate_subgrid(self.shown, self.grid)

    @property
    def notes(self) -> dict[str, object]:
        """Return the provenance of the input other than its name."""
        notes: dict[str, object] = {"period": self.note} if self.note else {}
        if self.background and self.climatology is not None:
            notes["background"] = f"{self.background} {self.climatology.title}"
        if self.climatology is not None:
            notes |= self.climatology.provenance
        elif self.prior.takes_reference:
            notes["climatology"] = "none"
        notes |= {} if self.driver is None else self.driver.notes
        notes |= self.physics.notes
        return notes if self.file is None else notes | {"factor": self.file.factor}

    @property
    def steps(self) -> Sequence[int]:
        """Return the time steps; a field without time is one step."""
        return range(int(self.coarse.sizes.get("time", 1)))

    @property
    def coarse_grid(self) -> Grid | None:
        """Return the grid of the coarse fields, None without any."""
        return None if self.blind else grid_of(self.coarse)

    @property
    def factor(self) -> tuple[float, float] | None:
        """Return coarse over fine spacing of latitude and longitude, None if unconditional."""
        if self.coarse_grid is None:
            return None
        (a, b), (c, d) = self.coarse_grid.spacing, self.grid.spacing
        return a / c, b / d

    @property
    def ground(self) -> xr.Dataset:
        """Return topography (m) and land fraction."""
        arrays = zip(("topography", "land_fraction"), self.statics, strict=True)
        return xr.Dataset({n: (("lat", "lon"), v) for n, v in arrays}, self.grid.coords())

    def label(self, step: Step) -> str:
        """Return the label that, with the seed, determines the noise of a step."""
        return time_label(self.coarse, step or 0)

    def noise(self, step: Step, seed: int) -> PlaceNoise:
        """Return the noise of the members of a step, that of each cell its place's own."""
        grid = self.grid
        return PlaceNoise(grid.lat, grid.lon, len(self.names), seed, self.label(step))

    def coarse_step(self, step: int) -> xr.Dataset:
        """Return one step's coarse fields, loaded, checked and adjusted."""
        one = self.coarse.isel(time=step) if "time" in self.coarse.dims else self.coarse
        if self.blind:
            return one
        loaded = load_checked_fields(one)
        return loaded if self.driver is None else self.driver.adjust(loaded, step)

    def conditioning(self, step: int) -> Conditioning:
        """Return the conditioning of one step."""
        fields, shape = self.coarse_step(step), self.grid.shape
        season = year_fractions(self.coarse.get("time"), self.coarse.get("time_bnds"))[step]
        lerp = to_tensor(interpolate_bilinear(fields, self.grid), self.names, shape)
        reference = self.reference(step)
        lerp, spread, fields = self.physics.prepare(
            lerp, fields, self.grid, self.names, reference, self.coarse_reference(step)
        )
        means = block_means(fields, self.names, self.grid) if self.options.consistent else None
        return Conditioning(
            lerp, self.statics, self.smooth, self.grid, self.factor, season, reference, means,
            spread,
        )  # fmt: skip

    def base(self, step: int) -> Tensor:
        """Return the background of one step before the network, transformed (C, H, W)."""
        return conditional_base(self.prior, self.conditioning(step))[0]

    def reference(self, step: int) -> tuple[Tensor, Tensor] | None:
        """Return the climatology of one step (C, H, W), and its coarse-cell means interpolated.

        The second is missing everywhere without coarse fields.
        """
        if self.climatology is None:
            return None
        moment = self.coarse.get("time"), self.coarse.get("time_bnds"), step
        fine = to_tensor(self.climatology.state(*moment), self.names, self.grid.shape)
        if self.coarse_climatology is None:
            return fine, torch.full_like(fine, torch.nan)
        lerp = interpolate_known(self.coarse_climatology.state(*moment), self.grid)
        return fine, to_tensor(lerp, self.names, self.grid.shape)

    def coarse_reference(self, step: int) -> xr.Dataset | None:
        """Return the climatology of one step on the coarse cells, if there is one."""
        if self.coarse_climatology is None:
            return None
        moment = self.coarse.get("time"), self.coarse.get("time_bnds"), step
        return self.coarse_climatology.state(*moment)

    def posterior(self, step: Step) -> Posterior:
        """Return the conditional prior of a step; the last one is cached."""
        number = step or 0
        if number not in self.cache:
            self.cache.clear()
            conditioning = self.conditioning(number)
            self.cache[number] = Posterior(self.prior, conditioning, self.sampler)
        return self.cache[number]

    def denoiser(
        self, step: Step, sampler: SamplerConfig, observation: Observation | None = None
    ) -> Denoise:
        """Return the denoiser on the domain at one step."""
        return self.posterior(step).denoise(sampler, observation)

    def normalise(self, values: Array, step: Step) -> Tensor:
        """Return the normalised x of physical fields (C, H, W)."""
        return self.posterior(step).normalise(values)

    def completion(
        self, step: Step, noise: Noise, around: Array | None, origin: Tensor | None
    ) -> Completion:
        """Return the function from x of a member to the physical member (C, H, W)."""
        posterior = self.posterior(step)
        return lambda x, number: posterior.member(x)

    def mask_unknown(self, member: Array, step: Step) -> Array:
        """Return the part of a member that is written, NaN where the input is missing."""
        missing = self.posterior(step).conditioning.lerp.isnan().numpy() & (not self.blind)
        for name, values, cells in zip(self.names, member, missing, strict=True):
            if not cells.all() and not np.isfinite(values[~cells]).any():
                raise DpdmError(
                    f"The prior draws no finite value of {name}.",
                    "Its training may have diverged: use another --prior, or train it again.",
                )
        part = (..., *self.shown_part)
        masked = missing[part] if self.outside is None else missing[part] | self.outside
        return np.where(masked, np.nan, member[part])

    def members(self, step: int, numbers: Sequence[int]) -> Iterator[Array]:
        """Yield members as they are written, or the mean for an ensemble of 0 members."""
        if not self.options.members:
            yield self.mask_unknown(self.posterior(step).expectation(), step)
            return
        for member in draw_ensemble(self, step, self.sampler, numbers, self.options.seed):
            yield self.mask_unknown(member, step)

    def check_analysis(self, count: int) -> None:
        """Refuse an analysis whose equivalents of observations do not fit into memory."""
        needed = 8 * count * (CLIMATE_STATES + self.options.members)
        check_required_memory(needed, "Members at observations take", "Give fewer --members.")

    def screen(self, table: pd.DataFrame, coverage: float = 0.0) -> pd.DataFrame:
        """Return observations with the status and the step of each."""
        table, coarse = copy_lazily(table), self.coarse
        mark_status(table, ~table["variable"].isin(self.names), ObsStatus.NO_VARIABLE)
        time = coarse["time"] if "time" in coarse.dims else None
        period, bounds = period_of_length(self.prior.contract.cadence), coarse.get("time_bnds")
        return check_observations(
            table, self.grid, time, bounds, period, self.ground, coverage=coverage
        )

    def rows(self, table: pd.DataFrame, step: Step) -> NDArray[np.bool_]:
        """Return a mask of the observations of a step."""
        mask: NDArray[np.bool_] = (table["step"] == step).to_numpy()
        return mask

    def operator(self, rows: pd.DataFrame, tried: bool = False) -> Operator:
        """Return the operator from fields (B, C, H, W) to the values of rows (B, N)."""
        shape = self.shape if tried else ()
        return observation_operator(rows, self.sites, shape)

    def sites(self, rows: pd.DataFrame) -> ObsLocations:
        """Return the locations of some rows."""
        cells = globe_layout(self.grid.lat, self.grid.lon)
        return station_locations(rows, cells, self.names, self.statics[0])

    def amounts(self, rows: pd.DataFrame) -> Tensor:
        """Tell which rows are amounts that are compared in transformed values (N,)."""
        logarithmic = {c.name for c in self.prior.normaliser.channels if c.transform == "log1p"}
        named = np.isin(operator_names(rows), list(AMOUNT_OPERATORS))
        return torch.from_numpy(rows["variable"].isin(logarithmic).to_numpy() & named)

    def heights(self, rows: pd.DataFrame) -> Array:
        """Return the heights of rows above the topography (N,), m; 0 where unknown."""
        offset = self.sites(rows).height_offset
        return np.zeros(len(rows)) if offset is None else offset.numpy()

    def background_equivalents(
        self, step: Step, operator: Operator, named: NDArray[np.object_]
    ) -> Array:
        """Return quantiles of the prior at observations (N, Q)."""
        return self.posterior(step).equivalents(operator, np.isin(named, list(WIND_OPERATORS)))

    def observation(
        self, step: Step, rows: pd.DataFrame, operator: Operator, background: Background
    ) -> Observation:
        """Return the observation of x from some rows, compared in transformed values."""
        modelled, value, error = self.modelled_observation(rows, operator)
        observation = Observation(
            modelled, value, error**2, shared=background[1], steps=self.sampler.steps_taken
        )
        return self.posterior(step).observation_of_x(observation)

    def modelled_observation(
        self, rows: pd.DataFrame, operator: Operator | None = None
    ) -> tuple[Operator, Tensor, Tensor]:
        """Return rows as observations of transformed values: operator, values (N,), errors (N,).

        Amounts are compared by the transform of their variable, in which their distribution is
        nearly Gaussian, and steps of guidance are not exponential. Other values are as they are.

        Args:
            rows: The observations.
            operator: Their operator, from physical fields (B, C, H, W) to values (B, N).
        """
        value, error = values_and_errors(rows)
        observe = self.operator(rows) if operator is None else operator
        amount = self.amounts(rows)
        return log_amounts(observe, amount), *log_amount_values(value, error, amount)

    def values(self, step: Step) -> Array:
        """Return physical fields (C, H, W) of the file."""
        assert self.file is not None
        path, fields = str(self.file.path), self.file.fields
        one = load_checked_fields(
            fields.isel(time=step) if "time" in fields.dims else fields, path
        )
        values: Array = to_tensor(one, self.names, self.grid.shape).numpy()
        check_no_gaps(path, dict(zip(self.names, values, strict=True)))
        return values

    def centre(self, members: Array, step: Step) -> Array:
        """Return members shifted so that their mean is the state, in transformed values."""
        normaliser = self.prior.normaliser
        u, state = map(normaliser.forward, map(torch.from_numpy, (members, self.values(step))))
        moved: Array = normaliser.inverse(u - u.mean(0) + state).numpy()
        return moved

    @torch.no_grad()
    def features(self, x: Tensor, step: Step, modules: Modules, sigma: float) -> Tensor:
        """Return the outputs of layers at noisy x (F, H, W), blended from windows."""
        posterior, fields = self.posterior(step), x[None].to(self.sampler.device)
        windows, outputs = posterior.windows, []
        for window, conditioning in zip(windows.window_slices(), posterior.features, strict=True):
            with record_outputs(modules) as recorded:
                self.prior.denoiser.moments(
                    fields[window], fields.new_full((1,), sigma), conditioning
                )
            outputs.append(concatenate_features(recorded, windows.extent))
        blank = fields.new_zeros(1, outputs[0].shape[1], *x.shape[1:])
        return windows.join(outputs, blank)[0].cpu()

    def axes(self, step: Step = None) -> dict[str, xr.DataArray]:
        """Return latitude, longitude, and time if there is any."""
        sides = xr.Dataset(coords=self.grid.coords())
        axes = {n: sides[n] for n in ("lat", "lon")}
        if "time" not in self.coarse.dims:
            return axes
        time = self.coarse["time"].reset_coords(drop=True)
        return {"time": time if step is None else time[[step]]} | axes

    def add_times(self, layout: xr.Dataset) -> xr.Dataset:
        """Return a layout with the bounds of its times, if there are any."""
        bounds = {n: self.coarse[n] for n in ("time_bnds",) if n in self.coarse.coords}
        return layout.assign_coords(bounds)

    def bounds(self, step: int) -> xr.DataArray | None:
        """Return the time bounds of a step, if there are any; amounts need them."""
        return self.coarse["time_bnds"].isel(time=[step]) if "time_bnds" in self.coarse else None

    def label_values(
        self, values: Numbers, member: int | None = None, statistic: str = "", step: Step = None
    ) -> xr.Dataset:
        """Return physical fields (C, H, W) with axes and metadata, in the units of the output."""
        coords: dict[str, Any] = dict(self.shown.coords())
        dims, number = ["lat", "lon"], step or 0
        if "time" in self.coarse.dims:
            coords["time"], dims = ("time", self.coarse["time"].values[[number]]), ["time", *dims]
        if member is not None:
            coords["realization"], dims = ("realization", [member]), ["realization", *dims]
        out = {}
        for name, field_values in zip(self.names, values, strict=True):
            if name in self.coarse:
                expanded = field_values.astype(np.float32)[(None,) * (len(dims) - 2)]
                array = xr.DataArray(expanded, coords, dims, name, self.coarse[name].attrs)
                converted = from_canonical(array, self.bounds(number), statistic == "spread")
                out[f"{name}_{statistic}" if statistic else name] = add_statistic_attrs(
                    converted, statistic
                )
        return restore_names(xr.Dataset(out))

    def template(self) -> xr.Dataset:
        """Return the layout of the file."""
        self.check_members()
        sides = xr.Dataset(coords=self.shown.coords())
        time_names = [n for n in ("time", "time_bnds") if n in self.coarse.variables]
        times = {n: self.coarse[n].load() for n in time_names}
        axes = {"lat": sides["lat"], "lon": sides["lon"], "realization": None, **times}
        shape = (len(self.names), *self.shown.shape)
        return ensemble_layout(shape, self.options, self.label_values, axes).assign_attrs(
            self.coarse.attrs
        )

    def check_members(self) -> None:
        """Refuse an ensemble whose members of one step do not fit into memory."""
        values = len(self.names) * math.prod(self.shown.shape)
        stored = 0 if self.options.keep == "members" else self.options.members
        needed = values * (STATISTICS_BYTES * stored + MEMBER_BYTES)
        hint = "Give fewer --members, --keep members, or a smaller region with --bbox."
        check_required_memory(
            needed, f"{self.options.members} members of one step take", hint, share=0.8
        )
