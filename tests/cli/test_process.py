"""What the command promises as a process: a quick start, signals heeded, nothing half-written."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr

from dpdm.prior import load_prior
from tests.helpers.commands import Nursery
from tests.helpers.processes import FULL, START
from tests.helpers.small_world import Taught, done

MAIN = START + "from dpdm_cli.start import main; main()"
# The prior is so small that a run ends before a signal arrives: so the signal is sent from within,
# once the file asked for is there.
KILL = """
import os, pathlib, signal, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a job run in background
signal.signal(signal.SIGTERM, signal.SIG_DFL), signal.signal(signal.SIGHUP, signal.SIG_DFL)
def kill():
    while not list(pathlib.Path().glob({glob!r})):
        time.sleep(0.002)
    os.kill(os.getpid(), {number})
threading.Thread(target=kill, daemon=True).start()
"""


def launch(script: str, *words: object) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, *map(str, words)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_help_imports_nothing_heavy() -> None:
    heavy = "torch", "xarray", "numpy", "netCDF4", "dask", "scipy", "rich", "zarr", "pint"
    script = START + (
        "from dpdm_cli.main import main\n"
        "try: main()\n"
        f"except SystemExit: print(*(set({heavy!r}) & set(sys.modules)), file=sys.stderr)"
    )
    for words in ([], ["downscale"], ["train"]):
        result = launch(script, *words, "--help")
        assert result.stdout.startswith("Usage: ")
        assert result.stderr.strip() == ""


ABSENT = """
downscale no.nc out.nc
downscale is.nc out.nc --statics no.nc
downscale is.nc out.nc --climatology no.nc
downscale is.nc is_not/out.nc
downscale is.nc old.nc
assimilate no.csv out.nc
assimilate is.nc old.nc
train no.nc --factor 4 --out out.safetensors
train is.nc --factor 4 --out is_not/out.safetensors
reconstruct no.toml out
status no
coarsen no.nc out.nc --factor 4
lerp is.nc old.nc --factor 4
evaluate is.nc no.nc
evaluate is.nc is.nc --report old.nc
plot no.nc out.png
export no.nc out.tif
observe no.nc out.nc --config is.nc
perturb no.nc out.nc
embed is.nc old.nc
forecast is.nc no.nc out.nc
testbed lorenz63 old.nc --trajectories 1 --length 9
info no.nc
"""
RUN_EACH = """
from click.testing import CliRunner
from dpdm_cli.main import main
for line in sys.stdin.read().strip().splitlines():
    result = CliRunner().invoke(main, line.split())
    heavy = " ".join(set(sys.argv[1:]) & set(sys.modules))
    print(result.exit_code, heavy, result.output.splitlines()[0], line, sep="|")
"""


def run_each(lines: str, heavy: str, folder: Path) -> list[list[str]]:
    """Return exit code, heavy imports and first line of each command."""
    command = [sys.executable, "-c", START + RUN_EACH, *heavy.split()]
    done = subprocess.run(
        command, input=lines, cwd=folder, capture_output=True, text=True, check=True
    )
    return [line.split("|") for line in done.stdout.splitlines()]


def test_what_is_wrong_with_a_path_is_said_before_heavy_imports(tmp_path: Path) -> None:
    for name in ("is.nc", "old.nc"):
        (tmp_path / name).touch()
    found = run_each(ABSENT, "torch xarray numpy pandas rich", tmp_path)
    assert len(found) == ABSENT.count("\n") - 1
    wrong = re.compile(r"Error: .*(does not exist|exists|holds no ledger)")
    for code, heavy, first, words in found:
        assert (code, heavy, bool(wrong.match(first))) == ("1", "", True), words
    assert {path.name for path in tmp_path.iterdir()} == {"is.nc", "old.nc"}


def test_a_prior_is_described_without_torch(tmp_path: Path) -> None:
    assert run_each("info default\n", "torch dask pint", tmp_path)[0][:3] == [
        "0", "", "prior: default",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_leaves_no_file(here: Path, nursery: Nursery, name: str) -> None:
    number = getattr(signal, name)
    before = KILL.format(glob=".out.nc.*.tmp/out.nc", number=int(number))
    there = {p.name for p in here.iterdir()}
    words = "coarse.nc", "out.nc", "--prior", "prior.safetensors", "--members", 200
    result = nursery.run("downscale", *words, before=before)
    assert result.returncode == 128 + number
    assert result.stderr == "Interrupted: nothing half-written is left.\n"
    assert {p.name for p in here.iterdir()} == there


LONG = "train", "fine.nc", "--factor", 4, "--config", "long.toml", "--out"


def settings(here: Path, validate: int) -> None:
    text = (here / "small.toml").read_text()
    text = text.replace("steps = 12", "steps = 40").replace(
        "validate = 6", f"validate = {validate}"
    )
    (here / "long.toml").write_text(text)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_training_keeps_what_it_has(here: Path, nursery: Nursery, name: str) -> None:
    settings(here, 10)
    number = getattr(signal, name)
    before = KILL.format(glob="out.safetensors.resume", number=int(number))
    there = {p.name for p in here.iterdir()}
    result = nursery.run(*LONG, "out.safetensors", before=before)
    assert result.returncode == 128 + number
    made = {p.name for p in here.iterdir()} - there
    assert made == {"out.safetensors", "out.safetensors.resume", "out.jsonl"}
    done(*LONG, "out.safetensors")
    assert not Path("out.safetensors.resume").exists()
    assert load_prior(here / "out.safetensors").contract.training["steps"] == 40


def test_a_killed_training_goes_on_to_the_same_weights(here: Path, nursery: Nursery) -> None:
    settings(here, 10)
    before = KILL.format(glob="out.safetensors.resume", number=int(signal.SIGKILL))
    assert nursery.run(*LONG, "out.safetensors", before=before).returncode == -signal.SIGKILL
    done(*LONG, "out.safetensors")
    done(*LONG, "whole.safetensors")
    one, two = (
        load_prior(here / f"{n}.safetensors").denoiser.state_dict() for n in ("out", "whole")
    )
    assert all(bool((one[key] == two[key]).all()) for key in one)


@pytest.mark.parametrize("command", ["downscale", "coarsen", "train"])
def test_no_room_is_a_sentence_and_leaves_no_file(
    here: Path, nursery: Nursery, command: str
) -> None:
    words = {
        "downscale": "coarse.nc out.nc --prior prior.safetensors --members 9",
        "coarsen": "fine.nc out.nc --factor 2",
        "train": "fine.nc --factor 4 --config small.toml --out out.safetensors",
    }[command]
    before = {p.name for p in here.iterdir()}
    result = nursery.run(command, *words.split(), before=FULL.format(limit=20_000))
    notes = ("windows/s", "statics: ")  # of a training
    errors = [x for x in result.stderr.splitlines() if not any(note in x for note in notes)]
    assert result.returncode == 1, result.stderr
    assert errors[0].startswith("Error: out."), result.stderr
    assert errors[1].startswith("Hint: ")
    assert len(errors) == 2
    assert {p.name for p in here.iterdir()} - before <= {"out.jsonl"}


def test_history_is_the_command_line(here: Path, taught: Taught) -> None:
    result = launch(MAIN, "lerp", "coarse.nc", "out file.nc", "--factor", 2)
    assert result.returncode == 0, result.stderr
    said = xr.open_dataset("out file.nc").attrs["history"]
    assert said.endswith("Z: dpdm lerp coarse.nc 'out file.nc' --factor 2")
