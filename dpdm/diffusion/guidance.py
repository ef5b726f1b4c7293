r"""Observations, and the denoiser of the posterior that they give (guidance).

Observations are :math:`y = A(x) + e` with :math:`e \sim N(0, R)`. The denoiser of the posterior is
that of the prior plus a correction, which for a Gaussian is

.. math:: E[x \mid x_t, y] = \hat x + V A^T (R + A V A^T)^{-1} (y - A \hat x), \qquad
          V = V[x \mid x_t] = \sigma^2 J

with the Jacobian :math:`J = \partial \hat x / \partial x_t`. The methods differ in V:

- **law** has a static V: that of the lattice of cells (`dpdm.diffusion.lattice_covariance`), or
  of the prior's Wiener filter. No gradient of the network; the equation is solved until the
  residual is small.
- **MMPS** has :math:`V = \sigma^2 J`, and solves in a Krylov space: exact for Gaussian fields and
  linear operators, with one more gradient for each iteration.
- **SDA** approximates :math:`R + A V A^T` by :math:`R + \sigma^2 \Gamma`: one gradient.
- **DPS** uses no V, but a step along the gradient of the norm of the misfit.

**Steps do not overshoot.** The correction d of a Gaussian never changes the values by more than
the miss: with :math:`G = A V A^T` the change is :math:`A d = G (R + G)^{-1} (y - A \hat x)`. The
J of a network is neither symmetric nor positive where it extrapolates, and SDA's diagonal Gamma
ignores that N close observations all move the same cells, so its change is up to N times the
miss; repeated at each noise level, this diverges. So every correction d is shortened to

.. math:: \alpha d, \qquad \alpha = \min(1, \langle y - A \hat x, A d \rangle / |A d|^2)

in the norm of :math:`R^{-1}`, with the tangent of A: the linearised fit never gets worse, and a
correction with a symmetric positive V is never shortened.

References:
    Rozet and Louppe (2023), SDA, https://arxiv.org/abs/2306.10574, equation 15, algorithm 3.
    Rozet et al. (2024), MMPS, https://arxiv.org/abs/2405.13712, equation 20.
    Chung et al. (2023), DPS, https://arxiv.org/abs/2209.14687, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from dpdm import choices
from dpdm.diffusion.denoise import expand_sigma
from dpdm.diffusion.solvers import conjugate_gradients, solve_in_krylov_space
from dpdm.errors import DpdmError
from dpdm.types import Denoise, Fields, Operator, Sigma, Values

Adjoint = Callable[[Values], Fields]
Tangent = Callable[[Fields], Values]


SHORT = 0.5  # share of a correction below which it counts as shortened
MAX_DENSE_VALUES = 2000  # values whose covariance is factorised at each noise level
JACOBIAN_ROWS = 16  # rows of a Jacobian that are computed at a time


@dataclass
class StepCount:
    """Corrections, and how many of them were shortened to less than half.

    Attributes:
        total: Corrections of single members.
        short: Those that were shortened.
    """

    total: int = 0
    short: int = 0

    def add(self, share: Tensor) -> None:
        """Count corrections by the share of each that was applied."""
        self.total += share.numel()
        self.short += int((share < SHORT).sum())


@dataclass(frozen=True)
class Observation:
    """Observed values with their observation operator and error covariance.

    Attributes:
        operator: Observation operator A, from fields (B, ...) to values (B, N), differentiable.
        value: Observed values y, with shape (N,).
        variance: Uncorrelated error variance, with shape (N,).
        shared: Correlated error covariance (N, N), added to R, or nothing.
        scale: Climatological variance of A(x), or that for fields x of unit variance, with shape
            (N,): it makes SDA's Gamma dimensionless. None for values of unit variance.
        steps: Counts the corrections by these observations.
    """

    operator: Operator
    value: Tensor
    variance: Tensor
    scale: Tensor | None = None
    shared: Tensor | None = None
    steps: StepCount = field(default_factory=StepCount, compare=False)

    @cached_property
    def covariance(self) -> Tensor:
        """Give R (N, N), float64."""
        diagonal = torch.diag(self.variance.double())
        return diagonal if self.shared is None else diagonal + self.shared.to(diagonal)

    @cached_property
    def root(self) -> Tensor | None:
        """Give the Cholesky factor L of R = L L^T, None for independent errors."""
        return None if self.shared is None else torch.linalg.cholesky(self.covariance)

    def whiten(self, v: Values) -> Values:
        """Return L^-1 v in float64: values whose errors have unit covariance."""
        if self.root is None:
            return v.double() * self.variance.to(v.device).double().rsqrt()
        root = self.root.to(v.device)
        white: Values = torch.linalg.solve_triangular(root, v.double().T, upper=False).T
        return white

    def whiten_adjoint(self, v: Values) -> Values:
        """Return L^-T v, the adjoint of `whiten`."""
        if self.root is None:
            return v * self.variance.to(v).rsqrt()
        weights: Values = torch.linalg.solve_triangular(self.root.to(v).T, v.T, upper=True).T
        return weights

    def solve_r(self, v: Values, more: Tensor) -> Values:
        """Return (R + diag(more))^-1 v, for ``more`` that broadcasts against v (B, N)."""
        if self.shared is None:
            return v / (self.variance.to(v) + more)
        total = self.covariance.to(v) + torch.diag_embed(more + torch.zeros_like(v))
        weights: Values = torch.linalg.solve(total, v)
        return weights

    def miss(self, values: Values) -> Values:
        """Return y - A(x), in float64."""
        return self.value.to(values.device).double() - values.double()

    def misfit(self, x: Fields) -> Values:
        """Return y - A(x), with shape (B, N)."""
        return self.value.to(x) - self.operator(x)

    def limit(self, correction: Fields, miss: Values, change: Values) -> Fields:
        """Return a correction, shortened where it would change the values by too much.

        Args:
            correction: Correction d of the fields (B, ...).
            miss: Whitened y - A(x), with shape (B, N).
            change: Whitened A d, with shape (B, N).
        """
        size = change.square().sum(1)
        along = (miss * change).sum(1) / size.clamp_min(torch.finfo(size.dtype).tiny)
        share = torch.where(size > 0, along.clamp(0, 1), 1.0)
        self.steps.add(share)
        return expand_sigma(share.to(correction), correction) * correction


def linearise(operator: Operator, at: Fields) -> tuple[Values, Adjoint, Tangent]:
    """Return A(at), the adjoint v -> A'^T v, and the tangent dx -> A' dx, by reverse gradients."""
    with torch.enable_grad():
        at = at.detach().requires_grad_()
        values = operator(at)
        probe = torch.zeros_like(values, requires_grad=True)
        (gradient,) = torch.autograd.grad(values, at, probe, create_graph=True)

    def pull(v: Values) -> Fields:
        return torch.autograd.grad(values, at, v, retain_graph=True)[0]

    def push(dx: Fields) -> Values:
        return torch.autograd.grad(gradient, probe, dx, retain_graph=True)[0]

    return values.detach(), pull, push


def operator_variance(operator: Operator, at: Fields, probes: int = 64) -> Tensor:
    """Estimate the variance of A(x) for x of unit variance around ``at`` (1, ...), shape (N,).

    The diagonal of A' A'^T, by random signs: exact for values of one cell, else within 20%.
    """
    values, _, push = linearise(operator, at)
    total = torch.zeros_like(values[0])
    generator = torch.Generator().manual_seed(0)
    for _ in range(probes):
        signs = torch.randint(0, 2, at.shape, generator=generator) * 2 - 1
        total += push(signs.to(at))[0].square()
    return total / probes


Guide = Callable[[Denoise, Observation], Denoise]


def denoise_with_graph(denoise: Denoise, x_t: Fields, sigma: Sigma) -> tuple[Fields, Fields]:
    """Return noisy fields and their denoised mean, connected by the autograd graph."""
    x_t = x_t.detach().requires_grad_()
    return x_t, denoise(x_t, sigma)


def sda(denoise: Denoise, seen: Observation, gamma: float = 1e-2) -> Denoise:
    """Return the denoiser of p(x | y) with SDA's likelihood.

    Args:
        denoise: Denoiser of the prior.
        seen: The observations.
        gamma: Gamma for fields of unit variance: V / sigma^2.
    """

    def posterior(x_t: Fields, sigma: Sigma) -> Fields:
        with torch.enable_grad():
            x_t, x_hat = denoise_with_graph(denoise, x_t, sigma)
        values, pull, push = linearise(seen.operator, x_hat)
        miss = seen.miss(values)
        spread = gamma * (1.0 if seen.scale is None else seen.scale.to(miss))
        weights = seen.solve_r(miss, expand_sigma(sigma, miss) ** 2 * spread)
        (back,) = torch.autograd.grad(x_hat, x_t, pull(weights.to(values)))
        correction = expand_sigma(sigma, back) ** 2 * back
        change = seen.whiten(push(correction))
        return x_hat.detach() + seen.limit(correction, seen.whiten(miss), change)

    return posterior


def mmps(denoise: Denoise, seen: Observation, iterations: int = 3) -> Denoise:
    """Return the denoiser of p(x | y) with the covariance of the denoiser, sigma^2 J.

    Args:
        denoise: Denoiser of the prior.
        seen: The observations.
        iterations: Dimensions of the Krylov space; exact with as many as there are values.
    """

    def posterior(x_t: Fields, sigma: Sigma) -> Fields:
        with torch.enable_grad():
            x_t, x_hat = denoise_with_graph(denoise, x_t, sigma)
        values, pull, push = linearise(seen.operator, x_hat)

        def spread(v: Values) -> Fields:
            cotangent = pull(seen.whiten_adjoint(v).to(values))
            (back,) = torch.autograd.grad(x_hat, x_t, cotangent, retain_graph=True)
            return back * expand_sigma(sigma, back) ** 2

        miss = seen.whiten(seen.miss(values))
        correction, change = solve_in_krylov_space(
            spread, lambda dx: seen.whiten(push(dx)), miss, iterations
        )
        return x_hat.detach() + seen.limit(correction, miss, change)

    return posterior


@runtime_checkable
class ObservedCovariance(Protocol):
    """A covariance of fields that can be written out for observed values."""

    def observed(self, jacobian: Tensor, sigma: Sigma) -> Tensor:
        """Return A V A^T (N, N) of a sparse Jacobian A (N, cells)."""


class CovarianceDenoiser:
    """A denoiser with a static posterior covariance.

    Args:
        denoise: The denoiser.
        cover: Applies the covariance of x given x_t to fields, for a noise level; it may be an
            `ObservedCovariance`.
        mean: Fields (1, ...) at which operators are linearised to precondition the solution.
    """

    def __init__(self, denoise: Denoise, cover: Denoise, mean: Fields | None = None) -> None:
        self.denoise, self.cover, self.mean = denoise, cover, mean

    def __call__(self, x_t: Fields, sigma: Sigma) -> Fields:
        """Return the expected clean fields."""
        return self.denoise(x_t, sigma)


def static_covariance(
    denoise: Denoise, seen: Observation, iterations: int = 20, tolerance: float = 0.3
) -> Denoise:
    """Return the denoiser of p(x | y) with a static covariance.

    Args:
        denoise: A :class:`CovarianceDenoiser` of the prior.
        seen: The observations.
        iterations: Steps of conjugate gradients at most, for values in units of their errors.
        tolerance: Relative residual at which they stop; the next noise level reduces it further.
    """
    if not isinstance(denoise, CovarianceDenoiser):
        raise DpdmError(
            "--guidance law needs a prior with a covariance of its own, and this prior has none.",
            "Use --guidance mmps or sda.",
        )
    cover, preconditioner = denoise.cover, make_preconditioner(denoise, seen)

    def posterior(x_t: Fields, sigma: Sigma) -> Fields:
        with torch.no_grad():
            x_hat = denoise(x_t, sigma)
        values, pull, push = linearise(seen.operator, x_hat)

        def spread(v: Values) -> Fields:
            return cover(pull(seen.whiten_adjoint(v).to(values)), sigma)

        def matvec(v: Values) -> Values:
            return v + seen.whiten(push(spread(v)))

        with torch.no_grad():
            miss = seen.whiten(seen.miss(values))
            near = None if preconditioner is None else preconditioner.at(sigma)
            weights = conjugate_gradients(matvec, miss, iterations, tolerance, near)
            correction = spread(weights)
            return x_hat + seen.limit(correction, miss, seen.whiten(push(correction)))

    return posterior


class Preconditioner:
    """The inverse of I + A V A^T for whitened values, with A linearised at one field.

    Args:
        seen: The observations.
        cover: The covariance V.
        mean: The field (1, ...).
    """

    def __init__(self, seen: Observation, cover: ObservedCovariance, mean: Fields) -> None:
        self.seen, self.cover = seen, cover
        self.jacobian = sparse_jacobian(seen.operator, mean, len(seen.value))
        self.factors: dict[float, Tensor] = {}

    def at(self, sigma: Sigma) -> Callable[[Values], Values]:
        """Return the inverse at a noise level; its factor is computed once."""
        level = float(sigma[0])
        if level not in self.factors:
            total = self.cover.observed(self.jacobian, sigma)
            white = self.seen.whiten(self.seen.whiten(total).T)
            white.diagonal().add_(1.0)
            self.factors[level] = torch.linalg.cholesky(white).float()  # half the memory
        factor = self.factors[level]

        def solve(v: Values) -> Values:
            return torch.cholesky_solve(v.T.float(), factor).T.to(v)

        return solve


def make_preconditioner(denoise: CovarianceDenoiser, seen: Observation) -> Preconditioner | None:
    """Return the preconditioner of some observations, None where it would be too large."""
    cover, mean = denoise.cover, denoise.mean
    if mean is None or not isinstance(cover, ObservedCovariance):
        return None
    return Preconditioner(seen, cover, mean) if len(seen.value) <= MAX_DENSE_VALUES else None


def sparse_jacobian(operator: Operator, at: Fields, count: int) -> Tensor:
    """Return the sparse Jacobian (N, cells) of N values at fields (1, ...)."""
    parts = []
    for numbers in torch.split(torch.arange(count, device=at.device), JACOBIAN_ROWS):
        values, pull, _ = linearise(operator, at.expand(len(numbers), *at.shape[1:]))
        unit = (numbers[:, None] == torch.arange(count, device=at.device)).to(values)
        parts.append(pull(unit).flatten(1).to_sparse())
    return torch.cat(parts).coalesce()


def dps(denoise: Denoise, seen: Observation, zeta: float = 1.0) -> Denoise:
    """Return the prior's denoiser plus a step along the gradient of the norm of the misfit.

    Args:
        denoise: Denoiser of the prior.
        seen: The observations.
        zeta: Length of the step.
    """

    def posterior(x_t: Fields, sigma: Sigma) -> Fields:
        with torch.enable_grad():
            x_t, x_hat = denoise_with_graph(denoise, x_t, sigma)
        values, pull, push = linearise(seen.operator, x_hat)
        miss = seen.whiten(seen.miss(values))
        norm = miss.norm(dim=1, keepdim=True).clamp_min(torch.finfo(miss.dtype).tiny)
        weights = seen.whiten_adjoint(miss / norm)
        (back,) = torch.autograd.grad(x_hat, x_t, pull(weights.to(values)))
        correction = zeta * expand_sigma(sigma, back) * back
        return x_hat.detach() + seen.limit(correction, miss, seen.whiten(push(correction)))

    return posterior


GUIDES: dict[str, Guide] = {}


def register(name: str, guide: Guide) -> None:
    """Add a guidance method to `GUIDES` and to the option ``--guidance``."""
    GUIDES[name] = guide
    choices.add_choice(choices.GUIDANCES, name)


for _name, _guide in (("sda", sda), ("mmps", mmps), ("law", static_covariance), ("dps", dps)):
    register(_name, _guide)
