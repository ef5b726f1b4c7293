r"""Turn the denoiser of a prior into that of a posterior, given observations.

Whatever the guidance, the posterior's denoiser is the prior's, pulled along its own Jacobian
:math:`J = \partial \hat x / \partial x_t`:

.. math:: E[x \mid x_t, y] \approx \hat x + \sigma^2 J^T \nabla_{\hat x} \log p(y \mid x_t)

They differ in what they take :math:`V = V[x \mid x_t]` to be, the uncertainty that is left in the
fields and spreads into the observed values:

- **SDA** takes :math:`R + \sigma^2 \Gamma` for :math:`R + A V A^T`: one gradient.
- **MMPS** matches moments, :math:`V = \sigma^2 J`, and solves for the weights by conjugate
  gradients: exact for Gaussian fields and linear operators, a gradient more for each iteration.
- **law** takes the covariance that a Gaussian law leaves, where the prior sets out from one: no
  gradient of the network at all, and iterations until what is left is small.
- **DPS** knows no V, and takes a step along the gradient of the misfit's norm.

References:
    Rozet and Louppe (2023), SDA, https://arxiv.org/abs/2306.10574, equation 15, algorithm 3.
    Rozet et al. (2024), MMPS, https://arxiv.org/abs/2405.13712, equation 20.
    Chung et al. (2023), DPS, https://arxiv.org/abs/2209.14687, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dpdm import choices
from dpdm.diffusion.denoise import expand_sigma
from dpdm.diffusion.observation import Observation, linearise
from dpdm.errors import DpdmError
from dpdm.types import Denoise, Fields, Sigma, Values

Guide = Callable[[Denoise, Observation], Denoise]


def denoise_with_graph(denoise: Denoise, x_t: Fields, sigma: Sigma) -> tuple[Fields, Fields]:
    """Return noisy fields and their mean, with the graph between them."""
    x_t = x_t.detach().requires_grad_()
    return x_t, denoise(x_t, sigma)


def sda(denoise: Denoise, seen: Observation, gamma: float = 1e-2) -> Denoise:
    """Return the denoiser of p(x | y) with SDA's likelihood.

    Args:
        denoise: Denoiser of the prior.
        seen: What was measured.
        gamma: Gamma for fields of unit variance: what V is over sigma^2.
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
    """Return the denoiser of p(x | y) with the denoiser's own covariance.

    Args:
        denoise: Denoiser of the prior.
        seen: What was measured.
        iterations: Steps of conjugate gradients; as many as there are values is exact.
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
    """A denoiser that knows what a Gaussian law leaves unknown.

    Args:
        denoise: The denoiser.
        cover: Maps fields and noise level to the law's posterior covariance of x given x_t,
            applied to the fields.
    """

    def __init__(self, denoise: Denoise, cover: Denoise) -> None:
        self.denoise, self.cover = denoise, cover

    def __call__(self, x_t: Fields, sigma: Sigma) -> Fields:
        """Return the expected clean fields."""
        return self.denoise(x_t, sigma)


def static_covariance(
    denoise: Denoise, seen: Observation, iterations: int = 20, tolerance: float = 0.3
) -> Denoise:
    """Return the denoiser of p(x | y) with the covariance of a Gaussian law.

    Args:
        denoise: A :class:`Lawful` denoiser of the prior.
        seen: What was measured.
        iterations: Steps of conjugate gradients at most, over values in units of their errors.
        tolerance: Residual at which they stop: what is left is seen again at the next noise
            level, and at the last levels a step or two suffice.
    """
    if not isinstance(denoise, CovarianceDenoiser):
        raise DpdmError(
            "--guidance law needs a prior that sets out from a Gaussian law, and this does not.",
            "Say --guidance mmps or sda.",
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
        b: What it is to give.
        iterations: Steps at most.
        tolerance: Residual over b, by their norms, that is good enough for a member.
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
    """Return the prior's denoiser pulled along the gradient of the misfit's norm.

    Args:
        denoise: Denoiser of the prior.
        seen: What was measured.
        zeta: Length of the pull.
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
    """Add a guidance to those of `GUIDES` and of the option ``--guidance``."""
    GUIDES[name] = guide
    choices.add_choice(choices.GUIDANCES, name)


for _name, _guide in (("sda", sda), ("mmps", mmps), ("law", static_covariance), ("dps", dps)):
    register(_name, _guide)
