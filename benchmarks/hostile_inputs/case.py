"""A hostile input, the command that is given it, and what may come of that.

Each command runs in a process of its own, with limits of time and memory. It may refuse in two
lines (exit 1), name a usage error (exit 2) or write a whole and finite file (exit 0).
"""

import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from tests.helpers.commands import Child, Nursery

SECONDS = 20.0  # of a command, beyond which it hangs
GIGABYTES = 4  # of address space that a command may take
LIMITS = f"""
import resource
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + {GIGABYTES} * 10**9,) * 2)
resource.setrlimit(resource.RLIMIT_FSIZE, (2 * 10**9,) * 2)
"""
REFUSED, USAGE, DONE = "refused", "usage error", "done"
FAULTS = (
    "traceback", "hang", "file left", "crash", "memory", "no sentence", "library warning",
    "not whole", "not finite",
)  # fmt: skip
SENTENCES = re.compile(r"(Warning: .*\n)*Error: .+\n(  .+\n)*(Hint: .+\n)?", re.ASCII)
Make = Callable[[np.random.Generator], object]


@dataclass(frozen=True)
class Case:
    """One input of a kind.

    Attributes:
        kind: What is hostile: NetCDF, Zarr, CSV, options ...
        name: Which case of the kind.
        words: The command, without ``dpdm``; of files in its folder.
        make: Makes the input in the current folder, of which it spoils what it likes.
        seed: Of the generator that ``make`` is given.
    """

    kind: str
    name: str
    words: tuple[str, ...]
    make: Make
    seed: int = 0


def nothing(rng: np.random.Generator) -> None:
    """Leave the inputs as they are."""


def run(case: Case, nursery: Nursery, folder: Path) -> tuple[str, str]:
    """Return what came of a case, one word, and what was printed.

    Args:
        case: The case; the current folder holds its input.
        nursery: Where the process is forked.
        folder: The current folder.
    """
    before = {path.name for path in folder.iterdir()}
    child = nursery.start(*case.words, before=LIMITS, DPDM_TRACEBACK="1", COLUMNS="100")
    code = waited(child)
    said = child.stderr if code is not None else ""
    left = sorted({path.name for path in folder.iterdir()} - before)
    if code is None:
        return "hang", said
    if code < 0:
        return "crash", f"signal {-code}\n{said}"
    return judged(case, code, said, [folder / name for name in left]), said


def waited(child: Child) -> int | None:
    """Return the exit code of a process, none where it had to be killed."""
    end, pause = time.monotonic() + SECONDS, 0.002
    while child.poll() is None:
        if time.monotonic() > end:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            return None
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    return child.returncode


def judged(case: Case, code: int, said: str, left: list[Path]) -> str:
    """Return what came of a command that ended."""
    faults = {
        "traceback": "Traceback (most" in said or "Internal error" in said,
        "memory": "Out of memory" in said,
        "library warning": bool(re.search(r"\.py:\d+: \w*Warning", said)),
        "file left": code != 0 and bool(left),
    }
    if found := next((fault for fault, true in faults.items() if true), ""):
        return found
    if code == 0:
        return whole(case, left)
    if code == 2:
        return USAGE
    return REFUSED if code == 1 and SENTENCES.fullmatch(said) else "no sentence"


def whole(case: Case, left: list[Path]) -> str:
    """Tell whether what was written is as finite and as long as the input."""
    if any(path.name.startswith(".") for path in left):
        return "file left"
    written = [path for path in left if path.suffix in (".nc", ".zarr")]
    source = next((Path(word) for word in case.words if word.startswith("bad.")), None)
    for path in written:
        if found := unlike(path, source):
            return found
    return DONE


def unlike(path: Path, source: Path | None) -> str:
    """Return what is wrong with a file, nothing if it is as good as its input."""
    with xr.open_dataset(path, engine="zarr" if path.is_dir() else None) as ds:
        values = [a.values for a in ds.data_vars.values() if a.dtype.kind == "f"]
        if any(np.isinf(v).any() or np.nanmax(np.abs(v), initial=0) > 1e30 for v in values):
            return "not finite"
        lost = any(np.isnan(v).any() for v in values)
        return "not whole" if lost and source and not gaps(source) else ""


def gaps(source: Path) -> bool:
    """Tell whether an input has missing values, or is not fields."""
    if source.suffix not in (".nc", ".zarr"):
        return True
    try:
        engine = "zarr" if source.is_dir() else None
        with xr.open_dataset(source, engine=engine, decode_times=False) as ds:
            return any(bool(a.isnull().any()) for a in ds.data_vars.values() if a.ndim > 1)
    except Exception:
        return True


def fresh(world: Path, folder: Path) -> None:
    """Fill a folder with the files of a small world, and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(world, folder)
