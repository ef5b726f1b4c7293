"""A tenth of the campaign of hostile inputs, and that it finds what it looks for."""

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.hostile_inputs.case import DONE, FAULTS, REFUSED, USAGE, Case, nothing, run
from benchmarks.hostile_inputs.run import campaign, made_world
from tests.helpers.commands import Nursery
from tests.helpers.small_world import Taught


def test_no_hostile_input_ends_in_a_traceback_or_leaves_a_file(
    tmp_path: Path, taught: Taught
) -> None:
    made_world(tmp_path / "world", taught)
    counts: Counter[str] = Counter()
    for case, came, said in campaign(tmp_path, seed=0, scale=0.1):
        counts[came] += 1
        assert came not in FAULTS, f"{case.kind}, {case.name}: {came}\n{case.words}\n{said}"
    assert counts.total() >= 40
    assert counts[REFUSED] > 20
    assert min(counts[USAGE], counts[DONE]) > 0


BROKEN = "import dpdm.info as i, time\ni.describe_file = lambda path, missing=(): {}"
FAULTY = {
    "traceback": BROKEN.format("{}['key']"),
    "memory": BROKEN.format("bytearray(10**11)"),
    "file left": BROKEN.format("[open('left', 'w'), 1 / 0]").replace("1 / 0", "open('no')"),
    "crash": BROKEN.format("__import__('os').abort()"),
    "no sentence": BROKEN.format("exit(3)"),
    "hang": BROKEN.format("time.sleep(60)"),
}


@pytest.mark.parametrize("fault", FAULTY)
def test_the_campaign_counts_a_command_that_fails(
    tmp_path: Path, fault: str, nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("benchmarks.hostile_inputs.case.SECONDS", 2.0)
    monkeypatch.setattr(
        "benchmarks.hostile_inputs.case.LIMITS", run.__globals__["LIMITS"] + FAULTY[fault]
    )
    came, said = run(Case("", "", ("info", "a.nc"), nothing), nursery, tmp_path)
    assert came == fault, said
