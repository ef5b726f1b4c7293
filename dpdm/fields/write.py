"""Write fields block by block, and all or nothing.

A `Writer` lays out the whole file under a hidden name beside the target, fills it one block at a
time, and renames it onto the target when all went well. After a fault, Ctrl-C too, nothing is
left. No more than one block is ever in memory.

The layout comes from a template: its lazy (dask) variables are left empty, to be filled by
`write`; all else in it is written at once.
"""

import errno
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from shlex import quote
from types import TracebackType
from typing import Any, Self

import netCDF4
import numpy as np
import xarray as xr
import zarr
from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK

from dpdm.errors import DpdmError
from dpdm.fields.alone import HDF5
from dpdm.fields.levels import gathered
from dpdm.fields.source import is_zarr
from dpdm.interrupt import uninterrupted
from dpdm.memory import check_disk

NETCDF = (".nc", ".nc4")
SUFFIXES = (*NETCDF, ".zarr")
_STORED = ("dtype", "units", "calendar", "_FillValue", "scale_factor", "add_offset", "chunks")


def check_output(
    path: Path,
    inputs: Sequence[Path] = (),
    overwrite: bool = False,
    suffixes: Sequence[str] = SUFFIXES,
) -> None:
    """Refuse an output that could not be written, before anything is computed.

    Raises:
        DpdmError: The suffix is unknown, the folder is missing or read-only, the file is one of
            the inputs, or it exists and `overwrite` is not given.
    """
    if path.suffix not in suffixes:
        raise DpdmError(f"{path} ends in '{path.suffix}'.", f"End it in {', '.join(suffixes)}.")
    _check_folder(path)
    for other in inputs:
        if path.exists() and other.exists() and path.samefile(other):
            raise DpdmError(f"{path} is an input too.", "Write to another file.")
    if path.exists():
        _check_replaceable(path, overwrite)


