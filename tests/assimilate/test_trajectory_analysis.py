"""What `dpdm assimilate` promises with a prior of trajectories, on two small worlds."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from dpdm.observations.table import read_observations
from dpdm.prior import load_prior
from dpdm.states.trajectory_domain import observed_trajectories
from tests.helpers.small_world import done, refused
from tests.helpers.trajectories import PLANE_TOML, TOML, currents, spirals

OBS = """
[what]
components = ["a"]
trajectories = [0, 3]
[when]
every = 4
[error]
std = [0.2]
"""
BLOCKS = """
[what]
variables = ["u"]
operator = "coarse"
factor = 4
trajectories = [1]
[when]
every = 3
[error]
std = [0.1]
"""
COMMAND = "assimilate obs.nc out.nc --prior spirals.safetensors --steps 16"


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with spirals and currents, what they taught, and what was seen of them."""
    folder = tmp_path_factory.mktemp("taught")
    torch.set_num_threads(1)
    for name, ds, toml, seen in (
        ("spirals", spirals(60, 24), TOML, OBS), ("currents", currents(), PLANE_TOML, BLOCKS)
    ):  # fmt: skip
        truth = folder / f"{name}.nc"
        ds.assign_coords(trajectory=np.arange(ds.sizes["trajectory"])).to_netcdf(truth)
        longer = toml.replace("steps = 150", "steps = 600").replace("steps = 30", "steps = 200")
        longer = longer.replace("widths = [8, 8]", "widths = [16, 16]").replace("= 4\n", "= 8\n")
        (folder / "train.toml").write_text(longer)
        (folder / "obs.toml").write_text(seen)
        prior = truth.with_suffix(".safetensors")
        done("train", truth, "--window", 5, "--out", prior, "--config", folder / "train.toml")
        done("observe", truth, folder / f"{name}_obs.nc", "--config", folder / "obs.toml")
    return folder


@pytest.fixture(autouse=True)
def here(taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    for path in taught.iterdir():
        Path(path.name).symlink_to(path)
    Path("obs.nc").symlink_to(taught / "spirals_obs.nc")
    return None


def opened(path: str = "out.nc") -> xr.Dataset:
    with xr.open_dataset(path) as ds:
        return ds.load()


def test_trajectories_come_to_what_was_measured_at_all_times() -> None:
    """An observed component turns into the other within a quarter of a turn."""
    done(*f"{COMMAND} --members 8 --grid spirals.nc --report report.csv".split())
    out, truth = opened(), opened("spirals.nc").sel(trajectory=[0, 3])
    assert out["state"].dims == ("realization", "trajectory", "time", "component")
    assert out["state"].shape == (8, 2, 24, 2)
    np.testing.assert_array_equal(out["time"], truth["time"])
    assert all("long_name" in out[n].attrs for n in ("realization", "trajectory", "component"))
    inner = {"time": slice(4, 21)}
    missed = (out["state_mean"] - truth["state"]).isel(inner)
    climate = (truth["state"].mean() - truth["state"]).isel(inner)
    for name in ("a", "b"):
        ratio = float((missed.sel(component=name) ** 2).mean() / (climate**2).mean()) ** 0.5
        assert ratio < 0.5, name
    report = pd.read_csv("report.csv")
    assert set(report["status"]) == {"assimilated"}
    assert (report["residual"] ** 2).mean() < 0.05 * (report["innovation"] ** 2).mean()


@pytest.mark.parametrize("guidance", ["sda", "mmps", "dps"])
def test_a_member_depends_on_its_number_alone(guidance: str) -> None:
    command = f"{COMMAND} --guidance {guidance} --keep members"
    done(*f"{command} --members 3".split())
    three = opened()["state"].values
    done(*f"{command} --members 2 --overwrite".split())
    np.testing.assert_array_equal(three[:2], opened()["state"].values)


def test_a_trajectory_does_not_depend_on_the_others() -> None:
    done(*f"{COMMAND} --members 2".split())
    both = opened()["state"].sel(trajectory=3)
    seen = opened("obs.nc")
    seen.isel(obs=np.flatnonzero(seen["trajectory"] == 3)).to_netcdf("lone.nc")
    done(*COMMAND.replace("obs.nc", "lone.nc").split(), "--members", 2, "--overwrite")
    np.testing.assert_array_equal(both, opened()["state"].sel(trajectory=3))


def test_a_check_measures_trajectories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpdm.states.cost.MEASURING_SECONDS", 0.0)
    said = done(*f"{COMMAND} --members 2 --grid spirals.nc --check".split()).stdout
    for line in (
        "variables: ",
        "members: 2, each of ",
        "measured: ",
        "expected time: ",
        "disk space needed: ",
    ):
        assert line in said


def test_without_a_grid_the_first_and_the_last_observation_bound_the_trajectory() -> None:
    done(*f"{COMMAND} --members 1 --keep stats".split())
    out = opened()
    np.testing.assert_allclose(out["time"], 0.25 * np.arange(21))
    assert "state" not in out
    assert out["state_mean"].dims == ("trajectory", "time", "component")


def test_a_table_of_one_trajectory_needs_no_number() -> None:
    rows = pd.DataFrame({"time": [0.0, 2.0], "component": "a", "variable": "state", "value": 5.0})
    rows.assign(error=0.5, units="1").to_csv("lone.csv", index=False)
    done(*COMMAND.replace("obs.nc", "lone.csv").split(), "--members", 2)
    assert opened()["state"].dims == ("realization", "time", "component")


def test_means_over_several_times_pull_them_together() -> None:
    row = {"time": [0.0], "end": [2.0], "component": "a", "variable": "state", "value": 8.0}
    pd.DataFrame(row | {"error": 0.1, "units": "1"}).to_csv("mean.csv", index=False)
    words = ["--members", 4, "--grid", "spirals.nc", "--reject", 0]
    done(*COMMAND.replace("obs.nc", "mean.csv").split(), *words)
    found = opened()["state"].sel(component="a", time=slice(0, 2))
    np.testing.assert_allclose(found.mean("time"), 8.0, atol=0.5)
    assert float(found.std("time").mean()) > 0.2


def test_blocks_of_a_plane_are_seen() -> None:
    command = "assimilate currents_obs.nc out.nc --prior currents.safetensors --steps 24"
    done(*f"{command} --tau 0.3 --members 2 --grid currents.nc --report report.csv".split())
    out, report = opened(), pd.read_csv("report.csv")
    assert out["v"].dims == ("realization", "trajectory", "time", "y", "x")
    assert out["v_spread"].dims == ("trajectory", "time", "y", "x")
    assert len(report) == 12
    assert (report["residual"] ** 2).mean() < 0.5 * (report["innovation"] ** 2).mean()
    seen = out["u"].sel(trajectory=1).isel(time=0).coarsen(y=4, x=4).mean().mean("realization")
    np.testing.assert_allclose(report["analysis"][:4], seen.values.ravel(), rtol=1e-4, atol=1e-5)


def test_the_operator_of_a_component_is_its_physical_value() -> None:
    prior = load_prior(Path("spirals.safetensors"))
    table = read_observations([Path("obs.nc")]).assign(step=lambda t: (t["time"] / 0.25).round())
    space = observed_trajectories(prior, table, Path("spirals.nc"), "obs.nc")
    x = torch.randn(2, *space.shape)
    physical = space.physical(x)
    some = table.iloc[[1, 5, 2]].astype({"step": int})
    expected = physical[:, 0, some["step"].to_list(), 0, 0]
    torch.testing.assert_close(space.operator(some)(physical), expected)


def test_a_setting_that_is_known_to_be_biased_is_warned_of() -> None:
    result = done(*f"{COMMAND} --members 1 --corrections 0".split())
    assert "known to be biased" in result.stderr


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("--coarse spirals.nc", "--coarse applies to fields on the Earth"),
        ("--bbox 1,2,3,4", "--bbox applies to fields"),
        ("--climatology era5", "--climatology applies to fields"),
        ("--coarse-error t2m=1", "--coarse-error applies to fields"),
        ("--dates 1993,1994", "--dates applies to fields"),
        ("--grid currents.nc", "fields of 8 by 8 cells, the prior's components"),
    ],
)
def test_what_does_not_fit_trajectories_is_refused(words: str, what: str) -> None:
    refused(f"{COMMAND} {words}", what)


