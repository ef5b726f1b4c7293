"""How long a classic NetCDF file should be.

The NetCDF library reads zeros where a classic file (CDF-1, CDF-2, CDF-5) was cut off, without a
word. The header says where every variable lies, so the length that the file must have follows
from it (NetCDF Users' Guide, "File Format Specifications"). HDF5 files check themselves.
"""

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}


@dataclass(frozen=True)
class _Extent:
    """Where one variable lies: its first byte, the bytes of a slab, and whether slabs repeat."""

    begin: int
    slab: int
    repeats: bool


def full_size(path: Path) -> int:
    """Compute the length that the header of a classic file promises, in bytes.

    Raises:
        EOFError: The header itself is cut off or damaged.
    """
    with path.open("rb") as stream:
        try:
            records, extents = _Header(stream).read()
        except (struct.error, ValueError, LookupError, OverflowError, MemoryError) as fault:
            raise EOFError("its header is cut off") from fault
        header = stream.tell()
    repeating = [e for e in extents if e.repeats]
    # Slabs are padded to four bytes, unless there is one repeating variable only.
    stride = sum(_padded(e.slab) for e in repeating) if len(repeating) > 1 else 0
    stride = stride or sum(e.slab for e in repeating)
    ends = [e.begin + e.slab for e in extents if not e.repeats]
    ends += [e.begin + (records - 1) * stride + e.slab for e in repeating if records]
    return max([header, *ends])


def _padded(count: int) -> int:
    return -(-count // 4) * 4


class _Header:
    """Walk through a header in the order of its bytes."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        version = stream.read(4)[3]
        self._count = ">q" if version == 5 else ">i"
        self._offset = ">i" if version == 1 else ">q"

    def read(self) -> tuple[int, list[_Extent]]:
        """Give the number of records and the extent of each variable."""
        records = self._number(self._count)
        lengths = [self._dimension() for _ in range(self._listed())]
        self._attributes()
        return max(records, 0), [self._variable(lengths) for _ in range(self._listed())]

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._stream.read(struct.calcsize(form)))[0])

    def _listed(self) -> int:
        self._number(">i")
        return self._number(self._count)

    def _skip(self, count: int) -> None:
        if len(self._stream.read(_padded(count))) < count:
            raise IndexError

    def _name(self) -> None:
        self._skip(self._number(self._count))

    def _dimension(self) -> int:
        self._name()
        return self._number(self._count)

    def _attributes(self) -> None:
        for _ in range(self._listed()):
            self._name()
            size = _BYTES[self._number(">i")]
            self._skip(size * self._number(self._count))

    def _variable(self, lengths: list[int]) -> _Extent:
        self._name()
        shape = [lengths[self._number(self._count)] for _ in range(self._number(self._count))]
        self._attributes()
        size = _BYTES[self._number(">i")]
        self._number(self._count)  # the slab in bytes, which overflows in large files
        begin = self._number(self._offset)
        repeats = bool(shape) and shape[0] == 0
        return _Extent(begin, size * prod(shape[repeats:]), repeats)
