"""Processes of this machine that draw, each at the other end of a pair of sockets without a name.

Such a pair has no port and no address: nobody else can reach it, so what is pickled on one side
may be unpickled on the other. A worker that is killed loses the unit that it was drawing, which is
drawn again; one whose command has ended sees its pair closed, and ends too.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

import cloudpickle

from dpdm.errors import DpdmError, DpdmWarning
from dpdm.interrupt import check
from dpdm.reconstruct.drawer import Drawer, Work
from dpdm.reconstruct.engines import Engine, Outcome, processors, timed

AHEAD = 2  # units a worker, that none waits for the next
TRIES = 2  # workers that may end while they draw a unit
PAUSE = 0.5  # seconds between looks at what else is to be done
BEGIN = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from dpdm.reconstruct.workers import serve; serve(int(sys.argv[2]))"
)
SINGLE = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Order:
    """What a worker is, beside the drawer that it holds.

    Attributes:
        number: Which of the workers, which share the GPUs in turn.
        threads: Its threads.
    """

    number: int
    threads: int


class Worker:
    """A process that draws, as the command sees it.

    Args:
        order: What it is.
    """

    def __init__(self, order: Order) -> None:
        self.order = order
        self.hand: list[Work] = []  # what it was given, the one that it draws first
        ours, theirs = socket.socketpair()
        with theirs:
            # A session of its own: Ctrl-C is for the command, which ends its workers.
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", BEGIN, json.dumps(sys.path), str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=os.environ | SINGLE,
                start_new_session=True,
            )  # fmt: skip
        self.link = Connection(ours.detach())

    def send(self, message: bytes) -> None:
        """Send a message; a worker that has ended is noticed when it is listened to."""
        with suppress(OSError):
            self.link.send_bytes(message)

    def begin(self, drawer: bytes) -> None:
        """Give it what it draws with."""
        self.send(pickle.dumps(self.order))
        self.send(drawer)

    def give(self, work: Work) -> None:
        """Give it a unit to draw after those that it has."""
        self.hand.append(work)
        self.send(cloudpickle.dumps(work))

    def end(self) -> None:
        """End it, whatever it is doing: it leaves nothing behind."""
        self.process.kill()
        self.process.wait()
        self.link.close()


@dataclass
class Staff:
    """The workers, and what is left to draw.

    Attributes:
        drawer: The pickled drawer.
        workers: Those at work.
        lost: Units whose worker ended, to be drawn again.
        tries: How often the worker of a unit has ended.
        vain: Workers that have ended since one has last drawn a unit.
    """

    drawer: bytes
    workers: list[Worker] = field(default_factory=list)
    lost: list[Work] = field(default_factory=list)
    tries: dict[str, int] = field(default_factory=dict)
    vain: int = 0

    def hire(self, workers: int) -> None:
        """Start workers, all at once."""
        threads = max(1, processors() // workers)
        for number in range(workers):
            self.workers.append(Worker(Order(number, threads)))
        for worker in self.workers:
            worker.begin(self.drawer)

    def draw(self, works: Iterator[Work]) -> Iterator[Outcome]:
        """Yield what becomes of works, in any order."""
        while True:
            check()
            self.hand_out(works)
            busy = {worker.link: worker for worker in self.workers if worker.hand}
            if not busy:
                return
            for link in wait(list(busy), PAUSE):
                yield from self.heard(busy[link])  # type: ignore[index]

    def hand_out(self, works: Iterator[Work]) -> None:
        """Give each worker a few units, no more than it will soon draw."""
        for _ in range(AHEAD):
            for worker in self.workers:
                if len(worker.hand) < AHEAD:
                    work = self.lost.pop() if self.lost else next(works, None)
                    if work is None:
                        return
                    worker.give(work)

    def heard(self, worker: Worker) -> Iterator[Outcome]:
        """Yield what a worker has drawn, or what became of its unit if it has ended."""
        try:
            drawn, seconds, said = pickle.loads(worker.link.recv_bytes())
        except (OSError, EOFError):
            yield from self.replaced(worker)
            return
        self.vain = 0
        for words in said:
            warnings.warn(words, DpdmWarning, stacklevel=2)
        yield Outcome(worker.hand.pop(0), drawn, seconds)

    def replaced(self, worker: Worker) -> Iterator[Outcome]:
        """Put another worker in the place of one that ended; give up a unit that ends them all.

        Raises:
            DpdmError: When workers end as soon as they begin.
        """
        worker.end()
        self.vain += 1
        if self.vain > TRIES * len(self.workers):
            raise ended(worker)
        drawing, *others = worker.hand
        self.lost += others[::-1]
        name = drawing.unit.name
        self.tries[name] = self.tries.get(name, 0) + 1
        if self.tries[name] < TRIES:
            self.lost.append(drawing)
        else:
            yield Outcome(drawing, ended(worker), 0.0)
        number = self.workers.index(worker)
        self.workers[number] = Worker(worker.order)
        self.workers[number].begin(self.drawer)


def ended(worker: Worker) -> DpdmError:
    """Return what to report of a unit whose workers end."""
    code = worker.process.returncode
    how = f"signal {-code}" if code < 0 else f"exit {code}"
    return DpdmError(
        f"{TRIES} worker processes in turn ended before they had drawn it, the last by {how}.",
        "If memory was used up, give fewer --workers or a smaller member_block.",
    )


@contextmanager
def staffed(drawer: Drawer, workers: int) -> Iterator[Engine]:
    """Hold processes of this machine as an engine; they end with it, whatever they are doing."""
    staff = Staff(cloudpickle.dumps(drawer))
    try:
        staff.hire(workers)
        yield staff.draw
    finally:
        for worker in staff.workers:
            worker.end()


def serve(handle: int) -> None:
    """Be a worker: draw what comes through a socket, until it closes."""
    link = Connection(handle)
    try:
        order: Order = pickle.loads(link.recv_bytes())
        drawer: Drawer = pickle.loads(link.recv_bytes())
    except (OSError, EOFError):
        return  # the command has ended
    works: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=listen, args=(link, works), daemon=True).start()
    fault = begun(drawer, order)
    while True:
        answer = reply(drawer, works.get()) if fault is None else (fault, 0.0, [])
        link.send_bytes(packed(answer))


def listen(link: Connection, works: queue.SimpleQueue[bytes]) -> None:
    """Take in what comes, so that nobody waits to send; end the process when the link closes."""
    try:
        while True:
            works.put(link.recv_bytes())
    except (OSError, EOFError):
        os._exit(0)


def begun(drawer: Drawer, order: Order) -> Exception | None:
    """Make a worker ready; the workers of one machine share its GPUs in turn."""
    import torch

    try:
        torch.set_num_threads(order.threads)
        if drawer.space.sampler.device == "cuda":
            torch.cuda.set_device(order.number % torch.cuda.device_count())
        drawer.space.prior.denoiser.to(drawer.space.sampler.device)
    except Exception as fault:
        return fault
    return None


def reply(drawer: Drawer, work: bytes) -> tuple[Any, float, list[str]]:
    """Draw a unit; return what came of it or the fault, the seconds, and warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DpdmWarning)
        try:
            drawn, seconds = timed(drawer, pickle.loads(work))
        except Exception as fault:  # whatever it is, the other units are drawn
            return fault, 0.0, []
    said = [str(each.message) for each in caught if issubclass(each.category, DpdmWarning)]
    return drawn, seconds, said


def packed(answer: tuple[Any, float, list[str]]) -> bytes:
    """Return an answer as bytes; a fault that cannot be pickled as its words."""
    try:
        whole = pickle.dumps(answer)
        pickle.loads(whole) if isinstance(answer[0], Exception) else None
    except Exception:
        return pickle.dumps((RuntimeError(str(answer[0])), *answer[1:]))
    return whole
