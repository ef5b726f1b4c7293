r"""A Gaussian prior, whose every answer is closed form.

It serves three times: as the exact oracle of the tests, as the self-test of ``dpdm doctor``, and
as the classical baseline, for its posterior is optimal interpolation. With
:math:`x \sim N(m, C)` and :math:`C = U \Lambda U^T`,

.. math:: E[x \mid x_t] = m + U \Lambda (\Lambda + \sigma^2)^{-1} U^T (x_t - m)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dpdm.types import Fields, Sigma


@dataclass(frozen=True)
class Gaussian:
    """Fields x ~ N(mean, cov), flattened to N = C * H * W cells.

    Attributes:
        mean: Mean, with shape (N,).
        cov: Covariance, with shape (N, N).
    """

    mean: Tensor
    cov: Tensor

    def __call__(self, x_t: Fields, sigma: Sigma) -> Fields:
        """Return E[x | x_t], with the shape of ``x_t``."""
        values, vectors = torch.linalg.eigh(self.cov)
        keep = values / (values + sigma[:, None] ** 2)
        flat: Tensor = self.mean + ((x_t.flatten(1) - self.mean) @ vectors * keep) @ vectors.T
        return flat.reshape(x_t.shape)

    def condition_on(self, a: Tensor, y: Tensor, r: Tensor) -> Gaussian:
        """Return the posterior after y = a x + e, e ~ N(0, diag(r)): the Kalman update."""
        gain = torch.linalg.solve(a @ self.cov @ a.T + torch.diag(r), a @ self.cov).T
        return Gaussian(self.mean + gain @ (y - a @ self.mean), self.cov - gain @ a @ self.cov)
