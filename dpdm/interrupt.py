"""Interrupts: a signal sets a flag, and long work ends at the next point where it safely can.

An exception that a signal handler raises may come between any two instructions: while a lock is
being acquired, which nobody releases then, or in a ``__del__``, where it is swallowed. Here only
`check` raises; loops call it between blocks, steps, network evaluations and waits. A thread ends
the process at once where the work reaches no such point within `GRACE` seconds, or where a second
signal comes: it removes what is unfinished, and waits for no lock.
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
GRACE_SECONDS = 2.0  # seconds from the signal to a point where the work can end
SHUTDOWN_SECONDS = 15.0  # seconds from there to the end
MIN_SIGNAL_INTERVAL = 0.5  # seconds; timeout, make and schedulers may send a signal twice, at once
SIGNAL_POLL_SECONDS = 0.05  # seconds between looks while waiting
INTERRUPT_MESSAGE = "Interrupted: nothing half-written is left."
SHOW_CURSOR = "\x1b[?25h\r\n"  # show the cursor, which a progress bar hides

FutureResult = TypeVar("FutureResult")


class Interrupted(KeyboardInterrupt):
    """Report a signal at a point where the work can end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


@dataclass
class _SignalState:
    """The signals of this process.

    Attributes:
        heeded: Whether signals set the flag.
        number: The signal that came first, 0 before.
        grace: Seconds to reach a point where the work can end.
        reached: Whether it has been reached.
        ending: Whether the process is being ended at once.
        removals: What removes unfinished files.
    """

    heeded: bool = False
    number: int = 0
    grace: float = GRACE_SECONDS
    reached: bool = False
    ending: bool = False
    removals: list[Callable[[], None]] = field(default_factory=list)


_signal_state = _SignalState()


def check_interrupt() -> None:
    """End here if a signal has come.

    Raises:
        Interrupted: One has.
    """
    if _signal_state.number:
        _signal_state.reached |= threading.current_thread() is threading.main_thread()
        raise Interrupted(_signal_state.number)


def wait_interruptibly(future: Future[FutureResult]) -> FutureResult:
    """Return the result of a future, but wait no longer than until a signal comes.

    Raises:
        Interrupted: One has.
    """
    while not future.done():
        check_interrupt()
        wait([future], SIGNAL_POLL_SECONDS)
    return future.result()


def register_removal(removal: Callable[[], None]) -> Callable[[], None]:
    """Have unfinished files removed where the process is ended at once."""
    _signal_state.removals.append(removal)
    return removal


@contextmanager
def extend_grace(seconds: float) -> Iterator[None]:
    """Give work that has something to save more time to reach a point where it can end."""
    before, _signal_state.grace = _signal_state.grace, seconds
    try:
        yield
    finally:
        _signal_state.grace = before


@contextmanager
def handle_signals(final: bool = False) -> Iterator[None]:
    """Let signals set the flag, but those that are ignored or that others handle.

    Args:
        final: Whether SIGTERM and SIGHUP do so too, and the process is ended at once where the
            flag is not seen: for commands, not for use within a program.
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
        signal.siginterrupt(number, False)  # C libraries do not all repeat a call that was cut off
    try:
        yield
    finally:
        if _signal_state.ending:
            threading.Event().wait()  # for the end of the process
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(pipe)
        os.close(outlet)
        _signal_state.heeded, _signal_state.number = False, 0


def _has_default_handler(number: int) -> bool:
    """Tell whether a signal does what it does by default, as far as this thread may decide."""
    usual = signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)
    return usual and threading.current_thread() is threading.main_thread()


def _watch_signals(inlet: int, final: bool) -> None:
    """Set the flag when a signal comes, and end the process if it is not seen in time."""
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
    """Return until when the work may last after a signal."""
    return came + (
        _signal_state.grace + SHUTDOWN_SECONDS if _signal_state.reached else _signal_state.grace
    )


def _next_signal(inlet: int) -> int:
    """Return the next signal, or 0 when the work has ended."""
    while number := os.read(inlet, 1):
        if number[0] in SIGNALS:
            return number[0]
    return 0


def _end_process(number: int) -> None:
    """End the process, whatever its other threads are doing or waiting for."""
    _signal_state.ending = True
    words, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):  # what other threads say from now on comes of their files being gone
        os.dup2(null, output)
    for removal in _signal_state.removals:
        with suppress(Exception):
            removal()
    with suppress(OSError):
        os.write(words, f"{SHOW_CURSOR if os.isatty(words) else ''}{INTERRUPT_MESSAGE}\n".encode())
    os._exit(128 + number)
