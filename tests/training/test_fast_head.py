"""The fast head of a prior: how it is trained, and how members are drawn with it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from dpdm.diffusion.denoise import inflate_scales
from dpdm.prior import load_prior
from dpdm.states.field_domain import fit_field_space
from dpdm.states.options import EnsembleOptions
from dpdm.states.sampling import choose_unguided_sampler
from dpdm.training import fast_head
from dpdm.training.fast_head import FastHeadTask, begin_fast_head
from dpdm.training.loop import TrainingProgress, run_training
from tests.helpers import reconstruction
from tests.helpers.gaussian_prior import opened_file
from tests.helpers.pressure_world import coarse_atmosphere, hills
from tests.helpers.small_world import FACTOR, Taught, coarse_world, done, dpdm, refused
from tests.training.test_loop import Stop, lesson

DRAW = "--prior fast.safetensors --members 2 --keep members"


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fast_head.FAST_SETTINGS, "steps", 12)
    monkeypatch.setitem(fast_head.FAST_SETTINGS, "batch", 4)


@pytest.fixture(scope="module")
def head(taught: Taught, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small world's prior with a fast head."""
    path = tmp_path_factory.mktemp("head") / "fast.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(fast_head.FAST_SETTINGS, "steps", 12)
        patch.setitem(fast_head.FAST_SETTINGS, "batch", 4)
        done(
            "train", taught.fine, "--out", path, "--factor", FACTOR, "--config", taught.config,
            "--start", taught.prior, "--minutes", 0, "--fast-minutes", 9,
        )  # fmt: skip
    return path


