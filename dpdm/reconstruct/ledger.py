"""What has been done: an append-only file, a line of JSON for each thing that happened.

A line is written to the disk before anything relies on it. The last one may be torn by a power
cut; it was relied on by nobody, and is dropped. Whatever has no line has not happened: it is done
again, with the same result.

One reconstruction at a time in a folder.

The lock is the system's (flock): it ends with the process that holds it, however that ends, so
there is none to be left behind, and no clock decides. The file says who holds it, for people.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from dpdm.errors import DpdmError
from dpdm.publish import append_line
from dpdm.reconstruct.units import WorkUnit
from dpdm.system import utc_now

LEDGER_NAME = "ledger.jsonl"
LedgerEntry = dict[str, Any]


@dataclass
class Ledger:
    """The ledger of a folder, and what follows from it.

    Attributes:
        path: The file.
        starts: The starts, with the fingerprints that held.
        inputs: Digest of each file that was read, as far as known last.
        drawn: Units that are drawn, with the entry that says so.
        outdated_units: Units that were drawn before the last change.
        step_products: The product that each step is in.
        products: Digest of each product, by its name.
        digests: Digest of the input of each step of which something is drawn or kept.
        faults: The last fault of units that failed and were not drawn since.
        unit_seconds: Seconds that units took, in order.
        runs: Of each run the time of its start, that of its last unit, and how many it drew.
    """

    path: Path
    starts: list[LedgerEntry] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)
    drawn: dict[WorkUnit, LedgerEntry] = field(default_factory=dict)
    outdated_units: set[WorkUnit] = field(default_factory=set)
    step_products: dict[str, str] = field(default_factory=dict)
    products: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    faults: dict[WorkUnit, LedgerEntry] = field(default_factory=dict)
    unit_seconds: list[float] = field(default_factory=list)
    runs: list[tuple[str, str, int]] = field(default_factory=list)

    def append(self, event: str, **more: Any) -> None:
        """Write an entry to the disk, then heed it."""
        entry = {"at": utc_now(), "event": event, **more}
        append_line(self.path, json.dumps(entry, separators=(",", ":")))
        self.apply(entry)

    def apply(self, entry: LedgerEntry) -> None:
        """Let an entry change what is known."""
        heeds = {
            "start": self._start, "change": self._change, "inputs": self._inputs,
            "drawn": self._drawn, "failed": self._failed, "kept": self._kept,
            "lost": self._lost,
        }  # fmt: skip
        heeds[entry["event"]](entry)

    def _start(self, entry: LedgerEntry) -> None:
        self.starts.append(entry)
        self.runs.append((entry["at"], entry["at"], 0))

    def _change(self, entry: LedgerEntry) -> None:
        self.outdated_units |= self.drawn.keys()

    def _inputs(self, entry: LedgerEntry) -> None:
        self.inputs = entry["sha256"]

    def _drawn(self, entry: LedgerEntry) -> None:
        unit = entry_unit(entry)
        self.drawn[unit] = entry
        self.outdated_units.discard(unit)
        self.digests[unit.label] = entry["input"]
        self.unit_seconds.append(entry["seconds"])
        self.faults.pop(unit, None)
        begun, _, count = self.runs.pop()
        self.runs.append((begun, entry["at"], count + 1))

    def _failed(self, entry: LedgerEntry) -> None:
        self.faults[entry_unit(entry)] = entry

    def _kept(self, entry: LedgerEntry) -> None:
        self.products |= entry["sha256"]
        self.step_products |= dict.fromkeys(entry["labels"], entry["product"])

    def _lost(self, entry: LedgerEntry) -> None:
        gone = {
            label for label, product in self.step_products.items() if product in entry["products"]
        }
        self.products = {k: v for k, v in self.products.items() if k not in entry["products"]}
        self.step_products = {
            label: v for label, v in self.step_products.items() if label not in gone
        }
        self.drawn = {unit: v for unit, v in self.drawn.items() if unit.label not in gone}

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Return what decided the values when the last run began; empty before the first."""
        return self.starts[-1]["fingerprint"] if self.starts else {}

    @property
    def rate(self) -> float:
        """Return units an hour in the last run that drew any, 0 where the clock does not tell."""
        for begun, last, count in reversed(self.runs):
            if count:
                passed = datetime.fromisoformat(last) - datetime.fromisoformat(begun)
                seconds = passed.total_seconds()  # below 0 where the clock was set back
                return 3600 * count / max(seconds, 1.0) if seconds >= 0 else 0.0
        return 0.0

    @property
    def done(self) -> int:
        """Count the units that need no more work, by what the last start says of a step."""
        beside = sum(unit.label not in self.step_products for unit in self.drawn)
        return len(self.step_products) * int(self.starts[-1]["per_step"]) + beside

    def is_done(self, unit: WorkUnit) -> bool:
        """Return whether a unit need not be drawn again."""
        return unit.label in self.step_products or unit in self.drawn


def entry_unit(entry: LedgerEntry) -> WorkUnit:
    """Return the unit of an entry."""
    return WorkUnit(entry["label"], entry["first"], entry["count"])


def open_ledger(folder: Path) -> Ledger:
    """Return the ledger of a folder as it stands."""
    ledger = Ledger(folder / LEDGER_NAME)
    for entry in read_entries(ledger.path):
        ledger.apply(entry)
    return ledger


def read_entries(path: Path) -> Iterator[LedgerEntry]:
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


def remove_torn_line(path: Path) -> None:
    """Cut off a torn last line, that the next one may stand for itself."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)
        os.fsync(file.fileno())


LOCK_NAME = ".lock"
BUSY_EXIT_CODE = 75  # EX_TEMPFAIL of sysexits: try again later
LOCK_ATTEMPTS = 5  # tries, for dpdm status holds the lock while it looks who does


@contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder."""
    if not folder.is_dir():
        raise DpdmError(
            f"There is no folder {folder}.", "Name the folder OUT of a reconstruction."
        )
    path = folder / LOCK_NAME
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        _acquire_lock(handle, path)
        who = {"pid": os.getpid(), "host": socket.gethostname(), "since": utc_now()}
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(who).encode(), 0)
        yield
    finally:
        os.close(handle)


def _acquire_lock(handle: int, path: Path) -> None:
    try:
        _try_lock(handle, LOCK_ATTEMPTS)
    except BlockingIOError as fault:
        raise DpdmError(
            f"{path.parent} is being worked on by {read_holder(path)}.",
            "Wait until it ends, or stop it; dpdm status shows how far it is.",
            code=BUSY_EXIT_CODE,
        ) from fault
    except OSError as fault:
        if fault.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        raise DpdmError(
            f"The file system of {path.parent} has no locks, so two runs could not be told apart.",
            "Write to another one, or have it mounted with flock.",
        ) from fault


def _try_lock(handle: int, times: int) -> None:
    """Take the lock, though somebody may look at it in this moment."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if times <= 1:
            raise
        time.sleep(0.02)
        _try_lock(handle, times - 1)


def lock_holder(folder: Path) -> str:
    """Say who works on a folder now; nothing if nobody does."""
    path = folder / LOCK_NAME
    if not path.exists():
        return ""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return read_holder(path)
    return ""


def read_holder(path: Path) -> str:
    """Return what a lock's file says of its holder."""
    try:
        who = json.loads(path.read_text(encoding="utf-8"))
        return f"process {who['pid']} on {who['host']} since {who['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
