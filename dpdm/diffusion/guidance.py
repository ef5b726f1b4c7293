r"""Observations, and the denoiser of the posterior that they give (guidance).

Observations are :math:`y = A(x) + e` with :math:`e \sim N(0, R)`. The denoiser of the posterior is
that of the prior plus a correction by its Jacobian :math:`J = \partial \hat x / \partial x_t`:

.. math:: E[x \mid x_t, y] \approx \hat x + \sigma^2 J^T \nabla_{\hat x} \log p(y \mid x_t)

The methods differ in the covariance :math:`V = V[x \mid x_t]` of the fields:

- **SDA** approximates :math:`R + A V A^T` by :math:`R + \sigma^2 \Gamma`: one gradient.
- **MMPS** uses :math:`V = \sigma^2 J`, and solves for the weights by conjugate gradients: exact
  for Gaussian fields and linear operators, with one more gradient for each iteration.
- **law** uses the static background covariance of the prior's Wiener filter: no gradient of the
  network, and iterations until the residual is small.
- **DPS** uses no V, but a step along the gradient of the norm of the misfit.

References:
    Rozet and Louppe (2023), SDA, https://arxiv.org/abs/2306.10574, equation 15, algorithm 3.
    Rozet et al. (2024), MMPS, https://arxiv.org/abs/2405.13712, equation 20.
    Chung et al. (2023), DPS, https://arxiv.org/abs/2209.14687, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dpdm import choices
from dpdm.diffusion.denoise import expand_sigma
from dpdm.errors import DpdmError
from dpdm.types import Denoise, Fields, Operator, Sigma, Values

Adjoint = Callable[[Values], Fields]
Tangent = Callable[[Fields], Values]


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
    """

    operator: Operator
    value: Tensor
    variance: Tensor
    scale: Tensor | None = None
    shared: Tensor | None = None

    def apply_r(self, v: Values) -> Values:
        """Return R v, with the shape (B, N) of v."""
        diagonal = self.variance.to(v) * v
        return diagonal if self.shared is None else diagonal + v @ self.shared.to(v).T

    def solve_r(self, v: Values, more: Tensor) -> Values:
        """Return (R + diag(more))^-1 v, for ``more`` that broadcasts against v (B, N)."""
        diagonal = self.variance.to(v) + more
        if self.shared is None:
            return v / diagonal
        covariance = self.shared.to(v) + torch.diag_embed(diagonal.expand(len(v), -1))
        weights: Values = torch.linalg.solve(covariance, v)
        return weights

    def misfit(self, x: Fields) -> Values:
        """Return y - A(x), with shape (B, N)."""
        return self.value.to(x) - self.operator(x)


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
            miss = seen.misfit(x_hat)
            spread = gamma * (1.0 if seen.scale is None else seen.scale.to(miss))
            more = expand_sigma(sigma, miss) ** 2 * spread
            log_p = -(miss * seen.solve_r(miss, more)).sum() / 2
            (score,) = torch.autograd.grad(log_p, x_t)
        return x_hat.detach() + expand_sigma(sigma, x_t) ** 2 * score

    return posterior


def mmps(denoise: Denoise, seen: Observation, iterations: int = 3) -> Denoise:
    """Return the denoiser of p(x | y) with the covariance of the denoiser, sigma^2 J.

    Args:
        denoise: Denoiser of the prior.
        seen: The observations.
        iterations: Steps of conjugate gradients; exact with as many as there are values.
    """

    def posterior(x_t: Fields, sigma: Sigma) -> Fields:
        with torch.enable_grad():
            x_t, x_hat = denoise_with_graph(denoise, x_t, sigma)
        values, pull, push = linearise(seen.operator, x_hat)

        def spread(v: Values) -> Fields:
            (back,) = torch.autograd.grad(x_hat, x_t, pull(v), retain_graph=True)
            return back * expand_sigma(sigma, back) ** 2

        def matvec(v: Values) -> Values:
            return seen.apply_r(v) + push(spread(v))

        miss = seen.value.to(values) - values
        return x_hat.detach() + spread(conjugate_gradients(matvec, miss, iterations))

    return posterior


class CovarianceDenoiser:
    """A denoiser with a static posterior covariance.

    Args:
        denoise: The denoiser.
        cover: Applies the covariance of x given x_t to fields, for a noise level.
    """

    def __init__(self, denoise: Denoise, cover: Denoise) -> None:
        self.denoise, self.cover = denoise, cover

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
            "--guidance law needs a prior with a Wiener filter, and this prior has none.",
            "Use --guidance mmps or sda.",
        )
    cover = denoise.cover

    def posterior(x_t: Fields, sigma: Sigma) -> Fields:
        with torch.no_grad():
            x_hat = denoise(x_t, sigma)
        values, pull, push = linearise(seen.operator, x_hat)
        root = seen.variance.to(values).rsqrt()

        def matvec(v: Values) -> Values:
            return root * (seen.apply_r(root * v) + push(cover(pull(root * v), sigma)))

        with torch.no_grad():
            miss = root * (seen.value.to(values) - values)
            weights = root * conjugate_gradients(matvec, miss, iterations, tolerance)
            return x_hat + cover(pull(weights), sigma)

    return posterior


def conjugate_gradients(
    matvec: Callable[[Values], Values], b: Values, iterations: int, tolerance: float = 0.0
) -> Values:
    """Solve ``matvec(x) = b`` for a symmetric positive definite map of each member (B, N).

    Args:
        matvec: The map.
        b: The right-hand side.
        iterations: Steps at most.
        tolerance: Norm of the residual, relative to that of b, at which a member has converged.
    """
    tiny = torch.finfo(b.dtype).tiny
    x, r = torch.zeros_like(b), b
    p, rr = r, r.square().sum(1, keepdim=True)
    enough = tolerance**2 * rr
    for _ in range(iterations):
        q = matvec(p)
        curvature = (p * q).sum(1, keepdim=True)
        going = (curvature > 0) & (rr > enough)
        step = torch.where(going, rr / curvature.clamp_min(tiny), 0.0)
        x, r = x + step * p, r - step * q
        rr, before = r.square().sum(1, keepdim=True), rr
        p = r + rr / before.clamp_min(tiny) * p
        if not (rr > enough).any():
            break
    return x


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
            miss = seen.misfit(x_hat) / seen.variance.to(x_hat).sqrt()
            norm: Tensor = miss.square().sum(1).sqrt()
            (slope,) = torch.autograd.grad(norm.sum(), x_t)
        return x_hat.detach() - zeta * expand_sigma(sigma, x_t) * slope

    return posterior


GUIDES: dict[str, Guide] = {}


def register(name: str, guide: Guide) -> None:
    """Add a guidance method to `GUIDES` and to the option ``--guidance``."""
    GUIDES[name] = guide
    choices.add_choice(choices.GUIDANCES, name)


for _name, _guide in (("sda", sda), ("mmps", mmps), ("law", static_covariance), ("dps", dps)):
    register(_name, _guide)
