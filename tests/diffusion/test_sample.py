"""Samplers against the exact moments of a Gaussian, whose flow is affine."""

import pytest
import torch
from torch import Tensor

from dpdm.diffusion.denoise import Gaussian
from dpdm.diffusion.noise import SCHEDULES, cosine_levels, karras_levels, level_at_share
from dpdm.diffusion.sample import SAMPLERS, count_network_evaluations, langevin, langevin_sampler
from dpdm.types import Denoise, Fields, Sigma

N = 16
each_sampler = pytest.mark.parametrize("name", SAMPLERS)
convergent = [name for name, method in SAMPLERS.items() if method.order]
each_convergent = pytest.mark.parametrize("name", convergent)


def prior() -> Gaussian:
    cells = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0))
    return Gaussian(torch.linspace(-1, 1, N), torch.exp(-torch.cdist(cells, cells) / 2))


def moments(name: str, denoise: Denoise, schedule: Tensor) -> Gaussian:
    def flow(z: Tensor) -> Tensor:
        return SAMPLERS[name](denoise, z.reshape(-1, 1, 4, 4), schedule).flatten(1)

    mean = flow(torch.zeros(1, N))
    root = flow(torch.eye(N)) - mean
    return Gaussian(mean[0], root.T @ root)


@each_convergent
def test_the_mean_is_not_forgotten_however_few_the_steps(name: str) -> None:
    few = moments(name, prior(), karras_levels(4, 0.01, 80.0))
    # What is left is second order in 1 / sigma_max: C / 80^2 with C of order one.
    torch.testing.assert_close(few.mean, prior().mean, rtol=0, atol=1e-3)


@each_convergent
def test_covariance_converges_at_the_order_of_the_sampler(name: str) -> None:
    errors = [
        (moments(name, prior(), karras_levels(n, 0.01, 300.0)).cov - prior().cov).norm()
        for n in (32, 64)
    ]
    ratio = float(errors[0] / errors[1])
    # A halved step divides the error by 2^order; 30% for the terms of higher order.
    assert ratio > 0.7 * 2 ** SAMPLERS[name].order


@each_convergent
def test_noise_around_an_origin_that_is_taken_away_leaves_the_flow_s_law(name: str) -> None:
    """Along each mode of variance v, the flow from sigma shrinks by sqrt(v / (v + sigma^2))."""
    sigma, origin = 0.7, torch.randn(1, 1, 4, 4)
    values, modes = torch.linalg.eigh(prior().cov)
    shrink = modes * (values / (values + sigma**2)).sqrt() @ modes.T

    def flow(z: Tensor) -> Tensor:
        falling = karras_levels(400, 1e-3, sigma)
        return SAMPLERS[name](prior(), z.reshape(-1, 1, 4, 4), falling, origin).flatten(1)

    mean = flow(torch.zeros(1, N))
    root = flow(torch.eye(N)) - mean
    centre = prior().mean + shrink @ (origin.flatten() - prior().mean)
    tolerance = 0.02 if name == "ddim" else 1e-3  # first order in 1 / 400, and better
    torch.testing.assert_close(mean[0], centre, rtol=0, atol=tolerance)
    torch.testing.assert_close(root.T @ root, sigma**2 * shrink @ shrink, rtol=0, atol=tolerance)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_share_of_a_schedule_is_what_is_left_of_it(schedule: str) -> None:
    falling = SCHEDULES[schedule](8, 0.002, 80.0)
    positive = falling[falling > 0]
    shares = torch.linspace(1, 0, len(falling)) if schedule == "cosine" else None
    for k, found in enumerate(positive.tolist()):
        share = 1 - k / 7 if shares is None else float(shares[k])
        assert level_at_share(schedule, share, 0.002, 80.0) == pytest.approx(
            found, rel=0.05, abs=2e-3
        )


def test_cosine_levels_lead_to_the_same_moments() -> None:
    found = moments("ddim", prior(), cosine_levels(2000))
    torch.testing.assert_close(found.cov, prior().cov, rtol=0, atol=0.02)  # first order in 1/2000


