"""Draw a unit: a pure function of the prior, and of the step that is sent along.

A `Drawer` is what every worker holds, once. The `Work` that it is sent is small: the coarse fields
of one step, its observations, and the numbers of the members.

Units on disk until the product that they belong to is written: hidden, exact, checked.

A part holds the members of a unit as they were drawn, in single precision. Its digest, which the
ledger keeps, is that of the values, not of the file, so that a unit drawn again elsewhere can be
compared without the file.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from dpdm.assimilate import stated_coarse_error
from dpdm.assimilate.analysis import Analysis
from dpdm.assimilate.background import CoarseError
from dpdm.errors import DpdmError
from dpdm.reconstruct.ledger import WorkUnit
from dpdm.states.fields import FieldSpace
from dpdm.states.request import AssimilationOptions
from dpdm.tensor_files import write_safetensors


@dataclass(frozen=True)
class UnitResult:
    """What a unit gave.

    Attributes:
        fields: Members (B, C, H, W), single precision, NaN where nothing is known.
        prior: Quantiles of the prior at the step's observations (N, Q), or nothing.
        analysis: The members' values there (N, B), or nothing.
        status: What became of each observation, or nothing.
    """

    fields: NDArray[np.float32]
    prior: NDArray[np.float64] | None = None
    analysis: NDArray[np.float64] | None = None
    status: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Give the SHA-256 of the values."""
        digest = hashlib.sha256(json.dumps([self.fields.shape, self.status]).encode())
        for array in (self.fields, self.prior, self.analysis):
            digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class UnitFiles:
    """The folder of the parts."""

    folder: Path

    def path(self, unit: WorkUnit) -> Path:
        """Return the file of a unit."""
        return self.folder / f"{unit.name}.safetensors"

    def put(self, unit: WorkUnit, drawn: UnitResult) -> None:
        """Keep a unit, whole or not at all."""
        self.folder.mkdir(exist_ok=True)
        arrays = {"fields": drawn.fields, "prior": drawn.prior, "analysis": drawn.analysis}
        tensors = {k: torch.from_numpy(v) for k, v in arrays.items() if v is not None}
        write_safetensors(tensors, self.path(unit), {"status": json.dumps(drawn.status)})

    def get(self, unit: WorkUnit, digest: str) -> UnitResult | None:
        """Return a unit, or nothing where it is absent or not what was drawn."""
        try:
            with safe_open(self.path(unit), framework="np") as file:
                arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                status = tuple(json.loads(file.metadata()["status"]))
            drawn = UnitResult(**arrays, status=status)
        except (OSError, SafetensorError, ValueError, TypeError, KeyError):
            return None
        return drawn if drawn.digest == digest else None

    def require(self, unit: WorkUnit, digest: str) -> UnitResult:
        """Return a unit that must be there."""
        drawn = self.get(unit, digest)
        if drawn is None:
            raise DpdmError(
                f"{self.path(unit)} is damaged or gone.",
                "Run the same command again: the unit is drawn anew.",
            )
        return drawn

    def drop(self, unit: WorkUnit) -> None:
        """Remove a unit's file."""
        self.path(unit).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the folder if nothing is left in it."""
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            os.rmdir(self.folder)


@dataclass(frozen=True)
class UnitInput:
    """A unit with all that its worker lacks.

    Attributes:
        unit: Which step and members.
        coarse: The canonical coarse fields of the step, adjusted, in memory.
        rows: The observations of the step, if observations are assimilated.
    """

    unit: WorkUnit
    coarse: xr.Dataset
    rows: pd.DataFrame | None = None


@dataclass(frozen=True)
class UnitSampler:
    """What draws units.

    Attributes:
        space: The prior, the grid and how to sample; the coarse fields come with the work.
        said: How observations pull, if there are any.
        coarse_error: The law of the coarse field's error, if it is stated.
    """

    space: FieldSpace
    said: AssimilationOptions | None = None
    coarse_error: CoarseError | None = None

    def __call__(self, work: UnitInput) -> UnitResult:
        """Draw a unit."""
        space = replace(self.space, coarse=work.coarse)
        numbers = list(work.unit.numbers)
        if self.said is None or work.rows is None:
            drawn = [m.astype(np.float32) for m in space.members(0, numbers)]
            return UnitResult(np.stack(drawn))
        analysis = Analysis(space, work.rows, self.said.reject, self.coarse_error)
        drawn = [m.astype(np.float32) for m in analysis.members(0, numbers)]
        noted = np.ascontiguousarray(analysis.analysis[:, numbers])
        status = tuple(analysis.table["status"])
        return UnitResult(np.stack(drawn), analysis.prior, noted, status)


def build_unit_sampler(space: FieldSpace, said: AssimilationOptions | None) -> UnitSampler:
    """Return what draws the units of a space; of its series it keeps the first step, unread."""
    error = None if said is None else stated_coarse_error(space, said)
    return UnitSampler(replace(space, coarse=space.coarse.isel(time=[0])), said, error)
