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
from dpdm.reconstruct import changes
from dpdm.reconstruct.clerk import Clerk
from dpdm.reconstruct.drawer import Work
from dpdm.reconstruct.engines import Engine, alone
from dpdm.reconstruct.layouts import layout_of
from dpdm.reconstruct.ledger import Ledger, mend, open_ledger
from dpdm.reconstruct.lock import held
from dpdm.reconstruct.products import made_from
from dpdm.reconstruct.setting import Setting, prepare
from dpdm.reconstruct.units import Unit
from dpdm.reconstruct.words import spoken
from dpdm.reconstruct.workers import staffed

Say = Callable[[str], None]
Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Options:
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
    say: Say = lambda line: None
    report: Report = lambda done, total: None


def reconstruct(path: Path, folder: Path, options: Options = Options()) -> bool:
    """Reconstruct what a plan says into a folder, or go on with it; tell whether all is done.

    Raises:
        DpdmError: When the plan or its files are wrong, another process works on the folder, what
            is done there is not of this plan, or units failed.
    """
    begun = time.monotonic()
    check_folder(folder)
    setting = prepare(path)
    gc.collect()  # files that are open and forgotten must not be closed by another thread
    folder.mkdir(exist_ok=True)
    with held(folder):
        mend(folder / "ledger.jsonl")
        ledger = open_ledger(folder)
        mark = changes.check(setting, ledger, options.accept)
        layout = layout_of(setting, folder, made_from(setting, mark))
        layout.begin(ledger.kept)
        with Clerk(setting, ledger, layout, options.say) as clerk:
            clerk.clean()
            start(setting, ledger, mark, options)
            course = Course(setting, clerk, options, begun)
            whole = course.run()
        clerk.parts.close()
    return whole


def check_folder(folder: Path) -> None:
    """Refuse a folder that is something else.

    Raises:
        DpdmError: When it is.
    """
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


def start(setting: Setting, ledger: Ledger, mark: dict[str, Any], options: Options) -> None:
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
class Course:
    """One run of the command.

    Attributes:
        setting: What is reconstructed.
        clerk: Who keeps what is drawn.
        options: What the command says.
        begun: When it began, by the monotonic clock.
        ended: Whether the budget was used up.
        before: Units that were done before.
        fresh: Units that this run has drawn.
        faults: Units that failed, and the fault.
    """

    setting: Setting
    clerk: Clerk
    options: Options
    begun: float
    ended: bool = False
    before: int = 0
    fresh: int = 0
    faults: dict[Unit, str] = field(default_factory=dict)

    def run(self) -> bool:
        """Draw what is left, try again what failed, and write what is complete."""
        self.clerk.catch_up()
        left = [unit for unit in self.setting.units if not self.clerk.ledger.is_done(unit)]
        self.before = len(self.setting.units) - len(left)
        self.report()
        if left:
            with self.engine() as engine:
                self.through(engine, left)
                self.through(engine, list(self.faults))
        self.clerk.wait()
        if self.ended:
            self.options.say("the budget is used up; the same command goes on")
            return False
        self.clerk.finish()
        self.complain()
        return True

    def engine(self) -> AbstractContextManager[Engine]:
        """Return what draws."""
        run = self.setting.plan.run
        workers = self.options.workers or run.workers
        scheduler = self.options.scheduler or run.scheduler
        if scheduler:
            from dpdm.reconstruct.cluster import clustered

            return clustered(self.setting.drawer, scheduler)
        if workers > 1:
            return staffed(self.setting.drawer, workers)
        return nullcontext(alone(self.setting.drawer))

    def through(self, engine: Engine, units: list[Unit]) -> None:
        """Draw units, and note those that fail."""
        for outcome in engine(self.works(units)):
            if isinstance(outcome.drawn, Exception):
                self.failed(outcome.unit, outcome.drawn)
            else:
                self.faults.pop(outcome.unit, None)
                self.clerk.take(outcome)
                self.fresh += 1
                self.tell(outcome.unit, outcome.seconds)

    def works(self, units: list[Unit]) -> Iterator[Work]:
        """Yield units with what is known of them, until the budget is used up."""
        for unit in units:
            if self.over():
                self.ended = True
                return
            try:
                work = self.setting.work(unit)
            except Exception as fault:  # a file that is damaged: the other units go on
                self.failed(unit, fault)
            else:
                yield work

    def over(self) -> bool:
        """Tell whether another unit would overrun the budget."""
        pace = sorted(self.clerk.ledger.pace[-20:])
        usual = pace[len(pace) // 2] if pace else 0.0
        passed = time.monotonic() - self.begun
        return 0 < self.options.budget < passed + usual

    def failed(self, unit: Unit, fault: Exception) -> None:
        """Note a unit that failed."""
        self.clerk.wait()
        text = str(fault) or type(fault).__name__
        self.faults[unit] = text
        self.clerk.ledger.append(
            "failed", label=unit.label, first=unit.first, count=unit.count, error=text
        )
        self.options.say(f"{unit.name} failed: {text}")

    def tell(self, unit: Unit, seconds: float) -> None:
        """Tell that a unit is drawn, and how long the rest will take."""
        left = len(self.setting.units) - self.done
        passed = time.monotonic() - self.begun
        time_left = spoken(left * passed / self.fresh / 3600)
        self.options.say(f"{unit.name} drawn in {seconds:.1f} s; {left} left, {time_left}")
        self.report()

    @property
    def done(self) -> int:
        """Count the units that need no more work."""
        return self.before + self.fresh

    def report(self) -> None:
        """Report how far the work is."""
        self.options.report(self.done, len(self.setting.units))

    def complain(self) -> None:
        """Say which units were set aside.

        Raises:
            DpdmError: When there are any.
        """
        if self.faults:
            unit, text = next(iter(self.faults.items()))
            raise DpdmError(
                f"{len(self.faults)} units failed twice and were set aside; the first is "
                f"{unit.name}: {text}",
                "The rest is done. Mend it and give the same command, which tries them again.",
            )
