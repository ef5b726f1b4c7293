"""Output of a reconstruction: a NetCDF file a year, or one Zarr store, written atomically.

A layout assigns steps to output files, and writes an output file from new steps and from those
that it already holds. The output does not depend on the order in which steps are drawn.

The Zarr store has a chunk for each step and member. Its time axis holds all steps of the series
and grows at its end; a step that is not written yet holds fill values.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.levels import gather_levels
from dpdm.fields.time import label_year, time_labels
from dpdm.fields.write import Writer
from dpdm.publish import sync_to_disk
from dpdm.reconstruct.series import CoarseSeries
from dpdm.states.ensemble import finish_layout
from dpdm.states.fields import FieldSpace
from dpdm.states.sampling import step_blocks
from dpdm.system import HDF5_LOCK, sha256

MemberFields = Iterator[NDArray[np.float32]]
ReadMembers = Callable[[str], MemberFields]  # the members (C, H, W) of a step


class OutputLayout(Protocol):
    """The layout of output files in a folder."""

    def begin(self, written: Mapping[str, str]) -> None:
        """Prepare for new steps; ``written`` is the output file of each written step."""

    def product(self, label: str) -> str:
        """Return the name of the output file of a step."""

    def write(self, product: str, steps: Sequence[str], new: Mapping[str, ReadMembers]) -> str:
        """Write an output file of some steps, read the new ones, and return its SHA-256."""

    def digest(self, product: str) -> str:
        """Return the SHA-256 of an output file on disk."""

    def path(self, label: str) -> Path:
        """Return the file or store that holds a step."""


@dataclass(frozen=True)
class OutputSource:
    """The series and the space that output files are written from, with title and provenance."""

    series: CoarseSeries
    space: FieldSpace
    title: str
    provenance: Mapping[str, str]

    def template(self, space: FieldSpace) -> xr.Dataset:
        """Return the layout of the steps of a space, with title and provenance."""
        history = self.space.options.history
        return finish_layout(space.template(), self.title, self.provenance, history)


STORE_NAME = "fine.zarr"
TIME_CHUNK = 1024  # steps a chunk of the time axis, which grows


class ZarrStore:
    """One Zarr store; each of its steps counts as an output file."""

    def __init__(self, source: OutputSource, folder: Path) -> None:
        self.source, self.store = source, folder / STORE_NAME
        self.template = source.template(source.space)
        for name in ("time", "time_bnds"):
            if name in self.template.variables:
                inner = self.template[name].shape[1:]
                self.template[name].encoding["chunks"] = (TIME_CHUNK, *inner)

    def begin(self, written: Mapping[str, str]) -> None:
        """Create the store, or extend its time axis by the new steps."""
        for label, product in written.items():
            if label not in self.source.series.labels or self.product(label) != product:
                raise DpdmError(
                    f"{label} is at {product}, and at another position in the input.",
                    "A store only grows at its end: restore the input, use layout = "
                    '"netcdf-yearly", or use another folder.',
                )
        if not self.store.exists():
            with Writer(self.store, self.template):
                pass
        self.extend_arrays()

    def extend_arrays(self) -> None:
        """Extend all arrays to the length of the series; this can be interrupted and repeated."""
        axis = self.template[[n for n in self.template.variables if self.has_time(n)]]
        axis = axis.drop_vars([n for n in axis.data_vars if self.is_stepwise(n)])
        encoded = xr.conventions.cf_encoder(dict(axis.variables), {})[0]
        group = self.group()
        if all(np.array_equal(group[str(n)][...], v.values) for n, v in encoded.items()):
            return
        for name in [n for n, v in self.template.variables.items() if "time" in v.dims]:
            group[str(name)].resize(self.template[name].shape)
        for name, variable in encoded.items():
            for chunk in (self.store / str(name)).glob("[0-9]*"):
                chunk.unlink()  # values beyond the old end are undefined
            group[str(name)][...] = variable.values
            units = {k: variable.attrs[k] for k in ("units", "calendar") if k in variable.attrs}
            group[str(name)].attrs.update(units)  # such as days, until a step needs hours
        spans = {k: v for k, v in self.template.attrs.items() if k.startswith("time_coverage")}
        group.attrs.update(spans)
        zarr.consolidate_metadata(group.store)

    def group(self) -> zarr.Group:
        """Return the store without its consolidated metadata."""
        return zarr.open_group(self.store, mode="r+", zarr_format=2, use_consolidated=False)

    def has_time(self, name: object) -> bool:
        """Return whether a variable has a time axis."""
        return "time" in self.template[name].dims

    def is_stepwise(self, name: object) -> bool:
        """Return whether a variable is written step by step."""
        return self.template[name].chunks is not None

    def stepwise_variables(self) -> list[str]:
        """Return the variables that are written step by step."""
        return [str(name) for name in self.template.data_vars if self.is_stepwise(name)]

    def path(self, label: str) -> Path:
        """Return the store, which holds every step."""
        return self.store

    def product(self, label: str) -> str:
        """Return the name of a step in the store."""
        return f"{STORE_NAME}/{self.source.series.step(label)}"

    def write(self, product: str, steps: Sequence[str], new: Mapping[str, ReadMembers]) -> str:
        """Write a step."""
        (label,) = steps
        at = self.source.series.step(label)
        space = replace(self.source.space, coarse=self.source.space.coarse.isel(time=[at]))
        group = self.group()
        for block in step_blocks(space, 0, new[label](label)):
            for name in self.stepwise_variables():
                if (array := gather_levels(block, self.template[name])) is not None:
                    self.write_values(group[name], at, array)
        for file in self.chunks(product):
            sync_to_disk(file)
        return self.digest(product)

    def write_values(self, target: zarr.Array, at: int, array: xr.DataArray) -> None:
        """Write the values of a step, or of one of its members."""
        filled = np.where(np.isnan(array.values), target.fill_value, array.values)
        if "realization" in array.dims:
            target[at, int(array["realization"][0])] = filled.reshape(target.shape[2:])
        else:
            target[at] = filled.reshape(target.shape[1:])

    def chunks(self, product: str) -> list[Path]:
        """Return the files of a step."""
        at = product.removeprefix(f"{STORE_NAME}/")
        names = sorted(self.stepwise_variables())
        return [
            f for n in names for f in sorted((self.store / n).glob(f"{at}.*"), key=_chunk_index)
        ]

    def digest(self, product: str) -> str:
        """Return the SHA-256 of a step's chunks."""
        digest = hashlib.sha256()
        for file in self.chunks(product):
            digest.update(f"{file.parent.name}/{file.name}\0".encode() + file.read_bytes())
        return digest.hexdigest()


