"""Fields on the Earth as states: each a time step of a file.

A field is a residual to the lerp of its own block means, if the prior is to know them, or a whole
field of which nothing is known beside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from dpdm.draw import Posterior
from dpdm.ensemble import EnsembleOptions
from dpdm.errors import DpdmError
from dpdm.fields.grid import coarsen, grid_of
from dpdm.fields.store import load, open_fields
from dpdm.fields.tensors import to_tensor
from dpdm.fit import spoken, wanted
from dpdm.prior import Prior
from dpdm.task import Task, between, label_of, unknown

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Around:
    """What a prior of fields is told of the state that it is bound to.

    Attributes:
        factor: Cells along each side of the blocks whose means it knows; 0 for the greatest that
            prior and grid allow.
        blind: Whether it knows nothing.
        statics: The user's own statics, or nothing.
    """

    factor: int = 0
    blind: bool = False
    statics: Path | None = None


class Maps:
    """Fields on the Earth, step by step."""

    before = 0

    def __init__(self, path: Path, prior: Prior, wish: EnsembleOptions, around: Around) -> None:
        self.path, self.prior, self.wish = path, prior, wish
        self.fields = wanted(
            open_fields(path, None, wish.rename, wish.units, spoken(prior), wish.missing),
            prior,
            path,
            wish.rename,
        )
        check_whole(self.fields, prior, path)
        self.factor = 0 if around.blind else around.factor or widest(self.fields, prior)
        self.task = task_of(self, around)
        self.how = replace(self.task.how, inflation=1.0)  # the level decides the spread
        self.bound: tuple[int, Posterior] | None = None

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Give what the file says of itself."""
        return self.fields.attrs

    @property
    def weights(self) -> Array:
        """Give the areas of the cells over their mean (H, W)."""
        return self.task.grid.weights

    def axes(self, number: int | None) -> dict[str, xr.DataArray]:
        """Return time, if there is any, latitude and longitude."""
        sides = xr.Dataset(coords=self.task.grid.coords())
        axes = {n: sides[n] for n in ("lat", "lon")}
        if "time" not in self.task.coarse.dims:
            return axes
        time = self.task.coarse["time"].reset_coords(drop=True)
        return {"time": time if number is None else time[[number]]} | axes

    def timed(self, laid: xr.Dataset) -> xr.Dataset:
        """Return a layout with the bounds of its times, if there are any."""
        known = {n: self.task.coarse[n] for n in ("time_bnds",) if n in self.task.coarse.coords}
        return laid.assign_coords(known).assign_attrs(self.attrs)

    @property
    def count(self) -> int:
        """Count the time steps."""
        return self.task.steps

    @property
    def names(self) -> list[str]:
        """Name the variables."""
        return self.prior.normaliser.names

    def values(self, number: int) -> Array:
        """Return physical fields (C, H, W).

        Raises:
            DpdmError: When a value is missing.
        """
        timed = "time" in self.fields.dims
        one = load(self.fields.isel(time=number) if timed else self.fields, self.path)
        found: Array = to_tensor(one, self.names, self.task.grid.shape).numpy()
        without_gaps(self.path, dict(zip(self.names, found, strict=True)))
        return found

    def posterior(self, number: int) -> Posterior:
        """Return the prior, bound to what it may know of a step."""
        if self.bound is None or self.bound[0] != number:
            self.bound = (number, Posterior(self.prior, self.task.given(number), self.how))
        return self.bound[1]

    def label(self, number: int) -> str:
        """Return what decides the noise of a step, beside the seed."""
        return label_of(self.task.coarse, number)

    def near(self, number: int, sigma: float, members: Sequence[int]) -> Iterator[Array]:
        """Yield physical members (C, H, W)."""
        state = torch.from_numpy(self.values(number))
        label = self.label(number)
        yield from self.posterior(number).around(state, sigma, members, self.wish.seed, label)

    def centred(self, members: Array, number: int) -> Array:
        """Move modelled values: where it hardly rains, no member's rain turns negative."""
        normaliser = self.prior.normaliser
        u, state = map(normaliser.forward, map(torch.from_numpy, (members, self.values(number))))
        moved: Array = normaliser.inverse(u - u.mean(0) + state).numpy()
        return moved

    def spread(self, members: Array) -> dict[str, float]:
        """Return the spread of each variable, over area."""
        mean_square = (members.var(0, ddof=1) * self.task.grid.weights).mean((1, 2))
        return dict(zip(self.names, map(float, np.sqrt(mean_square)), strict=True))

    def template(self) -> xr.Dataset:
        """Return the layout of an ensemble."""
        return self.task.template()

    def blocks(self, number: int, members: Array) -> Iterator[xr.Dataset]:
        """Yield a block for every member, and the statistics."""
        yield from self.task.blocks(number, members)


def without_gaps(path: Path, fields: Mapping[str, Array]) -> None:
    """Refuse fields with missing values."""
    for name, field in fields.items():
        if count := int(np.isnan(field).sum()):
            raise DpdmError(
                f"{path}: {name} is missing in {count} of {field.size} cells.",
                "A state must be whole: cut the field, or fill them.",
            )


def check_whole(fields: xr.Dataset, prior: Prior, path: Path) -> None:
    """Refuse a state that lacks variables of the prior, which knows them together."""
    if missing := [n for n in prior.normaliser.names if n not in fields]:
        raise DpdmError(
            f"{path} has no {', '.join(missing)}, and the prior knows "
            f"{', '.join(prior.normaliser.names)} together.",
            "Give a file with all of them, or a prior of fewer.",
        )


def widest(fields: xr.Dataset, prior: Prior) -> int:
    """Return the greatest factor of the prior that divides a grid."""
    shape, (least, most) = grid_of(fields).shape, prior.contract.factors
    for factor in range(most, least - 1, -1):
        if not any(n % factor or n == factor for n in shape):
            return factor
    raise DpdmError(
        f"No factor from {least} to {most}, which the prior knows, divides a grid of "
        f"{shape[0]} by {shape[1]} cells.",
        "Cut the field, or say --blind to hold no large scales.",
    )


def task_of(maps: Maps, around: Around) -> Task:
    """Return the task that binds the prior to the block means of the fields, or to nothing."""
    path, prior, wish, fields = maps.path, maps.prior, maps.wish, maps.fields
    if not around.blind:
        coarse = coarsen(fields, maps.factor)
        return between(coarse, prior, wish, path, around.statics, path)
    if wish.consistent:
        raise DpdmError(
            "--consistent holds block means, and --blind knows none.", "Leave out one of them."
        )
    nothing = unknown(path, prior, wish.missing)
    said = {n: nothing[n].assign_attrs(fields[n].attrs) for n in prior.normaliser.names}
    return between(nothing.assign(said), prior, wish, path, around.statics)
