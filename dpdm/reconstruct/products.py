"""What users get: a NetCDF file a year, or one Zarr store, each part of it whole or absent.

A layout says which product a step belongs to, and writes a product from the steps that are drawn
and those that it holds already. Nothing in a product tells when or in which order it was drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.ensemble import finish_layout, provenance
from dpdm.errors import DpdmError
from dpdm.reconstruct.setting import Setting
from dpdm.states.fields import FieldSpace

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


def values(space: FieldSpace, step: int, members: Members) -> Iterator[xr.Dataset]:
    """Yield what a step writes: its mean alone, or members and statistics."""
    yield from space.blocks(step, members)


def template(setting: Setting, space: FieldSpace, made: Mapping[str, str]) -> xr.Dataset:
    """Return the layout of some steps, with title and provenance."""
    options = space.options
    what = "Fine fields" if options.members else "Mean of the infinite ensemble of fine fields"
    title = f"{what} reconstructed after {setting.path.name} with the prior {setting.prior.stem}"
    return finish_layout(space.template(), title, made, options.history)


def made_from(setting: Setting, fingerprint: Mapping[str, object]) -> dict[str, str]:
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
        "steps": setting.space.sampler.steps, "adjustment": setting.adjusted.words(),
    }  # fmt: skip
    return provenance(setting.prior, (), said, before)


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
