"""A reconstruction: the same as downscaling, whatever the order, the blocks and the day."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dpdm.reconstruct.setup import prepare_reconstruction
from tests.helpers.reconstruction import opened, plan, replace, settle, tree, winter
from tests.helpers.small_world import Taught, done, dpdm, refused, summed


@pytest.fixture
def site(tmp_path: Path, taught: Taught, monkeypatch: pytest.MonkeyPatch) -> Path:
    return settle(tmp_path, taught, monkeypatch)


def test_it_is_what_downscaling_gives_to_the_bit(site: Path) -> None:
    plan(site, keep="all")
    done("reconstruct", "plan.toml", "out")
    words = "--prior", "prior.safetensors", "--members", 3, "--steps", 2
    winter().to_netcdf("whole.nc")
    done("downscale", "whole.nc", "fine.nc", *words)
    with opened(Path("out")) as ours, xr.open_dataset("fine.nc") as its:
        names = [n for n in its.data_vars if "time" in its[n].dims]
        assert {"t2m", "tp_mean", "tp_spread", "t2m_p90"} <= set(names)
        for name in names:
            np.testing.assert_array_equal(ours[name], its[name])
            assert ours[name].attrs == its[name].attrs


def test_blocks_and_layouts_change_no_value(site: Path) -> None:
    done("reconstruct", "plan.toml", "out")
    done("reconstruct", plan(site, "other.toml", block=3, layout="zarr"), "cube")
    with opened(Path("out")) as ours, xr.open_zarr("cube/fine.zarr") as its:
        for name in ("t2m_mean", "tp_p90", "tp_spread", "lat_bnds", "time"):
            np.testing.assert_array_equal(ours[name], its[name])
    assert {p.name for p in Path("cube").iterdir()} == {"fine.zarr", "ledger.jsonl", ".lock"}


@pytest.mark.parametrize("layout", ["netcdf-yearly", "zarr"])
def test_months_that_come_later_are_picked_up(site: Path, layout: str) -> None:
    plan(site, layout=layout)
    done("reconstruct", "plan.toml", "whole")
    later = Path("in_1.nc").rename("later.nc")
    done("reconstruct", "plan.toml", "out")
    assert "all of out is done" in dpdm("reconstruct", "plan.toml", "out").stderr
    later.rename("in_1.nc")
    result = done("reconstruct", "plan.toml", "out")
    assert "12 units of work, 6 of them done" in result.stderr
    assert tree(Path("out")) == tree(Path("whole"))
    done("reconstruct", "--verify", "plan.toml", "out")


@pytest.mark.parametrize("layout", ["netcdf-yearly", "zarr"])
def test_a_series_grows_by_steps_that_days_do_not_count_exactly(site: Path, layout: str) -> None:
    months = winter()
    hour = np.where(np.arange(months.sizes["time"]) < 3, 0, 1).astype("m8[h]").astype("m8[ns]")
    months = months.assign_coords(time=months["time"].values + hour)
    for number, path in enumerate(("in_0.nc", "late.nc")):
        replace(months.isel(time=slice(3 * number, 3 * number + 3)), path)
    Path("in_1.nc").unlink()
    done("reconstruct", plan(site, layout=layout), "out")
    Path("late.nc").rename("in_1.nc")
    done("reconstruct", "plan.toml", "out")
    done("reconstruct", "--verify", "plan.toml", "out")
    ours = opened(Path("out")) if layout != "zarr" else xr.open_zarr("out/fine.zarr")
    with ours:
        np.testing.assert_array_equal(ours["time"], months["time"][:6])


@pytest.mark.parametrize("layout", ["netcdf-yearly", "zarr"])
def test_amounts_keep_their_bounds(site: Path, layout: str) -> None:
    months = summed(winter())
    months.to_netcdf("whole.nc")
    for number, path in enumerate(("in_0.nc", "late.nc")):
        replace(months.isel(time=slice(3 * number, 3 * number + 3)), path)
    words = "--prior", "prior.safetensors", "--members", 3, "--steps", 2
    done("downscale", "whole.nc", "fine.nc", *words)
    Path("in_1.nc").unlink()
    done("reconstruct", plan(site, layout=layout, keep="all"), "out")
    Path("late.nc").rename("in_1.nc")
    done("reconstruct", "plan.toml", "out")
    done("reconstruct", "--verify", "plan.toml", "out")
    ours = opened(Path("out")) if layout != "zarr" else xr.open_zarr("out/fine.zarr")
    with ours, xr.open_dataset("fine.nc") as its:
        for name in ("tp", "tp_mean", "t2m", "time_bnds"):
            np.testing.assert_array_equal(ours[name], its[name])
        assert ours["tp"].attrs == its["tp"].attrs


def test_the_budget_ends_at_the_edge_of_a_unit(site: Path) -> None:
    done("reconstruct", "plan.toml", "whole")
    for number in range(40):  # more and more, for a start alone may take a while here
        result = done("reconstruct", "plan.toml", "out", "--budget", f"{0.1 * 1.2**number:.3f}s")
        if "is done" in result.stderr:
            break
        assert "time limit reached; the same command resumes" in result.stderr
    assert number > 0
    assert tree(Path("out")) == tree(Path("whole"))


def test_the_mean_alone(site: Path) -> None:
    done("reconstruct", plan(site, members=0), "out")
    winter().to_netcdf("whole.nc")
    done("downscale", "whole.nc", "fine.nc", "--prior", "prior.safetensors", "--mean")
    with opened(Path("out")) as ours, xr.open_dataset("fine.nc") as its:
        np.testing.assert_array_equal(ours["tp"], its["tp"])


def test_products_are_one_series_for_cdo(site: Path) -> None:
    if shutil.which("cdo") is None:
        pytest.skip("cdo is not here")
    done("reconstruct", "plan.toml", "out")
    files = sorted(map(str, Path("out").glob("*.nc")))
    subprocess.run(["cdo", "-s", "mergetime", *files, "merged.nc"], check=True)
    dates = subprocess.run(["cdo", "-s", "showdate", "merged.nc"], capture_output=True, check=True)
    assert dates.stdout.split()[0] == b"2000-10-01"
    assert len(dates.stdout.split()) == 6


def test_observations_pull_and_are_reported(site: Path) -> None:
    table = "time,lat,lon,variable,value,units,error\n2000-11,30.2,120.4,t2m,310,K,0.5\n"
    Path("stations.csv").write_text(table)
    seen = '[observations]\nfiles = ["stations.csv"]\nreject = 0\n'
    path = plan(site, keep="all")
    path.write_text(path.read_text() + seen)
    done("reconstruct", "plan.toml", "out")
    done("reconstruct", "--verify", "plan.toml", "out")
    winter().to_netcdf("whole.nc")
    words = "--prior", "prior.safetensors", "--members", 3, "--steps", 2, "--reject", 0
    done("assimilate", "stations.csv", "fine.nc", "--coarse", "whole.nc", *words)
    with opened(Path("out")) as ours, xr.open_dataset("fine.nc") as its:
        np.testing.assert_array_equal(ours["t2m"], its["t2m"])
    lines = Path("out/observations/2000-11.csv").read_text().splitlines()
    assert len(lines) == 2
    assert lines[1].split(",")[lines[0].split(",").index("status")] == "assimilated"


def test_files_of_a_plan_that_are_only_scored_change_nothing(site: Path) -> None:
    head = "time,lat,lon,variable,value,units,error\n"
    Path("stations.csv").write_text(f"{head}2000-11,30.2,120.4,t2m,310,K,0.5\n")
    Path("others.csv").write_text(f"{head}2000-11,31.2,121.4,t2m,290,K,0.5\n")
    path = plan(site, keep="all")
    bare = path.read_text() + '[observations]\nfiles = ["stations.csv"]\nreject = 0\n'
    path.write_text(bare)
    done("reconstruct", "plan.toml", "out")
    path.write_text(bare + 'verify = ["oth*.csv"]\n')
    done("reconstruct", "plan.toml", "scored")
    with opened(Path("out")) as ours, opened(Path("scored")) as its:
        np.testing.assert_array_equal(ours["t2m"], its["t2m"])
    lines = Path("scored/observations/2000-11.csv").read_text().splitlines()
    status = [line.split(",")[lines[0].split(",").index("status")] for line in lines[1:]]
    assert status == ["assimilated", "verification"]


def test_files_of_observations_may_grow(site: Path) -> None:
    """Finished steps stay as they are: by rows of other months, and by rows that are not used."""
    row = "2000-11,30.2,120.4,t2m,310,K,0.5\n"
    Path("stations.csv").write_text(f"time,lat,lon,variable,value,units,error\n{row}")
    path = plan(site)
    path.write_text(path.read_text() + '[observations]\nfiles = ["stations.csv"]\nreject = 0\n')
    done("reconstruct", "plan.toml", "out")
    before = tree(Path("out"))
    with Path("stations.csv").open("a") as file:
        file.write(f"2001-07,30.2,120.4,t2m,310,K,0.5\n{row}")
    done("reconstruct", "plan.toml", "out")
    assert {k: v for k, v in tree(Path("out")).items() if str(k).endswith(".nc")} == {
        k: v for k, v in before.items() if str(k).endswith(".nc")
    }
    with Path("stations.csv").open("a") as file:
        file.write(row.replace("310", "311"))
    result = dpdm("reconstruct", "plan.toml", "out")
    assert result.exit_code == 1
    assert "the input of 2000-11 was" in result.stderr


def test_status_tells_how_far_it_is(site: Path) -> None:
    refused("status out", "out holds no ledger", "OUT")
    done("reconstruct", "plan.toml", "out", "--budget", "0.001s")
    assert "done: 0 of 12 units" in done("status", "out").stdout
    done("reconstruct", "plan.toml", "out")
    text = done("status", "out").stdout
    for line in ("series: 2000-10 to 2001-03", "done: 12 of 12", "failed: 0", "running: no"):
        assert line in text


def test_check_counts_and_writes_nothing(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpdm.reconstruct.estimate.MEASURING_SECONDS", 0.1)
    before = set(site.rglob("*"))
    text = done("reconstruct", "--check", "plan.toml").stdout
    for line in ("units of work: 12", "cells: 32 x 48", "network evaluations: 42 of",
                 "disk space needed", "expected time: "):  # fmt: skip
        assert line in text
    assert set(site.rglob("*")) == before


def test_a_unit_that_fails_is_set_aside(site: Path) -> None:
    done("reconstruct", "plan.toml", "whole")
    broken = winter().isel(time=slice(3))
    broken["t2m"][1] = np.inf
    replace(broken, "in_0.nc")
    result = dpdm("reconstruct", "plan.toml", "out")
    assert result.exit_code == 1
    assert "2 units failed twice and were skipped" in result.stderr
    assert "infinite values" in result.stderr
    result = dpdm("status", "out")
    assert result.exit_code == 1
    assert "failed: 2" in result.stdout
    with xr.open_dataset("out/fine_2000.nc") as ds:
        assert ds.sizes["time"] == 2
    replace(winter().isel(time=slice(3)), "in_0.nc")
    done("reconstruct", "plan.toml", "out")
    assert dpdm("status", "out").exit_code == 0
    assert tree(Path("out")) == tree(Path("whole"))


CHANGES = {
    "members = 3": ("members = 4", "draw.members was 3 and is 4", False),
    "steps = 2": ("steps = 3", "draw.steps was 2 and is 3", True),
    'keep = "stats"': ('keep = "all"', "output.keep was stats and is all", False),
}


@pytest.mark.parametrize("old", CHANGES)
def test_a_change_of_the_plan_is_refused_or_recorded(site: Path, old: str) -> None:
    new, words, mild = CHANGES[old]
    done("reconstruct", "plan.toml", "out", "--budget", "0.5s")
    text = Path("plan.toml").read_text()
    Path("plan.toml").write_text(text.replace(old, new))
    result = dpdm("reconstruct", "plan.toml", "out")
    assert result.exit_code == 1
    assert words in result.stderr
    result = dpdm("reconstruct", "plan.toml", "out", "--accept-change")
    assert (result.exit_code == 0) == mild
    if mild:
        entries = [json.loads(line) for line in Path("out/ledger.jsonl").read_text().splitlines()]
        assert [words] in [e["differences"] for e in entries if e["event"] == "change"]
        done("reconstruct", "--verify", "plan.toml", "out")


def test_another_prior_or_input_is_refused_by_name(site: Path) -> None:
    done("reconstruct", "plan.toml", "out")
    other = winter().isel(time=slice(3))
    other["tp"][2] += 0.5
    replace(other, "in_0.nc")
    result = dpdm("reconstruct", "plan.toml", "out")
    assert result.exit_code == 1
    assert "the input of 2000-12 was" in result.stderr
    replace(winter().isel(time=slice(3)), "in_0.nc")
    with Path("prior.safetensors").open("ab") as file:
        file.write(b" ")
    result = dpdm("reconstruct", "plan.toml", "out")
    assert "safetensors" in result.stderr or "the prior was" in result.stderr


@pytest.mark.parametrize("touch", ["byte", "gone"])
def test_verify_finds_what_was_touched(site: Path, touch: str) -> None:
    done("reconstruct", "plan.toml", "out")
    path = Path("out/fine_2000.nc")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink() if touch == "gone" else path.write_bytes(bytes(data))
    result = dpdm("reconstruct", "--verify", "plan.toml", "out")
    assert result.exit_code == 1
    words = {"gone": "fine_2000.nc is missing", "byte": "fine_2000.nc was changed"}
    assert words[touch] in result.stderr


def test_work_is_sent_in_small_pieces(site: Path) -> None:
    import pickle

    setting = prepare_reconstruction(Path("plan.toml"))
    assert len(pickle.dumps(setting.read_unit_input(setting.units[0]))) < 2e5
