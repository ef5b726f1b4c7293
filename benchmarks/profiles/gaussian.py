r"""What is known of the weather before anything is seen: a Gaussian law of windows of days.

Around the seasonal mean of each cell, departures over their local standard deviation are taken to
be the same everywhere along a circle of latitude and at all times, and nothing else is assumed:

.. math:: \mathrm{cov}[x_i(t, \lambda), x_j(t', \lambda')]
          = \sum_m \rho_m^{|t - t'|} S_{ij}(m) \, e^{i m (\lambda - \lambda')},

where i and j run over all variables, levels and latitudes, S is estimated for each zonal wave m
from all states that the priors learnt from, and so is the lag correlation. With so many samples
for so many numbers the estimate is noisy: a share of S between unlike i and j is taken off.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

SHRINK = 0.1  # of covariances between unlike rows, chosen on held-out states


@dataclass(frozen=True)
class Law:
    """A Gaussian law of trajectories (C, T, H, W), of departures from the mean of its season.

    Attributes:
        mean: Seasonal mean, with shape (C, T, H, W).
        std: Local standard deviation, with shape (C, 1, H, W).
        spectrum: Covariance of the coefficients of each zonal wave, (W / 2 + 1, C H, C H).
        lags: Correlation of the states' times for each wave, (W / 2 + 1, T, T).
    """

    mean: Tensor
    std: Tensor
    spectrum: Tensor
    lags: Tensor

    def covary(self, x: Tensor) -> Tensor:
        """Return the covariance applied to trajectories (M, C, T, H, W)."""
        std = self.std.to(x)
        return std * filtered(std * x, *self.single)

    def draw(self, seed: int, member: int) -> Tensor:
        """Return a departure from the mean, drawn at random."""
        generator = torch.Generator().manual_seed(1000 * seed + member)
        noise = torch.randn(self.mean.shape, generator=generator, dtype=torch.float64)
        return self.std * filtered(noise[None], self.root, self.root_of_lags)[0]

    @cached_property
    def single(self) -> tuple[Tensor, Tensor]:
        """Give spectrum and lag correlations in single precision."""
        return self.spectrum.to(torch.complex64), self.lags.to(torch.complex64)

    @cached_property
    def root(self) -> Tensor:
        """Give the Hermitian root of each wave's covariance."""
        return root(self.spectrum)

    @cached_property
    def root_of_lags(self) -> Tensor:
        """Give the symmetric root of each wave's lag correlation."""
        return root(self.lags)


def filtered(x: Tensor, gains: Tensor, lags: Tensor) -> Tensor:
    """Return trajectories (M, C, T, H, W), zonal waves multiplied by gains, and mixed in time."""
    members, channels, states, rows, columns = x.shape
    waves = torch.fft.rfft(x).permute(4, 1, 3, 0, 2).reshape(-1, channels * rows, members * states)
    gained = (gains @ waves).reshape(len(waves), -1, states) @ lags.to(waves)
    back = gained.reshape(-1, channels, rows, members, states).permute(3, 1, 4, 2, 0)
    return torch.fft.irfft(back, n=columns)


def root(law: Tensor) -> Tensor:
    """Return the Hermitian root of positive semidefinite matrices (..., n, n)."""
    size, axes = torch.linalg.eigh(law)
    return axes @ torch.diag_embed(size.clamp_min(0).sqrt()).to(axes) @ axes.mH


def law_of(states: Tensor, mean: Tensor, scale: Tensor) -> Law:
    """Return the law of windows as long as ``mean``, from normalised departures.

    Args:
        states: Departures (N, C, H, W) that were learnt from, in order of time.
        mean: Seasonal mean of the window (C, T, H, W), physical.
        scale: What departures are multiplied by to be physical (C, 1, 1).
    """
    local = states.double().std(0).clamp_min(1e-3)
    count, channels, rows, columns = states.shape
    total = torch.zeros(columns // 2 + 1, channels * rows, channels * rows, dtype=torch.complex128)
    product, power = (torch.zeros(columns // 2 + 1, dtype=torch.float64) for _ in range(2))
    before = None
    for block in states.split(64):
        hat = torch.fft.rfft(block.double() / local) / columns**0.5
        waves = hat.permute(3, 1, 2, 0).reshape(len(total), channels * rows, -1)
        total += waves @ waves.mH
        last = waves if before is None else torch.cat([before, waves], -1)
        product += (last[..., :-1] * last[..., 1:].conj()).sum((1, 2)).real
        power += waves.abs().square().sum((1, 2))
        before = waves[..., -1:]
    spectrum = total / count
    diagonal = torch.diag_embed(spectrum.diagonal(dim1=-2, dim2=-1))
    spectrum = (1 - SHRINK) * spectrum + SHRINK * diagonal
    apart = torch.arange(mean.shape[1])
    lags = (product / power).clamp(0, 0.999)[:, None, None] ** (apart[:, None] - apart).abs()
    return Law(mean, (local * scale)[:, None], spectrum, lags)