def test_a_trajectory_shorter_than_a_window_is_refused() -> None:
    opened("obs.nc").isel(obs=slice(1)).to_netcdf("short.nc")
    refused(COMMAND.replace("obs.nc", "short.nc"), "window of 5 states is longer")


def test_times_of_another_rhythm_are_refused() -> None:
    ds = opened("spirals.nc")
    ds.assign_coords(time=ds["time"] * 2).to_netcdf("slow.nc")
    refused(f"{COMMAND} --grid slow.nc", "0.5 apart, the prior's 0.25")


def test_dates_need_a_grid() -> None:
    rows = {"time": "2000-01-01", "component": "a", "variable": "state", "value": [5.0]}
    pd.DataFrame(rows | {"error": 0.5, "units": "1"}).to_csv("dated.csv", index=False)
    refused(COMMAND.replace("obs.nc", "dated.csv"), "are dates", "--grid")


def test_guidance_that_would_overshoot_is_shortened_and_says_so() -> None:
    result = done(*f"{COMMAND} --members 1 --guidance dps --zeta 1e30".split())
    assert re.search(r"Warning: \d+ of \d+ steps of guidance would have overshot", result.stderr)
    assert np.isfinite(opened("out.nc")["state"]).all()


def test_trajectories_that_do_not_fit_into_memory_are_refused_before_they_are_made() -> None:
    rows = {"time": [0.0, 0.25 * 900_000], "component": "a", "variable": "state", "value": 5.0}
    pd.DataFrame(rows | {"error": 0.5, "units": "1"}).to_csv("long.csv", index=False)
    refused(
        f"{COMMAND.replace('obs.nc', 'long.csv')} --members 99999",
        "of memory are free",
        "--members",
    )


def test_a_prior_of_fields_says_that_it_knows_no_trajectories() -> None:
    refused(
        "assimilate obs.nc out.nc --grid spirals.nc",
        "are of trajectories",
        "prior of trajectories",
    )