@each_sampler
def test_evaluations_are_counted(name: str) -> None:
    calls = []

    def counted(x_t: Fields, sigma: Sigma) -> Fields:
        calls.append(float(sigma[0]))
        return prior()(x_t, sigma)

    SAMPLERS[name](counted, torch.randn(2, 1, 4, 4), karras_levels(6))
    assert len(calls) == count_network_evaluations(name, 6)


def test_evaluations_of_corrections_are_counted() -> None:
    calls = []

    def counted(x_t: Fields, sigma: Sigma) -> Fields:
        calls.append(float(sigma[0]))
        return prior()(x_t, sigma)

    langevin_sampler(2, 0.5, lambda count: torch.randn(2, 1, 4, 4))(
        counted, torch.randn(2, 1, 4, 4), karras_levels(6)
    )
    assert len(calls) == count_network_evaluations("ddim", 6, 2)


def test_levels_fall_to_zero() -> None:
    schedule = karras_levels(9, 0.002, 80.0)
    assert schedule[0] == 80.0
    assert schedule[-1] == 0.0
    assert bool((schedule.diff() < 0).all())


@each_sampler
def test_a_member_does_not_depend_on_its_batch(name: str) -> None:
    noise = torch.randn(5, 1, 4, 4)
    together = SAMPLERS[name](prior(), noise, karras_levels(8))
    alone = SAMPLERS[name](prior(), noise[3:4], karras_levels(8))
    torch.testing.assert_close(together[3:4], alone, rtol=1e-10, atol=1e-10)


def test_without_corrections_the_corrector_is_ddim() -> None:
    noise, schedule = torch.randn(3, 1, 4, 4), karras_levels(8)
    plain = SAMPLERS["ddim"](prior(), noise, schedule)
    sampler = langevin_sampler(0, 0.5, lambda count: torch.randn(3, 1, 4, 4))
    assert torch.equal(sampler(prior(), noise, schedule), plain)


def test_langevin_comes_from_anywhere_to_its_stationary_law() -> None:
    """Steps sized by each member's own epsilon weigh the density S = C + sigma^2 by epsilon^2.

    So the covariance is S + 2 I / tr(S^-1): wider by 2 / N, which is nothing in a large field.
    """
    sigma, count = 2.0, 10000
    x = 5 * torch.randn(count, 1, 4, 4)
    for _ in range(300):
        x = langevin(prior(), x, sigma, 0.05, torch.randn_like(x))
    noisy = prior().cov + sigma**2 * torch.eye(N)
    exact = noisy + 2 * torch.eye(N) / torch.linalg.inv(noisy).trace()
    torch.testing.assert_close(x.flatten(1).mean(0), prior().mean, rtol=0, atol=0.15)
    error = (x.flatten(1).T.cov() - exact).norm() / exact.norm()
    assert error < 0.07  # the sample leaves 0.04, finite steps 0.02


def test_every_correction_has_its_own_noise() -> None:
    asked: list[int] = []

    def renew(count: int) -> Fields:
        asked.append(count)
        return torch.zeros(1, 1, 4, 4)

    langevin_sampler(3, 0.5, renew)(prior(), torch.randn(1, 1, 4, 4), karras_levels(5))
    assert asked == list(range(13))  # one before the first; none where no noise is left


def test_long_corrections_keep_a_gaussian_s_law() -> None:
    """Beyond the 2 / N of steps sized by their own epsilon; fresh noise would add 40%."""
    sigma, count = 2.0, 10000
    noisy = prior().cov + sigma**2 * torch.eye(N)
    exact = noisy + 2 * torch.eye(N) / torch.linalg.inv(noisy).trace()
    sampler = langevin_sampler(40, 0.6, lambda _: torch.randn(count, 1, 4, 4))
    x_hat = sampler(prior(), torch.randn(count, 1, 4, 4), torch.tensor([3.0, sigma, 0.0]))
    gain = torch.linalg.solve(noisy, prior().cov)  # of the mean that the last step returns
    back = torch.linalg.solve(gain.T, (x_hat.flatten(1) - prior().mean).T).T
    error = (back.T.cov() - exact).norm() / exact.norm()
    assert error < 0.07  # of which the sample leaves 0.04
