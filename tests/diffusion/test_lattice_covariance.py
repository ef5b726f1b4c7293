"""The covariance of the lattice, against its matrix."""

import pytest
import torch
from torch import Tensor

from dpdm.diffusion.lattice_covariance import (
    FieldCovariance,
    LatticeCorrelation,
    LevelCovariance,
)

SHAPE = (6, 8)
each_length = pytest.mark.parametrize("length", [0.2, 1.5, 60.0])
each_side = pytest.mark.parametrize("cyclic", [False, True])


def matrix(correlation: LatticeCorrelation) -> Tensor:
    """Return K, column by column."""
    unit = torch.eye(SHAPE[0] * SHAPE[1]).reshape(-1, *SHAPE)
    return correlation.filter(unit).flatten(1)


def variance() -> Tensor:
    return 0.1 + torch.rand(2, *SHAPE)


@each_length
@each_side
def test_a_correlation_is_symmetric_positive_with_a_diagonal_of_one(
    length: float, cyclic: bool
) -> None:
    k = matrix(LatticeCorrelation(SHAPE, length, cyclic))
    torch.testing.assert_close(k, k.T, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(k.diagonal(), torch.ones(len(k)), rtol=1e-12, atol=1e-12)
    assert float(torch.linalg.eigvalsh(k).min()) > -1e-12


@each_length
@each_side
def test_entries_are_those_of_the_convolution(length: float, cyclic: bool) -> None:
    correlation, cells = LatticeCorrelation(SHAPE, length, cyclic), torch.tensor([3, 0, 47, 12])
    torch.testing.assert_close(
        correlation.between(cells), matrix(correlation)[cells][:, cells], rtol=1e-10, atol=1e-12
    )


def test_a_correlation_is_exponential_in_the_distance() -> None:
    k = LatticeCorrelation(SHAPE, 1.5).between(torch.arange(48))
    cells = torch.cartesian_prod(torch.arange(6.0), torch.arange(8.0))
    exact = (-torch.cdist(cells, cells) / 1.5).exp()
    torch.testing.assert_close(k, exact, rtol=0, atol=0.01)


def test_cyclic_columns_are_neighbours_across_the_edge() -> None:
    ends = torch.tensor([0, 7])
    around, apart = (LatticeCorrelation(SHAPE, 1.0, c).between(ends)[0, 1] for c in (True, False))
    assert float(around) == pytest.approx(float(torch.tensor(-1.0).exp()), abs=0.01)
    assert float(apart) < 0.01


def test_a_covariance_of_values_is_that_of_its_matrix() -> None:
    """A V A^T, in which variables are independent."""
    cover = LevelCovariance(variance(), LatticeCorrelation(SHAPE, 2.0))
    a = torch.randn(7, 96) * (torch.rand(7, 96) < 0.1)
    v = cover(torch.eye(96).reshape(-1, 2, *SHAPE)).flatten(1)
    assert not v[:48, 48:].any()
    torch.testing.assert_close(v.diagonal(), cover.variance.flatten(), rtol=1e-12, atol=0)
    torch.testing.assert_close(cover.observed(a.to_sparse()), a @ v @ a.T, rtol=1e-10, atol=1e-12)


def test_draws_have_the_covariance() -> None:
    """Away from the edges, within five sampling errors."""
    cover = LevelCovariance(torch.ones(1, 16, 16), LatticeCorrelation((16, 16), 1.0))
    drawn = cover.draw(torch.randn(20000, 1, 16, 16))[:, 0, 8]
    expected = [float(cover.correlation.table[0, lag]) for lag in (0, 1, 2)]
    found = [float((drawn[:, 8] * drawn[:, 8 - lag]).mean()) for lag in (0, 1, 2)]
    assert found == pytest.approx(expected, abs=5 * 2**0.5 / 20000**0.5)


def test_lengths_grow_with_the_noise_and_levels_are_computed_once() -> None:
    calls = list[float]()

    def of(sigma: float) -> Tensor:
        calls.append(sigma)
        return torch.ones(1, *SHAPE)

    cover = FieldCovariance(of, 4.0)
    lengths = [cover.at(s).correlation.length for s in (0.1, 1.0, 20.0, 1.0)]
    assert lengths[0] < lengths[1] < lengths[2] < 4.0
    assert len(calls) == 1 + 3  # the deviation of x, and each level


def test_an_inflated_covariance_is_that_of_a_lower_level() -> None:
    """V'(sigma) = k^2 V(sigma / k)."""

    def of(sigma: float) -> Tensor:
        return torch.full((1, *SHAPE), 1 / (1 + 1 / sigma**2))

    plain, wide = FieldCovariance(of, 4.0), FieldCovariance(of, 4.0, inflation=2.0)
    x = torch.randn(3, 1, *SHAPE)
    torch.testing.assert_close(wide(x, torch.full((3,), 1.0)), 4 * plain(x, torch.full((3,), 0.5)))
