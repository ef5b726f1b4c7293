"""Read a packed climatology: twelve months of a few variables on a global grid, tile by tile.

A file holds a magic word, the length of a JSON header, the header, and one compressed tile after
the other: variable by variable, row by row. A tile holds whole numbers of steps of a transformed
value, differenced along its axes, so it is decoded without its neighbours, and a region without
the globe. Every tile has a checksum, and nothing is allocated before all lengths are checked.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil, prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.grid import Array, Grid

MAGIC = b"dpdmclim"
FORMAT_VERSION = 1
MONTHS = 12
MAX_HEADER_BYTES = 1_000_000
MAX_CELLS = 40_000  # along an axis; a hundredth of a degree
MAX_TILE_CELLS = 1_000_000
DECODER_BYTES = 64 * 2**20  # that a tile may make the decoder allocate
LZMA_FILTERS = (
    {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 2**20, "lc": 4},
)
HEADER_FAULTS = (
    OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip
INVERSES: dict[str, Callable[[Array], Array]] = {
    "identity": lambda value: value,
    "log1p": np.expm1,
}
Axis = tuple[float, float, int]
Numbers = NDArray[np.int32]


@dataclass(frozen=True)
class PackedVariable:
    """One variable of a packed climatology.

    Attributes:
        name: Canonical name.
        attrs: Its standard name, long name and units.
        transform: Key of ``INVERSES``.
        step: Size of a whole number, in transformed units.
        offset: Value of 0, in transformed units.
        axes: The axes along which numbers are differences: 0 months, 1 rows, 2 columns.
        sizes: Bytes of each tile, row by row.
    """

    name: str
    attrs: dict[str, str]
    transform: str
    step: float
    offset: float
    axes: tuple[int, ...]
    sizes: tuple[int, ...]

    def physical(self, numbers: Numbers) -> NDArray[np.float32]:
        """Return the values of whole numbers."""
        values = INVERSES[self.transform](self.offset + self.step * numbers.astype(float))
        return np.asarray(values, dtype=np.float32)


@dataclass(frozen=True)
class PackedClimatology:
    """A packed climatology, of which only the header has been read.

    Attributes:
        path: The file.
        attrs: Title, period, source and licence.
        lat: First latitude, spacing and number of rows.
        lon: First longitude, spacing and number of columns.
        tile: Rows and columns of a tile; those at the end have fewer.
        variables: The variables.
        start: Where the first tile begins, bytes.
    """

    path: Path
    attrs: dict[str, str]
    lat: Axis
    lon: Axis
    tile: tuple[int, int]
    variables: tuple[PackedVariable, ...]
    start: int = field(default=0)

    @property
    def names(self) -> list[str]:
        """Return the names of the variables."""
        return [variable.name for variable in self.variables]

    @property
    def grid(self) -> Grid:
        """Return the grid."""
        lat, lon = (
            first + step * np.arange(count, dtype=float)
            for first, step, count in (self.lat, self.lon)
        )
        return Grid(lat, lon)

    @property
    def tile_counts(self) -> tuple[int, int]:
        """Return the number of tiles along latitude and along longitude."""
        return ceil(self.lat[2] / self.tile[0]), ceil(self.lon[2] / self.tile[1])

    def tile_shape(self, row: int, column: int) -> tuple[int, int, int]:
        """Return the shape (12, h, w) of a tile."""
        (high, wide), counts = self.tile, (self.lat[2], self.lon[2])
        return MONTHS, min(high, counts[0] - row * high), min(wide, counts[1] - column * wide)

    def read(
        self, name: str, rows: NDArray[np.intp], columns: NDArray[np.intp]
    ) -> NDArray[np.float32]:
        """Return the values (12, len(rows), len(columns)) of a variable in some cells."""
        variable = self.variables[self.names.index(name)]
        out = np.empty((MONTHS, len(rows), len(columns)), dtype=np.float32)
        with self.path.open("rb") as file:
            for i in np.unique(rows // self.tile[0]).tolist():
                inside = np.flatnonzero(rows // self.tile[0] == i)
                for j in np.unique(columns // self.tile[1]).tolist():
                    across = np.flatnonzero(columns // self.tile[1] == j)
                    values = variable.physical(self.read_tile(file, variable, i, j))
                    down, over = rows[inside] % self.tile[0], columns[across] % self.tile[1]
                    out[:, inside[:, None], across] = values[:, down[:, None], over]
        return out

    def read_tile(
        self, file: BinaryIO, variable: PackedVariable, row: int, column: int
    ) -> Numbers:
        """Return the whole numbers (12, h, w) of a tile."""
        number = row * self.tile_counts[1] + column
        before = self.variables[: self.variables.index(variable)]
        start = self.start + sum(sum(other.sizes) for other in before)
        file.seek(start + sum(variable.sizes[:number]))
        try:
            return decode_tile(
                file.read(variable.sizes[number]), self.tile_shape(row, column), variable.axes
            )
        except (lzma.LZMAError, ValueError) as fault:
            raise damaged_climatology_error(self.path, fault) from fault


def decode_tile(data: bytes, shape: Sequence[int], axes: Sequence[int]) -> Numbers:
    """Return the whole numbers of a compressed tile."""
    count = prod(shape)
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, DECODER_BYTES)
    raw = decoder.decompress(data, max_length=2 * count + 1)
    if len(raw) != 2 * count or not decoder.eof:
        raise ValueError(f"a tile holds {len(raw)} bytes instead of {2 * count}")
    low, high = np.frombuffer(raw, np.uint8).reshape(2, count).astype(np.int32)
    folded = low | high << 8
    numbers = ((folded >> 1) ^ -(folded & 1)).reshape(shape)
    for axis in axes:
        numbers = numbers.cumsum(axis, dtype=np.int32)
    return numbers


def encode_tile(numbers: Numbers, axes: Sequence[int]) -> bytes:
    """Return the compressed tile of whole numbers, the inverse of `decode_tile`."""
    for axis in axes:
        numbers = np.diff(numbers, axis=axis, prepend=np.int32(0))
    folded = (numbers << 1) ^ (numbers >> 31)  # 0, -1, 1, -2 ... become 0, 1, 2, 3 ...
    if folded.max() > 0xFFFF:
        raise ValueError("differences exceed 16 bits")
    planes = np.stack([folded & 255, folded >> 8]).astype(np.uint8)
    return lzma.compress(
        planes.tobytes(), lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=[*LZMA_FILTERS]
    )


def read_packed_climatology(path: Path) -> PackedClimatology:
    """Return a packed climatology after a check of its header and of its length."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise ValueError("it does not begin as a packed climatology")
            length = int.from_bytes(file.read(4), "little")
            if length > min(MAX_HEADER_BYTES, size):
                raise ValueError(f"a header of {length} bytes")
            found = _parse_header(json.loads(file.read(length)), path, file.tell())
        _check_layout(found, size)
    except HEADER_FAULTS as fault:
        raise damaged_climatology_error(path, fault) from fault
    return found


