"""Adjustment of the input: trends pass, and the reference period meets the training data."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.climatology import TRACE_AMOUNT
from dpdm.fields.grid import Grid
from dpdm.fields.regrid import average_conservative
from dpdm.prior import Prior
from dpdm.states.bias_adjustment import (
    fit_bias_adjustment,
    make_reference_period,
    month_indices,
)
from tests.helpers.monthly_climate import GRID, NAMES, prior_of, series

REFERENCE = ("1981-01", "1990-12")
WITHIN = range(60, 180)  # steps of the series from 1976
SOME = (0, 5, 63, 100, 179, 190, 234)  # before, in and after the reference
both = pytest.mark.parametrize("method", ["mean", "quantile"])


@pytest.fixture(scope="module")
def trained() -> Prior:
    return prior_of(series("1985-01", 12, seed=1))


def adjusted(
    fields: xr.Dataset, prior: Prior, method: str, steps: Iterable[int] = SOME,
    reference: Sequence[str] = REFERENCE,
) -> xr.Dataset:  # fmt: skip
    """Some steps of the adjusted series."""
    adjust = fit_bias_adjustment(fields, prior, method, reference)
    return xr.concat([adjust.step(i) for i in steps], "time")


# What is kept


@pytest.mark.filterwarnings("ignore:.*do not overlap")
@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
def test_the_means_of_the_reference_become_those_of_the_training_data(
    calendar: str, trained: Prior
) -> None:
    fields = series("1876-01", 16, 2, calendar, warm=3, wet=1.5)
    out = adjusted(fields, trained, "mean", WITHIN, ["1881", "1890"])
    for i, name in enumerate(NAMES):
        wanted = trained.coarse["mean"][:, i].numpy()  # stored in single precision
        found = out[name].groupby("time.month").mean().values
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_a_mean_adjustment_keeps_differences_and_ratios_between_years(trained: Prior) -> None:
    fields = series(seed=3, warm=-4, wet=0.7, trend=0.03)
    julys = list(range(6, 240, 12))
    out, plain = adjusted(fields, trained, "mean", julys), fields.isel(time=julys)
    shift, ratio = out["t2m"] - plain["t2m"], out["tp"] / plain["tp"]
    assert float(np.ptp(shift.values, axis=0).max()) < 1e-10  # rounding at 285 K
    np.testing.assert_allclose(ratio.values, ratio.values[:1].repeat(20, 0), rtol=1e-12)


@both
def test_a_shift_or_a_factor_of_the_whole_series_does_not_matter(
    method: str, trained: Prior
) -> None:
    fields = series(seed=4, trend=0.02)
    other = fields.assign(t2m=fields["t2m"] + 7.5, tp=fields["tp"] * 2.5)
    one, two = (adjusted(each, trained, method) for each in (fields, other))
    np.testing.assert_allclose(one["t2m"].values, two["t2m"].values, atol=1e-9)
    np.testing.assert_allclose(one["tp"].values, two["tp"].values, rtol=1e-9)


@both
def test_training_data_are_left_as_they_are(method: str) -> None:
    fields = series("1981-01", 10, seed=5)
    some = range(0, 120, 7)
    out = adjusted(fields, prior_of(fields), method, some)
    for name in NAMES:  # but for the single precision of what is stored
        np.testing.assert_allclose(out[name].values, fields[name].values[some], rtol=3e-7)


@both
def test_a_series_that_grows_keeps_its_earlier_months(method: str, trained: Prior) -> None:
    whole = series(seed=6, trend=0.05)
    until = whole.isel(time=slice(0, 235))
    now, before = (adjusted(each, trained, method) for each in (whole, until))
    xr.testing.assert_identical(now, before)


def test_neither_order_nor_memory_matter(trained: Prior, monkeypatch: pytest.MonkeyPatch) -> None:
    fields, some = series(seed=6).chunk({"time": 1}), (234, 3, 70, 3)
    forward = adjusted(fields, trained, "quantile", some)
    monkeypatch.setattr("dpdm.states.bias_adjustment.MONTH_CACHE_BYTES", 1)  # nothing is kept
    backward = adjusted(fields, trained, "quantile", some[::-1])
    xr.testing.assert_identical(forward, backward.isel(time=slice(None, None, -1)))


def test_what_is_kept_has_room(trained: Prior, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "dpdm.states.bias_adjustment.MONTH_CACHE_BYTES",
        20 * 2 * GRID.shape[0] * GRID.shape[1] * 8,
    )
    adjust = fit_bias_adjustment(series(), trained, "quantile", REFERENCE)
    for index in SOME:
        adjust.step(index)
    assert len(adjust.cache) == 20


@both
def test_missing_stays_missing_and_counts_for_nothing(method: str, trained: Prior) -> None:
    fields = series(seed=7, warm=2)
    holed = fields.copy(deep=True)
    holed["t2m"][:, 0, 0] = np.nan  # always, as on land
    holed["t2m"][164, 1, 1] = np.nan  # once, in September 1989
    some = (*SOME, 164, 8)
    out, full = (adjusted(each, trained, method, some) for each in (holed, fields))
    lost = np.isnan(holed["t2m"].values[list(some)])
    assert np.array_equal(np.isnan(out["t2m"].values), lost)
    other = np.ones(GRID.shape, bool)
    other[0, 0] = other[1, 1] = False
    np.testing.assert_array_equal(out["t2m"].values[:, other], full["t2m"].values[:, other])
    if method == "mean":
        seen = np.delete(fields["t2m"].values[68:180:12, 1, 1], 8)
        moved = (out["t2m"].values[-1] - holed["t2m"].values[8])[1, 1]
        assert moved == pytest.approx(float(trained.coarse["mean"][8, 0, 1, 1]) - seen.mean())


@both
def test_no_rain_stays_no_rain_and_little_is_not_blown_up(method: str, trained: Prior) -> None:
    fields = series(seed=8)
    fields["tp"][:, :2] = 0.0
    fields["tp"][100, 0, 0] = TRACE_AMOUNT / 2
    out = adjusted(fields, trained, method)["tp"].values
    assert not out[fields["tp"].values[list(SOME)] == 0].any()
    # A trace becomes the training data's rain at most, and half of one half of that.
    assert 0 < out[3, 0, 0] <= float(trained.coarse["quantiles"][4, :, 1, 0, 0].max()) / 2
    assert np.isfinite(out).all()


def test_none_changes_nothing(trained: Prior) -> None:
    fields = series("1850-03", 2)
    plain = fit_bias_adjustment(fields, replace(trained, coarse={}), "none", ["never"])
    xr.testing.assert_identical(plain.step(7), fields.isel(time=7))
    assert (plain.table(), plain.describe()) == ([], "The input is not adjusted.")


def test_the_window_is_never_later_than_both_the_step_and_the_reference() -> None:
    reference = make_reference_period(series(years=40), ["1981-03", "2000-11"], 2)
    years = reference.month_indices // 12
    at = {int(y): 12 * i + 6 for i, y in enumerate(years[::12])}
    spans = {
        y: tuple(years[reference.ranking_steps(at[y])[[0, -1]]]) for y in (1976, 1980, 1990, 2015)
    }
    assert spans == {
        1976: (1976, 1995), 1980: (1980, 1999), 1990: (1981, 2000), 2015: (1996, 2015),
    }  # fmt: skip
    months = [len(reference.month_steps(m)) for m in (0, 1, 2, 10, 11)]
    assert months == [19, 19, 20, 20, 19]  # Januaries begin with 1982, Decembers end with 1999


def test_a_finer_input_keeps_its_own_relief(trained: Prior) -> None:
    fine = Grid(np.arange(6.0, 45, 2), np.arange(96.0, 145, 2))  # 5 by 5 cells in each stored one
    relief = 5 * np.random.default_rng(9).standard_normal(fine.shape)
    fields = series(years=15, seed=9, grid=fine, warm=2)
    fields = fields.assign(t2m=fields["t2m"] + relief)
    out = adjusted(fields, trained, "mean", WITHIN)
    moved = (out["t2m"] - fields["t2m"].isel(time=WITHIN)).values
    inner = moved[:, 3:8]  # between the first two stored rows: a lerp
    np.testing.assert_allclose(np.diff(inner, 2, axis=1), 0, atol=1e-9)
    left = (
        average_conservative(out, GRID)["t2m"].groupby("time.month").mean()
        - trained.coarse["mean"][:, 0].numpy()
    )
    assert abs(float(left.mean())) < 0.05  # of 2 K; a lerp is no mean over blocks


# What is said


def test_the_table_says_what_was_wrong_and_what_is_left(trained: Prior) -> None:
    fields = series(years=15, seed=12, warm=3, wet=2, spread=2)
    rows = {
        (row["variable"], row["method"]): row
        for method in ("mean", "quantile")
        for row in fit_bias_adjustment(fields, trained, method, REFERENCE).table()
    }
    before = rows["t2m", "unadjusted"]
    assert before["units"] == "K"
    assert before["bias"] == pytest.approx(3, abs=0.15)  # 2 K of noise in 2400 values: 0.04
    assert before["rmse"] == pytest.approx(3.1, abs=0.2)  # with 0.7 K of noise in each mean
    assert before["spread"] == pytest.approx(2, abs=0.1)
    assert rows["tp", "unadjusted"]["bias"] > 2
    for method, spread in (("mean", 2), ("quantile", 1)):
        after = rows["t2m", f"{method}-adjusted"]
        assert abs(after["bias"]) < (1e-5 if method == "mean" else 0.05)
        assert after["rmse"] < (1e-4 if method == "mean" else 0.2)  # 12 years seen as 10
        assert after["spread"] == pytest.approx(spread, abs=0.1)
    assert abs(rows["tp", "mean-adjusted"]["bias"]) < 1e-5


def test_the_sentence_names_method_periods_and_digest(trained: Prior) -> None:
    words = fit_bias_adjustment(series(), trained, "quantile", REFERENCE).describe()
    assert "quantile delta mapping" in words
    assert "1981-01 to 1990-12" in words
    assert "1985-01 to 1996-12" in words
    assert re.search(r"SHA-256 [0-9a-f]{12}\)", words)


# What is refused

LONG = Grid(np.arange(10.0, 81, 10), GRID.lon)
CASES = {
    "method": (GRID, "meen", REFERENCE, 'is "meen"', '"none", "mean", "quantile"'),
    "words": (GRID, "mean", ["1990-13", "2000"], r"is \['1990-13'", '["1981-01", "2010-12"]'),
    "backward": (GRID, "mean", ["2000", "1990"], r"is \['2000', '1990'", "first and its last"),
    "outside": (GRID, "mean", ["1961", "1990"], "1976-01 to 1995-12, .* 1961-01 to 1990-12", ""),
    "one": (GRID, "mean", ["1981-01", "1982-06"], "1 years of month 7 .* 2 are", "longer"),
    "nine": (GRID, "quantile", ["1981", "1989"], "9 years of month 1 .* 10 are", "mean"),
    "grid": (
        LONG,
        "mean",
        REFERENCE,
        "8 x 5 cells, .* reaches beyond .*4 x 5 cells",
        "smaller region",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_refused(case: str, trained: Prior) -> None:
    grid, method, reference, what, hint = CASES[case]
    with pytest.raises(DpdmError, match=what) as fault:
        fit_bias_adjustment(series(grid=grid), trained, method, reference)
    assert hint in fault.value.hint


def test_a_prior_that_lacks_what_is_needed_is_refused(trained: Prior) -> None:
    with pytest.raises(DpdmError, match="no climate of its training") as fault:
        fit_bias_adjustment(series(), replace(trained, coarse={}), "mean", REFERENCE)
    assert "--method anomalies" in fault.value.hint
    means = {k: v for k, v in trained.coarse.items() if k not in ("quantiles", "probabilities")}
    plain = replace(trained, coarse=means)
    with pytest.raises(
        DpdmError, match="no quantiles of its training data, which need two years"
    ) as fault:
        fit_bias_adjustment(series(), plain, "quantile", REFERENCE)
    assert "--method mean" in fault.value.hint
    table = fit_bias_adjustment(series(), plain, "mean", REFERENCE).table()
    assert {"bias", "rmse", "spread"} & table[0].keys() == {"bias", "rmse"}


def test_cells_of_which_the_training_data_tell_nothing_are_refused() -> None:
    hidden = prior_of(series("1985-01", 10, seed=1), exclude=(115, 125, 15, 25))
    with pytest.raises(DpdmError, match="t2m has values in 1 of 20 cells"):
        fit_bias_adjustment(series(), hidden, "mean", REFERENCE)


@pytest.mark.parametrize("frequency", ["YS", "D"])
def test_years_and_days_are_no_months(frequency: str, trained: Prior) -> None:
    time = xr.date_range("1976-01-01", periods=48, freq=frequency)
    with pytest.raises(DpdmError, match="input is not monthly"):
        fit_bias_adjustment(series(years=4).assign_coords(time=time), trained, "mean", REFERENCE)


@pytest.mark.parametrize("time", [None, xr.DataArray(np.arange(5), dims="time")])
def test_numbers_are_no_months(time: xr.DataArray | None) -> None:
    with pytest.raises(DpdmError, match="input is not monthly"):
        month_indices(xr.Dataset() if time is None else xr.Dataset(coords={"time": time}))
