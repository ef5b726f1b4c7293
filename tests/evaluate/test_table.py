"""The table: its baselines against closed forms, its matching of files, its text."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from dpdm.errors import DpdmError, DpdmWarning
from dpdm.evaluate import evaluate
from dpdm.evaluate.baselines import apply_lapse_rate
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.regrid import average_conservative
from tests.helpers.evaluation import COARSE, FINE, climatology_of, months, rows, world

FACTOR = 5
SPACE = ("lat", "lon")
MEANING = "centred correlation of the anomalies from it."


@pytest.fixture
def truth() -> xr.Dataset:
    return world(0)


@pytest.fixture
def coarse(truth: xr.Dataset) -> xr.Dataset:
    return average_conservative(truth, COARSE)


@pytest.fixture
def forecast(truth: xr.Dataset) -> xr.Dataset:
    """Return 35 members that err alike in nothing."""
    return truth + 0.1 * (world(1, members=35) - 280)


def test_rows_are_the_methods_that_exist(
    truth: xr.Dataset, coarse: xr.Dataset, forecast: xr.Dataset
) -> None:
    topography = xr.DataArray(np.ones(FINE.shape), FINE.coords(), SPACE)
    mine = {"one-evaluation mean": truth}
    table = evaluate(forecast, truth, coarse, climatology_of(world(2, 12)), topography, mine)
    assert list(rows(table)) == [
        "lerp",
        "lerp + lapse rate",
        "delta method",
        "one-evaluation mean",
        "one member",
        "mean of 10",
        "mean of 33",
        "mean of 35",
        "ensemble of 35",
    ]
    assert "lerp + lapse rate" not in rows(table, "tp")
    assert list(rows(evaluate(forecast.isel(realization=slice(10)), truth))) == [
        "one member",
        "mean of 10",
        "ensemble of 10",
    ]
    assert list(rows(evaluate(truth, truth))) == ["forecast"]


def test_numbers_of_the_rows(truth: xr.Dataset, coarse: xr.Dataset, forecast: xr.Dataset) -> None:
    found = rows(evaluate(forecast, truth, coarse))
    areas = grid_of(truth).weights
    errors = (forecast - truth)["t2m"].transpose("realization", "time", "lat", "lon").values
    first = (errors[:5] ** 2 * areas).mean() ** 0.5
    assert found["one member"]["rmse"] == pytest.approx(first, rel=1e-10)
    mean = errors.mean(0)
    best = found["mean of 35"]
    assert best["rmse"] == pytest.approx((mean**2 * areas).mean() ** 0.5, rel=1e-10)
    assert best["crps"] == pytest.approx((abs(mean) * areas).mean(), rel=1e-10)
    assert best["rmse_ratio"] == pytest.approx(best["rmse"] / found["lerp"]["rmse"], rel=1e-10)
    assert best["rmse_ratio_low"] < best["rmse_ratio"] < best["rmse_ratio_high"] < 1
    assert best["verdict"] == "better than bilinear at the 95% level"
    span = float(truth["t2m"].max() - truth["t2m"].min())
    assert best["psnr"] == pytest.approx(20 * np.log10(span / best["rmse"]), rel=1e-10)
    together = found["ensemble of 35"]
    assert together["crps_ratio"] == pytest.approx(together["crps"] / found["lerp"]["crps"])
    assert sum(together["rank_histogram"]) == pytest.approx(1.0)
    assert len(together["rank_histogram"]) == 36
    # the members' errors are independent of each other, so their mean is much too good for them
    assert together["ssr"] == pytest.approx(36**0.5, rel=0.02)


def test_a_perfect_forecast_is_perfect(truth: xr.Dataset, coarse: xr.Dataset) -> None:
    row = rows(evaluate(truth, truth, coarse))["forecast"]
    assert row["rmse"] == row["bias"] == row["crps"] == row["rmse_ratio"] == 0
    assert row["acc"] == pytest.approx(1)
    assert row["ssim"] == pytest.approx(1)
    assert row["spectrum_small"] == pytest.approx(1)
    assert row["consistency"] == pytest.approx(0, abs=1e-10)


def test_lapse_rate_is_exact_for_a_uniform_lapse_rate(truth: xr.Dataset) -> None:
    height = xr.DataArray(
        500 + 400 * np.random.default_rng(3).random(FINE.shape), FINE.coords(), SPACE
    )
    warm = truth[["t2m"]] * 0 + 290 - 6.5e-3 * height
    warm["t2m"].attrs["units"] = "K"
    found = rows(evaluate(warm, warm, average_conservative(warm, COARSE), topography=height))
    assert found["lerp"]["rmse"] > 0.5
    assert found["lerp + lapse rate"]["rmse"] < 1e-10


def test_lapse_rate_across_greenwich_with_a_global_coarse_file() -> None:
    fine = Grid(FINE.lat, FINE.lon - 106)
    height = xr.DataArray(np.random.default_rng(3).random(fine.shape), fine.coords(), SPACE) * 900
    warm = (290 - 6.5e-3 * height).to_dataset(name="t2m").expand_dims(time=[0])
    globe = Grid(np.arange(-89.5, 90), np.arange(0.5, 360))
    coarse = average_conservative(warm, globe).fillna(290.0)
    inner = {"lat": slice(3, -3), "lon": slice(3, -3)}  # beyond, 290 K is no mean of the truth
    found = rows(evaluate(warm.isel(inner), warm.isel(inner), coarse, topography=height))
    assert found["lerp"]["rmse"] > 0.5
    assert found["lerp + lapse rate"]["rmse"] < 1e-10


def test_pressure_follows_the_barometric_formula() -> None:
    height = xr.DataArray([-800.0, 0, 1500])
    ground = xr.Dataset({"sp": 95000.0 + 0 * height, "t2m": 280.0 + 0 * height})
    exact = 95000 * (1 - 6.5e-3 * height / 280) ** (9.80665 / (287.05 * 6.5e-3))
    # the layer's arithmetic mean temperature differs from the exact one by 1e-4 at most here
    np.testing.assert_allclose(apply_lapse_rate(ground, height)["sp"], exact, rtol=1e-4)
    standard = 101325 * (1 - 6.5e-3 * height / 288.15) ** (9.80665 / (287.05 * 6.5e-3))
    at_sea = xr.Dataset({"sp": 101325.0 + 0 * height})
    np.testing.assert_allclose(apply_lapse_rate(at_sea, height)["sp"], standard, rtol=1e-4)


def test_the_delta_method_is_exact_when_each_year_has_the_same_detail() -> None:
    years = world(4, 12)
    normal = climatology_of(xr.concat([years, years + 2.0], "time").assign_coords(time=months(24)))
    truth = (years + 5.0).assign_coords(time=months(12, start="2010-01-01"))
    for name in truth:
        truth[name].attrs = years[name].attrs
    found = rows(evaluate(truth, truth, average_conservative(truth, COARSE), normal))
    assert found["delta method"]["rmse"] < 1e-10 < found["lerp"]["rmse"]


def test_the_delta_method_adds_the_climatology_to_the_anomaly_and_stays_positive() -> None:
    truth, normal = world(4), climatology_of(world(5, 12))
    coarse, seen = average_conservative(truth, COARSE), {}
    evaluate(
        truth, truth, coarse, normal,
        watch=lambda _, now, scores: seen.update({(now.name, now.step): now.fields}),
    )  # fmt: skip
    areas = grid_of(truth).weights.reshape(10, 5, 12, 5)
    for (name, step), fields in seen.items():
        fine = normal.fields[name].values[step]
        block_means = (fine.reshape(areas.shape) * areas).sum((1, 3)) / areas.sum((1, 3))
        # in the middle of a coarse cell lerp is the coarse value
        expected = coarse[name].values[step] - block_means + fine[2::5, 2::5]
        (found,) = fields.values[fields["method"] == "delta method", 2::5, 2::5]
        if name == "tp":
            assert (expected < 0).any()
            expected = expected.clip(0)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    assert len(seen) == 6


def test_the_delta_method_holds_the_anomaly_where_the_climatology_ends() -> None:
    normal = world(4, 12)
    warm = (normal + 5.0).assign(t2m=(normal["t2m"] + 5.0).assign_attrs(units="K"))
    inner = {"lat": slice(10, 40), "lon": slice(10, 50)}
    truth, reference = warm[["t2m"]].isel(inner), climatology_of(normal[["t2m"]].isel(inner))
    found = rows(evaluate(truth, truth, average_conservative(warm[["t2m"]], COARSE), reference))
    assert found["delta method"]["rmse"] < 1e-10


def test_a_season_has_the_climatology_of_its_months_by_days() -> None:
    normal, other = world(4, 12)[["t2m"]], world(5)[["t2m"]].isel(time=0, drop=True)
    days = np.array([31.0, 31.0, 28.25]) / 90.25
    winter = sum(
        w * normal["t2m"].isel(time=i, drop=True) for w, i in zip(days, (11, 0, 1), strict=True)
    )
    time = np.array(["2002-01-15", "2003-01-15"], "M8[ns]")
    bounds = np.array([["2001-12-01", "2002-03-01"], ["2002-12-01", "2003-03-01"]], "M8[ns]")
    coords = {"time": time, "time_bnds": (("time", "bnds"), bounds)}
    truth, forecast = (
        (winter + factor * (other - 280)).expand_dims(time=2).assign_coords(coords)
        for factor in (0.1, -0.3)
    )
    found = rows(evaluate(forecast, truth, climatology=climatology_of(normal)))["forecast"]
    assert found["acc"] == pytest.approx(-1.0, rel=1e-9)


def test_a_truth_that_is_the_climatology_is_said_and_scored_without_it() -> None:
    truth, coarse = world(5, 12), average_conservative(world(5, 12), COARSE)
    packed = truth.assign(t2m=(truth["t2m"] / 0.05).round() * 0.05, tp=truth["tp"] + 1.0)
    with pytest.warns(
        DpdmWarning, match="For t2m the truth is a.nc .* climatology itself"
    ) as said:
        table = evaluate(truth, truth, coarse, climatology_of(packed))
    assert len(said) == 1
    assert str(said[0].message) in table.notes
    assert "delta method" not in rows(table)
    assert all("acc" not in row for row in rows(table).values())
    assert rows(table, "tp")["delta method"]["rmse"] > 0
    assert "acc" in rows(table, "tp")["lerp"]
    assert f"ACC of tp against a.nc 2001-2010 monthly climatology: {MEANING}" in table.notes


def test_a_variable_without_a_climatology_is_scored_as_without_any() -> None:
    truth, coarse = world(5), average_conservative(world(5), COARSE)
    normal = climatology_of(world(6, 12)[["t2m"]])
    table, plain = (evaluate(truth + 1, truth, coarse, found) for found in (normal, None))
    assert rows(table, "tp") == rows(plain, "tp")
    assert f"ACC of t2m against a.nc 2001-2010 monthly climatology: {MEANING}" in table.notes
    assert f"ACC of tp against the truth's mean over time: {MEANING}" in table.notes


def expected_acc(forecast: xr.Dataset, truth: xr.Dataset, normal: xr.Dataset) -> float:
    """Return the mean over time of the weighted correlation of anomalies of t2m, by numpy."""
    areas = grid_of(truth).weights.ravel()
    a, b = ((f - normal)["t2m"].values.reshape(truth.sizes["time"], -1) for f in (forecast, truth))
    covs = [np.cov(x, y, aweights=areas) for x, y in zip(a, b, strict=True)]
    return float(np.mean([c[0, 1] / np.sqrt(c[0, 0] * c[1, 1]) for c in covs]))


def test_acc_takes_anomalies_from_the_climatology_of_the_month() -> None:
    truth, other, normal = (
        world(5, 4, start="2001-11-01"),
        world(6, 4, start="2001-11-01"),
        world(7, 12),
    )
    table = evaluate(other + 0.5 * truth, truth, climatology=climatology_of(normal))
    at = normal.isel(time=[10, 11, 0, 1]).assign_coords(time=truth["time"])
    expected = expected_acc(other + 0.5 * truth, truth, at)
    assert rows(table)["forecast"]["acc"] == pytest.approx(expected, rel=1e-9)
    assert (
        f"- ACC against a.nc 2001-2010 monthly climatology: {MEANING}" in table.text().splitlines()
    )


@pytest.mark.parametrize(
    ("count", "words"), [(24, "calendar-month means"), (23, "mean over time")]
)
def test_without_a_climatology_acc_takes_the_truth_s_own_months_if_they_come_in_two_years(
    count: int, words: str
) -> None:
    truth, other = world(5, count)[["t2m"]], world(6, count)[["t2m"]]
    monthly = truth.groupby("time.month").mean().sel(month=truth["time.month"])
    normal = monthly if count == 24 else truth.mean("time")
    table = evaluate(other + 0.5 * truth, truth)
    expected = expected_acc(other + 0.5 * truth, truth, normal)
    assert rows(table)["forecast"]["acc"] == pytest.approx(expected, rel=1e-9)
    assert (
        f"ACC against the truth's own {words}: {MEANING}".replace("own mean", "mean")
        in table.notes
    )


def test_a_larger_forecast_is_cut_whatever_its_longitudes(
    truth: xr.Dataset, forecast: xr.Dataset
) -> None:
    part = truth.isel(lat=slice(5, 30), lon=slice(10, 40), time=slice(1, 3))
    expected = evaluate(forecast.isel(lat=slice(5, 30), lon=slice(10, 40), time=slice(1, 3)), part)
    turned = forecast.assign_coords(lon=forecast["lon"] - 360)
    assert evaluate(turned, part).to_json() == expected.to_json()


def test_a_cell_that_one_method_misses_counts_for_none(
    truth: xr.Dataset, coarse: xr.Dataset, forecast: xr.Dataset
) -> None:
    seen = truth["lat"] < 25
    wild = (forecast * 3).where(~seen, forecast)
    hole = {"half": truth.where(seen)}
    pair = [rows(evaluate(f, truth, coarse, also=hole)) for f in (forecast, wild)]
    for method in ("lerp", "mean of 10", "ensemble of 35"):
        left, right = (row[method] for row in pair)
        for key in {"rmse", "crps", "ssim", "ssr", "rmse_ratio_high"} & {*left}:
            assert left[key] == pytest.approx(right[key], rel=1e-9)


def test_a_time_without_any_value_counts_for_nothing(
    truth: xr.Dataset, coarse: xr.Dataset, forecast: xr.Dataset
) -> None:
    seen = truth["time"] != truth["time"][1]
    left = evaluate(forecast, truth.where(seen), coarse)
    right = evaluate(forecast, truth.isel(time=[0, 2]), coarse)
    for method in ("lerp", "mean of 10", "ensemble of 35"):
        for key in {"rmse", "ssim", "crps", "ssr", "spectrum_small"} & {*rows(left)[method]}:
            assert rows(left)[method][key] == pytest.approx(rows(right)[method][key], rel=1e-9)


def test_times_match_by_day_between_calendars(truth: xr.Dataset, forecast: xr.Dataset) -> None:
    noleap = forecast.assign_coords(time=months(3, calendar="noleap"))
    assert evaluate(noleap, truth).to_json() == evaluate(forecast, truth).to_json()
    turned = forecast.isel(time=[2, 0])
    expected = evaluate(forecast, truth.isel(time=[0, 2]))
    assert evaluate(turned, truth).to_json() == expected.to_json()


def test_fields_without_time(truth: xr.Dataset, coarse: xr.Dataset) -> None:
    fields = truth + 1, truth, coarse
    once = [f.isel(time=0, drop=True) for f in fields]
    series = [f.isel(time=[0]) for f in fields]
    expected = rows(evaluate(once[0], once[1], once[2]))["forecast"]
    assert expected["bias"] == pytest.approx(1)
    mixed = rows(evaluate(series[0], once[1], series[2]))["forecast"]
    assert mixed["rmse_ratio"] == expected["rmse_ratio"]
    assert "acc" in expected
    assert np.isnan(expected["acc"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.assign_coords(lat=f["lat"] + 0.05), "does not have the truth's cells"),
        (lambda f: f.isel(lon=slice(20)), "does not have the truth's cells"),
        (lambda f: f.assign_coords(time=months(3, start="1950-01-01")), "share no time"),
        (lambda f: f.rename(t2m="tas", tp="pr"), "share no variable"),
        (lambda f: f.assign(t2m=f["t2m"].assign_attrs(units="degC")), "t2m is in degC"),
    ],
)
def test_what_does_not_match_is_said(truth: xr.Dataset, change: Any, words: str) -> None:
    with pytest.raises(DpdmError, match=words) as caught:
        evaluate(change(truth), truth)
    assert caught.value.hint


def test_a_coarse_file_of_elsewhere_and_a_missing_time_are_said(
    truth: xr.Dataset, coarse: xr.Dataset
) -> None:
    with pytest.raises(DpdmError, match=r"coarse file .* does not cover the truth"):
        evaluate(truth, truth, coarse.isel(lon=slice(6)))
    with pytest.raises(DpdmError, match="has 3 times"):
        evaluate(truth, truth.isel(time=0, drop=True))


def test_text_and_json_hold_the_same_rows(
    truth: xr.Dataset, coarse: xr.Dataset, forecast: xr.Dataset
) -> None:
    table = evaluate(forecast, truth, coarse)
    read = json.loads(table.to_json())
    assert [row["rmse"] for row in read["rows"] if "rmse" in row] == [
        row["rmse"] for row in table.rows if "rmse" in row
    ]
    lines = table.text().splitlines()
    assert lines[0] == "t2m [K]"
    assert "tp [mm day-1]" in lines
    found = rows(table)["mean of 33"]
    line = next(line for line in lines if line.startswith("mean of 33"))
    assert f"{found['rmse']:.2f}" in line
    assert f"{found['crps_ratio']:.2f}" in line
    assert len({len(line) for line in lines[1:9]}) == 1
    assert "mean of 35: better than bilinear at the 95% level." in lines
    assert f"- 3 times, {FINE.shape[0]} x {FINE.shape[1]} cells, weighted by area." in lines


def test_json_has_null_for_what_is_not_a_number(truth: xr.Dataset) -> None:
    once = truth.isel(time=0, drop=True)
    assert json.loads(evaluate(once, once).to_json())["rows"][0]["acc"] is None


@pytest.mark.parametrize("chunks", [None, {"time": 1}])
def test_memory_does_not_grow_with_time(tmp_path: Path, chunks: dict[str, int] | None) -> None:
    peaks = []
    for count in (2, 8):
        world(7, count, members=40)[["t2m"]].to_netcdf(tmp_path / f"{count}.nc")
        with xr.open_dataset(tmp_path / f"{count}.nc", chunks=chunks) as forecast:
            tracemalloc.start()
            evaluate(forecast, world(8, count)[["t2m"]])
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.25 * peaks[0]  # of all the members at once it would be near 4
