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
    """Draw a unit, and return its values and the time that it took."""
    start = time.perf_counter()
    return drawer(work), time.perf_counter() - start


def local_executor(drawer: UnitDrawer) -> Executor:
    """Return the executor in this process."""

    def executor(works: Iterator[UnitInput]) -> Iterator[UnitOutcome]:
        for work in works:
            try:
                result, seconds = sample_timed(drawer, work)
            except Exception as error:  # the other units are drawn
                yield UnitOutcome(work, error, 0.0)
            else:
                yield UnitOutcome(work, result, seconds)

    return executor


def count_processors() -> int:
    """Return the number of processors of this process."""
    return len(os.sched_getaffinity(0))


CLIENT_CLOSE_SECONDS = 3


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
    """Connect to a cluster, and yield its executor."""
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
    except (OSError, ValueError, TypeError) as error:  # a TypeError where tls:// has no keys
        raise DpdmError(
            f"No Dask scheduler answers at {address} ({error}).",
            "Check --scheduler, or start it; tls:// needs distributed.comm.tls in Dask's setup.",
        ) from error


def dask_executor(client: Client) -> Executor:
    """Return the executor of a cluster, which holds a few units a worker in memory."""

    def executor(works: Iterator[UnitInput]) -> Iterator[UnitOutcome]:
        submitted: dict[str, UnitInput] = {}
        done = as_completed()
        while True:
            free = QUEUED_UNITS * max(1, len(client.nthreads())) - len(submitted)
            for _, work in zip(range(free), works, strict=False):
                future = client.submit(draw_on_worker, work, key=_unit_key(work), pure=False)
                submitted[future.key] = work
                done.add(future)
            if not submitted:
                return
            while not done.has_ready():
                check_interrupt()
                time.sleep(SIGNAL_POLL_SECONDS)
            future = next(done)
            yield cluster_outcome(future, submitted.pop(future.key))

    return executor


def _unit_key(work: UnitInput) -> str:
    return f"dpdm-{work.unit.name}-{time.monotonic_ns()}"


def cluster_outcome(future: Any, work: UnitInput) -> UnitOutcome:
    """Return the outcome of a unit on a cluster."""
    error = future.exception()
    if error is not None:
        return UnitOutcome(work, error, 0.0)
    result, seconds = future.result()
    future.release()
    return UnitOutcome(work, result, seconds)


QUEUED_UNITS = 2  # units a worker, so that it need not wait for the next
MAX_UNIT_ATTEMPTS = 2  # workers that may end while drawing the same unit
WORKER_POLL_SECONDS = 0.5
WORKER_COMMAND = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from dpdm.reconstruct.executors import serve; serve(int(sys.argv[2]))"
)
SINGLE_THREAD_ENV = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
)


