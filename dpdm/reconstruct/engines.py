"""Where units are drawn: in this process, or by the workers of a Dask cluster.

An engine turns work into outcomes, in any order. A unit that fails is an outcome too: the fault.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import dask
import torch
from distributed import Client, LocalCluster, WorkerPlugin, as_completed, get_worker

from dpdm.errors import DpdmError
from dpdm.reconstruct.drawer import Drawer, Work
from dpdm.reconstruct.parts import Drawn
from dpdm.reconstruct.units import Unit

CLOSING = 3  # seconds to wait for those who leave
AHEAD = 2  # units a worker, that none waits for the next


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


class Holder(WorkerPlugin):  # type: ignore[misc]
    """Give every worker, whenever it comes, the drawer and its share of the processors.

    Args:
        drawer: What draws.
        threads: Threads of a worker; 0 for as many as the cluster gives it.
    """

    name = "dpdm"

    def __init__(self, drawer: Drawer, threads: int) -> None:
        self.drawer, self.threads = drawer, threads

    def setup(self, worker: Any) -> None:
        """Begin on a worker; the workers of one machine share its GPUs in turn."""
        torch.set_num_threads(self.threads or worker.state.nthreads)
        if self.drawer.task.how.device == "cuda" and str(worker.name).isdigit():
            torch.cuda.set_device(int(worker.name) % torch.cuda.device_count())
        self.drawer.task.prior.denoiser.to(self.drawer.task.how.device)


def on_worker(work: Work) -> tuple[Drawn, float]:
    """Draw a unit on a worker, with the drawer that it holds."""
    return timed(get_worker().plugins[Holder.name].drawer, work)


@contextmanager
def clustered(drawer: Drawer, workers: int, scheduler: str = "") -> Iterator[Engine]:
    """Hold a local cluster of some workers, or one that exists, as an engine.

    Raises:
        DpdmError: When there is no scheduler at the address.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with _client(workers, scheduler) as client:
        threads = 0 if scheduler else max(1, processors() // workers)
        client.register_plugin(Holder(drawer, threads))
        yield spread(client)


@contextmanager
def _client(workers: int, scheduler: str) -> Iterator[Client]:
    """Hold a connection to a cluster; a local one ends with it, soon, whatever it is doing."""
    local = None if scheduler else _local(workers)
    try:
        client = _connected(local or scheduler)
        try:
            yield client
        finally:
            client.close(timeout=CLOSING)
    finally:
        if local is not None:
            with suppress(TimeoutError):  # workers end with this process in any case
                local.close(timeout=CLOSING)


def _local(workers: int) -> LocalCluster:
    """Start workers that keep the memory they have: Dask would have it given back at each free.

    Drawing takes and frees large arrays all the time, and took twice the processor time.
    """
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), 1)
    with dask.config.set({"distributed.nanny.pre-spawn-environ": one}):
        return LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=50
        )


def _connected(where: LocalCluster | str) -> Client:
    try:
        return Client(where, timeout=10)
    except (OSError, ValueError) as fault:
        raise DpdmError(
            f"No Dask scheduler answers at {where}.", "Check --scheduler, or start it."
        ) from fault


def processors() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0))


def spread(client: Client) -> Engine:
    """Return the engine of a cluster: a few units ahead of the workers, no more in memory."""

    def engine(works: Iterator[Work]) -> Iterator[Outcome]:
        waiting: dict[str, Work] = {}
        done = as_completed()
        while True:
            room = AHEAD * max(1, len(client.nthreads())) - len(waiting)
            for _, work in zip(range(room), works, strict=False):
                future = client.submit(on_worker, work, key=_key(work), pure=False)
                waiting[future.key] = work
                done.add(future)
            if not waiting:
                return
            future = next(done)
            yield outcome(future, waiting.pop(future.key))

    return engine


def _key(work: Work) -> str:
    return f"dpdm-{work.unit.name}-{time.monotonic_ns()}"


def outcome(future: Any, work: Work) -> Outcome:
    """Return what became of a unit on a cluster."""
    fault = future.exception()
    if fault is not None:
        return Outcome(work, fault, 0.0)
    drawn, seconds = future.result()
    future.release()
    return Outcome(work, drawn, seconds)
