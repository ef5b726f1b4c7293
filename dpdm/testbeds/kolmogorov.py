r"""Kolmogorov flow: turbulence in two dimensions, stirred by a sine.

An incompressible fluid on the doubly periodic plane [0, 2 pi) x [0, 2 pi),

.. math:: \partial_t w = w \times \omega - \nabla p + \nu \nabla^2 w - \alpha w
          + f \sin(4 y)\, e_x, \qquad \nabla \cdot w = 0,

with vorticity :math:`\omega = \partial_x v - \partial_y u`, viscosity :math:`\nu = 1/Re`,
Re = 1000, and drag :math:`\alpha = 0.1`: the set-up of Kochkov et al. (2021,
doi:10.1073/pnas.2101784118) and of Rozet and Louppe (2023). A snapshot is taken every 0.2.

The solver is pseudo-spectral: products in space, slopes and pressure on Fourier coefficients,
with the waves of the upper third removed, so that products alias onto no wave that is kept and
advection conserves energy exactly. Viscosity and drag are integrated exactly (an integrating
factor), the rest by Runge-Kutta of fourth order, in as many steps as the Courant number allows.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice

import numpy as np
import torch
from torch import Tensor

from dpdm.testbeds import spectral

INTERVAL = 0.2
BURN_IN = 100  # snapshots: two times that of the drag; from there on the energy is steady
RESOLUTION = 128
SIZE = 64
LEAST = 32  # cells that the first waves need
SPEED = 1.0  # root mean square of the first velocities


@dataclass(frozen=True)
class Flow:
    """The equations and their grid.

    Attributes:
        resolution: Cells along each axis.
        reynolds: One over the viscosity.
        drag: Rate at which all waves are damped.
        forcing: Acceleration of the sine.
        wave: Its wavenumber.
        courant: Cells that the fastest fluid may cross in a step.
    """

    resolution: int = RESOLUTION
    reynolds: float = 1e3
    drag: float = 0.1
    forcing: float = 1.0
    wave: int = 4
    courant: float = 1.0

    @cached_property
    def damping(self) -> Tensor:
        """The rate at which each wave decays by viscosity and drag."""
        ky, kx = spectral.waves(self.resolution)
        return (kx**2 + ky**2) / self.reynolds + self.drag

    @cached_property
    def kept(self) -> Tensor:
        """One for the waves that are kept, zero for those of the upper third."""
        ky, kx = spectral.waves(self.resolution)
        return ((3 * kx < self.resolution) & (3 * ky.abs() < self.resolution)).double()

    @cached_property
    def stirring(self) -> Tensor:
        """The coefficients of the forcing."""
        sine = torch.sin(self.wave * spectral.centres(self.resolution))[:, None]
        u = self.forcing * sine.expand(-1, self.resolution)
        return spectral.transform(torch.stack([u, torch.zeros_like(u)]))

    def tendency(self, hat: Tensor) -> Tensor:
        """Return what moves the coefficients, without viscosity and drag."""
        u, v = spectral.invert(hat).unbind(-3)
        vorticity = spectral.invert(spectral.curl(hat))
        turned = torch.stack([v * vorticity, -u * vorticity], dim=-3)
        return spectral.project(self.kept * spectral.transform(turned)) + self.stirring

    def clean(self, w: Tensor) -> Tensor:
        """Return the coefficients of velocity (..., 2, n, n), as the solver keeps them."""
        return spectral.project(self.kept * spectral.transform(w))

    def steps(self, hat: Tensor, interval: float) -> int:
        """Count the steps that the Courant number asks for."""
        speed = float(spectral.invert(hat).abs().sum(-3).max())
        cell = 2 * math.pi / self.resolution
        return max(1, math.ceil(interval * speed / (self.courant * cell)))

    def run(self, hat: Tensor, interval: float = INTERVAL, steps: int = 0) -> Tensor:
        """Return the coefficients after an interval; 0 steps are as many as needed."""
        steps = steps or self.steps(hat, interval)
        dt = interval / steps
        half = torch.exp(-self.damping * dt / 2)
        for _ in range(steps):
            hat = self._step(hat, dt, half)
        return hat

    def _step(self, hat: Tensor, dt: float, half: Tensor) -> Tensor:
        """Take one Runge-Kutta step in the frame in which viscosity and drag vanish."""
        rest = half * hat
        k1 = half * self.tendency(hat)
        k2 = self.tendency(rest + dt / 2 * k1)
        k3 = self.tendency(rest + dt / 2 * k2)
        k4 = self.tendency(half * (rest + dt * k3))
        return half * (rest + dt / 6 * (k1 + 2 * (k2 + k3))) + dt / 6 * k4

    def snapshots(self, w: Tensor, interval: float = INTERVAL) -> Iterator[Tensor]:
        """Yield velocity (..., 2, n, n) after each interval, for ever."""
        hat = self.clean(w)
        while True:
            hat = self.run(hat, interval)
            yield spectral.invert(hat)


def advance(u: Tensor, v: Tensor, snapshots: int, flow: Flow = Flow()) -> tuple[Tensor, Tensor]:
    """Start the physical model from a given state.

    Args:
        u: Eastward velocity (..., y, x): means over square cells, as a truth file holds them.
        v: Northward velocity.
        snapshots: How many to return.
        flow: The model; where it has more cells, the waves that the means keep are brought over.

    Returns:
        u and v (snapshots, ..., y, x), the first one interval after the start.
    """
    size = u.shape[-1]
    w = torch.stack([u, v], dim=-3).double()
    run = flow.snapshots(spectral.resample(w, flow.resolution, sharpen=True))
    out = torch.stack([spectral.coarsen(next(run), size) for _ in range(snapshots)])
    return out[..., 0, :, :], out[..., 1, :, :]


def simulate(
    trajectory: int,
    length: int,
    seed: int,
    burn_in: int = BURN_IN,
    size: int = SIZE,
    flow: Flow = Flow(),
) -> Tensor:
    """Return one trajectory (length, 2, size, size) of block means, in double precision.

    Seed and number alone decide it; so trajectories are computed one by one, for a transform of
    many at once rounds in another way, and turbulence makes much of that.
    """
    run = flow.snapshots(settled(seed, trajectory, burn_in, flow))
    return torch.stack([spectral.coarsen(next(run), size) for _ in range(length)])


def settled(seed: int, trajectory: int, burn_in: int, flow: Flow) -> Tensor:
    """Return velocity (2, n, n) after burn-in, of which half the cells compute nine tenths.

    That is eight times cheaper; the small waves that they lack then need but a moment.
    """
    rough = replace(flow, resolution=max(LEAST, flow.resolution // 2))
    w = start(seed, trajectory, rough.resolution)
    last = (burn_in + 9) // 10
    w = after(rough, w, burn_in - last)
    return after(flow, spectral.resample(w, flow.resolution), last)


def after(flow: Flow, w: Tensor, snapshots: int) -> Tensor:
    """Return velocity so many snapshots later."""
    return next(islice(chain([w], flow.snapshots(w)), snapshots, None))


def start(seed: int, trajectory: int, resolution: int) -> Tensor:
    """Return random velocity (2, n, n) without divergence, of waves around the fourth.

    The same flow is drawn for every resolution of at least 32 cells.
    """
    size = LEAST
    noise = np.random.default_rng((seed, trajectory)).standard_normal((2, size, size))
    ky, kx = spectral.waves(size)
    band = torch.exp(-((torch.hypot(kx, ky) - 4) ** 2) / 2)
    hat = spectral.project(band * spectral.transform(torch.from_numpy(noise)))
    hat[..., 0, 0] = 0
    w = spectral.invert(hat)
    return spectral.resample(SPEED * w / w.square().sum(0).mean().sqrt(), resolution)
