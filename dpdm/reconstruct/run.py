"""Reconstruct a long series, unit by unit; the same command resumes it.

A unit is a step and a block of members. Its values depend on plan, prior and step only, so units
may be drawn in any order, anywhere, and again. The ledger lists those that are done.

A thread writes what was drawn while the next unit is drawn: a unit becomes a file and a line of
the ledger; when all steps of an output file are drawn it is written, and the units are removed.
Each of these can be interrupted anywhere and repeated.
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
from dpdm.fields.units import unit_registry
from dpdm.fields.write import write_text
from dpdm.interrupt import wait_interruptibly
from dpdm.publish import remove_path
from dpdm.reconstruct.executors import Executor, local_executor, process_executor
from dpdm.reconstruct.ledger import Ledger, hold_lock, open_ledger, remove_torn_line
from dpdm.reconstruct.outputs import OutputLayout
from dpdm.reconstruct.setup import ReconstructionSetup, check_changes, prepare_reconstruction
from dpdm.reconstruct.units import UnitFiles, UnitInput, UnitOutcome, UnitResult
from dpdm.reconstruct.work_units import WorkUnit
from dpdm.system import format_hours, sha256

MessageCallback = Callable[[str], None]
UnitCallback = Callable[[int, int], None]


@dataclass(frozen=True)
class RunOptions:
    """Options of a run that are not in the plan.

    Attributes:
        workers: Worker processes; 0 for those of the plan.
        scheduler: Address of a Dask scheduler; empty for that of the plan.
        budget: Time limit in seconds, after which no unit is started; 0 for none.
        accept: Whether a change since the last run is accepted.
        say: Print a line.
        report: Report progress.
    """

    workers: int = 0
    scheduler: str = ""
    budget: float = 0.0
    accept: bool = False
    say: MessageCallback = lambda line: None
    report: UnitCallback = lambda done, total: None


def reconstruct(path: Path, folder: Path, options: RunOptions = RunOptions()) -> bool:
    """Reconstruct a plan into a folder, or resume it, and return whether all is done."""
    start_time = time.monotonic()
    check_output_folder(folder)
    setup = prepare_reconstruction(path, options.say)
    gc.collect()  # unreferenced files must not be closed by another thread
    folder.mkdir(exist_ok=True)
    with hold_lock(folder):
        remove_torn_line(folder / "ledger.jsonl")
        ledger = open_ledger(folder)
        setup = setup.adopt_laws(ledger)
        fingerprint = check_changes(setup, ledger, options.accept)
        layout = setup.output_layout(folder, fingerprint)
        layout.begin(ledger.step_products)
        with OutputWriter(setup, ledger, layout, options.say) as writer:
            writer.clean()
            record_start(setup, ledger, fingerprint, options)
            complete = ReconstructionRun(setup, writer, options, start_time).run()
        writer.unit_files.close()
    return complete


def check_output_folder(folder: Path) -> None:
    """Refuse a folder with other files."""
    if not folder.exists():
        if not folder.resolve().parent.is_dir():
            raise DpdmError(
                f"The folder of {folder} does not exist.",
                f"Run: mkdir -p {quote(str(folder.parent))}.",
            )
        return
    if not folder.is_dir():
        raise DpdmError(f"{folder} is a file.", "Name a folder.")
    names = {path.name for path in folder.iterdir()}
    if names and names.isdisjoint({"ledger.jsonl", ".lock"}):
        raise DpdmError(
            f"{folder} holds files and no ledger of a reconstruction.", "Name an empty folder."
        )


def record_start(
    setup: ReconstructionSetup, ledger: Ledger, fingerprint: dict[str, Any], options: RunOptions
) -> None:
    """Record the start, and report missing and repeated steps."""
    done = sum(map(ledger.is_done, setup.units))
    series = setup.series
    ledger.append(
        "start", fingerprint=fingerprint, units=len(setup.units),
        per_step=len(setup.units_of(series.labels[0])), first=series.labels[0],
        last=series.labels[-1], missing=list(series.missing), torch=torch.__version__,
        threads=torch.get_num_threads(), device=setup.space.sampler.device,
    )  # fmt: skip
    options.say(f"{len(setup.units)} units of work, {done} of them done")
    if series.missing:
        options.say(f"missing in the input and skipped: {', '.join(series.missing)}")
    if series.repeated:
        options.say(f"repeated in the input and used once: {', '.join(series.repeated)}")


class WritingStopped(Exception):  # noqa: N818
    """Report that writing was stopped in the middle of an output file."""


class OutputWriter:
    """Write units, ledger and output files in a thread."""

    def __init__(
        self,
        setup: ReconstructionSetup,
        ledger: Ledger,
        layout: OutputLayout,
        say: MessageCallback,
    ) -> None:
        self.setup, self.ledger, self.layout, self.say = setup, ledger, layout, say
        self.folder = ledger.path.parent
        self.unit_files = UnitFiles(self.folder / ".parts")
        self.steps: dict[str, list[str]] = {}  # of each output file
        for label in setup.series.labels:
            self.steps.setdefault(layout.product(label), []).append(label)
        unit_registry()  # its import changes modules and warnings, which are those of all threads
        self._thread = ThreadPoolExecutor(1, "writer")
        self._last: Future[None] | None = None
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        """Start."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait until all is on disk, or stop at the next field after an error."""
        if kind is not None:
            self._stopping.set()
            self._thread.shutdown(wait=True)
            return
        try:
            self.wait()
        finally:
            self._thread.shutdown(wait=True)

    def submit(self, outcome: UnitOutcome) -> None:
        """Write a unit once the previous one is written."""
        self.wait()
        self._last = self._thread.submit(self.store_unit, outcome)

    def wait(self) -> None:
        """Wait until all that was submitted is on disk, and raise its errors."""
        last, self._last = self._last, None
        if last is not None:
            wait_interruptibly(last)

    def store_unit(self, outcome: UnitOutcome) -> None:
        """Write a unit, and the output file that it completes."""
        unit, result = outcome.unit, outcome.result
        assert isinstance(result, UnitResult)
        self.unit_files.put(unit, result)
        self.ledger.append(
            "drawn", label=unit.label, first=unit.first, count=unit.count, sha256=result.digest,
            input=self.setup.digest(outcome.work), seconds=round(outcome.seconds, 3),
        )  # fmt: skip
        product = self.layout.product(unit.label)
        if not self.missing_steps(product):
            self.write(product)

    def missing_steps(self, product: str) -> list[str]:
        """Return the steps of an output file that are neither complete nor written."""
        written = self.ledger.step_products
        return [n for n in self.steps[product] if n not in written and not self.is_complete(n)]

    def is_complete(self, label: str) -> bool:
        """Return whether all units of a step are drawn."""
        return all(unit in self.ledger.drawn for unit in self.setup.units_of(label))

    def new_steps(self, product: str) -> list[str]:
        """Return the steps of an output file that are complete and not yet written."""
        written = self.ledger.step_products
        return [n for n in self.steps[product] if n not in written and self.is_complete(n)]

    def write(self, product: str) -> None:
        """Write an output file with its complete steps, and remove their units."""
        self.check_lost_steps(product)
        new = self.new_steps(product)
        old = [n for n in self.steps[product] if n in self.ledger.step_products]
        try:
            digest = self.layout.write(product, [*old, *new], dict.fromkeys(new, self.members))
        except WritingStopped:
            return
        digests = {product: digest} | self.reports(new)
        self.ledger.append("kept", product=product, labels=new, sha256=digests)
        for unit in [u for n in new for u in self.setup.units_of(n)]:
            self.unit_files.drop(unit)
        self.say(f"wrote {product}, {len(old) + len(new)} steps")

    def check_lost_steps(self, product: str) -> None:
        """Refuse to rewrite an output file with a step whose input is gone."""
        for label, holder in self.ledger.step_products.items():
            if holder == product and label not in self.setup.series.labels:
                raise DpdmError(
                    f"{product} holds {label}, whose input no longer exists.",
                    "Restore its file, or name it in the plan: the output is to be rewritten.",
                )

    def members(self, label: str) -> Iterator[NDArray[np.float32]]:
        """Yield the members of a step, in order."""
        for result in self.read_units(label):
            for member in result.fields:
                if self._stopping.is_set():
                    raise WritingStopped
                yield member

    def read_units(self, label: str) -> Iterator[UnitResult]:
        """Yield the units of a step, in order."""
        for unit in self.setup.units_of(label):
            yield self.unit_files.require(unit, self.ledger.drawn[unit]["sha256"])

    def reports(self, labels: Sequence[str]) -> dict[str, str]:
        """Write the tables of observations of some steps, and return their digests."""
        digests = {}
        for label in labels if self.setup.table is not None else ():
            name = f"observations/{label}.csv"
            (self.folder / "observations").mkdir(exist_ok=True)
            write_text(self.folder / name, self.departures(label), overwrite=True)
            digests[name] = sha256(self.folder / name)
        return digests

    def departures(self, label: str) -> str:
        """Return a step's observations with background and analysis, as CSV."""
        results = list(self.read_units(label))
        rows = self.setup.rows(self.setup.series.step(label))
        assert rows is not None
        table = rows.assign(status=list(results[0].status))
        analysis = np.concatenate([r.analysis for r in results if r.analysis is not None], 1)
        prior = results[0].prior
        assert prior is not None
        text: str = guard_formulas(departures(table, prior, analysis)).to_csv(index=False)
        return text

    def catch_up(self) -> None:
        """Write the output files that an interrupted run had completed."""
        for product in self.steps:
            if self.new_steps(product) and not self.missing_steps(product):
                self.write(product)

    def finish(self) -> None:
        """Write the output files with missing steps, at the end of the run."""
        for product in self.steps:
            if self.new_steps(product):
                self.write(product)

    def clean(self) -> None:
        """Remove units that are damaged or not needed, and temporary files of killed runs."""
        for pattern in (".*.tmp*", ".*.old", "*/.*.tmp"):
            for path in self.folder.glob(pattern):
                remove_path(path)
        wanted = {u for u in self.setup.units if u.label not in self.ledger.step_products}
        for unit, entry in list(self.ledger.drawn.items()):
            if unit not in wanted or self.unit_files.get(unit, entry["sha256"]) is None:
                del self.ledger.drawn[unit]
        needed = {self.unit_files.path(unit) for unit in self.ledger.drawn}
        for file in self.unit_files.folder.glob("*.safetensors"):
            if file not in needed:
                file.unlink()