def _chunk_index(file: Path) -> list[int]:
    return [int(n) for n in file.name.split(".")]


class YearlyFiles:
    """A NetCDF file a year."""

    def __init__(self, source: OutputSource, folder: Path) -> None:
        self.source, self.folder = source, folder

    def begin(self, written: Mapping[str, str]) -> None:
        """Do nothing: each file is created when it is written."""

    def product(self, label: str) -> str:
        """Return the name of a step's file."""
        return f"fine_{label_year(label)}.nc"

    def path(self, label: str) -> Path:
        """Return the file that holds a step."""
        return self.folder / self.product(label)

    def digest(self, product: str) -> str:
        """Return the SHA-256 of a file."""
        return sha256(self.folder / product)

    def write(self, product: str, steps: Sequence[str], new: Mapping[str, ReadMembers]) -> str:
        """Write the file of a year; other than new steps are copied from the existing file."""
        path = self.folder / product
        coarse = self.source.series.select(steps)
        space = replace(self.source.space, coarse=coarse)
        previous = open_product(path) if set(steps) - new.keys() else nullcontext()
        with previous as old, Writer(path, self.source.template(space), True) as writer:
            for number, label in enumerate(sorted(steps)):
                if label in new:
                    blocks = step_blocks(space, number, new[label](label))
                else:
                    blocks = stored_step_fields(old, coarse["time"], number, label)
                for block in blocks:
                    writer.write(block)
        return self.digest(product)


@contextmanager
def open_product(path: Path) -> Iterator[xr.Dataset]:
    """Open an output file, while another thread may read the input."""
    with HDF5_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore", xr.SerializationWarning)  # of years far from the present
        ds = xr.open_dataset(path)
    try:
        yield ds
    finally:
        with HDF5_LOCK:
            ds.close()


def stored_step_fields(
    output: xr.Dataset | None, time: xr.DataArray, number: int, label: str
) -> Iterator[xr.Dataset]:
    """Yield the fields of a step of an output file, one by one."""
    assert output is not None
    names = [name[: len(label)] for name in time_labels(output)]
    step = output.isel(time=[names.index(label)]).assign_coords(time=time.values[[number]])
    step = step[[n for n in step.data_vars if {"time", "lat", "lon"} <= set(step[n].dims)]]
    for member in range(step.sizes.get("realization", 0)) or [0]:
        arrays = [n for n in step if "realization" in step[n].dims]
        yield (
            load_product_fields(step[arrays].isel(realization=[member]))
            if arrays
            else xr.Dataset()
        )
    yield load_product_fields(step[[n for n in step if "realization" not in step[n].dims]])


def load_product_fields(ds: xr.Dataset) -> xr.Dataset:
    """Load fields of an output file."""
    with HDF5_LOCK:
        return ds.load()


OUTPUT_LAYOUTS: dict[str, Callable[[OutputSource, Path], OutputLayout]] = {
    "zarr": ZarrStore,
    "netcdf-yearly": YearlyFiles,
}
