"""What each command promises, on small real files."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dpdm.prior import list_bundled_priors
from dpdm.system import sha256
from tests.helpers.small_world import FACTOR, Taught, coarse_world, done, refused, world

needs_cdo = pytest.mark.skipif(shutil.which("cdo") is None, reason="cdo is not here")


@pytest.fixture
def coarse(tmp_path: Path) -> Path:
    coarse_world().to_netcdf(tmp_path / "coarse.nc")
    return tmp_path / "coarse.nc"


def test_training_from_many_files(tmp_path: Path, taught: Taught) -> None:
    whole = world(24)
    parts = [tmp_path / f"part{i}.nc" for i in (0, 1)]
    for i, part in enumerate(parts):
        chunks = {"t2m": {"chunksizes": (1, 8, 8), "zlib": True}}
        whole.isel(time=slice(12 * i, 12 * i + 12)).to_netcdf(part, encoding=chunks)
    again = tmp_path / "small.safetensors"
    done("train", *parts, "--out", again, "--factor", FACTOR, "--config", taught.config)
    one, two = (json.loads(done("info", p, "--json").stdout) for p in (taught.prior, again))
    differ = {key for key in one if one[key] != two[key]} - {"file", "sha256", "training"}
    assert differ == set()
    assert not list(tmp_path.glob("*.resume"))


def test_training_from_the_users_own_coarse_fields(coarse: Path, taught: Taught) -> None:
    fine, prior = coarse.with_name("fine.nc"), coarse.with_name("own.safetensors")
    world().to_netcdf(fine)
    done("train", fine, "--coarse", coarse, "--out", prior, "--config", taught.config)
    assert json.loads(done("info", prior, "--json").stdout)["factors"] == [FACTOR, FACTOR]


@needs_cdo
def test_coarsen_is_cdo_and_lerp_is_remapbil(tmp_path: Path) -> None:
    fine, ours, theirs = (tmp_path / f"{n}.nc" for n in ("fine", "ours", "theirs"))
    done("lerp", _cf(fine), ours, "--factor", 1)  # CF axes for CDO
    done("coarsen", ours, fine.with_name("coarse.nc"), "--factor", FACTOR)
    grid = fine.with_name("coarse.nc")
    subprocess.run(["cdo", "-s", f"remapcon,{grid}", ours, theirs], check=True)
    _close(grid, theirs)
    done("lerp", grid, ours, "--grid", fine, "--overwrite")
    subprocess.run(["cdo", "-s", f"remapbil,{ours}", grid, theirs], check=True)
    _close(ours, theirs, inner=FACTOR)


def _cf(path: Path) -> Path:
    world().to_netcdf(path)
    return path


def _close(ours: Path, theirs: Path, inner: int = 0) -> None:
    cut = {d: slice(inner, -inner or None) for d in ("lat", "lon")}
    a, b = (xr.open_dataset(p).isel(cut) for p in (ours, theirs))
    for name in ("t2m", "tp"):
        # both are single precision; CDO takes areas of great-circle cells, 1e-4 of the field off
        np.testing.assert_allclose(a[name], b[name], rtol=2e-4, atol=2e-3)


def test_evaluate_has_its_rows(coarse: Path, taught: Taught) -> None:
    world().to_netcdf(truth := coarse.with_name("truth.nc"))
    out = coarse.with_name("out.nc")
    done("downscale", coarse, out, "--prior", taught.prior, "--steps", 2, "--members", 10)
    said = json.loads(done("evaluate", out, truth, "--coarse", coarse, "--json").stdout)
    methods = {row["method"] for row in said["rows"] if row["variable"] == "t2m"}
    assert methods >= {"lerp", "one member", "mean of 10"}
    assert {row["variable"] for row in said["rows"]} == {"t2m", "tp"}
    (lerp,) = (r for r in said["rows"] if (r["method"], r["variable"]) == ("lerp", "t2m"))
    assert lerp["rmse"] > 0
    assert lerp["rmse_ratio"] == 1
    text = done("evaluate", out, truth, "--coarse", coarse).stdout
    assert "t2m [K]" in text
    assert "bilinear" in text


def test_info_tells_of_data_and_priors(coarse: Path, taught: Taught) -> None:
    data = json.loads(done("info", coarse, "--json").stdout)
    assert data["variables"] == {"t2m": " [K]", "tp": " [mm day-1]"} or "t2m" in data["variables"]
    assert data["spacing_degrees"] == [4.0, 4.0]
    assert (data["steps"], data["calendar"]) == (3, "proleptic_gregorian")
    prior = json.loads(done("info", taught.prior, "--json").stdout)
    assert prior["factors"] == [4, 4]
    assert prior["fine_spacing_degrees"] == [1.0, 1.0]
    assert prior["training"]["period"] == ["2000-01-01", "2001-10-01"]
    assert set(prior["held_out_rmse_over_lerp"]) == {"t2m", "tp"}
    assert "refinement factor: 4\n" in done("info", taught.prior).stdout


def test_info_gives_the_file_s_own_calendar(here: Path) -> None:
    for calendar in ("standard", "proleptic_gregorian", "noleap", "360_day"):
        ds = coarse_world(calendar=calendar)
        ds["time"].encoding["calendar"] = calendar
        ds.to_netcdf(name := f"{calendar}.nc")
        assert json.loads(done("info", name, "--json").stdout)["calendar"] == calendar


def test_a_prior_that_names_no_way_of_sampling_takes_the_usual_one(here: Path) -> None:
    with safe_open("prior.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        said = json.loads(file.metadata()["dpdm_prior"])
    said["contract"]["sampling"] = {"steps": 3}
    save_file(tensors, "old.safetensors", {"dpdm_prior": json.dumps(said)})
    usual = {"sampler": "multistep", "steps": 3, "most": 80.0, "inflation": 1.0, "least": 0.0}
    usual |= {"schedule": "karras", "guidance": "law", "corrections": 0, "tau": 0.5}
    usual["reference_inflation"] = 1.0
    assert json.loads(done("info", "old.safetensors", "--json").stdout)["sampling"] == usual
    done("downscale", "coarse.nc", "out.nc", "--prior", "old.safetensors", "--members", 1)
    del said["contract"]["sampling"], said["contract"]["window"]
    save_file(tensors, "bad.safetensors", {"dpdm_prior": json.dumps(said)})
    for command in ("info bad.safetensors", "downscale coarse.nc o.nc --prior bad.safetensors"):
        refused(command, "bad.safetensors is not a valid prior: .*lacks the key window", "Get the")


def test_doctor_is_well() -> None:
    said = done("doctor").stdout
    assert "self-test" in said
    assert "FAIL" not in said
    assert all(f"prior {name}" in said for name in list_bundled_priors())


def test_a_prior_begins_with_the_weights_of_another(here: Path, taught: Taught) -> None:
    still = Path("still.toml")
    still.write_text(
        Path("small.toml").read_text().replace("steps = 12", "steps = 1\nlearning_rate = 0.0")
    )
    command = ("train", "fine.nc", "--out", "tuned.safetensors", "--factor", FACTOR)
    done(*command, "--start", taught.prior, "--config", still)
    first, tuned = (load_file(p) for p in (taught.prior, "tuned.safetensors"))
    assert all(torch.equal(first[k], tuned[k]) for k in tuned)  # no climate of three months
    said = json.loads(done("info", "tuned.safetensors", "--json").stdout)["training"]
    assert said["start_sha256"] == sha256(taught.prior)


def test_a_prior_of_another_kind_is_no_start(here: Path) -> None:
    tail = "--out tuned.safetensors --factor 4 --start prior.safetensors"
    refused(f"train fine.nc {tail}", "another size: read", "[net]")
    rain = xr.open_dataset("fine.nc")[["tp"]].load()
    rain.to_netcdf("rain.nc")
    refused(f"train rain.nc --config small.toml {tail}", "prior of t2m, tp; the files hold tp")
