"""Which trajectories are to be estimated: when, of what states, and where their cells lie."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import torch
import xarray as xr
from torch import Tensor

from dpdm.bound import scaling, windowed
from dpdm.diffusion.tile import Spans, tile
from dpdm.draw import Dice, How, samples
from dpdm.errors import DpdmError
from dpdm.fields.channels import Channels
from dpdm.fields.stations import check
from dpdm.fields.status import ObsStatus, mark
from dpdm.fields.trajectories import cadence_of, check_times, opened
from dpdm.instruments import operator_of
from dpdm.operators.layout import Axis, Layout
from dpdm.operators.linear import Links, picks
from dpdm.operators.registry import Sites
from dpdm.prior import CLIMATE, Prior, check_length
from dpdm.types import Denoise, Fields, Operator

LONGEST = 1_000_000  # states


@dataclass(frozen=True)
class Course:
    """Trajectories that a prior is to estimate.

    Attributes:
        prior: A prior of trajectories.
        time: Times of the states (T,), dates or numbers.
        inner: Coordinates of a state: its components, or y and x.
        numbers: Numbers of the trajectories; none where there is but one.
        sounder: Channels of brightness temperatures, if their weights are known.
    """

    prior: Prior
    time: xr.DataArray
    inner: Mapping[str, xr.DataArray]
    numbers: tuple[int, ...] = ()
    sounder: Channels | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Give the shape (T, C, ...) of a trajectory."""
        channels = len(self.prior.normaliser.channels)
        return self.time.size, channels, *self.prior.contract.plane

    @property
    def extent(self) -> tuple[int, ...]:
        """Give the shape (T, C, ...) of a physical trajectory."""
        return self.shape

    def lost(self, operator: Operator) -> Tensor | float:
        """Return the variance of observed values (N,) that no state which is drawn can have."""
        return 0.0

    def completed(self, state: Fields, dice: Dice, member: int) -> Fields:
        """Return a physical trajectory with what lacks in states as they are drawn."""
        return state

    @property
    def names(self) -> tuple[str, ...]:
        """Give the names of the variables, or of the components of the one there is."""
        return tuple(self.prior.normaliser.names)

    @property
    def variables(self) -> tuple[str, ...]:
        """Give the variables that may be observed."""
        return (self.prior.contract.variable,) if self.prior.contract.variable else self.names

    @cached_property
    def layout(self) -> Layout:
        """Give the cells of a state on a plane."""
        centres = [self.inner[side].values.astype(float) for side in ("y", "x")]
        periods = [
            len(c) * (c[-1] - c[0]) / (len(c) - 1) if self.prior.contract.periodic else 0.0
            for c in centres
        ]
        y, x = (Axis(*each) for each in zip("yx", centres, periods, strict=True))
        return Layout(y, x, sphere=False)

    def denoise(self, how: How) -> Denoise:
        """Return the denoiser of whole trajectories (B, T, C, ...)."""
        spans = Spans(self.time.size, self.prior.contract.states)
        return tile(windowed(self.prior, how.device), spans)

    def climate(self, how: How, seed: int) -> list[Fields]:
        """Return states that the prior draws without observations, held still over all times."""
        states = self.prior.contract.states
        dice = Dice((states, *self.shape[1:]), seed, "climate")
        how = replace(how, corrections=0, block=CLIMATE)
        drawn = samples(windowed(self.prior, how.device), dice, range(CLIMATE), how)
        still = (self.physical(x[None, states // 2 : states // 2 + 1]) for x in drawn)
        return [x.expand(-1, -1, self.time.size, -1, -1) for x in still]

    def physical(self, x: Fields) -> Fields:
        """Return normalised trajectories (B, T, C, ...) as physical ones (B, C, T, H, W)."""
        mean, std = (each.to(x) for each in scaling(self.prior))
        states = (mean + std * x).movedim(2, 1)
        return states if self.prior.contract.plane else states[..., None, None]

    def operator(self, rows: pd.DataFrame) -> Operator:
        """Return the operator from physical trajectories (B, C, T, H, W) to the rows' values."""
        if self.prior.contract.plane:
            count, channels, *plane = self.shape
            return operator_of(rows, self.sites, (channels, count, *plane))
        numbers = torch.tensor([self.names.index(name) for name in rows["component"]])
        return self.when(picks((1, 1), torch.zeros(len(rows), dtype=torch.long)).of(numbers), rows)

    def sites(self, rows: pd.DataFrame) -> Sites:
        """Return where and when some rows were measured on the plane."""
        first, last = self.interval(rows)
        y, x = (rows[side].to_numpy(float, copy=True) for side in ("y", "x"))
        return Sites(self.layout, self.names, y, x, first, last)

    def when(self, links: Links, rows: pd.DataFrame) -> Links:
        """Return links at the rows' steps."""
        first, last = self.interval(rows)
        return links.at(first) if last is None else links.during(first, last)

    def interval(self, rows: pd.DataFrame) -> tuple[Tensor, Tensor | None]:
        """Return the first and the last step of rows (N,); None where each has but one."""
        names = [name for name in ("step", "last") if name in rows]
        first, *last = (torch.from_numpy(rows[n].to_numpy(np.int64, copy=True)) for n in names)
        return first, last[0] if last else None

    def checked(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return observations with the status and the step of each."""
        table, plane = table.copy(), self.prior.contract.plane
        mark(table, ~table["variable"].isin(self.variables), ObsStatus.NO_VARIABLE)
        for need in ("y", "x") if plane else ("component",):
            there = table[need] if need in table else pd.Series("", table.index)
            mark(table, there.isna() | (there == ""), ObsStatus(f"no {need}"))
        if not plane and "component" in table:
            mark(table, ~table["component"].isin(self.names), ObsStatus.OTHER_COMPONENT)
        if self.numbers:
            mark(table, table["trajectory"].isna(), ObsStatus.NO_TRAJECTORY)
        return check(table, time=self.time)


def course_of(prior: Prior, table: pd.DataFrame, grid: Path | None, named: str) -> Course:
    """Return the trajectories to estimate: on a file's axes, or from the first time to the last.

    Args:
        prior: A prior of trajectories.
        table: Observations.
        grid: A file of trajectories whose axes are to be taken, or nothing.
        named: What a message calls the observations.

    Raises:
        DpdmError: When prior, file and observations do not fit each other.
    """
    with ExitStack() as stack:
        like = None if grid is None else stack.enter_context(opened(grid))
        if like is not None:
            check_like(like, prior, grid)
        time = observed(prior, table, named) if like is None else times_of(like, prior)
        check_length(prior, time.size, named if grid is None else grid)
        inner = states_of(prior) if like is None else inner_of(like, prior)
    numbers: tuple[int, ...] = ()
    if "trajectory" in table and (there := table["trajectory"].dropna()).size:
        numbers = tuple(sorted(map(int, there.unique())))
    return Course(prior, time, inner, numbers)


def observed(prior: Prior, table: pd.DataFrame, named: str) -> xr.DataArray:
    """Return evenly spaced times from the first observed to the last.

    Raises:
        DpdmError: When they are no numbers, or span more states than make sense.
    """
    stamps = table["time"].dropna()
    if stamps.empty or not pd.api.types.is_numeric_dtype(stamps):
        raise DpdmError(
            f"The times of {named} are {'missing' if stamps.empty else 'dates'}: they do not "
            "say which states are wanted.",
            "Give --grid with a file of trajectories on the wanted times.",
        )
    step, first = prior.contract.cadence, float(stamps.min())
    count = round((float(stamps.max()) - first) / step) + 1
    check_count(count, prior, named)
    values = first + step * np.arange(count)
    return xr.DataArray(values, dims="time", attrs={"long_name": "model time", "units": "1"})


def check_count(count: int, prior: Prior, named: str) -> None:
    """Refuse more states than make sense.

    Raises:
        DpdmError: When there are.
    """
    if not 0 < count <= LONGEST:
        raise DpdmError(
            f"From first to last time of {named} there are {count} states, "
            f"{prior.contract.cadence:g} apart.",
            "Check the times, or say with --grid which are wanted.",
        )


def times_of(like: xr.Dataset, prior: Prior) -> xr.DataArray:
    """Return the times of a file of trajectories; numbers where it has none."""
    if "time" in like.coords:
        return like["time"].load().reset_coords(drop=True)
    values = prior.contract.cadence * np.arange(like.sizes["time"])
    return xr.DataArray(values, dims="time", attrs={"long_name": "model time", "units": "1"})


def check_like(like: xr.Dataset, prior: Prior, path: Path | None) -> None:
    """Refuse a file whose states are not the prior's.

    Raises:
        DpdmError: When they have other extents or another distance in time.
    """
    said, plane = prior.contract, tuple(like.sizes.get(side, 0) for side in ("y", "x"))
    if (plane if any(plane) else ()) != tuple(said.plane):
        raise DpdmError(
            f"The states of {path} are {words(plane)}, the prior's {words(said.plane)}.",
            "Give a file like those that the prior was trained on.",
        )
    if path is not None:
        check_times(like, path)
    check_cadence(like, prior, path)


def check_cadence(like: xr.Dataset, prior: Prior, path: Path | None) -> None:
    """Refuse states that are further apart, or closer, than the prior's.

    Raises:
        DpdmError: When they are.
    """
    cadence = prior.contract.cadence
    if like.sizes["time"] > 1 and not math.isclose(cadence_of(like), cadence, rel_tol=1e-2):
        raise DpdmError(
            f"The states of {path} are {cadence_of(like):g} apart, the prior's {cadence:g}.",
            "Give the times that the prior was trained for.",
        )


def words(plane: tuple[int, ...]) -> str:
    """Say what a state is.

    Example:
        >>> words((32, 64)), words(())
        ('fields of 32 by 64 cells', 'components')
    """
    return f"fields of {plane[0]} by {plane[1]} cells" if any(plane) else "components"


def inner_of(like: xr.Dataset, prior: Prior) -> dict[str, xr.DataArray]:
    """Return the coordinates of a file's states, or those that the prior implies."""
    own = states_of(prior)
    return {n: like[n].load() if n in like.coords and n != "component" else own[n] for n in own}


def states_of(prior: Prior) -> dict[str, xr.DataArray]:
    """Return the coordinates of the prior's states."""
    said = prior.contract
    if not said.plane:
        names = np.array(prior.normaliser.names)
        words = {"long_name": "component"}
        return {"component": xr.DataArray(names, dims="component", attrs=words)}
    axes = zip(("y", "x"), said.plane, said.spacing, strict=True)
    return {
        n: xr.DataArray((np.arange(size) + 0.5) * (step or 1.0), dims=n, attrs={"units": "1"})
        for n, size, step in axes
    }
