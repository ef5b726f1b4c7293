"""dpdm embed: features are what the layers say, joined as denoised windows are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dpdm.diffusion.noise import draw_noise
from dpdm.nets.layers import named_layers, record_outputs, upsample_features
from dpdm.nets.mlp import MLP
from dpdm.nets.unet import UNet
from dpdm.prior import load_prior
from dpdm.prior.windows import state_scaling
from dpdm.states import open_states
from dpdm.states.features import FeatureOptions, state_features
from dpdm.states.fields import FieldSpace
from dpdm.states.options import EnsembleOptions
from tests.helpers.gaussian_prior import gaussian, opened_file
from tests.helpers.small_world import done, refused
from tests.helpers.trajectories import currents

FIELDS = "embed fine.nc out.nc --prior prior.safetensors"
LINES = "embed spirals.nc out.nc --prior gaussian.safetensors"


def said(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Return what the layer of the small perceptron says of states (B, 2)."""
    denoiser = load_prior(Path("gaussian.safetensors")).denoiser
    with record_outputs([named_layers(denoiser.backbone)["1"]]) as kept, torch.no_grad():
        denoiser.moments(x, torch.full((len(x),), sigma, dtype=x.dtype), [])
    return kept[0]


def test_layers_have_names_in_both_networks() -> None:
    assert list(named_layers(MLP(3, 8, 3))) == ["1", "2", "3", "mid"]
    net = MLP(3, 8, 3)
    assert named_layers(net)["mid"] is net.layers[1]
    backbone = UNet(1, 12, (4, 4, 4), (8, 8), 2)
    assert list(named_layers(backbone)) == ["top", "last", "1", "2", "mid"]
    assert named_layers(backbone)["mid"] is backbone.lower[1]


def test_a_layer_is_no_longer_heard_afterwards() -> None:
    net = MLP(3, 8, 1)
    with record_outputs([net.layers[0]]) as kept:
        net(torch.randn(2, 3), torch.zeros(2), [])
    net(torch.randn(2, 3), torch.zeros(2), [])
    assert [tuple(k.shape) for k in kept] == [(2, 8)]


