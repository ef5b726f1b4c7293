"""Write fields block by block, completely or not at all.

A `Writer` lays out the file as a draft, fills it one block at a time, and publishes it at the end.
After an error or an interrupt nothing is left. Only one block is in memory at a time.

The layout comes from a template: its lazy (dask) variables are filled by `write`, all others are
written at once.
"""

from __future__ import annotations

import errno
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import netCDF4
import numpy as np
import xarray as xr
from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK

from dpdm.errors import DpdmError
from dpdm.fields.levels import gather_levels
from dpdm.interrupt import check_interrupt
from dpdm.paths import check_output
from dpdm.publish import Draft, open_draft
from dpdm.system import HDF5_LOCK, check_free_disk

if TYPE_CHECKING:
    import zarr

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
    import zarr

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
            reason = getattr(fault, "strerror", None) or fault
            what, hint = f"{path} cannot be written: {reason}.", "Check the folder and its quota."
        raise DpdmError(what, hint) from fault
