"""A prior of months takes months; and a month of a station is covered, or is none."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dpdm.errors import DpdmWarning
from dpdm.prior import load_prior
from tests.helpers.monthly_climate import prior_of, series
from tests.helpers.small_world import coarse_world, done, refused

DOWN = "downscale days.nc out.nc --prior prior.safetensors --members 1"
SEEN = "assimilate seen.csv out.nc --coarse coarse.nc --prior prior.safetensors --members 2"


@pytest.fixture
def days(here: Path) -> xr.Dataset:
    ds = coarse_world()
    ds = ds.assign_coords(time=pd.date_range("2000-01-01", periods=ds.sizes["time"], freq="D"))
    ds.to_netcdf("days.nc")
    return ds


def test_a_prior_stores_the_period_of_its_data(here: Path) -> None:
    assert load_prior(Path("prior.safetensors")).contract.period == "month"


def test_days_are_refused_by_a_prior_of_months(days: xr.Dataset) -> None:
    refused(DOWN, "days.nc has steps of days, and the prior was trained on months", "--period any")


def test_days_are_taken_with_a_warning_and_a_note_when_that_is_asked_for(days: xr.Dataset) -> None:
    result = done(*DOWN.split(), "--period", "any")
    assert "Warning: days.nc has steps of days" in result.stderr
    with xr.open_dataset("out.nc") as out:
        assert out.attrs["dpdm_period"] == "steps of days, prior of months"


def test_months_leave_no_note(here: Path) -> None:
    done(*DOWN.replace("days", "coarse").split())
    with xr.open_dataset("out.nc") as out:
        assert "dpdm_period" not in out.attrs


@pytest.mark.parametrize("freq", ["YS", "QS-DEC"])
def test_seasons_and_years_go_through_a_prior_of_months(here: Path, freq: str) -> None:
    ds = coarse_world()
    stamps = pd.date_range("2000-03-01", periods=ds.sizes["time"], freq=freq)
    ds.assign_coords(time=stamps).to_netcdf("days.nc")
    done(*DOWN.split())


def test_a_plan_says_that_any_period_will_do(days: xr.Dataset) -> None:
    plan = (
        '[input]\nfiles = ["days.nc"]\n[prior]\nname = "prior.safetensors"\n{}'
        "[draw]\nmembers = 1\n"
    )
    Path("plan.toml").write_text(plan.format(""))
    refused("reconstruct plan.toml series", "steps of days")
    Path("plan.toml").write_text(plan.format('period = "any"\n'))
    assert "Warning:" in done("reconstruct", "plan.toml", "series").stderr


def station(days: list[str], name: str = "A") -> list[dict[str, object]]:
    return [
        {"station": name, "lat": 30.0, "lon": 120.0 + ord(name) % 7, "time": day,
         "t2m [K]": 290.0 + int(day[-2:]) % 3, "t2m_error": 1.0}  # no run of one value
        for day in days
    ]  # fmt: skip


def report(rows: list[dict[str, object]], *words: str) -> pd.DataFrame:
    pd.DataFrame(rows).to_csv("seen.csv", index=False)
    done(*SEEN.split(), "--report", "report.csv", "--overwrite", *words)
    return pd.read_csv("report.csv").fillna({"status": ""})


def january(count: int, first: int = 1) -> list[str]:
    return [f"2000-01-{day:02d}" for day in range(first, first + count)]


def test_one_day_is_no_month(here: Path) -> None:
    found = report(station(["2000-01-03"]) + station(["2000-01-01"], "B"))
    assert found["status"].tolist() == ["covers 1 of 31 days", "assimilated"]


@pytest.mark.parametrize(("count", "used"), [(31, True), (25, True), (24, False), (10, False)])
def test_days_make_a_month_from_four_fifths_on(here: Path, count: int, used: bool) -> None:
    found = report(station(january(count)) + station(["2000-01-01"], "B"))
    kept = found["status"].iloc[0]
    assert kept == ("assimilated" if used else f"covers {count} of 31 days")


def test_the_least_coverage_is_the_users(here: Path) -> None:
    found = report(station(january(10)), "--coverage", "0.3")
    assert found["status"].iloc[0] == "assimilated"


def test_the_same_day_twice_covers_one_day(here: Path) -> None:
    rows = station(["2000-01-03", "2000-01-03", "2000-01-04"]) + station(["2000-01-01"], "B")
    assert report(rows)["status"].iloc[0] == "covers 2 of 31 days"


def test_months_cover_themselves_wherever_they_are_stamped(here: Path) -> None:
    rows = station(["2000-01-01", "2000-02-01"]) + station(["2000-01-09", "2000-02-09"], "B")
    assert (report(rows)["status"] == "assimilated").all()


def test_an_interval_of_its_own_decides_what_a_value_covers(here: Path) -> None:
    rows = [r | {"end": "2000-01-11"} for r in station(["2000-01-01"])]
    rows += [r | {"end": "2000-02-01"} for r in station(["2000-01-01"], "B")]
    assert report(rows)["status"].tolist() == ["covers 10 of 31 days", "assimilated"]


def test_the_climate_of_another_period_is_named_with_the_shift() -> None:
    from dpdm.states.bias_adjustment import fit_bias_adjustment

    with pytest.warns(DpdmWarning) as said:
        fit_bias_adjustment(series(), prior_of(series("2001-01", 4)), "mean", ["1976", "1980"])
    words = (
        r"t2m of the input \(1976-01 to 1980-12\) is on average [.\d]+ K (lower|higher) than in "
        r"the prior's climate \(2001-01 to 2004-12\), and the two periods do not overlap"
    )
    assert re.match(words, str(said[0].message))
    assert len(said) == 2  # a line for each variable


def test_daily_values_of_days_are_not_asked_for_coverage(here: Path) -> None:
    from dpdm.observations.quality_control import insufficient_coverage

    time = xr.DataArray(pd.date_range("2000-01-01", periods=3), dims="time")
    table = pd.DataFrame({"lat": 0.0, "lon": 0.0, "variable": "t2m", "step": [0],
                          "time": pd.to_datetime(["2000-01-01T06"])})  # fmt: skip
    assert insufficient_coverage(table, np.array([0]), time, None, "", 0.8) == {}
