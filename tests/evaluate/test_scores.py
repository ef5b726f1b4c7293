"""Each score against a peer library, a hand-worked table or a law."""

from collections.abc import Callable

import numpy as np
import pytest
import scores.continuous
import scores.probability
import scoringrules
import xarray as xr
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dpdm.errors import DpdmError
from dpdm.evaluate.bootstrap import ratio_interval, tile_sums
from dpdm.evaluate.scores import (
    acc,
    area_weights,
    bias,
    consistency,
    crps,
    psnr,
    rank_histogram,
    rmse,
    spectrum,
    spectrum_ratio,
    ssim,
    ssr,
)
from dpdm.fields.regrid import coarsen_fields

SPACE = ["lat", "lon"]
EXACT = 1e-10  # float64 sums of at most 1e5 terms in another order
Score = Callable[[xr.DataArray, xr.DataArray, xr.DataArray], xr.DataArray]


def field(values: NDArray[np.floating], dims: str = "time lat lon") -> xr.DataArray:
    """Label an array; cells of half a degree from 20N 100E."""
    names = dims.split()
    coords = {"lat": 20 + 0.5 * np.arange(values.shape[-2])}
    coords["lon"] = 100 + 0.5 * np.arange(values.shape[-1])
    return xr.DataArray(values, coords, names)


@pytest.fixture
def truth() -> xr.DataArray:
    return field(np.random.default_rng(0).gamma(2.0, 3.0, (3, 24, 30)))


@pytest.fixture
def members(truth: xr.DataArray) -> xr.DataArray:
    noise = np.random.default_rng(1).standard_normal((8, *truth.shape))
    return field(truth.values + noise, "realization time lat lon")


@pytest.fixture
def weights(truth: xr.DataArray) -> xr.DataArray:
    return area_weights(truth)


def each_single(weights: xr.DataArray) -> list[Score]:
    """List every score of a single field."""
    return [
        rmse,
        bias,
        crps,
        lambda f, t, w: acc(f, t, 0.1 * t.mean("time") ** 2, w),
        lambda f, t, w: ssim(f, t, w, data_range=20.0),
        lambda f, t, w: psnr(f, t, w, data_range=20.0),
    ]


SINGLE = each_single(xr.DataArray(0.0))
ENSEMBLE: list[Score] = [crps, ssr, rank_histogram]


def test_hand_worked() -> None:
    forecast, given = (
        field(np.array([[1.0, 2], [3, 6]]), "lat lon"),
        field(np.array([[1.0, 4], [0, 5]]), "lat lon"),
    )
    weights = xr.ones_like(given) * xr.DataArray([1.0, 3.0], dims="lat")
    assert float(rmse(forecast, given, weights)) == pytest.approx((34 / 8) ** 0.5)
    assert float(bias(forecast, given, weights)) == pytest.approx((-2 + 12) / 8)
    assert float(crps(forecast, given, weights)) == pytest.approx((2 + 12) / 8)
    assert float(psnr(forecast, given, weights, data_range=10)) == pytest.approx(
        10 * np.log10(100 / 4.25)
    )
    members = xr.concat([forecast, forecast + 2], "realization")
    assert float(ssr(members, given, weights)) == pytest.approx(
        (2 * 1.5 / ((1 + 1 + 3 * 16 + 3 * 4) / 8)) ** 0.5
    )


def test_continuous_scores_equal_those_of_scores(
    members: xr.DataArray, truth: xr.DataArray, weights: xr.DataArray
) -> None:
    one = members.isel(realization=0)
    theirs = scores.continuous
    for ours, peer in ((rmse, theirs.rmse), (bias, theirs.additive_bias), (crps, theirs.mae)):
        expected = peer(one, truth, reduce_dims=SPACE, weights=weights)
        xr.testing.assert_allclose(ours(one, truth, weights), expected, rtol=EXACT)


def test_acc_is_a_weighted_correlation_of_anomalies(
    members: xr.DataArray, truth: xr.DataArray, weights: xr.DataArray
) -> None:
    normal, one = truth.mean("time") / 2, members[0]
    pairs = zip((one - normal).values, (truth - normal).values, strict=True)
    covs = [np.cov(a.ravel(), b.ravel(), aweights=weights.values.ravel()) for a, b in pairs]
    expected = [c[0, 1] / np.sqrt(c[0, 0] * c[1, 1]) for c in covs]
    np.testing.assert_allclose(acc(one, truth, normal, weights), expected, rtol=EXACT)


def test_image_scores_equal_those_of_scikit_image(
    members: xr.DataArray, truth: xr.DataArray
) -> None:
    x, y, flat = members[0, 0], truth[0], xr.ones_like(truth[0])
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = structural_similarity(x.values, y.values, data_range=20.0, **options)
    assert float(ssim(x, y, flat, data_range=20.0)) == pytest.approx(expected, rel=EXACT)
    expected = peak_signal_noise_ratio(y.values, x.values, data_range=20.0)
    assert float(psnr(x, y, flat, data_range=20.0)) == pytest.approx(expected, rel=EXACT)


