"""Groups of a NetCDF-4 file or a Zarr store, in which variables may lie out of sight."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import netCDF4
import zarr

from dpdm.errors import DpdmError


def groups_of(path: Path) -> dict[str, list[str]]:
    """Return the variables of two dimensions or more in each group below the root, by its path.

    A file of another format has none.
    """
    if path.is_dir():
        found = dict(_within(zarr.open_group(path, mode="r")))
    else:
        try:
            with netCDF4.Dataset(path) as file:
                found = dict(_inside(file))
        except OSError:
            return {}
    return {name.strip("/"): names for name, names in found.items() if names}


class GroupsError(DpdmError):
    """Report a file whose variables all lie in groups."""


def grouped(path: Path, groups: Mapping[str, list[str]]) -> GroupsError:
    """Refuse a file whose variables all lie in groups, with how to have one of them."""
    words = "; ".join(f"{name} ({', '.join(names)})" for name, names in groups.items())
    first = next(iter(groups))
    hint = (
        f"Name the group, as in {path / first}."
        if path.is_dir()
        else f"Take one out: ncks -G : -g {first} IN.nc OUT.nc."
    )
    return GroupsError(f"{path} keeps its variables in groups: {words}.", hint)


def _inside(group: Any) -> Iterator[tuple[str, list[str]]]:
    for child in group.groups.values():
        yield child.path, [name for name, v in child.variables.items() if v.ndim > 1]
        yield from _inside(child)


def _within(group: zarr.Group) -> Iterator[tuple[str, list[str]]]:
    for _, child in sorted(group.groups()):
        yield child.path, sorted(name for name, array in child.arrays() if array.ndim > 1)
        yield from _within(child)
