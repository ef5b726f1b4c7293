"""Windows in time: a trajectory's score is that of windows, each speaking for its centre."""

from collections.abc import Iterable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from dpdm.diffusion.denoise import Gaussian
from dpdm.diffusion.tile import TimeWindows, flatten_states_denoiser, tile_denoiser
from dpdm.types import Denoise, Fields, Sigma

COUNT, WIDTH, RHO = 12, 5, 0.9


def chain(count: int) -> Gaussian:
    """Return two independent AR(1) processes in their stationary state, (count, 2) flattened."""
    steps = torch.arange(count)
    cov = RHO ** (steps[:, None] - steps).abs().double()
    return Gaussian(torch.zeros(2 * count), torch.kron(cov, torch.eye(2)))


@dataclass(frozen=True)
class Averaged(TimeWindows):
    """Windows whose answers are averaged, as in space."""

    def join(self, answers: Iterable[Fields], x_t: Fields) -> Fields:
        sums, count = torch.zeros_like(x_t), torch.zeros_like(x_t)
        for place, x_hat in zip(self.window_slices(), answers, strict=True):
            sums[place] += x_hat
            count[place] += 1
        return sums / count


def error(spans: TimeWindows, sigma: float) -> float:
    """Return the error of the composed score, relative to the exact score of all states."""
    x_t, s = torch.randn(50, spans.count, 2).cumsum(1), torch.full((50,), sigma)
    exact = (chain(spans.count)(x_t, s) - x_t) / sigma**2
    found = (tile_denoiser(chain(spans.width), spans)(x_t, s) - x_t) / sigma**2
    return float((found - exact).norm() / exact.norm())


@pytest.mark.parametrize("width", [3, 5, 7])
def test_a_markov_chain_s_score_is_that_of_its_windows_as_noise_vanishes(width: int) -> None:
    """The k neighbours on either side hide the rest of the chain to order sigma^(2 k)."""
    coarse, fine = (error(TimeWindows(COUNT, width), sigma) for sigma in (0.04, 0.02))
    assert coarse / fine == pytest.approx(2 ** (width - 1), rel=0.1)


def test_averages_of_windows_are_not_the_score() -> None:
    assert error(Averaged(COUNT, WIDTH), 0.05) > 0.1


@pytest.mark.parametrize("width", [1, 3, 5, 9])
def test_each_state_is_taken_once_from_the_window_it_is_the_centre_of(width: int) -> None:
    def where(x_t: Fields, sigma: Sigma) -> Fields:
        """Return the place within the window."""
        return torch.arange(width)[None, :, None].expand_as(x_t) + 0 * x_t

    found = tile_denoiser(where, TimeWindows(9, width))(torch.randn(2, 9, 3), torch.ones(2))
    k = width // 2
    expected = [*range(k), *[k] * (9 - 2 * k), *range(k + 1, width)]
    assert found[1, :, 2].tolist() == expected


def curved(x_t: Fields, sigma: Sigma) -> Fields:
    """Mix neighbours in time and space, and not linearly."""
    near = x_t + x_t.roll(1, 1) * x_t.roll(1, -1)
    return near.tanh() / (1 + sigma.reshape(-1, *(1,) * (x_t.ndim - 1)))


@pytest.mark.parametrize("shape", [(3,), (2, 4, 6)], ids=["components", "fields"])
@pytest.mark.parametrize("windows", [1, 2, 3, 7])
def test_blocks_change_neither_values_nor_gradients(shape: tuple[int, ...], windows: int) -> None:
    spans = TimeWindows(COUNT, WIDTH)
    x, sigma = torch.randn(3, COUNT, *shape), torch.tensor([0.1, 1.0, 5.0])

    def both(most: int) -> tuple[Tensor, Tensor, Tensor]:
        x_t = x.clone().requires_grad_()
        x_hat = tile_denoiser(curved, spans, most)(x_t, sigma)
        first, again = (  # twice, as conjugate gradients do
            torch.autograd.grad(x_hat, x_t, v, retain_graph=True)[0] for v in (x.cos(), x.sin())
        )
        return x_hat, first, again

    for found, expected in zip(both(windows * x[:, :WIDTH].numel()), both(10**6), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_the_jacobian_is_that_of_the_whole() -> None:
    spans = TimeWindows(6, 3)
    composed: Denoise = tile_denoiser(flatten_states_denoiser(chain(3)), spans, most=12)

    def rows(x_t: Tensor) -> Tensor:
        return composed(x_t, torch.tensor([0.5]))

    assert torch.autograd.gradcheck(rows, torch.randn(1, 6, 2, requires_grad=True))


def test_a_trajectory_as_long_as_a_window_is_the_window() -> None:
    x = torch.randn(2, WIDTH, 2)
    assert torch.equal(
        tile_denoiser(chain(WIDTH), TimeWindows(WIDTH, WIDTH))(x, torch.ones(2)),
        chain(WIDTH)(x, torch.ones(2)),
    )


def test_gradients_of_many_windows_keep_no_more_than_a_block() -> None:
    """What autograd saves for a long trajectory is little more than the windows themselves."""
    saved = 0

    def pack(kept: Tensor) -> Tensor:
        nonlocal saved
        saved += kept.numel()
        return kept

    def deep(x_t: Fields, sigma: Sigma) -> Fields:
        for _ in range(50):
            x_t = x_t.sin()
        return x_t

    x = torch.randn(1, 60, 4, requires_grad=True)
    window = 5 * 4
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept):
        tile_denoiser(deep, TimeWindows(60, 5), most=8 * window)(x, torch.ones(1))
    assert saved < 3 * 56 * window
