r"""What was measured: :math:`y = A(x) + e`, with :math:`e \sim N(0, R)` and R diagonal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dpdm.types import Fields, Operator, Values

Adjoint = Callable[[Values], Fields]
Tangent = Callable[[Fields], Values]


@dataclass(frozen=True)
class Observation:
    """Measured values, how fields predict them, and how far to trust them.

    Attributes:
        operator: Observation operator A, from fields (B, ...) to values (B, N), differentiable.
        value: Measured values y, with shape (N,).
        variance: Error variance, the diagonal of R, with shape (N,).
        shared: What errors have in common beside it, or nothing: R is the sum, (N, N).
        scale: Variance of A(x) where nothing is observed, or for fields x of unit variance, with
            shape (N,): it makes SDA's Gamma a number without units. None where the values are of
            that order anyway.
    """

    operator: Operator
    value: Tensor
    variance: Tensor
    scale: Tensor | None = None
    shared: Tensor | None = None

    def apply_r(self, v: Values) -> Values:
        """Return R v, with the shape (B, N) of v."""
        own = self.variance.to(v) * v
        return own if self.shared is None else own + v @ self.shared.to(v).T

    def solve_r(self, v: Values, more: Tensor) -> Values:
        """Return (R + diag(more))^-1 v, for ``more`` that broadcasts against v (B, N)."""
        own = self.variance.to(v) + more
        if self.shared is None:
            return v / own
        whole = self.shared.to(v) + torch.diag_embed(own.expand(len(v), -1))
        weighed: Values = torch.linalg.solve(whole, v)
        return weighed

    def misfit(self, x: Fields) -> Values:
        """Return y - A(x), with shape (B, N)."""
        return self.value.to(x) - self.operator(x)


def linearise(operator: Operator, at: Fields) -> tuple[Values, Adjoint, Tangent]:
    """Return A(at), the adjoint v -> A'^T v, and the tangent dx -> A' dx, by reverse gradients."""
    with torch.enable_grad():
        at = at.detach().requires_grad_()
        values = operator(at)
        probe = torch.zeros_like(values, requires_grad=True)
        (pulled,) = torch.autograd.grad(values, at, probe, create_graph=True)

    def pull(v: Values) -> Fields:
        return torch.autograd.grad(values, at, v, retain_graph=True)[0]

    def push(dx: Fields) -> Values:
        return torch.autograd.grad(pulled, probe, dx, retain_graph=True)[0]

    return values.detach(), pull, push


def operator_variance(operator: Operator, at: Fields, probes: int = 64) -> Tensor:
    """Estimate the variance of A(x) for x of unit variance around ``at`` (1, ...), shape (N,).

    The diagonal of A' A'^T, by random signs: exact for a value of one cell, else within a fifth.
    """
    values, _, push = linearise(operator, at)
    total = torch.zeros_like(values[0])
    generator = torch.Generator().manual_seed(0)
    for _ in range(probes):
        signs = torch.randint(0, 2, at.shape, generator=generator) * 2 - 1
        total += push(signs.to(at))[0].square()
    return total / probes
