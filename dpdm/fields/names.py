"""Which variables of a file are to be opened, and what they are called inside dpdm.

The user may speak of a variable by its canonical name or by that in the file, and of a family of
levels as of one variable: ``t`` and ``ta`` mean all of ``t1000``, ``t850`` and so on.
"""

from collections.abc import Mapping, Sequence

import xarray as xr

from dpdm.errors import DpdmError, not_found
from dpdm.fields.aloft import home, place_of, renamed
from dpdm.fields.variables import ALOFT, KNOWN, aloft, choose

Arrays = Mapping[str, xr.DataArray]


def wanted(
    arrays: Arrays, variables: Sequence[str] | None, rename: Mapping[str, str], whole: bool
) -> dict[str, str]:
    """Map the names to open to names in the file.

    Args:
        arrays: What the file holds on its grid, split by levels.
        variables: The names that are asked for, or None for all.
        rename: The user's choice of variables.
        whole: Whether this file must have everything, or other files may.
    """
    asked = _spread(arrays, rename)
    names = _all(arrays, asked) if variables is None else _picked(variables, arrays, asked)
    sought = [*rename.items(), *((name, name) for name in variables or [])]
    known = {*arrays, *map(home, arrays.values()), *spoken(names, arrays)}
    absent = [(old, new) for new, old in sought if old not in known]
    if absent and (whole or not names):
        raise _absent(*absent[0], arrays)
    return names


def spoken(names: Mapping[str, str], arrays: Arrays) -> set[str]:
    """Return all words by which a user may speak of what is opened."""
    return {word for new, old in names.items() for word in words(arrays[old], new)}


def words(array: xr.DataArray, name: str) -> tuple[str, ...]:
    """Return the words for one array of a file: its names, then those of its family."""
    return name, str(array.name), home(renamed(array, name)), home(array)


def _spread(arrays: Arrays, rename: Mapping[str, str]) -> dict[str, str]:
    """Return the user's choice of variables, a family's for each of its levels."""
    asked = {new: old for new, old in rename.items() if old in arrays}
    for new, old in rename.items():
        parts = [a for a in arrays.values() if home(a) == old and a.name != old]
        if new in KNOWN and len(parts) > 1:
            raise DpdmError(
                f"{new} lies at the surface, and {old} on {len(parts)} levels.",
                f"Name one of them, as in --var {new}={parts[0].name}.",
            )
        asked |= {_at(part, new): str(part.name) for part in parts}
    return asked


def _at(part: xr.DataArray, family: str) -> str:
    """Return what one level of a family is to be called."""
    place = place_of(part)
    if place is None or family in KNOWN:
        return family
    return place._replace(family=family).name


def _all(arrays: Arrays, asked: Mapping[str, str]) -> dict[str, str]:
    """Name every array: canonically where it is known, else as it is."""
    found = choose(arrays, asked) | _aloft(arrays, asked)
    taken = set(found) | set(found.values())
    return found | {name: name for name in arrays if name not in taken}


def _aloft(arrays: Arrays, asked: Mapping[str, str]) -> dict[str, str]:
    """Name what is known on levels, but for what the user chose."""
    free = {name: array for name, array in arrays.items() if name not in asked.values()}
    return {new: old for new, old in aloft(free).items() if new not in asked}


def _picked(variables: Sequence[str], arrays: Arrays, asked: Mapping[str, str]) -> dict[str, str]:
    """Find what is asked for by its canonical name, then by its name in the file."""
    known = {name: KNOWN[name] for name in variables if name in KNOWN}
    found = choose(arrays, asked, known) | {name: name for name in arrays if name not in KNOWN}
    levels = _aloft(arrays, asked)
    found |= levels
    out = {}
    for name in variables:
        if name in found:
            out[name] = found[name]
        elif name in ALOFT:
            out |= {n: old for n, old in levels.items() if home(renamed(arrays[old], n)) == name}
        else:
            out |= {n: old for n, old in found.items() if n == old and home(arrays[old]) == name}
    return out


def _absent(name: str, wanted: str, arrays: Arrays) -> DpdmError:
    """Refuse a name that is not in the file; offer the nearest that is."""
    there = list(dict.fromkeys(map(home, arrays.values())))
    return not_found(name, there, f"Say which it is, as in --var {wanted}={{}}.", kind="")
