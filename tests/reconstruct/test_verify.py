"""Verification: the plan that made it, and what other processors draw."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dpdm.reconstruct.verify import max_scaled_difference
from tests.helpers.reconstruction import plan, settle
from tests.helpers.small_world import Taught, done, dpdm

VERIFY = "reconstruct", "--verify", "plan.toml", "out"


@pytest.fixture
def site(tmp_path: Path, taught: Taught, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which one member of some months is reconstructed."""
    settle(tmp_path, taught, monkeypatch)
    plan(tmp_path, members=1)
    done("reconstruct", "plan.toml", "out")
    return tmp_path


def elsewhere() -> None:
    """Let the ledger say that the values were others in their last bits."""
    path = Path("out/ledger.jsonl")
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    for entry in entries:
        if entry["event"] == "drawn":
            entry["sha256"] = "0" * 64
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def test_another_plan_is_named(site: Path) -> None:
    path = Path("plan.toml")
    path.write_text(path.read_text().replace("steps = 2", "steps = 2\nseed = 7"))
    result = dpdm(*VERIFY)
    assert result.exit_code == 1
    assert "Since the last run into out, draw.seed was 0 and is 7." in result.stderr


def test_what_other_processors_drew_is_near(site: Path) -> None:
    elsewhere()
    lines = done(*VERIFY).stdout.splitlines()[-3:]
    assert all(line.endswith("as on other processors") for line in lines)


def test_what_nobody_draws_is_refused(site: Path) -> None:
    elsewhere()
    path = Path("out/ledger.jsonl")
    path.write_text(path.read_text().replace('"draw.seed": 0', '"draw.seed": 7'))
    plan = Path("plan.toml")
    plan.write_text(plan.read_text().replace("steps = 2", "steps = 2\nseed = 7"))
    result = dpdm(*VERIFY)
    assert result.exit_code == 1
    assert "of its standard deviation" in result.stderr


NONE = [np.nan, np.nan, np.nan]


@pytest.mark.parametrize(
    ("drawn", "stored", "wanted"),
    [
        ([1, 2, 3], [1, 2, 3.5], 0.5 / np.std([1, 2, 3])),
        ([0, 0, 0], [0, 0.25, 0], 0.25),
        ([1, np.nan, 3], [1, np.nan, 3], 0),
        ([1, np.nan, 3], [1, 2, 3], np.inf),
        (NONE, NONE, 0),
    ],
)
def test_distances_are_in_standard_deviations(
    drawn: list[float], stored: list[float], wanted: float
) -> None:
    one, other = (xr.Dataset({"t2m": ("lat", np.array(each))}) for each in (drawn, stored))
    assert max_scaled_difference(one, other) == pytest.approx(wanted)
