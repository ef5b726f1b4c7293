"""Where units are drawn: an engine turns work into outcomes, in any order.

A unit that fails is an outcome too: the fault.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dpdm.reconstruct.drawer import Drawer, Work
from dpdm.reconstruct.parts import Drawn
from dpdm.reconstruct.units import Unit


@dataclass(frozen=True)
class Outcome:
    """What became of a unit.

    Attributes:
        work: What was to be drawn.
        drawn: What came of it, or the fault.
        seconds: How long it took.
    """

    work: Work
    drawn: Drawn | Exception
    seconds: float

    @property
    def unit(self) -> Unit:
        """Give the unit."""
        return self.work.unit


Engine = Callable[[Iterator[Work]], Iterator[Outcome]]


def timed(drawer: Drawer, work: Work) -> tuple[Drawn, float]:
    """Draw a unit, and say how long it took."""
    start = time.perf_counter()
    return drawer(work), time.perf_counter() - start


def alone(drawer: Drawer) -> Engine:
    """Return the engine of this process."""

    def engine(works: Iterator[Work]) -> Iterator[Outcome]:
        for work in works:
            try:
                drawn, seconds = timed(drawer, work)
            except Exception as fault:  # whatever it is, the other units go on
                yield Outcome(work, fault, 0.0)
            else:
                yield Outcome(work, drawn, seconds)

    return engine


def processors() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0))
