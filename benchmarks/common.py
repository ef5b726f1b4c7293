"""What the benchmarks share: files, the command in a child process, targets, and the last line.

Each is a folder, run from the root of the repository by ``python -m benchmarks.FOLDER.run``.

Every benchmark ends with one line of JSON: ``{"benchmark", "figures", "targets"}``, where each
target tells its value, its bounds and whether it is met.
"""

import json
import math
import os
import platform
import subprocess
import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "sample_data"
COARSE, TRUTH = SAMPLES / "east_asia_coarse.nc", SAMPLES / "east_asia_fine.nc"
COMMAND = (sys.executable, "-c", "from dpdm_cli.start import main; main()")
Target = dict[str, Any]


def this_benchmark() -> tuple[str, ...]:
    """Return the command that runs this benchmark again: ``python -m benchmarks.FOLDER.run``."""
    return sys.executable, "-m", sys.modules["__main__"].__spec__.name


def plain_parser(lesson: str | None) -> ArgumentParser:
    """Return a parser without options, whose help shows how the benchmark is run."""
    made = ArgumentParser(description=lesson, formatter_class=RawDescriptionHelpFormatter)
    made.prog = " ".join(("python", *this_benchmark()[1:]))
    return made


def parser(lesson: str | None) -> ArgumentParser:
    """Return a parser with the options that all benchmarks have."""
    made = plain_parser(lesson)
    made.add_argument("--prior", default="default", metavar="NAME|FILE", help="the prior to judge")
    made.add_argument(
        "--build", type=Path, default=Path("build"), help="folder of make.py, and for what is made"
    )
    return made


def needed(path: Path) -> Path:
    """Return the path of a file that ``sample_data/make.py`` makes, or end with a sentence."""
    if path.is_file():
        return path
    raise SystemExit(f"{path} is missing. Run: python sample_data/make.py {path.parent}")


@dataclass(frozen=True)
class Ran:
    """What a child process took.

    Attributes:
        seconds: Wall-clock time.
        megabytes: Greatest resident memory, 10^6 bytes.
        processor: Processor seconds, of all threads.
    """

    seconds: float
    megabytes: float
    processor: float = 0.0


def dpdm(*words: str | Path | int | float) -> Ran:
    """Run the command ``dpdm`` to its end, or end with it where it fails."""
    began = time.perf_counter()
    child = subprocess.Popen([*COMMAND, *map(str, words)])
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"dpdm {' '.join(map(str, words))} ended with exit {child.returncode}.")
    scale = 1 if platform.system() == "Darwin" else 1024
    processor = usage.ru_utime + usage.ru_stime
    return Ran(time.perf_counter() - began, usage.ru_maxrss * scale / 1e6, processor)


def target(value: float, least: float = -math.inf, most: float = math.inf) -> Target:
    """Return a value with its bounds and whether it lies within.

    Example:
        >>> target(0.5, most=0.45)["met"]
        False
    """
    ends = {"least": least, "most": most}
    return {"value": value, **{k: v for k, v in ends.items() if math.isfinite(v)}} | {
        "met": least <= value <= most
    }


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return aligned text; numbers have four significant digits."""
    cells = [list(head), *([written(entry) for entry in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            c.rjust(w) if i else c.ljust(w)
            for i, (c, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def written(entry: object) -> str:
    """Return a table's entry as text."""
    return f"{entry:.4g}" if isinstance(entry, float) else str(entry)


def close(name: str, figures: dict[str, Any], targets: dict[str, Target]) -> None:
    """Print the targets, and last everything as one line of JSON."""
    if targets:
        rows = [
            (what, t["value"], bounds(t), "met" if t["met"] else "MISSED")
            for what, t in targets.items()
        ]
        print("\n" + table(("target", "value", "wanted", ""), rows))
    said = {"benchmark": name, "figures": figures, "targets": targets}
    print("\n" + json.dumps(plain(said)))


def bounds(wanted: Target) -> str:
    """Return a target's bounds in words.

    Example:
        >>> bounds(target(1.0, least=0.9, most=1.1))
        '0.9 to 1.1'
    """
    least, most = wanted.get("least"), wanted.get("most")
    if least is None or most is None:
        return f"<= {most:g}" if least is None else f">= {least:g}"
    return f"{least:g} to {most:g}"


def plain(value: Any) -> Any:
    """Return what JSON knows: numbers of five significant digits, null for the infinite."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value
