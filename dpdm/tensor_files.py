"""Tensors in safetensors files, written atomically."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from safetensors import SafetensorError, safe_open

from dpdm.errors import DpdmError
from dpdm.publish import open_draft

if TYPE_CHECKING:
    from torch import Tensor

MAX_HEADER_BYTES = 16_000_000
FLOAT_DTYPES = ("F64", "F32", "F16", "BF16")
SymbolicShape: TypeAlias = tuple[int | str, ...]
TensorShapes: TypeAlias = dict[str, SymbolicShape]
"""Shapes of tensors by name; a letter is a length that is the same in all shapes."""


@dataclass(frozen=True)
class StoredTensor:
    """Type and shape of a tensor in a file."""

    kind: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class SafetensorsHeader:
    """The header of a safetensors file."""

    metadata: dict[str, str]
    tensors: dict[str, StoredTensor]


def write_safetensors(
    tensors: dict[str, Tensor], path: Path, metadata: dict[str, str], overwrite: bool = True
) -> None:
    """Write a safetensors file atomically, with the permissions of other new files."""
    from safetensors.torch import save_file

    try:
        with open_draft(path, overwrite) as draft:
            save_file(tensors, draft, metadata=metadata)
            draft.chmod(0o666 & ~current_umask())
    except (OSError, SafetensorError) as error:
        what = f"{path} cannot be written: {error}."
        raise DpdmError(what, "Free disk space, check the folder, or write elsewhere.") from error


def current_umask() -> int:
    """Return the umask of the process."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def read_safetensors_header(path: Path) -> SafetensorsHeader:
    """Read the header of a safetensors file, without its tensors."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
        if length > min(MAX_HEADER_BYTES, path.stat().st_size):
            raise ValueError(f"a header of {length} bytes")
        with safe_open(path, framework="np") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            stored = {
                k: StoredTensor(s.get_dtype(), tuple(s.get_shape())) for k, s in slices.items()
            }
            return SafetensorsHeader(file.metadata() or {}, stored)
    except (SafetensorError, OSError, ValueError) as error:
        raise DpdmError(
            f"{path} is not a readable safetensors file ({error}).",
            "It may be truncated, or a pickle, which dpdm never loads: use a .safetensors file "
            "of dpdm train.",
        ) from error


def check_tensors(
    found: Mapping[str, StoredTensor],
    wanted: TensorShapes,
    path: Path,
    lengths: dict[str, int] | None = None,
) -> None:
    """Refuse a file whose tensors do not match the network of its header.

    Args:
        found: The tensors of the file.
        wanted: The required shapes.
        path: The file.
        lengths: Known lengths for letters in the shapes.
    """
    known = {} if lengths is None else dict(lengths)
    wrong = [f"it lacks {name}" for name in wanted if name not in found]
    wrong += [f"{name[:100]!r} is unknown" for name in found if name not in wanted]
    for name in wanted.keys() & found.keys():
        stored, shape = found[name], wanted[name]
        if len(stored.shape) == len(shape):
            pairs = zip(shape, stored.shape, strict=True)
            shape = tuple(known.setdefault(n, s) if isinstance(n, str) else n for n, s in pairs)
        if stored.shape != shape or 0 in shape or stored.kind not in FLOAT_DTYPES:
            wrong.append(f"{name} has the shape {list(stored.shape)} and the type {stored.kind}")
    if wrong:
        raise DpdmError(
            f"The tensors in {path} do not fit the network it describes: {wrong[0]}.",
            "The file is damaged or was changed; download it again.",
        )


def read_prefixed_tensors(path: Path, prefix: str = "") -> dict[str, Tensor]:
    """Read the tensors whose names begin with a prefix, without it."""
    with safe_open(path, framework="pt") as file:
        names = [key for key in file.keys() if key.startswith(prefix)]  # noqa: SIM118
        return {name.removeprefix(prefix): file.get_tensor(name) for name in names}


def select_prefixed_tensors(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def read_prefixed_arrays(path: Path, prefix: str) -> dict[str, np.ndarray]:
    """Read tensors as `read_prefixed_tensors` does, as arrays; torch is imported for bfloat16."""
    try:
        with safe_open(path, framework="np") as file:
            names = [key for key in file.keys() if key.startswith(prefix)]  # noqa: SIM118
            return {name.removeprefix(prefix): file.get_tensor(name) for name in names}
    except TypeError:  # numpy has no bfloat16
        found = read_prefixed_tensors(path, prefix)
        return {name: tensor.float().numpy() for name, tensor in found.items()}
