"""Open NetCDF and GRIB files and Zarr stores lazily, or report why they cannot be opened.

The NetCDF library reads zeros without a warning where a classic file (CDF-1, CDF-2, CDF-5) was
truncated. So the length of the file is computed from its header (NetCDF Users' Guide, "File Format
Specifications") and compared. HDF5 has checks of its own.

A damaged header may declare axes of 10^12 values, or chunks larger than the memory. Such a file is
refused before any of its values are read.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import netCDF4
import xarray as xr
from xarray.backends import NetCDF4DataStore

from dpdm.errors import DpdmError
from dpdm.fields.time_decoding import decode_times
from dpdm.paths import is_zarr
from dpdm.system import check_regular, check_required_memory, damaged_file_error, read_error

if TYPE_CHECKING:
    import zarr

_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}


@dataclass(frozen=True)
class _Extent:
    """The position of a variable: first byte, bytes of a slab, and whether slabs repeat."""

    begin: int
    slab: int
    repeats: bool


def expected_file_size(path: Path) -> int:
    """Return the length of a classic file according to its header, in bytes.

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
    stride = sum(_pad_to_word(e.slab) for e in repeating) if len(repeating) > 1 else 0
    stride = stride or sum(e.slab for e in repeating)
    ends = [e.begin + e.slab for e in extents if not e.repeats]
    ends += [e.begin + (records - 1) * stride + e.slab for e in repeating if records]
    return max([header, *ends])


