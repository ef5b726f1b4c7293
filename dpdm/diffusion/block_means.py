r"""Constrain a denoiser to known block means.

Block means known without error are the simplest observation, y = A(x). With the error variance V
of the denoiser in each cell, the posterior mean is shifted along V in each block until the means
agree:

.. math:: u' = u + \lambda V, \qquad A(f(u')) = y

where u are modelled values, f converts them to physical values, and each block has one
:math:`\lambda`. For linear f this is the Kalman update with background covariance diag(V); for
precipitation f is :math:`\max(e^u - 1, 0)` and :math:`\lambda` solves a monotonic equation, so no
value becomes negative. At every noise level, the constraint acts on the texture of the field,
which a shift afterwards would not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dpdm.types import Denoise, Fields, Sigma


@dataclass(frozen=True)
class BlockMeans:
    """Known means of physical values over blocks.

    Attributes:
        rows: Matrix (h, H) of row means; a cell lies in one block.
        columns: Matrix (w, W) of column means.
        value: Known means, with shape (C, h, w), NaN where unknown.
    """

    rows: Tensor
    columns: Tensor
    value: Tensor

    def mean(self, physical: Tensor) -> Tensor:
        """Return block means (..., h, w) of (..., H, W)."""
        return self.rows.to(physical) @ physical @ self.columns.to(physical).T

    def broadcast_to_cells(self, blocks: Tensor) -> Tensor:
        """Return the value of each block in all its cells."""
        return blocks[..., self.rows.argmax(0)[:, None], self.columns.argmax(0)]


BlockMeanSolver = Callable[[Tensor, Tensor, BlockMeans, int], Tensor]


def solve_identity(u: Tensor, variance: Tensor, blocks: BlockMeans, channel: int) -> Tensor:
    """Return modelled values with the known block means, for physical = modelled."""
    miss = blocks.value[channel].to(u) - blocks.mean(u)
    shift = miss / blocks.mean(variance)
    return u + variance * blocks.broadcast_to_cells(shift.nan_to_num(0.0, 0.0, 0.0))


def solve_log1p(u: Tensor, variance: Tensor, blocks: BlockMeans, channel: int) -> Tensor:
    """Return modelled values with the known block means, for physical = max(exp(u) - 1, 0).

    The mean increases with the shift, so bisection converges; 60 steps are exact to float64.
    """
    known = blocks.value[channel].to(u)
    direction = variance / blocks.broadcast_to_cells(blocks.mean(variance))
    reach = 30.0 + u.abs().amax()
    low = torch.zeros_like(blocks.mean(u)) - reach
    high = -low
    for _ in range(60 if u.dtype == torch.float64 else 30):
        middle = (low + high) / 2
        wet = blocks.mean((u + direction * blocks.broadcast_to_cells(middle)).clamp(0, 60).expm1())
        low, high = torch.where(wet < known, middle, low), torch.where(wet < known, high, middle)
    shift = torch.where(known.isfinite(), (low + high) / 2, 0.0)
    return u + direction * blocks.broadcast_to_cells(shift)


def solve_log(u: Tensor, variance: Tensor, blocks: BlockMeans, channel: int) -> Tensor:
    """Return modelled values with the known block means, for physical = exp(u)."""
    return u + log_shift(u.exp(), blocks, channel)


def log_shift(physical: Tensor, blocks: BlockMeans, channel: int) -> Tensor:
    """Return the shift of logarithms, one for each block, that gives the known block means."""
    ratio = blocks.value[channel].to(physical) / blocks.mean(physical)
    return blocks.broadcast_to_cells(ratio.log().nan_to_num(0.0, 0.0, 0.0))


BLOCK_MEAN_SOLVERS: dict[str, BlockMeanSolver] = {
    "identity": solve_identity,
    "log1p": solve_log1p,
    "log": solve_log,
}


@dataclass(frozen=True)
class BlockMeanConstraint:
    """The constraint of fields to block means.

    Attributes:
        blocks: The known means.
        transforms: Transform of each of the first variables.
        base: Modelled values at x = 0, with shape (C, H, W).
        scale: Modelled values per unit of x, with shape (C, H, W).
        variance: Error variance of modelled values (C, H, W), the direction of the shift.
        solve_others: Return modelled values (B, C, H, W) with the known means of the other
            variables, or None.
    """

    blocks: BlockMeans
    transforms: tuple[str, ...]
    base: Tensor
    scale: Tensor
    variance: Tensor
    solve_others: Callable[[Tensor], Tensor] | None = None

    def solve_means(self, u: Tensor) -> Tensor:
        """Return modelled values (B, C, H, W) with the known means."""
        solved = [
            BLOCK_MEAN_SOLVERS[name](u[:, c], self.variance[c].to(u), self.blocks, c)
            for c, name in enumerate(self.transforms)
        ]
        out = torch.cat([*(v[:, None] for v in solved), u[:, len(solved) :]], dim=1)
        return out if self.solve_others is None else self.solve_others(out)

    def constrain_denoiser(self, prior: Denoise) -> Denoise:
        """Return the prior's denoiser, constrained to the means at every noise level."""

        def posterior(x_t: Fields, sigma: Sigma) -> Fields:
            x_hat = prior(x_t, sigma)
            base, scale = self.base.to(x_hat), self.scale.to(x_hat)
            return (self.solve_means(base + scale * x_hat) - base) / scale

        return posterior
