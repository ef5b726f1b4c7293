"""Cycled analyses of Lorenz-63 that use the model: interpolations of a covariance, and the ETKF.

All three components are observed every 0.1 time units with an error of 2.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dpdm.testbeds import lorenz63

DT, EVERY, ERROR = 0.01, 10, 2.0


@dataclass(frozen=True)
class World:
    """Runs side by side: truth (B, T, 3) at the cycles, what was observed, and their dice."""

    truth: Tensor
    seen: Tensor
    dice: torch.Generator

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normal numbers."""
        return torch.randn(*shape, generator=self.dice, dtype=torch.float64)


def world(runs: int, cycles: int, seed: int) -> World:
    """Return runs of the model, and observations of them."""
    path = lorenz63.simulate_lorenz(runs, EVERY * (cycles - 1) + 1, seed, dt=DT, noisy=False)
    dice = torch.Generator().manual_seed(seed)
    truth = path[:, ::EVERY]
    noise = torch.randn(truth.shape, generator=dice, dtype=torch.float64)
    return World(truth, truth + ERROR * noise, dice)


def model(x: Tensor) -> Tensor:
    """Return states (..., 3) at the next observation."""
    for _ in range(EVERY):
        x = lorenz63.advance_states(x, DT)
    return x


Covariance = Callable[[list[Tensor], Tensor], Tensor]
"""That of the errors of a forecast (B, 3), of which the past analyses are known: (..., 3, 3)."""


def interpolated(here: World, covariance: Covariance) -> Tensor:
    """Return the analyses (B, T, 3) of a cycled optimal interpolation."""
    found = [here.seen[:, 0]]
    for y in here.seen.unbind(1)[1:]:
        forecast = model(found[-1])
        found.append(analysed(forecast, y, covariance(found, forecast)))
    return torch.stack(found, 1)


def analysed(forecast: Tensor, y: Tensor, covariance: Tensor) -> Tensor:
    """Return the optimal interpolation of forecast and observation (B, 3)."""
    total = covariance + ERROR**2 * torch.eye(3, dtype=y.dtype)
    weight = torch.linalg.solve(total, (y - forecast)[..., None])
    return forecast + (covariance @ weight)[..., 0]


def fixed(covariance: Tensor) -> Covariance:
    """Return what is the same at all cycles."""
    return lambda past, forecast: covariance


def climate() -> Tensor:
    """Return the covariance of the model's states."""
    return world(64, 200, seed=101).truth.flatten(0, 1).T.cov()


def of_errors(here: World, spin_up: int) -> Tensor:
    """Return the covariance of an interpolation's own forecast errors, found by iteration."""
    base = torch.eye(3, dtype=torch.float64) * 2
    for _ in range(8):
        ahead = model(interpolated(here, fixed(base))[:, :-1])
        miss = (ahead - here.truth[:, 1:])[:, spin_up:].flatten(0, 1)
        base = (base + miss.T @ miss / len(miss)) / 2
    return base


def etkf(here: World, members: int, inflation: float) -> Tensor:
    """Return analyses (B, T, 3) of the ensemble transform Kalman filter, symmetric square root.

    References:
        Hunt et al. (2007), https://doi.org/10.1016/j.physd.2006.11.008.
    """
    x = here.seen[:, 0, None] + ERROR * here.normal(len(here.truth), members, 3)
    found, one = [here.seen[:, 0]], torch.eye(members, dtype=torch.float64)
    for y in here.seen.unbind(1)[1:]:
        x = model(x)
        mean = x.mean(1, keepdim=True)
        off = inflation * (x - mean)
        values, modes = torch.linalg.eigh((members - 1) * one + off @ off.mT / ERROR**2)
        inner = (modes / values[:, None]) @ modes.mT
        weight = inner @ (off @ (y[:, None] - mean).mT) / ERROR**2
        root = (modes * ((members - 1) / values).sqrt()[:, None]) @ modes.mT
        x = mean + (weight + root).mT @ off
        found.append(x.mean(1))
    return torch.stack(found, 1)
