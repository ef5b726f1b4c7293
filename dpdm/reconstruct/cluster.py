"""Units drawn by the workers of a Dask cluster that the user has started.

Who reaches the port of a Dask scheduler can run anything on its machines: it is the user's to
protect, with TLS (Dask's own configuration is obeyed) or within a network of friends.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from distributed import Client, WorkerPlugin, as_completed, get_worker

from dpdm.errors import DpdmError
from dpdm.interrupt import PAUSE, check
from dpdm.reconstruct.drawer import Drawer, Work
from dpdm.reconstruct.engines import Engine, Outcome, timed
from dpdm.reconstruct.parts import Drawn

CLOSING = 3  # seconds to wait for those who leave
AHEAD = 2  # units a worker, that none waits for the next


class Holder(WorkerPlugin):  # type: ignore[misc]
    """Give every worker, whenever it comes, the drawer and the threads that the cluster gives it.

    Args:
        drawer: What draws.
    """

    name = "dpdm"

    def __init__(self, drawer: Drawer) -> None:
        self.drawer = drawer

    def setup(self, worker: Any) -> None:
        """Begin on a worker; the workers of one machine share its GPUs in turn."""
        torch.set_num_threads(worker.state.nthreads)
        if self.drawer.space.sampler.device == "cuda" and str(worker.name).isdigit():
            torch.cuda.set_device(int(worker.name) % torch.cuda.device_count())
        self.drawer.space.prior.denoiser.to(self.drawer.space.sampler.device)


def on_worker(work: Work) -> tuple[Drawn, float]:
    """Draw a unit on a worker, with the drawer that it holds."""
    return timed(get_worker().plugins[Holder.name].drawer, work)


@contextmanager
def clustered(drawer: Drawer, scheduler: str) -> Iterator[Engine]:
    """Hold a connection to a cluster as an engine.

    Raises:
        DpdmError: When there is no scheduler at the address.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    client = _connected(scheduler)
    try:
        client.register_plugin(Holder(drawer))
        yield spread(client)
    finally:
        client.close(timeout=CLOSING)


def _connected(address: str) -> Client:
    try:
        return Client(address, timeout=10)
    except (OSError, ValueError, TypeError) as fault:  # a TypeError where tls:// has no keys
        raise DpdmError(
            f"No Dask scheduler answers at {address} ({fault}).",
            "Check --scheduler, or start it; tls:// needs distributed.comm.tls in Dask's setup.",
        ) from fault


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
            while not done.has_ready():
                check()
                time.sleep(PAUSE)
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
