"""The background of one step, corrected by its observations.

First the departure b of the background is estimated from the departures of the observations, and
its part that coarse cells resolve is added to the coarse fields, so that the prior is conditioned
on the weather of the step rather than on its climate. Then the members of the prior are drawn
around those coarse fields, and each is given its own b by Matheron's rule. The second use of the
observations counts them once: b is drawn around the first background, and what the coarse fields
gained is taken from the members before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from dpdm.assimilate.background import (
    CONTROLS,
    BackgroundError,
    InnovationSolver,
    Response,
    StepError,
    antithetic_pair,
)
from dpdm.assimilate.background_error import season_of_step
from dpdm.assimilate.controls import Controls
from dpdm.constants import EARTH_RADIUS
from dpdm.diffusion.guidance import Observation, sparse_jacobian
from dpdm.diffusion.noise import draw_noise
from dpdm.fields.grid import grid_of
from dpdm.observations.observation_operator import operator_names
from dpdm.prior.normaliser import to_tensor
from dpdm.states.fields import FieldSpace
from dpdm.types import Fields, Operator, Values

Array = NDArray[np.float64]
KM_PER_DEGREE = float(np.radians(1) * EARTH_RADIUS / 1e3)


@dataclass(frozen=True, eq=False)
class BackgroundAnalysis:
    """The departure of the background in one step, given observations.

    Attributes:
        space: The space of fields, around the uncorrected background.
        step: The step.
        error: The error of the background.
        rows: The observations that are assimilated.
        operator: Their operator, from physical fields to values; None without any.
    """

    space: FieldSpace
    step: int
    error: BackgroundError
    rows: pd.DataFrame
    operator: Operator | None

    @cached_property
    def law(self) -> StepError:
        """Return the error of the background in this step."""
        season = season_of_step(self.space, self.step)
        return self.error.at(season, self.slope(self.moments[0]))

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Return mean and variance of the prior around the background, transformed (C, H, W)."""
        return self.space.posterior(self.step).moments()

    def slope(self, u: Tensor) -> Array:
        """Return the derivative (C, H, W) of the transforms at transformed values."""
        normaliser = self.space.prior.normaliser
        physical = normaliser.inverse(u).requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(normaliser.forward(physical).sum(), physical)
        out: Array = slope.numpy()
        return out

    @cached_property
    def observed(self) -> Observed:
        """Return the observations as functions of the departure."""
        return Observed(self)

    @cached_property
    def solver(self) -> InnovationSolver:
        """Return the solver of R + G G^T of the observations."""
        return self.observed.response.solver(self.observed.error**2)

    @cached_property
    def mean(self) -> Array:
        """Return the mean of z (C, n + 2), given the observations and the prior's spread."""
        return self.first_solver.mean(self.observed.departure)

    @cached_property
    def first_solver(self) -> InnovationSolver:
        """Return the solver of the innovations, which have the spread of the prior too."""
        observed = self.observed
        spread = observed.jacobian.power(2) @ self.moments[1].numpy().ravel()
        return observed.response.solver(observed.error**2 + spread)

    @property
    def controls(self) -> Controls:
        """Return the control variables of the stations."""
        scale = np.array([(law.lapse, law.bias) for law in self.law.laws])
        mean = scale * self.mean[:, -len(CONTROLS) :]
        return Controls(mean, scale * self.first_solver.control_spread())

    @cached_property
    def corrected(self) -> FieldSpace:
        """Return the space of this step alone, around the corrected coarse fields."""
        coarse = self.space.coarse_step(self.step)
        one = (
            self.space.coarse.isel(time=[self.step])
            if "time" in self.space.coarse.dims
            else coarse
        )
        if len(self.rows):
            coarse = self.correct(coarse)
        fields = {n: one[n].copy(data=coarse[n].values.reshape(one[n].shape)) for n in coarse}
        return replace(self.space, coarse=one.assign(fields), driver=None)

    def correct(self, coarse: xr.Dataset) -> xr.Dataset:
        """Return coarse fields with the mean departure that their cells resolve."""
        grid, normaliser = grid_of(coarse), self.space.prior.normaliser
        spacing = KM_PER_DEGREE * max(grid.spacing)
        added = self.law.coarse_field(self.mean, grid, spacing * 0.9)
        u = normaliser.forward(to_tensor(coarse, self.space.names, grid.shape))
        values = normaliser.inverse(u + torch.from_numpy(added)).numpy()
        new = {
            name: coarse[name].copy(data=field.astype(coarse[name].dtype))
            for name, field in zip(self.space.names, values, strict=True)
            if name in coarse
        }
        return coarse.assign(new)

    @cached_property
    def shift(self) -> Tensor:
        """Return what the corrected background has gained, in transformed values (C, H, W)."""
        forward = self.space.prior.normaliser.forward
        before, after = (
            forward(space.conditioning(step).lerp)
            for space, step in ((self.space, self.step), (self.corrected, 0))
        )
        return (after - before).nan_to_num()

    def widen(self, equivalents: Array) -> Array:
        """Return equivalents of the prior (N, P), widened by the error of the background."""
        amount = self.space.amounts(self.rows)
        u = transform_amounts(torch.from_numpy(equivalents), amount)
        mean, variance = u.mean(1, keepdim=True), u.var(1, keepdim=True, correction=0)
        added = torch.from_numpy(np.diag(self.observed.response.covariance).copy())[:, None]
        count = u.shape[1]
        ranks = torch.special.ndtri((torch.arange(count).double() + 0.5) / count)
        wide = mean + (variance + added).sqrt() * ranks
        out: Array = restore_amounts(wide, amount).numpy()
        return out

    def observation(self) -> Observation | None:
        """Return the observation of x of the corrected space, None without any."""
        if not len(self.rows):
            return None
        observed = self.observed
        modelled, value, error = self.space.modelled_observation(self.rows, self.operator)
        value = value + torch.from_numpy(observed.at(self.shift))
        shared = torch.from_numpy(observed.response.covariance)
        seen = Observation(
            modelled, value, error**2, shared=shared, steps=self.space.sampler.steps_taken
        )
        return self.corrected.posterior(0).observation_of_x(seen)

    def complete(self, member: Array, number: int) -> tuple[Array, Array]:
        """Return a member of the corrected space with its departure b, and its z (C, n + 2)."""
        space, normaliser = self.space, self.space.prior.normaliser
        seed, label = space.options.seed, space.label(self.step)
        z = self.law.draw(seed, number, label)
        fields = torch.from_numpy(member)
        if len(self.rows):
            pair, sign = antithetic_pair(number)
            e = sign * draw_noise((len(self.rows),), seed, pair, f"{label}/errors").numpy()
            departure = self.observed.departure_of(fields[None]) + self.observed.at(self.shift)
            z = self.solver.condition(departure, z, e)
        u = normaliser.forward(fields) - self.shift + torch.from_numpy(self.law.field(z))
        out: Array = normaliser.inverse(u).numpy()
        return out, z


