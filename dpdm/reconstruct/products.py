"""What users get: a NetCDF file a year, or one Zarr store, each part of it whole or absent.

A layout says which product a step belongs to, and writes a product from the steps that are drawn
and those that it holds already. Nothing in a product tells when or in which order it was drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.ensemble import blocks, labelled, template_of
from dpdm.errors import DpdmError
from dpdm.fields.alone import HDF5
from dpdm.fields.cf import finish
from dpdm.fields.store import sha256
from dpdm.fields.write import Writer
from dpdm.reconstruct.setting import Setting, coarse_of
from dpdm.task import Task, labels

Members = Iterator[NDArray[np.float32]]
Step = Callable[[str], Members]  # the members (C, H, W) of a step


class Layout(Protocol):
    """How products lie in a folder."""

    def begin(self, kept: Mapping[str, str]) -> None:
        """Make ready for steps that are not kept; ``kept`` says where the others are."""

    def product(self, label: str) -> str:
        """Return the name of the product that a step belongs to."""

    def write(self, product: str, steps: Sequence[str], fresh: Mapping[str, Step]) -> str:
        """Write a product of some steps, of which some are fresh, and return its SHA-256."""

    def digest(self, product: str) -> str:
        """Return the SHA-256 of a product as it lies on the disk."""

    def path(self, label: str) -> Path:
        """Return the file or store that holds a step."""


def values(task: Task, step: int, members: Members) -> Iterator[xr.Dataset]:
    """Yield what a step writes: its mean alone, or members and statistics."""
    if task.wish.members:
        yield from blocks(task, step, members)
    else:
        yield labelled(task, next(iter(members)), step)


def template(setting: Setting, task: Task, made: Mapping[str, str]) -> xr.Dataset:
    """Return the layout of some steps, with title and provenance."""
    what = "Fine fields" if task.wish.members else "Mean of the infinite ensemble of fine fields"
    title = f"{what} reconstructed after {setting.path.name} with the prior {setting.prior.stem}"
    return finish(template_of(task), title, made, task.wish.history)


class Yearly:
    """A NetCDF file a year.

    Args:
        setting: What is reconstructed.
        folder: Where to.
        made: What it is made from.
    """

    def __init__(self, setting: Setting, folder: Path, made: Mapping[str, str]) -> None:
        self.setting, self.folder, self.made = setting, folder, made

    def begin(self, kept: Mapping[str, str]) -> None:
        """Do nothing: each file is laid out when it is written."""

    def product(self, label: str) -> str:
        """Return the name of a step's file."""
        return f"fine_{label[:4]}.nc"

    def path(self, label: str) -> Path:
        """Return the file that holds a step."""
        return self.folder / self.product(label)

    def digest(self, product: str) -> str:
        """Return the SHA-256 of a file."""
        return sha256(self.folder / product)

    def write(self, product: str, steps: Sequence[str], fresh: Mapping[str, Step]) -> str:
        """Write the file of a year; steps that are not fresh are taken from the one there is."""
        path = self.folder / product
        coarse = coarse_of(self.setting, list(steps))
        task = replace(self.setting.task, coarse=coarse)
        old = opened(path) if set(steps) - fresh.keys() else nullcontext()
        with old as before, Writer(path, template(self.setting, task, self.made), True) as writer:
            for number, label in enumerate(sorted(steps)):
                if label in fresh:
                    parts = values(task, number, fresh[label](label))
                else:
                    parts = held(before, coarse["time"], number, label)
                for part in parts:
                    writer.write(part)
        return self.digest(product)


@contextmanager
def opened(path: Path) -> Iterator[xr.Dataset]:
    """Hold a product open, while another thread may read the input."""
    with HDF5:
        ds = xr.open_dataset(path)
    try:
        yield ds
    finally:
        with HDF5:
            ds.close()


def held(
    before: xr.Dataset | None, time: xr.DataArray, number: int, label: str
) -> Iterator[xr.Dataset]:
    """Yield the fields of a step, one by one, as a product holds them."""
    assert before is not None
    names = [name[: len(label)] for name in labels(before)]
    step = before.isel(time=[names.index(label)]).assign_coords(time=time.values[[number]])
    step = step[[n for n in step.data_vars if {"time", "lat", "lon"} <= set(step[n].dims)]]
    for member in range(step.sizes.get("realization", 0)) or [0]:
        lone = [n for n in step if "realization" in step[n].dims]
        yield loaded(step[lone].isel(realization=[member])) if lone else xr.Dataset()
    yield loaded(step[[n for n in step if "realization" not in step[n].dims]])


def loaded(ds: xr.Dataset) -> xr.Dataset:
    """Read fields of a product as they are."""
    with HDF5:
        return ds.load()


def layout_of(setting: Setting, folder: Path, made: Mapping[str, str]) -> Layout:
    """Return the layout that a plan names."""
    if setting.plan.output.layout == "zarr":
        from dpdm.reconstruct.cube import Cube

        return Cube(setting, folder, made)
    return Yearly(setting, folder, made)


def provenance(setting: Setting, fingerprint: Mapping[str, object]) -> dict[str, str]:
    """Return what products are made from."""
    draw = {k.removeprefix("draw."): v for k, v in fingerprint.items() if k.startswith("draw.")}
    seen = {
        k.replace("observations.", "observations_"): v
        for k, v in fingerprint.items()
        if k.startswith("observations.") and v not in ({}, "")
    }
    made = draw | seen | {
        "plan": setting.path.name, "prior": setting.prior.stem,
        "prior_sha256": fingerprint["prior_sha256"], "sampler": setting.task.how.sampler,
        "steps": setting.task.how.steps, "adjustment": setting.adjusted.words(),
    }  # fmt: skip
    return {key: str(value) for key, value in made.items()}


def refuse_lost(setting: Setting, kept: Mapping[str, str], products: set[str]) -> None:
    """Refuse to rewrite a product with a step whose input is gone.

    Raises:
        DpdmError: When there is one.
    """
    for label, product in kept.items():
        if product in products and label not in setting.series.labels:
            raise DpdmError(
                f"{product} holds {label}, of which there is no input any more.",
                "Put its file back, or name it in the plan, for the product is to be rewritten.",
            )