@dataclass
class ReconstructionRun:
    """One run of the command.

    Attributes:
        setup: The reconstruction.
        writer: The writer of units and output files.
        options: Options of the run.
        start_time: Start of the run, by the monotonic clock.
        budget_used: Whether the time limit is reached.
        done_before: Number of units that earlier runs have done.
        drawn_count: Number of units that this run has drawn.
        failures: Error messages of units that failed.
    """

    setup: ReconstructionSetup
    writer: OutputWriter
    options: RunOptions
    start_time: float
    budget_used: bool = False
    done_before: int = 0
    drawn_count: int = 0
    failures: dict[WorkUnit, str] = field(default_factory=dict)

    def run(self) -> bool:
        """Draw the remaining units, repeat those that failed, and write complete output files."""
        self.writer.catch_up()
        remaining = [unit for unit in self.setup.units if not self.writer.ledger.is_done(unit)]
        self.done_before = len(self.setup.units) - len(remaining)
        self.report()
        if remaining:
            with self.executor() as executor:
                self.run_units(executor, remaining)
                self.run_units(executor, list(self.failures))
        self.writer.wait()
        if self.budget_used:
            self.options.say("time limit reached; the same command resumes")
            return False
        self.writer.finish()
        self.raise_failures()
        return True

    def executor(self) -> AbstractContextManager[Executor]:
        """Return the executor of the units."""
        run = self.setup.plan.run
        workers = self.options.workers or run.workers
        scheduler = self.options.scheduler or run.scheduler
        if scheduler:
            from dpdm.reconstruct.executors import connect_cluster

            return connect_cluster(self.setup.unit_sampler, scheduler)
        if workers > 1:
            return process_executor(self.setup.unit_sampler, workers)
        return nullcontext(local_executor(self.setup.unit_sampler))

    def run_units(self, executor: Executor, units: list[WorkUnit]) -> None:
        """Draw units, and record those that fail."""
        for outcome in executor(self.pending_work(units)):
            if isinstance(outcome.result, Exception):
                self.record_failure(outcome.unit, outcome.result)
            else:
                self.failures.pop(outcome.unit, None)
                self.writer.submit(outcome)
                self.drawn_count += 1
                self.report_unit(outcome.unit, outcome.seconds)

    def pending_work(self, units: list[WorkUnit]) -> Iterator[UnitInput]:
        """Yield units with their input, until the time limit."""
        for unit in units:
            if self.over_budget():
                self.budget_used = True
                return
            try:
                work = self.setup.read_unit_input(unit)
            except Exception as error:  # such as a damaged file: the other units are drawn
                self.record_failure(unit, error)
            else:
                yield work

    def over_budget(self) -> bool:
        """Return whether another unit would exceed the time limit."""
        times = sorted(self.writer.ledger.unit_seconds[-20:])
        median = times[len(times) // 2] if times else 0.0
        elapsed = time.monotonic() - self.start_time
        return 0 < self.options.budget < elapsed + median

    def record_failure(self, unit: WorkUnit, error: Exception) -> None:
        """Record a unit that failed."""
        self.writer.wait()
        text = str(error) or type(error).__name__
        self.failures[unit] = text
        self.writer.ledger.append(
            "failed", label=unit.label, first=unit.first, count=unit.count, error=text
        )
        self.options.say(f"{unit.name} failed: {text}")

    def report_unit(self, unit: WorkUnit, seconds: float) -> None:
        """Report a unit that was drawn, and the remaining time."""
        remaining = len(self.setup.units) - self.done
        elapsed = time.monotonic() - self.start_time
        hours = remaining * elapsed / self.drawn_count / 3600
        time_left = f", about {format_hours(hours)}" if remaining else ""
        self.options.say(f"{unit.name} drawn in {seconds:.1f} s; {remaining} left{time_left}")
        self.report()

    @property
    def done(self) -> int:
        """Return the number of units that are done."""
        return self.done_before + self.drawn_count

    def report(self) -> None:
        """Report progress."""
        self.options.report(self.done, len(self.setup.units))

    def raise_failures(self) -> None:
        """Raise an error if units failed twice."""
        if self.failures:
            unit, text = next(iter(self.failures.items()))
            raise DpdmError(
                f"{len(self.failures)} units failed twice and were skipped; the first is "
                f"{unit.name}: {text}",
                "The others are done. Fix the cause, and the same command draws them again.",
            )
