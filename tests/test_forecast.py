"""dpdm forecast: exact where the model is linear, better than persistence where it is not."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from dpdm.forecast import (
    LeadPairs,
    Surrogate,
    fit_head,
    pair_rmse,
    read_component_windows,
    roll_out,
    select_lead_pairs,
    tune_surrogate,
    valid_lead,
)
from dpdm.prior import load_prior
from dpdm.states.features import FeatureOptions
from dpdm.states.options import EnsembleOptions
from tests.helpers.gaussian_prior import opened_file
from tests.helpers.small_world import done, refused

TURN = 0.98 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
COMMAND = "forecast turns.nc last.nc out.nc --prior gaussian.safetensors --layer 1 --lead 3"


@pytest.fixture
def turns(lines: None) -> xr.Dataset:
    """Trajectories that turn and shrink, without noise, and the first states of some."""
    x = [np.random.default_rng(1).standard_normal((12, 2))]
    for _ in range(29):
        x.append(x[-1] @ TURN.T)
    values = 5 + 3 * np.stack(x, axis=1)
    ds = opened_file("spirals.nc")
    made = xr.Dataset(
        {"state": (ds["state"].dims, values, ds["state"].attrs)},
        {"component": ds["component"].values, "time": np.arange(30) * 0.25},
    )
    made.to_netcdf("turns.nc")
    made.isel(trajectory=slice(3), time=slice(4)).to_netcdf("last.nc")
    return made


def test_a_linear_model_is_learnt_exactly(turns: xr.Dataset) -> None:
    done(*f"{COMMAND} --steps 5".split())
    out = opened_file()
    assert out["state"].dims == ("trajectory", "time", "component")
    np.testing.assert_allclose(out["time"], 0.75 + 0.75 * np.arange(6))
    start = turns["state"].values[:3, 3] - 5
    for step in range(6):
        expected = 5 + start @ np.linalg.matrix_power(TURN.T, 3 * step)
        np.testing.assert_allclose(out["state"][:, step], expected, rtol=0, atol=5e-3)


def test_the_skill_is_printed_over_persistence(turns: xr.Dataset) -> None:
    said = done(*f"{COMMAND} --steps 4".split()).stdout.splitlines()
    assert "persistence" in said[0]
    time, error, still = map(float, said[1].split())
    assert time == 0.75
    assert error < 0.01 * still
    assert "until 3" in said[-1]


def test_a_ridge_is_chosen_where_nothing_was_fitted(turns: xr.Dataset) -> None:
    torch.set_default_dtype(torch.float32)
    prior = load_prior(Path("gaussian.safetensors"))
    noise = torch.randn(40, 2)
    surrogate = Surrogate(prior, FeatureOptions(0.3, ("1",)), 2).requires_grad_(False)
    lessons = LeadPairs(noise, noise + torch.randn(40, 2))
    other = torch.randn(4000, 2)
    held = LeadPairs(other, other + torch.randn(4000, 2))
    error = fit_head(surrogate, lessons, held)
    assert error == pytest.approx(pair_rmse(surrogate(held.inputs), held.targets))
    # Increments are pure noise of unit variance: the ridge cannot do better, or much worse.
    assert 0.97 < error < 1.1


def test_tuning_moves_the_layers_and_not_the_prior(turns: xr.Dataset) -> None:
    torch.set_default_dtype(torch.float32)
    prior = load_prior(Path("gaussian.safetensors"))
    before = {k: v.clone() for k, v in prior.denoiser.state_dict().items()}
    x = torch.randn(20, 30, 2)
    bent = torch.cat([x[:, :1], 0.8 * x[:, :-1].sin() + 0.3 * x[:, :-1].flip(-1) ** 2], dim=1)
    lessons, held = (
        LeadPairs(p.flatten(0, 1)[:-1], q.flatten(0, 1)[1:]) for p, q in ((x, bent),) * 2
    )
    surrogate = Surrogate(prior, FeatureOptions(0.3, ("1",)), 2).requires_grad_(False)
    frozen = fit_head(surrogate, lessons, held)
    better = tune_surrogate(surrogate, lessons, held, prior, 0.05)
    assert pair_rmse(better(held.inputs), held.targets) < frozen
    assert all(torch.equal(before[k], v) for k, v in prior.denoiser.state_dict().items())
    moved = better.backbone.state_dict()["layers.0.first.weight"]
    assert not torch.equal(moved, prior.denoiser.backbone.state_dict()["layers.0.first.weight"])


def test_tuning_that_makes_it_worse_is_not_kept(turns: xr.Dataset) -> None:
    torch.set_default_dtype(torch.float32)
    prior = load_prior(Path("gaussian.safetensors"))
    now = torch.randn(300, 2)
    lessons, held = LeadPairs(now[:200], 0.5 * now[:200]), LeadPairs(now[200:], 0.5 * now[200:])
    surrogate = Surrogate(prior, FeatureOptions(0.3, ("1",)), 2).requires_grad_(False)
    frozen = fit_head(surrogate, lessons, held)
    kept = tune_surrogate(surrogate, lessons, held, prior, steps=3, rate=10.0)
    assert pair_rmse(kept(held.inputs), held.targets) == pytest.approx(frozen)


def test_the_time_of_a_step_is_that_of_the_lessons(turns: xr.Dataset) -> None:
    """The prior's states are 0.25 apart, but a prior of single states does not know that."""
    turns.assign_coords(time=0.5 * np.arange(30)).to_netcdf("turns.nc.new")
    Path("turns.nc.new").replace("turns.nc")
    turns.isel(trajectory=slice(2), time=[4]).to_netcdf("one.nc")
    said = done(*f"{COMMAND.replace('last.nc', 'one.nc')} --steps 2".split()).stdout
    assert float(said.splitlines()[1].split()[0]) == 1.5
    np.testing.assert_allclose(opened_file()["time"], 1.0 + 1.5 * np.arange(3))


