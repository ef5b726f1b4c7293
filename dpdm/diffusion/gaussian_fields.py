r"""Smooth Gaussian fields: the exact denoiser of variables that no network draws.

The correlation of two cells is the product of one along the rows and one along the columns,

.. math:: K = K_y \otimes K_x, \qquad K_{ij} = \exp\!\Big(-\frac{(i - j)^2}{2 \ell^2}\Big)

With the eigenvalues and eigenvectors of both, :math:`K = U \Lambda U^T`, the denoiser and the
variance of each cell are those of the Wiener filter,

.. math:: E[x \mid x_t] = U \Lambda (\Lambda + \sigma^2)^{-1} U^T x_t, \qquad
   V[x \mid x_t] = \sigma^2 \Lambda (\Lambda + \sigma^2)^{-1}
   \text{ summed over } U^2.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from dpdm.types import Denoise, Fields, Sigma

Eigen = tuple[Tensor, Tensor]  # values (n,), vectors (n, n)


def correlation_eigen(count: int, length: float, cyclic: bool = False) -> Eigen:
    """Return eigenvalues and eigenvectors of the correlation of cells along one axis.

    Args:
        count: Number of cells.
        length: The length, cells.
        cyclic: Whether the axis is a circle.
    """
    distance = torch.arange(count, dtype=torch.float64)
    distance = (distance[:, None] - distance).abs()
    if cyclic:
        distance = torch.minimum(distance, count - distance)
    values, vectors = torch.linalg.eigh((-((distance / length) ** 2) / 2).exp())
    return values.clamp_min(0), vectors


class GaussianFields:
    """Independent fields x of mean zero and variance one, each with its own length.

    Args:
        shape: Rows and columns of the domain.
        lengths: Correlation length of each variable, cells.
        cyclic: Whether the columns are cyclic.
    """

    def __init__(
        self, shape: tuple[int, int], lengths: tuple[float, ...], cyclic: bool = False
    ) -> None:
        self.axes = [
            (correlation_eigen(shape[0], length), correlation_eigen(shape[1], length, cyclic))
            for length in lengths
        ]

    def __call__(self, x_t: Fields, sigma: Sigma) -> Fields:
        """Return E[x | x_t], with the shape (B, C, H, W) of ``x_t``."""
        out = [self.filter(x_t[:, c], sigma, c) for c in range(len(self.axes))]
        return torch.stack(out, dim=1)

    def filter(self, x_t: Tensor, sigma: Sigma, channel: int) -> Tensor:
        """Return E[x | x_t] of one variable (B, H, W)."""
        (_, rows), (_, columns) = self.axes[channel]
        rows, columns = rows.to(x_t), columns.to(x_t)
        spectrum = self.spectrum(channel).to(x_t)
        share = spectrum / (spectrum + sigma.to(x_t).reshape(-1, 1, 1) ** 2)
        smooth: Tensor = rows @ (share * (rows.T @ x_t @ columns)) @ columns.T
        return smooth

    def draw(self, x_t: Fields, sigma: Sigma) -> Fields:
        """Return fields (B, C, H, W) of the distribution, from noise ``x_t`` of a level."""
        noise = x_t / sigma.to(x_t).reshape(-1, 1, 1, 1)
        return torch.stack([self.root(noise[:, c], c) for c in range(len(self.axes))], dim=1)

    def root(self, noise: Tensor, channel: int) -> Tensor:
        """Return the root of the covariance of one variable times noise (B, H, W)."""
        (_, rows), (_, columns) = self.axes[channel]
        rows, columns = rows.to(noise), columns.to(noise)
        size = self.spectrum(channel).sqrt().to(noise)
        smooth: Tensor = rows @ (size * (rows.T @ noise @ columns)) @ columns.T
        return smooth

    def spectrum(self, channel: int) -> Tensor:
        """Return the eigenvalues of the covariance of one variable (H, W)."""
        (rows, _), (columns, _) = self.axes[channel]
        return rows[:, None] * columns

    def variance(self, x_t: Fields, sigma: Sigma) -> Fields:
        """Return V[x | x_t], with the shape (B, C, H, W) of ``x_t``."""
        return torch.stack([self.moment(sigma, c) for c in range(len(self.axes))], 1).to(x_t)

    def moment(self, sigma: Sigma, channel: int) -> Tensor:
        """Return V[x | x_t] of one variable (B, H, W)."""
        (_, rows), (_, columns) = self.axes[channel]
        noise, spectrum = sigma.double().cpu().reshape(-1, 1, 1) ** 2, self.spectrum(channel)
        left = spectrum / (1 + spectrum / noise)
        variance: Tensor = rows**2 @ left @ (columns**2).T
        return variance

    def sampled_deviation(self, sample: Callable[[Denoise, Tensor], Tensor]) -> Tensor:
        """Return the standard deviation of each variable (C,) that a sampler draws.

        A sampler of a few steps loses variance. As it is linear in noise for a Gaussian, one draw
        of the eigenvectors from noise of one gives all variances.

        Args:
            sample: Clean fields from a denoiser and standard normal noise, without corrections.
        """
        spectrum = torch.stack([self.spectrum(c) for c in range(len(self.axes))])[None]

        def denoise(x_t: Fields, sigma: Sigma) -> Fields:
            return x_t * spectrum / (spectrum + sigma.reshape(-1, 1, 1, 1) ** 2)

        return sample(denoise, torch.ones_like(spectrum)).square().mean((0, 2, 3)).sqrt()


@cache
def make_gaussian_fields(
    shape: tuple[int, int], lengths: tuple[float, ...], cyclic: bool
) -> GaussianFields:
    """Return Gaussian fields, whose eigenvectors are computed once for each domain."""
    return GaussianFields(shape, lengths, cyclic)


def join_variables(first: Denoise | None, second: Denoise, count: int) -> Denoise:
    """Return a moment of all variables, from one of the first ``count`` and one of the others."""

    def joint(x_t: Fields, sigma: Sigma) -> Fields:
        others = second(x_t[:, count:], sigma)
        if first is None:
            return others
        return torch.cat([first(x_t[:, :count], sigma), others], dim=1)

    return joint
