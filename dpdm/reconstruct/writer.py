"""Put on disk what was drawn, in a thread of its own, while the next unit is drawn.

A unit becomes a part and a line of the ledger; when a product has all its steps it is written, and
the parts go. Each of these may be cut off anywhere and done again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dpdm.assimilate.departures import departures
from dpdm.fields.csv_cells import guard_formulas
from dpdm.fields.write import write_text
from dpdm.interrupt import wait_interruptibly
from dpdm.publish import remove_path
from dpdm.reconstruct.draw_unit import UnitFiles, UnitResult
from dpdm.reconstruct.executors import UnitOutcome
from dpdm.reconstruct.ledger import Ledger
from dpdm.reconstruct.outputs import OutputLayout, check_lost_steps
from dpdm.reconstruct.setup import ReconstructionSetup
from dpdm.system import sha256

WriterMessage = Callable[[str], None]


class WritingStopped(Exception):  # noqa: N818
    """Report that the work was ended in the middle of a product."""


class OutputWriter:
    """Who keeps parts, ledger and products.

    Args:
        setting: What is reconstructed.
        ledger: What is done.
        layout: How products lie.
        say: What to tell in lines.
    """

    def __init__(
        self,
        setting: ReconstructionSetup,
        ledger: Ledger,
        layout: OutputLayout,
        say: WriterMessage,
    ) -> None:
        self.setting, self.ledger, self.layout, self.say = setting, ledger, layout, say
        self.folder = ledger.path.parent
        self.parts = UnitFiles(self.folder / ".parts")
        self.steps: dict[str, list[str]] = {}  # of each product
        for label in setting.series.labels:
            self.steps.setdefault(layout.product(label), []).append(label)
        self._thread = ThreadPoolExecutor(1, "clerk")
        self._last: Future[None] | None = None
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End when all is on disk, or, after a fault, at the next field."""
        if kind is not None:
            self._stopping.set()
            self._thread.shutdown(wait=True)
            return
        try:
            self.wait()
        finally:
            self._thread.shutdown(wait=True)

    def submit(self, outcome: UnitOutcome) -> None:
        """Keep a unit that was drawn, when the one before is kept."""
        self.wait()
        self._last = self._thread.submit(self.store_unit, outcome)

    def wait(self) -> None:
        """Wait until all that was taken is on disk; raise what went wrong with it."""
        last, self._last = self._last, None
        if last is not None:
            wait_interruptibly(last)

    def store_unit(self, outcome: UnitOutcome) -> None:
        """Keep a unit, and the product that it completes."""
        unit, drawn = outcome.unit, outcome.result
        assert isinstance(drawn, UnitResult)
        self.parts.put(unit, drawn)
        self.ledger.append(
            "drawn", label=unit.label, first=unit.first, count=unit.count, sha256=drawn.digest,
            input=self.setting.digest(outcome.work), seconds=round(outcome.seconds, 3),
        )  # fmt: skip
        product = self.layout.product(unit.label)
        if not self.missing_steps(product):
            self.write(product)

    def missing_steps(self, product: str) -> list[str]:
        """Return the steps of a product that are neither drawn whole nor kept."""
        return [
            n
            for n in self.steps[product]
            if not self.is_complete(n) and n not in self.ledger.step_products
        ]

    def is_complete(self, label: str) -> bool:
        """Tell whether all units of a step lie there as parts."""
        return all(unit in self.ledger.drawn for unit in self.setting.units_of(label))

    def new_steps(self, product: str) -> list[str]:
        """Return the steps of a product that are drawn, and not yet in it."""
        return [
            n
            for n in self.steps[product]
            if n not in self.ledger.step_products and self.is_complete(n)
        ]

    def write(self, product: str) -> None:
        """Write a product of all its steps that there are, and drop the parts."""
        check_lost_steps(self.setting, self.ledger.step_products, {product})
        fresh = self.new_steps(product)
        held = [n for n in self.steps[product] if n in self.ledger.step_products]
        try:
            digest = self.layout.write(
                product, [*held, *fresh], dict.fromkeys(fresh, self.members)
            )
        except WritingStopped:
            return
        digests = {product: digest} | self.reports(fresh)
        self.ledger.append("kept", product=product, labels=fresh, sha256=digests)
        for unit in [u for n in fresh for u in self.setting.units_of(n)]:
            self.parts.drop(unit)
        self.say(f"wrote {product}, {len(held) + len(fresh)} steps")

    def members(self, label: str) -> Iterator[NDArray[np.float32]]:
        """Yield the members of a step, in order."""
        for drawn in self.read_units(label):
            for member in drawn.fields:
                if self._stopping.is_set():
                    raise WritingStopped
                yield member

    def read_units(self, label: str) -> Iterator[UnitResult]:
        """Yield the units of a step, in order."""
        for unit in self.setting.units_of(label):
            yield self.parts.require(unit, self.ledger.drawn[unit]["sha256"])

    def reports(self, labels: Sequence[str]) -> dict[str, str]:
        """Write what became of the observations of some steps, and return the digests."""
        digests = {}
        for label in labels if self.setting.table is not None else ():
            name = f"observations/{label}.csv"
            (self.folder / "observations").mkdir(exist_ok=True)
            write_text(self.folder / name, self.departures(label), overwrite=True)
            digests[name] = sha256(self.folder / name)
        return digests

    def departures(self, label: str) -> str:
        """Return a step's observations with what prior and analysis say of them, as CSV."""
        parts = list(self.read_units(label))
        rows = self.setting.rows(self.setting.series.step(label))
        assert rows is not None
        table = rows.assign(status=list(parts[0].status))
        analysis = np.concatenate([p.analysis for p in parts if p.analysis is not None], 1)
        prior = parts[0].prior
        assert prior is not None
        text: str = guard_formulas(departures(table, prior, analysis)).to_csv(index=False)
        return text

    def catch_up(self) -> None:
        """Write the products of what was drawn before a run was cut off."""
        for product in self.steps:
            if self.new_steps(product) and not self.missing_steps(product):
                self.write(product)

    def finish(self) -> None:
        """Write the products that lack a step, for no more is to come."""
        for product in self.steps:
            if self.new_steps(product):
                self.write(product)

    def clean(self) -> None:
        """Forget parts that are not whole or of no use, and remove what a killed run left."""
        for pattern in (".*.tmp*", ".*.old", "*/.*.tmp"):
            for left in self.folder.glob(pattern):
                remove_path(left)
        wanted = {u for u in self.setting.units if u.label not in self.ledger.step_products}
        for unit, entry in list(self.ledger.drawn.items()):
            if unit not in wanted or self.parts.get(unit, entry["sha256"]) is None:
                del self.ledger.drawn[unit]
        useful = {self.parts.path(unit) for unit in self.ledger.drawn}
        for file in self.parts.folder.glob("*.safetensors"):
            if file not in useful:
                file.unlink()
