"""Refuse a file whose header declares more than memory holds, before anything of it is read.

A header of some hundred bytes may declare axes of 10^12 values, which are read when a file is
opened, or chunks of which each would fill the memory.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import xarray as xr
from xarray.backends import NetCDF4DataStore

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


def opened(path: Path, engine: str, **how: Any) -> xr.Dataset:
    """Open a NetCDF file or a Zarr store whose axes and chunks fit into memory."""
    if engine == "zarr":
        _check(path, _of_zarr(path))
        return xr.open_dataset(path, engine=engine, **how)
    # Once: the library confuses two handles of a file.
    store = NetCDF4DataStore.open(str(path))  # type: ignore[no-untyped-call]
    try:
        _check(path, [_of_variable(name, each) for name, each in store.ds.variables.items()])
        found = xr.open_dataset(store, engine="store", **how)
    except BaseException:
        store.close()
        raise
    found.encoding["source"] = str(path)
    return found


def _check(path: Path, declared: Iterable[Declared]) -> None:
    for each in declared:
        what = f"{each.name} of {path}"
        if each.dims == (each.name,):
            if each.shape[0] > LONGEST:
                long = f"{what} has {each.shape[0]:,} values, more than {LONGEST:,}."
                raise DpdmError(long, HINT)
            check_room(each.bytes * each.shape[0], f"{what} takes", HINT)
        check_room(each.bytes * each.chunk, f"A chunk of {what} takes", HINT, share=0.9)


def _of_variable(name: str, variable: Any) -> Declared:
    chunks = variable.chunking()
    stored = prod(chunks) if isinstance(chunks, list) else 1
    size = getattr(variable.dtype, "itemsize", 1)
    return Declared(name, variable.dimensions, variable.shape, stored, size)


def _of_zarr(path: Path) -> Iterator[Declared]:
    import zarr  # slow, and seldom needed

    for name, array in zarr.open_group(str(path), mode="r").arrays():
        dims = array.metadata.dimension_names if array.metadata.zarr_format == 3 else None
        dims = dims or array.attrs.get("_ARRAY_DIMENSIONS") or ()
        size = getattr(array.dtype, "itemsize", 1)
        yield Declared(name, tuple(map(str, dims)), array.shape, prod(array.chunks), size)
