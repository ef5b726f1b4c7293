"""Interrupts: a signal sets a flag, and long work ends at the next point where it safely can.

An exception that a signal handler raises may come between any two instructions: while a lock is
being acquired, which nobody releases then, or in a ``__del__``, where it is swallowed. Here only
`check` raises; loops call it between blocks, steps, network evaluations and waits. A thread ends
the process at once where the work reaches no such point within `GRACE` seconds, or where a second
signal comes: it removes what is unfinished, and waits for no lock.
"""

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
GRACE = 2.0  # seconds from the signal to a point where the work can end
CLOSING = 15.0  # seconds from there to the end
APART = 0.5  # seconds; timeout, make and schedulers may send a signal twice, at once
PAUSE = 0.05  # seconds between looks while waiting
SENTENCE = "Interrupted: nothing half-written is left."
CURSOR = "\x1b[?25h\r\n"  # show the cursor, which a progress bar hides

Some = TypeVar("Some")


class Interrupted(KeyboardInterrupt):
    """Report a signal at a point where the work can end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


@dataclass
class _State:
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
    grace: float = GRACE
    reached: bool = False
    ending: bool = False
    removals: list[Callable[[], None]] = field(default_factory=list)


_state = _State()


def check() -> None:
    """End here if a signal has come.

    Raises:
        Interrupted: One has.
    """
    if _state.number:
        _state.reached |= threading.current_thread() is threading.main_thread()
        raise Interrupted(_state.number)


def awaited(future: Future[Some]) -> Some:
    """Return the result of a future, but wait no longer than until a signal comes.

    Raises:
        Interrupted: One has.
    """
    while not future.done():
        check()
        wait([future], PAUSE)
    return future.result()


def remove_with(removal: Callable[[], None]) -> Callable[[], None]:
    """Have unfinished files removed where the process is ended at once."""
    _state.removals.append(removal)
    return removal


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Give work that has something to save more time to reach a point where it can end."""
    before, _state.grace = _state.grace, seconds
    try:
        yield
    finally:
        _state.grace = before


@contextmanager
def heeded(final: bool = False) -> Iterator[None]:
    """Let signals set the flag, but those that are ignored or that others handle.

    Args:
        final: Whether SIGTERM and SIGHUP do so too, and the process is ended at once where the
            flag is not seen: for commands, not for use within a program.
    """
    mine = [n for n in (SIGNALS if final else SIGNALS[:1]) if _unhandled(n)]
    if _state.heeded or not mine:
        yield
        return
    inlet, outlet = os.pipe()
    os.set_blocking(outlet, False)
    _state.heeded, _state.reached = True, False
    threading.Thread(target=_watch, args=(inlet, final), daemon=True).start()
    pipe = signal.set_wakeup_fd(outlet, warn_on_full_buffer=False)
    before = {number: signal.signal(number, lambda number, frame: None) for number in mine}
    for number in mine:
        signal.siginterrupt(number, False)  # C libraries do not all repeat a call that was cut off
    try:
        yield
    finally:
        if _state.ending:
            threading.Event().wait()  # for the end of the process
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(pipe)
        os.close(outlet)
        _state.heeded, _state.number = False, 0


def _unhandled(number: int) -> bool:
    """Tell whether a signal does what it does by default, as far as this thread may decide."""
    usual = signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)
    return usual and threading.current_thread() is threading.main_thread()


def _watch(inlet: int, final: bool) -> None:
    """Set the flag when a signal comes, and end the process if it is not seen in time."""
    try:
        number = _next(inlet)
        if not number:
            return
        _state.number, came = number, time.monotonic()
        while final and (left := _limit(came) - time.monotonic()) > 0:
            if select.select([inlet], [], [], min(left, PAUSE))[0]:
                another = _next(inlet)
                if not another:
                    return
                if time.monotonic() - came > APART:
                    break
        if final:
            _end(number)
        while _next(inlet):
            pass
    finally:
        os.close(inlet)


def _limit(came: float) -> float:
    """Return until when the work may last after a signal."""
    return came + (_state.grace + CLOSING if _state.reached else _state.grace)


def _next(inlet: int) -> int:
    """Return the next signal, or 0 when the work has ended."""
    while number := os.read(inlet, 1):
        if number[0] in SIGNALS:
            return number[0]
    return 0


def _end(number: int) -> None:
    """End the process, whatever its other threads are doing or waiting for."""
    _state.ending = True
    words, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):  # what other threads say from now on comes of their files being gone
        os.dup2(null, output)
    for removal in _state.removals:
        with suppress(Exception):
            removal()
    with suppress(OSError):
        os.write(words, f"{CURSOR if os.isatty(words) else ''}{SENTENCE}\n".encode())
    os._exit(128 + number)
