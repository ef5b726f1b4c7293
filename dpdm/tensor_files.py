"""Tensors in safetensors files, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dpdm.errors import DpdmError
from dpdm.publish import open_draft

MAX_HEADER_BYTES = 16_000_000  # bytes of a header at most
FLOAT_DTYPES = ("F64", "F32", "F16", "BF16")
SymbolicShape: TypeAlias = tuple[int | str, ...]
TensorShapes: TypeAlias = dict[str, SymbolicShape]
"""Shapes of tensors by their names; a letter stands for a length that is the same everywhere."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file, unread."""

    kind: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class SafetensorsHeader:
    """What the header of a safetensors file states."""

    metadata: dict[str, str]
    tensors: dict[str, StoredTensor]


def write_safetensors(
    tensors: dict[str, Tensor], path: Path, metadata: dict[str, str], overwrite: bool = True
) -> None:
    """Write a safetensors file, whole or not at all."""
    try:
        with open_draft(path, overwrite) as hidden:
            save_file(tensors, hidden, metadata=metadata)
            hidden.chmod(
                0o666 & ~current_umask()
            )  # safetensors makes files that only their owner reads
    except (OSError, SafetensorError) as error:
        what = f"{path} cannot be written: {error}."
        raise DpdmError(what, "Make room, check the folder, or write elsewhere.") from error


def current_umask() -> int:
    """Return the permissions that the user withholds from new files."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def read_safetensors_header(path: Path) -> SafetensorsHeader:
    """Return what a safetensors file holds, without reading the tensors."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
        if length > min(MAX_HEADER_BYTES, path.stat().st_size):
            raise ValueError(f"a header of {length} bytes")
        with safe_open(path, framework="pt") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            stored = {
                k: StoredTensor(s.get_dtype(), tuple(s.get_shape())) for k, s in slices.items()
            }
            return SafetensorsHeader(file.metadata() or {}, stored)
    except (SafetensorError, OSError, ValueError) as error:
        raise DpdmError(
            f"{path} is not a readable safetensors file ({error}).",
            "It may be truncated, or a pickle, which dpdm never loads: ask for the "
            ".safetensors file that dpdm train wrote.",
        ) from error


def check_tensors(
    found: Mapping[str, StoredTensor],
    wanted: TensorShapes,
    path: Path,
    lengths: dict[str, int] | None = None,
) -> None:
    """Refuse a file whose tensors are not those of the network that its header describes.

    Args:
        found: What the file holds.
        wanted: What it should hold.
        path: The file.
        lengths: Lengths for letters in the shapes, as far as they are known.
    """
    known = {} if lengths is None else dict(lengths)
    wrong = [f"it lacks {name}" for name in wanted if name not in found]
    wrong += [f"{name[:100]!r} is unknown" for name in found if name not in wanted]
    for name in wanted.keys() & found.keys():
        own, shape = found[name], wanted[name]
        if len(own.shape) == len(shape):
            pairs = zip(shape, own.shape, strict=True)
            shape = tuple(known.setdefault(n, s) if isinstance(n, str) else n for n, s in pairs)
        if own.shape != shape or 0 in shape or own.kind not in FLOAT_DTYPES:
            wrong.append(f"{name} has the shape {list(own.shape)} and the type {own.kind}")
    if wrong:
        raise DpdmError(
            f"The tensors in {path} do not fit the network it describes: {wrong[0]}.",
            "The file is damaged or was changed; fetch it again.",
        )


def read_prefixed_tensors(path: Path, prefix: str = "") -> dict[str, Tensor]:
    """Read the tensors whose names begin with a prefix, without it."""
    with safe_open(path, framework="pt") as file:
        names = [key for key in file.keys() if key.startswith(prefix)]  # noqa: SIM118
        return {name.removeprefix(prefix): file.get_tensor(name) for name in names}


def select_prefixed_tensors(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
