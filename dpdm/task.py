"""A coarse file and a prior that fit each other, and the fine grid between them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from dpdm.device import choose
from dpdm.diffusion.condition import BlockMeans
from dpdm.draw import Given, How
from dpdm.ensemble import EnsembleOptions, blocks, described, layout
from dpdm.errors import DpdmError
from dpdm.fields.aloft import stamp
from dpdm.fields.box import around, place, within
from dpdm.fields.checks import Missing, everywhere
from dpdm.fields.grid import Grid, average, grid_of, lerp, mean_matrices, refine
from dpdm.fields.mask import inside
from dpdm.fields.statics import statics
from dpdm.fields.store import load as load_step
from dpdm.fields.store import naming, open_fields
from dpdm.fields.tensors import to_tensor
from dpdm.fields.time import seasons
from dpdm.fields.units import from_canonical
from dpdm.fit import check_finer, check_spacing, check_target, period_note, spoken, wanted
from dpdm.memory import check_room
from dpdm.prior import Prior, check_earth

BYTES = 20  # of a member's value for statistics: single precision twice, deviations in double
WORK = 64  # of a value of the member that is drawn
MARGIN = 12  # cells; with 12 the mean at the edge of a box is within 0.08 of its deviation


@dataclass(frozen=True)
class Task:
    """A coarse file and a prior that fit each other, and the grid between them.

    Attributes:
        coarse: Canonical coarse fields, lazy; only variables that the prior has. Where there are
            none, fields on the fine grid of which nothing is known.
        prior: The prior.
        grid: The fine grid.
        statics: Statics on it (2, H, W).
        smooth: Statics averaged to the coarse grid and lerped back (2, H, W).
        wish: What the user asked for.
        how: How to sample.
        blind: Whether there are no coarse fields.
        outside: Which cells of a file are missing because the mask says so; none without one.
        kept: The grid of the file, where it is a box of the fine grid.
        note: How the period of the coarse fields differs from the prior's, if it does.
    """

    coarse: xr.Dataset
    prior: Prior
    grid: Grid
    statics: NDArray[np.float64]
    smooth: NDArray[np.float64]
    wish: EnsembleOptions
    how: How
    blind: bool = False
    outside: NDArray[np.bool_] | None = None
    kept: Grid | None = None
    note: str = ""

    @property
    def shown(self) -> Grid:
        """Give the grid of the file."""
        return self.grid if self.kept is None else self.kept

    @property
    def cut(self) -> tuple[slice, slice]:
        """Give the rows and columns of the fine grid that go into the file."""
        return place(self.shown, self.grid)

    @property
    def notes(self) -> dict[str, str]:
        """Return what provenance must tell of the input, beside its name."""
        return {"period": self.note} if self.note else {}

    @property
    def steps(self) -> int:
        """Count the time steps; a field without time is one."""
        return int(self.coarse.sizes.get("time", 1))

    @property
    def factor(self) -> tuple[float, float] | None:
        """Give coarse over fine spacing, along latitude and longitude, if anything is known."""
        if self.blind:
            return None
        (a, b), (c, d) = grid_of(self.coarse).spacing, self.grid.spacing
        return a / c, b / d

    def at(self, step: int) -> xr.Dataset:
        """Return one step's coarse fields, loaded and checked."""
        one = self.coarse.isel(time=step) if "time" in self.coarse.dims else self.coarse
        return one if self.blind else load_step(one)

    def given(self, step: int) -> Given:
        """Return what is known of one step."""
        names = self.prior.normaliser.names
        fields = self.at(step)
        season = seasons(self.coarse.get("time"), self.coarse.get("time_bnds"))[step]
        known = to_tensor(lerp(fields, self.grid), names, self.grid.shape)
        blocks = None
        if self.wish.consistent:
            rows, columns = mean_matrices(self.grid, grid_of(fields))
            value = to_tensor(fields, names, grid_of(fields).shape)
            row_means, column_means = (torch.from_numpy(m.toarray()) for m in (rows, columns))
            blocks = BlockMeans(row_means, column_means, value)
        monthly = monthly_at(self.prior, self.grid, season)
        return Given(
            known, self.statics, self.smooth, self.grid, self.factor, season, monthly, blocks
        )

    def bounds(self, step: int) -> xr.DataArray | None:
        """Return the time bounds of a step, which amounts need, if there are any."""
        return self.coarse["time_bnds"].isel(time=[step]) if "time_bnds" in self.coarse else None

    def labelled(
        self,
        fields: NDArray[Any],
        /,
        member: int | None = None,
        statistic: str = "",
        step: int = 0,
    ) -> xr.Dataset:
        """Return physical fields (C, H, W), labelled, in the units of the input."""
        coords: dict[str, Any] = dict(self.shown.coords())
        dims = ["lat", "lon"]
        if "time" in self.coarse.dims:
            coords["time"], dims = ("time", self.coarse["time"].values[[step]]), ["time", *dims]
        if member is not None:
            coords["realization"], dims = ("realization", [member]), ["realization", *dims]
        out = {}
        for name, values in zip(self.prior.normaliser.names, fields, strict=True):
            if name in self.coarse:
                whole = values.astype(np.float32)[(None,) * (len(dims) - 2)]
                array = xr.DataArray(whole, coords, dims, name, self.coarse[name].attrs)
                back = from_canonical(array, self.bounds(step), difference=statistic == "spread")
                out[f"{name}_{statistic}" if statistic else name] = described(back, statistic)
        return xr.Dataset(out)

    def blocks(self, step: int, members: Iterable[NDArray[Any]]) -> Iterator[xr.Dataset]:
        """Yield what one step writes of its members (C, H, W), or of the mean alone."""
        yield from blocks(members, self.wish, partial(self.labelled, step=step))

    def template(self) -> xr.Dataset:
        """Return the layout of the file.

        Raises:
            DpdmError: When the members of one step do not fit into memory.
        """
        self.check_members()
        sides = xr.Dataset(coords=self.shown.coords())
        known = [n for n in ("time", "time_bnds") if n in self.coarse.variables]
        times = {n: self.coarse[n].load() for n in known}
        axes = {"lat": sides["lat"], "lon": sides["lon"], "realization": None, **times}
        shape = (len(self.prior.normaliser.names), *self.shown.shape)
        whole = layout(shape, self.wish, self.labelled, axes)
        return whole.assign_attrs(self.coarse.attrs)

    def check_members(self) -> None:
        """Refuse an ensemble whose members of one step do not fit into memory.

        Raises:
            DpdmError: When they do not.
        """
        values = len(self.prior.normaliser.names) * math.prod(self.shown.shape)
        kept = 0 if self.wish.keep == "members" else self.wish.members
        needed = values * (BYTES * kept + WORK)
        hint = "Give fewer --members, --keep members, or a smaller region with --bbox."
        check_room(needed, f"{self.wish.members} members of one step take", hint, share=0.8)

    def hiding(
        self, fields: Iterable[NDArray[np.float64]], lost: NDArray[np.bool_]
    ) -> Iterator[NDArray[np.float64]]:
        """Yield the part of fields (C, H, W) that is written, missing where nothing is known.

        Args:
            fields: Fields, as they come.
            lost: Cells of which nothing is known (C, H, W).
        """
        part = (..., *self.cut)
        gone = lost[part] if self.outside is None else lost[part] | self.outside
        for field in fields:
            self.check_drawn(field, lost)
            yield np.where(gone, np.nan, field[part])

    def check_drawn(self, field: NDArray[np.float64], lost: NDArray[np.bool_]) -> None:
        """Refuse a field (C, H, W) without a finite value of what something is known of.

        Raises:
            DpdmError: The prior draws such a field.
        """
        for name, values, gone in zip(self.prior.normaliser.names, field, lost, strict=True):
            if not gone.all() and not np.isfinite(values[~gone]).any():
                raise DpdmError(
                    f"The prior draws no finite value of {name}.",
                    "Its training may have diverged: use another --prior, or train it again.",
                )


