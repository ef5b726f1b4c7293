"""Trajectories: windows at random, and a prior that knows the motion."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from dpdm.diffusion.denoise import Denoiser, Gaussian
from dpdm.diffusion.tile import TimeWindows, tile_denoiser
from dpdm.fields.trajectories import open_trajectories, trajectory_cadence
from dpdm.nets.mlp import MLP
from dpdm.nets.unet import UNet
from dpdm.prior import Prior, check_trajectory_length, load_prior
from dpdm.prior.windows import state_scaling, window_denoiser
from dpdm.training.config import PerceptronRecipe
from dpdm.training.loop import training_identity
from dpdm.training.trajectory_windows import (
    TrajectoryTrainingSet,
    prepare_trajectory_training,
    window_covariance,
)
from tests.helpers.small_world import done, refused
from tests.helpers.trajectories import PLANE_TOML, TOML, currents, spirals


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    spirals().to_netcdf("spirals.nc")
    Path("small.toml").write_text(TOML)
    return tmp_path


def lesson(ds: xr.Dataset, folder: Path, states: int = 5) -> TrajectoryTrainingSet:
    torch.set_default_dtype(torch.float32)
    path = folder / "truth.nc"
    ds.to_netcdf(path)
    with open_trajectories(path) as fields:
        return prepare_trajectory_training(fields, path, states, PerceptronRecipe())


def taught(name: str) -> Prior:
    torch.set_default_dtype(torch.float32)
    return load_prior(Path(name))


def test_windows_are_successive_states_of_one_normalised_trajectory(tmp_path: Path) -> None:
    ds = spirals()
    one = lesson(ds, tmp_path)
    x, given = one.batch(np.random.default_rng(3))
    assert x.shape == (256, 10)
    assert given.numel() == 0
    mean, std = (
        np.array([getattr(c, k) for c in one.normaliser.channels]) for k in ("mean", "std")
    )
    every = torch.from_numpy((ds["state"].values[:16] - mean) / std).float()
    known = torch.cat([every[:, t : t + 5].flatten(1) for t in range(36)])
    nearest = torch.cdist(x, known, compute_mode="donot_use_mm_for_euclid_dist").min(1)
    assert float(nearest.values.max()) < 1e-5
    assert len(nearest.indices.unique()) > 150


def test_the_last_tenth_is_never_touched(tmp_path: Path) -> None:
    ds = spirals()
    whole = lesson(ds, tmp_path)
    ds["state"][18:] = np.nan
    (tmp_path / "cut").mkdir()
    cut = lesson(ds, tmp_path / "cut")
    assert torch.equal(whole.train_states, cut.train_states)
    assert torch.equal(whole.validation_states, cut.validation_states)
    assert (len(cut.train_states), len(cut.validation_states)) == (16, 2)
    assert cut.contract.training["trajectories"] == 16
    flat = cut.train_states.double().flatten(0, 1)
    torch.testing.assert_close(flat.mean(0), torch.zeros(2).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(flat.std(0), torch.ones(2).double(), rtol=1e-3, atol=0)


def test_dates_are_counted_in_days_and_no_times_in_states() -> None:
    ds = spirals()
    dates = xr.date_range("2000-01-01", periods=40, freq="6h")
    assert trajectory_cadence(ds.assign_coords(time=dates)) == 0.25
    assert trajectory_cadence(ds.drop_vars("time")) == 1


def test_a_half_trained_prior_is_of_its_window(tmp_path: Path) -> None:
    one, same, other = (lesson(spirals(), tmp_path, states) for states in (5, 5, 3))
    assert training_identity(one) == training_identity(same) != training_identity(other)


def test_the_covariance_is_that_of_all_windows(tmp_path: Path) -> None:
    one = lesson(spirals(), tmp_path)
    rows = torch.cat([one.train_states[:, t : t + 3].flatten(1) for t in range(38)]).double()
    torch.testing.assert_close(window_covariance(one.train_states, 3), rows.T @ rows / len(rows))


def test_an_untrained_perceptron_is_the_exact_denoiser_of_gaussian_windows() -> None:
    root = torch.randn(6, 6).double() * torch.logspace(0, -3, 6)
    cov = root @ root.T
    net = MLP(6, 16, 1)
    net.initialise(cov)
    net.variance.copy_(torch.linalg.eigvalsh(cov))  # without the floor
    for sigma in (1e-3, 0.1, 1.0, 80.0):
        x_t, s = torch.randn(4, 6), torch.full((4,), sigma)
        found = Denoiser(net).moments(x_t, s, [])[0]
        expected = Gaussian(torch.zeros(6), cov)(x_t, s)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_a_periodic_network_knows_no_border() -> None:
    net = UNet(2, 4, (4, 4, 4), (8, 8), 1, periodic=True)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x, given = torch.randn(1, 2, 16, 12), torch.randn(1, 4, 16, 12)

    def answer(x: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        return net(x, torch.zeros(1), net.features(given))

    turned = answer(x.roll((4, 8), (-2, -1)), given.roll((4, 8), (-2, -1)))
    torch.testing.assert_close(turned.roll((-4, -8), (-2, -1)), answer(x, given))


def test_it_learns_the_motion_and_says_so(folder: Path) -> None:
    said = done(
        "train", "spirals.nc", "--window", 5, "--out", "p.safetensors", "--config", "small.toml"
    )
    assert "held-out RMSE over noise: at 0.01" in said.stderr
    prior = taught("p.safetensors")
    contract = prior.contract
    assert (contract.states, contract.variable, contract.cadence) == (5, "state", 0.25)
    assert prior.normaliser.names == ["a", "b"]
    mean, std = state_scaling(prior)
    assert mean.tolist() == pytest.approx([5, 5], abs=0.5)
    truth = torch.from_numpy(spirals()["state"].values[18:])  # never seen
    x = ((truth - mean) / std).float()
    x_t = x + 0.3 * torch.randn(x.shape)
    denoise = tile_denoiser(window_denoiser(prior), TimeWindows(40, contract.states))
    error = float((denoise(x_t, torch.full((2,), 0.3)) - x).square().mean().sqrt())
    alone = 0.3 / np.sqrt(1 + 0.3**2)  # the best without knowing of the neighbours
    assert error < 0.7 * alone
    assert contract.scores["at 0.1"] < 0.95
    shown = done("info", "p.safetensors").stdout
    assert "window (states): 5" in shown
    assert "held-out RMSE, ratio to the noise" in shown


def test_fields_on_a_plane_are_taught_by_the_same_loop(folder: Path) -> None:
    currents().to_netcdf("currents.nc")
    Path("plane.toml").write_text(PLANE_TOML)
    done("train", "currents.nc", "--window", 3, "--out", "p.safetensors", "--config", "plane.toml")
    prior = taught("p.safetensors")
    assert (list(prior.contract.plane), prior.contract.periodic) == ([8, 8], True)
    assert prior.contract.spacing == pytest.approx([np.pi / 4, np.pi / 4])
    assert [tuple(each.shape) for each in state_scaling(prior)] == [(2, 1, 1)] * 2
    found = tile_denoiser(window_denoiser(prior), TimeWindows(7, 3))(
        torch.randn(2, 7, 2, 8, 8), torch.ones(2)
    )
    assert found.shape == (2, 7, 2, 8, 8)
    assert "state: 8 by 8 cells, periodic" in done("info", "p.safetensors").stdout
    log = Path("p.jsonl").read_text().splitlines()
    assert json.loads(log[-1])["measure"] == "RMSE over noise"


def test_a_prior_goes_on_from_another_of_the_same_states(folder: Path) -> None:
    Path("small.toml").write_text(TOML.replace("150", "4"))
    first = ("train", "spirals.nc", "--config", "small.toml", "--window")
    done(*first, 5, "--out", "p.safetensors")
    done(*first, 5, "--out", "q.safetensors", "--start", "p.safetensors")
    assert load_prior(Path("q.safetensors")).contract.training["start_sha256"]
    words = "train spirals.nc --config small.toml --out r.safetensors --start p.safetensors"
    refused(f"{words} --window 3", "another window: 5, not 3")


def missing() -> xr.Dataset:
    ds = spirals()
    ds["state"][3, 4, 1] = np.nan
    return ds


def still() -> xr.Dataset:
    ds = spirals()
    ds["state"][..., 1] = 2.0
    return ds


def uneven() -> xr.Dataset:
    ds = spirals()
    return ds.assign_coords(time=ds["time"].values ** 1.1)


BAD = {
    "uneven": (uneven, "apart in time", 5),
    "missing": (missing, "missing or infinite", 5),
    "constant": (still, "b is constant", 5),
    "few": (lambda: spirals(2), "holds 2 trajectories", 5),
    "short": (
        lambda: spirals(length=4),
        "longer than the trajectories of bad.nc, which have 4",
        5,
    ),
    "even": (spirals, "4 states has no centre", 4),
    "odd plane": (lambda: currents(side=6), "6 by 6 cells cannot be halved", 3),
    "no states": (lambda: spirals().isel(component=0), "holds no variable", 3),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_trajectories_are_refused(case: str, folder: Path) -> None:
    make, what, window = BAD[case]
    make().to_netcdf("bad.nc")
    refused(f"train bad.nc --window {window} --out p.safetensors", what)


def test_words_that_do_not_fit_are_refused(here: Path) -> None:
    spirals().to_netcdf("spirals.nc")
    Path("wrong.toml").write_text("[net]\nwidths = [8, 8]")
    Path("draws.toml").write_text("[train]\ndraws = 4")
    out = "--out p.safetensors"
    refused(f"train fine.nc --window 5 {out}", "window of 5 states is longer")
    refused(f"train spirals.nc --factor 4 {out}", "spirals.nc holds trajectories", "--window 5")
    refused(f"train spirals.nc --window 5 --var a=b {out}", "are for fields")
    refused(f"train spirals.nc --window 5 --config wrong.toml {out}", "unknown key widths")
    refused(f"train spirals.nc --window 5 --config draws.toml {out}", "draws is 4")
    refused(f"train spirals.nc --window 5 --factor 4 {out}", "either --factor", code=2)
    refused(
        f"train spirals.nc --window 5 --start prior.safetensors {out}", "another states|another"
    )


def test_a_prior_of_trajectories_does_not_downscale(here: Path) -> None:
    spirals().to_netcdf("spirals.nc")
    Path("small.toml").write_text(TOML.replace("150", "2"))
    done("train", "spirals.nc", "--window", 5, "--out", "p.safetensors", "--config", "small.toml")
    refused("downscale coarse.nc out.nc --prior p.safetensors", "is of trajectories of a, b")
    refused(
        "train fine.nc --factor 4 --start p.safetensors --out q.safetensors --config small.toml",
        "unknown key|prior of trajectories",
    )
    prior = load_prior(Path("p.safetensors"))
    check_trajectory_length(prior, 5, "long.nc")
    with pytest.raises(Exception, match="window of 5 states is longer"):
        check_trajectory_length(prior, 4, "short.nc")
