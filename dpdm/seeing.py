"""Observations of one step, as the diffusion wants them: an operator on the prior's fields.

An observation that names no operator is the bilinear value at its place. A temperature is brought
to the station's height by the lapse rate of the standard atmosphere, a surface pressure by the
hypsometric equation; where the elevation is unknown the field's own relief is taken. Whatever else
an instrument sees, `instruments` makes an operator of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from dpdm import instruments
from dpdm.coarse_error import CoarseError, covariance, given
from dpdm.diffusion.observe import Observation
from dpdm.draw import Posterior, noise
from dpdm.errors import DpdmError
from dpdm.evaluate.innovations import background_check
from dpdm.expected import QUANTILES, quantiles
from dpdm.fields.grid import Grid
from dpdm.fields.status import IN_USE, ObsStatus, has
from dpdm.memory import check_room
from dpdm.operators.layout import globe
from dpdm.operators.points import climb, points
from dpdm.operators.registry import OF_WIND, OPERATORS, Sites
from dpdm.task import Task, label_of
from dpdm.types import Operator

Array = NDArray[np.float64]
Numbered = Iterator[tuple[int, Array]]


class Sights:
    """The observations of a task, and what prior and analysis say of them, step by step.

    Attributes:
        table: The observations; their ``status`` changes as the background check goes on.
        prior: Quantiles of the prior at each observation, with shape (N, Q), NaN if unseen.
        analysis: Values of the members at each observation, with shape (N, M), NaN if unseen.
    """

    def __init__(
        self, task: Task, table: pd.DataFrame, reject: float, error: CoarseError | None = None
    ) -> None:
        self.task, self.table, self.reject, self.error = task, table, reject, error
        needed = 8 * len(table) * (QUANTILES + task.wish.members)
        check_room(needed, "Members at observations take", "Give fewer --members.")
        self.prior = np.full((len(table), QUANTILES), np.nan)
        self.analysis = np.full((len(table), task.wish.members), np.nan)
        self.named = instruments.named(table)
        self.check_operators()

    def check_operators(self) -> None:
        """Build every operator once, before anything is computed.

        Raises:
            DpdmError: When an operator is unknown, lacks a setting or makes no sense, or the
                coarse field's error, which is known at points, would be seen by another.
        """
        for step in range(self.task.steps):
            here = self.at(step)
            if here.size:
                self.operator(here, tried=True)
        used = has(self.table, ObsStatus.ASSIMILATED) & (self.named != "point")
        if self.error is not None and used.any():
            row = self.table[used].iloc[0]
            raise DpdmError(
                f"--coarse-error is for values at points, and row {row['row']} of "
                f"{row['source']} is seen by {row['operator']}.",
                "Leave it out, or leave out the observations of other operators.",
            )

    def analyse(self, step: int) -> Iterator[xr.Dataset]:
        """Yield one step's results, ready to be written."""
        yield from self.task.blocks(step, self.members(step, range(self.task.wish.members)))

    def members(self, step: int, numbers: Sequence[int]) -> Iterator[Array]:
        """Yield some members (C, H, W) of one step, missing where nothing is known."""
        task = self.task
        posterior = Posterior(task.prior, task.given(step), task.how)
        here = self.at(step)
        operator = self.operator(here) if here.size else None
        if operator is not None:
            of_wind = np.isin(self.named[here], list(OF_WIND))
            self.prior[here] = quantiles(posterior, operator, of_wind)
            self.check_background(here)
            posterior = posterior.seeing(self.observation(here))
        label = label_of(task.coarse, step)
        drawn = posterior.members(numbers, task.wish.seed, label)
        members: Numbered = zip(numbers, drawn, strict=True)
        if self.error is not None:
            members = self.corrected(self.error, members, here, label)
        lost = posterior.given.lerp.isnan().numpy() & (not task.blind)
        yield from task.hiding(self.noted(members, operator, here), lost)

    def corrected(
        self, law: CoarseError, members: Numbered, here: NDArray[np.int64], label: str
    ) -> Numbered:
        """Yield members with the error of the coarse field that they and the used rows imply."""
        used = self.used(here)
        seen = Implied(self, used) if used.size else None
        shapes = {"z": (len(law.std), len(law.root)), "e": (len(used),)}
        for number, member in members:
            z, e = (
                noise(shape, self.task.wish.seed, number, f"{label}/coarse/{name}").double()
                for name, shape in shapes.items()
            )
            z = z if seen is None else seen.given(member, z, e)
            yield number, self.added(member, law.field(z).numpy())

    def added(self, member: Array, error: Array) -> Array:
        """Return a member plus an error; what is never negative stays so."""
        total: Array = member + error
        for c, channel in enumerate(self.task.prior.normaliser.channels):
            if channel.transform == "log1p":
                total[c] = total[c].clip(min=0)
        return total

    def noted(
        self, members: Numbered, operator: Operator | None, here: NDArray[np.int64]
    ) -> Iterator[Array]:
        """Yield members (C, H, W) as they come, noting their values at the observations."""
        for number, member in members:
            if operator is not None:
                self.analysis[here, number] = operator(torch.from_numpy(member)[None])[0].numpy()
            yield member

    def at(self, step: int) -> NDArray[np.int64]:
        """Return the rows of a step that are assimilated or withheld."""
        wanted = has(self.table, *IN_USE) & (self.table["step"] == step).to_numpy()
        return np.flatnonzero(wanted)

    def operator(self, here: NDArray[np.int64], tried: bool = False) -> Operator:
        """Return the operator of some rows of one step."""
        names, grid = self.task.prior.normaliser.names, self.task.grid
        whole = self.together(here)
        seen = operator_of(self.table.iloc[whole], names, grid, self.task.statics[0], tried)
        chosen = torch.from_numpy(np.searchsorted(whole, here))
        return lambda fields: seen(fields)[:, chosen.to(fields.device)]

    def together(self, here: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return rows of one step with all those that operators of other packages see with them.

        They give all their values at once, those that are not believed among them.
        """
        others = set(self.named[here]) - OPERATORS.keys()
        foreign = pd.Index(self.named).isin(others)  # numpy's takes the square of the rows in time
        beside = foreign & (self.table["step"] == self.table["step"].iloc[here[0]]).to_numpy()
        whole: NDArray[np.int64] = np.union1d(here, np.flatnonzero(beside))
        return whole

    def observation(self, here: NDArray[np.int64]) -> Observation | None:
        """Return the observation of those rows that are assimilated, if there are any."""
        used = self.used(here)
        if not used.size:
            return None
        value, error = self.numbers(used)
        shared = None
        if self.error is not None:
            channel = self.channel(used)
            shared = covariance(self.reach(used), 0 * error, channel)
        return Observation(self.operator(used), value, error**2, shared=shared)

    def used(self, here: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of some rows that are assimilated."""
        chosen: NDArray[np.int64] = here[has(self.table, ObsStatus.ASSIMILATED)[here]]
        return chosen

    def numbers(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return values and standard deviations of some rows."""
        some = self.table.iloc[rows]
        value, error = (
            torch.from_numpy(some[n].to_numpy(float, copy=True)) for n in ("value", "error")
        )
        return value, error

    def channel(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the channel of each of some rows."""
        names = self.task.prior.normaliser.names
        return torch.tensor([names.index(v) for v in self.table["variable"].iloc[rows]]).long()

    def reach(self, rows: NDArray[np.int64]) -> Tensor:
        """Return what the coarse field's error does at some rows."""
        assert self.error is not None
        lat, lon = (self.table[n].to_numpy(float, copy=True)[rows] for n in ("lat", "lon"))
        return self.error.at(lat, lon, self.channel(rows))

    def check_background(self, here: NDArray[np.int64]) -> None:
        """Turn away observations that neither prior nor error can explain."""
        more = 0.0 if self.error is None else self.error.std[self.channel(here)].numpy()
        background_check(self.table, here, self.prior[here], self.reject, more)


class Implied:
    """What the rows that were used imply of the coarse field's error, member by member."""

    def __init__(self, sights: Sights, used: NDArray[np.int64]) -> None:
        self.operator, self.channel = sights.operator(used), sights.channel(used)
        self.value, self.error = sights.numbers(used)
        self.reach = sights.reach(used)

    def given(self, member: Array, z: Tensor, e: Tensor) -> Tensor:
        """Return z (C, n) given what a member (C, H, W) misses."""
        miss = self.value - self.operator(torch.from_numpy(member)[None])[0]
        return given(self.reach, self.error, self.channel, miss, z, e)


def operator_of(
    rows: pd.DataFrame,
    names: Sequence[str],
    grid: Grid,
    relief: NDArray[np.float64],
    tried: bool = False,
) -> Operator:
    """Return the operator from fields (B, C, H, W) on a grid with relief (m) to values (B, N)."""
    layout = globe(grid.lat, grid.lon)

    def place(some: pd.DataFrame) -> Sites:
        lat, lon, height = (
            some[n].to_numpy(float, copy=True) for n in ("lat", "lon", "elevation")
        )
        up = climb(points(layout, lat, lon), relief, height)
        return Sites(layout, tuple(names), lat, lon, climb=up)

    return instruments.operator_of(rows, place, (len(names), *grid.shape) if tried else ())
