"""Distances of distributions and spectra against scipy, numpy and closed forms."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import wasserstein_distance

from dpdm.evaluate import evaluate
from dpdm.evaluate.distributions import log_spectral_distance, wasserstein
from dpdm.evaluate.scores import area_weights, spectrum
from tests.helpers.evaluation import rows, world

CELLS = {"lat": slice(20), "lon": slice(24)}


@pytest.fixture
def truth() -> xr.DataArray:
    return world(0)["tp"].isel(CELLS)


@pytest.mark.parametrize("missing", [False, True])
def test_wasserstein_is_that_of_scipy(truth: xr.DataArray, missing: bool) -> None:
    forecast, weights = world(1)["tp"].isel(CELLS).round(1), area_weights(truth)
    truth = truth.round(1)  # with ties
    if missing:
        truth[1, 3], forecast[1, :, 5], truth[2] = np.nan, np.nan, np.nan
    found = wasserstein(forecast, truth, weights)
    for step, value in enumerate(found.values):
        x, y, w = (f.values.ravel() for f in (forecast[step], truth[step], weights))
        seen = np.isfinite(x) & np.isfinite(y)
        if not seen.any():
            assert np.isnan(value)
            continue
        expected = wasserstein_distance(x[seen], y[seen], w[seen], w[seen])
        assert value == pytest.approx(expected, rel=1e-10)


def test_a_shift_moves_every_value_by_as_much(truth: xr.DataArray) -> None:
    weights = area_weights(truth)
    np.testing.assert_allclose(wasserstein(truth + 2.5, truth, weights), 2.5, rtol=1e-10)
    assert (wasserstein(truth, truth, weights) == 0).all()


def test_log_spectral_distance_is_the_rms_of_decibels(truth: xr.DataArray) -> None:
    power = spectrum(truth).mean("time")
    assert log_spectral_distance(power, power) == 0
    assert log_spectral_distance(100 * power, power) == pytest.approx(20, rel=1e-12)
    other = spectrum(world(1)["tp"].isel(CELLS)).mean("time")
    ratio = 10 * np.log10(other.values / power.values)
    assert log_spectral_distance(other, power) == pytest.approx((ratio**2).mean() ** 0.5)
    holes = power.where(power["wavenumber"] < 0.5, 0.0)
    assert log_spectral_distance(100 * power, holes) == pytest.approx(20, rel=1e-12)
    assert log_spectral_distance(holes, power) is None
    assert log_spectral_distance(power, 0 * power) is None


def test_rows_have_the_distances_and_the_text_only_with_indices(truth: xr.DataArray) -> None:
    fields = world(0).isel(CELLS)
    forecast = fields + 0.2 * (world(1, members=3).isel(CELLS) - 280)
    table = evaluate(forecast, fields)
    found = rows(table, "tp")["mean of 3"]
    mean = forecast["tp"].mean("realization")
    steps = wasserstein(mean, fields["tp"], area_weights(fields))
    assert found["wasserstein"] == pytest.approx(float(steps.mean()), rel=1e-10)
    ours, true = (spectrum(f).mean("time") for f in (mean, fields["tp"]))
    assert found["log_spectral_distance"] == pytest.approx(log_spectral_distance(ours, true))
    assert "W1" not in table.text()


def test_a_constant_forecast_has_no_log_spectral_distance(truth: xr.DataArray) -> None:
    fields = truth.to_dataset(name="tp")
    still = (0.0 * fields).assign(tp=(0.0 * fields["tp"]).assign_attrs(fields["tp"].attrs))
    assert "log_spectral_distance" not in rows(evaluate(still, fields), "tp")["forecast"]
