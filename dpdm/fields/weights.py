"""Tensors in safetensors files, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dpdm.errors import DpdmError


def save_whole(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file, whole or not at all.

    Raises:
        DpdmError: When the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(tensors, temporary, metadata=metadata)
        temporary.chmod(0o666 & ~umask())  # safetensors makes files that only their owner reads
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        what = f"{path} cannot be written: {error}."
        raise DpdmError(what, "Make room, check the folder, or write elsewhere.") from error
    finally:
        temporary.unlink(missing_ok=True)


def umask() -> int:
    """Return the permissions that the user withholds from new files."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def tensors_of(path: Path, prefix: str = "") -> dict[str, Tensor]:
    """Read the tensors whose names begin with a prefix, without it."""
    with safe_open(path, framework="pt") as file:
        names = [key for key in file.keys() if key.startswith(prefix)]  # noqa: SIM118
        return {name.removeprefix(prefix): file.get_tensor(name) for name in names}


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
