"""Executors: draw units in this process, in processes of this machine, or on a Dask cluster.

An executor turns work into outcomes, in any order; a unit that fails is an outcome too, the error.

Processes of this machine stand at the other end of a pair of sockets. Such a pair has no port and
no address, so nobody else can reach it, and what is pickled on one side may be unpickled on the
other. If a worker is killed, the unit that it was drawing is drawn again; if the command ends, the
pair closes and its workers end too.

Whoever reaches the port of a Dask scheduler can run anything on its machines. The user must
protect it, with TLS (Dask's own configuration is followed) or within a trusted network.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import queue
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

import cloudpickle
from distributed import Client, WorkerPlugin, as_completed, get_worker

from dpdm.errors import DpdmError, DpdmWarning
from dpdm.interrupt import SIGNAL_POLL_SECONDS, check_interrupt
from dpdm.reconstruct.units import UnitDrawer, UnitInput, UnitOutcome, UnitResult

Executor = Callable[[Iterator[UnitInput]], Iterator[UnitOutcome]]


def sample_timed(drawer: UnitDrawer, work: UnitInput) -> tuple[UnitResult, float]:
    """Draw a unit, and say how long it took."""
    start = time.perf_counter()
    return drawer(work), time.perf_counter() - start


def local_executor(drawer: UnitDrawer) -> Executor:
    """Return the engine of this process."""

    def engine(works: Iterator[UnitInput]) -> Iterator[UnitOutcome]:
        for work in works:
            try:
                drawn, seconds = sample_timed(drawer, work)
            except Exception as fault:  # whatever it is, the other units go on
                yield UnitOutcome(work, fault, 0.0)
            else:
                yield UnitOutcome(work, drawn, seconds)

    return engine


def count_processors() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0))


CLIENT_CLOSE_SECONDS = 3  # seconds to wait for those who leave


class DrawerPlugin(WorkerPlugin):  # type: ignore[misc]
    """Return every worker of a cluster the drawer, and the threads that the cluster assigns it."""

    name = "dpdm"

    def __init__(self, drawer: UnitDrawer) -> None:
        self.drawer = drawer

    def setup(self, worker: Any) -> None:
        """Prepare a worker."""
        number = int(worker.name) if str(worker.name).isdigit() else None
        self.drawer.use_device(number, worker.state.nthreads)


def draw_on_worker(work: UnitInput) -> tuple[UnitResult, float]:
    """Draw a unit on a worker, with the drawer that it holds."""
    return sample_timed(get_worker().plugins[DrawerPlugin.name].drawer, work)


@contextmanager
def connect_cluster(drawer: UnitDrawer, scheduler: str) -> Iterator[Executor]:
    """Hold a connection to a cluster as an engine."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    client = _connect_client(scheduler)
    try:
        client.register_plugin(DrawerPlugin(drawer))
        yield dask_executor(client)
    finally:
        client.close(timeout=CLIENT_CLOSE_SECONDS)


def _connect_client(address: str) -> Client:
    try:
        return Client(address, timeout=10)
    except (OSError, ValueError, TypeError) as fault:  # a TypeError where tls:// has no keys
        raise DpdmError(
            f"No Dask scheduler answers at {address} ({fault}).",
            "Check --scheduler, or start it; tls:// needs distributed.comm.tls in Dask's setup.",
        ) from fault


def dask_executor(client: Client) -> Executor:
    """Return the engine of a cluster: a few units ahead of the workers, no more in memory."""

    def engine(works: Iterator[UnitInput]) -> Iterator[UnitOutcome]:
        waiting: dict[str, UnitInput] = {}
        done = as_completed()
        while True:
            room = QUEUED_UNITS * max(1, len(client.nthreads())) - len(waiting)
            for _, work in zip(range(room), works, strict=False):
                future = client.submit(draw_on_worker, work, key=_unit_key(work), pure=False)
                waiting[future.key] = work
                done.add(future)
            if not waiting:
                return
            while not done.has_ready():
                check_interrupt()
                time.sleep(SIGNAL_POLL_SECONDS)
            future = next(done)
            yield cluster_outcome(future, waiting.pop(future.key))

    return engine


def _unit_key(work: UnitInput) -> str:
    return f"dpdm-{work.unit.name}-{time.monotonic_ns()}"


def cluster_outcome(future: Any, work: UnitInput) -> UnitOutcome:
    """Return what became of a unit on a cluster."""
    fault = future.exception()
    if fault is not None:
        return UnitOutcome(work, fault, 0.0)
    drawn, seconds = future.result()
    future.release()
    return UnitOutcome(work, drawn, seconds)


QUEUED_UNITS = 2  # units a worker, that none waits for the next
MAX_UNIT_ATTEMPTS = 2  # workers that may end while they draw a unit
WORKER_POLL_SECONDS = 0.5  # seconds between looks at what else is to be done
WORKER_COMMAND = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from dpdm.reconstruct.executors import serve; serve(int(sys.argv[2]))"
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
        """Return it what it draws with."""
        self.send(pickle.dumps(self.order))
        self.send(drawer)

    def send_work(self, work: UnitInput) -> None:
        """Return it a unit to draw after those that it has."""
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
        """Return each worker a few units, no more than it will soon draw."""
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
def process_executor(drawer: UnitDrawer, workers: int) -> Iterator[Executor]:
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
        drawer: UnitDrawer = pickle.loads(link.recv_bytes())
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


def prepare_worker(drawer: UnitDrawer, order: WorkerConfig) -> Exception | None:
    """Set threads and device of a worker process, and return the error if that fails."""
    try:
        drawer.use_device(order.number, order.threads)
    except Exception as fault:
        return fault
    return None


def answer_work(drawer: UnitDrawer, work: bytes) -> tuple[Any, float, list[str]]:
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