def test_ssim_of_a_field_smaller_than_its_window(truth: xr.DataArray) -> None:
    small = truth.isel(lat=slice(4), lon=slice(5))
    weights = area_weights(small)
    np.testing.assert_allclose(ssim(small, small, weights, data_range=9.0), 1.0, rtol=EXACT)
    assert (ssim(small[::-1] * 2, small, weights, data_range=9.0) < 0.99).all()


def test_crps_equals_that_of_scores_and_scoringrules(
    members: xr.DataArray, truth: xr.DataArray, weights: xr.DataArray
) -> None:
    ours = crps(members, truth, weights)
    theirs = scores.probability.crps_for_ensemble(
        members, truth, "realization", method="fair", reduce_dims=SPACE, weights=weights
    )
    xr.testing.assert_allclose(ours, theirs, rtol=EXACT)
    cells = scoringrules.crps_ensemble(truth.values, members.values, m_axis=0, estimator="fair")
    expected = (cells * weights.values).sum((1, 2)) / weights.values.sum()
    np.testing.assert_allclose(ours, expected, rtol=EXACT)


def test_rank_histogram_equals_that_of_scores(
    members: xr.DataArray, truth: xr.DataArray, weights: xr.DataArray
) -> None:
    theirs = scores.probability.rank_histogram(
        members, truth, "realization", preserve_dims="time", weights=weights
    )
    ours = rank_histogram(members, truth, weights)
    np.testing.assert_allclose(ours.values, theirs.values, rtol=EXACT)


def test_ties_share_their_ranks() -> None:
    truth = field(np.array([[0.0, 0], [2, 9]]), "lat lon")
    members = xr.concat([truth * 0, truth * 0, truth * 0 + 2], "realization")
    ranks = rank_histogram(members, truth, xr.ones_like(truth))
    both_dry, two, nine = np.array([1, 1, 1, 0]) / 3, np.array([0, 0, 1, 1]) / 2, np.eye(4)[3]
    np.testing.assert_allclose(ranks, (2 * both_dry + two + nine) / 4, rtol=EXACT)


def test_crps_of_one_member_is_its_absolute_error(
    members: xr.DataArray, truth: xr.DataArray, weights: xr.DataArray
) -> None:
    one = members.isel(realization=[0])
    expected = crps(one.squeeze("realization"), truth, weights)
    xr.testing.assert_allclose(crps(one, truth, weights), expected, rtol=EXACT)


def test_a_calibrated_ensemble_looks_calibrated() -> None:
    draws = np.random.default_rng(2).standard_normal((11, 20, 50, 60))
    shared = np.random.default_rng(3).standard_normal((20, 50, 60)) * 5
    truth, members = (
        field(shared + draws[0]),
        field(shared + draws[1:], "realization time lat lon"),
    )
    flat = xr.ones_like(truth[0])
    # 60 000 independent cells: relative standard error 0.4% of SSR, 1.3% of a rank's share
    assert float(ssr(members, truth, flat)) == pytest.approx(1.0, abs=0.015)
    ranks = rank_histogram(members, truth, flat).mean("time") * 11
    np.testing.assert_allclose(ranks, 1.0, atol=0.06)
    # the fair CRPS does not depend on the size of an exchangeable ensemble: E = 1 / sqrt(pi)
    for size in (2, 10):
        value = crps(members[:size], truth, flat).mean()
        assert float(value) == pytest.approx(np.pi**-0.5, rel=0.015)


@pytest.mark.parametrize("score", ENSEMBLE)
def test_the_order_of_members_does_not_matter(
    score: Score, members: xr.DataArray, truth: xr.DataArray, weights: xr.DataArray
) -> None:
    xr.testing.assert_allclose(
        score(members[::-1], truth, weights), score(members, truth, weights), rtol=EXACT
    )


@pytest.mark.parametrize("score", [*SINGLE, *ENSEMBLE])
def test_the_scale_of_weights_and_the_direction_of_latitude_do_not_matter(
    score: Score, members: xr.DataArray, truth: xr.DataArray, weights: xr.DataArray
) -> None:
    forecast = members if score in (crps, ssr, rank_histogram) else members[0]
    expected = score(forecast, truth, weights)
    xr.testing.assert_allclose(score(forecast, truth, 7 * weights), expected, rtol=EXACT)
    turned = forecast[..., ::-1, :], truth[:, ::-1]
    xr.testing.assert_allclose(score(*turned, area_weights(turned[1])), expected, rtol=EXACT)