def test_windows_are_paired_with_those_a_lead_later(turns: xr.Dataset) -> None:
    x = torch.arange(20.0).reshape(1, 10, 2)
    both = select_lead_pairs(x, 3, 4)
    assert both.inputs.shape == (4, 6)
    assert torch.equal(both.targets - both.inputs, torch.full((4, 6), 8.0))
    assert both.inputs[1].tolist() == [2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    assert len(select_lead_pairs(torch.randn(5, 100, 2), 1, 1, limit=100).inputs) <= 100


def test_a_step_is_repeated(turns: xr.Dataset) -> None:
    class Twice(Surrogate):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)

        def forward(self, x: torch.Tensor, *unused: torch.Tensor) -> torch.Tensor:
            return 2 * x

    assert [float(x) for x in roll_out(Twice(), torch.ones(1, 1), 3)] == [1.0, 2.0, 4.0, 8.0]


def test_a_forecast_that_is_bad_at_once_is_valid_for_no_time() -> None:
    assert valid_lead([(0.1, 0.5, 1.0), (0.2, 0.1, 1.0)]) == 0.0
    assert valid_lead([(0.1, float("nan"), 1.0)]) == 0.0


def test_what_does_not_fit_is_refused(here: Path, turns: xr.Dataset) -> None:
    refused(f"{COMMAND.replace('--lead 3', '--lead 30')}", "lead of 30 steps does not fit", "29")
    refused(f"{COMMAND} --layer 5", "no layer '5'", "1, mid")
    refused(f"{COMMAND} --sigma 99", "99 is beyond the prior's range")
    gaps = turns.copy(deep=True)
    gaps["state"][1, 1, 1] = np.nan
    gaps.to_netcdf("gaps.nc")
    refused(COMMAND.replace("turns.nc", "gaps.nc"), "missing or infinite values")
    turns.isel(trajectory=slice(2)).to_netcdf("few.nc")
    refused(COMMAND.replace("turns.nc", "few.nc"), "holds 2 trajectories")


def test_a_prior_of_fields_has_no_surrogate(here: Path) -> None:
    command = "forecast fine.nc fine.nc out.nc --prior prior.safetensors"
    refused(command, "the prior is of fields: t2m, tp", "dpdm embed")


def test_components_need_a_prior_of_them(turns: xr.Dataset) -> None:
    known = load_prior(Path("gaussian.safetensors"))
    assert read_component_windows(
        Path("turns.nc"), known, EnsembleOptions(device="cpu")
    ).numbers == tuple(range(12))