def _check_folder(path: Path) -> None:
    folder = path.resolve().parent
    if not folder.is_dir():
        raise DpdmError(
            f"The folder of {path} does not exist.", f"Run: mkdir -p {quote(str(folder))}."
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DpdmError(f"The folder {folder} is not writable.", "Write elsewhere.")


def _check_replaceable(path: Path, overwrite: bool) -> None:
    """Refuse to replace what the user did not offer, and any folder that is no Zarr store."""
    if not overwrite:
        raise DpdmError(f"{path} exists.", "Say --overwrite to replace it.")
    if path.is_dir() and not (path.suffix == ".zarr" and is_zarr(path)):
        raise DpdmError(f"{path} is a directory.", "It is not replaced; choose another name.")
    if path.suffix == ".zarr" and path.is_file():
        raise DpdmError(f"{path} is a file, not a store.", "Remove it or choose another name.")


class Writer:
    """Fill a NetCDF file or a Zarr store block by block, and keep it only when whole.

    Args:
        path: The target; its suffix decides the format.
        template: The layout, as `finish` gives it, with lazy variables to be filled.
        overwrite: Whether an existing target is replaced.
    """

    def __init__(self, path: Path, template: xr.Dataset, overwrite: bool = False) -> None:
        check_output(path, overwrite=overwrite)
        check_disk(template.nbytes, path)
        self.path = path
        self._template = template
        self._target = path.resolve()
        name = f".{path.stem}.{os.getpid()}.tmp{path.suffix}"
        self._hidden = self._target.with_name(name)
        self._filled: dict[str, Any] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Lay out the file under its hidden name."""
        lay_out = _zarr if self.path.suffix == ".zarr" else _netcdf
        try:
            with _saying(self.path), HDF5, uninterrupted():  # xarray holds a lock meanwhile
                self._filled = lay_out(self._template, self._hidden, self._open)
        except BaseException:
            self._give_up()
            raise
        return self

    def write(self, block: xr.Dataset) -> None:
        """Put values where their coordinates say.

        Args:
            block: Any contiguous part of the template, with some or all of its lazy variables; a
                dimension of one may be a scalar coordinate instead, and levels may be split.
        """
        for name, target in self._filled.items():
            if (array := gathered(block, self._template[name])) is not None:
                place, values = _placed(self._template[name], array)
                self._put(target, place, values)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Rename the whole file onto the target, or leave nothing."""
        if kind is not None:
            return self._give_up()
        try:
            with _saying(self.path):
                self._close()
                _publish(self._hidden, self._target)
        finally:
            self._discard()

    def _close(self) -> None:
        with HDF5, NETCDF4_PYTHON_LOCK:
            self._open.close()

    def _give_up(self) -> None:
        """Remove what was begun; a file that was cut short may not even close."""
        with suppress(Exception):
            self._close()
        self._discard()

    def _put(self, target: Any, place: tuple[slice, ...], values: np.ndarray) -> None:
        with _saying(self.path), HDF5, NETCDF4_PYTHON_LOCK:
            target[place] = values

    def _discard(self) -> None:
        """Remove what is left under the hidden name."""
        discard(self._hidden)


def discard(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_file():
        path.unlink()
    for pause in (0, 0.1, 0.4) if path.is_dir() else ():
        time.sleep(pause)  # after a fault, Zarr's threads write on for a moment
        shutil.rmtree(path, ignore_errors=True)


def _placed(like: xr.DataArray, block: xr.DataArray) -> tuple[tuple[slice, ...], np.ndarray]:
    """Find where a block lies in its variable, by its coordinates.

    Raises:
        ValueError: It lies outside, or is not contiguous.
    """
    for dim in like.dims:
        if dim not in block.dims and dim in block.coords:
            block = block.expand_dims(dim)
    block = block.transpose(*like.dims)
    place = tuple(_span(like, block, str(dim)) for dim in like.dims)
    fill = like.encoding.get("_FillValue", np.nan)
    return place, np.where(np.isnan(block.values), fill, block.values)


def _span(like: xr.DataArray, block: xr.DataArray, dim: str) -> slice:
    if dim not in like.indexes:
        return slice(None)
    where = like.get_index(dim).get_indexer(block.get_index(dim))
    if where[0] < 0 or not np.array_equal(where, np.arange(where[0], where[0] + where.size)):
        raise ValueError(f"the block's {dim} is no contiguous part of the template's")
    return slice(int(where[0]), int(where[0]) + where.size)


def _split(template: xr.Dataset) -> tuple[xr.Dataset, list[str]]:
    """Part what is written at once from the names of what is filled later."""
    lazy = [str(name) for name, array in template.data_vars.items() if array.chunks is not None]
    now = template.drop_vars(lazy)
    for variable in now.variables.values():
        variable.encoding = {k: v for k, v in variable.encoding.items() if k in _STORED}
    return now, lazy


def _netcdf(template: xr.Dataset, path: Path, stack: ExitStack) -> dict[str, Any]:
    now, lazy = _split(template)
    now.to_netcdf(path, engine="netcdf4")
    file = stack.enter_context(netCDF4.Dataset(path, "a"))
    file.set_auto_mask(False)
    for dim in template.sizes.keys() - file.dimensions.keys():
        file.createDimension(str(dim), template.sizes[dim])
    return {name: _netcdf_variable(file, template[name]) for name in lazy}


def _netcdf_variable(file: netCDF4.Dataset, array: xr.DataArray) -> Any:
    keys = ("zlib", "complevel", "shuffle", "chunksizes")
    stored = {key: array.encoding[key] for key in keys if key in array.encoding}
    kind = np.dtype(array.encoding.get("dtype", array.dtype))
    fill = array.encoding.get("_FillValue", np.nan)
    dims = [str(dim) for dim in array.dims]
    made = file.createVariable(str(array.name), kind, dims, fill_value=fill, **stored)
    made.setncatts(array.attrs)
    return made


def _zarr(template: xr.Dataset, path: Path, stack: ExitStack) -> dict[str, Any]:
    now, lazy = _split(template)
    now.to_zarr(path, mode="w", zarr_format=2, consolidated=False)
    group = zarr.open_group(path, mode="a", zarr_format=2)
    stack.callback(zarr.consolidate_metadata, group.store)
    return {name: _zarr_array(group, template[name]) for name in lazy}


def _zarr_array(group: zarr.Group, array: xr.DataArray) -> Any:
    return group.create_array(
        str(array.name),
        shape=array.shape,
        chunks=array.encoding.get("chunksizes", array.shape),
        dtype=np.dtype(array.encoding.get("dtype", array.dtype)),
        fill_value=array.encoding.get("_FillValue", np.nan),
        attributes={**array.attrs, "_ARRAY_DIMENSIONS": [str(dim) for dim in array.dims]},
    )


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all.

    Raises:
        DpdmError: The disk is full or the folder cannot be written.
    """
    hidden = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with _saying(path):
            hidden.write_text(text, encoding="utf-8")
            _publish(hidden, path)
    finally:
        hidden.unlink(missing_ok=True)


def _publish(hidden: Path, target: Path) -> None:
    """Make the file durable, then put it in the target's place in one step."""
    if hidden.is_dir():
        os.sync()
        _swap(hidden, target)
    else:
        sync(hidden)
        os.replace(hidden, target)
    sync(target.parent)


def _swap(hidden: Path, target: Path) -> None:
    """Put a directory in another's place: the old one steps aside until the new one is in."""
    aside = hidden.with_suffix(".old")
    try:
        if target.exists():
            os.rename(target, aside)
        os.rename(hidden, target)
    except BaseException:
        if aside.exists() and not target.exists():
            os.rename(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk itself."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _saying(path: Path) -> Iterator[None]:
    """Say a system's fault as a sentence."""
    try:
        yield
    except (OSError, RuntimeError) as fault:
        full = getattr(fault, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        disk = shutil.disk_usage(path.resolve().parent)
        if full or (disk.total > 0 and disk.free < 1 << 20):  # HDF5 says no more than "HDF error"
            what, hint = f"The disk is full: {path} was not written.", "Make room."
        else:
            what, hint = f"{path} cannot be written: {fault}.", "Check the folder and its quota."
        raise DpdmError(what, hint) from fault
