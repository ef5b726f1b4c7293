"""Interrupts: a signal sets a flag, and long tasks end at the next safe point.

An exception from a signal handler may occur between any two instructions: while a lock is being
acquired, which is then never released, or in a ``__del__``, where it is lost. Here only
`check_interrupt` raises; loops call it between blocks, steps, network evaluations and waits. If no
safe point is reached within `GRACE_SECONDS`, or on a second signal, a thread removes unfinished
files and ends the process at once, without waiting for locks.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_SECONDS = 2.0  # from the signal to a safe point
SHUTDOWN_SECONDS = 15.0  # from the safe point to the end
MIN_SIGNAL_INTERVAL = 0.5  # seconds, as timeout, make and schedulers may send a signal twice
SIGNAL_POLL_SECONDS = 0.05
INTERRUPT_MESSAGE = "Interrupted: nothing half-written is left."
SHOW_CURSOR = "\x1b[?25h\r\n"  # show the cursor, which a progress bar hides

FutureResult = TypeVar("FutureResult")


class Interrupted(KeyboardInterrupt):
    """A signal, raised at a safe point."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


@dataclass
class _SignalState:
    """The signals of this process.

    Attributes:
        heeded: Whether signals set the flag.
        number: The first signal received, or 0.
        grace: Seconds to reach a safe point.
        reached: Whether a safe point was reached.
        ending: Whether the process is ending at once.
        removals: Functions that remove unfinished files.
    """

    heeded: bool = False
    number: int = 0
    grace: float = GRACE_SECONDS
    reached: bool = False
    ending: bool = False
    removals: list[Callable[[], None]] = field(default_factory=list)


_signal_state = _SignalState()


def check_interrupt() -> None:
    """Raise `Interrupted` if a signal was received.

    Raises:
        Interrupted: If so.
    """
    if _signal_state.number:
        _signal_state.reached |= threading.current_thread() is threading.main_thread()
        raise Interrupted(_signal_state.number)


def wait_interruptibly(future: Future[FutureResult]) -> FutureResult:
    """Return the result of a future, or raise `Interrupted` on a signal."""
    while not future.done():
        check_interrupt()
        wait([future], SIGNAL_POLL_SECONDS)
    return future.result()


def register_removal(removal: Callable[[], None]) -> Callable[[], None]:
    """Register a function that removes unfinished files when the process is ended at once."""
    _signal_state.removals.append(removal)
    return removal


@contextmanager
def extend_grace(seconds: float) -> Iterator[None]:
    """Allow more time to reach a safe point."""
    before, _signal_state.grace = _signal_state.grace, seconds
    try:
        yield
    finally:
        _signal_state.grace = before


@contextmanager
def handle_signals(final: bool = False) -> Iterator[None]:
    """Let signals set the flag, unless they are ignored or have another handler.

    Args:
        final: Whether to handle SIGTERM and SIGHUP too, and to end the process at once if no safe
            point is reached: for commands, not for use within a program.
    """
    mine = [n for n in (SIGNALS if final else SIGNALS[:1]) if _has_default_handler(n)]
    if _signal_state.heeded or not mine:
        yield
        return
    inlet, outlet = os.pipe()
    os.set_blocking(outlet, False)
    _signal_state.heeded, _signal_state.reached = True, False
    threading.Thread(target=_watch_signals, args=(inlet, final), daemon=True).start()
    pipe = signal.set_wakeup_fd(outlet, warn_on_full_buffer=False)
    before = {number: signal.signal(number, lambda number, frame: None) for number in mine}
    for number in mine:
        signal.siginterrupt(number, False)  # not all C libraries repeat an interrupted call
    try:
        yield
    finally:
        if _signal_state.ending:
            threading.Event().wait()  # until the process ends
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(pipe)
        os.close(outlet)
        _signal_state.heeded, _signal_state.number = False, 0


def _has_default_handler(number: int) -> bool:
    """Tell whether a signal has its default handler, in the main thread."""
    usual = signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)
    return usual and threading.current_thread() is threading.main_thread()


def _watch_signals(inlet: int, final: bool) -> None:
    """Set the flag on a signal, and end the process if no safe point is reached in time."""
    try:
        number = _next_signal(inlet)
        if not number:
            return
        _signal_state.number, came = number, time.monotonic()
        while final and (left := _deadline(came) - time.monotonic()) > 0:
            if select.select([inlet], [], [], min(left, SIGNAL_POLL_SECONDS))[0]:
                another = _next_signal(inlet)
                if not another:
                    return
                if time.monotonic() - came > MIN_SIGNAL_INTERVAL:
                    break
        if final:
            _end_process(number)
        while _next_signal(inlet):
            pass
    finally:
        os.close(inlet)


def _deadline(came: float) -> float:
    """Return the time at which the process is ended after a signal."""
    return came + (
        _signal_state.grace + SHUTDOWN_SECONDS if _signal_state.reached else _signal_state.grace
    )


def _next_signal(inlet: int) -> int:
    """Return the next signal, or 0 at the end of the task."""
    while number := os.read(inlet, 1):
        if number[0] in SIGNALS:
            return number[0]
    return 0


def _end_process(number: int) -> None:
    """End the process at once, in spite of its other threads."""
    _signal_state.ending = True
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):  # suppress errors of other threads, whose files are removed
        os.dup2(null, output)
    for removal in _signal_state.removals:
        with suppress(Exception):
            removal()
    with suppress(OSError):
        os.write(
            stderr, f"{SHOW_CURSOR if os.isatty(stderr) else ''}{INTERRUPT_MESSAGE}\n".encode()
        )
    os._exit(128 + number)
