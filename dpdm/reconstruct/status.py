"""How far a reconstruction is, from its ledger alone: nothing is opened, nobody disturbed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dpdm.errors import DpdmError
from dpdm.reconstruct.ledger import NAME, Entry, open_ledger
from dpdm.reconstruct.lock import holder
from dpdm.reconstruct.units import Unit
from dpdm.reconstruct.words import spoken


@dataclass(frozen=True)
class Status:
    """How far a reconstruction is.

    Attributes:
        start: The entry of its last start.
        done: Units that need no more work.
        total: All units, as of the last start.
        failed: Units that failed and were not drawn since, and the fault.
        pace: Units an hour, over the last; 0 if none is known.
        products: Names of the products.
        holder: Who works on it now, if somebody does.
    """

    start: Entry
    done: int
    total: int
    failed: dict[Unit, str]
    pace: float
    products: tuple[str, ...]
    holder: str

    @property
    def left(self) -> int:
        """Count the units that are neither done nor failed."""
        return max(0, self.total - self.done - len(self.failed))

    def text(self) -> str:
        """Return it in lines."""
        hours = f", {spoken(self.left / self.pace)}" if self.pace and self.left else ""
        lines = [
            f"series: {self.start['first']} to {self.start['last']}",
            f"done: {self.done} of {self.total} units",
            f"failed: {len(self.failed)}",
            f"left: {self.left}{hours}",
            f"rate: {self.pace:.1f} units an hour",
            f"products: {len(self.products)}",
            f"at work: {self.holder or 'nobody'}",
        ]
        if self.start["missing"]:
            lines.append(f"missing in the input: {', '.join(self.start['missing'])}")
        return "\n".join(lines + [f"{u.name} failed: {text}" for u, text in self.failed.items()])


def status(folder: Path) -> Status:
    """Return how far the reconstruction in a folder is.

    Raises:
        DpdmError: When there is none.
    """
    if not (folder / NAME).is_file():
        raise DpdmError(
            f"{folder} holds no ledger of a reconstruction.", "Name the folder OUT of one."
        )
    ledger = open_ledger(folder)
    if not ledger.starts:
        raise DpdmError(f"{folder} was locked, and nothing begun.", "Give the command again.")
    start = ledger.starts[-1]
    done = min(ledger.done, start["units"])
    failed = {unit: entry["error"] for unit, entry in ledger.faults.items()}
    names = tuple(n for n in ledger.products if not n.startswith("observations/"))
    return Status(start, done, start["units"], failed, ledger.rate, names, holder(folder))