def _parse_header(header: Any, path: Path, start: int) -> PackedClimatology:
    """Return the header as numbers and texts."""
    if header["format"] != FORMAT_VERSION:
        raise ValueError(f"format {header['format']!r}")
    variables = tuple(
        PackedVariable(
            str(each["name"]),
            _texts(each["attrs"]),
            str(each["transform"]),
            float(each["step"]),
            float(each["offset"]),
            tuple(map(int, each["axes"])),
            tuple(map(int, each["sizes"])),
        )
        for each in header["variables"]
    )
    (south, dlat, rows), (west, dlon, columns) = header["lat"], header["lon"]
    high, wide = map(int, header["tile"])
    return PackedClimatology(
        path,
        _texts(header["attrs"]),
        (float(south), float(dlat), int(rows)),
        (float(west), float(dlon), int(columns)),
        (high, wide),
        variables,
        start,
    )


def _texts(attrs: dict[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in attrs.items()}


def _check_layout(found: PackedClimatology, size: int) -> None:
    """Refuse axes, tiles and variables that do not fit together or into the file."""
    axes = (found.lat, found.lon)
    counts = all(2 <= count <= MAX_CELLS for _, _, count in axes)
    if not counts or not all(np.isfinite(first) and 0 < step < 90 for first, step, _ in axes):
        raise ValueError("a grid that cannot be")
    if min(found.tile) < 1 or prod(found.tile) > MAX_TILE_CELLS:
        raise ValueError("tiles of an impossible size")
    for each in found.variables:
        known = each.transform in INVERSES and set(each.axes) <= {0, 1, 2}
        finite = np.isfinite([each.step, each.offset]).all()
        if not known or not finite or len(each.sizes) != prod(found.tile_counts):
            raise ValueError(f"an impossible layout of {each.name}")
        if min(each.sizes) < 1:
            raise ValueError(f"an empty tile of {each.name}")
    whole = found.start + sum(sum(each.sizes) for each in found.variables)
    if whole != size:
        raise ValueError(f"{size} bytes instead of {whole}")


def damaged_climatology_error(path: Path, fault: Exception) -> DpdmError:
    """Return the error of a packed climatology that cannot be read."""
    return DpdmError(f"{path} is damaged: {fault}.", "Install dpdm again.")
