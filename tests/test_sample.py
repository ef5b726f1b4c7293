"""Samplers against the exact moments of a Gaussian, whose flow is affine."""

import pytest
import torch
from torch import Tensor

from dpdm.diffusion.gaussian import Gaussian
from dpdm.diffusion.sample import SAMPLERS, cosine_levels, evaluations, levels
from dpdm.types import Denoise, Fields, Sigma

N = 16
ORDER = {"ddim": 1, "heun": 2, "multistep": 3}
each_sampler = pytest.mark.parametrize("name", SAMPLERS)


def prior() -> Gaussian:
    cells = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0))
    return Gaussian(torch.linspace(-1, 1, N), torch.exp(-torch.cdist(cells, cells) / 2))


def moments(name: str, denoise: Denoise, schedule: Tensor) -> Gaussian:
    def flow(z: Tensor) -> Tensor:
        return SAMPLERS[name](denoise, z.reshape(-1, 1, 4, 4), schedule).flatten(1)

    mean = flow(torch.zeros(1, N))
    root = flow(torch.eye(N)) - mean
    return Gaussian(mean[0], root.T @ root)


@each_sampler
def test_the_mean_is_not_forgotten_however_few_the_steps(name: str) -> None:
    few = moments(name, prior(), levels(4, 0.01, 80.0))
    # What is left is second order in 1 / sigma_max: C / 80^2 with C of order one.
    torch.testing.assert_close(few.mean, prior().mean, rtol=0, atol=1e-3)


@each_sampler
def test_covariance_converges_at_the_order_of_the_sampler(name: str) -> None:
    errors = [
        (moments(name, prior(), levels(n, 0.01, 300.0)).cov - prior().cov).norm() for n in (32, 64)
    ]
    ratio = float(errors[0] / errors[1])
    # A halved step divides the error by 2^order; 30% for the terms of higher order.
    assert ratio > 0.7 * 2 ** ORDER[name]


def test_cosine_levels_lead_to_the_same_moments() -> None:
    found = moments("ddim", prior(), cosine_levels(2000))
    torch.testing.assert_close(found.cov, prior().cov, rtol=0, atol=0.02)  # first order in 1/2000


@each_sampler
def test_evaluations_are_counted(name: str) -> None:
    calls = []

    def counted(x_t: Fields, sigma: Sigma) -> Fields:
        calls.append(float(sigma[0]))
        return prior()(x_t, sigma)

    SAMPLERS[name](counted, torch.randn(2, 1, 4, 4), levels(6))
    assert len(calls) == evaluations(name, 6)


def test_levels_fall_to_zero() -> None:
    schedule = levels(9, 0.002, 80.0)
    assert schedule[0] == 80.0
    assert schedule[-1] == 0.0
    assert bool((schedule.diff() < 0).all())


@each_sampler
def test_a_member_does_not_depend_on_its_batch(name: str) -> None:
    noise = torch.randn(5, 1, 4, 4)
    together = SAMPLERS[name](prior(), noise, levels(8))
    alone = SAMPLERS[name](prior(), noise[3:4], levels(8))
    torch.testing.assert_close(together[3:4], alone, rtol=1e-10, atol=1e-10)
