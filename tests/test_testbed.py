"""dpdm testbed: truths to learn from."""

from pathlib import Path

import netCDF4
import numpy as np
import pytest
import torch
import xarray as xr

from dpdm.testbeds import kolmogorov, lorenz63
from tests.helpers.small_world import done, refused

LORENZ = "testbed lorenz63 truth.nc --trajectories 3 --length 5"
KOLMOGOROV = (
    "testbed kolmogorov truth.nc --trajectories 2 --length 3 --size 16 --resolution 32 --burn-in 2"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def made(command: str) -> xr.Dataset:
    done(*command.split())
    return xr.load_dataset("truth.nc")


def test_a_lorenz63_file_holds_the_trajectories_in_double_precision() -> None:
    truth = made(LORENZ + " --seed 7")
    assert truth["state"].dims == ("trajectory", "time", "component")
    assert list(truth["component"].values) == ["x", "y", "z"]
    np.testing.assert_allclose(truth["time"], np.arange(5) * 0.025)
    expected = lorenz63.simulate_lorenz(3, 5, seed=7)
    assert np.array_equal(truth["state"].values, expected.numpy())


def test_a_kolmogorov_file_holds_the_flow_at_the_centres_of_its_cells() -> None:
    truth = made(KOLMOGOROV)
    assert dict(truth["u"].sizes) == {"trajectory": 2, "time": 3, "y": 16, "x": 16}
    np.testing.assert_allclose(truth["x"], kolmogorov.cell_centres(16))
    np.testing.assert_allclose(truth["time"], [0.0, 0.2, 0.4])
    expected = kolmogorov.simulate_flow(1, 3, 0, 2, 16, kolmogorov.KolmogorovFlow(32))
    found = torch.from_numpy(np.stack([truth[n].values[1] for n in "uv"], axis=1)).double()
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)  # single precision


@pytest.mark.parametrize("command", [LORENZ, KOLMOGOROV])
def test_a_trajectory_is_decided_by_seed_and_number(command: str) -> None:
    few = made(command)
    many = made(f"{command} --trajectories 4 --length 8 --overwrite")
    part = {"trajectory": slice(few.sizes["trajectory"]), "time": slice(few.sizes["time"])}
    assert few.equals(many.isel(part))


def test_the_file_says_what_it_is() -> None:
    truth = made(LORENZ + " --seed 7 --burn-in 20")
    said = truth.attrs
    assert said["Conventions"] == "CF-1.11"
    assert said["dpdm_system"] == "lorenz63"
    assert (said["dpdm_seed"], said["dpdm_burn_in"]) == ("7", "20")
    assert "dpdm" in said["history"]
    with netCDF4.Dataset("truth.nc") as file:
        assert all(file[n].units == "1" for n in ("state", "time"))
        assert file["state"].chunking() == [1, 5, 3]


@pytest.mark.parametrize(
    ("command", "what", "hint"),
    [
        (LORENZ.replace("--length 5", "--length 0"), "length is 0", "1 or more"),
        (LORENZ.replace("--trajectories 3", "--trajectories -1"), "trajectories is -1", "1 or"),
        (LORENZ + " --seed -1", "seed is -1", "0 or more"),
        (LORENZ + " --burn-in -5", "burn_in is -5", "0 or more"),
        (LORENZ + " --interval 0", "interval is 0", "above 0"),
        (LORENZ + " --interval 0.06", "interval is 0.06", "up to 0.05"),
        (LORENZ.replace("truth.nc", "truth.txt"), "ends in '.txt'", "End it in"),
        (KOLMOGOROV.replace("--size 16", "--size 24"), "32 cannot be averaged to 24", "144"),
        (KOLMOGOROV.replace("--size 16", "--size 1"), "size is 1", "2 or more"),
        (KOLMOGOROV.replace("--resolution 32", "--resolution 16"), "16 cannot", "128"),
    ],
)
def test_impossible_numbers_are_refused(command: str, what: str, hint: str) -> None:
    refused(command, what, hint)


def test_options_of_the_other_system_are_not_ignored() -> None:
    refused(LORENZ + " --size 32", "--size is for kolmogorov", code=2)


@pytest.mark.parametrize("words", ["--interval 0.01", "--deterministic"])
def test_options_of_lorenz63_are_not_ignored(words: str) -> None:
    refused(f"{KOLMOGOROV} {words}", "is for lorenz63", code=2)


def test_an_unshaken_file_holds_steps_of_the_model_alone() -> None:
    truth = made(LORENZ + " --interval 0.01 --deterministic")
    np.testing.assert_allclose(truth["time"], np.arange(5) * 0.01)
    state = torch.from_numpy(truth["state"].values)
    assert torch.equal(state[:, 1:], lorenz63.advance_states(state[:, :-1], 0.01))
    assert (truth.attrs["dpdm_interval"], truth.attrs["dpdm_deterministic"]) == ("0.01", "true")
    assert "stochastic" not in truth["state"].attrs["long_name"]


def test_info_tells_what_a_test_bed_holds() -> None:
    done("testbed", "lorenz63", "truth.nc", "--trajectories", 2, "--length", 5)
    said = done("info", "truth.nc").stdout
    assert "time between states: 0.025" in said
    assert "trajectory: 2" in said


def test_a_file_is_not_replaced_unasked() -> None:
    done(*LORENZ.split())
    refused(LORENZ, "truth.nc exists", "--overwrite")
    done(*LORENZ.split(), "--overwrite")