@pytest.mark.usefixtures("lines")
def test_features_of_components_are_what_the_layer_says() -> None:
    torch.set_default_dtype(torch.float32)
    done(*f"{LINES} --sigma 0.3 --layer 1".split())
    out, truth = opened_file(), opened_file("spirals.nc")
    assert out["features"].dims == ("trajectory", "time", "feature")
    mean, std = state_scaling(load_prior(Path("gaussian.safetensors")))
    x = ((torch.from_numpy(truth["state"].values[4]) - mean) / std).float()
    np.testing.assert_allclose(out["features"][4], said(x, 0.3), rtol=1e-5, atol=1e-6)
    z = [draw_noise((6, 2), 5, draw, "trajectory 4/features") for draw in range(2)]
    expected = (said(x + 0.3 * z[0], 0.3) + said(x + 0.3 * z[1], 0.3)) / 2
    done(*f"{LINES} --sigma 0.3 --layer 1 --draws 2 --seed 5 --overwrite".split())
    np.testing.assert_allclose(opened_file()["features"][4], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("lines")
def test_a_state_has_the_features_of_the_window_around_it() -> None:
    torch.set_default_dtype(torch.float32)
    gaussian(3)
    done(*f"{LINES} --sigma 0.3".split())
    whole = opened_file()["features"].values
    opened_file("spirals.nc").isel(time=slice(1, 4)).to_netcdf("part.nc")
    done(*f"{LINES.replace('spirals.nc', 'part.nc')} --sigma 0.3 --overwrite".split())
    part = opened_file()["features"].values
    np.testing.assert_allclose(whole[:, 2], part[:, 1], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(part[:, 0], part[:, 1])


def test_features_of_fields_are_cf_and_their_mean_is_over_area(here: Path) -> None:
    done(*f"{FIELDS} --layer last,mid".split())
    whole = opened_file()
    assert whole["features"].dims == ("time", "feature", "lat", "lon")
    assert whole["features"].shape == (3, 16, 32, 48)
    assert (whole.attrs["dpdm_layer"], whole.attrs["dpdm_sigma"]) == ("last,mid", "0.4")
    done(*f"{FIELDS} --layer last,mid --pool mean --overwrite".split())
    pooled = opened_file()
    weights = np.cos(np.radians(whole["lat"]))
    expected = whole["features"].weighted(weights).mean(("lat", "lon"))
    # The areas are differences of sines of the cells' edges, which cosines are nearly.
    np.testing.assert_allclose(pooled["features"], expected, rtol=1e-3, atol=1e-4)


def test_windows_that_overlap_are_blended_and_a_lone_one_speaks_for_itself(here: Path) -> None:
    torch.set_default_dtype(torch.float32)
    prior = load_prior(Path("prior.safetensors"))
    space = open_states(Path("fine.nc"), prior, EnsembleOptions(device="cpu"))
    assert isinstance(space, FieldSpace)
    space = replace(space, sampler=replace(space.sampler, widest=1))
    found = state_features(space, 0, FeatureOptions(0.4, ("top",)))
    posterior = space.posterior(0)
    first = posterior.windows.window_slices()[0]
    x = posterior.normalise(space.values(0))
    with record_outputs([named_layers(prior.denoiser.backbone)["top"]]) as kept, torch.no_grad():
        fields = x[None][first]
        prior.denoiser.moments(fields, torch.tensor([0.4]), posterior.features[0])
    alone = posterior.windows.window_slices()[1][-1].min()  # columns of the first window only
    assert 0 < alone < 32
    expected = upsample_features(kept[0], (32, 32))[0]
    torch.testing.assert_close(found[..., :alone], expected[..., :alone], rtol=1e-5, atol=1e-5)


def test_fields_on_a_plane_are_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    currents(3).to_netcdf("currents.nc")
    Path("t.toml").write_text("[net]\nread=[4,4,4]\nwidths=[8,8]\ndepth=1\n[train]\nsteps=2\n")
    prior = "p.safetensors"
    done("train", "currents.nc", "--window", 3, "--out", prior, "--config", "t.toml")
    done("embed", "currents.nc", "out.nc", "--prior", prior, "--sigma", 0.5)
    assert opened_file()["features"].dims == ("trajectory", "time", "feature", "y", "x")
    done("embed", "currents.nc", "mean.nc", "--prior", prior, "--sigma", 0.5, "--pool", "mean")
    pooled = opened_file("mean.nc")["features"]
    np.testing.assert_allclose(pooled, opened_file()["features"].mean(("y", "x")), atol=1e-5)


@pytest.mark.parametrize(
    ("words", "what", "hint"),
    [
        ("--layer middle", "no layer 'middle'", "top, last, 1, mid"),
        ("--sigma 1000", "1000 is beyond the prior's range", "0.002 to 80"),
        ("--factor 5", "does not cut 32 latitudes", "divides"),
    ],
)
def test_what_the_prior_has_not_is_refused(here: Path, words: str, what: str, hint: str) -> None:
    refused(f"{FIELDS} {words}", what, hint)


def test_fields_that_do_not_fit_are_refused(here: Path) -> None:
    fine = opened_file("fine.nc")
    fine["t2m"][2, 0, 0] = np.nan
    fine.to_netcdf("gaps.nc")
    refused(FIELDS.replace("fine.nc", "gaps.nc"), "t2m is missing in 1 of 1536")
    refused(f"{FIELDS.replace('fine.nc', 'coarse.nc')} --blind", "spacing is 4 degrees")


@pytest.mark.usefixtures("lines")
def test_components_have_no_cells_to_average() -> None:
    refused(f"{LINES} --pool mean", "these states have none")
    refused(f"{LINES} --layer 7", "no layer '7'", "1, mid")
