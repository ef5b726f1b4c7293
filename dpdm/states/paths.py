"""Trajectories as states: each is one, composed of the prior's windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from dpdm.bound import scaling, windowed
from dpdm.course import check_like
from dpdm.device import choose
from dpdm.diffusion.tile import Spans, tile
from dpdm.draw import Dice, samples, up_to
from dpdm.ensemble import EnsembleOptions, blocks, described, layout
from dpdm.errors import DpdmError
from dpdm.fields.trajectories import opened, stacked
from dpdm.memory import check_memory
from dpdm.prior import Prior, check_length
from dpdm.task import how
from dpdm.types import Denoise

Array = NDArray[np.float64]


class Paths:
    """Trajectories (N, T, C, ...), one by one, composed of the prior's windows."""

    before = 1

    def __init__(self, path: Path, prior: Prior, wish: EnsembleOptions) -> None:
        self.path, self.prior, self.wish = path, prior, wish
        with opened(path) as ds:
            # A prior of single states does not know how far apart they are.
            check_like(ds if prior.contract.states > 1 else ds.isel(time=[0]), prior, path)
            check_memory(ds)
            self.all = stacked(ds, path)
            self.like = numbered(ds.drop_vars(ds.data_vars).load(), len(self.all))
            self.words = {str(n): (a.dims, dict(a.attrs)) for n, a in ds.data_vars.items()}
            self.attrs = dict(ds.attrs)
        check_channels(self.all.shape[2], prior, path)
        check_length(prior, self.all.shape[1], path)
        # Corrections wander, and would forget the state at any level.
        self.how = replace(how(wish, prior, choose(wish.device)), corrections=0)

    @property
    def weights(self) -> Array:
        """Give the same to all cells."""
        return np.ones(())

    def axes(self, number: int | None) -> dict[str, xr.DataArray]:
        """Return trajectory, time and, on a plane, y and x."""
        like = self.like if number is None else self.like.isel(trajectory=[number])
        sides = ("y", "x") if self.prior.contract.plane else ()
        return {n: like[n].reset_coords(drop=True) for n in ("trajectory", "time", *sides)}

    def timed(self, laid: xr.Dataset) -> xr.Dataset:
        """Return a layout as it is."""
        return laid

    @property
    def count(self) -> int:
        """Count the trajectories."""
        return len(self.all)

    @property
    def names(self) -> list[str]:
        """Name the variables or components."""
        return self.prior.normaliser.names

    def values(self, number: int) -> Array:
        """Return a physical trajectory (T, C, ...)."""
        states: Array = self.all[number].astype(float)
        return states

    def scaled(self, number: int) -> Tensor:
        """Return a normalised trajectory (T, C, ...)."""
        mean, std = scaling(self.prior)
        return ((torch.from_numpy(self.values(number)) - mean) / std).float()

    def label(self, number: int) -> str:
        """Return what decides the noise of a trajectory, beside the seed."""
        return f"trajectory {self.like['trajectory'].values[number]}"

    @cached_property
    def denoise(self) -> Denoise:
        """Give the denoiser of whole trajectories (B, T, C, ...)."""
        spans = Spans(self.all.shape[1], self.prior.contract.states)
        return tile(windowed(self.prior, self.how.device), spans)

    def near(self, number: int, sigma: float, members: Sequence[int]) -> Iterator[Array]:
        """Yield physical members (T, C, ...)."""
        x, (mean, std) = self.scaled(number), scaling(self.prior)
        dice = Dice(tuple(x.shape), self.wish.seed, self.label(number))
        for member in samples(self.denoise, dice, members, up_to(self.how, sigma), x):
            yield (mean + std * member.double()).numpy()

    def centred(self, members: Array, number: int) -> Array:
        """Move members so that their mean is the trajectory."""
        moved: Array = members - members.mean(0) + self.values(number)
        return moved

    def spread(self, members: Array) -> dict[str, float]:
        """Return the spread of each variable or component, over times and cells."""
        variance = members.var(0, ddof=1)
        mean_square = np.moveaxis(variance, 1, 0).reshape(variance.shape[1], -1).mean(1)
        return dict(zip(self.names, map(float, np.sqrt(mean_square)), strict=True))

    def template(self) -> xr.Dataset:
        """Return the layout of an ensemble: the file's, with the members in front."""
        axes = {"realization": None, **{str(n): a for n, a in self.like.coords.items()}}
        label = partial(self.labelled, number=0)
        return layout(self.all.shape[1:], self.wish, label, axes).assign_attrs(self.attrs)

    def blocks(self, number: int, members: Array) -> Iterator[xr.Dataset]:
        """Yield the members of one trajectory, and their statistics."""
        yield from blocks(members, self.wish, partial(self.labelled, number=number))

    def labelled(
        self,
        values: NDArray[Any],
        /,
        member: int | None = None,
        statistic: str = "",
        number: int = 0,
    ) -> xr.Dataset:
        """Return physical states (T, C, ...), labelled."""
        axes: dict[str, Any] = {} if member is None else {"realization": [member]}
        coords = axes | dict(self.like.isel(trajectory=[number]).coords)
        out = {}
        for c, (name, (dims, words)) in enumerate(self.words.items()):
            whole = (values[:, c] if "y" in dims else values)[(None,) * (len(axes) + 1)]
            array = xr.DataArray(whole, dims=(*axes, *dims), name=name, attrs=words)
            out[f"{name}_{statistic}" if statistic else name] = described(array, statistic)
        return xr.Dataset(out, coords)


def numbered(axes: xr.Dataset, count: int) -> xr.Dataset:
    """Return axes whose trajectories have numbers."""
    if "trajectory" in axes.coords:
        return axes
    words = {"long_name": "number of the trajectory"}
    return axes.assign_coords(trajectory=("trajectory", np.arange(count, dtype=np.int32), words))


def check_channels(count: int, prior: Prior, path: Path) -> None:
    """Refuse states of another number of components or variables."""
    names = prior.normaliser.names
    if count != len(names):
        raise DpdmError(
            f"The states of {path} have {count} components or variables, the prior's "
            f"{len(names)}: {', '.join(names)}.",
            "Give a file like those that the prior was trained on.",
        )
