r"""Error of the background: smooth Gaussian fields that are added to the members.

The prior takes the coarse background as exact, so its members differ from it only by what the
coarse cells do not resolve. Where the truth is the field f plus a departure b of the background,
in transformed values,

.. math:: y = A(f) + G z + e, \qquad b = \Phi S z, \quad z \sim N(0, I),

with :math:`\Phi S` the smooth fields of a law (`anomaly_law`) and G their response at the
observations, the members of f are drawn with :math:`R + G G^T` for the errors' covariance, and b
then belongs to each member by Matheron's rule, which is exact:

.. math:: z = \tilde z + G^T (R + G G^T)^{-1} (y - A(f) - G \tilde z - \tilde e)

with :math:`\tilde z, \tilde e` independent draws. Without observations b is an independent draw.
The last entries of z are **control variables** of the stations alone: the departure of the lapse
rate, and the bias of the network; they change G and no field.

References:
    Wilson et al. (2020), Efficiently sampling functions from Gaussian process posteriors,
    https://arxiv.org/abs/2002.09309, section 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from dpdm.assimilate.anomaly_law import AnomalyLaw, Laws
from dpdm.assimilate.smooth_fields import SmoothFields, kernel_matrix
from dpdm.diffusion.noise import draw_noise
from dpdm.fields.grid import Grid
from dpdm.prior.variable_spec import VariableSpec

Array = NDArray[np.float64]
CONTROLS = ("lapse rate", "bias")


@dataclass(frozen=True, eq=False)
class BackgroundError:
    """The error of the background on a grid.

    Attributes:
        grid: The fine grid.
        land: Smooth land fraction (H, W).
        laws: The law of each variable, by season.
        relative: Variables (C,) whose law is in physical units, scaled to transformed values by
            the derivative of the transform at the background.
    """

    grid: Grid
    land: Array
    laws: Laws
    relative: tuple[bool, ...]

    @property
    def estimated(self) -> bool:
        """Tell whether the law of any variable was estimated from stations."""
        return not all(self.relative)

    def describe(self, channels: Sequence[VariableSpec]) -> Iterator[str]:
        """Yield each estimated law in a line."""
        for number, channel in enumerate(channels):
            if not self.relative[number]:
                for season, laws in self.laws.items():
                    text = laws[number].describe(channel.transformed_units)
                    yield f"{channel.name}, {season}: the background's error is {text}"

    def notes(self, channels: Sequence[VariableSpec]) -> dict[str, object]:
        """Return the estimated laws for the attributes of a file."""
        return {
            f"background_error_{channel.name}": "; ".join(
                f"{season}: {laws[number].describe(channel.transformed_units)}"
                for season, laws in self.laws.items()
            )
            for number, channel in enumerate(channels) if not self.relative[number]
        }  # fmt: skip

    @cached_property
    def lengths(self) -> tuple[float, ...]:
        """Return all correlation lengths, km."""
        known = {length for laws in self.laws.values() for law in laws for length in law.lengths}
        return tuple(sorted(known))

    @cached_property
    def smooth(self) -> SmoothFields:
        """Return the smooth fields of all lengths."""
        return SmoothFields(self.grid, self.lengths)

    @cached_property
    def basis(self) -> sparse.csr_matrix:
        """Return Phi (H W, n): the smooth fields, and the contrast of land against sea."""
        contrast = sparse.csr_matrix((self.land - 1).reshape(-1, 1))
        return sparse.hstack([self.smooth.basis, contrast], format="csr")

    def variances(self, law: AnomalyLaw) -> Array:
        """Return the variance of the smooth field of each length (L,)."""
        known = dict(zip(law.lengths, law.stds, strict=True))
        return np.array([known.get(length, 0.0) ** 2 for length in self.lengths])

    def stds(self, law: AnomalyLaw) -> Array:
        """Return the standard deviation of each column of the basis (n,)."""
        fields = np.repeat(np.sqrt(self.variances(law)), self.smooth.counts)
        return np.append(fields, law.land)

    def at(self, season: str, slope: Array | None = None) -> StepError:
        """Return the error in a season.

        Args:
            season: Key of ``laws``.
            slope: Derivative of the transform at the background (C, H, W).
        """
        laws = self.laws[season]
        scale = np.ones((len(laws), *self.grid.shape))
        for channel, relative in enumerate(self.relative):
            if relative and slope is not None:
                scale[channel] = slope[channel]
        return StepError(self, tuple(laws), scale)


@dataclass(frozen=True, eq=False)
class StepError:
    """The error of the background in one step.

    Attributes:
        error: The error of all steps.
        laws: The law of each variable.
        scale: Factor of the fields (C, H, W).
    """

    error: BackgroundError
    laws: tuple[AnomalyLaw, ...]
    scale: Array

    @cached_property
    def stds(self) -> Array:
        """Return the standard deviations of the fields' columns (C, n)."""
        return np.stack([self.error.stds(law) for law in self.laws])

    @property
    def width(self) -> int:
        """Return the number of entries of z of a variable, with its controls."""
        return int(self.stds.shape[1]) + len(CONTROLS)

    def field(self, z: Array) -> Array:
        """Return the departure b (C, H, W) of z (C, n + 2)."""
        smooth = self.error.basis @ (self.stds * z[:, : -len(CONTROLS)]).T
        shaped: Array = self.scale * smooth.T.reshape(self.scale.shape)
        return shaped

    def coarse_field(self, z: Array, grid: Grid, shortest: float) -> Array:
        """Return the departure (C, h, w) on coarse cells, of lengths of ``shortest`` km or more.

        The contrast of land and sea is not a property of coarse cells, and is left out.
        """
        smooth, start = self.error.smooth, 0
        cells, total = SmoothFields(grid, ()).position, np.zeros((len(z), *grid.shape))
        for lattice, count in zip(smooth.lattices, smooth.counts, strict=True):
            columns = slice(start, start := start + count)
            if lattice.length >= shortest:
                values = kernel_matrix(lattice, cells) @ (self.stds * z[:, :-2])[:, columns].T
                total += values.T.reshape(total.shape)
        return total

    def response(
        self, jacobian: sparse.csr_matrix, channel: NDArray[np.int64], height: Array
    ) -> Response:
        """Return the response of observations.

        Args:
            jacobian: Derivative of the transformed values by the transformed fields (N, C H W).
            channel: Channel of each observation (N,), -1 for none that has controls.
            height: Height above the relief, km (N,).
        """
        cells, blocks = self.scale[0].size, []
        for number, (law, stds) in enumerate(zip(self.laws, self.stds, strict=True)):
            part = jacobian[:, number * cells : (number + 1) * cells]
            scaled = part @ sparse.diags(self.scale[number].ravel()) @ self.error.basis
            own = channel == number
            controls = np.stack([law.lapse * height * own, law.bias * own], axis=1)
            blocks += [scaled @ sparse.diags(stds), sparse.csr_matrix(controls)]
        return Response(sparse.hstack(blocks, format="csr"), len(self.laws))

    def draw(self, seed: int, member: int, label: str) -> Array:
        """Return z (C, n + 2) of a member, independent of observations."""
        pair, sign = antithetic_pair(member)
        nodes = self.error.smooth.noise(len(self.laws), seed, pair, f"{label}/background")
        shape = (len(self.laws), 1 + len(CONTROLS))
        others = draw_noise(shape, seed, pair, f"{label}/background").numpy()
        return sign * np.concatenate([nodes, others], axis=1)


