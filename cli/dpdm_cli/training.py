"""How training shows its progress."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dpdm.errors import escape_controls
from dpdm.training.loop import TrainingProgress

if TYPE_CHECKING:
    from dpdm.training.loop import TrainingProgress


def line(progress: "TrainingProgress", started: float) -> str:
    """Return one line: share done, loss, rate, time left, and held-out scores."""
    left = progress.seconds * (1 / max(progress.share, 1e-9) - 1) / 60
    rate = progress.run_steps / max(time.monotonic() - started, 1e-9)
    scores = "  ".join(f"{name} {value:.3f}" for name, value in progress.scores.items())
    return (
        f"{progress.share:6.1%}  step {progress.step}  loss {progress.loss:.4f}  "
        f"{rate:.2f} steps/s  {left:.1f} min left"
        + (f"  held-out {progress.measure}: {scores}" if scores else "")
    )


@contextmanager
def reporter() -> Iterator[Callable[["TrainingProgress"], None]]:
    """Yield a report: a line that renews itself on a terminal, one a minute elsewhere."""
    started, last = time.monotonic(), [0.0]
    live = sys.stderr.isatty()

    def report(progress: "TrainingProgress") -> None:
        now = time.monotonic()
        if now - last[0] >= (0.5 if live else 60.0) or progress.share >= 1:
            last[0] = now
            ends = "\r" if live and progress.share < 1 else "\n"
            words = escape_controls(line(progress, started))
            print(f"{words:<110}", end=ends, file=sys.stderr, flush=True)

    yield report
