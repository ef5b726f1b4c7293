"""Check the paths of inputs and outputs, before anything is read or computed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from shlex import quote

from dpdm.errors import DpdmError
from dpdm.publish import remove_stale_drafts
from dpdm.system import check_regular

NETCDF_SUFFIXES = (".nc", ".nc4")
OUTPUT_SUFFIXES = (*NETCDF_SUFFIXES, ".zarr")
ZARR_MARKERS = (".zgroup", ".zmetadata", "zarr.json")


def check_inputs(inputs: object) -> None:
    """Refuse inputs that do not exist, in any form that `iterate_paths` accepts."""
    for path in iterate_paths(inputs):
        check_regular(path)


def check_output(
    path: Path,
    inputs: object = (),
    overwrite: bool = False,
    suffixes: Sequence[str] = OUTPUT_SUFFIXES,
) -> None:
    """Refuse an output that cannot be written, before anything is computed.

    Args:
        path: The output.
        inputs: All inputs, in any form that `iterate_paths` accepts.
        overwrite: Whether an existing output is replaced.
        suffixes: The allowed suffixes.
    """
    if path.suffix not in suffixes:
        raise DpdmError(f"{path} ends in '{path.suffix}'.", f"End it in {', '.join(suffixes)}.")
    _check_folder(path)
    remove_stale_drafts(path)
    check_distinct_paths(path, inputs)
    if path.exists():
        _check_replaceable(path, overwrite)
    elif path.is_symlink():
        raise DpdmError(
            f"{path} is a link to {path.readlink()}, which does not exist.",
            "Remove the link, or write to another file.",
        )


def check_distinct_paths(path: Path, inputs: object) -> None:
    """Refuse an output that is an input, holds one, or lies in one."""
    whole = path.resolve()
    for other in iterate_paths(inputs):
        read = other.resolve()
        if whole == read or (path.exists() and other.exists() and path.samefile(other)):
            raise DpdmError(f"{path} is an input too.", "Write to another file.")
        if whole in read.parents:
            raise DpdmError(f"{path} holds the input {other}.", "Write to another place.")
        if read in whole.parents and is_zarr(read):
            raise DpdmError(f"{path} lies in the input {other}.", "Write to another place.")


def iterate_paths(inputs: object) -> Iterator[Path]:
    """Yield the paths in a path, a sequence, the values of a mapping, or a dataclass.

    Example:
        >>> [p.name for p in iterate_paths([Path("a.nc"), None, {"also": Path("b.nc")}])]
        ['a.nc', 'b.nc']
    """
    if isinstance(inputs, Path):
        yield inputs
        return
    parts: Iterable[object] = ()
    if is_dataclass(inputs):
        parts = (getattr(inputs, each.name) for each in fields(inputs))
    elif isinstance(inputs, Mapping):
        parts = inputs.values()
    elif isinstance(inputs, list | tuple):
        parts = inputs
    for part in parts:
        yield from iterate_paths(part)


def _check_folder(path: Path) -> None:
    folder = path.resolve().parent
    if not folder.is_dir():
        raise DpdmError(
            f"The folder of {path} does not exist.", f"Run: mkdir -p {quote(str(folder))}."
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DpdmError(f"The folder {folder} is not writable.", "Write elsewhere.")


def _check_replaceable(path: Path, overwrite: bool) -> None:
    """Refuse to replace an output without permission, and any folder but a Zarr store."""
    if not (path.is_file() or path.is_dir()):
        raise DpdmError(f"{path} is a device or a pipe.", "Write to a file.")
    if not overwrite:
        raise DpdmError(f"{path} exists.", "Use --overwrite to replace it.")
    if path.is_dir() and not (path.suffix == ".zarr" and is_zarr(path)):
        raise DpdmError(f"{path} is a directory.", "It is not replaced; choose another name.")
    if path.suffix == ".zarr" and path.is_file():
        raise DpdmError(f"{path} is a file, not a store.", "Remove it or choose another name.")


def is_zarr(path: Path) -> bool:
    """Tell whether a directory is a Zarr store."""
    return any((path / name).is_file() for name in ZARR_MARKERS)
