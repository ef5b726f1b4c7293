"""What an ensemble is said to cost, before it is drawn and while it is drawn."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from dpdm.fields import statistics
from dpdm.states import cost
from tests.helpers.small_world import done

RUN = "downscale coarse.nc out.nc --prior prior.safetensors --members 3"


def space(members: int, block: int, keep: str = "all") -> SimpleNamespace:
    """Return what a notice asks of a space of states."""
    options = SimpleNamespace(members=members, keep=keep)
    return SimpleNamespace(options=options, sampler=SimpleNamespace(block=block))


def say_costs(
    monkeypatch: pytest.MonkeyPatch, members: int, block: int, steps: int, seconds: list[float]
) -> tuple[list[str], list[int]]:
    """Return what is said while members take some seconds each, and the progress."""
    clock = iter(np.cumsum([0.0, *seconds]))
    monkeypatch.setattr(cost.time, "perf_counter", lambda: float(next(clock)))
    said, seen = [], []
    layout = xr.Dataset({"t2m": ("lat", np.zeros(1000, "f4"))})
    notice = cost.CostNotice(
        space(members, block), layout, said.append, lambda done, total: seen.append(done),
        _start=cost.time.perf_counter(),
    )  # fmt: skip
    for number in range(1, len(seconds) + 1):
        notice(number, members * steps)
    return said, seen


def test_the_first_member_of_a_step_costs_more_than_the_others(monkeypatch) -> None:
    said, seen = say_costs(monkeypatch, 11, 1, 20, [6.0, 4.0, 4.0, 4.0])
    assert said == ["About 15 minutes and 3 kB; see --check, and --keep stats for a smaller file."]
    assert seen == [1, 2, 3, 4]  # 20 steps of 6 + 10 x 4 s, said once


def test_members_that_are_drawn_together_are_timed_together(monkeypatch) -> None:
    said, _ = say_costs(monkeypatch, 33, 11, 40, [20.0, *[0.0] * 10, 10.0, 0.0])
    assert said[0].startswith("About 27 minutes")  # 40 steps of 20 + 2 x 10 s


def test_steps_of_one_member_are_timed_after_some_seconds(monkeypatch) -> None:
    said, _ = say_costs(monkeypatch, 1, 1, 3600, [3.0] + [0.5] * 8)
    assert said[0].startswith("About 1.0 hours")  # without weight on a slow start: 5 s of 5 steps


def test_a_small_ensemble_is_not_announced(here: Path) -> None:
    assert "About" not in done(*RUN.split(), "--overwrite").stderr


def test_a_large_ensemble_is_announced_whatever_is_kept(here: Path, monkeypatch) -> None:
    monkeypatch.setattr(cost, "LARGE_BYTES", 1e5)
    monkeypatch.setattr(cost, "MEASURING_SECONDS", 0.0)
    said = done(*RUN.split()).stderr.splitlines()
    assert said[0].startswith("About ")
    assert said[0].endswith("; see --check, and --keep stats for a smaller file.")
    said = done(*RUN.split(), "--overwrite", "--keep", "stats").stderr.splitlines()
    assert said[0].endswith("; see --check.")


@pytest.mark.parametrize("option", ["--check", "--dry-run"])
def test_a_check_measures_and_writes_nothing(here: Path, monkeypatch, option: str) -> None:
    monkeypatch.setattr(cost, "MEASURING_SECONDS", 0.0)
    before = set(here.rglob("*"))
    said = done(*RUN.split(), "--keep", "members", option).stdout.splitlines()
    assert said[:2] == ["steps: 3, 2000-01 to 2000-03", "variables: t2m, tp"]
    assert said[2].startswith("cells: 32 x 48")
    assert set(here.rglob("*")) == before


def test_the_disk_space_is_an_upper_bound(here: Path, monkeypatch) -> None:
    layouts: list[xr.Dataset] = []
    monkeypatch.setattr(cost, "LARGE_BYTES", 0.0)
    monkeypatch.setattr(
        cost, "cost_line", lambda seconds, stored, keep: layouts.append(stored) or ""
    )
    done(*RUN.split(), "--overwrite")
    size = Path("out.nc").stat().st_size
    assert 0.5 * size < layouts[0] < 2 * size


def test_statistics_in_parts_are_those_of_the_whole(monkeypatch) -> None:
    members = [np.random.default_rng(n).standard_normal((2, 5, 7)).astype("f4") for n in range(6)]
    members[0][1, 2, 3] = np.nan
    names = statistics.statistic_names()
    whole = statistics.compute_ensemble_statistics(np.stack(members), names)
    monkeypatch.setattr(statistics, "PART", 9)
    parts = statistics.compute_in_parts(members, names)
    for name in names:
        np.testing.assert_array_equal(parts[name], whole[name])
