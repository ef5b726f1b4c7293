"""Climate indices against xarray, pandas and scores, for steps of any length."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scores.continuous
import xarray as xr

from dpdm.evaluate import evaluate
from dpdm.evaluate.comparison import prepare_comparison, read_snapshot
from dpdm.evaluate.indices import TRUTH, IndexScores
from dpdm.evaluate.scores import area_mean, area_weights
from dpdm.evaluate.sections import SectionChoice
from dpdm.evaluate.table import Section
from dpdm.evaluate.timeline import read_timeline
from dpdm.fields.grid import Grid
from dpdm.fields.reference_climatology import ReferenceClimatology
from tests.helpers.evaluation import climatology_of, world
from tests.helpers.small_world import done

INDICES = SectionChoice(frozenset({"indices"}))
SPACE = Grid(np.arange(20.5, 26), np.arange(100.5, 108))


def series(seed: int, stamps: Any, members: int = 0) -> xr.Dataset:
    """Return t2m (K) and tp (mm day-1) with memory and seasons at any times."""
    random = np.random.default_rng(seed)
    lead = {"realization": members} if members else {}
    shape = (*lead.values(), len(stamps), *SPACE.shape)
    dims = (*lead, "time", "lat", "lon")
    noise = random.standard_normal(shape)
    noise = noise + 0.6 * np.roll(noise, 1, dims.index("time"))
    rain = random.gamma(0.7, 3.0, shape)
    coords = {**SPACE.coords(), "time": xr.Variable("time", stamps)}
    data = {
        "t2m": (dims, 285 + 4 * noise, {"units": "K"}),
        "tp": (dims, rain, {"units": "mm day-1"}),
    }
    return xr.Dataset(data, coords)


def stamps_of(start: str, count: int, freq: str, **more: Any) -> Any:
    return xr.date_range(start, periods=count, freq=freq, use_cftime=True, **more)


def indices_of(
    forecast: xr.Dataset, truth: xr.Dataset, climatology: ReferenceClimatology | None = None
) -> IndexScores:
    """Return the indices of a forecast without its other scores."""
    comparison = prepare_comparison(forecast, truth, None, climatology, None, {})
    scores = IndexScores(comparison)
    for step in range(comparison.steps):
        for name in comparison.names:
            scores.add(read_snapshot(comparison, name, step, {}))
    return scores


def index_rows(scores: IndexScores | Section, variable: str = "tp") -> dict[str, dict[str, Any]]:
    """Return the rows of indices of a variable by method."""
    rows = scores.rows if isinstance(scores, Section) else scores.rows()
    return {row["method"]: row for row in rows if row["variable"] == variable}


def check(
    rows: dict[str, dict[str, Any]], key: str, ours: xr.DataArray, true: xr.DataArray
) -> None:
    """Compare an index with maps of the forecast's and of the truth's."""
    seen = ours.notnull() & true.notnull()
    weights = area_weights(true)
    value, truth = (float(area_mean(f.where(seen), weights)) for f in (ours, true))
    assert rows[TRUTH][key] == pytest.approx(truth, rel=1e-9)
    assert rows["forecast"][key] == pytest.approx(value, rel=1e-9)
    error = float(area_mean(((ours - true) ** 2).where(seen), weights)) ** 0.5
    assert rows["forecast"][f"{key}_rmse"] == pytest.approx(error, rel=1e-9)


def wet_maps(rain: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Return SDII and the share of wet steps."""
    wet = (rain >= 1).where(rain.notnull())
    return rain.where(rain >= 1).mean("time"), wet.mean("time")


@pytest.mark.parametrize("calendar", ["standard", "360_day"])
def test_months_have_the_indices_of_whole_years(calendar: str) -> None:
    stamps = stamps_of("2001-07-01", 54, "MS", calendar=calendar)  # 2002 to 2005 are whole
    truth, forecast = (series(seed, stamps)[["tp"]] for seed in (0, 1))
    truth["tp"][20:, 2, 3] = np.nan
    truth["tp"][:, 1, 1] = np.nan
    truth["tp"][30, 4, 4] = np.nan
    forecast = forecast.where(truth["tp"].notnull())
    found = index_rows(indices_of(forecast, truth))
    whole = slice(6, 54)
    maxima = [
        f["tp"][whole].groupby("time.year").max().mean("year", skipna=True)
        for f in (forecast, truth)
    ]
    check(found, "rx1month", *maxima)
    intensity, share = zip(*(wet_maps(f["tp"]) for f in (forecast, truth)), strict=True)
    check(found, "sdii", *intensity)
    check(found, "wet_frequency", *share)
    annual = [f["tp"][whole].groupby("time.year").mean(skipna=False) for f in (forecast, truth)]
    enough = annual[1].notnull().sum("year") >= 3
    ours, true = (f.var("year", ddof=1).where(enough) for f in annual)
    weights = area_weights(truth)
    ratio = float(area_mean(ours, weights) / area_mean(true, weights))
    assert found["forecast"]["interannual_variance_ratio"] == pytest.approx(ratio, rel=1e-9)
    assert found[TRUTH]["interannual_variance_ratio"] == 1.0
    assert "interannual_variance_ratio_rmse" not in found["forecast"]


