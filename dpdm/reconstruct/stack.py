"""Fields of many files as one lazy array, of which a step costs the same however many there are.

Arrays of dask that are concatenated keep a graph that grows with each file, and all of it is gone
through for every step. Here a step knows its file, and only the graph of that file is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray


class Stack:
    """Arrays (time, lat, lon), end to end, as dask reads them: a slice of steps at a time.

    Args:
        parts: The arrays, lazy.
    """

    ndim = 3

    def __init__(self, parts: Sequence[xr.DataArray]) -> None:
        self.parts = parts
        self.ends = np.cumsum([len(part) for part in parts])
        self.shape = int(self.ends[-1]), *parts[0].shape[1:]
        self.dtype = np.result_type(*{part.dtype for part in parts})

    def __getitem__(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        """Read a step, or some."""
        steps, *rest = key
        if not isinstance(steps, slice):
            return self.row(int(steps))[tuple(rest)]
        rows = [self.row(at) for at in range(*steps.indices(self.shape[0]))]
        return np.stack(rows)[(slice(None), *rest)]

    def row(self, at: int) -> NDArray[Any]:
        """Read a step."""
        part = int(np.searchsorted(self.ends, at, "right"))
        inner = at - (int(self.ends[part - 1]) if part else 0)
        return self.parts[part][inner].values.astype(self.dtype, copy=False)


def stacked(parts: Sequence[xr.DataArray]) -> da.Array:
    """Return arrays (time, lat, lon) end to end, lazy, in chunks of a step."""
    stack = Stack(parts)
    chunks = (1, *stack.shape[1:])
    return da.from_array(
        stack, chunks, name=False, fancy=False, meta=np.empty((0, 0, 0), stack.dtype)
    )
