"""Workers of this machine: without a port, replaced when they end, and ended with the command."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dpdm.errors import DpdmError
from dpdm.reconstruct.executors import pack_answer, process_executor
from tests.helpers.child_processes import children
from tests.helpers.commands import Child, Nursery
from tests.helpers.reconstruction import plan, settle, tree
from tests.helpers.small_world import Taught, done

OURS = b"reconstruct.executors"


class Drawer:
    """Draws a number, or does what the unit is called."""

    def use_device(self, worker: int | None, threads: int) -> None:
        torch.set_num_threads(threads)

    def __call__(self, work: Any) -> int:
        if work.unit.name == "fail":
            raise DpdmError("It fails.", "Let it.", 3)
        if work.unit.name == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.get_num_threads() * 0 + work.unit.count


def works(*names: str) -> Iterator[Any]:
    for count, name in enumerate(names):
        yield SimpleNamespace(unit=SimpleNamespace(name=name, count=count))


@pytest.fixture
def site(tmp_path: Path, taught: Taught, monkeypatch: pytest.MonkeyPatch) -> Path:
    return settle(tmp_path, taught, monkeypatch)


def test_a_unit_that_ends_every_worker_is_given_up_and_the_rest_is_drawn() -> None:
    names = ["a", "fail", "die", "b", "c", "d"]
    with process_executor(Drawer(), 2) as engine:  # type: ignore[arg-type]
        found = {outcome.unit.name: outcome.result for outcome in engine(works(*names))}
        again = [outcome.result for outcome in engine(works("e", "f"))]
    assert {n: found[n] for n in "abcd"} == {"a": 0, "b": 3, "c": 4, "d": 5}
    assert sorted(again) == [0, 1]
    fault = found["fail"]
    assert isinstance(fault, DpdmError)
    assert (fault.what, fault.hint) == ("It fails.", "Let it.")
    assert "2 worker processes in turn ended" in str(found["die"])
    assert "by signal 9" in str(found["die"])


def test_a_fault_that_cannot_be_pickled_comes_as_its_words() -> None:
    import pickle

    fault = ValueError("a hole")
    fault.hole = lambda: None  # type: ignore[attr-defined]
    assert str(pickle.loads(pack_answer((fault, 0.0, [])))[0]) == "a hole"


def at_work(run: Child) -> list[int]:
    """Return the workers of a run when the first unit is drawn."""
    while run.poll() is None and not list(Path("out/.parts").glob("*.safetensors")):
        time.sleep(0.01)
    found = children(run.pid, OURS)
    assert len(found) == 2
    return found


def listening(pid: int) -> set[str]:
    """Return the TCP ports on which a process listens."""
    handles = {os.readlink(p) for p in Path(f"/proc/{pid}/fd").iterdir() if p.is_symlink()}
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    return {row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in handles}


def test_no_process_listens_and_a_killed_worker_changes_no_byte(
    site: Path, nursery: Nursery
) -> None:
    done("reconstruct", plan(site, members=4, block=1), "whole")
    run = nursery.start("reconstruct", "plan.toml", "out", "--workers", 2)
    first, second = at_work(run)
    assert [listening(pid) for pid in (run.pid, first, second)] == [set()] * 3
    os.kill(first, signal.SIGKILL)
    assert run.wait() == 0, run.stderr
    assert "Traceback" not in run.stderr
    assert tree(Path("out")) == tree(Path("whole"))
    assert not Path(f"/proc/{second}").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_command(
    site: Path, nursery: Nursery, number: signal.Signals
) -> None:
    plan(site, members=40, block=1)
    run = nursery.start("reconstruct", "plan.toml", "out", "--workers", 2)
    workers = at_work(run)
    os.kill(run.pid, number)
    assert run.wait() in (-number, 128 + number), run.stderr
    assert "Traceback" not in run.stderr
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}/fd/0").exists() for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.02)
