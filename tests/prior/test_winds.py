import numpy as np
import pytest
import torch

from dpdm.diffusion.block_means import BlockMeans
from dpdm.fields.grid import Grid
from dpdm.fields.regrid import bilinear_matrices, coarsen_grid, mean_matrices
from dpdm.prior import find_prior, load_prior
from dpdm.prior.physics import add_physical_variables
from dpdm.prior.winds import (
    LEAST_SPREAD,
    coarse_variance,
    correlation_length,
    solve_coarse_winds,
    speed_ratio,
    wind_spread,
)

FINE = Grid(10 + 0.25 * np.arange(32), 100 + 0.25 * np.arange(40))
COARSE = coarsen_grid(FINE, 4)
MEANS, LERPS = mean_matrices(FINE, COARSE), bilinear_matrices(COARSE, FINE)


def mean(values):
    """Return block means of fields (..., H, W)."""
    return MEANS[0].toarray() @ values @ MEANS[1].toarray().T


def lerp(values):
    """Return bilinear interpolation of fields (..., h, w)."""
    return LERPS[0].toarray() @ values @ LERPS[1].toarray().T


def coast(seed=0):
    """Return land fractions (H, W), with capes and bays."""
    rng = np.random.default_rng(seed)
    return np.clip(0.5 + lerp(rng.standard_normal(COARSE.shape)), 0, 1)


def test_the_speed_over_land_is_half_of_that_over_water():
    assert speed_ratio(np.array([0.0, 0.5, 1.0])) == pytest.approx([1, 0.5**0.5, 0.5])


def test_a_wind_that_is_even_above_water_is_found_exactly():
    ratio = speed_ratio(coast())
    found = solve_coarse_winds(mean(7 * ratio), ratio, mean, lerp)
    np.testing.assert_allclose(found, 7, rtol=1e-12)


def test_block_means_of_the_roughest_winds_are_nearly_conserved():
    rng = np.random.default_rng(1)
    ratio, known = speed_ratio(coast()), rng.standard_normal((2, *COARSE.shape))
    fine = ratio * lerp(solve_coarse_winds(known, ratio, mean, lerp))
    plain = lerp(known)
    misses = [float(abs(mean(field) - known).max()) for field in (fine, plain)]
    assert misses[0] < 0.2 * misses[1]


def test_winds_are_linear_in_the_coarse_winds():
    rng = np.random.default_rng(2)
    ratio, (a, b) = speed_ratio(coast()), rng.standard_normal((2, 1, *COARSE.shape))
    parts = [solve_coarse_winds(x, ratio, mean, lerp) for x in (a, b, 2 * a - 3 * b)]
    np.testing.assert_allclose(parts[2], 2 * parts[0] - 3 * parts[1], atol=1e-12)


def test_the_spread_is_least_where_the_wind_is_even_over_one_surface():
    even = np.full((2, *COARSE.shape), 5.0)
    water = np.ones(FINE.shape)
    variance = coarse_variance(even, water, mean, lerp, False)
    np.testing.assert_allclose(wind_spread(variance, 4.0), LEAST_SPREAD, rtol=1e-6)
    by_coast = coarse_variance(even, speed_ratio(coast()), mean, lerp, False)
    assert by_coast.min() >= 0
    assert by_coast.max() > 0.1


def test_the_spread_is_as_large_as_winds_and_grows_with_the_factor():
    rng = np.random.default_rng(3)
    winds, ratio = rng.standard_normal((2, *COARSE.shape)), speed_ratio(coast())
    once, twice = (coarse_variance(k * winds, ratio, mean, lerp, False) for k in (1, 2))
    np.testing.assert_allclose(twice, 4 * once, rtol=1e-12)
    assert wind_spread(np.ones(1), 8.0) == pytest.approx(np.sqrt(2 + LEAST_SPREAD**2))
    assert correlation_length(16.0) == pytest.approx(2 * correlation_length(4.0))


def test_one_prior_has_five_variables_with_pressure_last():
    prior = add_physical_variables(
        load_prior(find_prior("default")), ["sp", "v10", "u10"], drawn=True
    )
    assert prior.normaliser.names == ["t2m", "tp", "u10", "v10", "sp"]
    assert prior.normaliser.network.names == ["t2m", "tp"]
    alone = add_physical_variables(prior, ["u10"], drawn=False)
    assert alone.normaliser.names == ["u10"]  # no temperature without pressure


def test_block_means_of_winds_are_met_exactly():
    prior = add_physical_variables(load_prior(find_prior("default")), ["u10", "v10"], drawn=False)
    rows, columns = (torch.eye(n // 2).double().repeat_interleave(2, 1) / 2 for n in (4, 6))
    known = torch.randn(2, 2, 3, dtype=torch.float64)
    blocks = BlockMeans(rows, columns, known)
    u = torch.randn(3, 2, 4, 6, dtype=torch.float64)
    out = prior.normaliser.solve_block_means(u, 0.1 + torch.rand(2, 4, 6).double(), blocks)
    torch.testing.assert_close(blocks.mean(out), known.expand(3, 2, 2, 3), rtol=0, atol=1e-12)