@pytest.mark.parametrize("score", [*SINGLE, *ENSEMBLE])
def test_what_lies_in_a_missing_cell_does_not_matter(
    score: Score, members: xr.DataArray, truth: xr.DataArray, weights: xr.DataArray
) -> None:
    forecast = members if score in (crps, ssr, rank_histogram) else members[0]
    hole = (truth["lat"] < 24) & (truth["lon"] < 105)
    gone = truth.where(~hole), forecast.where(~hole)
    expected = score(gone[1], gone[0], weights)
    assert np.isfinite(expected).all()
    wild = forecast.where(~hole, 1e6)
    xr.testing.assert_allclose(score(wild, gone[0], weights), expected, rtol=EXACT)
    wild = truth.where(~hole, 1e6)
    if score is not SINGLE[3]:  # whose climatology here comes from the truth itself
        xr.testing.assert_allclose(score(gone[1], wild, weights), expected, rtol=EXACT)


def test_a_mean_over_half_the_domain_is_the_score_of_that_half(
    members: xr.DataArray, truth: xr.DataArray, weights: xr.DataArray
) -> None:
    half = {"lat": slice(0, 12)}
    gone = truth.where(truth["lat"] < 26)
    expected = rmse(members[half], truth[half], weights[half])
    xr.testing.assert_allclose(rmse(members, gone, weights), expected, rtol=EXACT)


@pytest.mark.parametrize(("i", "j"), [(3, 0), (0, 5), (4, 4), (12, 9)])
def test_a_cosine_has_half_its_squared_amplitude_in_its_ring(i: int, j: int) -> None:
    y, x = (np.arange(32) + 0.5)[:, None], (np.arange(32) + 0.5)[None]
    wave = 3 * np.cos(np.pi * i * y / 32) * np.cos(np.pi * j * x / 32) + 50
    power = spectrum(field(wave, "lat lon"))
    expected = 9 / (2 if i * j == 0 else 4)
    ring = int(np.hypot(i, j))
    assert float(power[ring]) == pytest.approx(expected, rel=EXACT)
    assert float(power.sum()) == pytest.approx(expected, rel=EXACT)


def test_spectrum_ratio_knows_the_scale() -> None:
    phase = np.pi * (np.arange(48) + 0.5) / 48 + np.zeros((5, 32, 1))
    long, short = np.cos(4 * phase), np.cos(40 * phase)
    ratio = spectrum_ratio(field(long + short / 2), field(long + short))
    np.testing.assert_allclose(ratio.sel(band=["large", "small"]), [1.0, 0.25], rtol=EXACT)


def test_powers_are_averaged_over_members_before_the_division() -> None:
    noise = field(np.random.default_rng(4).standard_normal((5, 32, 48)))
    members = xr.concat([noise, 3 * noise], "realization")
    np.testing.assert_allclose(spectrum_ratio(members, noise), 5.0, rtol=EXACT)


def test_consistency_is_zero_for_its_own_block_means_and_sees_a_shift(
    truth: xr.DataArray,
) -> None:
    coarse = coarsen_fields(truth.to_dataset(name="t2m"), 6)["t2m"]
    np.testing.assert_allclose(consistency(truth, coarse), 0.0, atol=1e-12)
    np.testing.assert_allclose(consistency(truth + 2, coarse), 2.0, rtol=EXACT)


def test_fields_on_other_cells_are_refused(truth: xr.DataArray, weights: xr.DataArray) -> None:
    moved = truth.assign_coords(lat=truth["lat"] + 0.25)
    with pytest.raises(DpdmError, match="have different cells"):
        rmse(moved, truth, weights)


def test_tiles_hold_everything_once() -> None:
    wide = field(np.random.default_rng(5).random((2, 70, 50)))
    sums = tile_sums(wide)
    assert sums.shape == (2, 4 * 2)
    np.testing.assert_allclose(sums.sum("tile"), wide.sum(SPACE), rtol=EXACT)
    assert float(sums[0, 0]) == pytest.approx(float(wide[0, :17, :25].sum()), rel=EXACT)


def test_interval_of_a_constant_ratio_is_that_ratio() -> None:
    reference = np.random.default_rng(6).random((4, 5))
    np.testing.assert_allclose(ratio_interval(0.25 * reference, reference), 0.5, rtol=EXACT)
    assert np.isnan(ratio_interval(reference[:1, :1], reference[:1, :1])).all()


def test_interval_covers_the_true_ratio_though_tiles_err_alike_in_every_month() -> None:
    random = np.random.default_rng(7)
    hits = 0
    for _ in range(100):
        reference = np.exp(random.standard_normal(24)) * random.uniform(0.5, 1.5, (12, 24))
        errors = reference * np.exp(0.5 * random.standard_normal(24) - 0.125)
        low, high = ratio_interval(errors, reference)
        hits += low < 1 < high
    assert hits >= 83  # 95 nominal; drawing the blocks one by one would give about 45