def labels(fields: xr.Dataset) -> list[str]:
    """Return the label of each time step, a part of every member's seed: ``1862-07-16T12``."""
    if "time" not in fields.dims:
        return [""]
    parts = [getattr(fields["time"].dt, n).values for n in ("year", "month", "day", "hour")]
    return [f"{y:04d}-{m:02d}-{d:02d}T{h:02d}" for y, m, d, h in zip(*parts, strict=True)]


def label_of(fields: xr.Dataset, step: int) -> str:
    """Return the label of one time step."""
    return labels(fields[["time"]].isel(time=[step]) if "time" in fields.dims else fields)[0]


def monthly_at(prior: Prior, grid: Grid, season: float | None) -> torch.Tensor | None:
    """Return the prior's residual climatology of a season, if it has one for this grid."""
    if not prior.climatology:
        return None
    own = Grid(prior.climatology["lat"].numpy(), prior.climatology["lon"].numpy())
    if not own.same(grid):
        raise DpdmError(
            "The prior holds the residual climatology of its training region, and the target is "
            "another grid.",
            'Give the training grid with --grid, or train without: climatology = "no".',
        )
    fields = prior.climatology["fields"].double()
    return fields.mean(0) if season is None else fields[int(season * 12)]


def plan(
    path: Path | None,
    prior: Prior,
    wish: EnsembleOptions,
    target: Path | None,
    own_statics: Path | None,
) -> Task:
    """Return a task whose parts fit each other.

    Without a coarse file, the target says where and when, and nothing else is known.

    Raises:
        DpdmError: When they do not fit.
    """
    check_earth(prior)
    if path is None:
        return between(unknown(target, prior, wish.missing), prior, wish, target, own_statics)
    opened = open_fields(path, None, wish.rename, wish.units, spoken(prior), wish.missing)
    coarse = wanted(opened, prior, path, wish.rename)
    return between(coarse, prior, wish, target, own_statics, path)


