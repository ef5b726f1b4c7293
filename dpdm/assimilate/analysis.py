"""An analysis: observations of states, and what prior and posterior members say of them.

Step by step the prior's equivalents of the observations are found, those that neither prior nor
error can explain are turned away, and the others pull the denoiser from which members are drawn.
An observation that names no operator is the value at its place; whatever else an instrument sees,
`instruments` makes an operator of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from dpdm.assimilate.background import CoarseError, condition_error, innovation_covariance
from dpdm.assimilate.departures import background_check
from dpdm.diffusion.guidance import Observation
from dpdm.diffusion.noise import draw_noise
from dpdm.errors import DpdmError
from dpdm.observations.observation_operator import operator_names, values_and_errors
from dpdm.observations.status import IN_USE, ObsStatus, has_status, overrule_status
from dpdm.operators.registry import OPERATORS
from dpdm.prior import CLIMATE_STATES
from dpdm.states.ensemble import ensemble_blocks
from dpdm.states.sampling import StateSpace, Step, draw_ensemble
from dpdm.types import Operator

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Numbered = Iterator[tuple[int, Array]]


class Analysis:
    """The observations of a space of states, and what prior and analysis say of them.

    Attributes:
        space: What the states are.
        table: The observations; their ``status`` changes as the background check goes on.
        reject: Departure from the prior, in standard deviations, that is not believed; 0 for none.
        error: The law of the coarse field's error, if it is stated.
        prior: Equivalents of the prior at each observation, with shape (N, P), NaN if unseen.
        analysis: Values of the members at each observation, with shape (N, M), NaN if unseen.
    """

    def __init__(
        self,
        space: StateSpace,
        table: pd.DataFrame,
        reject: float = 0.0,
        error: CoarseError | None = None,
    ) -> None:
        self.space, self.table, self.reject, self.error = space, table, reject, error
        space.check_analysis(len(table))
        self.prior = np.full((len(table), CLIMATE_STATES), np.nan)
        self.analysis = np.full((len(table), space.options.members), np.nan)
        self.named = operator_names(table)
        self.check_operators()

    def check_operators(self) -> None:
        """Build every operator once, before anything is computed."""
        for step in self.space.steps:
            here = self.rows_in_use(step)
            if here.size:
                self.operator(step, here, tried=True)
        used = has_status(self.table, ObsStatus.ASSIMILATED) & (self.named != "point")
        if self.error is not None and used.any():
            row = self.table[used].iloc[0]
            raise DpdmError(
                f"--coarse-error is for values at points, and row {row['row']} of "
                f"{row['source']} is seen by {row['operator']}.",
                "Leave it out, or leave out the observations of other operators.",
            )

    @property
    def total(self) -> int:
        """Count the members of all steps."""
        return self.space.options.members * len(self.space.steps)

    def blocks(self) -> Iterator[xr.Dataset]:
        """Yield the results, step by step and member by member, ready to be written."""
        for step in self.space.steps:
            yield from self.analyse(step)

    def analyse(self, step: Step) -> Iterator[xr.Dataset]:
        """Yield one step's results, ready to be written."""
        options = self.space.options
        members = self.members(step, range(options.members))
        yield from ensemble_blocks(members, options, partial(self.space.label_values, step=step))

    def members(self, step: Step, numbers: Sequence[int]) -> Iterator[Array]:
        """Yield what is written of some members of one step, noting their values."""
        space, seed = self.space, self.space.options.seed
        here, operator = self.background(step)
        seen = None if operator is None else self.observation(step, here)
        drawn = draw_ensemble(space, step, space.sampler, numbers, seed, seen)
        members: Numbered = zip(numbers, drawn, strict=True)
        if self.error is not None:
            members = self.correct(self.error, members, step, here)
        for number, member in members:
            if operator is not None:
                values = operator(torch.from_numpy(member)[None])[0]
                self.analysis[here, number] = values.numpy()
            yield space.mask_unknown(member, step)

    def background(self, step: Step) -> tuple[Index, Operator | None]:
        """Return the rows of a step that the prior sees, and their operator; check them."""
        here = self.rows_in_use(step)
        if not here.size:
            return here, None
        operator = self.operator(step, here)
        found = self.space.background_equivalents(step, operator, self.named[here])
        seen = np.isfinite(found).all(1)
        if not seen.all():  # below the ground of the states that were learnt from, say
            overrule_status(self.table, here[~seen], ObsStatus.UNSEEN)
            here, found = here[seen], found[seen]
            if not here.size:
                return here, None
            operator = self.operator(step, here)
        self.prior[here] = found
        more = 0.0 if self.error is None else self.error.std[self.channel(here)].numpy()
        background_check(self.table, here, found, self.reject, more)
        return here, operator

    def rows_in_use(self, step: Step) -> Index:
        """Return the rows of a step that are assimilated or withheld."""
        return np.flatnonzero(has_status(self.table, *IN_USE) & self.space.rows(self.table, step))

    def operator(self, step: Step, here: Index, tried: bool = False) -> Operator:
        """Return the operator of some rows of one step."""
        whole = self.whole_groups(step, here)
        seen = self.space.operator(self.table.iloc[whole], tried)
        if len(whole) == len(here):
            return seen
        chosen = torch.from_numpy(np.searchsorted(whole, here))
        return lambda states: seen(states)[:, chosen.to(states.device)]

    def whole_groups(self, step: Step, here: Index) -> Index:
        """Return rows of one step with all those that operators of other packages see with them.

        They give all their values at once, those that are not believed among them.
        """
        others = set(self.named[here]) - OPERATORS.keys()
        foreign = pd.Index(self.named).isin(others)  # numpy's takes the square of the rows in time
        beside = foreign & self.space.rows(self.table, step)
        whole: Index = np.union1d(here, np.flatnonzero(beside))
        return whole

    def observation(self, step: Step, here: Index) -> Observation | None:
        """Return the observation of those rows that are assimilated, if there are any."""
        used = self.rows_assimilated(here)
        if not used.size:
            return None
        rows, operator = self.table.iloc[used], self.operator(step, used)
        shared = None
        if self.error is not None:
            zero = torch.zeros(len(used), dtype=torch.float64)
            shared = innovation_covariance(self.reach(used), zero, self.channel(used))
        return self.space.observation(step, rows, operator, (self.prior[used], shared))

    def rows_assimilated(self, here: Index) -> Index:
        """Return those of some rows that are assimilated."""
        chosen: Index = here[has_status(self.table, ObsStatus.ASSIMILATED)[here]]
        return chosen

    def correct(self, law: CoarseError, members: Numbered, step: Step, here: Index) -> Numbered:
        """Yield members with the error of the coarse field that they and the used rows imply."""
        used, label, seed = (
            self.rows_assimilated(here),
            self.space.label(step),
            self.space.options.seed,
        )
        seen = ImpliedError(self, step, used) if used.size else None
        shapes = {"z": (len(law.std), len(law.correlation_root)), "e": (len(used),)}
        for number, member in members:
            z, e = (
                draw_noise(shape, seed, number, f"{label}/coarse/{name}").double()
                for name, shape in shapes.items()
            )
            z = z if seen is None else seen.condition(member, z, e)
            yield number, self.add_error(member, law.field(z).numpy())

    def add_error(self, member: Array, error: Array) -> Array:
        """Return a member plus an error; what is never negative stays so."""
        total: Array = member + error
        for c, channel in enumerate(self.space.prior.normaliser.channels):
            if channel.transform == "log1p":
                total[c] = total[c].clip(min=0)
        return total

    def channel(self, rows: Index) -> Tensor:
        """Return the channel of each of some rows."""
        names = self.space.names
        return torch.tensor([names.index(v) for v in self.table["variable"].iloc[rows]]).long()

    def reach(self, rows: Index) -> Tensor:
        """Return what the coarse field's error does at some rows."""
        assert self.error is not None
        lat, lon = (self.table[n].to_numpy(float, copy=True)[rows] for n in ("lat", "lon"))
        return self.error.response(lat, lon, self.channel(rows))


class ImpliedError:
    """What the rows that were used imply of the coarse field's error, member by member."""

    def __init__(self, analysis: Analysis, step: Step, used: Index) -> None:
        self.value, self.error = values_and_errors(analysis.table.iloc[used])
        self.operator, self.channel = analysis.operator(step, used), analysis.channel(used)
        self.reach = analysis.reach(used)

    def condition(self, member: Array, z: Tensor, e: Tensor) -> Tensor:
        """Return z (C, n) given what a member (C, H, W) misses."""
        miss = self.value - self.operator(torch.from_numpy(member)[None])[0]
        return condition_error(self.reach, self.error, self.channel, miss, z, e)
