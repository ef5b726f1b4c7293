"""Inflation is exact for a Gaussian: the mean stays, the covariance grows by the square."""

import pytest
import torch

from dpdm.diffusion.denoise import Gaussian, inflate

CELLS = torch.arange(6.0, dtype=torch.float64)[:, None]
PRIOR = Gaussian(torch.linspace(-1, 1, 6).double(), torch.exp(-torch.cdist(CELLS, CELLS)))


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.7])
@pytest.mark.parametrize("sigma", [0.01, 1.0, 80.0])
def test_the_inflated_denoiser_is_that_of_the_wider_gaussian(factor: float, sigma: float) -> None:
    wider = Gaussian(PRIOR.mean, factor**2 * PRIOR.cov)
    x_t, level = torch.randn(4, 1, 1, 6) * (1 + sigma), torch.full((4,), sigma)
    found = inflate(PRIOR, PRIOR.mean.reshape(1, 1, 1, 6), factor)(x_t, level)
    torch.testing.assert_close(found, wider(x_t, level), rtol=1e-10, atol=1e-10)
