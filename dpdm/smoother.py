"""An ensemble of whole trajectories, given observations of any of their times.

What is called smoothing elsewhere needs no model here: the prior's denoiser of windows, composed
in time, knows what trajectories look like, and the observations, earlier and later ones at once,
pull all states together.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import torch
import xarray as xr
from numpy.typing import NDArray

from dpdm.course import Course
from dpdm.diffusion.observe import Observation
from dpdm.draw import Dice, How, samples
from dpdm.ensemble import EnsembleOptions, blocks, described, layout
from dpdm.errors import DpdmWarning
from dpdm.evaluate.innovations import background_check
from dpdm.fields.aloft import placed
from dpdm.fields.status import IN_USE, ObsStatus, has, overrule
from dpdm.fields.tensors import Channel
from dpdm.memory import check_room
from dpdm.operators.shapes import compose
from dpdm.operators.whitening import row_of
from dpdm.prior import CLIMATE
from dpdm.sighted import whitening_operator
from dpdm.types import Denoise, Fields, Operator, Values

Array = NDArray[np.float64]
WORDS = {"long_name": "number of the trajectory"}
WORK = 100  # trajectories that fit into what guidance and sampling need, and some more
BIASED = (
    "Without corrections, trajectories that are composed of windows are known to be biased: they "
    "jump from state to state, and follow no observation far. Say --corrections 3."
)


@dataclass
class Smoother:
    """Trajectories to estimate, and what prior and analysis say at the observations.

    Attributes:
        course: Which trajectories.
        table: The observations; their ``status`` changes as the background check goes on.
        wish: What the user asked for.
        how: How to sample.
        reject: Departure from the prior, in standard deviations, that is not believed; 0 for none.
        prior: Values of the prior at each observation, with shape (N, P), NaN if unseen.
        analysis: Values of the members at each observation, with shape (N, M), NaN if unseen.
    """

    course: Course
    table: pd.DataFrame
    wish: EnsembleOptions
    how: How
    reject: float = 0.0
    prior: Array = field(init=False)
    analysis: Array = field(init=False)

    def __post_init__(self) -> None:
        """Make room, if there is enough, and warn of what is known to go wrong."""
        kept = 1 if self.wish.keep == "members" else self.wish.members
        hint = "Give fewer --members, --keep members, or a shorter trajectory."
        check_room((kept + WORK) * 4 * math.prod(self.course.extent), "The members take", hint)
        self.prior = np.full((len(self.table), CLIMATE), np.nan)
        self.analysis = np.full((len(self.table), self.wish.members), np.nan)
        prior = self.course.prior
        long = self.course.time.size > prior.contract.states
        if long and not self.how.corrections and prior.denoiser.law is None:
            warnings.warn(BIASED, DpdmWarning, stacklevel=2)

    @property
    def total(self) -> int:
        """Count the trajectories to draw."""
        return self.wish.members * max(1, len(self.course.numbers))

    def blocks(self) -> Iterator[xr.Dataset]:
        """Yield the results, trajectory by trajectory and member by member."""
        climate = self.course.climate(self.how, self.wish.seed)
        denoise = self.course.denoise(self.how)
        for number in self.course.numbers or (None,):
            drawn = self.drawn(number, denoise, climate)
            yield from blocks(drawn, self.wish, partial(self.labelled, number=number))

    def drawn(
        self, number: int | None, denoise: Denoise, climate: list[Fields]
    ) -> Iterator[NDArray[np.float32]]:
        """Yield physical members (C, T, H, W) of one trajectory, noting what they say."""
        here, operator = self.rows(number), None
        if here.size:
            here, operator = self.compared(here, climate)
        if operator is not None:
            background_check(self.table, here, self.prior[here], self.reject)
            denoise = self.pulled(denoise, here, operator)
        label = "trajectory" if number is None else f"trajectory {number}"
        dice = Dice(self.course.shape, self.wish.seed, label)
        for member, x in enumerate(samples(denoise, dice, range(self.wish.members), self.how)):
            bare = self.course.physical(x[None].double())
            state = self.course.completed(bare, dice, member)
            if operator is not None:
                self.analysis[here, member] = operator(state)[0].numpy()
            yield state[0].float().numpy()

    def compared(
        self, here: NDArray[np.int64], climate: list[Fields]
    ) -> tuple[NDArray[np.int64], Operator | None]:
        """Return those rows that the prior sees, and their operator; note the prior's values."""
        operator = self.course.operator(self.table.iloc[here])
        values = torch.cat([operator(x) for x in climate]).T.numpy()
        seen = np.isfinite(values).all(1)
        if not seen.all():  # below the ground of the states that were learnt from, say
            overrule(self.table, here[~seen], ObsStatus.UNSEEN)
            return self.compared(here[seen], climate) if seen.any() else (here[seen], None)
        self.prior[here] = values
        return here, operator

    def rows(self, number: int | None) -> NDArray[np.int64]:
        """Return the rows of a trajectory that are assimilated or withheld."""
        wanted = has(self.table, *IN_USE)
        if number is not None:
            wanted = wanted & (self.table["trajectory"] == number).to_numpy()
        return np.flatnonzero(wanted)

    def pulled(self, denoise: Denoise, here: NDArray[np.int64], operator: Operator) -> Denoise:
        """Return the posterior's denoiser, given those rows of an operator that are used."""
        kept = np.flatnonzero(has(self.table, ObsStatus.ASSIMILATED)[here])
        if not kept.size:
            return denoise
        some, chosen = self.table.iloc[here[kept]], torch.from_numpy(kept)
        value, error = (
            torch.from_numpy(some[n].to_numpy(np.float32, copy=True)) for n in ("value", "error")
        )
        drawn = torch.from_numpy(self.prior[here[kept]].T.copy())

        def used(fields: Fields) -> Values:
            return operator(fields)[:, chosen.to(fields.device)]

        seen: Operator = used
        white = whitening_operator(some, self.course.sounder)
        if white is not None:
            seen = compose(seen, row_of, white)
            value, drawn, error = white(row_of(value[None]))[0], white(row_of(drawn)), error**0
        variance = error**2 + torch.as_tensor(self.course.lost(seen)).float()
        scale = drawn.var(0, correction=0).float()
        modelled = compose(self.course.physical, seen)
        return self.how.guide(denoise, Observation(modelled, value, variance, scale))

    def labelled(
        self,
        states: NDArray[Any],
        /,
        member: int | None = None,
        statistic: str = "",
        number: int | None = None,
    ) -> xr.Dataset:
        """Return physical states (C, T, H, W), labelled."""
        axes: dict[str, Any] = {} if member is None else {"realization": [member]}
        axes |= {} if number is None else {"trajectory": [number]}
        coords: dict[str, Any] = axes | {"time": self.course.time} | dict(self.course.inner)
        arrays = {}
        for name, values, words in self.variables(states):
            whole = values[(None,) * len(axes)]
            array = xr.DataArray(whole, coords, list(coords), name, words)
            arrays[f"{name}_{statistic}" if statistic else name] = described(array, statistic)
        return xr.Dataset(arrays)

    def variables(
        self, states: NDArray[Any]
    ) -> Iterator[tuple[str, NDArray[Any], Mapping[str, Any]]]:
        """Yield name, values (T, ...) and metadata of the variables of states (C, T, H, W)."""
        channels, own = self.course.prior.normaliser.channels, self.course.prior.contract.variable
        if own:
            yield own, states[..., 0, 0].T, {"long_name": own, "units": channels[0].units or "1"}
            return
        for channel, values in zip(channels, states, strict=True):
            yield channel.name, values, attributes(channel)

    def template(self) -> xr.Dataset:
        """Return the layout of the file to write."""
        count, channels, *plane = self.course.extent
        numbers = np.array(self.course.numbers, np.int32)
        many = {"trajectory": ("trajectory", numbers, WORDS)} if numbers.size else {}
        axes = {"realization": None, **many, "time": self.course.time, **self.course.inner}
        first = self.course.numbers[0] if numbers.size else None
        label = partial(self.labelled, number=first)
        return layout((channels, count, *(plane or (1, 1))), self.wish, label, axes)


def attributes(channel: Channel) -> dict[str, Any]:
    """Return the metadata of a channel's variable."""
    said = {"long_name": channel.long_name or channel.name, "units": channel.units or "1"}
    said |= {"standard_name": channel.standard_name} if channel.standard_name else {}
    where = placed(channel.name, channel.family)
    return said if where is None else said | where.stamp
