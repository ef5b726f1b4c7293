"""Open what is on disk, whatever its format, or say in a sentence why it cannot be opened."""

import warnings
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.classic import full_size
from dpdm.fields.declared import opened
from dpdm.fields.epochs import decoded
from dpdm.readable import check_regular, unreadable

ZARR = (".zgroup", ".zmetadata", "zarr.json")
CLASSIC = (b"CDF\x01", b"CDF\x02", b"CDF\x05")
PRESSURE = "isobaricInhPa"  # of GRIB, as cfgrib calls it
HDF5 = b"\x89HDF"
HEADER = "Check the types of its variables and attributes."


def open_raw(path: Path) -> xr.Dataset:
    """Open a NetCDF or GRIB file or a Zarr store as it is, lazily, with its times as dates."""
    engine = engine_of(path)
    try:
        with warnings.catch_warnings():
            # What xarray mends by itself: two fill values, a cell measure kept in another file.
            warnings.simplefilter("ignore")
            if engine == "cfgrib":
                return _open_grib(path)
            coded = {"decode_times": False, "decode_timedelta": False}
            return decoded(opened(path, engine, decode_coords="all", **coded))
    except (DpdmError, MemoryError):
        raise
    except Exception as fault:  # each engine has kinds of its own
        raise broken(path, fault) from fault


def engine_of(path: Path) -> str:
    """Tell the format from the first bytes, not from the name."""
    check_regular(path)
    if path.is_dir():
        return _directory(path)
    head = head_of(path)
    if head in CLASSIC:
        _check_whole(path)
    if head in (*CLASSIC, HDF5):
        return "netcdf4"
    if head.startswith(b"GRIB"):
        return _grib(path)
    raise DpdmError(f"{path} is not NetCDF, Zarr or GRIB.", "Convert it to NetCDF.")


def is_zarr(path: Path) -> bool:
    """Tell whether a directory is a Zarr store."""
    return any((path / name).is_file() for name in ZARR)


def _directory(path: Path) -> str:
    if is_zarr(path):
        return "zarr"
    raise DpdmError(f"{path} is a directory that is no Zarr store.", "Name a file in it.")


def head_of(path: Path) -> bytes:
    """Return the first four bytes of a file, which tell its format."""
    try:
        with path.open("rb") as stream:
            return stream.read(4)
    except OSError as fault:
        raise unreadable(path, fault) from fault


def _check_whole(path: Path) -> None:
    """Refuse a classic file that was cut off, for it would be read as zeros."""
    try:
        size, full = path.stat().st_size, full_size(path)
    except EOFError as fault:
        raise broken(path, fault) from fault
    if size < full:
        raise broken(path, EOFError(f"it has {size} of {full} bytes"))


def _grib(path: Path) -> str:
    if find_spec("cfgrib") is None:
        raise DpdmError(f"{path} is GRIB, which needs cfgrib.", "Run: pip install cfgrib.")
    return "cfgrib"


def _open_grib(path: Path) -> xr.Dataset:
    """Open a GRIB file whole: every message read, 2 m and 10 m fields side by side."""
    # Other settings drop a truncated message without a word, or leave an index file behind.
    settings = {"indexpath": "", "errors": "raise"}
    parts = import_module("cfgrib").open_datasets(path, backend_kwargs=settings)
    try:
        return xr.merge(
            [_levelled(_without_height(part), number) for number, part in enumerate(parts)],
            join="exact",
            compat="no_conflicts",
            combine_attrs="override",
        )
    except ValueError as fault:
        raise DpdmError(
            f"{path} holds fields of different times, steps or levels ({_names(parts)}).",
            "Give each of them in a file of its own.",
        ) from fault


def _names(parts: Iterable[xr.Dataset]) -> str:
    return "; ".join(dict.fromkeys(", ".join(map(str, part.data_vars)) for part in parts))


def _without_height(ds: xr.Dataset) -> xr.Dataset:
    """Drop the one height of each field; the one pressure level tells it from a surface field."""
    kept = {"time", "valid_time", PRESSURE}
    return ds.drop_vars([c for c in ds.coords if ds[c].ndim == 0 and c not in kept])


def _levelled(ds: xr.Dataset, number: int) -> xr.Dataset:
    """Give pressure levels an axis of their own, for other fields may lie on others."""
    if PRESSURE not in ds.coords:
        return ds
    whole = ds if PRESSURE in ds.dims else ds.expand_dims(PRESSURE)
    return whole.rename({PRESSURE: f"{PRESSURE}_{number}"})


def broken(path: Path | str, fault: Exception) -> DpdmError:
    """Blame a damaged file for what a library threw."""
    damaged = isinstance(fault, OSError | RuntimeError | EOFError)
    hint = "It may be truncated; fetch it again." if damaged else HEADER
    return DpdmError(f"{path} cannot be read ({_first_line(fault)}).", hint)


def _first_line(fault: Exception) -> str:
    return str(fault).splitlines()[0] if str(fault) else type(fault).__name__
