"""What `dpdm assimilate --check` says of observations, and that it writes nothing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.helpers.small_world import done, dpdm

COMMAND = "assimilate obs.csv out.nc --prior prior.safetensors --coarse coarse.nc --members 2"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpdm.states.cost.MEASURING_SECONDS", 0.0)


@pytest.fixture
def places(here: Path) -> pd.DataFrame:
    """Four stations in the domain, one far away, for two months."""
    fine = xr.open_dataset("fine.nc")
    lat, lon = fine["lat"].values[[8, 12, 16, 20]], fine["lon"].values[[8, 12, 16, 20]]
    frame = pd.DataFrame(
        {"id": list("ABCDZ"), "Latitude": [*lat, -60.0], "LON": [*lon, 10.0], "alt": 5.0}
    )
    rows = frame.merge(pd.DataFrame({"yyyymm": [200001, 200002]}), how="cross")
    rows = rows.assign(tavg=10.0, prcp=60.0, note="x")
    rows.loc[0, "tavg"] = np.nan
    units = pd.DataFrame([dict.fromkeys(rows, "") | {"tavg": "degC", "prcp": "mm"}])
    pd.concat([units, rows]).to_csv("obs.csv", index=False)
    frame.to_csv("list.csv", index=False)
    return rows


def test_check_says_what_would_be_used_and_writes_nothing(places):
    before = sorted(Path().rglob("*"))
    said = done(*f"{COMMAND} --check".split()).stdout.splitlines()
    assert sorted(Path().rglob("*")) == before
    assert [" ".join(line.split()) for line in said[:-6]] == [
        "obs.csv: 10 rows",
        "id -> station",
        *("Latitude -> lat", "LON -> lon", "alt -> elevation [m]", "yyyymm -> time"),
        "tavg -> t2m [degC]",
        "prcp -> tp [mm/month]",
        "not used: note",
        "alt has no unit; heights in metres are assumed.",
        "prcp is in mm, and its times are months: mm/month is taken.",
        "observations values stations steps from to",
        "t2m, used 7 4 2 2000-01-01 2000-02-01",
        "t2m, missing 1 1 1 2000-01-01 2000-01-01",
        "t2m, outside the domain 2 1 2 2000-01-01 2000-02-01",
        "tp, used 8 4 2 2000-01-01 2000-02-01",
        "tp, outside the domain 2 1 2 2000-01-01 2000-02-01",
        "2 of 3 steps will have observations.",
        "steps: 3, 2000-01 to 2000-03",
        "variables: t2m, tp",
        "cells: 32 x 48",
    ]
    costs = [
        "members: 2, each of",
        "measured: ",
        "expected time: ",
        "memory: ",
        "disk space needed: ",
    ]
    for line, begin in zip(said[-6:], [*costs, "disk space free: "], strict=True):
        assert line.startswith(begin)


def test_check_ends_with_1_where_nothing_can_be_used(places):
    text = Path("obs.csv").read_text().replace("20000", "19000")
    Path("obs.csv").write_text(text)
    result = dpdm(*COMMAND.split(), "--check")
    assert result.exit_code == 1
    assert "tavg" in result.stdout  # the columns all the same
    assert "No observation is left" in result.stderr


def test_a_run_says_what_it_assumes_and_takes_positions_from_a_list(places):
    found = done(*COMMAND.split(), "--report", "whole.csv", "--steps", 4)
    assert "obs.csv: alt has no unit; heights in metres are assumed." in found.stderr
    places.drop(columns=["Latitude", "LON", "alt"]).to_csv("obs.csv", index=False)
    units = ("--obs-units", "t2m=degC", "--obs-units", "tp=mm/month")
    again = ("--stations", "list.csv", "--overwrite", "--report", "joined.csv", "--steps", 4)
    done(*COMMAND.split(), *units, *again)
    whole, joined = (
        pd.read_csv(f"{name}.csv").drop(columns="row") for name in ("whole", "joined")
    )
    pd.testing.assert_frame_equal(joined[list(whole)], whole)
    with xr.open_dataset("out.nc") as ds:
        assert ds.attrs["dpdm_stations"] == "list.csv"
