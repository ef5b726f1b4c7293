r"""What is known of the flow before anything is seen: a Gaussian law of its trajectories.

Optimal interpolation needs a mean and a covariance. Both are estimated from the trajectories that
the prior learnt from: the mean state of each row, for the stirring depends on y alone; and the
covariance of the deviations from it, the same everywhere and at all times, and separable,

.. math:: \mathrm{cov}[x_c(t, r), x_{c'}(t', r')] = \rho(t - t') \sum_k S_{cc'}(k) e^{ik(r - r')},

with the lag correlation :math:`\rho` and, for each wave k, the spectrum S of u and v, 2 by 2: with
their cross-spectrum, so that what is drawn and what is interpolated has no divergence either.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import xarray as xr
from torch import Tensor

from dpdm.training import split_trajectories


@dataclass(frozen=True)
class Climate:
    """A Gaussian law of trajectories (2, T, Y, X).

    Attributes:
        mean: Of a state, with shape (2, 1, Y, 1).
        spectrum: Covariance of u's and v's coefficients of each wave, with shape (Y, X, 2, 2).
        lags: Correlation of the states' times, with shape (T, T).
    """

    mean: Tensor
    spectrum: Tensor
    lags: Tensor

    @property
    def std(self) -> float:
        """Give the standard deviation of both components around the mean state."""
        return float(self.spectrum.diagonal(dim1=-2, dim2=-1).real.sum() / 2) ** 0.5

    def covary(self, x: Tensor) -> Tensor:
        """Return the covariance applied to a trajectory."""
        cells = x.shape[-2] * x.shape[-1]
        return filtered(torch.einsum("st,ctyx->csyx", self.lags, x), cells * self.spectrum)

    def draw(self, seed: int, member: int) -> Tensor:
        """Return a deviation from the mean, drawn at random."""
        rows, columns = self.spectrum.shape[:2]
        generator = torch.Generator().manual_seed(1000 * seed + member)
        shape = (2, len(self.lags), rows, columns)
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        root = (rows * columns) ** 0.5 * self.root_of_spectrum
        return filtered(torch.einsum("st,ctyx->csyx", self.root_of_lags, noise), root)

    @cached_property
    def root_of_lags(self) -> Tensor:
        """Give the symmetric root of the lag correlation."""
        return root(self.lags)

    @cached_property
    def root_of_spectrum(self) -> Tensor:
        """Give the Hermitian root of each wave's covariance."""
        return root(self.spectrum)


def root(law: Tensor) -> Tensor:
    """Return the Hermitian root of positive semidefinite matrices (..., n, n)."""
    size, axes = torch.linalg.eigh(law)
    return axes @ torch.diag_embed(size.clamp_min(0).sqrt()).to(axes) @ axes.mH


def filtered(x: Tensor, gains: Tensor) -> Tensor:
    """Return trajectories (2, T, Y, X) whose waves are multiplied by gains (Y, X, 2, 2)."""
    hat = torch.fft.fft2(x)
    return torch.fft.ifft2(torch.einsum("yxcd,dtyx->ctyx", gains, hat)).real


def climate(path: Path, states: int) -> Climate:
    """Return the law of trajectories of so many states, from those that a prior learns from."""
    with xr.open_dataset(path) as ds:
        taught, _ = split_trajectories(ds.sizes["trajectory"], path)
        fields = ds[["u", "v"]].isel(trajectory=slice(taught)).to_array()
        axes = ("trajectory", "variable", "time", "y", "x")
        x = torch.from_numpy(fields.transpose(*axes).values).double()
    mean = x.mean((0, 2, 4))[:, None, :, None]
    x -= mean
    hat = torch.fft.fft2(x) / (x.shape[-1] * x.shape[-2])
    spectrum = torch.einsum("nctyx,ndtyx->yxcd", hat, hat.conj()) / (len(x) * x.shape[2])
    return Climate(mean, spectrum, lags(x, states))


def lags(x: Tensor, states: int) -> Tensor:
    """Return the correlation (T, T) of the times of trajectories (N, 2, T', Y, X)."""
    length = x.shape[2]
    product = [float((x[:, :, : length - d] * x[:, :, d:]).mean()) for d in range(states)]
    apart = (torch.arange(states)[:, None] - torch.arange(states)).abs()
    found = torch.tensor(product, dtype=torch.float64)[apart] / product[0]
    size, axes = torch.linalg.eigh(found)  # estimated lag by lag, it may be slightly indefinite
    return axes @ torch.diag(size.clamp_min(0)) @ axes.T
