"""What has been done: an append-only file, a line of JSON for each thing that happened.

A line is written to the disk before anything relies on it. The last one may be torn by a power
cut; it was relied on by nobody, and is dropped. Whatever has no line has not happened: it is done
again, with the same result.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from dpdm import utc
from dpdm.errors import DpdmError
from dpdm.publish import append
from dpdm.reconstruct.units import Unit

NAME = "ledger.jsonl"
Entry = dict[str, Any]


@dataclass
class Ledger:
    """The ledger of a folder, and what follows from it.

    Attributes:
        path: The file.
        starts: The starts, with the fingerprints that held.
        inputs: Digest of each file that was read, as far as known last.
        drawn: Units that are drawn, with the entry that says so.
        older: Units that were drawn before the last change.
        kept: The product that each step is in.
        products: Digest of each product, by its name.
        digests: Digest of the input of each step of which something is drawn or kept.
        faults: The last fault of units that failed and were not drawn since.
        pace: Seconds that units took, in order.
        runs: Of each run the time of its start, that of its last unit, and how many it drew.
    """

    path: Path
    starts: list[Entry] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)
    drawn: dict[Unit, Entry] = field(default_factory=dict)
    older: set[Unit] = field(default_factory=set)
    kept: dict[str, str] = field(default_factory=dict)
    products: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    faults: dict[Unit, Entry] = field(default_factory=dict)
    pace: list[float] = field(default_factory=list)
    runs: list[tuple[str, str, int]] = field(default_factory=list)

    def append(self, event: str, **more: Any) -> None:
        """Write an entry to the disk, then heed it."""
        entry = {"at": utc.now(), "event": event, **more}
        append(self.path, json.dumps(entry, separators=(",", ":")))
        self.heed(entry)

    def heed(self, entry: Entry) -> None:
        """Let an entry change what is known."""
        heeds = {
            "start": self._start, "change": self._change, "inputs": self._inputs,
            "drawn": self._drawn, "failed": self._failed, "kept": self._kept,
            "lost": self._lost,
        }  # fmt: skip
        heeds[entry["event"]](entry)

    def _start(self, entry: Entry) -> None:
        self.starts.append(entry)
        self.runs.append((entry["at"], entry["at"], 0))

    def _change(self, entry: Entry) -> None:
        self.older |= self.drawn.keys()

    def _inputs(self, entry: Entry) -> None:
        self.inputs = entry["sha256"]

    def _drawn(self, entry: Entry) -> None:
        unit = unit_of(entry)
        self.drawn[unit] = entry
        self.older.discard(unit)
        self.digests[unit.label] = entry["input"]
        self.pace.append(entry["seconds"])
        self.faults.pop(unit, None)
        begun, _, count = self.runs.pop()
        self.runs.append((begun, entry["at"], count + 1))

    def _failed(self, entry: Entry) -> None:
        self.faults[unit_of(entry)] = entry

    def _kept(self, entry: Entry) -> None:
        self.products |= entry["sha256"]
        self.kept |= dict.fromkeys(entry["labels"], entry["product"])

    def _lost(self, entry: Entry) -> None:
        gone = {label for label, product in self.kept.items() if product in entry["products"]}
        self.products = {k: v for k, v in self.products.items() if k not in entry["products"]}
        self.kept = {label: v for label, v in self.kept.items() if label not in gone}
        self.drawn = {unit: v for unit, v in self.drawn.items() if unit.label not in gone}

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Give what decided the values when the last run began; empty before the first."""
        return self.starts[-1]["fingerprint"] if self.starts else {}

    @property
    def rate(self) -> float:
        """Give units an hour in the last run that drew any, 0 where the clock does not tell."""
        for begun, last, count in reversed(self.runs):
            if count:
                passed = datetime.fromisoformat(last) - datetime.fromisoformat(begun)
                seconds = passed.total_seconds()  # below 0 where the clock was set back
                return 3600 * count / max(seconds, 1.0) if seconds >= 0 else 0.0
        return 0.0

    @property
    def done(self) -> int:
        """Count the units that need no more work, by what the last start says of a step."""
        beside = sum(unit.label not in self.kept for unit in self.drawn)
        return len(self.kept) * int(self.starts[-1]["per_step"]) + beside

    def is_done(self, unit: Unit) -> bool:
        """Tell whether a unit need not be drawn again."""
        return unit.label in self.kept or unit in self.drawn


def unit_of(entry: Entry) -> Unit:
    """Return the unit of an entry."""
    return Unit(entry["label"], entry["first"], entry["count"])


def open_ledger(folder: Path) -> Ledger:
    """Return the ledger of a folder as it stands.

    Raises:
        DpdmError: When a line that is not the last is damaged.
    """
    ledger = Ledger(folder / NAME)
    for entry in entries(ledger.path):
        ledger.heed(entry)
    return ledger


def entries(path: Path) -> Iterator[Entry]:
    """Yield the entries of a ledger; a torn last line is none."""
    if not path.exists():
        return
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], 1):
        try:
            yield json.loads(line)
        except ValueError as fault:
            raise DpdmError(
                f"Line {number} of {path} is damaged.",
                "Take it from a backup, or begin in another folder.",
            ) from fault


def mend(path: Path) -> None:
    """Cut off a torn last line, that the next one may stand for itself."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)
        os.fsync(file.fileno())
