"""Block means as observations: exact, never negative, and the Kalman update for a Gaussian."""

import pytest
import torch

from dpdm.diffusion.block_means import BlockMeanConstraint, BlockMeans
from dpdm.diffusion.denoise import Gaussian
from dpdm.diffusion.noise import karras_levels
from dpdm.diffusion.sample import heun

ROWS = torch.tensor([[0.3, 0.7, 0, 0], [0, 0, 0.5, 0.5]], dtype=torch.float64)
COLUMNS = torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]], dtype=torch.float64)


def match(value: torch.Tensor, transforms: tuple[str, ...]) -> BlockMeanConstraint:
    count = len(transforms)
    blocks = BlockMeans(ROWS, COLUMNS, value)
    return BlockMeanConstraint(
        blocks, transforms, torch.randn(count, 4, 4), torch.full((count, 4, 4), 0.7),
        torch.rand(count, 4, 4) + 0.1,
    )  # fmt: skip


def test_means_are_honoured_to_double_precision() -> None:
    value = torch.tensor([[[280.0, 290.0], [300.0, 270.0]], [[0.0, 1e-4], [3.0, 200.0]]])
    found = match(value, ("identity", "log1p")).solve_means(torch.randn(3, 2, 4, 4) + 1)
    rain = found[:, 1].clamp_min(0).expm1()
    blocks = BlockMeans(ROWS, COLUMNS, value)
    for member in range(3):
        torch.testing.assert_close(blocks.mean(found[member, 0]), value[0], rtol=1e-12, atol=0)
        torch.testing.assert_close(blocks.mean(rain[member]), value[1], rtol=1e-10, atol=1e-10)
    assert float(rain.min()) >= 0


def test_unknown_blocks_are_left_alone() -> None:
    value = torch.tensor([[[torch.nan, 1.0], [2.0, 3.0]]] * 2)
    u = torch.randn(1, 2, 4, 4)
    found = match(value, ("identity", "log1p")).solve_means(u)
    assert torch.equal(found[..., :2, :2], u[..., :2, :2])
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("transform", ["identity", "log1p"])
def test_what_agrees_already_is_not_moved(transform: str) -> None:
    u = torch.rand(1, 1, 4, 4) + 0.5
    physical = u[0] if transform == "identity" else u[0].expm1()
    blocks = BlockMeans(ROWS, COLUMNS, torch.zeros(1, 2, 2))
    one = match(blocks.mean(physical), (transform,))
    torch.testing.assert_close(one.solve_means(u), u, rtol=1e-10, atol=1e-10)


def test_members_of_a_white_prior_have_the_exact_conditional_moments() -> None:
    """For x ~ N(m, I) the update with V = sigma^2 / (1 + sigma^2) I is the Kalman update."""
    mean = torch.linspace(-1, 1, 16)
    prior = Gaussian(mean, torch.eye(16))
    value = torch.tensor([[[0.5, -0.5], [1.0, 2.0]]])
    blocks = BlockMeans(COLUMNS, COLUMNS, value)
    known = BlockMeanConstraint(
        blocks, ("identity",), torch.zeros(1, 4, 4), torch.ones(1, 4, 4), torch.ones(1, 4, 4)
    )

    def flow(z: torch.Tensor) -> torch.Tensor:
        noise = z.reshape(-1, 1, 4, 4)
        return heun(
            known.constrain_denoiser(prior), noise, karras_levels(200, 0.002, 200.0)
        ).flatten(1)

    operator = torch.kron(COLUMNS, COLUMNS)
    exact = prior.condition_on(operator, value.flatten(), torch.full((4,), 1e-12))
    found = flow(torch.zeros(1, 16))[0]
    root = flow(torch.eye(16)) - found
    torch.testing.assert_close(found, exact.mean, rtol=0, atol=1e-4)  # 1 / sigma_max^2
    torch.testing.assert_close(root.T @ root, exact.cov, rtol=0, atol=1e-3)  # 200 Heun steps
