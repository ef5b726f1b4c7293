"""The progress of a reconstruction, from its ledger."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dpdm.errors import DpdmError
from dpdm.reconstruct.ledger import LEDGER_NAME, LedgerEntry, lock_holder, open_ledger
from dpdm.reconstruct.work_units import WorkUnit
from dpdm.system import format_hours


@dataclass(frozen=True)
class ReconstructionStatus:
    """Progress of a reconstruction.

    Attributes:
        start: The ledger entry of its last start.
        done: Number of units that are done.
        total: Number of all units, as of the last start.
        failed: Error messages of units that failed and were not drawn since.
        units_per_hour: Rate of the last run; 0 if unknown.
        products: Names of the output files.
        holder: The process that is running, or empty.
    """

    start: LedgerEntry
    done: int
    total: int
    failed: dict[WorkUnit, str]
    units_per_hour: float
    products: tuple[str, ...]
    holder: str

    @property
    def left(self) -> int:
        """Return the number of units that are neither done nor failed."""
        return max(0, self.total - self.done - len(self.failed))

    def text(self) -> str:
        """Return the progress in lines."""
        hours = (
            f", {format_hours(self.left / self.units_per_hour)}"
            if self.units_per_hour and self.left
            else ""
        )
        lines = [
            f"series: {self.start['first']} to {self.start['last']}",
            f"done: {self.done} of {self.total} units of work",
            f"failed: {len(self.failed)}",
            f"left: {self.left}{hours}",
            f"rate: {self.units_per_hour:.3g} units of work per hour",
            f"output files: {len(self.products)}",
            f"running: {self.holder or 'no'}",
        ]
        if self.start["missing"]:
            lines.append(f"missing in the input: {', '.join(self.start['missing'])}")
        return "\n".join(lines + [f"{u.name} failed: {text}" for u, text in self.failed.items()])


def read_status(folder: Path) -> ReconstructionStatus:
    """Return the progress of the reconstruction in a folder."""
    if not (folder / LEDGER_NAME).is_file():
        raise DpdmError(
            f"{folder} holds no ledger of a reconstruction.", "Name the folder OUT of one."
        )
    ledger = open_ledger(folder)
    if not ledger.starts:
        raise DpdmError(f"{folder} holds no started reconstruction.", "Run the command again.")
    start = ledger.starts[-1]
    done = min(ledger.done, start["units"])
    failed = {unit: entry["error"] for unit, entry in ledger.failures.items()}
    names = tuple(n for n in ledger.products if not n.startswith("observations/"))
    return ReconstructionStatus(
        start, done, start["units"], failed, ledger.rate, names, lock_holder(folder)
    )
