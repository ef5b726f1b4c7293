"""What is seen of a column: levels, channels, radiation, and errors that go together."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from dpdm.errors import DpdmError, DpdmWarning
from dpdm.observations.sounder import read_channels
from dpdm.operators.geometry import globe_layout
from dpdm.operators.interpolation import disc_mean_operator, point_operator
from dpdm.operators.linear import apply_adjoint, as_single_row, compose_maps, whitening_matrix
from dpdm.operators.radiance import (
    brightness_operator,
    emission_shares,
    find_level_column,
    hat_weights,
    interpolate_weighting,
    level_operator,
    olr_operator,
)
from sample_data.channels import gaussian_channels

LEVELS = (3000.0, 10000.0, 20000.0, 30000.0, 50000.0, 70000.0, 85000.0, 92500.0)
NAMES = ("sp", *(f"t{p / 100:g}" for p in LEVELS[::-1]), "t2m")
COLUMN = find_level_column(NAMES, (0, *LEVELS[::-1], 0), "t")
LAYOUT = globe_layout(np.arange(-82.5, 90, 15), np.arange(0, 360, 15))
LAT, LON = np.array([41.0, -7.0, 80.0]), np.array([3.0, 359.0, 200.0])
SIGMA = 5.670374419e-8
SOUNDER = Path(__file__).parents[2] / "sample_data" / "sounder.nc"
PEAKS = (850, 600, 350, 200, 90)


def fields(seed: int = 0) -> torch.Tensor:
    """Return two states of pressure, temperature on levels and at the surface."""
    rng = np.random.default_rng(seed)
    return torch.as_tensor(250 + 20 * rng.standard_normal((2, len(NAMES), *LAYOUT.shape)))


def local(x: torch.Tensor) -> np.ndarray:
    """Return all channels at the places, by the operator that is tested elsewhere."""
    places = point_operator(LAYOUT, LAT, LON)
    return torch.stack([places.for_channel(c)(x) for c in range(len(NAMES))], 1).numpy()


def test_a_column_is_found_from_the_highest_level_down() -> None:
    assert COLUMN.level == LEVELS
    assert [NAMES[c] for c in COLUMN.channel] == [f"t{p / 100:g}" for p in LEVELS]


def test_fields_without_the_variable_are_refused() -> None:
    with pytest.raises(DpdmError, match="q is observed on levels, but the fields hold sp, t925"):
        find_level_column(NAMES, (0, *LEVELS[::-1], 0), "q")


def test_a_level_is_linear_in_the_logarithm_of_pressure() -> None:
    pressure = np.array([92500.0, 61234.0, 3100.0])
    seen = level_operator(point_operator(LAYOUT, LAT, LON), COLUMN, pressure)(fields())
    profiles = local(fields())[:, list(COLUMN.channel)]
    for place, p in enumerate(pressure):
        for member in range(2):
            known = np.interp(np.log(p), np.log(LEVELS), profiles[member, :, place])
            assert float(seen[member, place]) == pytest.approx(known, rel=1e-13)


@pytest.mark.parametrize("pressure", [100000.0, 2900.0, float("nan")])
def test_a_level_outside_is_refused(pressure: float) -> None:
    with pytest.raises(DpdmError, match=r"t is observed at .* extend from 925 to 30 hPa"):
        level_operator(point_operator(LAYOUT, LAT, LON), COLUMN, pressure)


def test_a_channel_is_the_weighted_mean_over_levels_and_footprint() -> None:
    weight = np.array([0.02, 0.08, 0.1, 0.2, 0.2, 0.2, 0.05, 0.05])
    discs = disc_mean_operator(LAYOUT, LAT, LON, 2e6)
    seen = brightness_operator(discs, COLUMN, weight, (9, 0.1))(fields())
    means = torch.stack([discs.for_channel(c)(fields()) for c in range(len(NAMES))], 1).numpy()
    known = np.einsum("k,bkn->bn", weight, means[:, list(COLUMN.channel)]) + 0.1 * means[:, 9]
    np.testing.assert_allclose(seen, known, rtol=1e-13)


def test_a_channel_is_linear_and_sees_one_temperature_as_that() -> None:
    weight = emission_shares(LEVELS, [30.0])[0]
    seen = brightness_operator(
        disc_mean_operator(LAYOUT, LAT, LON, 1e6), COLUMN, weight[:-1], (9, weight[-1])
    )
    x, y = fields(1), fields(2)
    np.testing.assert_allclose(seen(2 * x - 3 * y), 2 * seen(x) - 3 * seen(y), rtol=1e-12)
    np.testing.assert_allclose(seen(torch.full_like(x, 251.5)), 251.5, rtol=1e-12)


def test_the_order_of_channels_does_not_matter() -> None:
    order = np.random.default_rng(3).permutation(len(NAMES))
    levels = np.array((0, *LEVELS[::-1], 0))
    other = find_level_column([NAMES[i] for i in order], levels[order].tolist(), "t")
    places = point_operator(LAYOUT, LAT, LON)
    weight = np.full(8, 1 / 8)
    straight = brightness_operator(places, COLUMN, weight)(fields())
    np.testing.assert_allclose(
        brightness_operator(places, other, weight)(fields()[:, order]), straight
    )
    seen = level_operator(places, other, 40000.0)(fields()[:, order])
    np.testing.assert_allclose(seen, level_operator(places, COLUMN, 40000.0)(fields()))


def test_weights_that_are_no_shares_are_refused() -> None:
    with pytest.raises(DpdmError, match=r"add up to 1\.6"):
        brightness_operator(point_operator(LAYOUT, LAT, LON), COLUMN, np.full(8, 0.2))
    with pytest.raises(DpdmError, match="8 levels"):
        brightness_operator(point_operator(LAYOUT, LAT, LON), COLUMN, np.full(7, 1 / 7))


def test_weights_on_other_levels_see_profiles_that_are_linear_in_log_p_alike() -> None:
    sounder = gaussian_channels(PEAKS, levels=np.linspace(910, 31, 60))
    with pytest.warns(DpdmWarning, match="have 60 levels, the fields 8"):
        weight = interpolate_weighting(sounder.weight, sounder.level, LEVELS)
    np.testing.assert_allclose(weight.sum(1), sounder.weight.sum(1), rtol=1e-12)
    nodes = np.random.default_rng(0).normal(250, 20, 8)
    fine = np.interp(np.log(sounder.level), np.log(LEVELS), nodes)
    np.testing.assert_allclose(weight @ nodes, sounder.weight @ fine, rtol=1e-12)


def test_weights_on_the_same_levels_are_carried_silently_as_they_are() -> None:
    weight = np.random.default_rng(0).random((2, 8))
    np.testing.assert_allclose(interpolate_weighting(weight, LEVELS, LEVELS), weight, rtol=1e-12)
    np.testing.assert_array_equal(hat_weights(LEVELS, LEVELS), np.eye(8))


def test_what_lies_beyond_the_levels_is_told() -> None:
    weight = np.array([[0.25, 0.5, 0.25]])
    with pytest.warns(DpdmWarning, match="Up to 25% of the weight of a channel"):
        found = interpolate_weighting(weight, [1000.0, 50000.0, 85000.0], LEVELS)
    assert found[0, 0] == 0.25


def test_a_column_of_one_temperature_radiates_as_a_black_body() -> None:
    seen = olr_operator(point_operator(LAYOUT, LAT, LON), COLUMN, LAT, 9)(
        torch.full_like(fields(), 255.0)
    )
    np.testing.assert_allclose(seen, SIGMA * 255.0**4, rtol=1e-12)


def test_radiation_is_the_integral_over_the_column_by_hand() -> None:
    t = fields()
    seen = olr_operator(
        point_operator(LAYOUT, LAYOUT.rows.centres[[2]], [30.0]),
        COLUMN,
        LAYOUT.rows.centres[[2]],
        9,
    )
    lat = np.radians(LAYOUT.rows.centres[2])
    edges = [0.0, *np.sqrt(np.array(LEVELS[1:]) * LEVELS[:-1]), 101325.0]
    p = np.concatenate([np.linspace(a, b, 4001) for a, b in pairwise(edges)])
    x = p / 101325.0
    tau = (3.3 - 1.07 * np.sin(lat) ** 2) * (0.527 * x + 0.473 * x**4)
    air = t[0, list(COLUMN.channel), 2, 2].numpy().repeat(4001) ** 4
    steps = np.diff(tau) * (np.exp(-tau[1:]) * air[1:] + np.exp(-tau[:-1]) * air[:-1]) / 2
    known = SIGMA * (steps.sum() + np.exp(-tau[-1]) * float(t[0, 9, 2, 2]) ** 4)
    assert float(seen(t)[0, 0]) == pytest.approx(known, rel=1e-6)  # the trapezoids' own error


def test_the_gradient_of_radiation_is_that_of_finite_differences() -> None:
    operator = olr_operator(disc_mean_operator(LAYOUT, LAT, LON, 1.5e6), COLUMN, LAT, 9)
    x, v = fields()[:1], torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    along = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    h = 1e-3
    slope = ((operator(x + h * along) - operator(x - h * along)) / (2 * h) * v).sum()
    assert float((apply_adjoint(operator, x, v) * along).sum()) == pytest.approx(
        float(slope), rel=1e-8
    )


def standard(p: np.ndarray) -> np.ndarray:
    """Return the temperature of the US Standard Atmosphere 1976, down from 32 km, K."""
    # Troposphere, the isothermal layer from 11 km, and 1 K km-1 from 20 km.
    low = 288.15 * (p / 101325) ** (287.053 * 0.0065 / 9.80665)
    high = 216.65 * (p / 5474.89) ** (-287.053 * 0.001 / 9.80665)
    return np.where(p > 22632.1, low, np.where(p > 5474.89, 216.65, high))


def test_eight_levels_see_the_standard_atmosphere_but_for_its_kinks() -> None:
    nodes = standard(np.array(LEVELS))
    shape = (1, len(NAMES), *LAYOUT.shape)
    x = torch.full(shape, 288.15, dtype=torch.float64)
    x[:, list(COLUMN.channel)] = torch.as_tensor(nodes)[:, None, None]
    place = point_operator(LAYOUT, [0.0], [0.0])
    between = np.geomspace(3000, 92500, 50)
    seen = [float(level_operator(place, COLUMN, p)(x)) for p in between]
    off = np.abs(seen - standard(between))
    # The kinks of the profile, at 226 and 55 hPa, lie between two levels each.
    assert off.max() < 4
    assert off[(between > 10000) & (between < 20000)].max() < 1e-9
    assert off[between > 30000].max() < 0.7
    # The real one sends 240 W m-2 out, give or take what its clouds do.
    assert float(olr_operator(place, COLUMN, [45.0], 9)(x)) == pytest.approx(240, abs=28)


def test_the_bundled_sounder_sees_the_standard_atmosphere() -> None:
    sounder = read_channels(SOUNDER)
    fine = standard(sounder.level)
    whole = sounder.weight @ fine + sounder.surface * 288.15
    with pytest.warns(DpdmWarning, match="interpolated"):
        weight = interpolate_weighting(sounder.weight, sounder.level, LEVELS)
    seen = weight @ standard(np.array(LEVELS)) + sounder.surface * 288.15
    # What lies below 925 hPa counts there, which the lowest channel sees most of.
    np.testing.assert_allclose(seen, whole, atol=1.0)


def test_the_bundled_sounder_is_what_the_manual_says() -> None:
    found, known = read_channels(SOUNDER), gaussian_channels(PEAKS, near=0.3)
    for what in ("level", "weight", "surface", "error", "correlation"):
        np.testing.assert_allclose(getattr(found, what), getattr(known, what), rtol=1e-12)


def correlated(count: int) -> np.ndarray:
    return 0.6 ** np.abs(np.subtract.outer(np.arange(count), np.arange(count)))


def test_whitened_errors_are_those_of_the_covariance() -> None:
    # Two places with channels 2, 0 and 1, and channel 1 alone: chi-square is that of C^-1.
    place, channel = np.array([7, 7, 3, 7]), np.array([2, 0, 1, 1])
    error = np.array([0.5, 0.2, 0.4, 2.0])
    related = correlated(3)
    covariance = np.outer(error, error) * related[np.ix_(channel, channel)]
    covariance *= np.equal.outer(place, place)
    seen = point_operator(LAYOUT, [0, 10, 20, 30], [0, 40, 80, 120]).for_channel(3)
    value = torch.tensor([250.0, 251.0, 249.0, 252.0], dtype=torch.float64)
    factor = whitening_matrix(error, place, channel, related)
    operator, white = (
        compose_maps(seen, as_single_row, factor),
        factor(as_single_row(value[None]))[0],
    )
    x = fields()
    chi = (white - operator(x)).square().sum(1)
    away = (value - seen(x)).numpy()
    known = np.einsum("bi,ij,bj->b", away, np.linalg.inv(covariance), away)
    np.testing.assert_allclose(chi, known, rtol=1e-10)


def test_independent_errors_are_but_divided_by() -> None:
    error = np.array([0.5, 0.2])
    seen = point_operator(LAYOUT, [0, 10], [0, 40])
    value = torch.tensor([250.0, 251.0], dtype=torch.float64)
    factor = whitening_matrix(error, [0, 0], [0, 1], np.eye(2))
    operator, white = (
        compose_maps(seen, as_single_row, factor),
        factor(as_single_row(value[None]))[0],
    )
    np.testing.assert_allclose(white, value.numpy() / error)
    np.testing.assert_allclose(operator(fields()), seen(fields()).numpy() / error)


def test_a_channel_twice_at_one_place_is_refused() -> None:
    with pytest.raises(DpdmError, match="twice at one place"):
        whitening_matrix([1, 1], [0, 0], [1, 1], correlated(2))
