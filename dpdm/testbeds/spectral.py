"""Velocity on a doubly periodic plane [0, 2 pi) x [0, 2 pi), by its Fourier coefficients.

Velocity ``w`` has shape (..., 2, y, x): u eastward, then v northward, both at the centres
(i + 1/2) 2 pi / n of n x n cells, so that a block mean lies at the centre of the larger cell.
Coefficients have shape (..., 2, n, n // 2 + 1) and are those of the cosines and sines themselves
(the transform divides by n^2). Derivatives are exact for every wave that the cells resolve.
"""

import math

import torch
from torch import Tensor


def centres(size: int) -> Tensor:
    """Return where the cells are along either axis, (size,)."""
    return (torch.arange(size, dtype=torch.float64) + 0.5) * (2 * math.pi / size)


def waves(size: int) -> tuple[Tensor, Tensor]:
    """Return the wavenumbers along y (size, 1) and x (size // 2 + 1,)."""
    whole = torch.fft.fftfreq(size, 1 / size, dtype=torch.float64)
    return whole[:, None], whole[: size // 2 + 1].abs()


def slopes(size: int) -> tuple[Tensor, Tensor]:
    """Return the wavenumbers with that of the shortest wave, whose slope no cell sees, as 0."""
    ky, kx = (torch.where(2 * k.abs() == size, 0.0, k) for k in waves(size))
    return ky, kx


def transform(w: Tensor) -> Tensor:
    """Return the coefficients of fields (..., n, n)."""
    hat: Tensor = torch.fft.rfft2(w, norm="forward")
    return hat


def invert(hat: Tensor) -> Tensor:
    """Return the fields (..., n, n) of coefficients."""
    size = hat.shape[-2]
    w: Tensor = torch.fft.irfft2(hat, s=(size, size), norm="forward")
    return w


def curl(hat: Tensor) -> Tensor:
    """Return the coefficients (..., n, n // 2 + 1) of the vorticity dv/dx - du/dy."""
    ky, kx = slopes(hat.shape[-2])
    return 1j * (kx * hat[..., 1, :, :] - ky * hat[..., 0, :, :])


def divergence(w: Tensor) -> Tensor:
    """Return du/dx + dv/dy of velocity (..., 2, n, n)."""
    hat = transform(w)
    ky, kx = slopes(hat.shape[-2])
    return invert(1j * (kx * hat[..., 0, :, :] + ky * hat[..., 1, :, :]))


def vorticity(w: Tensor) -> Tensor:
    """Return dv/dx - du/dy (..., n, n) of velocity (..., 2, n, n)."""
    return invert(curl(transform(w)))


def project(hat: Tensor) -> Tensor:
    """Return the part without divergence: what pressure leaves of a tendency."""
    ky, kx = slopes(hat.shape[-2])
    u, v = hat.unbind(-3)
    along = (kx * u + ky * v) / (kx**2 + ky**2).clamp(min=1)
    return torch.stack([u - kx * along, v - ky * along], dim=-3)


def resample(w: Tensor, size: int, sharpen: bool = False) -> Tensor:
    """Return fields (..., n, n) at the centres of more, smaller cells (..., size, size).

    Args:
        w: The fields.
        size: How many cells along each axis: at least n.
        sharpen: Whether ``w`` are means over blocks of the smaller cells, not values at centres;
            then waves that the means keep are given back the amplitude that they lost.
    """
    old, factor = w.shape[-1], size / w.shape[-1]
    gain = _gain(waves(old)[0], size, factor, sharpen) * _gain(
        waves(old)[1], size, factor, sharpen
    )
    hat = transform(w) * gain
    half = (old + 1) // 2  # the shortest wave of an even number of cells is dropped
    out = hat.new_zeros(*hat.shape[:-2], size, size // 2 + 1)
    out[..., :half, :half] = hat[..., :half, :half]
    out[..., size - half + 1 :, :half] = hat[..., old - half + 1 :, :half]
    return invert(out)


def _gain(k: Tensor, size: int, factor: float, sharpen: bool) -> Tensor:
    """Return what turns coefficients of large cells into those of small ones, along one axis."""
    small = 2 * math.pi / size
    shift = torch.exp(-0.5j * k * small * (factor - 1))
    if not sharpen:
        return shift
    # The mean over f points at distance h damps a wave by sin(f k h / 2) / (f sin(k h / 2)).
    wave = torch.where(k == 0, 1.0, k) * small / 2
    kept = torch.sin(factor * wave) / (factor * torch.sin(wave))
    return shift / torch.where(k == 0, 1.0, kept)


def coarsen(w: Tensor, size: int) -> Tensor:
    """Return the means (..., size, size) over square blocks of cells."""
    block = w.shape[-1] // size
    return w.reshape(*w.shape[:-2], size, block, size, block).mean((-3, -1))
