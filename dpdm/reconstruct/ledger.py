"""The ledger of a reconstruction, an append-only file of JSON lines, and the lock of its folder.

A line is on disk before anything depends on it. The last one may be torn by a power cut; nothing
depended on it, and it is dropped. Work without a line is done again, with the same result.

The lock is the system's (flock): it ends with the process that holds it, however that ends. The
lock file names the holder, for messages.
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
from dpdm.reconstruct.work_units import WorkUnit
from dpdm.system import utc_now

LEDGER_NAME = "ledger.jsonl"
LedgerEntry = dict[str, Any]


@dataclass
class Ledger:
    """The ledger of a folder, and the state that follows from its entries.

    Attributes:
        path: The file.
        starts: Entries of the starts, with their fingerprints.
        inputs: Latest digest of each input file.
        drawn: Entry of each unit that is drawn.
        outdated_units: Units that were drawn before the last change.
        step_products: The output file of each written step.
        products: Digest of each output file.
        digests: Digest of the input of each step that is drawn or written.
        failures: The last entry of units that failed and were not drawn since.
        unit_seconds: Drawing times of units, in order.
        runs: Start, time of the last unit and number of units of each run.
    """

    path: Path
    starts: list[LedgerEntry] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)
    drawn: dict[WorkUnit, LedgerEntry] = field(default_factory=dict)
    outdated_units: set[WorkUnit] = field(default_factory=set)
    step_products: dict[str, str] = field(default_factory=dict)
    products: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    failures: dict[WorkUnit, LedgerEntry] = field(default_factory=dict)
    unit_seconds: list[float] = field(default_factory=list)
    runs: list[tuple[str, str, int]] = field(default_factory=list)

    def append(self, event: str, **more: Any) -> None:
        """Write an entry to disk, then apply it."""
        entry = {"at": utc_now(), "event": event, **more}
        append_line(self.path, json.dumps(entry, separators=(",", ":")))
        self.apply(entry)

    def apply(self, entry: LedgerEntry) -> None:
        """Apply an entry to the state."""
        handlers = {
            "start": self._add_start, "change": self._mark_outdated, "inputs": self._set_inputs,
            "drawn": self._add_unit, "failed": self._add_failure, "kept": self._add_product,
            "lost": self._remove_products,
        }  # fmt: skip
        handlers[entry["event"]](entry)

    def _add_start(self, entry: LedgerEntry) -> None:
        self.starts.append(entry)
        self.runs.append((entry["at"], entry["at"], 0))

    def _mark_outdated(self, entry: LedgerEntry) -> None:
        self.outdated_units |= self.drawn.keys()

    def _set_inputs(self, entry: LedgerEntry) -> None:
        self.inputs = entry["sha256"]

    def _add_unit(self, entry: LedgerEntry) -> None:
        unit = entry_unit(entry)
        self.drawn[unit] = entry
        self.outdated_units.discard(unit)
        self.digests[unit.label] = entry["input"]
        self.unit_seconds.append(entry["seconds"])
        self.failures.pop(unit, None)
        start, _, count = self.runs.pop()
        self.runs.append((start, entry["at"], count + 1))

    def _add_failure(self, entry: LedgerEntry) -> None:
        self.failures[entry_unit(entry)] = entry

    def _add_product(self, entry: LedgerEntry) -> None:
        self.products |= entry["sha256"]
        self.step_products |= dict.fromkeys(entry["labels"], entry["product"])

    def _remove_products(self, entry: LedgerEntry) -> None:
        files = entry["products"]
        steps = {label for label, product in self.step_products.items() if product in files}
        self.products = {k: v for k, v in self.products.items() if k not in files}
        self.step_products = {k: v for k, v in self.step_products.items() if k not in steps}
        self.drawn = {unit: v for unit, v in self.drawn.items() if unit.label not in steps}

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Return the fingerprint of the last run; empty before the first."""
        return self.starts[-1]["fingerprint"] if self.starts else {}

    @property
    def rate(self) -> float:
        """Return units per hour in the last run that drew any; 0 if the clock was set back."""
        for start, last, count in reversed(self.runs):
            if count:
                elapsed = datetime.fromisoformat(last) - datetime.fromisoformat(start)
                seconds = elapsed.total_seconds()  # negative if the clock was set back
                return 3600 * count / max(seconds, 1.0) if seconds >= 0 else 0.0
        return 0.0

    @property
    def done(self) -> int:
        """Return the number of units that are done."""
        unwritten = sum(unit.label not in self.step_products for unit in self.drawn)
        return len(self.step_products) * int(self.starts[-1]["per_step"]) + unwritten

    def is_done(self, unit: WorkUnit) -> bool:
        """Return whether a unit is drawn or written."""
        return unit.label in self.step_products or unit in self.drawn


def entry_unit(entry: LedgerEntry) -> WorkUnit:
    """Return the unit of an entry."""
    return WorkUnit(entry["label"], entry["first"], entry["count"])


def open_ledger(folder: Path) -> Ledger:
    """Return the ledger of a folder."""
    ledger = Ledger(folder / LEDGER_NAME)
    for entry in read_entries(ledger.path):
        ledger.apply(entry)
    return ledger


def read_entries(path: Path) -> Iterator[LedgerEntry]:
    """Yield the entries of a ledger, without a torn last line."""
    if not path.exists():
        return
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], 1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise DpdmError(
                f"Line {number} of {path} is damaged.",
                "Restore it from a backup, or use another folder.",
            ) from error


def remove_torn_line(path: Path) -> None:
    """Remove a torn last line."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        file.truncate(file.read().rfind(b"\n") + 1)
        os.fsync(file.fileno())


LOCK_NAME = ".lock"
BUSY_EXIT_CODE = 75  # EX_TEMPFAIL of sysexits: try again later
LOCK_ATTEMPTS = 5  # dpdm status holds the lock for a moment


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
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": utc_now()}
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.close(handle)


def _acquire_lock(handle: int, path: Path) -> None:
    try:
        _try_lock(handle, LOCK_ATTEMPTS)
    except BlockingIOError as error:
        raise DpdmError(
            f"{path.parent} is in use by {read_holder(path)}.",
            "Wait until it ends, or stop it; dpdm status shows its progress.",
            code=BUSY_EXIT_CODE,
        ) from error
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        raise DpdmError(
            f"The file system of {path.parent} has no locks, so two runs could write at once.",
            "Use another file system, or mount it with flock.",
        ) from error


def _try_lock(handle: int, attempts: int) -> None:
    """Acquire the lock, with further attempts while dpdm status reads it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if attempts <= 1:
            raise
        time.sleep(0.02)
        _try_lock(handle, attempts - 1)


def lock_holder(folder: Path) -> str:
    """Return the process that holds the lock of a folder; empty if none does."""
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
    """Return the holder that a lock file names."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