def between(
    coarse: xr.Dataset,
    prior: Prior,
    wish: EnsembleOptions,
    target: Path | None,
    own_statics: Path | None,
    path: Path | None = None,
) -> Task:
    """Return the task of coarse fields that were opened from a path, or are unknown.

    Raises:
        DpdmError: When its parts do not fit each other.
    """
    source = grid_of(coarse)
    note = period_note(coarse, prior, path or target or "", wish.period)
    grid, kept = target_of(source, prior, target, wish)
    with naming(target or path or ""):
        if path is not None:
            check_finer(source, grid)
        check_spacing(grid, prior)
        if path is not None:
            check_target(source, grid, prior, wish.consistent)
    outside = None if wish.mask is None else ~inside(kept or grid, wish.mask)
    codes = everywhere(wish.missing)
    own = None if own_statics is None else open_fields(own_statics, missing=codes)
    ground = statics(grid, own)[["topography", "land_fraction"]]
    smooth = lerp(average(ground, source), grid)
    below, above = (np.stack([g[n].values.astype(float) for n in g]) for g in (ground, smooth))
    device = choose(wish.device)
    prior.denoiser.to(device)
    way = how(wish, prior, device)
    return Task(coarse, prior, grid, below, above, wish, way, path is None, outside, kept, note)


def target_of(
    source: Grid, prior: Prior, target: Path | None, wish: EnsembleOptions
) -> tuple[Grid, Grid | None]:
    """Return the grid to draw on, the user's or the source's cells split, and the box of it.

    Around the box lies a margin, for the network is less sure of itself at an edge; none where
    block means are honoured, for it would cut blocks.
    """
    grid = (
        refine(source, prior.contract.spacing)
        if target is None
        else grid_of(open_fields(target, needed=(), missing=everywhere(wish.missing)))
    )
    if wish.bbox is None:
        return grid, None
    return around(grid, wish.bbox, 0 if wish.consistent else MARGIN), within(grid, wish.bbox)


def how(wish: EnsembleOptions, prior: Prior, device: str) -> How:
    """Return how to sample: the prior's own way, but for what the user asks."""
    own = prior.contract.sampling
    return How(
        wish.sampler or own["sampler"], wish.steps or own["steps"], own["most"], own["inflation"],
        1 if device == "cpu" else 11, device=device, schedule=own["schedule"],
        least=own["least"] or prior.contract.sigma[0], corrections=own["corrections"],
        tau=own["tau"],
    )  # fmt: skip


def unknown(target: Path | None, prior: Prior, missing: Missing = {}) -> xr.Dataset:
    """Return fields on a target's grid, at its times, of which nothing is known."""
    if target is None:
        raise DpdmError(
            "Neither coarse fields nor a target grid was given.",
            "Give --coarse COARSE.nc, or --grid TARGET.nc to do without; or another --prior.",
        )
    like = open_fields(target, needed=(), missing=everywhere(missing))
    kept = like[[n for n in ("time", "time_bnds") if n in like.variables]]
    shape = (*((like.sizes["time"],) if "time" in like.dims else ()), *grid_of(like).shape)
    dims = [d for d in ("time", "lat", "lon") if d != "time" or "time" in like.dims]
    blank = xr.DataArray(np.broadcast_to(np.float32(np.nan), shape), dims=dims)
    known = ("standard_name", "long_name", "units")
    fields = {
        c.name: blank.assign_attrs({k: getattr(c, k) for k in known} | stamp(c.name, c.family))
        for c in prior.normaliser.channels
    }
    return xr.Dataset(fields, grid_of(like).coords()).assign_coords(kept.variables)
