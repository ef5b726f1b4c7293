"""A signal ends a command soon, with one sentence, and leaves nothing half-written."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers import signal_shots
from tests.helpers.commands import Nursery
from tests.helpers.processes import START
from tests.helpers.small_world import Taught

MAIN = START + "from dpdm_cli.start import main; main()"
# A write that never ends, with the lock held that everything else would wait for.
STUCK = """
import os, signal, threading, time
from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK
from dpdm.system import HDF5_LOCK
from dpdm.fields.write import Writer
def put(self, target, place, values):
    HDF5_LOCK.acquire(), NETCDF4_PYTHON_LOCK.acquire()
    {before}
    while True:
        threading.Event().wait(0.1)
Writer._write_values = put
"""
# Python swallows what is raised in a __del__.
DYING = """
import os, signal
import torch
class Dying:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
class Disturbed(torch.optim.AdamW):
    def step(self):
        Dying()
        super().step()
torch.optim.AdamW = Disturbed
"""


def test_signals_at_any_moment(
    tmp_path: Path, taught: Taught, nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    signal_shots.site(tmp_path, taught, months=2, members=4)
    names = ["lerp", "reconstruct"]
    seen = signal_shots.campaign(nursery, tmp_path, names, shots=3, seed=2)
    assert not [fault for count in seen.values() for fault in count.faults]


@pytest.mark.parametrize("twice", [False, True])
def test_nobody_waits_for_a_lock_that_is_never_released(
    here: Path, nursery: Nursery, twice: bool
) -> None:
    kill = "os.kill(os.getpid(), signal.SIGTERM); time.sleep(0.6);"
    before = signal_shots.HEARD + STUCK.format(before=kill * (1 + twice))
    there = sorted(here.iterdir())
    begun = time.monotonic()
    run = nursery.run("lerp", "coarse.nc", "out.nc", "--factor", 2, before=before)
    assert (run.returncode, run.stderr) == (128 + signal.SIGTERM, signal_shots.SAID)
    assert time.monotonic() - begun < 10
    assert sorted(here.iterdir()) == there


def test_a_signal_in_a_finaliser_is_heard(here: Path, nursery: Nursery) -> None:
    words = "train", "fine.nc", "--factor", 4, "--config", "small.toml", "--out", "out.safetensors"
    run = nursery.run(*words, before=signal_shots.HEARD + DYING)
    assert run.returncode == 128 + signal.SIGTERM, run.stderr
    assert run.stderr.endswith(signal_shots.SAID)
    assert Path("out.safetensors.resume").exists()


def test_a_job_in_the_background_ignores_the_keyboard(here: Path, nursery: Nursery) -> None:
    before = "import os, signal; signal.signal(signal.SIGINT, signal.SIG_IGN);"
    before += "from dpdm.fields.write import Writer; real = Writer.write\n"
    before += "Writer.write = lambda *a: (os.kill(os.getpid(), signal.SIGINT), real(*a))"
    run = nursery.run("lerp", "coarse.nc", "out.nc", "--factor", 2, before=before)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("moment", [0.3, 1.5])
def test_an_interrupt_while_modules_are_imported(here: Path, moment: float) -> None:
    words = [sys.executable, "-c", signal_shots.HEARD + MAIN, "info", "prior.safetensors"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        time.sleep(moment)
        os.kill(run.pid, signal.SIGINT)
        said = run.communicate()[1]
    assert run.returncode in (130, -signal.SIGINT, 0)
    assert said in ("", signal_shots.SAID)
