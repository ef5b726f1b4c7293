"""The training loop: it learns, resumes to the bit, and shares its gradients."""

import json
import signal
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid
from dpdm.interrupt import Interrupted
from dpdm.prior import load_prior
from dpdm.training.config import DataSettings, FieldNetSettings, FieldRecipe, TrainSettings
from dpdm.training.field_series import FieldTrainingSet, prepare_field_training
from dpdm.training.loop import TrainingProgress, noise_levels, run_training
from tests.helpers.commands import Nursery
from tests.helpers.small_world import FACTOR, Taught

GRID = Grid(np.arange(20.5, 52, 1.0), np.arange(100.5, 140, 1.0))
SMALL = FieldNetSettings(16, (8, 8, 8), (8, 8), 1)


def world(times: int = 30) -> tuple[xr.Dataset, xr.Dataset]:
    """Return temperature that falls with height, under a sea of weather, and the relief."""
    rng = np.random.default_rng(0)
    height = 800 * rng.random(GRID.shape)
    weather = rng.standard_normal((times, 1, 1)) * 5 + 285
    t2m = weather - 0.0065 * height + 0.2 * rng.standard_normal((times, *GRID.shape))
    time = xr.date_range("2000-01-01", periods=times, freq="MS")
    coords = GRID.coords() | {"time": time}
    attrs = {"units": "K", "standard_name": "air_temperature", "long_name": "temperature"}
    fine = xr.Dataset({"t2m": (("time", "lat", "lon"), t2m.astype("f4"), attrs)}, coords)
    land = np.ones(GRID.shape)
    statics = {"topography": (("lat", "lon"), height), "land_fraction": (("lat", "lon"), land)}
    return fine, xr.Dataset(statics, GRID.coords())


def lesson(steps: int = 8, **data: object) -> FieldTrainingSet:
    torch.set_default_dtype(torch.float32)
    often = 4 if steps < 100 else 50
    fit = TrainSettings(
        steps=steps, batch=4, draws=2, warmup=5, validate=often, precision="float32"
    )
    return prepare_field_training(*world(), (4, 4), FieldRecipe(DataSettings(**data), SMALL, fit))


def test_it_learns_what_relief_explains(tmp_path: Path) -> None:
    end = run_training(lesson(100, climatology="no"), tmp_path / "a.safetensors")
    assert end.step == 100
    assert end.scores["t2m"] < 0.5  # noise alone would leave 0.2 / 1.5
    prior = load_prior(tmp_path / "a.safetensors")
    assert prior.contract.scores == end.scores
    log = (tmp_path / "a.jsonl").read_text().splitlines()
    assert json.loads(log[-1])["step"] == 100


class Stop(KeyboardInterrupt):
    """Someone pressed Ctrl-C."""


@pytest.mark.parametrize("stop", [3, 4, 6])
def test_an_interrupted_run_goes_on_to_the_same_weights(tmp_path: Path, stop: int) -> None:
    run_training(lesson(), tmp_path / "whole.safetensors")

    def interrupt(progress: TrainingProgress) -> None:
        if progress.step == stop:
            raise Stop

    broken = tmp_path / "broken.safetensors"
    with pytest.raises(Stop):
        run_training(lesson(), broken, report=interrupt)
    assert (tmp_path / "broken.safetensors.resume").exists()
    end = run_training(lesson(), broken)
    assert end.run_steps == 8 - stop
    assert not (tmp_path / "broken.safetensors.resume").exists()
    both = (tmp_path / "whole.safetensors", broken)
    whole, resumed = (load_prior(path).denoiser.state_dict() for path in both)
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def test_other_settings_are_not_mixed_in(tmp_path: Path) -> None:
    def interrupt(progress: TrainingProgress) -> None:
        raise Stop

    out = tmp_path / "a.safetensors"
    with pytest.raises(Stop):
        run_training(lesson(), out, report=interrupt)
    with pytest.raises(DpdmError, match="other settings"):
        run_training(lesson(9), out)


def test_minutes_end_the_schedule(tmp_path: Path) -> None:
    end = run_training(lesson(10**6), tmp_path / "a.safetensors", minutes=0.03)
    assert end.share == 1.0
    assert 1 < end.seconds < 20
    assert 0 < end.step < 10**6


