"""Kill reconstructions in every way there is, take them up, and compare them byte for byte.

On the small made-up world of the tests, so that hundreds of runs take minutes. A run is killed at
moments drawn by chance (``kill -9`` and SIGTERM), just before or after a rename, within a line of
the ledger, or may let no file grow beyond some size; each time once or twice, then it is taken up
to its end and its folder compared with that of a run undisturbed: the same files with the same
bytes, but for the ledger and the lock, which tell of times and processes. ``worker`` kills one of
two workers by chance and lets the run go on; ``disk`` writes to a file system in memory that
is too small and then grows, where the user may mount one.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path

import psutil

from benchmarks import common
from benchmarks.common import target
from tests.helpers.reconstruction import plan, series, tree
from tests.helpers.small_world import teach

KINDS = ("kill", "rename", "torn", "full", "term")
LAYOUTS = ("netcdf-yearly", "zarr")


def main() -> None:
    """Crash and compare, and print a table."""
    parser = common.parser(__doc__)
    parser.add_argument("--count", type=int, default=50, help="crashed runs of each layout")
    parser.add_argument("--workers", type=int, default=5, help="runs with a worker killed")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        judge(options, Path(folder))


def judge(options: Namespace, folder: Path) -> None:
    """Run all crashes in a scratch folder."""
    os.environ["SOURCE_DATE_EPOCH"] = "0"
    taught = teach(folder)
    taught.prior.rename(folder / "prior.safetensors")
    series(folder)
    rows = [crashed(options, folder, layout, kind) for layout in LAYOUTS for kind in KINDS]
    rows.append(filled(options, folder))
    rows.append(killed_workers(options, folder))
    print(common.table(("layout", "crash", "runs", "the same"), rows))
    runs, same = (sum(int(r[i]) for r in rows) for i in (2, 3))
    common.close("crashes", {"runs": runs, "same": same}, {"differ": target(runs - same, most=0)})


def crashed(options: Namespace, folder: Path, layout: str, kind: str) -> tuple[object, ...]:
    """Return a line of the table: crashes of one kind."""
    plan(folder, layout=layout, keep="all")
    for left in ("out", "whole"):
        shutil.rmtree(folder / left, ignore_errors=True)
    count = options.count // len(KINDS)
    script = common.ROOT / "tests" / "crashes.py"
    words = [sys.executable, script, folder, kind, count, options.seed]
    found = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    print(found.stdout + found.stderr, file=sys.stderr)
    return layout, kind, count, found.stdout.count(", same")


def filled(options: Namespace, folder: Path) -> tuple[object, ...]:
    """Return a line of the table: runs on a disk that is full at first."""
    plan(folder, keep="all")
    for left in ("out", "whole"):
        shutil.rmtree(folder / left, ignore_errors=True)
    common.dpdm("reconstruct", folder / "plan.toml", folder / "whole")
    dice, same, count = random.Random(options.seed), 0, options.count // len(KINDS)
    (folder / "out").mkdir()
    for done in range(count):
        if not mounted(folder / "out", dice.randrange(50, 450)):
            return "netcdf-yearly", "disk (may not mount)", done, same
        words = [*common.COMMAND, "reconstruct", folder / "plan.toml", folder / "out"]
        subprocess.run(list(map(str, words)), stderr=subprocess.DEVNULL, check=False)
        mounted(folder / "out", 20_000, "remount,")
        common.dpdm(*words[len(common.COMMAND) :])
        same += tree(folder / "out") == tree(folder / "whole")
        subprocess.run(["umount", folder / "out"], check=True)
    return "netcdf-yearly", "disk", count, same


def mounted(folder: Path, kilobytes: int, how: str = "") -> bool:
    """Mount a file system of some size in memory; tell whether the user may."""
    words = ["mount", "-t", "tmpfs", "-o", f"{how}size={kilobytes}k", "dpdm", str(folder)]
    return subprocess.run(words, stderr=subprocess.DEVNULL, check=False).returncode == 0


def killed_workers(options: Namespace, folder: Path) -> tuple[object, ...]:
    """Return a line of the table: runs of two workers of which one is killed."""
    plan(folder, members=40, block=1)
    for left in ("out", "whole"):
        shutil.rmtree(folder / left, ignore_errors=True)
    common.dpdm("reconstruct", folder / "plan.toml", folder / "whole")
    dice, same = random.Random(options.seed), 0
    for _ in range(options.workers):
        kill_a_worker(folder, dice)
        same += tree(folder / "out") == tree(folder / "whole")
        shutil.rmtree(folder / "out")
    return "netcdf-yearly", "worker", options.workers, same


def kill_a_worker(folder: Path, dice: random.Random) -> None:
    """Run with two workers and kill one at a moment drawn by chance."""
    words = ["reconstruct", folder / "plan.toml", folder / "out", "--workers", "2"]
    run = psutil.Popen([*common.COMMAND, *map(str, words)], stderr=subprocess.DEVNULL)
    while run.is_running() and not list((folder / "out" / ".parts").glob("*.safetensors")):
        time.sleep(0.01)
    time.sleep(dice.uniform(0, 1))
    workers = [p for p in run.children() if "reconstruct.executors" in " ".join(p.cmdline())]
    if workers:
        os.kill(dice.choice(workers).pid, signal.SIGKILL)
    if run.wait():
        raise SystemExit(f"The run ended with exit {run.returncode}.")


if __name__ == "__main__":
    main()
