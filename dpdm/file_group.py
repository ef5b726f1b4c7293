"""Several files that are read as one: of different variables, or of later times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from dpdm.system import sha256


@dataclass(frozen=True)
class FileGroup:
    """Files whose fields are joined.

    Attributes:
        paths: The files, two or more.
    """

    paths: tuple[Path, ...]

    def __str__(self) -> str:
        """Return the files for a sentence."""
        return self._count_others(str(self.paths[0]))

    @property
    def name(self) -> str:
        """Return the names of the files for a title."""
        return self._count_others(self.paths[0].name)

    def _count_others(self, first: str) -> str:
        others = len(self.paths) - 1
        return f"{first} and {others} more file{'s' if others > 1 else ''}"


Source: TypeAlias = Path | FileGroup


def as_source(paths: Sequence[Path]) -> Source:
    """Return one file, or several as a group.

    Example:
        >>> str(as_source([Path("tas.nc")])), str(as_source([Path("tas.nc"), Path("pr.nc")]))
        ('tas.nc', 'tas.nc and 1 more file')
    """
    return paths[0] if len(paths) == 1 else FileGroup(tuple(paths))


def paths_of(source: Source | Sequence[Path]) -> list[Path]:
    """Return the files of a source."""
    if isinstance(source, FileGroup):
        return list(source.paths)
    return [source] if isinstance(source, Path) else [Path(path) for path in source]


def describe_inputs(source: Source) -> dict[str, str]:
    """Return names and digests of files for the provenance of an output."""
    paths = paths_of(source)
    return {
        "input": " ".join(path.name for path in paths),
        "input_sha256": " ".join(map(sha256, paths)),
    }