def test_noise_levels_begin_with_the_greatest_and_follow_the_log_normal() -> None:
    fit = TrainSettings(batch=500, draws=5)
    levels = noise_levels(fit, np.random.default_rng(0)).double()
    assert bool((levels[:500] == fit.sigma[1]).all())
    rest = levels[500:].log()
    assert float(rest.mean()) == pytest.approx(fit.log_sigma[0], abs=0.02)  # stratified
    assert float(rest.std()) == pytest.approx(fit.log_sigma[1], rel=0.03)


def test_the_last_months_are_held_out_and_the_climatology_leaves_them_out() -> None:
    one = lesson(climatology="no")
    assert one.steps.tolist() == list(range(27))
    assert {step for *_, step in one.validation_windows} <= {27, 28, 29}
    with_it = prepare_field_training(*world(60), (4, 4), replace(one.recipe, data=DataSettings()))
    assert with_it.archive.climatology is not None
    assert with_it.archive.climatology.training.tolist() == with_it.steps.tolist()


def test_boxes_must_leave_room() -> None:
    with pytest.raises(DpdmError, match="No window"):
        lesson(exclude=(0.0, 360.0, -90.0, 90.0))
    with pytest.raises(DpdmError, match="smaller than a window"):
        lesson(validation_box=(110.0, 115.0, 30.0, 35.0))


def test_two_processes_train_one_prior(here: Path, taught: Taught, nursery: Nursery) -> None:
    """Each is told what torchrun tells its processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = "train", taught.fine, "--factor", FACTOR, "--config", "small.toml", "--out"
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    pair = [nursery.start(*words, "two.safetensors", RANK=rank, **world) for rank in "01"]
    assert [child.wait() for child in pair] == [0, 0], pair[0].stderr + pair[1].stderr
    paths = taught.prior, Path("two.safetensors")
    one, two = (load_prior(path).denoiser.state_dict() for path in paths)
    differ = max(float((one[k] - two[k]).abs().max()) for k in one)
    assert 0 < differ < 0.1  # other windows, so not equal; the same start, so not far


def test_an_interrupt_waits_for_the_step_to_be_whole(tmp_path: Path) -> None:
    out, whole = tmp_path / "out.safetensors", tmp_path / "whole.safetensors"

    class Dying:
        def __del__(self) -> None:  # which would swallow an exception
            signal.raise_signal(signal.SIGINT)

    class Disturbed(torch.optim.AdamW):
        def step(self, closure: None = None) -> None:  # type: ignore[override]
            Dying()
            super().step()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job may ignore it
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.optim, "AdamW", Disturbed)
            with pytest.raises(Interrupted):
                run_training(lesson(), out)
    finally:
        signal.signal(signal.SIGINT, before)
    assert run_training(lesson(), out).run_steps < run_training(lesson(), whole).run_steps
    one, two = (load_prior(path).denoiser.state_dict() for path in (out, whole))
    assert all(bool((one[key] == two[key]).all()) for key in one)


class Narrow(torch.nn.Module):
    """A denoiser with a share of another's standard deviation."""

    def __init__(self, other: Any, share: float) -> None:
        super().__init__()
        self.other, self.share, self.features = other, share, other.features

    def moments(self, *given: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the same mean and the narrower variance."""
        mean, variance = self.other.moments(*given)
        return mean, variance * self.share**2


def test_the_spread_is_calibrated_on_held_out_steps() -> None:
    """A network with two thirds of the spread needs half as much inflation again."""
    task = lesson(climatology="yes")
    network = task.new_network().eval()
    with torch.no_grad():
        usual, narrow = (task.calibration(Narrow(network, share), "cpu") for share in (1.0, 2 / 3))
    assert usual.keys() == {"inflation", "reference_inflation"}
    for key, value in usual.items():
        assert narrow[key] == pytest.approx(np.clip(1.5 * value, 0.7, 2.0), abs=0.02)


def test_a_calibrated_spread_is_that_of_the_errors() -> None:
    """Without a signal the residual is the error: its own scale needs no inflation but 1 + 1/n."""
    task = lesson(climatology="no")
    found = task.calibration(task.new_network().eval(), "cpu")
    steps = len({step for *_, step in task.validation_windows})
    assert found == {"inflation": pytest.approx(np.sqrt(1 + 1 / steps), abs=0.25)}
