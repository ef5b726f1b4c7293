"""An analysis: the background and the analysis ensemble at observations, step by step.

For each step the prior equivalents of the observations are computed, the background check rejects
observations that neither the prior's spread nor their errors explain, and the others guide the
denoiser from which members are drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray

from dpdm.assimilate.background import BackgroundError
from dpdm.assimilate.background_analysis import BackgroundAnalysis, ScoredRows
from dpdm.assimilate.controls import Controls
from dpdm.assimilate.departures import background_check
from dpdm.diffusion.guidance import Observation
from dpdm.observations.observation_operator import operator_names
from dpdm.observations.series_checks import check_network
from dpdm.observations.status import IN_USE, ObsStatus, accept, has_status, overrule_status
from dpdm.observations.withholding import keep_for_verification, withhold_stations
from dpdm.operators.registry import OPERATORS
from dpdm.prior import CLIMATE_STATES
from dpdm.states.fields import FieldSpace
from dpdm.states.options import AssimilationOptions
from dpdm.states.sampling import StateSpace, Step, draw_ensemble, guide_sampler, step_blocks
from dpdm.types import Operator

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Space = TypeVar("Space", bound=StateSpace)


class Analysis:
    """The observations of a space of states, with their background and analysis equivalents.

    Attributes:
        space: The states.
        table: The observations; the background check changes their ``status``.
        reject: Innovation, in standard deviations, beyond which one is rejected; 0 for none.
        error: Error of the background, if it has one.
        prior: Prior equivalents of each observation, with shape (N, P), NaN where unseen.
        analysis: Analysis equivalents of each observation, with shape (N, M), NaN where unseen.
        controls: Control variables of the stations in each step that has any.
    """

    def __init__(
        self,
        space: StateSpace,
        table: pd.DataFrame,
        reject: float = 0.0,
        error: BackgroundError | None = None,
    ) -> None:
        self.space, self.table, self.reject, self.error = space, table, reject, error
        space.check_analysis(len(table))
        self.prior = np.full((len(table), CLIMATE_STATES), np.nan)
        self.analysis = np.full((len(table), space.options.members), np.nan)
        self.controls: dict[int, Controls] = {}
        self.operators = operator_names(table)
        self.check_operators()

    def check_operators(self) -> None:
        """Build every operator once, before anything is computed."""
        for step in self.space.steps:
            rows = self.rows_in_use(step)
            if rows.size:
                self.operator(step, rows, tried=True)

    @property
    def total(self) -> int:
        """Return the number of members of all steps."""
        return self.space.options.members * len(self.space.steps)

    def blocks(self) -> Iterator[xr.Dataset]:
        """Yield the labelled results of all steps, member by member."""
        numbers = range(self.space.options.members)
        for step in self.space.steps:
            yield from step_blocks(self.space, step, self.members(step, numbers))

    def members(self, step: Step, numbers: Sequence[int]) -> Iterator[Array]:
        """Yield members of one step as they are written, and store their equivalents."""
        space, seed = self.space, self.space.options.seed
        if self.error is not None:
            yield from self.corrected_members(self.error, step, numbers)
            return
        rows, operator = self.background(step)
        observation = None if operator is None else self.observation(step, rows)
        drawn = draw_ensemble(space, step, space.sampler, numbers, seed, observation)
        for number, member in zip(numbers, drawn, strict=True):
            if operator is not None:
                values = operator(torch.from_numpy(member)[None])[0]
                self.analysis[rows, number] = values.numpy()
            yield space.mask_unknown(member, step)

    def corrected_members(
        self, error: BackgroundError, step: Step, numbers: Sequence[int]
    ) -> Iterator[Array]:
        """Yield members of one step, whose background is corrected by the observations."""
        assert isinstance(self.space, FieldSpace)
        step = step or 0
        rows, operator = self.background(step)
        used = self.rows_assimilated(rows)
        background = self.correct(error, step, used)
        if used.size:
            self.controls[step] = background.controls
        scored = ScoredRows(background, self.table.iloc[rows], operator) if operator else None
        space, seed = background.corrected, self.space.options.seed
        drawn = draw_ensemble(space, 0, space.sampler, numbers, seed, background.observation())
        for number, member in zip(numbers, drawn, strict=True):
            complete, z = background.complete(member, number)
            if scored is not None:
                self.analysis[rows, number] = scored.equivalents(complete, z)
            yield space.mask_unknown(complete, 0)

    def correct(self, error: BackgroundError, step: int, rows: Index) -> BackgroundAnalysis:
        """Return the background of a step with its error, given some rows."""
        assert isinstance(self.space, FieldSpace)
        operator = self.operator(step, rows) if rows.size else None
        return BackgroundAnalysis(self.space, step, error, self.table.iloc[rows], operator)

    def background(self, step: Step) -> tuple[Index, Operator | None]:
        """Check the rows of a step against the prior, and return the rows and their operator."""
        rows = self.rows_in_use(step)
        if not rows.size:
            return rows, None
        operator = self.operator(step, rows)
        equivalents = self.space.background_equivalents(step, operator, self.operators[rows])
        finite = np.isfinite(equivalents).all(1)
        if not finite.all():  # such as below the ground of the training states
            overrule_status(self.table, rows[~finite], ObsStatus.UNSEEN)
            rows, equivalents = rows[finite], equivalents[finite]
            if not rows.size:
                return rows, None
            operator = self.operator(step, rows)
        if self.error is not None:
            equivalents = self.correct(self.error, step or 0, rows).widen(equivalents)
        self.prior[rows] = equivalents
        background_check(self.table, rows, equivalents, self.reject)
        return rows, operator

    def rows_in_use(self, step: Step) -> Index:
        """Return the rows of a step that are assimilated or scored."""
        rows: Index = np.flatnonzero(self.space.rows(self.table, step))
        return rows[has_status(self.table.iloc[rows], *IN_USE)]

    def operator(self, step: Step, rows: Index, tried: bool = False) -> Operator:
        """Return the operator of rows of one step."""
        groups = self.complete_groups(step, rows)
        operator = self.space.operator(self.table.iloc[groups], tried)
        if len(groups) == len(rows):
            return operator
        chosen = torch.from_numpy(np.searchsorted(groups, rows))
        return lambda states: operator(states)[:, chosen.to(states.device)]

    def complete_groups(self, step: Step, rows: Index) -> Index:
        """Return rows of one step, and all rows with the same operators of other packages.

        Such an operator gives all its values at once, also those that are rejected.
        """
        foreign_names = set(self.operators[rows]) - OPERATORS.keys()
        if not foreign_names:
            return rows
        # numpy's isin takes quadratic time
        foreign = pd.Index(self.operators).isin(foreign_names) & self.space.rows(self.table, step)
        groups: Index = np.union1d(rows, np.flatnonzero(foreign))
        return groups

    def observation(self, step: Step, rows: Index) -> Observation | None:
        """Return the observation of those rows that are assimilated, if there are any."""
        used = self.rows_assimilated(rows)
        if not used.size:
            return None
        background = self.prior[used], None
        operator = self.operator(step, used)
        return self.space.observation(step, self.table.iloc[used], operator, background)

    def rows_assimilated(self, rows: Index) -> Index:
        """Return those of some rows that are assimilated."""
        chosen: Index = rows[has_status(self.table, ObsStatus.ASSIMILATED)[rows]]
        return chosen


def guide_space(space: Space, options: AssimilationOptions) -> Space:
    """Return a space whose sampler has the guidance and corrections of the options."""
    sampler = guide_sampler(space.sampler, space.prior, options)
    return replace(space, sampler=sampler)  # type: ignore[type-var]


def screen(table: pd.DataFrame, space: StateSpace, options: AssimilationOptions) -> pd.DataFrame:
    """Return observations after quality control, some of them for verification only."""
    checked = space.screen(check_network(table, options.qc), options.coverage)
    checked = keep_for_verification(checked)
    if options.withhold:
        seed, side = space.options.seed, options.withhold_blocks
        checked = withhold_stations(checked, options.withhold, seed, side)
    return accept(checked)