class WorkerProcess:
    """A worker process, as the command controls it."""

    def __init__(self, number: int, threads: int) -> None:
        self.number, self.threads = number, threads
        self.queued_work: list[UnitInput] = []  # the first is the one that it draws
        ours, theirs = socket.socketpair()
        with theirs:
            # In a new session: Ctrl-C is for the command, which ends its workers.
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", WORKER_COMMAND, json.dumps(sys.path),
                str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                env=os.environ | SINGLE_THREAD_ENV,
                start_new_session=True,
            )  # fmt: skip
        self.link = Connection(ours.detach())

    def send(self, message: bytes) -> None:
        """Send a message; receiving finds out whether the worker has ended."""
        with suppress(OSError):
            self.link.send_bytes(message)

    def begin(self, drawer: bytes) -> None:
        """Send the worker its configuration and the drawer."""
        self.send(pickle.dumps((self.number, self.threads)))
        self.send(drawer)

    def send_work(self, work: UnitInput) -> None:
        """Send the worker a unit to draw after those in its queue."""
        self.queued_work.append(work)
        self.send(cloudpickle.dumps(work))

    def kill(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.wait()
        self.link.close()


@dataclass
class WorkerPool:
    """The worker processes, and the units that they draw.

    Attributes:
        drawer: The pickled drawer.
        workers: The running workers.
        returned_work: Units whose worker ended, to be drawn again.
        attempts: Number of workers that ended while drawing a unit, by its name.
        idle_failures: Number of workers that ended since the last unit was drawn.
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
            self.workers.append(WorkerProcess(number, threads))
        for worker in self.workers:
            worker.begin(self.drawer)

    def draw(self, works: Iterator[UnitInput]) -> Iterator[UnitOutcome]:
        """Yield the outcomes of units, in any order."""
        while True:
            check_interrupt()
            self.distribute(works)
            busy = {worker.link: worker for worker in self.workers if worker.queued_work}
            if not busy:
                return
            for link in wait(list(busy), WORKER_POLL_SECONDS):
                yield from self.receive(busy[link])  # type: ignore[index]

    def distribute(self, works: Iterator[UnitInput]) -> None:
        """Send each worker a few units."""
        for _ in range(QUEUED_UNITS):
            for worker in self.workers:
                if len(worker.queued_work) < QUEUED_UNITS:
                    work = self.returned_work.pop() if self.returned_work else next(works, None)
                    if work is None:
                        return
                    worker.send_work(work)

    def receive(self, worker: WorkerProcess) -> Iterator[UnitOutcome]:
        """Yield the outcome of a worker's unit, or replace a worker that has ended."""
        try:
            result, seconds, messages = pickle.loads(worker.link.recv_bytes())
        except (OSError, EOFError):
            yield from self.replace_worker(worker)
            return
        self.idle_failures = 0
        for message in messages:
            warnings.warn(message, DpdmWarning, stacklevel=2)
        yield UnitOutcome(worker.queued_work.pop(0), result, seconds)

    def replace_worker(self, worker: WorkerProcess) -> Iterator[UnitOutcome]:
        """Replace a worker that ended; yield an error if its unit has ended several."""
        worker.kill()
        self.idle_failures += 1
        if self.idle_failures > MAX_UNIT_ATTEMPTS * len(self.workers):
            raise worker_ended_error(worker)
        current, *queued = worker.queued_work
        self.returned_work += queued[::-1]
        name = current.unit.name
        self.attempts[name] = self.attempts.get(name, 0) + 1
        if self.attempts[name] < MAX_UNIT_ATTEMPTS:
            self.returned_work.append(current)
        else:
            yield UnitOutcome(current, worker_ended_error(worker), 0.0)
        index = self.workers.index(worker)
        self.workers[index] = WorkerProcess(worker.number, worker.threads)
        self.workers[index].begin(self.drawer)


def worker_ended_error(worker: WorkerProcess) -> DpdmError:
    """Return the error of a unit whose workers ended."""
    code = worker.process.returncode
    cause = f"signal {-code}" if code < 0 else f"exit {code}"
    return DpdmError(
        f"{MAX_UNIT_ATTEMPTS} worker processes in turn ended before they had drawn it, the "
        f"last by {cause}.",
        "If memory was used up, use fewer --workers or a smaller member_block.",
    )


@contextmanager
def process_executor(drawer: UnitDrawer, workers: int) -> Iterator[Executor]:
    """Start worker processes, yield their executor, and kill them at the end."""
    pool = WorkerPool(cloudpickle.dumps(drawer))
    try:
        pool.start_workers(workers)
        yield pool.draw
    finally:
        for worker in pool.workers:
            worker.kill()


def serve(handle: int) -> None:
    """Draw the units that come through a socket, until it closes: the work of a worker process."""
    link = Connection(handle)
    try:
        number, threads = pickle.loads(link.recv_bytes())
        drawer: UnitDrawer = pickle.loads(link.recv_bytes())
    except (OSError, EOFError):
        return  # the command has ended
    works: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=receive_work, args=(link, works), daemon=True).start()
    error = prepare_worker(drawer, number, threads)
    while True:
        answer = answer_work(drawer, works.get()) if error is None else (error, 0.0, [])
        link.send_bytes(pack_answer(answer))


def receive_work(link: Connection, works: queue.SimpleQueue[bytes]) -> None:
    """Receive units without blocking the sender; exit when the link closes."""
    try:
        while True:
            works.put(link.recv_bytes())
    except (OSError, EOFError):
        os._exit(0)


def prepare_worker(drawer: UnitDrawer, number: int, threads: int) -> Exception | None:
    """Set threads and device of a worker process, and return the error if that fails."""
    try:
        drawer.use_device(number, threads)
    except Exception as error:
        return error
    return None


def answer_work(drawer: UnitDrawer, work: bytes) -> tuple[Any, float, list[str]]:
    """Draw a unit, and return its values or the error, the seconds, and warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DpdmWarning)
        try:
            result, seconds = sample_timed(drawer, pickle.loads(work))
        except Exception as error:  # the other units are drawn
            return error, 0.0, []
    messages = [str(each.message) for each in caught if issubclass(each.category, DpdmWarning)]
    return result, seconds, messages


def pack_answer(answer: tuple[Any, float, list[str]]) -> bytes:
    """Return an answer as bytes; an error that cannot be pickled becomes its message."""
    try:
        packed = pickle.dumps(answer)
        pickle.loads(packed) if isinstance(answer[0], Exception) else None
    except Exception:
        return pickle.dumps((RuntimeError(str(answer[0])), *answer[1:]))
    return packed
