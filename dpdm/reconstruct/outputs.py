"""What users get: a NetCDF file a year, or one Zarr store, each part of it whole or absent.

A layout says which product a step belongs to, and writes a product from the steps that are drawn
and those that it holds already. Nothing in a product tells when or in which order it was drawn.

One Zarr store for the whole series: a chunk a step and member, each written whole.

The time axis holds the steps of the series as far as they are known. It grows at its end; a step
whose values are not there yet holds the fill value.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
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
from dpdm.reconstruct.setup import ReconstructionSetup, select_coarse_steps
from dpdm.states.ensemble import ensemble_provenance, finish_layout
from dpdm.states.fields import FieldSpace
from dpdm.system import HDF5_LOCK, sha256

MemberFields = Iterator[NDArray[np.float32]]
ReadMembers = Callable[[str], MemberFields]  # the members (C, H, W) of a step


class OutputLayout(Protocol):
    """How products lie in a folder."""

    def begin(self, kept: Mapping[str, str]) -> None:
        """Make ready for steps that are not kept; ``kept`` says where the others are."""

    def product(self, label: str) -> str:
        """Return the name of the product that a step belongs to."""

    def write(self, product: str, steps: Sequence[str], fresh: Mapping[str, ReadMembers]) -> str:
        """Write a product of some steps, of which some are fresh, and return its SHA-256."""

    def digest(self, product: str) -> str:
        """Return the SHA-256 of a product as it lies on the disk."""

    def path(self, label: str) -> Path:
        """Return the file or store that holds a step."""


def product_blocks(space: FieldSpace, step: int, members: MemberFields) -> Iterator[xr.Dataset]:
    """Yield what a step writes: its mean alone, or members and statistics."""
    yield from space.blocks(step, members)


def product_template(
    setting: ReconstructionSetup, space: FieldSpace, made: Mapping[str, str]
) -> xr.Dataset:
    """Return the layout of some steps, with title and provenance."""
    options = space.options
    what = "Fine fields" if options.members else "Mean of the infinite ensemble of fine fields"
    title = f"{what} reconstructed after {setting.path.name} with the prior {setting.prior.stem}"
    return finish_layout(space.template(), title, made, options.history)


def product_sources(
    setting: ReconstructionSetup, fingerprint: Mapping[str, object]
) -> dict[str, str]:
    """Return what products are made from."""
    draw = {k.removeprefix("draw."): v for k, v in fingerprint.items() if k.startswith("draw.")}
    seen = {
        k.replace("observations.", "observations_"): v
        for k, v in fingerprint.items()
        if k.startswith("observations.") and v not in ({}, "")
    }
    before = draw | seen | setting.space.notes | {"plan": setting.path.name}
    said = {
        "prior_sha256": fingerprint["prior_sha256"], "sampler": setting.space.sampler.sampler,
        "steps": setting.space.sampler.steps, "adjustment": setting.adjustment.describe(),
    }  # fmt: skip
    return ensemble_provenance(setting.prior, (), said, before)


def check_lost_steps(
    setting: ReconstructionSetup, kept: Mapping[str, str], products: set[str]
) -> None:
    """Refuse to rewrite a product with a step whose input is gone."""
    for label, product in kept.items():
        if product in products and label not in setting.series.labels:
            raise DpdmError(
                f"{product} holds {label}, of which there is no input any more.",
                "Put its file back, or name it in the plan, for the product is to be rewritten.",
            )


STORE_NAME = "fine.zarr"
TIME_CHUNK = 1024  # steps of the axis, which grows


class ZarrStore:
    """The store; each of its steps is a product.

    Args:
        setting: What is reconstructed.
        folder: Where to.
        made: What it is made from.
    """

    def __init__(
        self, setting: ReconstructionSetup, folder: Path, made: Mapping[str, str]
    ) -> None:
        self.setting, self.store = setting, folder / STORE_NAME
        self.template = product_template(setting, setting.space, made)
        for name in ("time", "time_bnds"):
            if name in self.template.variables:
                pair = self.template[name].shape[1:]
                self.template[name].encoding["chunks"] = (TIME_CHUNK, *pair)

    def begin(self, kept: Mapping[str, str]) -> None:
        """Lay out the store, or give its time axis the steps that are new."""
        for label, product in kept.items():
            if label not in self.setting.series.labels or self.product(label) != product:
                raise DpdmError(
                    f"{label} stands at {product}, and in the input it now stands elsewhere.",
                    "A store only grows at its end: put the input back, take layout = "
                    '"netcdf-yearly", or begin in another folder.',
                )
        if not self.store.exists():
            with Writer(self.store, self.template):
                pass
        self.extend_arrays()

    def extend_arrays(self) -> None:
        """Make all arrays as long as the series; what was cut off in this is done again."""
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
                chunk.unlink()  # what lies beyond the old end in it is anything
            group[str(name)][...] = variable.values
            units = {k: variable.attrs[k] for k in ("units", "calendar") if k in variable.attrs}
            group[str(name)].attrs.update(units)  # days, until a step needs hours
        spans = {k: v for k, v in self.template.attrs.items() if k.startswith("time_coverage")}
        group.attrs.update(spans)
        zarr.consolidate_metadata(group.store)

    def group(self) -> zarr.Group:
        """Return the store as it is, not as its summary says."""
        return zarr.open_group(self.store, mode="r+", zarr_format=2, use_consolidated=False)

    def has_time(self, name: object) -> bool:
        """Tell whether a variable goes along time."""
        return "time" in self.template[name].dims

    def is_stepwise(self, name: object) -> bool:
        """Tell whether a variable is filled step by step."""
        return self.template[name].chunks is not None

    def stepwise_variables(self) -> list[str]:
        """List the variables that are."""
        return [str(name) for name in self.template.data_vars if self.is_stepwise(name)]

    def path(self, label: str) -> Path:
        """Return the store, which holds every step."""
        return self.store

    def product(self, label: str) -> str:
        """Return the name of a step in the store."""
        return f"{STORE_NAME}/{self.setting.series.step(label)}"

    def write(self, product: str, steps: Sequence[str], fresh: Mapping[str, ReadMembers]) -> str:
        """Write a step."""
        (label,) = steps
        at = self.setting.series.step(label)
        space = replace(self.setting.space, coarse=self.setting.space.coarse.isel(time=[at]))
        group = self.group()
        for block in product_blocks(space, 0, fresh[label](label)):
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
        """List the files of a step."""
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
    """A NetCDF file a year.

    Args:
        setting: What is reconstructed.
        folder: Where to.
        made: What it is made from.
    """

    def __init__(
        self, setting: ReconstructionSetup, folder: Path, made: Mapping[str, str]
    ) -> None:
        self.setting, self.folder, self.made = setting, folder, made

    def begin(self, kept: Mapping[str, str]) -> None:
        """Do nothing: each file is laid out when it is written."""

    def product(self, label: str) -> str:
        """Return the name of a step's file."""
        return f"fine_{label_year(label)}.nc"

    def path(self, label: str) -> Path:
        """Return the file that holds a step."""
        return self.folder / self.product(label)

    def digest(self, product: str) -> str:
        """Return the SHA-256 of a file."""
        return sha256(self.folder / product)

    def write(self, product: str, steps: Sequence[str], fresh: Mapping[str, ReadMembers]) -> str:
        """Write the file of a year; steps that are not fresh are taken from the one there is."""
        path = self.folder / product
        coarse = select_coarse_steps(self.setting, list(steps))
        space = replace(self.setting.space, coarse=coarse)
        old = open_product(path) if set(steps) - fresh.keys() else nullcontext()
        with (
            old as before,
            Writer(path, product_template(self.setting, space, self.made), True) as writer,
        ):
            for number, label in enumerate(sorted(steps)):
                if label in fresh:
                    parts = product_blocks(space, number, fresh[label](label))
                else:
                    parts = stored_step_fields(before, coarse["time"], number, label)
                for part in parts:
                    writer.write(part)
        return self.digest(product)