def test_lag_1_is_the_correlation_of_successive_anomalies() -> None:
    stamps = stamps_of("2001-01-01", 40, "MS").delete([17, 18])
    truth, forecast = (series(seed, stamps)[["t2m"]] for seed in (0, 1))
    normal = climatology_of(series(2, stamps_of("2001-01-01", 12, "MS")))
    truth["t2m"][5, 2, 2] = np.nan
    forecast = forecast.where(truth["t2m"].notnull())
    found = index_rows(indices_of(forecast, truth, climatology=normal), "t2m")
    maps = []
    for fields in (forecast, truth):
        anomalies = fields["t2m"] - normal.fields["t2m"].sel(month=fields["time.month"])
        first, second = (
            anomalies[places].drop_vars("time")
            for places in (np.delete(np.arange(37), 16), np.delete(np.arange(1, 38), 16))
        )
        maps.append(
            scores.continuous.correlation.pearsonr(first, second, reduce_dims="time").drop_vars(
                "month", errors="ignore"
            )
        )
    check(found, "lag1_autocorrelation", *maps)
    assert "rx1month" not in found["forecast"]


def test_lag_1_is_that_of_pandas_for_a_plain_series() -> None:
    truth = series(0, stamps_of("2001-01-01", 40, "D"))[["t2m"]]
    found = index_rows(indices_of(truth, truth), "t2m")["forecast"]
    values = truth["t2m"].stack(cell=("lat", "lon")).transpose("cell", "time").values
    lags = [pd.Series(row).autocorr(1) for row in values]
    weights = area_weights(truth).values.ravel()
    expected = np.average(lags, weights=weights)
    assert found["lag1_autocorrelation"] == pytest.approx(expected, rel=1e-9)
    assert found["lag1_autocorrelation_rmse"] == 0


def test_days_have_rx1day() -> None:
    stamps = stamps_of("2004-01-01", 60, "D")
    truth, forecast = (series(seed, stamps)[["tp"]] for seed in (0, 1))
    found = index_rows(indices_of(forecast, truth))
    maxima = [f["tp"].groupby("time.year").max().mean("year") for f in (forecast, truth)]
    check(found, "rx1day", *maxima)


def test_hours_have_rx1day_of_whole_days_and_the_extremes_of_temperature() -> None:
    stamps = stamps_of("2001-01-01T03:00", 40, "3h")  # seven hours of the first day
    truth, forecast = series(0, stamps), series(1, stamps)
    found = indices_of(forecast, truth)
    rain, warm = index_rows(found), index_rows(found, "t2m")
    days = [
        f["tp"][7:39].coarsen(time=8).mean().assign_coords(time=np.arange(4))
        for f in (forecast, truth)
    ]
    check(rain, "rx1day", *(f.max("time") for f in days))
    check(rain, "sdii", *(wet_maps(f)[0] for f in days))
    check(rain, "wet_frequency", *(wet_maps(f)[1] for f in days))
    check(warm, "txx", *(f["t2m"].max("time") for f in (forecast, truth)))
    check(warm, "tnn", *(f["t2m"].min("time") for f in (forecast, truth)))


@pytest.mark.parametrize("dated", [True, False])
def test_one_time_has_what_one_time_can_have_and_says_what_is_left_out(dated: bool) -> None:
    truth = series(0, stamps_of("2001-01-01", 1, "MS"))
    truth = truth if dated else truth.isel(time=0, drop=True)
    found = indices_of(truth + 1, truth)
    rain, warm = index_rows(found), index_rows(found, "t2m")
    assert {*rain["forecast"]} == {
        "variable", "units", "method", "sdii", "sdii_rmse", "wet_frequency", "wet_frequency_rmse",
    }  # fmt: skip
    assert {*warm["forecast"]} == {"variable", "units", "method"}
    notes = "\n".join(found.notes())
    assert "Left out of tp: Rx1step (the length of the steps is unknown)." in notes
    assert "Left out of t2m: TXx and TNn (needs steps of six hours or less)." in notes
    assert "interannual var (needs 3 whole years; the series has " in notes
    assert "lag-1 (needs 10 pairs of successive steps; the series has 0)" in notes
    assert all(
        np.isfinite(v) for row in rain.values() for v in row.values() if isinstance(v, float)
    )


