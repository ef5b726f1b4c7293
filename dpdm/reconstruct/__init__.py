"""A long series, unit by unit: stopped at will, taken up by the same command.

A unit is a step and a block of members. What it gives depends on the plan, the prior and the step
alone, so units may be drawn in any order, anywhere, and again. The ledger says which are done.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

import torch

from dpdm.errors import DpdmError
from dpdm.reconstruct import setup
from dpdm.reconstruct.draw_unit import UnitInput
from dpdm.reconstruct.executors import Executor, local_executor
from dpdm.reconstruct.ledger import Ledger, WorkUnit, hold_lock, open_ledger, remove_torn_line
from dpdm.reconstruct.outputs import choose_layout, product_sources
from dpdm.reconstruct.plan import format_hours
from dpdm.reconstruct.setup import ReconstructionSetup, prepare_reconstruction
from dpdm.reconstruct.workers import process_executor
from dpdm.reconstruct.writer import OutputWriter

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
        mark = setup.check_changes(setting, ledger, options.accept)
        layout = choose_layout(setting, folder, product_sources(setting, mark))
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
        """Tell whether another unit would overrun the budget."""
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
