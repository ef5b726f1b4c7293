"""Units of work: some members of one step, and their files until the output file is written.

The file of a unit holds its members as they were drawn, in single precision. The digest in the
ledger is that of the values, not of the file, so a unit drawn again elsewhere can be compared.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from dpdm.errors import DpdmError
from dpdm.reconstruct.work_units import WorkUnit
from dpdm.tensor_files import write_safetensors


@dataclass(frozen=True)
class UnitInput:
    """A unit with its input.

    Attributes:
        unit: The unit.
        coarse: The canonical coarse fields of the step, adjusted, in memory.
        rows: The observations of the step, if observations are assimilated.
    """

    unit: WorkUnit
    coarse: xr.Dataset
    rows: pd.DataFrame | None = None


@dataclass(frozen=True)
class UnitResult:
    """The values of a unit.

    Attributes:
        fields: Members (B, C, H, W), single precision, NaN where the input is missing.
        prior: Prior equivalents of the step's observations (N, Q), or None.
        analysis: Analysis equivalents (N, B), or None.
        status: Status of each observation.
    """

    fields: NDArray[np.float32]
    prior: NDArray[np.float64] | None = None
    analysis: NDArray[np.float64] | None = None
    status: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the values."""
        digest = hashlib.sha256(json.dumps([self.fields.shape, self.status]).encode())
        for array in (self.fields, self.prior, self.analysis):
            digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class UnitOutcome:
    """The outcome of drawing a unit.

    Attributes:
        work: The unit with its input.
        result: Its values, or the error.
        seconds: Time that it took.
    """

    work: UnitInput
    result: UnitResult | Exception
    seconds: float

    @property
    def unit(self) -> WorkUnit:
        """Return the unit."""
        return self.work.unit


@dataclass(frozen=True)
class UnitFiles:
    """The files of units in a folder."""

    folder: Path

    def path(self, unit: WorkUnit) -> Path:
        """Return the file of a unit."""
        return self.folder / f"{unit.name}.safetensors"

    def put(self, unit: WorkUnit, result: UnitResult) -> None:
        """Write a unit atomically."""
        self.folder.mkdir(exist_ok=True)
        arrays = {"fields": result.fields, "prior": result.prior, "analysis": result.analysis}
        tensors = {k: torch.from_numpy(v) for k, v in arrays.items() if v is not None}
        write_safetensors(tensors, self.path(unit), {"status": json.dumps(result.status)})

    def get(self, unit: WorkUnit, digest: str) -> UnitResult | None:
        """Return a unit, None if its file is missing or not what was drawn."""
        try:
            with safe_open(self.path(unit), framework="np") as file:
                arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                status = tuple(json.loads(file.metadata()["status"]))
            result = UnitResult(**arrays, status=status)
        except (OSError, SafetensorError, ValueError, TypeError, KeyError):
            return None
        return result if result.digest == digest else None

    def require(self, unit: WorkUnit, digest: str) -> UnitResult:
        """Return a unit, and refuse a missing or damaged file."""
        result = self.get(unit, digest)
        if result is None:
            raise DpdmError(
                f"{self.path(unit)} is damaged or missing.",
                "Run the same command again, which draws it again.",
            )
        return result

    def drop(self, unit: WorkUnit) -> None:
        """Remove a unit's file."""
        self.path(unit).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the folder if it is empty."""
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            os.rmdir(self.folder)


class UnitDrawer(Protocol):
    """A function that draws units, and can be sent to another process."""

    def __call__(self, work: UnitInput) -> UnitResult:
        """Draw a unit."""

    def use_device(self, worker: int | None, threads: int) -> None:
        """Set threads and device of a worker process; numbered workers share the GPUs in turn."""
