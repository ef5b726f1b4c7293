"""Batches drawn by threads ahead of their steps are the same batches."""

import time
from pathlib import Path

import pytest

from dpdm.prior import load_prior
from dpdm.training import loop
from dpdm.training.batches_ahead import BatchesAhead, count_threads
from tests.training.test_loop import lesson


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_each_step_has_its_batch(threads: int) -> None:
    drawn: list[int] = []

    def draw(step: int) -> int:
        time.sleep(0.001 * (step % 3))
        drawn.append(step)
        return step**2

    with BatchesAhead(draw, threads) as ahead:
        assert [ahead.take(step) for step in range(5, 15)] == [n**2 for n in range(5, 15)]
    assert len(drawn) == len(set(drawn)) <= 10 + threads


def test_processors_that_train_draw_their_own_batches() -> None:
    assert count_threads("cpu") == 0
    assert count_threads("cuda") >= 1


def test_threads_do_not_change_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.run_training(lesson(), tmp_path / "one.safetensors")
    monkeypatch.setattr(loop, "count_threads", lambda device: 2)
    loop.run_training(lesson(), tmp_path / "two.safetensors")
    one, two = (
        load_prior(tmp_path / f"{name}.safetensors").denoiser.state_dict()
        for name in ("one", "two")
    )
    assert all(bool((one[key] == two[key]).all()) for key in one)


def test_a_fault_in_a_thread_is_raised_at_its_step() -> None:
    def draw(step: int) -> int:
        if step == 2:
            raise ValueError("no such window")
        return step

    with BatchesAhead(draw, 2) as ahead:
        assert [ahead.take(0), ahead.take(1)] == [0, 1]
        with pytest.raises(ValueError, match="no such window"):
            ahead.take(2)
