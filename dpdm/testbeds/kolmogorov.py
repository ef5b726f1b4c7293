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

Velocity on a doubly periodic plane [0, 2 pi) x [0, 2 pi), by its Fourier coefficients.

Velocity ``w`` has shape (..., 2, y, x): u eastward, then v northward, both at the centres
(i + 1/2) 2 pi / n of n x n cells, so that a block mean lies at the centre of the larger cell.
Coefficients have shape (..., 2, n, n // 2 + 1) and are those of the cosines and sines themselves
(the transform divides by n^2). Derivatives are exact for every wave that the cells resolve.
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
    """Return where the cells are along either axis, (size,)."""
    return (torch.arange(size, dtype=torch.float64) + 0.5) * (2 * math.pi / size)


def wavenumber_axes(size: int) -> tuple[Tensor, Tensor]:
    """Return the wavenumbers along y (size, 1) and x (size // 2 + 1,)."""
    whole = torch.fft.fftfreq(size, 1 / size, dtype=torch.float64)
    return whole[:, None], whole[: size // 2 + 1].abs()


def derivative_wavenumbers(size: int) -> tuple[Tensor, Tensor]:
    """Return the wavenumbers with that of the shortest wave, whose slope no cell sees, as 0."""
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
    """Return the part without divergence: what pressure leaves of a tendency."""
    ky, kx = derivative_wavenumbers(hat.shape[-2])
    u, v = hat.unbind(-3)
    along = (kx * u + ky * v) / (kx**2 + ky**2).clamp(min=1)
    return torch.stack([u - kx * along, v - ky * along], dim=-3)


def resample_fields(w: Tensor, size: int, sharpen: bool = False) -> Tensor:
    """Return fields (..., n, n) at the centres of more, smaller cells (..., size, size).

    Args:
        w: The fields.
        size: How many cells along each axis: at least n.
        sharpen: Whether ``w`` are means over blocks of the smaller cells, not values at centres;
            then waves that the means keep are given back the amplitude that they lost.
    """
    old, factor = w.shape[-1], size / w.shape[-1]
    gain = _resampling_factor(wavenumber_axes(old)[0], size, factor, sharpen) * _resampling_factor(
        wavenumber_axes(old)[1], size, factor, sharpen
    )
    hat = transform_fields(w) * gain
    half = (old + 1) // 2  # the shortest wave of an even number of cells is dropped
    out = hat.new_zeros(*hat.shape[:-2], size, size // 2 + 1)
    out[..., :half, :half] = hat[..., :half, :half]
    out[..., size - half + 1 :, :half] = hat[..., old - half + 1 :, :half]
    return invert_coefficients(out)


def _resampling_factor(k: Tensor, size: int, factor: float, sharpen: bool) -> Tensor:
    """Return what turns coefficients of large cells into those of small ones, along one axis."""
    small = 2 * math.pi / size
    shift = torch.exp(-0.5j * k * small * (factor - 1))
    if not sharpen:
        return shift
    # The mean over f points at distance h damps a wave by sin(f k h / 2) / (f sin(k h / 2)).
    wave = torch.where(k == 0, 1.0, k) * small / 2
    kept = torch.sin(factor * wave) / (factor * torch.sin(wave))
    return shift / torch.where(k == 0, 1.0, kept)


def average_blocks(w: Tensor, size: int) -> Tensor:
    """Return the means (..., size, size) over square blocks of cells."""
    block = w.shape[-1] // size
    return w.reshape(*w.shape[:-2], size, block, size, block).mean((-3, -1))


SNAPSHOT_INTERVAL = 0.2
BURN_IN = 100  # snapshots: two times that of the drag; from there on the energy is steady
RESOLUTION = 128
OUTPUT_SIZE = 64
MIN_RESOLUTION = 32  # cells that the first waves need
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
        ky, kx = wavenumber_axes(self.resolution)
        return (kx**2 + ky**2) / self.reynolds + self.drag

    @cached_property
    def dealias_mask(self) -> Tensor:
        """One for the waves that are kept, zero for those of the upper third."""
        ky, kx = wavenumber_axes(self.resolution)
        return ((3 * kx < self.resolution) & (3 * ky.abs() < self.resolution)).double()

    @cached_property
    def forcing_coefficients(self) -> Tensor:
        """The coefficients of the forcing."""
        sine = torch.sin(self.wave * cell_centres(self.resolution))[:, None]
        u = self.forcing * sine.expand(-1, self.resolution)
        return transform_fields(torch.stack([u, torch.zeros_like(u)]))

    def tendency(self, hat: Tensor) -> Tensor:
        """Return what moves the coefficients, without viscosity and drag."""
        u, v = invert_coefficients(hat).unbind(-3)
        vorticity = invert_coefficients(curl_coefficients(hat))
        turned = torch.stack([v * vorticity, -u * vorticity], dim=-3)
        return (
            project_divergence_free(self.dealias_mask * transform_fields(turned))
            + self.forcing_coefficients
        )

    def dealias(self, w: Tensor) -> Tensor:
        """Return the coefficients of velocity (..., 2, n, n), as the solver keeps them."""
        return project_divergence_free(self.dealias_mask * transform_fields(w))

    def steps(self, hat: Tensor, interval: float) -> int:
        """Count the steps that the Courant number asks for."""
        speed = float(invert_coefficients(hat).abs().sum(-3).max())
        cell = 2 * math.pi / self.resolution
        return max(1, math.ceil(interval * speed / (self.courant * cell)))

    def run(self, hat: Tensor, interval: float = SNAPSHOT_INTERVAL, steps: int = 0) -> Tensor:
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

    def snapshots(self, w: Tensor, interval: float = SNAPSHOT_INTERVAL) -> Iterator[Tensor]:
        """Yield velocity (..., 2, n, n) after each interval, for ever."""
        hat = self.dealias(w)
        while True:
            hat = self.run(hat, interval)
            yield invert_coefficients(hat)


def advance_flow(
    u: Tensor, v: Tensor, snapshots: int, flow: KolmogorovFlow = KolmogorovFlow()
) -> tuple[Tensor, Tensor]:
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

    Seed and number alone decide it; so trajectories are computed one by one, for a transform of
    many at once rounds in another way, and turbulence makes much of that.
    """
    run = flow.snapshots(spin_up_velocity(seed, trajectory, burn_in, flow))
    return torch.stack([average_blocks(next(run), size) for _ in range(length)])


def spin_up_velocity(seed: int, trajectory: int, burn_in: int, flow: KolmogorovFlow) -> Tensor:
    """Return velocity (2, n, n) after burn-in, of which half the cells compute nine tenths.

    That is eight times cheaper; the small waves that they lack then need but a moment.
    """
    rough = replace(flow, resolution=max(MIN_RESOLUTION, flow.resolution // 2))
    w = random_velocity(seed, trajectory, rough.resolution)
    last = (burn_in + 9) // 10
    w = advance_velocity(rough, w, burn_in - last)
    return advance_velocity(flow, resample_fields(w, flow.resolution), last)


def advance_velocity(flow: KolmogorovFlow, w: Tensor, snapshots: int) -> Tensor:
    """Return velocity so many snapshots later."""
    return next(islice(chain([w], flow.snapshots(w)), snapshots, None))


def random_velocity(seed: int, trajectory: int, resolution: int) -> Tensor:
    """Return random velocity (2, n, n) without divergence, of waves around the fourth.

    The same flow is drawn for every resolution of at least 32 cells.
    """
    size = MIN_RESOLUTION
    noise = np.random.default_rng((seed, trajectory)).standard_normal((2, size, size))
    ky, kx = wavenumber_axes(size)
    band = torch.exp(-((torch.hypot(kx, ky) - 4) ** 2) / 2)
    hat = project_divergence_free(band * transform_fields(torch.from_numpy(noise)))
    hat[..., 0, 0] = 0
    w = invert_coefficients(hat)
    return resample_fields(INITIAL_SPEED * w / w.square().sum(0).mean().sqrt(), resolution)