class Observed:
    """Observations as functions of the departure of the background, in transformed values.

    Args:
        step: The background of the step.
    """

    def __init__(self, step: BackgroundAnalysis) -> None:
        space, rows, normaliser = step.space, step.rows, step.space.prior.normaliser
        self.modelled, value, error = space.modelled_observation(rows, step.operator)
        self.value, self.error = value.numpy(), error.numpy()
        mean = step.moments[0]

        def operator(u: Fields) -> Values:
            return self.modelled(normaliser.inverse(u))

        jacobian = sparse_jacobian(operator, mean[None], len(rows))
        index = jacobian.indices().numpy()
        self.jacobian = sparse.csr_matrix(
            (jacobian.values().numpy(), index), (len(rows), mean.numel())
        )
        self.response: Response = step.law.response(self.jacobian, *locate_rows(space, rows))
        self.departure = self.departure_of(normaliser.inverse(mean)[None])

    def departure_of(self, fields: Fields) -> Array:
        """Return y - A(f) (N,) of physical fields (1, C, H, W)."""
        out: Array = self.value - self.modelled(fields)[0].detach().numpy()
        return out

    def at(self, change: Tensor) -> Array:
        """Return the change (N,) of the values by a small change of transformed fields."""
        out: Array = self.jacobian @ change.numpy().ravel()
        return out


class ScoredRows:
    """Equivalents of observations, with the control variables of the stations.

    Args:
        step: The background of the step.
        rows: The observations.
        operator: Their operator, from physical fields to values.
    """

    def __init__(self, step: BackgroundAnalysis, rows: pd.DataFrame, operator: Operator) -> None:
        self.modelled = step.space.modelled_observation(rows, operator)[0]
        self.amount = step.space.amounts(rows)
        nothing = sparse.csr_matrix((len(rows), step.moments[0].numel()))
        channel, height = locate_rows(step.space, rows)
        self.controls = step.law.response(nothing, channel, height)

    def equivalents(self, member: Array, z: Array) -> Array:
        """Return the equivalents (N,) of a member with its z."""
        values = self.modelled(torch.from_numpy(member)[None])[0]
        u = values + torch.from_numpy(self.controls.values(z))
        out: Array = restore_amounts(u, self.amount).numpy()
        return out


def locate_rows(space: FieldSpace, rows: pd.DataFrame) -> tuple[NDArray[np.int64], Array]:
    """Return the channel of each row, and its height above the relief, km; -1 for no channel.

    Only values at points have control variables.
    """
    known = {name: number for number, name in enumerate(space.names)}
    point = operator_names(rows) == "point"
    channel = rows["variable"].map(known).fillna(-1).to_numpy(int)
    return np.where(point, channel, -1), space.heights(rows) / 1e3


def transform_amounts(values: Tensor, amount: Tensor) -> Tensor:
    """Return log(1 + v) of those values (N, P) that are amounts."""
    return torch.where(amount[:, None], values.clamp_min(0).log1p(), values)


def restore_amounts(u: Tensor, amount: Tensor) -> Tensor:
    """Return values of transformed ones (N, ...)."""
    chosen = amount.reshape(-1, *(1,) * (u.ndim - 1))
    return torch.where(chosen, u.clamp_min(0).expm1(), u)
