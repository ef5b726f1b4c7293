r"""The covariance of fields given noisy fields: variances of the network, correlations of a law.

.. math:: V(\sigma) = D^{1/2} K D^{1/2}, \qquad K_{ij} = \exp(-|i - j| / \ell)

D is the variance that the network predicts, in each cell and for each variable, and K one
correlation of the lattice of cells, for each variable alone. K is a convolution on a torus that
contains the domain, whose spectrum has no negative value, so V is symmetric and positive
semi-definite by construction.

**The length** shrinks with the noise level, because the large scales emerge from the noise first.
Measured autocorrelations of :math:`(x - \hat x) / D^{1/2}`, on ERA5 months of Indochina and
normals of East Asia, at factors of 4 and 10 and without coarse fields, are those of

.. math:: 1 / \ell = 1 / L + 0.27 \, (s / \sigma)^{0.8}

in cells, with the standard deviation s of x; L is 0.4 cells for each fine cell along a side of a
coarse one, and 60 cells without coarse fields.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dpdm.types import Fields, Sigma

COARSE_LENGTH, BLIND_LENGTH = 0.4, 60.0  # cells, the first for each fine cell along a coarse one
NOISE_RATE, NOISE_POWER = 0.27, 0.8
MARGIN = 3.0  # lengths between the domain and its image on the torus


@dataclass(frozen=True)
class LatticeCorrelation:
    """The correlation exp(-d / length) of cells at distance d, on a torus.

    Attributes:
        shape: Rows and columns of the domain.
        length: The length, cells.
        cyclic: Whether the columns are cyclic.
    """

    shape: tuple[int, int]
    length: float
    cyclic: bool = False

    @cached_property
    def torus(self) -> tuple[int, int]:
        """Give the rows and columns of the torus, the margin at most as wide as the domain."""
        height, width = (n + min(n, int(MARGIN * self.length) + 1) for n in self.shape)
        return height, self.shape[1] if self.cyclic else width

    @cached_property
    def spectrum(self) -> Tensor:
        """Give the spectrum of the correlation, without negative values."""
        rows, columns = (torch.arange(n, dtype=torch.float64) for n in self.torus)
        y, x = torch.minimum(rows, self.torus[0] - rows), torch.minimum(
            columns, self.torus[1] - columns
        )  # fmt: skip
        distance = (y[:, None] ** 2 + x**2).sqrt()
        spectrum = torch.fft.rfft2((-distance / self.length).exp()).real.clamp_min(0)
        unit: Tensor = spectrum / torch.fft.irfft2(spectrum, s=self.torus)[0, 0]
        return unit

    @cached_property
    def table(self) -> Tensor:
        """Give the correlation of the first cell of the torus with every cell."""
        table: Tensor = torch.fft.irfft2(self.spectrum, s=self.torus)
        return table

    def filter(self, fields: Fields, root: bool = False) -> Fields:
        """Return K times fields (..., H, W), or a field of that correlation from white noise."""
        spectrum = self.spectrum.sqrt() if root else self.spectrum
        hat = torch.fft.rfft2(fields, s=self.torus) * spectrum.to(fields)
        smooth: Fields = torch.fft.irfft2(hat, s=self.torus)
        return smooth[..., : self.shape[0], : self.shape[1]]

    @cached_property
    def offsets(self) -> Tensor:
        """Give the correlations at all offsets of rows and columns, (2 H, 2 W), flattened."""
        rows, columns = (
            torch.arange(-n, n) % m for n, m in zip(self.shape, self.torus, strict=True)
        )
        return self.table[rows[:, None], columns].flatten()

    def between(self, cells: Tensor) -> Tensor:
        """Return the correlations (P, P) of cells, numbered row by row."""
        height, width = self.shape
        place = cells // width * 2 * width + cells % width
        middle = 2 * height * width + width
        return self.offsets[place[:, None] - place + middle]


@dataclass(frozen=True)
class LevelCovariance:
    """The covariance of x given x_t at one noise level.

    Attributes:
        variance: Variance of the cells, with shape (C, H, W).
        correlation: Correlation of the cells.
    """

    variance: Tensor
    correlation: LatticeCorrelation

    def __call__(self, x: Fields) -> Fields:
        """Return V x, with the shape (B, C, H, W) of x."""
        root = self.variance.sqrt().to(x)
        return root * self.correlation.filter(root * x)

    def draw(self, noise: Fields) -> Fields:
        """Return a draw from normal noise (..., C, H, W); its variance is less near the edges."""
        return self.variance.sqrt().to(noise) * self.correlation.filter(noise, root=True)

    def observed(self, jacobian: Tensor) -> Tensor:
        """Return A V A^T (N, N) of a sparse Jacobian A (N, C H W)."""
        jacobian = jacobian.coalesce()
        (value, cell), weight = jacobian.indices().cpu(), jacobian.values().cpu().double()
        weight = weight * self.variance.cpu().double().flatten().sqrt()[cell]
        channel = cell // self.variance[0].numel()
        total = torch.zeros(len(jacobian), len(jacobian), dtype=torch.float64)
        for number in channel.unique():  # variables are independent
            chosen = channel == number
            used, index = (cell[chosen] % self.variance[0].numel()).unique(return_inverse=True)
            links = torch.sparse_coo_tensor(
                torch.stack([value[chosen], index]), weight[chosen],
                (len(jacobian), len(used)), check_invariants=False,
            )  # fmt: skip
            half = torch.sparse.mm(links, self.correlation.between(used))
            total += torch.sparse.mm(links, half.T.contiguous())
        return total.to(self.variance.device)


class FieldCovariance:
    """The covariance of x given x_t, at any noise level.

    Args:
        variance: Variance of the cells (C, H, W) at a noise level.
        length: Length L of the correlation of x, cells.
        cyclic: Whether the columns are cyclic.
        inflation: Spread inflation k of x: V is then k^2 V(sigma / k).
    """

    def __init__(
        self,
        variance: Callable[[float], Tensor],
        length: float,
        cyclic: bool = False,
        inflation: float = 1.0,
    ) -> None:
        self.variance, self.length, self.cyclic = variance, length, cyclic
        self.inflation = inflation
        self.levels: dict[float, LevelCovariance] = {}

    @cached_property
    def deviation(self) -> float:
        """Give the standard deviation of x, without inflation."""
        return float(self.variance(torch.inf).double().mean().sqrt())

    def at(self, sigma: float) -> LevelCovariance:
        """Return the covariance at a noise level; each is computed once."""
        if sigma not in self.levels:
            own = sigma / self.inflation
            variance = self.inflation**2 * self.variance(own)
            rate = 1 / self.length + NOISE_RATE * (self.deviation / own) ** NOISE_POWER
            height, width = variance.shape[1:]
            correlation = LatticeCorrelation((height, width), 1 / rate, self.cyclic)
            self.levels[sigma] = LevelCovariance(variance, correlation)
        return self.levels[sigma]

    def __call__(self, x: Fields, sigma: Sigma) -> Fields:
        """Return V x, for one noise level of all members."""
        return self.at(float(sigma[0]))(x)

    def observed(self, jacobian: Tensor, sigma: Sigma) -> Tensor:
        """Return A V A^T (N, N) of a sparse Jacobian A (N, C H W)."""
        return self.at(float(sigma[0])).observed(jacobian)


def correlation_length(factor: float | None) -> float:
    """Return L in cells, for the factor of the coarse fields, None without any.

    Example:
        >>> correlation_length(10.0), correlation_length(None)
        (4.0, 60.0)
    """
    return BLIND_LENGTH if factor is None else COARSE_LENGTH * factor
