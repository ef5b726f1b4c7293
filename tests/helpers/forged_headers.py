"""Headers of priors that nobody's training wrote, and what dpdm makes of them."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NUMBERS: tuple[Any, ...] = (0, -1, 1e9, 10**18, 10**40, -1e300, 1e-300, float("nan"), float("inf"))
OTHERS: tuple[Any, ...] = (
    None,
    True,
    "many",
    "\x1b[31m\x07",
    "x" * 200_000,
    [],
    {},
    [[1, 2], 3],
    {"a": 1},
)
WORST: dict[str, Sequence[Any]] = {
    "contract.window": (0, -64, 10**9, 1.5, "64"),
    "contract.factors": ([0, 0], [4], [12, 4], [4, 10**9]),
    "contract.spacing": ([0, 0], [0.25], [-1, 1], [1e-9, 1e9]),
    "contract.cadence": (-1, "monthly"),
    "contract.sigma": ([80, 0.002], [0, 0], [0.002], [-1, 1]),
    "contract.states": (-1, 1, 10**9, "3"),
    "contract.plane": ([4], [0, 0], [10**9, 10**9], "globe"),
    "contract.net.depth": (0, -1, 10**9, 1.5),
    "contract.net.widths": ([], [64], [0, 0], [10**9, 10**9], 64),
    "contract.net.read": ([], [0, 0, 0], [10**9] * 3, [32, 64]),
    "contract.net.hidden": (8, 0, 10**9),
    "contract.net.codes": (8, 10**9),
    "contract.net.law": ([1, 2, 3, 4], [10**9] * 4),
    "contract.sampling.steps": (0, 1, -5, 10**9, 2.5),
    "contract.sampling.most": (0, -1, 1e-9),
    "contract.sampling.sampler": ("euler", "", ["ddim"]),
    "contract.sampling.schedule": ("steep", None),
    "contract.sampling.corrections": (-1, 10**9),
    "channels": ([], {}, "t2m", [1, 2]),
    "format": (2, "1", None, 10**40),
    "dpdm": (1, None, ["0.1.0"], "99.0"),
}


def worst(header: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a header with single values that cannot be, and what was changed."""
    for key, values in WORST.items():
        for value in values:
            forged = json.loads(json.dumps(header))
            *road, last = key.split(".")
            part = forged
            for step in road:
                part = part[step]
            part[last] = value
            yield f"{key} = {value!r}"[:60], json.dumps(forged)
    for key in ("training", "scores", "sampling", "net", "code", "plane"):
        for value in ([1], "words", {"new": 1}):
            forged = json.loads(json.dumps(header))
            forged["contract"][key] = value
            yield f"contract.{key} = {value!r}", json.dumps(forged)
    yield "nested", '{"format": 1, "a": ' + "[" * 100_000 + "]" * 100_000 + "}"
    yield "digits", '{"format": ' + "9" * 6000 + "}"


def forgeries(header: dict[str, Any], seed: int) -> Iterator[tuple[str, str]]:
    """Yield a header with one to three changes drawn by chance, without end."""
    dice = random.Random(seed)
    while True:
        forged = json.loads(json.dumps(header))
        said = [changed(forged, dice) for _ in range(dice.choice((1, 1, 1, 2, 3)))]
        yield "; ".join(said), json.dumps(forged)


def changed(forged: dict[str, Any], dice: random.Random) -> str:
    """Change a header at a place drawn by chance, and return how."""
    places = list(holders(forged, ""))
    part, key, road = dice.choice(places)
    kind = dice.choice(("delete", "number", "other", "extra", "deep", "scale"))
    if kind == "delete":
        del part[key]
    elif kind == "number":
        part[key] = dice.choice(NUMBERS)
    elif kind == "other":
        part[key] = dice.choice(OTHERS)
    elif kind == "deep":
        part[key] = json.loads("[" * 60 + "]" * 60)
    elif kind == "scale" and isinstance(part[key], int | float):
        part[key] = part[key] * dice.choice((-1, 0.5, 2, 1000, 10**7))
    elif isinstance(part, dict):
        part[f"{key}_new"] = part[key]
    else:
        part.append(part[key])
    return f"{kind} {road}"


