"""Where units are drawn: an engine turns work into outcomes, in any order.

A unit that fails is an outcome too: the fault.

Units drawn by the workers of a Dask cluster that the user has started.

Who reaches the port of a Dask scheduler can run anything on its machines: it is the user's to
protect, with TLS (Dask's own configuration is obeyed) or within a network of friends.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from distributed import Client, WorkerPlugin, as_completed, get_worker

from dpdm.errors import DpdmError
from dpdm.interrupt import SIGNAL_POLL_SECONDS, check_interrupt
from dpdm.reconstruct.draw_unit import UnitInput, UnitResult, UnitSampler
from dpdm.reconstruct.ledger import WorkUnit


@dataclass(frozen=True)
class UnitOutcome:
    """What became of a unit.

    Attributes:
        work: What was to be drawn.
        result: What came of it, or the fault.
        seconds: How long it took.
    """

    work: UnitInput
    result: UnitResult | Exception
    seconds: float

    @property
    def unit(self) -> WorkUnit:
        """Give the unit."""
        return self.work.unit


Executor = Callable[[Iterator[UnitInput]], Iterator[UnitOutcome]]


def sample_timed(drawer: UnitSampler, work: UnitInput) -> tuple[UnitResult, float]:
    """Draw a unit, and say how long it took."""
    start = time.perf_counter()
    return drawer(work), time.perf_counter() - start


def local_executor(drawer: UnitSampler) -> Executor:
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
UNITS_PER_WORKER = 2  # units a worker, that none waits for the next


class SamplerPlugin(WorkerPlugin):  # type: ignore[misc]
    """Give every worker, whenever it comes, the drawer and the threads that the cluster gives it.

    Args:
        drawer: What draws.
    """

    name = "dpdm"

    def __init__(self, drawer: UnitSampler) -> None:
        self.drawer = drawer

    def setup(self, worker: Any) -> None:
        """Begin on a worker; the workers of one machine share its GPUs in turn."""
        torch.set_num_threads(worker.state.nthreads)
        if self.drawer.space.sampler.device == "cuda" and str(worker.name).isdigit():
            torch.cuda.set_device(int(worker.name) % torch.cuda.device_count())
        self.drawer.space.prior.denoiser.to(self.drawer.space.sampler.device)


def draw_on_worker(work: UnitInput) -> tuple[UnitResult, float]:
    """Draw a unit on a worker, with the drawer that it holds."""
    return sample_timed(get_worker().plugins[SamplerPlugin.name].drawer, work)


@contextmanager
def connect_cluster(drawer: UnitSampler, scheduler: str) -> Iterator[Executor]:
    """Hold a connection to a cluster as an engine."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    client = _connect_client(scheduler)
    try:
        client.register_plugin(SamplerPlugin(drawer))
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
            room = UNITS_PER_WORKER * max(1, len(client.nthreads())) - len(waiting)
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
