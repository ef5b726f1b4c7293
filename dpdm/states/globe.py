"""States of the globe, one after the other, as one trajectory: as such priors know them.

Where the prior knows codes, noise is added to the code of the state; what the code cannot hold is
left as it is, so that without noise a member is the state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from dpdm.device import choose
from dpdm.draw import Dice, samples, up_to
from dpdm.earth import earth_of
from dpdm.ensemble import EnsembleOptions, blocks, described, layout
from dpdm.fields.store import load, open_fields
from dpdm.fields.units import from_canonical
from dpdm.prior import Prior
from dpdm.states.maps import check_whole, without_gaps
from dpdm.task import how
from dpdm.types import Fields

Array = NDArray[np.float64]
SIDES = ("time", "lat", "lon")


class Globe:
    """The states of a file on a prior's grid, at even times."""

    before = 1
    count = 1  # trajectory

    def __init__(self, path: Path, prior: Prior, wish: EnsembleOptions) -> None:
        self.path, self.prior, self.wish = path, prior, wish
        self.course = earth_of(prior, pd.DataFrame(), path, path.name)
        fields = open_fields(path, missing=wish.missing)
        check_whole(fields, prior, path)
        self.fields = load(fields[self.names], path)
        self.how = replace(how(wish, prior, choose(wish.device)), corrections=0)

    @property
    def names(self) -> list[str]:
        """Name the variables, one a level."""
        return self.prior.normaliser.names

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Give what the file says of itself."""
        return self.fields.attrs

    @property
    def weights(self) -> Array:
        """Give the areas of the cells over their mean (H, W)."""
        return self.course.grid.weights

    def axes(self, number: int | None) -> dict[str, xr.DataArray]:
        """Return time, latitude and longitude."""
        return {"time": self.course.time, **self.course.inner}

    def timed(self, laid: xr.Dataset) -> xr.Dataset:
        """Return a layout with what the file says of itself."""
        return laid.assign_attrs(self.attrs)

    def values(self, number: int) -> Array:
        """Return a physical trajectory (T, C, H, W).

        Raises:
            DpdmError: When a value is missing.
        """
        arrays = [self.fields[n].transpose(*SIDES).values.astype(float) for n in self.names]
        without_gaps(self.path, dict(zip(self.names, arrays, strict=True)))
        return np.stack(arrays, axis=1)

    @cached_property
    def scaled(self) -> Tensor:
        """Give the trajectory as the denoiser knows it, normalised states or codes."""
        mean, std = self.course.frame
        x = ((torch.from_numpy(self.values(0)) - mean) / std).float()
        if self.prior.coder is None:
            return x
        coder, ground = self.prior.coder, self.prior.climatology["ground"]
        with torch.no_grad():
            return coder.cpu().encode(x, coder.features(ground[None].float()))

    def physical(self, x: Fields) -> Array:
        """Return a trajectory of the denoiser's as a physical one (T, C, H, W)."""
        with torch.no_grad():
            states = self.course.physical(x[None].double())[0]
        values: Array = states.movedim(1, 0).numpy()
        return values

    def label(self, number: int) -> str:
        """Return what decides the noise, beside the seed."""
        return "trajectory"

    def near(self, number: int, sigma: float, members: Sequence[int]) -> Iterator[Array]:
        """Yield physical members (T, C, H, W)."""
        rest = self.values(number) - self.physical(self.scaled)
        dice = Dice(self.course.shape, self.wish.seed, self.label(number))
        way = up_to(self.how, sigma)
        for member in samples(self.course.denoise(way), dice, members, way, self.scaled):
            yield self.physical(member) + rest

    def centred(self, members: Array, number: int) -> Array:
        """Move members so that their mean is the trajectory."""
        moved: Array = members - members.mean(0) + self.values(number)
        return moved

    def spread(self, members: Array) -> dict[str, float]:
        """Return the spread of each variable, over times and area."""
        mean_square = (members.var(0, ddof=1) * self.weights).mean((0, 2, 3))
        return dict(zip(self.names, map(float, np.sqrt(mean_square)), strict=True))

    def template(self) -> xr.Dataset:
        """Return the layout of an ensemble, one variable a level."""
        count, *rest = self.course.extent
        axes = {"realization": None, **self.axes(None)}
        return layout((count, *rest), self.wish, self.labelled, axes).assign_attrs(self.attrs)

    def blocks(self, number: int, members: Array) -> Iterator[xr.Dataset]:
        """Yield a block for every member, and the statistics."""
        yield from blocks(members, self.wish, self.labelled)

    def labelled(
        self, values: NDArray[Any], /, member: int | None = None, statistic: str = ""
    ) -> xr.Dataset:
        """Return physical states (T, C, H, W), labelled, in the units of the file."""
        axes: dict[str, Any] = {} if member is None else {"realization": [member]}
        coords = axes | self.axes(0)
        out = {}
        for c, name in enumerate(self.names):
            whole = values[:, c][(None,) * len(axes)]
            array = xr.DataArray(whole, coords, list(coords), name, self.fields[name].attrs)
            back = from_canonical(array, None, difference=statistic == "spread")
            out[f"{name}_{statistic}" if statistic else name] = described(back, statistic)
        return xr.Dataset(out)
