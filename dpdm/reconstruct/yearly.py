"""A NetCDF file a year, written when the year is whole, and again when a month is added to it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import xarray as xr

from dpdm.fields.alone import HDF5
from dpdm.fields.store import sha256
from dpdm.fields.time import labels, year_of
from dpdm.fields.write import Writer
from dpdm.reconstruct.products import Step, template, values
from dpdm.reconstruct.setting import Setting, coarse_of


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
        return f"fine_{year_of(label)}.nc"

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
        space = replace(self.setting.space, coarse=coarse)
        old = opened(path) if set(steps) - fresh.keys() else nullcontext()
        with old as before, Writer(path, template(self.setting, space, self.made), True) as writer:
            for number, label in enumerate(sorted(steps)):
                if label in fresh:
                    parts = values(space, number, fresh[label](label))
                else:
                    parts = held(before, coarse["time"], number, label)
                for part in parts:
                    writer.write(part)
        return self.digest(product)


@contextmanager
def opened(path: Path) -> Iterator[xr.Dataset]:
    """Hold a product open, while another thread may read the input."""
    with HDF5, warnings.catch_warnings():
        warnings.simplefilter("ignore", xr.SerializationWarning)  # of remote years
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
