"""Nothing is lost and nothing differs, however a run ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import kill_and_resume
from tests.helpers.child_processes import children
from tests.helpers.commands import Nursery
from tests.helpers.reconstruction import plan, settle, tree
from tests.helpers.small_world import Taught, done, dpdm

SCRIPT = Path(kill_and_resume.__file__)
MAIN = "import sys; sys.path[:0] = {!r}; from dpdm_cli.main import main; main(prog_name='dpdm')"
KINDS = {"netcdf-yearly": "kill,rename,torn,full,term", "zarr": "kill,rename"}


@pytest.fixture
def site(tmp_path: Path, taught: Taught, monkeypatch: pytest.MonkeyPatch) -> Path:
    return settle(tmp_path, taught, monkeypatch)


def launch(*words: str) -> subprocess.Popen[str]:
    """Begin a command in a process of its own."""
    paths = [str(kill_and_resume.ROOT), str(kill_and_resume.ROOT / "cli")]
    command = [sys.executable, "-c", MAIN.format(paths), *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("layout", KINDS)
def test_any_end_is_taken_up(site: Path, layout: str) -> None:
    plan(site, layout=layout, keep="all")
    count = len(KINDS[layout].split(","))
    command = [sys.executable, str(SCRIPT), str(site), KINDS[layout], str(count), "7"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("same") == count


def test_of_two_at_once_one_works(site: Path, nursery: Nursery) -> None:
    two = [nursery.start("reconstruct", "plan.toml", "out") for _ in range(2)]
    loser, winner = sorted(two, key=lambda child: child.wait() == 0)
    assert winner.returncode == 0
    if loser.returncode != 0:  # or the second began when the first had ended
        assert loser.returncode == 75
        assert "out is in use by process" in loser.stderr


def test_the_lock_says_who_holds_it_and_dies_with_him(site: Path) -> None:
    Path("out").mkdir()
    script = "import fcntl, sys, time; f = open('out/.lock', 'w'); fcntl.flock(f, fcntl.LOCK_EX);"
    script += 'f.write(\'{"pid": 7, "host": "island", "since": "2030-01-01T00:00:00Z"}\');'
    script += "f.flush(); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        result = dpdm("reconstruct", "plan.toml", "out")
        assert result.exit_code == 75
        assert "process 7 on island since 2030-01-01T00:00:00Z" in result.stderr
        other.kill()
    done("reconstruct", "plan.toml", "out")  # with what the dead one left, from another time


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys for TLS, and Dask's settings that name them, as docs/reconstruct.md has it."""
    words = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=dpdm -keyout key.pem"
    command = [*words.split(), "-out", "cert.pem"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION", "True")
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TLS__CA_FILE", str(tmp_path / "cert.pem"))
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        start = f"DASK_DISTRIBUTED__COMM__TLS__{role}__"
        monkeypatch.setenv(f"{start}CERT", str(tmp_path / "cert.pem"))
        monkeypatch.setenv(f"{start}KEY", str(tmp_path / "key.pem"))


@pytest.fixture
def scheduler(tmp_path: Path, keys: None) -> Iterator[tuple[str, int]]:
    """A scheduler and a worker started by hand; yield its address and the keeper of the worker."""
    dask = [sys.executable, "-m", "dask"]
    told = tmp_path / "scheduler.json"
    words = ["--no-dashboard", "--port", "0", "--protocol", "tls", "--scheduler-file", str(told)]
    quiet = {"stderr": subprocess.DEVNULL, "cwd": tmp_path}
    with subprocess.Popen([*dask, "scheduler", *words], **quiet) as first:
        while not told.exists():
            time.sleep(0.05)
        words = ["--nworkers", "1", "--nthreads", "1", "--no-dashboard"]
        address = json.loads(told.read_text())["address"]
        paths = os.pathsep.join([str(kill_and_resume.ROOT), str(kill_and_resume.ROOT / "cli")])
        env = os.environ | {"PYTHONPATH": paths}
        with subprocess.Popen([*dask, "worker", address, *words], env=env, **quiet) as second:
            yield address, second.pid
            second.terminate()
        first.terminate()


def test_a_killed_worker_loses_its_unit_alone(site: Path, scheduler: tuple[str, int]) -> None:
    address, keeper = scheduler
    assert address.startswith("tls://")
    done("reconstruct", plan(site, members=8, block=1), "whole")
    run = launch("reconstruct", "plan.toml", "out", "--scheduler", address)
    while run.poll() is None and not list(Path("out/.parts").glob("*.safetensors")):
        time.sleep(0.01)
    os.kill(children(keeper)[0], signal.SIGKILL)
    said = run.communicate()[1]
    assert run.returncode == 0, said
    assert tree(Path("out")) == tree(Path("whole"))


def test_an_output_that_cannot_be_written(site: Path) -> None:
    Path("file").write_text("")
    assert "file is a file" in dpdm("reconstruct", "plan.toml", "file").stderr
    Path("other").mkdir()
    Path("other/thing.txt").write_text("")
    assert "holds files and no ledger" in dpdm("reconstruct", "plan.toml", "other").stderr
    assert "mkdir -p" in dpdm("reconstruct", "plan.toml", "no/such/out").stderr
