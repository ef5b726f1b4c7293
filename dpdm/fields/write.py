"""Write fields block by block, completely or not at all.

A `Writer` lays out the file as a draft, fills it one block at a time, and publishes it at the end.
After an error or an interrupt nothing is left. Only one block is in memory at a time.

The layout comes from a template: its lazy (dask) variables are filled by `write`, all others are
written at once.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields, is_dataclass
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
from dpdm.fields.formats import is_zarr
from dpdm.fields.levels import gather_levels
from dpdm.interrupt import check_interrupt
from dpdm.publish import Draft, open_draft, remove_stale_drafts
from dpdm.system import HDF5_LOCK, check_free_disk

NETCDF_SUFFIXES = (".nc", ".nc4")
OUTPUT_SUFFIXES = (*NETCDF_SUFFIXES, ".zarr")
INPUT_ATTRS = ("dpdm_input", "dpdm_exported")  # names of the files that an output was made from
CLOSE_TIMEOUT = 2.0  # seconds that a file which is given up may take to close
_ENCODING_KEYS = (
    "dtype",
    "units",
    "calendar",
    "_FillValue",
    "scale_factor",
    "add_offset",
    "chunks",
)


def check_output(
    path: Path,
    inputs: object = (),
    overwrite: bool = False,
    suffixes: Sequence[str] = OUTPUT_SUFFIXES,
) -> None:
    """Refuse an output that cannot be written, before anything is computed.

    Args:
        path: The output.
        inputs: All inputs, in any form that `iterate_paths` accepts.
        overwrite: Whether an existing output is replaced.
        suffixes: The allowed suffixes.
    """
    if path.suffix not in suffixes:
        raise DpdmError(f"{path} ends in '{path.suffix}'.", f"End it in {', '.join(suffixes)}.")
    _check_folder(path)
    remove_stale_drafts(path)
    check_distinct_paths(path, inputs)
    if path.exists():
        _check_replaceable(path, overwrite)
    elif path.is_symlink():
        raise DpdmError(
            f"{path} is a link to {path.readlink()}, which does not exist.",
            "Remove the link, or write to another file.",
        )


def check_distinct_paths(path: Path, inputs: object) -> None:
    """Refuse an output that is an input, holds one, or lies in one."""
    whole = path.resolve()
    for other in iterate_paths(inputs):
        read = other.resolve()
        if whole == read or (path.exists() and other.exists() and path.samefile(other)):
            raise DpdmError(f"{path} is an input too.", "Write to another file.")
        if whole in read.parents:
            raise DpdmError(f"{path} holds the input {other}.", "Write to another place.")
        if read in whole.parents and is_zarr(read):
            raise DpdmError(f"{path} lies in the input {other}.", "Write to another place.")


def iterate_paths(inputs: object) -> Iterator[Path]:
    """Yield the paths in a path, a sequence, the values of a mapping, or a dataclass.

    Example:
        >>> [p.name for p in iterate_paths([Path("a.nc"), None, {"also": Path("b.nc")}])]
        ['a.nc', 'b.nc']
    """
    if isinstance(inputs, Path):
        yield inputs
        return
    parts: Iterable[object] = ()
    if is_dataclass(inputs):
        parts = (getattr(inputs, each.name) for each in fields(inputs))
    elif isinstance(inputs, Mapping):
        parts = inputs.values()
    elif isinstance(inputs, list | tuple):
        parts = inputs
    for part in parts:
        yield from iterate_paths(part)


def _check_folder(path: Path) -> None:
    folder = path.resolve().parent
    if not folder.is_dir():
        raise DpdmError(
            f"The folder of {path} does not exist.", f"Run: mkdir -p {quote(str(folder))}."
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DpdmError(f"The folder {folder} is not writable.", "Write elsewhere.")


def _check_replaceable(path: Path, overwrite: bool) -> None:
    """Refuse to replace an output without permission, and any folder but a Zarr store."""
    if not (path.is_file() or path.is_dir()):
        raise DpdmError(f"{path} is a device or a pipe.", "Write to a file.")
    if not overwrite:
        raise DpdmError(f"{path} exists.", "Use --overwrite to replace it.")
    if path.is_dir() and not (path.suffix == ".zarr" and is_zarr(path)):
        raise DpdmError(f"{path} is a directory.", "It is not replaced; choose another name.")
    if path.suffix == ".zarr" and path.is_file():
        raise DpdmError(f"{path} is a file, not a store.", "Remove it or choose another name.")


def read_provenance(path: Path) -> set[str] | None:
    """Return the names of the files that an output of dpdm was made from, None for other files."""
    try:
        with xr.open_dataset(path, decode_times=False) as ds:
            attrs = dict(ds.attrs)
    except (OSError, ValueError, RuntimeError):
        return None
    if not str(attrs.get("source", "")).startswith("dpdm "):
        return None
    return {name for key in INPUT_ATTRS for name in str(attrs.get(key, "")).split()}


class Writer:
    """Fill a NetCDF file or a Zarr store block by block, and publish it when complete.

    Args:
        path: The target; its suffix decides the format.
        template: The layout, from `add_cf_metadata`, with lazy variables to be filled.
        overwrite: Whether an existing target is replaced.
    """

    def __init__(self, path: Path, template: xr.Dataset, overwrite: bool = False) -> None:
        check_output(path, overwrite=overwrite)
        check_free_disk(template.nbytes, path)
        self.path = path
        self._template = template
        self._draft = Draft(path, overwrite)
        self._filled: dict[str, Any] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Lay out the file as a draft."""
        lay_out = _create_zarr if self.path.suffix == ".zarr" else _create_netcdf
        try:
            with _translate_write_errors(self.path), HDF5_LOCK:
                self._filled = lay_out(self._template, self._draft.begin(), self._open)
        except BaseException:
            self._discard_draft()
            raise
        return self

    def write(self, block: xr.Dataset) -> None:
        """Write values at the positions of their coordinates.

        Args:
            block: Any contiguous part of the template, with some or all of its lazy variables; a
                dimension of one may be a scalar coordinate instead, and levels may be split.

        Raises:
            Interrupted: A signal has come.
        """
        for name, target in self._filled.items():
            if (array := gather_levels(block, self._template[name])) is not None:
                place, values = _locate_block(self._template[name], array)
                check_interrupt()
                self._write_values(target, place, values)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Publish the complete file, or discard it."""
        if kind is not None:
            return self._discard_draft()
        try:
            with _translate_write_errors(self.path):
                self._close()
                self._draft.publish()
        finally:
            self._draft.discard()

    def _close(self) -> None:
        with HDF5_LOCK, NETCDF4_PYTHON_LOCK:
            self._open.close()

    def _discard_draft(self) -> None:
        """Discard the draft, without waiting long for a file that cannot be closed.

        An exception elsewhere may have left a lock behind.
        """
        closing = threading.Thread(target=self._close_quietly, daemon=True)
        closing.start()
        closing.join(CLOSE_TIMEOUT)
        self._draft.discard()

    def _close_quietly(self) -> None:
        with suppress(Exception):
            self._close()

    def _write_values(self, target: Any, place: tuple[slice, ...], values: np.ndarray) -> None:
        with _translate_write_errors(self.path), HDF5_LOCK, NETCDF4_PYTHON_LOCK:
            target[place] = values


def _locate_block(like: xr.DataArray, block: xr.DataArray) -> tuple[tuple[slice, ...], np.ndarray]:
    """Find where a block lies in its variable, by its coordinates.

    Raises:
        ValueError: It lies outside, or is not contiguous.
    """
    for dim in like.dims:
        if dim not in block.dims and dim in block.coords:
            block = block.expand_dims(dim)
    block = block.transpose(*like.dims)
    place = tuple(_locate_slice(like, block, str(dim)) for dim in like.dims)
    fill = like.encoding.get("_FillValue", np.nan)
    return place, np.where(np.isnan(block.values), fill, block.values)


def _locate_slice(like: xr.DataArray, block: xr.DataArray, dim: str) -> slice:
    if dim not in like.indexes:
        return slice(None)
    where = like.get_index(dim).get_indexer(block.get_index(dim))
    if where[0] < 0 or not np.array_equal(where, np.arange(where[0], where[0] + where.size)):
        raise ValueError(f"the block's {dim} is no contiguous part of the template's")
    return slice(int(where[0]), int(where[0]) + where.size)


def _separate_lazy_variables(template: xr.Dataset) -> tuple[xr.Dataset, list[str]]:
    """Return the variables that are written at once, and the names of the lazy ones."""
    lazy = [str(name) for name, array in template.data_vars.items() if array.chunks is not None]
    now = template.drop_vars(lazy)
    for variable in now.variables.values():
        variable.encoding = {k: v for k, v in variable.encoding.items() if k in _ENCODING_KEYS}
    return now, lazy


def _create_netcdf(template: xr.Dataset, path: Path, stack: ExitStack) -> dict[str, Any]:
    now, lazy = _separate_lazy_variables(template)
    now.to_netcdf(path, engine="netcdf4")
    file = stack.enter_context(netCDF4.Dataset(path, "a"))
    file.set_auto_mask(False)
    for dim in template.sizes.keys() - file.dimensions.keys():
        file.createDimension(str(dim), template.sizes[dim])
    return {name: _create_netcdf_variable(file, template[name]) for name in lazy}


def _create_netcdf_variable(file: netCDF4.Dataset, array: xr.DataArray) -> Any:
    keys = ("zlib", "complevel", "shuffle", "chunksizes")
    stored = {key: array.encoding[key] for key in keys if key in array.encoding}
    kind = np.dtype(array.encoding.get("dtype", array.dtype))
    fill = array.encoding.get("_FillValue", np.nan)
    dims = [str(dim) for dim in array.dims]
    variable = file.createVariable(str(array.name), kind, dims, fill_value=fill, **stored)
    variable.setncatts(array.attrs)
    return variable


def _create_zarr(template: xr.Dataset, path: Path, stack: ExitStack) -> dict[str, Any]:
    now, lazy = _separate_lazy_variables(template)
    now.to_zarr(path, mode="w", zarr_format=2, consolidated=False)
    group = zarr.open_group(path, mode="a", zarr_format=2)
    stack.callback(zarr.consolidate_metadata, group.store)
    return {name: _create_zarr_array(group, template[name]) for name in lazy}


def _create_zarr_array(group: zarr.Group, array: xr.DataArray) -> Any:
    return group.create_array(
        str(array.name),
        shape=array.shape,
        chunks=array.encoding.get("chunksizes", array.shape),
        dtype=np.dtype(array.encoding.get("dtype", array.dtype)),
        fill_value=array.encoding.get("_FillValue", np.nan),
        attributes={**array.attrs, "_ARRAY_DIMENSIONS": [str(dim) for dim in array.dims]},
    )


def write_text(path: Path, text: str, overwrite: bool = False) -> None:
    """Write a text file, completely or not at all."""
    with _translate_write_errors(path), open_draft(path, overwrite) as hidden:
        hidden.write_text(text, encoding="utf-8")


@contextmanager
def _translate_write_errors(path: Path) -> Iterator[None]:
    """Report errors of the system as a DpdmError."""
    try:
        yield
    except (OSError, RuntimeError) as fault:
        full = getattr(fault, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        disk = shutil.disk_usage(path.resolve().parent)
        if full or (disk.total > 0 and disk.free < 1 << 20):  # HDF5 reports only "HDF error"
            what, hint = f"The disk is full: {path} was not written.", "Make room."
        else:
            what, hint = f"{path} cannot be written: {fault}.", "Check the folder and its quota."
        raise DpdmError(what, hint) from fault
