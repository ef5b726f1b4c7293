"""Stations and nothing else: where, when, around what, and what is refused."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dpdm.fields.regrid import coarsen_fields
from tests.helpers.small_world import done, dpdm, refused
from tests.helpers.stations_alone import BOX, WORDS, network, target, untrained_prior, write
from tests.states.test_reference import climate

RUN = f"assimilate stations.csv out.nc {WORDS}"
SMALL = RUN.replace(f"--bbox {BOX}", "--grid cells.nc")
MONTHS = ["1893-12", "1894-02", "1894-03"]


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    untrained_prior()
    write(network(MONTHS))
    target("cells.nc")
    return tmp_path


def opened(path: str = "out.nc") -> xr.Dataset:
    with xr.open_dataset(path) as ds:
        return ds.load()


def days(ds: xr.Dataset) -> list[str]:
    return [str(stamp)[:10] for stamp in ds["time"].values]


def test_cells_are_of_the_box_and_steps_are_the_months_observed() -> None:
    done(*RUN.split(), "--report", "report.csv")
    ds = opened()
    assert ds["t2m"].sizes == {"time": 3, "realization": 2, "lat": 9, "lon": 9}
    assert (ds["lat"].values[0], ds["lon"].values[-1]) == (19.0, 103.0)
    assert days(ds) == ["1893-12-16", "1894-02-15", "1894-03-16"]
    assert str(ds["time_bnds"].values[1, 1])[:10] == "1894-03-01"
    assert ds.attrs["dpdm_background"] == "climatology era5 (2000-01 to 2025-12)"
    assert ds["t2m"].attrs["units"] == "K"
    assert set(pd.read_csv("report.csv")["status"]) == {"assimilated"}


@pytest.mark.parametrize("dated", [True, False])
def test_a_target_sets_cells_and_its_times_if_it_has_any(dated: bool) -> None:
    cells = climate(months=(2, 3)).isel(lat=slice(8, 24), lon=slice(16, 32))
    if dated:
        cells = cells.assign_coords(time=np.array(["1894-02-10", "1894-03-10"], "M8[ns]"))
    (cells if dated else cells.isel(time=0, drop=True)).to_netcdf("target.nc")
    done(*RUN.replace(f"--bbox {BOX}", "--grid target.nc").split())
    ds = opened()
    np.testing.assert_allclose(ds["lat"], cells["lat"])
    usual = ["1893-12-16", "1894-02-15", "1894-03-16"]
    assert days(ds) == (["1894-02-10", "1894-03-10"] if dated else usual)


@pytest.mark.parametrize("year", [1512, 2305])
def test_any_year_is_analysed(year: int) -> None:
    write(network([f"{year}-01", f"{year}-07"]))
    done(*SMALL.split())
    coder = xr.coders.CFDatetimeCoder(use_cftime=True)
    with xr.open_dataset("out.nc", decode_times=coder) as ds:
        assert [str(date)[:10] for date in ds["time"].values] == [f"{year}-01-16", f"{year}-07-16"]


def test_dates_limit_the_steps_and_the_others_stay_in_the_table() -> None:
    done(*SMALL.split())
    whole = opened()
    result = done(*SMALL.split(), "--dates", "1894-01,1894", "--report", "r.csv", "--overwrite")
    assert "t2m, other step" in result.stdout
    xr.testing.assert_equal(opened()["t2m"], whole["t2m"].isel(time=[1, 2]))
    report = pd.read_csv("r.csv")
    assert report.loc[report["time"].str[:4] == "1893", "status"].unique() == ["other step"]
    assert len(report) == 18


def test_dates_select_steps_of_coarse_fields_too() -> None:
    months = climate(months=(1, 2, 3))
    stamps = np.array(["1894-01-15", "1894-02-15", "1894-03-15"], "M8[ns]")
    coarsen_fields(months, 4).assign_coords(time=stamps).to_netcdf("coarse.nc")
    done(*RUN.split(), "--coarse", "coarse.nc", "--dates", "1894-03,1894-03")
    assert days(opened()) == ["1894-03-15"]
    refused(f"{RUN} --coarse coarse.nc --dates 1900,1901 --overwrite", "No step lies within", "")


def test_the_check_says_how_many_steps_there_are() -> None:
    result = done(*SMALL.split(), "--check")
    assert "3 of 3 steps will have observations." in result.stdout
    assert not Path("out.nc").exists()


def test_the_law_of_the_stations_is_printed_written_and_reported() -> None:
    result = done(*SMALL.split(), "--report", "r.csv")
    assert "t2m, DJF: the background's error is" in result.stderr
    assert "K a km from the relief to the stations" in result.stderr
    attrs = opened().attrs
    assert attrs["dpdm_background_error_t2m"].startswith("DJF: ")
    assert "MAM: " in attrs["dpdm_background_error_tp"]
    report = pd.read_csv("r.csv")
    assert report["lapse_departure"].notna().all()
    assert not report["error"].eq(1.0).any()  # the usual one of t2m: the law's noise instead
    assert "usual_error" not in report


def test_a_station_outside_the_region_is_no_hindrance() -> None:
    table = network(MONTHS)
    away = table.head(2).assign(lat=60.0, station="far")
    write(pd.concat([table, away]))
    done(*SMALL.split(), "--report", "r.csv")
    report = pd.read_csv("r.csv")
    assert set(report.query("station == 'far'")["status"]) == {"outside the domain"}


def test_errors_of_the_user_stay() -> None:
    done(*SMALL.split(), "--error", "t2m=0.7", "--report", "r.csv")
    report = pd.read_csv("r.csv")
    np.testing.assert_allclose(report.query("variable == 't2m'")["error"], 0.7)
    assert not report.query("variable == 'tp'")["error"].eq(0.7).any()


def test_stations_move_the_whole_field_and_far_from_them_it_is_uncertain() -> None:
    """All say three kelvin more: the field follows as far as its law lets it."""
    table = network(MONTHS, rain=False)
    write(table)
    done(*SMALL.split(), "--members", "8")
    before = opened()
    write(table.assign(value=table["value"] + 3))
    done(*SMALL.split(), "--members", "8", "--overwrite")
    moved = opened()["t2m_mean"] - before["t2m_mean"]
    assert 1 < float(moved.mean()) < 3.2
    write(table[table["lon"] < 101.5])
    done(*SMALL.split(), "--members", "8", "--overwrite")
    spread = opened()["t2m_spread"].mean(("time", "lat"))
    assert float(spread[-1]) > float(spread[0])


def test_a_stated_error_takes_the_place_of_the_estimated_one() -> None:
    result = done(*SMALL.split(), "--coarse-error", "t2m=2", "--coarse-error", "tp=auto")
    assert "tp, DJF" in result.stderr
    assert "t2m, DJF" not in result.stderr
    assert "dpdm_background_error_t2m" not in opened().attrs


def test_daily_values_are_means_of_their_month() -> None:
    table = network(["1894-01"], rain=False)
    dates = [f"1894-01-{day:02d}" for day in range(1, 32)]
    write(pd.concat([table.assign(time=date, value=290 + n) for n, date in enumerate(dates)]))
    done(*SMALL.split(), "--qc", "none", "--reject", "0", "--report", "r.csv")
    assert days(opened()) == ["1894-01-16"]
    used = pd.read_csv("r.csv").query("status == 'assimilated'")
    np.testing.assert_allclose(used["value"], 305.0)


def test_the_climatology_may_be_a_file() -> None:
    part = climate().isel(lat=slice(4, 44), lon=slice(4, 60))
    part.to_netcdf("normals.nc")
    result = done(*RUN.split(), "--climatology", "normals.nc")
    assert "monthly means are not stated" in result.stderr
    ds = opened()
    assert ds.attrs["dpdm_background"].startswith("climatology normals.nc")
    assert ds["lat"].values[0] == 19.125  # the cells of the file
    away = RUN.replace(BOX, "101,112.5,19,21")
    result = dpdm(*away.split(), "--climatology", "normals.nc", "--overwrite")
    assert result.exit_code == 1
    assert "normals.nc reaches over" in result.stderr


NOWHERE = RUN.replace(f" --bbox {BOX}", "")


def test_without_a_region_the_hint_is_the_box_of_the_stations() -> None:
    result = refused(NOWHERE, "nothing sets the region", "--grid TARGET.nc")
    box = re.search(r"--bbox \S+", result.stderr)
    assert box is not None
    assert box[0] == "--bbox 101,103,19,21"
    done(*f"{NOWHERE} {box[0]}".split())


@pytest.mark.parametrize(
    ("change", "what", "hint"),
    [
        ("--bbox 10,12,40,42", "All stations lie outside the target", f"--bbox {BOX}"),
        ("--climatology none", "--bbox alone does not set cells", "--grid TARGET.nc"),
        ("--bbox 0,179,-60,60", "which may be 3000 at most", "--bbox"),
        ("--dates 1900,1910", "No step lies within --dates", "Give dates within"),
        ("--climatology no.nc", "no.nc", ""),
    ],
)
def test_what_cannot_be_analysed_is_a_sentence(change: str, what: str, hint: str) -> None:
    refused(f"{RUN} {change}", what, hint)


@pytest.mark.parametrize("dates", ["1893", "1894,1893", "1894-13,1895", "a,b"])
def test_dates_are_two_in_order(dates: str) -> None:
    refused(f"{RUN} --dates {dates}", "is not a first and a last date", code=2)


def test_a_prior_without_a_climatology_needs_a_target() -> None:
    untrained_prior("plain.safetensors", reference=())
    refused(
        RUN.replace("prior.s", "plain.s"), "--bbox alone does not set cells", "--grid TARGET.nc"
    )


def one_cell() -> pd.DataFrame:
    table = network(MONTHS)
    return table.assign(lat=20.0 + 0.001 * np.arange(len(table)), lon=102.0)


HARD = {
    "one station": lambda: network(MONTHS, stations=1),
    "all in one cell": one_cell,
    "no heights": lambda: network(MONTHS).drop(columns="elevation [m]"),
    "only zeros of rain": lambda: network(MONTHS).query("variable == 'tp'").assign(value=0.0),
    "one month": lambda: network(["1894-01"]),
    "temperature alone": lambda: network(MONTHS, rain=False),
    "errors of a tenth": lambda: network(MONTHS).assign(error=0.1),
}


@pytest.mark.parametrize("case", HARD)
def test_poor_networks_are_analysed(case: str) -> None:
    write(HARD[case]())
    done(*SMALL.split())
    ds = opened()
    assert bool(np.isfinite(ds["t2m_mean"]).all())
    assert float(ds["tp"].min()) >= 0


def test_numbers_in_place_of_dates_are_refused() -> None:
    write(network(MONTHS).assign(time=3.0))
    refused(RUN, "times are numbers", "Write dates")


def test_undated_observations_are_of_the_climate_of_the_year() -> None:
    write(network(["1894-02"], rain=False).drop(columns="time"))
    done(*SMALL.split(), "--reject", "0")
    assert "time" not in opened().dims
