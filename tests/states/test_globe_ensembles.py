"""Ensembles around states of the globe, and their features, with priors of states and of codes."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from tests.helpers.globe_states import taught, weather
from tests.helpers.small_world import done, refused

PERTURB = "perturb days.nc out.nc --prior prior.safetensors --members 2 --steps 3"


@pytest.fixture(scope="module", params=["", "--latent"], ids=["states", "codes"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a prior of windows of 3 states of the globe."""
    torch.set_num_threads(1)
    made = tmp_path_factory.mktemp("globe")
    taught(made, *request.param.split(), series=weather(120))
    return made


@pytest.fixture
def days(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> xr.Dataset:
    """Five days of the weather, as a file beside the prior."""
    monkeypatch.chdir(tmp_path)
    Path("prior.safetensors").symlink_to(folder / "prior.safetensors")
    five = weather(120).isel(time=slice(20, 25))
    five.to_netcdf("days.nc")
    return five


def test_members_are_on_levels_and_near_the_state(days: xr.Dataset) -> None:
    spreads, off = [], []
    for strength in (0.15, 0.6):
        done(*f"{PERTURB} --strength {strength} --overwrite".split())
        with xr.open_dataset("out.nc") as ds:
            out = ds.load()
        assert set(out["t"].dims) == {"time", "realization", "level", "lat", "lon"}
        spreads.append(float(out["t"].std("realization").mean()))
        off.append(float(np.abs(out["t"] - days["t"]).mean()))
    assert 0 < spreads[0] < 0.5 * spreads[1]
    assert off[0] < 0.5 * off[1]


def test_without_noise_a_member_is_the_state(days: xr.Dataset) -> None:
    done(*f"{PERTURB} --strength 0 --keep all".split())
    with xr.open_dataset("out.nc") as out:
        for name in ("t", "sp"):
            found = out[name].isel(realization=1).transpose(*days[name].dims)
            np.testing.assert_array_equal(found, days[name])
        assert float(np.abs(out["t_spread"]).max()) == 0.0


def test_features_are_those_of_the_window_around(days: xr.Dataset) -> None:
    prior = ("--prior", "prior.safetensors", "--sigma", 0.5)
    done("embed", "days.nc", "out.nc", *prior)
    days.isel(time=slice(1, 4)).to_netcdf("part.nc")
    done("embed", "part.nc", "few.nc", *prior)
    with xr.open_dataset("out.nc") as whole, xr.open_dataset("few.nc") as part:
        assert whole["features"].dims == ("time", "feature", "lat", "lon")
        np.testing.assert_allclose(whole["features"][2], part["features"][1], atol=1e-4)


def test_gaps_are_refused(days: xr.Dataset) -> None:
    days["sp"][0, 0, 0] = np.nan
    days.to_netcdf("gaps.nc")
    refused(PERTURB.replace("days.nc", "gaps.nc"), "sp is missing in 1 of")
