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
from dpdm.interrupt import check_interrupt
from dpdm.reconstruct.draw_unit import UnitInput, UnitSampler
from dpdm.reconstruct.executors import Executor, UnitOutcome, count_processors, sample_timed

QUEUED_UNITS = 2  # units a worker, that none waits for the next
MAX_UNIT_ATTEMPTS = 2  # workers that may end while they draw a unit
WORKER_POLL_SECONDS = 0.5  # seconds between looks at what else is to be done
WORKER_COMMAND = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from dpdm.reconstruct.workers import serve; serve(int(sys.argv[2]))"
)
SINGLE_THREAD_ENV = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
)


@dataclass(frozen=True)
class WorkerConfig:
    """What a worker is, beside the drawer that it holds.

    Attributes:
        number: Which of the workers, which share the GPUs in turn.
        threads: Its threads.
    """

    number: int
    threads: int


class WorkerProcess:
    """A process that draws, as the command sees it.

    Args:
        order: What it is.
    """

    def __init__(self, order: WorkerConfig) -> None:
        self.order = order
        self.queued_work: list[UnitInput] = []  # what it was given, the one that it draws first
        ours, theirs = socket.socketpair()
        with theirs:
            # A session of its own: Ctrl-C is for the command, which ends its workers.
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", WORKER_COMMAND, json.dumps(sys.path),
                str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                env=os.environ | SINGLE_THREAD_ENV,
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

    def send_work(self, work: UnitInput) -> None:
        """Give it a unit to draw after those that it has."""
        self.queued_work.append(work)
        self.send(cloudpickle.dumps(work))

    def kill(self) -> None:
        """End it, whatever it is doing: it leaves nothing behind."""
        self.process.kill()
        self.process.wait()
        self.link.close()


@dataclass
class WorkerPool:
    """The workers, and what is left to draw.

    Attributes:
        drawer: The pickled drawer.
        workers: Those at work.
        returned_work: Units whose worker ended, to be drawn again.
        attempts: How often the worker of a unit has ended.
        idle_failures: Workers that have ended since one has last drawn a unit.
    """

    drawer: bytes
    workers: list[WorkerProcess] = field(default_factory=list)
    returned_work: list[UnitInput] = field(default_factory=list)
    attempts: dict[str, int] = field(default_factory=dict)
    idle_failures: int = 0

    def start_workers(self, workers: int) -> None:
        """Start workers, all at once."""
        threads = max(1, count_processors() // workers)
        for number in range(workers):
            self.workers.append(WorkerProcess(WorkerConfig(number, threads)))
        for worker in self.workers:
            worker.begin(self.drawer)

    def draw(self, works: Iterator[UnitInput]) -> Iterator[UnitOutcome]:
        """Yield what becomes of works, in any order."""
        while True:
            check_interrupt()
            self.distribute(works)
            busy = {worker.link: worker for worker in self.workers if worker.queued_work}
            if not busy:
                return
            for link in wait(list(busy), WORKER_POLL_SECONDS):
                yield from self.receive(busy[link])  # type: ignore[index]

    def distribute(self, works: Iterator[UnitInput]) -> None:
        """Give each worker a few units, no more than it will soon draw."""
        for _ in range(QUEUED_UNITS):
            for worker in self.workers:
                if len(worker.queued_work) < QUEUED_UNITS:
                    work = self.returned_work.pop() if self.returned_work else next(works, None)
                    if work is None:
                        return
                    worker.send_work(work)

    def receive(self, worker: WorkerProcess) -> Iterator[UnitOutcome]:
        """Yield what a worker has drawn, or what became of its unit if it has ended."""
        try:
            drawn, seconds, said = pickle.loads(worker.link.recv_bytes())
        except (OSError, EOFError):
            yield from self.replace_worker(worker)
            return
        self.idle_failures = 0
        for words in said:
            warnings.warn(words, DpdmWarning, stacklevel=2)
        yield UnitOutcome(worker.queued_work.pop(0), drawn, seconds)

    def replace_worker(self, worker: WorkerProcess) -> Iterator[UnitOutcome]:
        """Put another worker in the place of one that ended; give up a unit that ends them all."""
        worker.kill()
        self.idle_failures += 1
        if self.idle_failures > MAX_UNIT_ATTEMPTS * len(self.workers):
            raise worker_ended_error(worker)
        drawing, *others = worker.queued_work
        self.returned_work += others[::-1]
        name = drawing.unit.name
        self.attempts[name] = self.attempts.get(name, 0) + 1
        if self.attempts[name] < MAX_UNIT_ATTEMPTS:
            self.returned_work.append(drawing)
        else:
            yield UnitOutcome(drawing, worker_ended_error(worker), 0.0)
        number = self.workers.index(worker)
        self.workers[number] = WorkerProcess(worker.order)
        self.workers[number].begin(self.drawer)


def worker_ended_error(worker: WorkerProcess) -> DpdmError:
    """Return what to report of a unit whose workers end."""
    code = worker.process.returncode
    how = f"signal {-code}" if code < 0 else f"exit {code}"
    return DpdmError(
        f"{MAX_UNIT_ATTEMPTS} worker processes in turn ended before they had drawn it, the "
        f"last by {how}.",
        "If memory was used up, give fewer --workers or a smaller member_block.",
    )


@contextmanager
def process_executor(drawer: UnitSampler, workers: int) -> Iterator[Executor]:
    """Hold processes of this machine as an engine; they end with it, whatever they are doing."""
    staff = WorkerPool(cloudpickle.dumps(drawer))
    try:
        staff.start_workers(workers)
        yield staff.draw
    finally:
        for worker in staff.workers:
            worker.kill()


def serve(handle: int) -> None:
    """Be a worker: draw what comes through a socket, until it closes."""
    link = Connection(handle)
    try:
        order: WorkerConfig = pickle.loads(link.recv_bytes())
        drawer: UnitSampler = pickle.loads(link.recv_bytes())
    except (OSError, EOFError):
        return  # the command has ended
    works: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=receive_work, args=(link, works), daemon=True).start()
    fault = prepare_worker(drawer, order)
    while True:
        answer = answer_work(drawer, works.get()) if fault is None else (fault, 0.0, [])
        link.send_bytes(pack_answer(answer))


def receive_work(link: Connection, works: queue.SimpleQueue[bytes]) -> None:
    """Take in what comes, so that nobody waits to send; end the process when the link closes."""
    try:
        while True:
            works.put(link.recv_bytes())
    except (OSError, EOFError):
        os._exit(0)


def prepare_worker(drawer: UnitSampler, order: WorkerConfig) -> Exception | None:
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


def answer_work(drawer: UnitSampler, work: bytes) -> tuple[Any, float, list[str]]:
    """Draw a unit; return what came of it or the fault, the seconds, and warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DpdmWarning)
        try:
            drawn, seconds = sample_timed(drawer, pickle.loads(work))
        except Exception as fault:  # whatever it is, the other units are drawn
            return fault, 0.0, []
    said = [str(each.message) for each in caught if issubclass(each.category, DpdmWarning)]
    return drawn, seconds, said


def pack_answer(answer: tuple[Any, float, list[str]]) -> bytes:
    """Return an answer as bytes; a fault that cannot be pickled as its words."""
    try:
        whole = pickle.dumps(answer)
        pickle.loads(whole) if isinstance(answer[0], Exception) else None
    except Exception:
        return pickle.dumps((RuntimeError(str(answer[0])), *answer[1:]))
    return whole
