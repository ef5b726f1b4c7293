"""One Zarr store for the whole series: a chunk a step and member, each written whole.

The time axis holds the steps of the series as far as they are known. It grows at its end; a step
whose values are not there yet holds the fill value.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

from dpdm.errors import DpdmError
from dpdm.fields.write import Writer
from dpdm.reconstruct.products import Step, template, values
from dpdm.reconstruct.setting import Setting
from dpdm.task import labels

NAME = "fine.zarr"


class Cube:
    """The store; each of its steps is a product.

    Args:
        setting: What is reconstructed.
        folder: Where to.
        made: What it is made from.
    """

    def __init__(self, setting: Setting, folder: Path, made: Mapping[str, str]) -> None:
        self.setting, self.store = setting, folder / NAME
        self.template = template(setting, setting.task, made)
        if not self.store.exists():
            with Writer(self.store, self.template):
                pass
        self.grow()

    def grow(self) -> None:
        """Give the time axis the steps of the series.

        Raises:
            DpdmError: When they do not begin with those that are there.
        """
        with xr.open_zarr(self.store, chunks=None) as there:
            before, after = labels(there), labels(self.setting.task.coarse)
        if before != after[: len(before)]:
            strange = next(a for a, b in zip(after, before, strict=False) if a != b)
            raise DpdmError(
                f"{strange} would lie between the steps that {self.store} holds.",
                'A store only grows at its end: take layout = "netcdf-yearly", or begin anew.',
            )
        if len(after) > len(before):
            self.lengthen()

    def lengthen(self) -> None:
        """Make all arrays as long as the series; values come before the axis that shows them."""
        now = self.template.drop_vars([str(n) for n in self.template.data_vars if self.lazy(n)])
        group = zarr.open_group(self.store, mode="r+", zarr_format=2)
        for name, array in self.template.variables.items():
            if "time" in array.dims:
                group[str(name)].resize(array.shape)
        axis = now[[n for n in now.variables if "time" in now[n].dims]].drop_attrs(deep=False)
        for variable in axis.variables.values():
            variable.encoding = {}
        axis.to_zarr(self.store, mode="r+", region={"time": slice(None)}, zarr_format=2)
        zarr.consolidate_metadata(group.store)

    def lazy(self, name: object) -> bool:
        """Tell whether a variable is filled step by step."""
        return self.template[name].chunks is not None

    def path(self, label: str) -> Path:
        """Return the store, which holds every step."""
        return self.store

    def product(self, label: str) -> str:
        """Return the name of a step in the store."""
        return f"{NAME}/{label}"

    def write(self, product: str, steps: Sequence[str], fresh: Mapping[str, Step]) -> str:
        """Write a step."""
        (label,) = steps
        at = self.setting.series.step(label)
        task = replace(self.setting.task, coarse=self.setting.task.coarse.isel(time=[at]))
        group = zarr.open_group(self.store, mode="r+", zarr_format=2)
        for block in values(task, 0, fresh[label](label)):
            for name, array in block.data_vars.items():
                self.put(group[str(name)], at, array)
        os.sync()
        return self.digest(product)

    def put(self, target: zarr.Array, at: int, array: xr.DataArray) -> None:
        """Write the values of a step, or of one of its members."""
        filled = np.where(np.isnan(array.values), target.fill_value, array.values)
        if "realization" in array.dims:
            target[at, int(array["realization"][0])] = filled.reshape(filled.shape[-2:])
        else:
            target[at] = filled.reshape(filled.shape[-2:])

    def digest(self, product: str) -> str:
        """Return the SHA-256 of a step's chunks."""
        at = self.setting.series.step(product.removeprefix(f"{NAME}/"))
        digest = hashlib.sha256()
        for name in sorted(str(n) for n in self.template.data_vars if self.lazy(n)):
            for file in sorted((self.store / name).glob(f"{at}.*"), key=_places):
                digest.update(f"{name}/{file.name.split('.', 1)[1]}\0".encode())
                digest.update(file.read_bytes())
        return digest.hexdigest()


def _places(file: Path) -> list[int]:
    return [int(n) for n in file.name.split(".")]