def _pad_to_word(count: int) -> int:
    return -(-count // 4) * 4


class _Header:
    """Read a header in the order of its bytes."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        version = stream.read(4)[3]
        self._count = ">q" if version == 5 else ">i"
        self._offset = ">i" if version == 1 else ">q"

    def read(self) -> tuple[int, list[_Extent]]:
        """Return the number of records and the extent of each variable."""
        records = self._read_number(self._count)
        lengths = [self._read_dimension() for _ in range(self._read_list())]
        self._skip_attributes()
        return max(records, 0), [self._read_variable(lengths) for _ in range(self._read_list())]

    def _read_number(self, form: str) -> int:
        return int(struct.unpack(form, self._stream.read(struct.calcsize(form)))[0])

    def _read_list(self) -> int:
        self._read_number(">i")
        return self._read_number(self._count)

    def _skip(self, count: int) -> None:
        if len(self._stream.read(_pad_to_word(count))) < count:
            raise IndexError

    def _skip_name(self) -> None:
        self._skip(self._read_number(self._count))

    def _read_dimension(self) -> int:
        self._skip_name()
        return self._read_number(self._count)

    def _skip_attributes(self) -> None:
        for _ in range(self._read_list()):
            self._skip_name()
            size = _BYTES[self._read_number(">i")]
            self._skip(size * self._read_number(self._count))

    def _read_variable(self, lengths: list[int]) -> _Extent:
        self._skip_name()
        shape = [
            lengths[self._read_number(self._count)] for _ in range(self._read_number(self._count))
        ]
        self._skip_attributes()
        size = _BYTES[self._read_number(">i")]
        self._read_number(self._count)  # the slab in bytes, which overflows in large files
        begin = self._read_number(self._offset)
        repeats = bool(shape) and shape[0] == 0
        return _Extent(begin, size * prod(shape[repeats:]), repeats)


MAX_AXIS_LENGTH = (
    10_000_000  # steps or cells along an axis: each step is opened as a chunk of its own
)
DAMAGED_HEADER_HINT = "Its header may be damaged; otherwise cut the file first, with ncks -d."


@dataclass(frozen=True)
class VariableHeader:
    """The header of a variable.

    Attributes:
        name: The variable.
        dims: Its dimensions; unknown of some Zarr stores.
        shape: Their lengths.
        chunk: Number of values in a chunk.
        bytes: Size of a value.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    chunk: int
    bytes: int


def open_within_memory(path: Path, engine: str, **how: Any) -> xr.Dataset:
    """Open a NetCDF file or a Zarr store whose axes and chunks fit into memory."""
    if engine == "zarr":
        _check_memory(path, _zarr_headers(path))
        return xr.open_dataset(path, engine=engine, **how)
    # Once: the library confuses two handles of a file.
    store = NetCDF4DataStore.open(str(path))  # type: ignore[no-untyped-call]
    try:
        _check_memory(
            path, [_variable_header(name, each) for name, each in store.ds.variables.items()]
        )
        found = xr.open_dataset(store, engine="store", **how)
    except BaseException:
        store.close()
        raise
    found.encoding["source"] = str(path)
    return found


def _check_memory(path: Path, declared: Iterable[VariableHeader]) -> None:
    for each in declared:
        what = f"{each.name} of {path}"
        if each.dims == (each.name,):
            if each.shape[0] > MAX_AXIS_LENGTH:
                long = f"{what} has {each.shape[0]:,} values, more than {MAX_AXIS_LENGTH:,}."
                raise DpdmError(long, DAMAGED_HEADER_HINT)
            check_required_memory(each.bytes * each.shape[0], f"{what} takes", DAMAGED_HEADER_HINT)
        check_required_memory(
            each.bytes * each.chunk, f"A chunk of {what} takes", DAMAGED_HEADER_HINT, share=0.9
        )


def _variable_header(name: str, variable: Any) -> VariableHeader:
    chunks = variable.chunking()
    stored = prod(chunks) if isinstance(chunks, list) else 1
    size = getattr(variable.dtype, "itemsize", 1)
    return VariableHeader(name, variable.dimensions, variable.shape, stored, size)


def _zarr_headers(path: Path) -> Iterator[VariableHeader]:
    import zarr

    for name, array in zarr.open_group(str(path), mode="r").arrays():
        dims = array.metadata.dimension_names if array.metadata.zarr_format == 3 else None
        dims = dims or array.attrs.get("_ARRAY_DIMENSIONS") or ()
        size = getattr(array.dtype, "itemsize", 1)
        yield VariableHeader(name, tuple(map(str, dims)), array.shape, prod(array.chunks), size)


CLASSIC_SIGNATURES = (b"CDF\x01", b"CDF\x02", b"CDF\x05")
GRIB_PRESSURE_NAME = "isobaricInhPa"  # of GRIB, as cfgrib calls it
HDF5_SIGNATURE = b"\x89HDF"


def open_raw(path: Path) -> xr.Dataset:
    """Open a NetCDF or GRIB file or a Zarr store lazily, with its times decoded."""
    engine = detect_engine(path)
    try:
        with warnings.catch_warnings():
            # xarray copes with two fill values, and with a cell measure in another file.
            warnings.simplefilter("ignore")
            if engine == "cfgrib":
                return _open_grib(path)
            coded = {"decode_times": False, "decode_timedelta": False}
            return decode_times(open_within_memory(path, engine, decode_coords="all", **coded))
    except (DpdmError, MemoryError):
        raise
    except Exception as fault:  # each engine has kinds of its own
        raise damaged_file_error(path, fault) from fault


def detect_engine(path: Path) -> str:
    """Return the engine for a file, from its first bytes, not its name."""
    check_regular(path)
    if path.is_dir():
        return _detect_directory_engine(path)
    head = read_signature(path)
    if head in CLASSIC_SIGNATURES:
        _check_not_truncated(path)
    if head in (*CLASSIC_SIGNATURES, HDF5_SIGNATURE):
        return "netcdf4"
    if head.startswith(b"GRIB"):
        return _check_grib_engine(path)
    raise DpdmError(f"{path} is not NetCDF, Zarr or GRIB.", "Convert it to NetCDF.")


def _detect_directory_engine(path: Path) -> str:
    if is_zarr(path):
        return "zarr"
    raise DpdmError(f"{path} is a directory, but not a Zarr store.", "Name a file in it.")


def read_signature(path: Path) -> bytes:
    """Return the first four bytes of a file, which identify its format."""
    try:
        with path.open("rb") as stream:
            return stream.read(4)
    except OSError as fault:
        raise read_error(path, fault) from fault


def _check_not_truncated(path: Path) -> None:
    """Refuse a truncated classic file, which would be read as zeros."""
    try:
        size, full = path.stat().st_size, expected_file_size(path)
    except EOFError as fault:
        raise damaged_file_error(path, fault) from fault
    if size < full:
        raise damaged_file_error(path, EOFError(f"it has {size} of {full} bytes"))


def _check_grib_engine(path: Path) -> str:
    if find_spec("cfgrib") is None:
        raise DpdmError(f"{path} is GRIB, which needs cfgrib.", "Run: pip install cfgrib.")
    return "cfgrib"


def _open_grib(path: Path) -> xr.Dataset:
    """Open all messages of a GRIB file as one dataset."""
    # Other settings drop a truncated message without a warning, or leave an index file.
    settings = {"indexpath": "", "errors": "raise"}
    parts = import_module("cfgrib").open_datasets(path, backend_kwargs=settings)
    try:
        return xr.merge(
            [
                _expand_pressure_level(_without_height(part), number)
                for number, part in enumerate(parts)
            ],
            join="exact",
            compat="no_conflicts",
            combine_attrs="override",
        )
    except ValueError as fault:
        raise DpdmError(
            f"{path} holds fields of different times, steps or levels ({_list_variables(parts)}).",
            "Give each of them in a file of its own.",
        ) from fault


def _list_variables(parts: Iterable[xr.Dataset]) -> str:
    return "; ".join(dict.fromkeys(", ".join(map(str, part.data_vars)) for part in parts))


def _without_height(ds: xr.Dataset) -> xr.Dataset:
    """Drop scalar heights, but not the pressure level, which marks a field on levels."""
    needed = {"time", "valid_time", GRIB_PRESSURE_NAME}
    return ds.drop_vars([c for c in ds.coords if ds[c].ndim == 0 and c not in needed])


def _expand_pressure_level(ds: xr.Dataset, number: int) -> xr.Dataset:
    """Number the pressure axis, because other fields may lie on other levels."""
    if GRIB_PRESSURE_NAME not in ds.coords:
        return ds
    whole = ds if GRIB_PRESSURE_NAME in ds.dims else ds.expand_dims(GRIB_PRESSURE_NAME)
    return whole.rename({GRIB_PRESSURE_NAME: f"{GRIB_PRESSURE_NAME}_{number}"})


def list_groups(path: Path) -> dict[str, list[str]]:
    """Return the variables of two dimensions or more in each group below the root, by its path.

    A file of another format has none.
    """
    if path.is_dir():
        import zarr

        found = dict(_iterate_zarr_groups(zarr.open_group(path, mode="r")))
    else:
        try:
            with netCDF4.Dataset(path) as file:
                found = dict(_iterate_netcdf_groups(file))
        except OSError:
            return {}
    return {name.strip("/"): names for name, names in found.items() if names}


class GroupsError(DpdmError):
    """Report a file whose variables all lie in groups."""


def grouped_variables_error(path: Path, groups: Mapping[str, list[str]]) -> GroupsError:
    """Return the error for a file whose variables all lie in groups."""
    listing = "; ".join(f"{name} ({', '.join(names)})" for name, names in groups.items())
    first = next(iter(groups))
    hint = (
        f"Name the group, as in {path / first}."
        if path.is_dir()
        else f"Take one out: ncks -G : -g {first} IN.nc OUT.nc."
    )
    return GroupsError(f"{path} keeps its variables in groups: {listing}.", hint)


def _iterate_netcdf_groups(group: Any) -> Iterator[tuple[str, list[str]]]:
    for child in group.groups.values():
        yield child.path, [name for name, v in child.variables.items() if v.ndim > 1]
        yield from _iterate_netcdf_groups(child)


def _iterate_zarr_groups(group: zarr.Group) -> Iterator[tuple[str, list[str]]]:
    for _, child in sorted(group.groups()):
        yield child.path, sorted(name for name, array in child.arrays() if array.ndim > 1)
        yield from _iterate_zarr_groups(child)
