"""Batches of coming steps, drawn by threads while a step runs.

A step's batch depends on its number alone, so it is the same whoever draws it and when.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Batch = TypeVar("Batch")
MAX_THREADS = 4


def count_threads(device: str) -> int:
    """Return the number of threads that draw batches: none where the processors train."""
    if device == "cpu":
        return 0
    return max(1, min(MAX_THREADS, (os.cpu_count() or 1) - 1))


class BatchesAhead(Generic[Batch]):
    """Draw the batches of coming steps.

    Args:
        draw: Returns the batch of a step.
        threads: Threads, each of which draws a batch ahead; 0 draws a batch when it is needed.
    """

    def __init__(self, draw: Callable[[int], Batch], threads: int) -> None:
        self._draw = draw
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads) if threads else None
        self._pending: dict[int, Future[Batch]] = {}

    def __enter__(self) -> BatchesAhead[Batch]:
        return self

    def __exit__(self, *fault: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def take(self, step: int) -> Batch:
        """Return the batch of a step, and have those of the next steps drawn."""
        if self._pool is None:
            return self._draw(step)
        for number in range(step, step + self._threads + 1):
            if number not in self._pending:
                self._pending[number] = self._pool.submit(self._draw, number)
        return self._pending.pop(step).result()
