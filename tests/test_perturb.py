"""dpdm perturb: the law of members in closed form, and what the command promises."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dpdm.diffusion.noise import draw_noise, level_at_share
from dpdm.fields.regrid import coarsen_fields
from tests.helpers.gaussian_prior import gaussian, opened_file
from tests.helpers.small_world import FACTOR, done, refused
from tests.helpers.trajectories import currents

FIELDS = "perturb fine.nc out.nc --prior prior.safetensors --steps 4"
LINES = "perturb spirals.nc out.nc --prior gaussian.safetensors"


def test_members_around_a_state_follow_the_flow_of_a_gaussian(lines: None) -> None:
    """Along a mode of variance v: m + sqrt(v / (v + sigma^2)) (x + sigma z - m)."""
    done(*f"{LINES} --members 3 --strength 0.6 --seed 4".split())
    truth, out = opened_file("spirals.nc")["state"].values, opened_file()
    taught = truth[:8].reshape(-1, 2)
    mean, std = taught.mean(0), taught.std(0)
    taught = (taught - mean) / std
    values, modes = np.linalg.eigh(taught.T @ taught / len(taught))
    sigma = level_at_share("karras", 0.6, 0.005, 4.0)
    assert float(out.attrs["dpdm_sigma"]) == pytest.approx(sigma, rel=1e-5)
    shrink = modes * np.sqrt(values / (values + sigma**2)) @ modes.T
    for member in range(3):
        z = draw_noise((6, 2), 4, member, "trajectory 7").numpy()
        expected = ((truth[7] - mean) / std + sigma * z) @ shrink * std + mean
        found = out["state"].values[member, 7]
        # 32 steps of third order leave some 1e-3 of the standard deviation.
        np.testing.assert_allclose(found, expected, rtol=0, atol=5e-3 * std.max())


def test_a_centred_ensemble_has_the_state_for_its_mean(lines: None) -> None:
    done(*f"{LINES} --members 5 --strength 0.5 --centred --keep all".split())
    truth, out = opened_file("spirals.nc")["state"], opened_file()
    np.testing.assert_allclose(out["state"].mean("realization"), truth, rtol=0, atol=1e-5)
    np.testing.assert_allclose(out["state_mean"], truth, rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        out["state_spread"], out["state"].std("realization", ddof=1), rtol=1e-4
    )


def test_only_windows_know_how_far_apart_states_are(lines: None) -> None:
    torch.set_default_dtype(torch.float32)
    ds = opened_file("spirals.nc")
    ds.assign_coords(time=3.0 * ds["time"] ** 2).to_netcdf("uneven.nc")
    command = LINES.replace("spirals.nc", "uneven.nc")
    done(*f"{LINES} --members 2".split())
    even = opened_file()
    done(*f"{command} --members 2 --overwrite".split())
    np.testing.assert_array_equal(even["state"], opened_file()["state"])
    gaussian(5)
    refused(f"{command} --overwrite", "0.1875 to 1.6875 apart in time", "regular times")
    ds.assign_coords(time=2 * ds["time"]).to_netcdf("slow.nc")
    refused(f"{LINES.replace('spirals.nc', 'slow.nc')} --overwrite", "0.5 apart, the prior's 0.25")


@pytest.mark.parametrize("states", [1, 5])
def test_a_member_depends_on_its_number_alone(lines: None, states: int) -> None:
    torch.set_default_dtype(torch.float32)
    gaussian(states)
    done(*f"{LINES} --members 3".split())
    three = opened_file()["state"].values
    done(*f"{LINES} --members 2 --overwrite".split())
    np.testing.assert_array_equal(three[:2], opened_file()["state"].values)
    assert np.ptp(three, axis=0).min() > 0


def test_a_target_spread_is_met_and_its_curve_is_told(lines: None) -> None:
    opened_file("spirals.nc").isel(trajectory=[0]).to_netcdf("one.nc")
    command = LINES.replace("spirals.nc", "one.nc")
    result = done(*f"{command} --members 8 --target-spread a=0.4".split())
    out = opened_file()
    spread = float(out["state"].sel(component="a").var("realization", ddof=1).mean()) ** 0.5
    assert spread == pytest.approx(0.4, rel=0.011)
    curve = json.loads(out.attrs["dpdm_calibration"])
    strengths, sigmas, spreads = zip(*curve, strict=True)
    assert list(strengths) == sorted(strengths)
    assert list(sigmas) == sorted(sigmas)
    assert [s["a"] for s in spreads] == sorted(s["a"] for s in spreads)
    assert len(result.stdout.splitlines()) == len(curve) + 2  # the head, and what was written


def test_fields_on_a_plane_are_perturbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    currents().to_netcdf("currents.nc")
    Path("t.toml").write_text("[net]\nread=[4,4,4]\nwidths=[8,8]\ndepth=1\n[train]\nsteps=2\n")
    prior = "p.safetensors"
    done("train", "currents.nc", "--window", 3, "--out", prior, "--config", "t.toml")
    done("perturb", "currents.nc", "out.nc", "--prior", prior, "--members", 2, "--steps", 3)
    out = opened_file()
    assert out["v"].dims == ("realization", "trajectory", "time", "y", "x")
    assert bool(np.isfinite(out["u"]).all())


def test_block_means_are_left_as_they_are_when_asked(here: Path) -> None:
    done(*f"{FIELDS} --members 3 --strength 0.7 --consistent".split())
    truth, out = opened_file("fine.nc"), opened_file()
    assert out["t2m"].dims == ("time", "realization", "lat", "lon")
    wanted = coarsen_fields(truth, FACTOR)
    for name, close in (("t2m", 1e-3), ("tp", 1e-4)):
        found = coarsen_fields(out[[name]].isel(realization=1, drop=True), FACTOR)
        np.testing.assert_allclose(found[name], wanted[name], rtol=0, atol=close)
    assert float(out["t2m"].std("realization").mean()) > 0.01
    assert float(out["tp"].min()) >= 0


@pytest.mark.parametrize("words", ["", "--blind"])
def test_spread_rises_with_the_strength(here: Path, words: str) -> None:
    spreads = []
    for strength in (0.2, 0.5, 0.8):
        done(*f"{FIELDS} --members 3 --strength {strength} --overwrite {words}".split())
        spreads.append(float(opened_file()["t2m"].std("realization").mean()))
    assert spreads[0] < 0.5 * spreads[1] < 0.5 * spreads[2]


def test_a_strength_of_zero_returns_the_state_and_says_so(here: Path) -> None:
    result = done(*f"{FIELDS} --members 2 --strength 0".split())
    assert "every member is the state itself" in result.stderr
    out, truth = opened_file(), opened_file("fine.nc")
    for name in truth.data_vars:
        for member in range(2):
            np.testing.assert_array_equal(out[name].isel(realization=member), truth[name])


def test_the_units_are_those_of_the_state(here: Path) -> None:
    fine = opened_file("fine.nc")
    fine["t2m"] = (fine["t2m"] - 273.15).assign_attrs(fine["t2m"].attrs | {"units": "degC"})
    fine.to_netcdf("warm.nc")
    for words in ("", "--blind"):
        command = FIELDS.replace("fine.nc", "warm.nc")
        done(*f"{command} --members 2 --strength 0.1 --overwrite {words}".split())
        out = opened_file()
        assert out["t2m"].attrs["units"] == "degC"
        assert float(np.abs(out["t2m"] - fine["t2m"]).max()) < 30


@pytest.mark.parametrize("strength", ["1.5", "-0.1"])
def test_a_strength_beyond_the_schedule_is_refused(here: Path, strength: str) -> None:
    refused(f"{FIELDS} --strength {strength}", "beyond the prior's range", "from 0")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("--target-spread t2m=1e6", "beyond the prior's range: at strength 1 it is"),
        ("--target-spread u10=1", "no variable u10; it has t2m, tp"),
        ("--target-spread 1", "no common spread"),
        ("--target-spread t2m=0", "target spread is 0"),
        ("--factor 5", "factor 5 does not cut 32 latitudes"),
        ("--blind --consistent", "--blind ignores them"),
    ],
)
def test_what_does_not_fit_a_field_is_refused(here: Path, words: str, what: str) -> None:
    refused(f"{FIELDS} --members 2 {words}", what)


def test_a_state_that_is_none_is_refused(here: Path) -> None:
    fine = opened_file("fine.nc")
    gaps = fine.copy(deep=True)
    gaps["tp"][1, 3, 4] = np.nan
    gaps.to_netcdf("gaps.nc")
    fine[["t2m"]].to_netcdf("alone.nc")
    for name, what in (
        ("gaps.nc", "gaps.nc: tp is missing in 1 of 1536 cells"),
        ("alone.nc", "alone.nc has no tp"),
        ("coarse.nc", "No factor from 4 to 4|spacing is 4 degrees"),
    ):
        refused(FIELDS.replace("fine.nc", name), what)
    refused(f"{FIELDS.replace('fine.nc', 'coarse.nc')} --blind", "spacing is 4 degrees")


def test_trajectories_that_do_not_fit_are_refused(lines: None) -> None:
    ds = opened_file("spirals.nc")
    broken = ds.copy(deep=True)
    broken["state"][0, 0, 0] = np.nan
    broken.to_netcdf("broken.nc")
    ds.isel(component=[0]).to_netcdf("lone.nc")
    currents().to_netcdf("currents.nc")
    for name, what in (
        ("broken.nc", "missing or infinite values"),
        ("lone.nc", "have 1 components or variables, the prior's 2"),
        ("currents.nc", "fields of 8 by 8 cells, the prior's components"),
    ):
        refused(LINES.replace("spirals.nc", name), what)
    refused(f"{LINES} --factor 4", "this is a prior of trajectories")
    refused(f"{LINES} --climatology era5", "this is a prior of trajectories")
    refused(f"{LINES} --strength 1 --target-spread 2", "either --strength", code=2)
    refused(f"{LINES} --target-spread a=b", "not a number", code=2)
