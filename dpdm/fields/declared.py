"""Refuse a file whose header declares more than memory holds, before anything of it is read.

A header of some hundred bytes may declare axes of 10^12 values, which are read when a file is
opened, or chunks of which each would fill the memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import netCDF4

from dpdm.errors import DpdmError
from dpdm.memory import check_room

LONGEST = 10_000_000  # steps or cells along an axis: each step is opened as a chunk of its own
HINT = "Its header may be damaged; otherwise cut the file first, with ncks -d."


@dataclass(frozen=True)
class Declared:
    """What the header states of a variable.

    Attributes:
        name: The variable.
        dims: Its dimensions; unknown of some Zarr stores.
        shape: Their lengths.
        chunk: Values stored together.
        bytes: Of a value.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    chunk: int
    bytes: int


def check_extent(path: Path, engine: str) -> None:
    """Refuse axes and chunks that do not fit into memory.

    Raises:
        DpdmError: When one does not.
    """
    for each in _of_zarr(path) if engine == "zarr" else _of_netcdf(path):
        what = f"{each.name} of {path}"
        if each.dims == (each.name,):
            if each.shape[0] > LONGEST:
                long = f"{what} has {each.shape[0]:,} values, more than {LONGEST:,}."
                raise DpdmError(long, HINT)
            check_room(each.bytes * each.shape[0], f"{what} takes", HINT)
        check_room(each.bytes * each.chunk, f"A chunk of {what} takes", HINT, share=0.9)


def _of_netcdf(path: Path) -> Iterator[Declared]:
    with netCDF4.Dataset(path) as file:
        for name, variable in file.variables.items():
            chunks = variable.chunking()
            stored = chunks if isinstance(chunks, list) else [1]
            size = getattr(variable.dtype, "itemsize", 1)
            yield Declared(name, variable.dimensions, variable.shape, prod(stored), size)


def _of_zarr(path: Path) -> Iterator[Declared]:
    import zarr  # slow, and seldom needed

    for name, array in zarr.open_group(str(path), mode="r").arrays():
        dims = array.metadata.dimension_names if array.metadata.zarr_format == 3 else None
        dims = dims or array.attrs.get("_ARRAY_DIMENSIONS") or ()
        size = getattr(array.dtype, "itemsize", 1)
        yield Declared(name, tuple(map(str, dims)), array.shape, prod(array.chunks), size)