@pytest.fixture
def there(head: Path, taught: Taught, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the priors with and without the head, and coarse fields."""
    monkeypatch.chdir(tmp_path)
    for path in (head, taught.prior):
        Path(path.name).write_bytes(path.read_bytes())
    coarse_world(2).to_netcdf("coarse.nc")
    return tmp_path


def test_the_denoiser_stays_as_it_is(there: Path, taught: Taught) -> None:
    paths = (taught.prior, Path("fast.safetensors"))
    before, after = (load_prior(path).denoiser.state_dict() for path in paths)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    copied = [n for n in before if n.startswith("backbone.enter")]
    assert not any(torch.equal(after[n.replace("backbone", "fast")], after[n]) for n in copied)
    done(*f"downscale coarse.nc out.nc {DRAW} --sampler multistep".split())
    done(*f"downscale coarse.nc own.nc {DRAW.replace('fast.', 'small.')}".split())
    xr.testing.assert_equal(opened_file("out.nc"), opened_file("own.nc"))


def test_the_head_is_the_default_where_nothing_guides(there: Path) -> None:
    done(*f"downscale coarse.nc out.nc {DRAW}".split())
    done(*f"downscale coarse.nc said.nc {DRAW} --sampler fast".split())
    done(*f"downscale coarse.nc eight.nc {DRAW} --steps 8".split())
    attrs = [opened_file(f"{name}.nc").attrs for name in ("out", "eight")]
    assert [a["dpdm_sampler"] for a in attrs] == ["fast", "multistep"]
    assert [a["dpdm_steps"] for a in attrs] == ["1", "8"]
    xr.testing.assert_equal(opened_file("out.nc"), opened_file("said.nc"))
    prior = load_prior(Path("fast.safetensors"))
    for options in (EnsembleOptions(consistent=True), EnsembleOptions(sampler="heun")):
        assert choose_unguided_sampler(options, prior) is options
    assert "heads: fast" in done("info", "fast.safetensors").stdout
    assert "fast" not in done("info", "small.safetensors").stdout


def test_a_member_is_a_function_of_seed_number_time_and_place(there: Path) -> None:
    done(*f"downscale coarse.nc out.nc {DRAW}".split())
    done(*f"downscale coarse.nc more.nc {DRAW} --members 4".split())
    xr.open_dataset("coarse.nc").isel(time=[1]).to_netcdf("late.nc")
    done(*f"downscale late.nc one.nc {DRAW}".split())
    done(*f"downscale coarse.nc box.nc {DRAW} --bbox 112,126,28,42".split())
    whole, more, one, box = (opened_file(f"{n}.nc") for n in ("out", "more", "one", "box"))
    xr.testing.assert_equal(whole, more.isel(realization=[0, 1]))
    xr.testing.assert_equal(whole.isel(time=[1]), one)
    for name in ("t2m", "tp"):
        members = whole[name].sel(lat=box["lat"], lon=box["lon"])
        spread = float(abs(members.diff("realization")).mean())
        assert spread > 0
        assert float(abs(members - box[name]).mean()) < 0.05 * spread
    assert not np.allclose(whole["t2m"][0, 0], whole["t2m"][0, 1])


def test_windows_agree_where_they_meet(there: Path) -> None:
    """The noise belongs to places, so blended windows are near one window over all."""
    torch.set_default_dtype(torch.float32)
    prior = load_prior(Path("fast.safetensors"))
    options = EnsembleOptions(members=2, sampler="fast")
    drawn = []
    for widest in (1, 4):
        space = fit_field_space(Path("coarse.nc"), prior, options, None, None)
        object.__setattr__(space.sampler, "widest", widest)
        drawn.append(np.stack([*space.members(0, [0, 1])]))
        assert len(space.posterior(0).windows.window_slices()) == (3 if widest == 1 else 1)
    spread = np.abs(drawn[1][0] - drawn[1][1]).mean((1, 2))
    assert (np.abs(drawn[0] - drawn[1]).mean((0, 2, 3)) < 0.05 * spread).all()


def test_the_spread_is_inflated_around_the_mean_scale_by_scale(there: Path) -> None:
    torch.set_default_dtype(torch.float32)
    prior = load_prior(Path("fast.safetensors"))
    prior.contract.sampling.update(inflation=1.3, fast_inflation=[0.9, 1.5])
    space = fit_field_space(Path("coarse.nc"), prior, EnsembleOptions(sampler="fast"), None, None)
    assert (space.sampler.inflation, space.sampler.fine_inflation) == (1.5, 0.9)
    posterior, noise = space.posterior(0), space.noise(0, 0)([0]) * space.sampler.sigma_max
    level = torch.full((1,), space.sampler.sigma_max)
    mean = posterior.prior_moment(0)
    plain, wide, both = (
        posterior.fast(coarse, fine)(noise, level) - mean
        for coarse, fine in ((1.0, 1.0), (1.5, 1.5), (1.5, 0.9))
    )
    torch.testing.assert_close(wide, 1.5 * plain, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(both, inflate_scales(plain, 1.5, 0.9), rtol=1e-4, atol=1e-5)


def test_fine_and_coarse_scales_are_inflated_apart() -> None:
    board, flat = torch.ones(1, 1, 6, 6), torch.ones(1, 1, 6, 6)
    board[..., ::2, ::2] = board[..., 1::2, 1::2] = -1  # of which no mean is left
    fine = inflate_scales(board, 2.0, 3.0, cyclic=True)[..., 1:-1, :]
    torch.testing.assert_close(fine, 3 * board[..., 1:-1, :])
    assert torch.equal(inflate_scales(flat, 2.0, 3.0), 2 * flat)


def test_pressure_is_drawn_next_to_the_head(there: Path) -> None:
    """It has the spread that the steps of a sampler give it, from the same noise."""
    coarse_atmosphere(hills(), "t2m", "tp", "sp", months=1).to_netcdf("air.nc")
    for sampler in ("multistep", "fast"):
        how = f"--members 3 --keep members --sampler {sampler}"
        done(*f"downscale air.nc {sampler}.nc {how}".split())
    ten, fast = (opened_file(f"{name}.nc") for name in ("multistep", "fast"))
    spreads = [float(x["sp"].std("realization").mean()) for x in (ten, fast)]
    assert spreads[1] == pytest.approx(spreads[0], rel=0.25)
    assert float(abs(ten["sp"] - fast["sp"]).mean()) < spreads[0]


def test_what_the_head_cannot_do_is_refused(there: Path) -> None:
    fast = "downscale coarse.nc out.nc --sampler fast --prior"
    refused(f"{fast} small.safetensors", "no fast head", "--fast-minutes")
    refused(f"{fast} fast.safetensors --steps 4", "takes one step, not 4", "--steps")
    refused(f"{fast} fast.safetensors --consistent", "--consistent constrains", "one of them")


def test_training_refuses_what_has_no_head(there: Path, taught: Taught) -> None:
    common = f"train {taught.fine} --factor {FACTOR} --config {taught.config}"
    refused(f"{common} --out a.safetensors --minutes 0", "--minutes 0 is for", code=2)
    refused(f"{common} --out a.safetensors --fast-minutes 1 --check", "does not support", code=2)


def test_a_finished_prior_gets_a_head_by_the_same_command(there: Path, taught: Taught) -> None:
    command = (
        f"train {taught.fine} --out small.safetensors --factor {FACTOR} --config {taught.config}"
    )
    done(*f"{command} --fast-minutes 9".split())
    card = load_prior(Path("small.safetensors")).contract
    assert card.fast
    assert (card.training["steps"], card.training["fast"]["steps"]) == (12, 12)
    assert not Path("small.fast.safetensors").exists()
    refused(f"{command} --fast-minutes 9", "has a fast head", "--overwrite")


def test_a_prior_with_a_head_is_a_start_without_it(there: Path, taught: Taught) -> None:
    """Its features change in training, so the head would be out of date."""
    common = f"train {taught.fine} --factor {FACTOR} --config {taught.config}"
    done(*f"{common} --out next.safetensors --start fast.safetensors".split())
    assert not load_prior(Path("next.safetensors")).contract.fast
    done(*f"{common} --out small.safetensors --fast-minutes 9".split())
    Path("more.toml").write_text(taught.config.read_text().replace("steps = 12", "steps = 15"))
    further = f"{common.replace(str(taught.config), 'more.toml')} --out small.safetensors"
    done(*further.split())
    card = load_prior(Path("small.safetensors")).contract
    assert (card.fast, card.training["steps"]) == (False, 15)


def test_an_interrupted_head_resumes_to_the_same_weights(tmp_path: Path) -> None:
    base = lesson(climatology="no")
    run_training(base, tmp_path / "base.safetensors")
    prior = begin_fast_head(load_prior(tmp_path / "base.safetensors"))
    few = replace(base, validation_windows=base.validation_windows[:2])
    task = FastHeadTask(few, prior, "none")
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    run_training(task, whole)

    def interrupt(progress: TrainingProgress) -> None:
        if progress.step == 7:
            raise Stop

    with pytest.raises(Stop):
        run_training(task, broken, report=interrupt)
    end = run_training(task, broken)
    assert end.run_steps == 5
    first, second = (load_prior(p).denoiser.state_dict() for p in (whole, broken))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert set(end.scores) == {"t2m"}


def test_a_reconstruction_draws_with_the_head_and_never_mixes(
    there: Path, taught: Taught, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconstruction.settle(there, taught, monkeypatch, months=1, files=1)
    text = Path("plan.toml").read_text().replace("steps = 2\n", "")
    Path("plan.toml").write_text(text)
    done("reconstruct", "plan.toml", "out")
    Path("prior.safetensors").write_bytes(Path("fast.safetensors").read_bytes())
    other = dpdm("reconstruct", "plan.toml", "out")
    assert other.exit_code == 1
    assert "draw.sampler" in other.stderr
    done("reconstruct", "plan.toml", "new")
    attrs = opened_file(str(next(Path("new").glob("fine_*.nc")))).attrs
    assert attrs["dpdm_sampler"] == "fast"