def holders(part: Any, road: str) -> Iterator[tuple[Any, Any, str]]:
    """Yield all places in a header: what holds them, their key, and the road to them."""
    pairs = part.items() if isinstance(part, dict) else enumerate(part)
    for key, value in list(pairs):
        yield part, key, f"{road}/{key}"
        if isinstance(value, dict | list):
            yield from holders(value, f"{road}/{key}")


def split(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return the header of a safetensors file, and its tensors."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header: dict[str, Any], tensors: bytes) -> bytes:
    """Return a safetensors file."""
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + tensors


def said_of(path: Path) -> dict[str, Any]:
    """Return what a prior states of itself."""
    said: dict[str, Any] = json.loads(split(path)[0]["__metadata__"]["dpdm_prior"])
    return said


def forge(source: Path, text: str, out: Path) -> None:
    """Write a prior with another header."""
    header, tensors = split(source)
    header["__metadata__"]["dpdm_prior"] = text
    out.write_bytes(joined(header, tensors))


def containers(source: Path) -> Iterator[tuple[str, bytes]]:
    """Yield files whose safetensors header, not that of the prior, was forged."""
    content, (header, tensors) = source.read_bytes(), split(source)
    for power in (20, 32, 60, 63):
        yield f"a header of 2**{power} bytes", (2**power).to_bytes(8, "little") + content[8:]
    for cut in (0, 4, 8, 100, len(content) - 1):
        yield f"cut at {cut} bytes", content[:cut]
    first, second = [name for name in header if name != "__metadata__"][:2]
    changes: dict[str, Callable[[dict[str, Any]], Any]] = {
        "overlapping": lambda h: h[second].update(data_offsets=h[first]["data_offsets"]),
        "beyond the end": lambda h: h[first].update(data_offsets=[0, 2**60]),
        "of a huge shape": lambda h: h[first].update(shape=[2**40, 2**40]),
        "of another shape": lambda h: h[first].update(shape=[*h[first]["shape"], 1]),
        "of whole numbers": lambda h: h[first].update(dtype="I32"),
        "of no type": lambda h: h[first].update(dtype="F128"),
        "renamed": lambda h: h.update({"\x1b[31m": h.pop(first)}),
        "no text": lambda h: h["__metadata__"].update(dpdm_prior=1),
    }
    for what, change in changes.items():
        forged = json.loads(json.dumps(header))
        change(forged)
        yield what, joined(forged, tensors)


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: Its exit code, or minus the signal that ended it.
        seconds: How long it took.
        megabytes: The most memory that it held.
        stderr: What it printed on standard error.
    """

    code: int
    seconds: float
    megabytes: float
    stderr: str

    @property
    def clean(self) -> bool:
        """Tell whether it succeeded, or was refused in sentences."""
        return self.code in (0, 1, 2) and "Traceback" not in self.stderr


def attempt(words: Sequence[object], log: Path, limit: int = 20) -> Outcome:
    """Run a command in a process forked from this one, for so many seconds at most."""
    begun = time.monotonic()
    child = os.fork()
    if not child:
        become([str(word) for word in words], log, limit)
    _, status, used = os.wait4(child, 0)
    return Outcome(
        os.waitstatus_to_exitcode(status), time.monotonic() - begun, used.ru_maxrss / 1024,
        log.read_text(errors="replace"),
    )  # fmt: skip


def become(words: list[str], log: Path, limit: int) -> None:
    """Be the command, to the end."""
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(limit)
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    code = 1
    try:
        from dpdm_cli.main import main

        main(words, prog_name="dpdm")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
