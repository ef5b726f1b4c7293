"""One Zarr store for the whole series: a chunk a step and member, each written whole.

The time axis holds the steps of the series as far as they are known. It grows at its end; a step
whose values are not there yet holds the fill value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

from dpdm.errors import DpdmError
from dpdm.fields.levels import gathered
from dpdm.fields.write import Writer
from dpdm.publish import sync
from dpdm.reconstruct.products import Step, template, values
from dpdm.reconstruct.setting import Setting

NAME = "fine.zarr"
CHUNK = 1024  # steps of the axis, which grows


class Cube:
    """The store; each of its steps is a product.

    Args:
        setting: What is reconstructed.
        folder: Where to.
        made: What it is made from.
    """

    def __init__(self, setting: Setting, folder: Path, made: Mapping[str, str]) -> None:
        self.setting, self.store = setting, folder / NAME
        self.template = template(setting, setting.space, made)
        for name in ("time", "time_bnds"):
            if name in self.template.variables:
                pair = self.template[name].shape[1:]
                self.template[name].encoding["chunks"] = (CHUNK, *pair)

    def begin(self, kept: Mapping[str, str]) -> None:
        """Lay out the store, or give its time axis the steps that are new.

        Raises:
            DpdmError: When a step that it holds would stand elsewhere.
        """
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
        self.lengthen()

    def lengthen(self) -> None:
        """Make all arrays as long as the series; what was cut off in this is done again."""
        axis = self.template[[n for n in self.template.variables if self.dated(n)]]
        axis = axis.drop_vars([n for n in axis.data_vars if self.lazy(n)])
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

    def dated(self, name: object) -> bool:
        """Tell whether a variable goes along time."""
        return "time" in self.template[name].dims

    def lazy(self, name: object) -> bool:
        """Tell whether a variable is filled step by step."""
        return self.template[name].chunks is not None

    def filled(self) -> list[str]:
        """List the variables that are."""
        return [str(name) for name in self.template.data_vars if self.lazy(name)]

    def path(self, label: str) -> Path:
        """Return the store, which holds every step."""
        return self.store

    def product(self, label: str) -> str:
        """Return the name of a step in the store."""
        return f"{NAME}/{self.setting.series.step(label)}"

    def write(self, product: str, steps: Sequence[str], fresh: Mapping[str, Step]) -> str:
        """Write a step."""
        (label,) = steps
        at = self.setting.series.step(label)
        space = replace(self.setting.space, coarse=self.setting.space.coarse.isel(time=[at]))
        group = self.group()
        for block in values(space, 0, fresh[label](label)):
            for name in self.filled():
                if (array := gathered(block, self.template[name])) is not None:
                    self.put(group[name], at, array)
        for file in self.chunks(product):
            sync(file)
        return self.digest(product)

    def put(self, target: zarr.Array, at: int, array: xr.DataArray) -> None:
        """Write the values of a step, or of one of its members."""
        filled = np.where(np.isnan(array.values), target.fill_value, array.values)
        if "realization" in array.dims:
            target[at, int(array["realization"][0])] = filled.reshape(target.shape[2:])
        else:
            target[at] = filled.reshape(target.shape[1:])

    def chunks(self, product: str) -> list[Path]:
        """List the files of a step."""
        at = product.removeprefix(f"{NAME}/")
        names = sorted(self.filled())
        return [f for n in names for f in sorted((self.store / n).glob(f"{at}.*"), key=_places)]

    def digest(self, product: str) -> str:
        """Return the SHA-256 of a step's chunks."""
        digest = hashlib.sha256()
        for file in self.chunks(product):
            digest.update(f"{file.parent.name}/{file.name}\0".encode() + file.read_bytes())
        return digest.hexdigest()


def _places(file: Path) -> list[int]:
    return [int(n) for n in file.name.split(".")]
