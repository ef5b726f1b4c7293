"""A long series, unit by unit: stopped at will, taken up by the same command.

A unit is a step and a block of members. What it gives depends on the plan, the prior and the step
alone, so units may be drawn in any order, anywhere, and again. The ledger says which are done.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from dpdm.assimilate.departures import departures
from dpdm.errors import DpdmError
from dpdm.fields.csv_cells import guard_formulas
from dpdm.fields.read import sha256
from dpdm.fields.write import write_text
from dpdm.interrupt import wait_interruptibly
from dpdm.publish import remove_path
from dpdm.reconstruct.executors import Executor, local_executor, process_executor
from dpdm.reconstruct.ledger import Ledger, hold_lock, open_ledger, remove_torn_line
from dpdm.reconstruct.outputs import OutputLayout
from dpdm.reconstruct.plan import format_hours
from dpdm.reconstruct.setup import ReconstructionSetup, check_changes, prepare_reconstruction
from dpdm.reconstruct.units import UnitFiles, UnitInput, UnitOutcome, UnitResult, WorkUnit

MessageCallback = Callable[[str], None]
UnitCallback = Callable[[int, int], None]


@dataclass(frozen=True)
class RunOptions:
    """What the command says beside the plan.

    Attributes:
        workers: Processes that draw; 0 for as many as the plan says.
        scheduler: Address of a Dask scheduler; empty for the plan's.
        budget: Seconds after which no unit is begun; 0 for no end.
        accept: Whether a change since the last run is accepted.
        say: What to tell in lines.
        report: What to tell of how far it is.
    """

    workers: int = 0
    scheduler: str = ""
    budget: float = 0.0
    accept: bool = False
    say: MessageCallback = lambda line: None
    report: UnitCallback = lambda done, total: None


def reconstruct(path: Path, folder: Path, options: RunOptions = RunOptions()) -> bool:
    """Reconstruct what a plan says into a folder, or go on with it; tell whether all is done."""
    begun = time.monotonic()
    check_output_folder(folder)
    setting = prepare_reconstruction(path)
    gc.collect()  # files that are open and forgotten must not be closed by another thread
    folder.mkdir(exist_ok=True)
    with hold_lock(folder):
        remove_torn_line(folder / "ledger.jsonl")
        ledger = open_ledger(folder)
        mark = check_changes(setting, ledger, options.accept)
        layout = setting.output_layout(folder, mark)
        layout.begin(ledger.step_products)
        with OutputWriter(setting, ledger, layout, options.say) as clerk:
            clerk.clean()
            record_start(setting, ledger, mark, options)
            course = ReconstructionRun(setting, clerk, options, begun)
            whole = course.run()
        clerk.parts.close()
    return whole


def check_output_folder(folder: Path) -> None:
    """Refuse a folder that is something else."""
    if not folder.exists():
        if not folder.resolve().parent.is_dir():
            raise DpdmError(
                f"The folder of {folder} does not exist.",
                f"Run: mkdir -p {quote(str(folder.parent))}.",
            )
        return
    if not folder.is_dir():
        raise DpdmError(f"{folder} is a file.", "Name a folder.")
    if any(folder.iterdir()) and not {"ledger.jsonl", ".lock"} & {
        p.name for p in folder.iterdir()
    }:
        raise DpdmError(
            f"{folder} holds files and no ledger of a reconstruction.", "Name an empty folder."
        )


def record_start(
    setting: ReconstructionSetup, ledger: Ledger, mark: dict[str, Any], options: RunOptions
) -> None:
    """Note the start, and tell what is odd about the series."""
    done = sum(map(ledger.is_done, setting.units))
    series = setting.series
    ledger.append(
        "start", fingerprint=mark, units=len(setting.units),
        per_step=len(setting.units_of(series.labels[0])), first=series.labels[0],
        last=series.labels[-1], missing=list(series.missing), torch=torch.__version__,
        threads=torch.get_num_threads(), device=setting.space.sampler.device,
    )  # fmt: skip
    options.say(f"{len(setting.units)} units of work, {done} of them done")
    if series.missing:
        options.say(f"missing in the input, and skipped: {', '.join(series.missing)}")
    if series.repeated:
        options.say(f"twice in the input, and used once: {', '.join(series.repeated)}")


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
        say: MessageCallback,
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
        """Return whether all units of a step lie there as parts."""
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
        self.check_lost_steps(product)
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

    def check_lost_steps(self, product: str) -> None:
        """Refuse to rewrite an output file with a step whose input is gone."""
        for label, holder in self.ledger.step_products.items():
            if holder == product and label not in self.setting.series.labels:
                raise DpdmError(
                    f"{product} holds {label}, whose input no longer exists.",
                    "Restore its file, or name it in the plan: the output is to be rewritten.",
                )

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


@dataclass
class ReconstructionRun:
    """One run of the command.

    Attributes:
        setting: What is reconstructed.
        writer: Who keeps what is drawn.
        options: What the command says.
        start_time: When it began, by the monotonic clock.
        budget_used: Whether the budget was used up.
        done_before: Units that were done before.
        drawn_count: Units that this run has drawn.
        faults: Units that failed, and the fault.
    """

    setting: ReconstructionSetup
    writer: OutputWriter
    options: RunOptions
    start_time: float
    budget_used: bool = False
    done_before: int = 0
    drawn_count: int = 0
    faults: dict[WorkUnit, str] = field(default_factory=dict)

    def run(self) -> bool:
        """Draw what is left, try again what failed, and write what is complete."""
        self.writer.catch_up()
        left = [unit for unit in self.setting.units if not self.writer.ledger.is_done(unit)]
        self.done_before = len(self.setting.units) - len(left)
        self.report()
        if left:
            with self.engine() as engine:
                self.run_units(engine, left)
                self.run_units(engine, list(self.faults))
        self.writer.wait()
        if self.budget_used:
            self.options.say("the budget is used up; the same command goes on")
            return False
        self.writer.finish()
        self.raise_failures()
        return True

    def engine(self) -> AbstractContextManager[Executor]:
        """Return what draws."""
        run = self.setting.plan.run
        workers = self.options.workers or run.workers
        scheduler = self.options.scheduler or run.scheduler
        if scheduler:
            from dpdm.reconstruct.executors import connect_cluster

            return connect_cluster(self.setting.unit_sampler, scheduler)
        if workers > 1:
            return process_executor(self.setting.unit_sampler, workers)
        return nullcontext(local_executor(self.setting.unit_sampler))

    def run_units(self, engine: Executor, units: list[WorkUnit]) -> None:
        """Draw units, and note those that fail."""
        for outcome in engine(self.pending_work(units)):
            if isinstance(outcome.result, Exception):
                self.record_failure(outcome.unit, outcome.result)
            else:
                self.faults.pop(outcome.unit, None)
                self.writer.submit(outcome)
                self.drawn_count += 1
                self.report_unit(outcome.unit, outcome.seconds)

    def pending_work(self, units: list[WorkUnit]) -> Iterator[UnitInput]:
        """Yield units with what is known of them, until the budget is used up."""
        for unit in units:
            if self.over_budget():
                self.budget_used = True
                return
            try:
                work = self.setting.read_unit_input(unit)
            except Exception as fault:  # a file that is damaged: the other units go on
                self.record_failure(unit, fault)
            else:
                yield work

    def over_budget(self) -> bool:
        """Return whether another unit would overrun the budget."""
        pace = sorted(self.writer.ledger.unit_seconds[-20:])
        usual = pace[len(pace) // 2] if pace else 0.0
        passed = time.monotonic() - self.start_time
        return 0 < self.options.budget < passed + usual

    def record_failure(self, unit: WorkUnit, fault: Exception) -> None:
        """Note a unit that failed."""
        self.writer.wait()
        text = str(fault) or type(fault).__name__
        self.faults[unit] = text
        self.writer.ledger.append(
            "failed", label=unit.label, first=unit.first, count=unit.count, error=text
        )
        self.options.say(f"{unit.name} failed: {text}")

    def report_unit(self, unit: WorkUnit, seconds: float) -> None:
        """Tell that a unit is drawn, and how long the rest will take."""
        left = len(self.setting.units) - self.done
        passed = time.monotonic() - self.start_time
        time_left = format_hours(left * passed / self.drawn_count / 3600)
        self.options.say(f"{unit.name} drawn in {seconds:.1f} s; {left} left, {time_left}")
        self.report()

    @property
    def done(self) -> int:
        """Count the units that need no more work."""
        return self.done_before + self.drawn_count

    def report(self) -> None:
        """Report how far the work is."""
        self.options.report(self.done, len(self.setting.units))

    def raise_failures(self) -> None:
        """Say which units were set aside."""
        if self.faults:
            unit, text = next(iter(self.faults.items()))
            raise DpdmError(
                f"{len(self.faults)} units failed twice and were set aside; the first is "
                f"{unit.name}: {text}",
                "The rest is done. Mend it and give the same command, which tries them again.",
            )