def test_a_series_without_a_whole_year_counts_as_one() -> None:
    stamps = stamps_of("2001-11-01", 4, "MS")
    truth = series(0, stamps)
    found = index_rows(indices_of(truth, truth))
    check(found, "rx1month", *[truth["tp"].max("time")] * 2)


@pytest.mark.parametrize(
    ("start", "count", "freq", "years"),
    [("2001-01-01", 36, "MS", 3), ("2001-07-01", 36, "MS", 2), ("2001-01-01", 731, "D", 2),
     ("2001-03-01", 7, "3MS", 1), ("2003-01-01", 1096, "D", 3), ("2001-01-01", 5, "YS", 5),
     ("2001-11-01", 4, "MS", 0)],
)  # fmt: skip
def test_years_are_whole(start: str, count: int, freq: str, years: int) -> None:
    line = read_timeline(series(0, stamps_of(start, count, freq)))
    assert line.year_count == years
    assert line.pair_count == count - 1


def test_a_truth_that_is_the_climatology_has_no_anomalies() -> None:
    truth = series(0, stamps_of("2001-01-01", 12, "MS"))
    with pytest.warns(match="monthly climatology itself"):
        found = indices_of(truth, truth, climatology=climatology_of(truth))
    assert "lag1_autocorrelation" not in index_rows(found)["forecast"]
    assert any("so there are no anomalies" in note for note in found.notes())


def test_a_dry_method_has_no_intensity() -> None:
    truth = series(0, stamps_of("2001-01-01", 12, "MS"))
    dry = truth.assign(tp=(0.1 * truth["tp"] / truth["tp"].max()).assign_attrs(units="mm day-1"))
    found = indices_of(dry, truth)
    assert "sdii" not in index_rows(found)["forecast"]
    assert index_rows(found)["forecast"]["wet_frequency"] == 0
    words = "Left out of tp: SDII (no cell has it in the truth and all methods)."
    assert words in found.notes()


def test_methods_are_the_first_member_and_the_mean_of_all() -> None:
    stamps = stamps_of("2001-01-01", 12, "MS")
    truth, forecast = series(0, stamps), series(1, stamps, members=12)
    found = index_rows(indices_of(forecast, truth))
    assert list(found) == [TRUTH, "one member", "mean of 12"]
    first = indices_of(forecast.isel(realization=0, drop=True), truth)
    expected = index_rows(first)["forecast"] | {"method": "one member"}
    assert found["one member"] == expected


def test_the_command_prints_indices_where_required_and_json_and_report_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stamps = stamps_of("2001-01-01", 4, "YS")
    series(0, stamps).to_netcdf("truth.nc")
    series(1, stamps, members=2).to_netcdf("forecast.nc")
    command = "evaluate", "forecast.nc", "truth.nc", "--climatology", "none"
    plain = done(*command).stdout
    assert "climate indices" not in plain
    assert "SDII" not in plain
    lines = done(*command, "--indices").stdout.splitlines()
    assert "tp [mm day-1], climate indices" in lines
    head = lines[lines.index("tp [mm day-1], climate indices") + 1].split()
    expected = "method W1 LSD Rx1year RMSE SDII RMSE wet share RMSE interannual var"
    assert head == expected.split()
    assert "- Rx1year: largest year of each whole year, mean over years." in lines
    assert {*plain.splitlines()} < {*lines}
    found = json.loads(done(*command, "--json").stdout)
    assert {row["method"] for row in found["indices"]} == {"truth", "one member", "mean of 2"}
    page = tmp_path / "r.html"
    assert "SDII" not in done(*command, "--report", page).stdout
    text = page.read_text()
    assert "Wasserstein distance, Rx1year, Rx1year RMSE, SDII and SDII RMSE in mm day⁻¹" in text
    assert "2 metre temperature" in text
    assert "t2m and tp jointly: the ensemble of 2 has an energy score of" in text


def test_a_large_domain_has_indices_only_where_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpdm.evaluate.sections.MAX_MEMORY", 1e4)
    truth = world(0, 1).isel(lat=slice(8), lon=slice(10))
    table = evaluate(truth, truth, sections=SectionChoice(has_all=True))
    assert not table.sections["indices"].rows
    assert any("--indices computes it" in note for note in table.all_notes())
    assert index_rows(evaluate(truth, truth, sections=INDICES).sections["indices"])
