"""Guidance against the exact posterior of a Gaussian prior."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from dpdm.diffusion.denoise import Gaussian
from dpdm.diffusion.guidance import (
    CovarianceDenoiser,
    Guide,
    Observation,
    StepCount,
    dps,
    mmps,
    operator_variance,
    sda,
    static_covariance,
)
from dpdm.diffusion.noise import karras_levels
from dpdm.diffusion.sample import heun
from dpdm.types import Denoise, Fields, Values

N = 16
SHAPE = (-1, 1, 4, 4)


def at_points(x: Fields) -> Values:
    return x.flatten(1)[:, [0, 5, 11]]


def block_means(x: Fields) -> Values:
    return x.reshape(-1, 1, 2, 2, 2, 2).mean((3, 5)).flatten(1)


POINTS = Observation(
    at_points, torch.tensor([1.0, -1.0, 0.3]).double(), torch.tensor([0.04, 0.09, 0.01]).double()
)
BLOCKS = Observation(
    block_means, torch.tensor([0.5, -0.5, 1.0, 0.0]).double(), torch.full((4,), 0.01).double()
)
BOTH = Observation(
    lambda x: torch.cat([at_points(x), block_means(x)], dim=1),
    torch.cat([POINTS.value, BLOCKS.value]),
    torch.cat([POINTS.variance, BLOCKS.variance]),
)
SEEN = {"points": POINTS, "blocks": BLOCKS, "both": BOTH}
each_kind = pytest.mark.parametrize("seen", SEEN.values(), ids=SEEN)
each_noise = pytest.mark.parametrize("sigma", [0.01, 1.0, 80.0])


def prior() -> Gaussian:
    cells = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0))
    return Gaussian(torch.linspace(-1, 1, N), torch.exp(-torch.cdist(cells, cells) / 2))


def matrix(seen: Observation) -> Tensor:
    return seen.operator(torch.eye(N).reshape(SHAPE)).T


def lawful() -> CovarianceDenoiser:
    """Return the prior, which knows what it leaves unknown: sigma^2 C (C + sigma^2)^-1."""

    def cover(x: Fields, sigma: Tensor) -> Fields:
        return sigma[:, None, None, None] ** 2 * (prior()(x, sigma) - prior()(0 * x, sigma))

    return CovarianceDenoiser(prior(), cover)


def posterior(seen: Observation) -> Gaussian:
    return prior().condition_on(matrix(seen), seen.value, seen.variance)


def noisy(sigma: float) -> tuple[Fields, Tensor]:
    return sigma * torch.randn(5, 1, 4, 4), torch.full((5,), sigma)


def share(miss: Tensor, change: Tensor, r: Tensor) -> Tensor:
    """Return min(1, <miss, change> / |change|^2) in the norm of R^-1, (B, 1)."""
    weighted = change @ torch.linalg.inv(r)
    along, size = ((v * weighted).sum(1, keepdim=True) for v in (miss, change))
    return (along / size).clamp(0, 1)


@each_kind
@each_noise
def test_mmps_is_the_exact_posterior_mean(seen: Observation, sigma: float) -> None:
    x_t, s = noisy(sigma)
    found = mmps(prior(), seen, iterations=len(seen.value))(x_t, s)
    torch.testing.assert_close(found, posterior(seen)(x_t, s), rtol=1e-8, atol=1e-8)


@each_kind
@each_noise
def test_law_is_the_exact_posterior_mean(seen: Observation, sigma: float) -> None:
    x_t, s = noisy(sigma)
    found = static_covariance(lawful(), seen, iterations=len(seen.value), tolerance=0)(x_t, s)
    torch.testing.assert_close(found, posterior(seen)(x_t, s), rtol=1e-8, atol=1e-8)


@each_kind
@each_noise
def test_sda_is_its_own_closed_form(seen: Observation, sigma: float) -> None:
    """x_hat + alpha sigma^2 J A^T (R + sigma^2 Gamma)^-1 (y - A x_hat), J = C (C + sigma^2)^-1."""
    gaussian, a, gamma = prior(), matrix(seen), 0.3
    x_t, s = noisy(sigma)
    x_hat = gaussian(x_t, s).flatten(1)
    jacobian = gaussian.cov @ torch.linalg.inv(gaussian.cov + sigma**2 * torch.eye(N))
    scale = torch.ones_like(seen.value) if seen.scale is None else seen.scale
    miss = seen.value - x_hat @ a.T
    step = sigma**2 * miss / (seen.variance + sigma**2 * gamma * scale) @ a @ jacobian
    expected = x_hat + share(miss, step @ a.T, torch.diag(seen.variance)) * step
    found = sda(gaussian, seen, gamma)(x_t, s).flatten(1)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@each_kind
def test_sda_comes_to_the_exact_score_as_noise_falls(seen: Observation) -> None:
    """What V is matters less and less: the error of x_hat falls as sigma^4."""
    exact, errors = posterior(seen), []
    for sigma in (0.02, 0.01):
        x_t, s = sigma * torch.ones(1, 1, 4, 4), torch.full((1,), sigma)
        errors.append(float((sda(prior(), seen, 1.0)(x_t, s) - exact(x_t, s)).norm()))
    assert errors[1] < errors[0] / 12


@each_kind
def test_dps_pulls_towards_what_was_measured(seen: Observation) -> None:
    x_t, s = noisy(1.0)
    before = seen.misfit(prior()(x_t, s)).square() / seen.variance
    after = seen.misfit(dps(prior(), seen, 0.1)(x_t, s)).square() / seen.variance
    assert bool((after.sum(1) < before.sum(1)).all())


def moments(denoise: Denoise, steps: int) -> Gaussian:
    """The flow of a linear denoiser is affine: N + 1 draws give its moments, without noise."""

    def flow(z: Tensor) -> Tensor:
        return heun(denoise, z.reshape(SHAPE), karras_levels(steps)).flatten(1)

    mean = flow(torch.zeros(1, N))
    root = flow(torch.eye(N)) - mean
    return Gaussian(mean[0], root.T @ root)


@each_kind
def test_sampling_converges_to_the_posterior_at_second_order(seen: Observation) -> None:
    denoise, exact = mmps(prior(), seen, iterations=len(seen.value)), posterior(seen)
    coarse, fine = moments(denoise, 16), moments(denoise, 32)
    torch.testing.assert_close(fine.mean, exact.mean, rtol=0, atol=1e-3)
    ratio = (coarse.cov - exact.cov).norm() / (fine.cov - exact.cov).norm()
    assert 3.5 < ratio < 6.0  # halving the step quarters the error


def test_a_member_does_not_feel_the_others() -> None:
    x_t, s = noisy(0.7)
    seen = SEEN["both"]
    for guided in (
        sda(prior(), seen), mmps(prior(), seen), dps(prior(), seen), static_covariance(lawful(),
        seen),
    ):  # fmt: skip
        together, alone = guided(x_t, s), guided(x_t[2:3], s[2:3])
        torch.testing.assert_close(together[2:3], alone, rtol=1e-12, atol=1e-12)


def test_a_curved_operator_is_followed() -> None:
    """A small error variance makes x^3 what was measured, once the mean has been followed."""
    seen = Observation(
        lambda x: x.flatten(1)[:, :1] ** 3, torch.tensor([0.512]), torch.tensor([1e-6])
    )
    small = torch.full((1,), 0.05)
    x = torch.full((1, 1, 4, 4), 0.75)
    for _ in range(50):
        x = mmps(prior(), seen, 1)(x, small)
    assert float(x.flatten()[0]) == pytest.approx(0.8, abs=0.01)


def test_gain_is_the_variance_of_what_is_observed() -> None:
    found = operator_variance(block_means, torch.zeros(1, 1, 4, 4), probes=20000)
    torch.testing.assert_close(
        found, torch.full((4,), 0.25), rtol=0.05, atol=0
    )  # 5 sampling errors


def test_errors_with_something_in_common_are_weighed_together() -> None:
    """R = diag + shared: MMPS is exact, and SDA is its own closed form."""
    root = torch.randn(3, 2)
    seen = replace(POINTS, shared=root @ root.T)
    a, r = matrix(POINTS), torch.diag(POINTS.variance) + root @ root.T
    gain = torch.linalg.solve(a @ prior().cov @ a.T + r, a @ prior().cov).T
    miss = seen.value - a @ prior().mean
    exact = Gaussian(prior().mean + gain @ miss, prior().cov - gain @ a @ prior().cov)
    x_t, s = noisy(1.0)
    found = mmps(prior(), seen, iterations=3)(x_t, s)
    torch.testing.assert_close(found, exact(x_t, s), rtol=1e-8, atol=1e-8)
    x_hat = prior()(x_t, s).flatten(1)
    jacobian = prior().cov @ torch.linalg.inv(prior().cov + torch.eye(N))
    step = (
        torch.linalg.solve(r + 0.3 * torch.eye(3), (seen.value - x_hat @ a.T).T).T @ a @ jacobian
    )
    closed = x_hat + share(seen.value - x_hat @ a.T, step @ a.T, r) * step
    torch.testing.assert_close(
        sda(prior(), seen, 0.3)(x_t, s).flatten(1), closed, rtol=1e-9, atol=1e-9
    )


@dataclass(frozen=True)
class Dense:
    """The exact covariance sigma^2 C (C + sigma^2)^-1, which can be written out for values."""

    cov: Tensor

    def at(self, sigma: Tensor) -> Tensor:
        noise = float(sigma[0]) ** 2
        return noise * self.cov @ torch.linalg.inv(self.cov + noise * torch.eye(len(self.cov)))

    def __call__(self, x: Fields, sigma: Tensor) -> Fields:
        return (x.flatten(1) @ self.at(sigma)).reshape(x.shape)

    def observed(self, jacobian: Tensor, sigma: Tensor) -> Tensor:
        a = jacobian.to_dense()
        return a @ self.at(sigma) @ a.T


def crowd(count: int, error: float, shared: float = 0.0) -> Observation:
    """Return values of one cell and its neighbour, with errors that are nearly all shared."""
    cells = torch.arange(count) % 2
    common = shared * torch.ones(count, count) if shared else None
    value = 2 + error * torch.randn(count)
    return Observation(
        lambda x: x.flatten(1)[:, cells], value, torch.full((count,), error**2), shared=common
    )


@each_noise
@pytest.mark.parametrize("shared", [0.0, 4.0])
def test_law_krigs_a_crowd_in_one_step(sigma: float, shared: float) -> None:
    """300 values of two cells with errors of 0.1: the closed form, which is Kriging."""
    gaussian, seen = prior(), crowd(300, 0.1, shared)
    covered = CovarianceDenoiser(gaussian, Dense(gaussian.cov), torch.zeros(1, 1, 4, 4))
    a = matrix(seen)
    gain = torch.linalg.solve(a @ gaussian.cov @ a.T + seen.covariance, a @ gaussian.cov).T
    exact = Gaussian(
        gaussian.mean + gain @ (seen.value - a @ gaussian.mean),
        gaussian.cov - gain @ a @ gaussian.cov,
    )
    x_t, s = noisy(sigma)
    found = static_covariance(covered, seen, iterations=2, tolerance=0)(x_t, s)
    torch.testing.assert_close(found, exact(x_t, s), rtol=1e-6, atol=1e-6)
    assert seen.steps == StepCount(5, 0)


def test_values_in_a_crowd_do_not_diverge() -> None:
    """SDA moves a cell by the miss of each of 200 values: without the limit it overshoots."""
    seen = crowd(200, 0.3)
    free = replace(seen)
    object.__setattr__(free, "limit", lambda correction, miss, change: correction)
    noise, levels = torch.randn(3, 1, 4, 4), karras_levels(12)
    assert float(heun(sda(prior(), free), noise, levels).abs().max()) > 1e4
    found = heun(sda(prior(), seen), noise, levels)
    assert float(found.abs().max()) < 10
    assert float((seen.operator(found) - 2).abs().max()) < 0.5
    assert 0 < seen.steps.short <= seen.steps.total


@pytest.mark.parametrize("guide", [mmps, sda, dps])
def test_no_step_worsens_the_linearised_fit(guide: Guide) -> None:
    """With a denoiser whose Jacobian is neither symmetric nor positive."""
    jacobian = torch.randn(N, N)
    seen = replace(BOTH, variance=1e-3 * BOTH.variance)

    def denoise(x_t: Fields, sigma: Tensor) -> Fields:
        return (x_t.flatten(1) @ jacobian.T).reshape(x_t.shape)

    x_t, s = noisy(1.0)
    before, after = (
        (seen.misfit(x).square() / seen.variance).sum(1)
        for x in (denoise(x_t, s), guide(denoise, seen)(x_t, s))
    )
    assert bool((after <= before * (1 + 1e-9)).all())
