"""What priors of Lorenz-63 give an analysis: members around what is known, and posteriors.

Members are noise up to a level, taken away again, as `dpdm perturb` makes them. A prior of single
states knows the attractor around a forecast; a prior of windows, around the analyses that led to
it, knows as well which errors have grown on the way.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.cycling.references import ERROR, Covariance, World, model
from dpdm.diffusion.noise import karras_levels
from dpdm.diffusion.sample import SAMPLERS
from dpdm.prior import Prior
from dpdm.prior.windows import state_scaling, window_denoiser
from dpdm.types import Denoise

MEMBERS = 50

Cloud = Callable[[Tensor], Tensor]
"""Members (M, B, w, 3) around windows (B, w, 3)."""


def cloud(prior: Prior, sigma: float, dice: torch.Generator, steps: int = 3) -> Cloud:
    """Return what draws members around windows of the prior, at a level of its noise.

    With three steps their covariance is within 2.5% of that with 24.
    """
    (mean, std), denoise = state_scaling(prior), window_denoiser(prior)
    falling = karras_levels(steps, sigma / 10, sigma)

    def around(x: Tensor) -> Tensor:
        origin = ((x - mean) / std).float().repeat(MEMBERS, 1, 1)
        noise = torch.randn(origin.shape, generator=dice)
        drawn = SAMPLERS["multistep"](denoise, noise, falling, origin)
        return (mean + std * drawn.double()).reshape(MEMBERS, *x.shape)

    return around


def spread(members: Tensor) -> Tensor:
    """Return the covariance (B, 3, 3) of members (M, B, 3)."""
    off = members - members.mean(0)
    return torch.einsum("mbi,mbj->bij", off, off) / (len(members) - 1)


def of_forecast(some: Cloud, wider: float, rest: Tensor) -> Covariance:
    """Return the covariance of members around the forecast, and what is added to it."""
    return lambda past, forecast: wider * spread(some(forecast[:, None])[:, :, 0]) + rest


def of_path(some: Cloud, wider: float, width: int, early: Tensor) -> Covariance:
    """Return that of members around the last analyses and the forecast, at the forecast.

    Where too few analyses are known, it is ``early``.
    """

    def covariance(past: list[Tensor], forecast: Tensor) -> Tensor:
        if len(past) < width - 1:
            return early
        path = torch.stack([*past[1 - width :], forecast], dim=1)
        return wider * spread(some(path)[:, :, -1])

    return covariance


def of_carried(some: Cloud, wider: float) -> Covariance:
    """Return that of members around the last analysis, which the model has carried."""
    return lambda past, forecast: wider * spread(model(some(past[-1][:, None])[:, :, 0]))


def windows(here: World, width: int, stride: int) -> tuple[Tensor, Tensor]:
    """Return observed windows (B', w, 3), and the true last state of each (B', 3)."""
    seen = here.seen.unfold(1, width, 1).movedim(-1, 2)[:, ::stride]
    true = here.truth[:, width - 1 :: stride]
    return seen.flatten(0, 1), true.flatten(0, 1)


def told(denoise: Denoise, y: Tensor, error: float) -> Denoise:
    """Return the denoiser of the posterior, where all values were observed with one error.

    Noisy states and observations of them are then one observation of less error, and the prior's
    own denoiser takes that away: exactly, without gradients.
    """

    def posterior(x_t: Tensor, sigma: Tensor) -> Tensor:
        square = sigma[:, None, None] ** 2
        share = square / (square + error**2)
        return denoise(x_t + share * (y - x_t), sigma * error / (sigma**2 + error**2).sqrt())

    return posterior


def smoothed(prior: Prior, y: Tensor, members: int, seed: int, steps: int = 24) -> Tensor:
    """Return states (M, B', w, 3) of the posterior of windows."""
    (mean, std), count = state_scaling(prior), len(y)
    value = ((y - mean) / std).float().repeat(members, 1, 1)
    denoise = told(window_denoiser(prior), value, float((ERROR / std).mean()))
    noise = torch.randn(value.shape, generator=torch.Generator().manual_seed(seed))
    x = SAMPLERS["multistep"](denoise, noise, karras_levels(steps, 0.005, 4.0))
    return (mean + std * x.double()).reshape(members, count, *y.shape[1:])


@torch.no_grad()
def at_once(prior: Prior, y: Tensor) -> Tensor:
    """Return the means of the windows' posteriors (B', w, 3) in one evaluation."""
    mean, std = state_scaling(prior)
    sigma = torch.full((len(y),), float((ERROR / std).mean()))
    x = window_denoiser(prior)(((y - mean) / std).float(), sigma)
    return mean + std * x.double()
