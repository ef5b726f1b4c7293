"""Units on disk until the product that they belong to is written: hidden, exact, checked.

A part holds the members of a unit as they were drawn, in single precision. Its digest, which the
ledger keeps, is that of the values, not of the file, so that a unit drawn again elsewhere can be
compared without the file.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from dpdm.errors import DpdmError
from dpdm.fields.weights import save_whole
from dpdm.reconstruct.units import Unit


@dataclass(frozen=True)
class Drawn:
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
class Parts:
    """The folder of the parts."""

    folder: Path

    def path(self, unit: Unit) -> Path:
        """Return the file of a unit."""
        return self.folder / f"{unit.name}.safetensors"

    def put(self, unit: Unit, drawn: Drawn) -> None:
        """Keep a unit, whole or not at all."""
        self.folder.mkdir(exist_ok=True)
        arrays = {"fields": drawn.fields, "prior": drawn.prior, "analysis": drawn.analysis}
        tensors = {k: torch.from_numpy(v) for k, v in arrays.items() if v is not None}
        save_whole(tensors, self.path(unit), {"status": json.dumps(drawn.status)})

    def get(self, unit: Unit, digest: str) -> Drawn | None:
        """Return a unit, or nothing where it is absent or not what was drawn."""
        try:
            with safe_open(self.path(unit), framework="np") as file:
                arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                status = tuple(json.loads(file.metadata()["status"]))
            drawn = Drawn(**arrays, status=status)
        except (OSError, SafetensorError, ValueError, TypeError, KeyError):
            return None
        return drawn if drawn.digest == digest else None

    def sure(self, unit: Unit, digest: str) -> Drawn:
        """Return a unit that must be there.

        Raises:
            DpdmError: When it is not.
        """
        drawn = self.get(unit, digest)
        if drawn is None:
            raise DpdmError(
                f"{self.path(unit)} is damaged or gone.",
                "Run the same command again: the unit is drawn anew.",
            )
        return drawn

    def drop(self, unit: Unit) -> None:
        """Remove a unit's file."""
        self.path(unit).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the folder if nothing is left in it."""
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            os.rmdir(self.folder)