def antithetic_pair(member: int) -> tuple[int, int]:
    """Return the number of a member's pair, and the sign of its draws.

    Two members of a pair have opposite departures from the mean, so that the mean of few members
    is near that of infinitely many.

    Example:
        >>> [antithetic_pair(member) for member in (0, 1, 2)]
        [(0, 1), (0, -1), (1, 1)]
    """
    return member // 2, 1 - 2 * (member % 2)


@dataclass(frozen=True, eq=False)
class Response:
    """The response G of observations to z, (N, C (n + 2)).

    Attributes:
        matrix: G.
        channels: Number of variables.
    """

    matrix: sparse.csr_matrix
    channels: int

    @cached_property
    def covariance(self) -> Array:
        """Return G G^T (N, N)."""
        out: Array = (self.matrix @ self.matrix.T).toarray()
        return out

    def values(self, z: Array) -> Array:
        """Return G z (N,)."""
        out: Array = self.matrix @ z.ravel()
        return out

    def controls(self, z: Array) -> Array:
        """Return the part (N,) of G z that the control variables make up."""
        alone = np.zeros_like(z)
        alone[:, -len(CONTROLS) :] = z[:, -len(CONTROLS) :]
        return self.values(alone)

    def update(self, weights: Array) -> Array:
        """Return G^T w as (C, n + 2)."""
        out: Array = (self.matrix.T @ weights).reshape(self.channels, -1)
        return out

    def solver(self, variance: Array) -> InnovationSolver:
        """Return the solver of R + G G^T, for the variances (N,) of independent errors."""
        return InnovationSolver(self, variance)


class InnovationSolver:
    """Solve for the weights of departures, and condition z on them.

    Args:
        response: The response of the observations.
        variance: Variances of their errors (N,).
    """

    def __init__(self, response: Response, variance: Array) -> None:
        self.response, self.variance = response, variance
        self.factor = linalg.cho_factor(response.covariance + np.diag(variance), lower=True)

    def weights(self, departure: Array) -> Array:
        """Return (R + G G^T)^-1 of departures (N,)."""
        out: Array = linalg.cho_solve(self.factor, departure)
        return out

    def mean(self, departure: Array) -> Array:
        """Return the mean of z (C, n + 2) given departures from the background."""
        return self.response.update(self.weights(departure))

    def condition(self, departure: Array, z: Array, e: Array) -> Array:
        """Return z given departures y - A(f), by Matheron's rule.

        Args:
            departure: Departures (N,).
            z: Standard normal draws (C, n + 2).
            e: Standard normal draws (N,).
        """
        residual = departure - self.response.values(z) - np.sqrt(self.variance) * e
        return z + self.response.update(self.weights(residual))

    def control_spread(self) -> Array:
        """Return the standard deviations (C, 2) of the controls, of unit variance beforehand."""
        width = self.response.matrix.shape[1] // self.response.channels
        starts = np.arange(self.response.channels) * width + width - len(CONTROLS)
        columns = (starts[:, None] + np.arange(len(CONTROLS))).ravel()
        seen = self.response.matrix[:, columns].toarray()
        explained = (seen * linalg.cho_solve(self.factor, seen)).sum(0)
        out: Array = np.sqrt((1 - explained).clip(0)).reshape(-1, len(CONTROLS))
        return out
