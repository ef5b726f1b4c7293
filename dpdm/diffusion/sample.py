r"""Samplers: draw fields from the denoiser of a prior or posterior.

A sampler is a function of a denoiser, of standard normal noise, and of decreasing noise levels
that end in zero. It integrates the probability flow, which is deterministic but for the noise,

.. math:: dx / d\sigma = (x - D(x, \sigma)) / \sigma

from :math:`x = \sigma z + D(\sigma z, \sigma)`: at a finite sigma_max the mean is not negligible,
and its neglect is an error that does not vanish with more steps. Its evaluation is also the first
slope, so it adds no cost.

With an origin :math:`x_0` the flow begins at :math:`x_0 + \sigma z`: adding and removing noise
gives fields near the origin from the same distribution.

References:
    Karras et al. (2022), https://arxiv.org/abs/2206.00364, algorithm 1 and equation 5.
    Lu et al. (2022), DPM-Solver++, https://arxiv.org/abs/2211.01095, multistep of order 2 and 3.
    Song et al. (2021), DDIM, https://arxiv.org/abs/2010.02502, equation 12 with no noise added.
    Rozet and Louppe (2023), SDA, https://arxiv.org/abs/2306.10574, algorithm 4.
    Leimkuhler and Matthews (2013), https://arxiv.org/abs/1203.5428.
    Meng et al. (2022), SDEdit, https://arxiv.org/abs/2108.01073, algorithm 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dpdm import choices
from dpdm.diffusion.denoise import expand_sigma
from dpdm.types import Denoise, Fields

NoiseSource = Callable[[int], Fields]


class Sampler(Protocol):
    """Maps standard normal noise to fields, along decreasing noise levels."""

    def __call__(
        self, denoise: Denoise, noise: Fields, levels: Tensor, origin: Fields | None = None
    ) -> Fields:
        """Return the fields, with the shape of the noise."""


def start_sampling(
    denoise: Denoise, noise: Fields, most: float, origin: Fields | None = None
) -> tuple[Fields, Fields]:
    """Return the initial noisy fields, around the origin if any, and their denoised mean."""
    x = noise * most if origin is None else origin + noise * most
    mean = denoise(x, noise.new_full((len(noise),), most))
    return x + mean if origin is None else x, mean


@torch.no_grad()
def ddim(denoise: Denoise, noise: Fields, levels: Tensor, origin: Fields | None = None) -> Fields:
    """Integrate by Euler steps of first order."""
    x, x_hat = start_sampling(denoise, noise, float(levels[0]), origin)
    for now, then in zip(levels[:-1].tolist(), levels[1:].tolist(), strict=True):
        if now != levels[0]:
            x_hat = denoise(x, x.new_full((len(x),), now))
        x = x_hat + then / now * (x - x_hat)
    return x


@torch.no_grad()
def heun(denoise: Denoise, noise: Fields, levels: Tensor, origin: Fields | None = None) -> Fields:
    """Integrate by Heun steps of second order, with two evaluations each (one for the last)."""
    x, x_hat = start_sampling(denoise, noise, float(levels[0]), origin)
    for now, then in zip(levels[:-1].tolist(), levels[1:].tolist(), strict=True):
        if now != levels[0]:
            x_hat = denoise(x, x.new_full((len(x),), now))
        slope = (x - x_hat) / now
        ahead = x + (then - now) * slope
        if then == 0:
            return x_hat
        slope_ahead = (ahead - denoise(ahead, x.new_full((len(x),), then))) / then
        x = x + (then - now) * (slope + slope_ahead) / 2
    return x


@torch.no_grad()
def multistep(
    denoise: Denoise, noise: Fields, levels: Tensor, origin: Fields | None = None
) -> Fields:
    """Integrate by multistep extrapolation of third order, with one evaluation a step."""
    x, x_hat = start_sampling(denoise, noise, float(levels[0]), origin)
    known: list[tuple[float, Fields]] = []
    for now, then in zip(levels[:-1].tolist(), levels[1:].tolist(), strict=True):
        if now != levels[0]:
            x_hat = denoise(x, x.new_full((len(x),), now))
        known = [(-math.log(now), x_hat), *known[:2]]
        if then == 0:
            return x_hat
        x = then / now * x + integrate_polynomial(known, -math.log(then))
    return x


def langevin_sampler(corrections: int, tau: float, renew: NoiseSource) -> Sampler:
    r"""Return the sampler that corrects each Euler step by Langevin dynamics.

    .. math:: x \leftarrow x - \delta \epsilon / \sigma + \sqrt{2 \delta} \, (z_n + z_{n+1}) / 2,
              \qquad \delta = \tau \sigma^2 / \overline{\epsilon^2}

    with :math:`\epsilon = (x - D(x, \sigma)) / \sigma`: the noise removes errors of guidance and
    of composed windows that remain with smaller steps. Each noise is used in two successive steps,
    so that steps of any length preserve a Gaussian distribution exactly, where independent noise,
    as published, inflates its variance by 1 / (1 - tau / 2). The step length from epsilon inflates
    it by 2 / N for N values, which is negligible for large fields.

    Args:
        corrections: Number of corrections C after each step.
        tau: Step length.
        renew: Returns independent standard normal noise z for each number of a correction.
    """

    @torch.no_grad()
    def sampler(
        denoise: Denoise, noise: Fields, levels: Tensor, origin: Fields | None = None
    ) -> Fields:
        x, x_hat = start_sampling(denoise, noise, float(levels[0]), origin)
        count, z = 0, renew(0).to(x) if corrections else x
        for now, then in zip(levels[:-1].tolist(), levels[1:].tolist(), strict=True):
            if now != levels[0]:
                x_hat = denoise(x, x.new_full((len(x),), now))
            x = x_hat + then / now * (x - x_hat)
            for _ in range(corrections if then else 0):
                count += 1
                before, z = z, renew(count).to(x)
                x = langevin(denoise, x, then, tau, (before + z) / 2)
        return x

    return sampler


def langevin(denoise: Denoise, x: Fields, sigma: float, tau: float, z: Fields) -> Fields:
    """Return fields after one Langevin step at a noise level."""
    epsilon = (x - denoise(x, x.new_full((len(x),), sigma))) / sigma
    size = epsilon.square().flatten(1).mean(1).clamp_min(torch.finfo(x.dtype).tiny)
    delta = expand_sigma(tau / size, x)
    return x - sigma * (delta * epsilon - (2 * delta).sqrt() * z)


def integrate_polynomial(known: list[tuple[float, Fields]], end: float) -> Fields:
    r"""Return :math:`\int e^{\lambda - end} D(\lambda) d\lambda` from the newest level on.

    D is the polynomial through the known means, each with its :math:`\lambda = -\log\sigma`.
    """
    begin, newest = known[0]
    h = end - begin
    phi = -math.expm1(-h)
    total = phi * newest
    if len(known) > 1:
        first = divided_difference(known[:2])
        total = total + (h - phi) * first
    if len(known) > 2:
        second = (divided_difference(known[:2]) - divided_difference(known[1:])) / (
            known[0][0] - known[2][0]
        )
        slope = known[0][0] - known[1][0]
        total = total + (h**2 - 2 * (h - phi) + slope * (h - phi)) * second
    return total


def divided_difference(pair: list[tuple[float, Fields]]) -> Fields:
    """Return the slope between two means."""
    (new, x_new), (old, x_old) = pair
    return (x_new - x_old) / (new - old)


@torch.no_grad()
def one_evaluation(
    denoise: Denoise, noise: Fields, levels: Tensor, origin: Fields | None = None
) -> Fields:
    """Map noise of the highest level to fields at once, by the head of a prior that does so."""
    x = noise * float(levels[0])
    x = x if origin is None else origin + x
    return denoise(x, x.new_full((len(x),), float(levels[0])))


@dataclass(frozen=True)
class SamplingMethod:
    """A sampler with its properties; to add one, `register` it.

    Attributes:
        name: Its name in ``--sampler``.
        draw: The sampler.
        order: Its order of convergence in the number of steps; 0 for one that does not converge.
        evaluations: Returns the number of network evaluations for a number of steps.
    """

    name: str
    draw: Sampler
    order: int
    evaluations: Callable[[int], int] = int

    def __call__(
        self, denoise: Denoise, noise: Fields, levels: Tensor, origin: Fields | None = None
    ) -> Fields:
        """Return the fields, with the shape of the noise."""
        return self.draw(denoise, noise, levels, origin)


SAMPLERS: dict[str, SamplingMethod] = {}


def register(method: SamplingMethod) -> None:
    """Add a sampler to `SAMPLERS` and to the option ``--sampler``."""
    SAMPLERS[method.name] = method
    choices.add_choice(choices.SAMPLERS, method.name)


register(SamplingMethod("heun", heun, 2, lambda steps: 2 * steps - 1))
register(SamplingMethod("multistep", multistep, 3))
register(SamplingMethod("ddim", ddim, 1))
register(SamplingMethod(choices.FAST, one_evaluation, 0, lambda steps: 1))


def count_network_evaluations(sampler: str, steps: int, corrections: int = 0) -> int:
    """Count the network evaluations of a sampler.

    Example:
        >>> count_network_evaluations("heun", 8), count_network_evaluations("multistep", 8)
        (15, 8)
    """
    if corrections:
        return steps + corrections * (steps - 1)
    return SAMPLERS[sampler].evaluations(steps)