@contextmanager
def open_product(path: Path) -> Iterator[xr.Dataset]:
    """Hold a product open, while another thread may read the input."""
    with HDF5_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore", xr.SerializationWarning)  # of remote years
        ds = xr.open_dataset(path)
    try:
        yield ds
    finally:
        with HDF5_LOCK:
            ds.close()


def stored_step_fields(
    before: xr.Dataset | None, time: xr.DataArray, number: int, label: str
) -> Iterator[xr.Dataset]:
    """Yield the fields of a step, one by one, as a product holds them."""
    assert before is not None
    names = [name[: len(label)] for name in time_labels(before)]
    step = before.isel(time=[names.index(label)]).assign_coords(time=time.values[[number]])
    step = step[[n for n in step.data_vars if {"time", "lat", "lon"} <= set(step[n].dims)]]
    for member in range(step.sizes.get("realization", 0)) or [0]:
        lone = [n for n in step if "realization" in step[n].dims]
        yield load_product_fields(step[lone].isel(realization=[member])) if lone else xr.Dataset()
    yield load_product_fields(step[[n for n in step if "realization" not in step[n].dims]])


def load_product_fields(ds: xr.Dataset) -> xr.Dataset:
    """Read fields of a product as they are."""
    with HDF5_LOCK:
        return ds.load()


def choose_layout(
    setting: ReconstructionSetup, folder: Path, made: Mapping[str, str]
) -> OutputLayout:
    """Return the layout of a reconstruction.

    Args:
        setting: What is reconstructed.
        folder: Where to.
        made: What it is made from.
    """
    kind = ZarrStore if setting.plan.output.layout == "zarr" else YearlyFiles
    return kind(setting, folder, made)
