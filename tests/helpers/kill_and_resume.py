"""Kill a reconstruction in many ways, take it up again, and compare it with one undisturbed.

    python tests/helpers/kill_and_resume.py FOLDER KINDS COUNT SEED

in a folder with plan.toml and its input.

KINDS is one or more of kill, term, rename, torn and full, with commas between.

Each run is a process of its own, forked from one that has imported everything, so that the moments
fall upon the work and not upon the start. Prints a line a crash; exits 1 at the first difference.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLAN, OUT, WHOLE = "plan.toml", Path("out"), Path("whole")
Trap = Callable[[], None]


def start(folder: Path, trap: Trap, *words: str) -> int:
    """Begin a run in a process that a trap was laid in; return its number."""
    child = os.fork()
    if child:
        return child
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    from dpdm_cli.main import main

    trap()
    code = 1
    try:
        main(["reconstruct", PLAN, str(folder), *words], prog_name="dpdm")
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        os._exit(code)


def end(child: int) -> int:
    """Wait for a run; return its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def nothing() -> None:
    """Lay no trap."""


def suicide(number: int, after: bool) -> Trap:
    """Return a trap that kills the run before or after so many renames."""

    def trap() -> None:
        seen = 0

        def counting(real: Callable[..., None]) -> Callable[..., None]:
            def rename(*words: object, **more: object) -> None:
                nonlocal seen
                seen += 1
                if seen == number and not after:
                    os.kill(os.getpid(), signal.SIGKILL)
                real(*words, **more)
                if seen == number:
                    os.kill(os.getpid(), signal.SIGKILL)

            return rename

        os.replace, os.rename = counting(os.replace), counting(os.rename)
        os.link = counting(os.link)

    return trap


def torn(number: int) -> Trap:
    """Return a trap that kills the run in the middle of a line of the ledger."""

    def trap() -> None:
        from dpdm.reconstruct import ledger

        seen, real = 0, os.write

        def write(handle: int, line: bytes) -> int:
            nonlocal seen
            if line.startswith(b'{"at"'):
                seen += 1
                if seen == number:
                    real(handle, line[: len(line) // 2])
                    os.kill(os.getpid(), signal.SIGKILL)
            return real(handle, line)

        ledger.os.write = write  # type: ignore[attr-defined]

    return trap


def full(limit: int) -> Trap:
    """Return a trap that lets no file of the run grow beyond so many bytes."""

    def trap() -> None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return trap


def crash(kind: str, dice: random.Random, usual: float) -> str:
    """Disturb one run, and say how it ended."""
    if kind == "rename":
        number, after = dice.randrange(1, 16), dice.random() < 0.5
        code = end(start(OUT, suicide(number, after)))
        return f"killed {'after' if after else 'before'} rename {number}: {code}"
    if kind == "torn":
        number = dice.randrange(1, 16)
        return f"killed within line {number} of the ledger: {end(start(OUT, torn(number)))}"
    if kind == "full":
        limit = dice.randrange(2_000, 200_000)
        return f"no room beyond {limit} bytes: {end(start(OUT, full(limit)))}"
    moment, child = dice.uniform(0, usual), start(OUT, nothing)
    time.sleep(moment)
    os.kill(child, signal.SIGTERM if kind == "term" else signal.SIGKILL)
    begun = time.monotonic()
    code = end(child)
    return f"{kind} after {moment:.2f} s: {code}, gone in {time.monotonic() - begun:.2f} s"


def tree(folder: Path) -> dict[str, bytes]:
    """Return all files but ledger and lock, which tell of times and processes."""
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files
            if p.name not in ("ledger.jsonl", ".lock")}  # fmt: skip


def main(folder: str, kinds: str, count: str, seed: str) -> int:
    """Crash so many times; return the exit code."""
    from tests.helpers.commands import preload

    preload()
    os.chdir(folder)
    os.environ["SOURCE_DATE_EPOCH"] = "0"
    begun = time.monotonic()
    assert WHOLE.exists() or end(start(WHOLE, nothing)) == 0
    usual, wanted = max(time.monotonic() - begun, 0.5), tree(WHOLE)
    dice = random.Random(int(seed))
    for number in range(int(count)):
        kind = kinds.split(",")[number % len(kinds.split(","))]
        said = [crash(kind, dice, usual) for _ in range(dice.randrange(1, 3))]
        code = end(start(OUT, nothing))
        same = tree(OUT) == wanted
        print(f"{number:3} {'; '.join(said)}; then {code}, {'same' if same else 'DIFFERENT'}")
        if code or not same:
            return 1
        shutil.rmtree(OUT)
    return 0


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "cli")]
    sys.exit(main(*sys.argv[1:]))
