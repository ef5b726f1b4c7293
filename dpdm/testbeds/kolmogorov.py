r"""Kolmogorov flow: turbulence in two dimensions, forced by a sine.

An incompressible fluid on the doubly periodic plane [0, 2 pi) x [0, 2 pi),

.. math:: \partial_t w = w \times \omega - \nabla p + \nu \nabla^2 w - \alpha w
          + f \sin(4 y)\, e_x, \qquad \nabla \cdot w = 0,

with vorticity :math:`\omega = \partial_x v - \partial_y u`, viscosity :math:`\nu = 1/Re`,
Re = 1000, and drag :math:`\alpha = 0.1`: the set-up of Kochkov et al. (2021,
doi:10.1073/pnas.2101784118) and of Rozet and Louppe (2023). A snapshot is taken every 0.2.

The solver is pseudo-spectral: products in space, derivatives and pressure on Fourier coefficients,
dealiased by the removal of the upper third of the waves, so that advection conserves energy
exactly. Viscosity and drag are integrated exactly (an integrating factor), the rest by a
Runge-Kutta method of fourth order, with the number of steps from the Courant number.

Velocity ``w`` has shape (..., 2, y, x): u eastward, then v northward, both at the centres
(i + 1/2) 2 pi / n of n x n cells, so that block means are at the centres of the larger cells.
Coefficients have shape (..., 2, n, n // 2 + 1) and are amplitudes (the transform divides by n^2).
Derivatives are exact for all resolved waves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice

import numpy as np
import torch
from torch import Tensor


def cell_centres(size: int) -> Tensor:
    """Return the coordinates of the cells along each axis, (size,)."""
    return (torch.arange(size, dtype=torch.float64) + 0.5) * (2 * math.pi / size)


def wavenumber_axes(size: int) -> tuple[Tensor, Tensor]:
    """Return the wavenumbers along y (size, 1) and x (size // 2 + 1,)."""
    k = torch.fft.fftfreq(size, 1 / size, dtype=torch.float64)
    return k[:, None], k[: size // 2 + 1].abs()


def derivative_wavenumbers(size: int) -> tuple[Tensor, Tensor]:
    """Return the wavenumbers for derivatives, 0 for the shortest wave."""
    ky, kx = (torch.where(2 * k.abs() == size, 0.0, k) for k in wavenumber_axes(size))
    return ky, kx


def transform_fields(w: Tensor) -> Tensor:
    """Return the coefficients of fields (..., n, n)."""
    hat: Tensor = torch.fft.rfft2(w, norm="forward")
    return hat


def invert_coefficients(hat: Tensor) -> Tensor:
    """Return the fields (..., n, n) of coefficients."""
    size = hat.shape[-2]
    w: Tensor = torch.fft.irfft2(hat, s=(size, size), norm="forward")
    return w


def curl_coefficients(hat: Tensor) -> Tensor:
    """Return the coefficients (..., n, n // 2 + 1) of the vorticity dv/dx - du/dy."""
    ky, kx = derivative_wavenumbers(hat.shape[-2])
    return 1j * (kx * hat[..., 1, :, :] - ky * hat[..., 0, :, :])


def divergence(w: Tensor) -> Tensor:
    """Return du/dx + dv/dy of velocity (..., 2, n, n)."""
    hat = transform_fields(w)
    ky, kx = derivative_wavenumbers(hat.shape[-2])
    return invert_coefficients(1j * (kx * hat[..., 0, :, :] + ky * hat[..., 1, :, :]))


def vorticity(w: Tensor) -> Tensor:
    """Return dv/dx - du/dy (..., n, n) of velocity (..., 2, n, n)."""
    return invert_coefficients(curl_coefficients(transform_fields(w)))


def project_divergence_free(hat: Tensor) -> Tensor:
    """Return the divergence-free part of a tendency (the effect of pressure)."""
    ky, kx = derivative_wavenumbers(hat.shape[-2])
    u, v = hat.unbind(-3)
    potential = (kx * u + ky * v) / (kx**2 + ky**2).clamp(min=1)
    return torch.stack([u - kx * potential, v - ky * potential], dim=-3)


def resample_fields(w: Tensor, size: int, sharpen: bool = False) -> Tensor:
    """Interpolate fields (..., n, n) to the centres of smaller cells (..., size, size).

    Args:
        w: The fields.
        size: Number of cells along each axis, at least n.
        sharpen: Whether ``w`` are block means instead of values at centres; the amplitudes of
            the waves are then corrected for the averaging.
    """
    old, factor = w.shape[-1], size / w.shape[-1]
    ky, kx = (_resampling_factor(k, size, factor, sharpen) for k in wavenumber_axes(old))
    hat = transform_fields(w) * (ky * kx)
    half = (old + 1) // 2  # without the shortest wave of an even number of cells
    out = hat.new_zeros(*hat.shape[:-2], size, size // 2 + 1)
    out[..., :half, :half] = hat[..., :half, :half]
    out[..., size - half + 1 :, :half] = hat[..., old - half + 1 :, :half]
    return invert_coefficients(out)


def _resampling_factor(k: Tensor, size: int, factor: float, sharpen: bool) -> Tensor:
    """Return the factor from coefficients of large cells to those of small cells, on one axis."""
    small = 2 * math.pi / size
    shift = torch.exp(-0.5j * k * small * (factor - 1))
    if not sharpen:
        return shift
    # The mean over f points at distance h damps a wave by sin(f k h / 2) / (f sin(k h / 2)).
    wave = torch.where(k == 0, 1.0, k) * small / 2
    damping = torch.sin(factor * wave) / (factor * torch.sin(wave))
    return shift / torch.where(k == 0, 1.0, damping)


def average_blocks(w: Tensor, size: int) -> Tensor:
    """Return the means (..., size, size) over square blocks of cells."""
    block = w.shape[-1] // size
    return w.reshape(*w.shape[:-2], size, block, size, block).mean((-3, -1))


SNAPSHOT_INTERVAL = 0.2
BURN_IN = 100  # snapshots, two time scales of the drag, after which the energy is stationary
RESOLUTION = 128
OUTPUT_SIZE = 64
MIN_RESOLUTION = 32  # cells, for the initial waves
INITIAL_SPEED = 1.0  # root mean square of the first velocities


@dataclass(frozen=True)
class KolmogorovFlow:
    """The equations and their grid.

    Attributes:
        resolution: Cells along each axis.
        reynolds: One over the viscosity.
        drag: Rate at which all waves are damped.
        forcing: Acceleration of the sine.
        wave: Its wavenumber.
        courant: Maximum Courant number of a step.
    """

    resolution: int = RESOLUTION
    reynolds: float = 1e3
    drag: float = 0.1
    forcing: float = 1.0
    wave: int = 4
    courant: float = 1.0

    @cached_property
    def damping(self) -> Tensor:
        """Give the decay rate of each wave by viscosity and drag."""
        ky, kx = wavenumber_axes(self.resolution)
        return (kx**2 + ky**2) / self.reynolds + self.drag

    @cached_property
    def dealias_mask(self) -> Tensor:
        """Give 1 for resolved waves and 0 for the upper third."""
        ky, kx = wavenumber_axes(self.resolution)
        return ((3 * kx < self.resolution) & (3 * ky.abs() < self.resolution)).double()

    @cached_property
    def forcing_coefficients(self) -> Tensor:
        """Give the coefficients of the forcing."""
        sine = torch.sin(self.wave * cell_centres(self.resolution))[:, None]
        u = self.forcing * sine.expand(-1, self.resolution)
        return transform_fields(torch.stack([u, torch.zeros_like(u)]))

    def tendency(self, hat: Tensor) -> Tensor:
        """Return the tendency of the coefficients, without viscosity and drag."""
        u, v = invert_coefficients(hat).unbind(-3)
        vorticity = invert_coefficients(curl_coefficients(hat))
        return self.dealias(torch.stack([v * vorticity, -u * vorticity], dim=-3)) + (
            self.forcing_coefficients
        )

    def dealias(self, w: Tensor) -> Tensor:
        """Return the resolved, divergence-free coefficients of vectors (..., 2, n, n)."""
        return project_divergence_free(self.dealias_mask * transform_fields(w))

    def steps(self, hat: Tensor, interval: float) -> int:
        """Return the number of steps from the Courant number."""
        speed = float(invert_coefficients(hat).abs().sum(-3).max())
        cell = 2 * math.pi / self.resolution
        return max(1, math.ceil(interval * speed / (self.courant * cell)))

    def run(self, hat: Tensor, interval: float = SNAPSHOT_INTERVAL, steps: int = 0) -> Tensor:
        """Return the coefficients after an interval; 0 steps for the number by Courant."""
        steps = steps or self.steps(hat, interval)
        dt = interval / steps
        half = torch.exp(-self.damping * dt / 2)
        for _ in range(steps):
            hat = self._step(hat, dt, half)
        return hat

    def _step(self, hat: Tensor, dt: float, half: Tensor) -> Tensor:
        """Take one Runge-Kutta step with an integrating factor for viscosity and drag."""
        rest = half * hat
        k1 = half * self.tendency(hat)
        k2 = self.tendency(rest + dt / 2 * k1)
        k3 = self.tendency(rest + dt / 2 * k2)
        k4 = self.tendency(half * (rest + dt * k3))
        return half * (rest + dt / 6 * (k1 + 2 * (k2 + k3))) + dt / 6 * k4

    def snapshots(self, w: Tensor, interval: float = SNAPSHOT_INTERVAL) -> Iterator[Tensor]:
        """Yield velocity (..., 2, n, n) after each interval, without end."""
        hat = self.dealias(w)
        while True:
            hat = self.run(hat, interval)
            yield invert_coefficients(hat)


def advance_flow(
    u: Tensor, v: Tensor, snapshots: int, flow: KolmogorovFlow = KolmogorovFlow()
) -> tuple[Tensor, Tensor]:
    """Forecast with the physical model from a given state.

    Args:
        u: Eastward velocity (..., y, x): means over square cells, as in a truth file.
        v: Northward velocity.
        snapshots: Number of snapshots.
        flow: The model; the state is interpolated to its resolution.

    Returns:
        u and v (snapshots, ..., y, x), the first one interval after the start.
    """
    size = u.shape[-1]
    w = torch.stack([u, v], dim=-3).double()
    run = flow.snapshots(resample_fields(w, flow.resolution, sharpen=True))
    out = torch.stack([average_blocks(next(run), size) for _ in range(snapshots)])
    return out[..., 0, :, :], out[..., 1, :, :]


def simulate_flow(
    trajectory: int,
    length: int,
    seed: int,
    burn_in: int = BURN_IN,
    size: int = OUTPUT_SIZE,
    flow: KolmogorovFlow = KolmogorovFlow(),
) -> Tensor:
    """Return one trajectory (length, 2, size, size) of block means, in double precision.

    It depends on seed and number alone; so trajectories are computed one by one, as a transform of
    several at once has other rounding errors, which turbulence amplifies.
    """
    run = flow.snapshots(spin_up_velocity(seed, trajectory, burn_in, flow))
    return torch.stack([average_blocks(next(run), size) for _ in range(length)])


def spin_up_velocity(seed: int, trajectory: int, burn_in: int, flow: KolmogorovFlow) -> Tensor:
    """Return velocity (2, n, n) after burn-in, 90% of it at half the resolution.

    That is eight times cheaper, and the small waves develop quickly.
    """
    coarse = replace(flow, resolution=max(MIN_RESOLUTION, flow.resolution // 2))
    w = random_velocity(seed, trajectory, coarse.resolution)
    last = (burn_in + 9) // 10
    w = advance_velocity(coarse, w, burn_in - last)
    return advance_velocity(flow, resample_fields(w, flow.resolution), last)


def advance_velocity(flow: KolmogorovFlow, w: Tensor, snapshots: int) -> Tensor:
    """Return velocity after a number of snapshots."""
    return next(islice(chain([w], flow.snapshots(w)), snapshots, None))


def random_velocity(seed: int, trajectory: int, resolution: int) -> Tensor:
    """Return random divergence-free velocity (2, n, n), of wavenumbers near 4.

    The flow is the same for every resolution of at least 32 cells.
    """
    size = MIN_RESOLUTION
    noise = np.random.default_rng((seed, trajectory)).standard_normal((2, size, size))
    ky, kx = wavenumber_axes(size)
    band = torch.exp(-((torch.hypot(kx, ky) - 4) ** 2) / 2)
    hat = project_divergence_free(band * transform_fields(torch.from_numpy(noise)))
    hat[..., 0, 0] = 0
    w = invert_coefficients(hat)
    return resample_fields(INITIAL_SPEED * w / w.square().sum(0).mean().sqrt(), resolution)
