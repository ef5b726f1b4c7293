"""A reconstruction from stations alone: it resumes, and grows with its files and its period."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dpdm.reconstruct.setup import prepare_reconstruction
from tests.helpers import kill_and_resume
from tests.helpers.reconstruction import opened, tree
from tests.helpers.small_world import done, dpdm, refused
from tests.helpers.stations_alone import BOX, network, target, untrained_prior, write
from tests.states.test_reference import climate

RUN = "reconstruct plan.toml out"
MONTHS = ["1893-12", "1894-02"]
PLAN = """
[input]
period = ["1893-12", "1894-02"]
[prior]
name = "prior.safetensors"
[draw]
members = 2
steps = 2
[observations]
files = ["stations*.csv"]
coarse_error = { t2m = 1.5, tp = 0.5 }
[output]
grid = "target.nc"
keep = "all"
[run]
member_block = 2
"""


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    untrained_prior()
    write(network(MONTHS))
    target()
    plan()
    return tmp_path


def plan(*changes: tuple[str, str], end: str = "1894-02") -> None:
    """Write a plan that ends with a month, with some of its text exchanged."""
    text = PLAN.replace('"1894-02"]', f'"{end}"]')
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    Path("plan.toml").write_text(text)


def test_it_is_what_assimilation_gives_to_the_bit() -> None:
    plan(('grid = "target.nc"', "bbox = [101, 103, 19, 21]"))
    done(*RUN.split())
    done("reconstruct", "--verify", "plan.toml", "out")
    words = f"--prior prior.safetensors --members 2 --steps 2 --bbox {BOX}"
    words += " --coarse-error t2m=1.5 --coarse-error tp=0.5"
    done("assimilate", "stations.csv", "fine.nc", *words.split())
    with opened(Path("out")) as ours, xr.open_dataset("fine.nc") as its:
        dates = [str(date)[:7] for date in ours["time"].values]
        assert dates == ["1893-12", "1894-01", "1894-02"]
        for name in ("t2m", "tp", "tp_p90", "t2m_spread"):
            np.testing.assert_array_equal(ours[name].isel(time=[0, 2]), its[name])
            assert np.isfinite(ours[name]).all()
        assert ours.attrs["dpdm_background"] == "climatology era5 (2000-01 to 2025-12)"
        assert "time_bnds" in ours
    unseen = Path("out/observations/1894-01.csv").read_text().splitlines()
    assert len(unseen) == 1


def test_any_end_is_taken_up(site: Path) -> None:
    plan(end="1894-01")
    command = [sys.executable, kill_and_resume.__file__, str(site), "kill,rename", "1", "5"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("same") == 1


@pytest.mark.parametrize("layout", ["netcdf-yearly", "zarr"])
def test_files_and_period_grow_and_no_other_step_is_drawn(layout: str) -> None:
    change = ("[output]\n", f'[output]\nlayout = "{layout}"\n')
    whole = network([*MONTHS, "1894-03"])
    write(whole)
    plan(change, end="1894-03")
    done("reconstruct", "plan.toml", "whole")
    write(whole[whole["time"] != "1894-03"])
    plan(change)
    done(*RUN.split())
    write(whole)  # a month that the plan does not have yet
    assert "3 units of work, 3 of them done" in done(*RUN.split()).stderr
    plan(change, end="1894-03")
    assert "4 units of work, 3 of them done" in done(*RUN.split()).stderr
    assert tree(Path("out")) == tree(Path("whole"))
    done("reconstruct", "--verify", "plan.toml", "out")


def test_the_laws_of_the_first_run_stay_when_files_grow() -> None:
    """Estimated anew from four months they would differ, and so would the three that are done."""
    plan(("coarse_error = { t2m = 1.5, tp = 0.5 }\n", ""))
    done(*RUN.split())
    with opened(Path("out")) as ds:
        before, laws = ds["t2m"].load(), ds.attrs["dpdm_background_error_t2m"]
    write(network(["1894-03"]), "stations_new.csv")
    plan(("coarse_error = { t2m = 1.5, tp = 0.5 }\n", ""), end="1894-03")
    assert "4 units of work, 3 of them done" in done(*RUN.split()).stderr
    with opened(Path("out")) as ds:
        xr.testing.assert_equal(ds["t2m"].isel(time=slice(0, 3)), before)
        assert ds.attrs["dpdm_background_error_t2m"] == laws
    done("reconstruct", "--verify", "plan.toml", "out")


def test_an_open_period_ends_with_the_last_month_observed() -> None:
    plan(end="latest")
    done(*RUN.split())
    write(network(["1894-03"]), "stations_new.csv")
    assert "4 units of work, 3 of them done" in done(*RUN.split()).stderr
    with opened(Path("out")) as ds:
        assert str(ds["time"].values[-1])[:7] == "1894-03"
    done("reconstruct", "--verify", "plan.toml", "out")


def test_an_earlier_start_draws_the_earlier_months() -> None:
    done(*RUN.split())
    with opened(Path("out")) as ds:
        before = ds["t2m"].load()
    plan(("1893-12", "1893-10"))
    assert "5 units of work, 3 of them done" in done(*RUN.split()).stderr
    with opened(Path("out")) as ds:
        xr.testing.assert_equal(ds["t2m"].isel(time=slice(2, None)), before)


def test_a_month_whose_own_observations_change_is_named() -> None:
    done(*RUN.split())
    table = network(MONTHS)
    table.loc[table["time"] == "1893-12", "value"] += 0.5
    write(table)
    result = dpdm(*RUN.split())
    assert result.exit_code == 1
    assert "the input of 1893-12 was" in result.stderr
    assert "--accept-change" in result.stderr
    done(*RUN.split(), "--accept-change")


def test_another_climatology_is_another_background() -> None:
    done(*RUN.split())
    climate().to_netcdf("normals.nc")
    plan(("[prior]", '[prior]\nclimatology = "normals.nc"'))
    result = dpdm(*RUN.split())
    assert result.exit_code == 1
    assert "the climatology was" in result.stderr


def test_the_check_names_the_background_and_the_assumptions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dpdm.reconstruct.estimate.MEASURING_SECONDS", 0.0)
    write(network(MONTHS).rename(columns={"elevation [m]": "elevation"}))
    result = done("reconstruct", "--check", "plan.toml")
    assert "background: climatology era5 (2000-01 to 2025-12)" in result.stdout
    assert "input: none, 1893-12 to 1894-02" in result.stdout
    assert "elevation has no unit; heights in metres are assumed" in result.stdout
    assert "elevation has no unit" in done(*RUN.split()).stderr


def test_positions_may_come_from_a_list_of_stations() -> None:
    table = network(MONTHS)
    places = ["station", "lat", "lon", "elevation [m]"]
    table[places].drop_duplicates().to_csv("list.csv", index=False)
    done(*RUN.split())
    write(table.drop(columns=places[1:]))
    refused("reconstruct plan.toml other", "No observation|no position", "")
    plan(('files = ["stations*.csv"]', 'files = ["stations*.csv"]\nstations = "list.csv"'))
    done("reconstruct", "plan.toml", "other")
    with opened(Path("out")) as ours, opened(Path("other")) as its:
        xr.testing.assert_equal(ours["t2m"], its["t2m"])
    setup = prepare_reconstruction(Path("plan.toml"))
    assert any(name.endswith("list.csv") for name in setup.inputs())


FILES = 'files = ["stations*.csv"]'
REFUSED = {
    "no period": (('period = ["1893-12", "1894-02"]', ""), "neither input files nor a period",
                  'period = ["1872-01", "2023-12"] in [input]'),
    "no region": (('grid = "target.nc"', ""), "nothing sets the region",
                  "bbox = [101, 103, 19, 21] in [output]"),
    "no files at all": ((FILES, "files = []"), "input, files is", "Name files"),
    "an adjustment": (("[draw]",
                       '[adjust]\nmethod = "mean"\nreference = ["1981", "1990"]\n[draw]'),
                      "adjust, method is for input files", "Leave it out"),
    "consistent": (("members = 2", "members = 2\nconsistent = true"), "draw, consistent is for",
                   "Leave it out"),
    "names of input": (("[prior]", 'var = { t2m = "tas" }\n[prior]'), "input, var is for",
                       "Leave it out"),
    "no climatology": (("[prior]", '[prior]\nclimatology = "none"'), "no background", "era5"),
    "elsewhere": (('grid = "target.nc"', "bbox = [10, 12, 40, 42]"), "All stations lie outside",
                  "bbox = [101, 103, 19, 21] in [output]"),
    "another time": (('"1893-12", "1894-02"', '"1900-01", "1900-03"'), "no step at that time", ""),
    "no such day": (('"1893-12"', '"1893-02-30"'), "1893-02-30 is not a date", "Check the period"),
    "backwards": (('"1893-12"', '"1895-12"'), "input, period is", "the first and the last month"),
    "an open start": (('"1893-12"', '"latest"'), "input, period is", "the first and the last"),
    "a list alone": ((FILES, 'stations = "list.csv"'), "input, files is", "Name files"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_plan_that_cannot_be_is_a_sentence(case: str) -> None:
    change, what, hint = REFUSED[case]
    plan(change)
    refused(RUN, what, hint)


def test_a_prior_without_a_climatology_has_no_background() -> None:
    untrained_prior(reference=())
    refused(RUN, "no climatology is known to the prior there", "a prior that takes one")


def test_an_open_period_is_for_stations_alone() -> None:
    plan(("[input]", '[input]\nfiles = ["in.nc"]'), end="latest")
    refused(RUN, "ends with 'latest'", "leave the period out")
