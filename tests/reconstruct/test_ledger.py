"""What is gone from the folder of a reconstruction, and who looks into it meanwhile."""

import fcntl
import threading
import time
from pathlib import Path

import pytest

from dpdm.reconstruct.ledger import hold_lock
from tests.helpers.reconstruction import plan, settle, tree
from tests.helpers.small_world import Taught, done, dpdm, refused

RUN = "reconstruct plan.toml out"


@pytest.fixture
def site(tmp_path: Path, taught: Taught, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the mean of some months is reconstructed."""
    settle(tmp_path, taught, monkeypatch)
    plan(tmp_path, members=0)
    done(*RUN.split())
    return tmp_path


def missed(command: str, what: str, hint: str) -> None:
    """Run a command that must find that something is gone."""
    result = dpdm(*command.split())
    assert result.exit_code == 1
    assert what in result.stderr
    assert hint in result.stderr.splitlines()[1]


def test_a_product_that_is_gone_is_missed_and_drawn_again(site: Path) -> None:
    whole = tree(Path("out"))
    Path("out/fine_2000.nc").unlink()
    missed(RUN, "Since out was started, fine_2000.nc is missing", "--accept-change")
    assert "3 of them done" in done(*RUN.split(), "--accept-change").stderr
    assert tree(Path("out")) == whole
    assert "done: 6 of 6" in done("status", "out").stdout
    done("reconstruct", "--verify", "plan.toml", "out")
    assert "6 of them done" in done(*RUN.split()).stderr


def test_a_store_that_is_gone_is_drawn_again(site: Path) -> None:
    plan(site, members=0, layout="zarr")
    done("reconstruct", "plan.toml", "cube")
    whole = tree(Path("cube"))
    Path("cube/fine.zarr").rename("aside.zarr")
    missed("reconstruct plan.toml cube", "fine.zarr/0 is missing", "--accept-change")
    assert "0 of them done" in done("reconstruct", "plan.toml", "cube", "--accept-change").stderr
    assert tree(Path("cube")) == whole


def test_products_without_their_ledger_are_left_alone(site: Path) -> None:
    Path("out/ledger.jsonl").rename("aside.jsonl")
    missed(RUN, "out holds output files, and its ledger.jsonl is missing", "backup")
    refused("status out", "holds no ledger")
    Path("aside.jsonl").rename("out/ledger.jsonl")
    done(*RUN.split())


def test_a_folder_that_is_not_there_is_not_verified(site: Path) -> None:
    refused("reconstruct --verify plan.toml nowhere", "There is no folder nowhere", "OUT")


def test_a_look_at_the_lock_does_not_keep_a_run_away(tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        threading.Timer(0.01, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        with hold_lock(tmp_path):
            time.sleep(0.02)  # until the timer is through
