"""Time the commands that compute nothing, and look for heavy imports.

``dpdm --help`` is timed by the clock: the median of several runs of the installed command, each in
a process of its own, after one that fills the file cache. What it imports is asked of a process
that has just printed the same help. Descriptions, and errors about paths, are timed by the
processor: the least time of a few runs, user and system, since others use the machine too.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import common

HEAVY = ("torch", "xarray", "numpy", "netCDF4", "dask", "scipy", "pint")
ASK = """
import contextlib, io, json, sys
from dpdm_cli.main import main
with contextlib.redirect_stdout(io.StringIO()):
    main(["--help"], standalone_mode=False)
print(json.dumps(sorted(sys.modules)))
"""
ANSWERS = (
    ("info", "default"), ("info", common.COARSE), ("info", "no.nc"), ("status", "series"),
    ("status", "no"), ("downscale", "no.nc", "out.nc"), ("downscale", common.COARSE, "old.nc"),
    ("downscale", common.COARSE, "no/out.nc"),
    ("downscale", common.COARSE, "out.nc", "--prior", "no"), ("assimilate", "no.csv", "out.nc"),
    ("train", "no.nc", "--factor", "4", "--out", "out.safetensors"),
    ("reconstruct", "no.toml", "out"), ("evaluate", "no.nc", common.TRUTH),
    ("coarsen", "no.nc", "out.nc", "--factor", "4"), ("lerp", "no.nc", "out.nc", "--factor", "4"),
    ("plot", "no.nc", "out.png"), ("export", "no.nc", "out.tif"), ("perturb", "no.nc", "out.nc"),
    ("embed", "no.nc", "out.nc"), ("forecast", "no.nc", "no.nc", "out.nc"),
    ("observe", "no.nc", "out.nc", "--config", "no.toml"),
)  # fmt: skip
LEDGER = {
    "at": "2026-01-01T00:00:00Z", "event": "start", "first": "1900-01", "last": "1999-12",
    "units": 1200, "per_step": 1, "missing": [], "fingerprint": {},
}  # fmt: skip


def main() -> None:
    """Print the times and the imports."""
    parser = common.plain_parser(__doc__)
    parser.add_argument("--runs", type=int, default=11)
    runs = parser.parse_args().runs
    figures = time_help(runs)
    print(common.table(("what", "seconds"), figures.items()))
    loaded = imported()
    heavy = [name for name in HEAVY if name in loaded]
    print(f"\n{len(loaded)} modules; heavy ones: {', '.join(heavy) or 'none'}\n")
    answers = time_answers(max(1, runs // 4))
    print(common.table(("command", "processor seconds"), answers.items()))
    targets = {
        "dpdm --help (s)": common.target(figures["median_seconds"], most=0.2),
        "torch and xarray imported": common.target(
            float(sum(name in loaded for name in ("torch", "xarray"))), most=0
        ),
        "slowest answer (s of processor)": common.target(max(answers.values()), most=1.0),
    }
    found = {**figures, "answers": answers, "modules": len(loaded), "heavy": heavy}
    common.close("startup", found, targets)


def time_help(runs: int) -> dict[str, float]:
    """Return the seconds that the help takes, and those of Python alone."""
    script = Path(sys.executable).with_name("dpdm")
    command = [str(script)] if script.is_file() else list(common.COMMAND)
    timed([*command, "--help"])
    took = [timed([*command, "--help"]) for _ in range(runs)]
    bare = [timed([sys.executable, "-c", "pass"]) for _ in range(runs)]
    return {
        "median_seconds": statistics.median(took), "least_seconds": min(took),
        "greatest_seconds": max(took), "bare_python_seconds": statistics.median(bare),
    }  # fmt: skip


def timed(command: list[str]) -> float:
    """Return the seconds that a command takes."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def imported() -> set[str]:
    """Return the names of the modules that the help imports."""
    done = subprocess.run([sys.executable, "-c", ASK], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout))


def time_answers(runs: int) -> dict[str, float]:
    """Return the processor seconds of each command, the least of some runs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "old.nc").touch()
        (folder / "series").mkdir()
        (folder / "series" / "ledger.jsonl").write_text(json.dumps(LEDGER) + "\n")
        return {
            " ".join(Path(word).name for word in words): min(
                processor_seconds(words, folder) for _ in range(runs)
            )
            for words in ANSWERS
        }


def processor_seconds(words: tuple[object, ...], folder: Path) -> float:
    """Return the user and system time of a command, whatever its exit code."""
    quiet = subprocess.DEVNULL
    command = [*common.COMMAND, *map(str, words)]
    paths = os.pathsep.join((str(common.ROOT), str(common.ROOT / "cli")))
    env = os.environ | {"PYTHONPATH": paths}
    child = subprocess.Popen(command, cwd=folder, stdout=quiet, stderr=quiet, env=env)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
