"""Which variables of a file are to be opened, and what they are called inside dpdm.

The user may speak of a variable by its canonical name or by that in the file, and of a family of
levels as of one variable: ``t`` and ``ta`` mean all of ``t1000``, ``t850`` and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import xarray as xr

from dpdm.errors import DpdmError, name_not_found
from dpdm.fields.level_names import (
    base_name,
    read_level,
    rename_variable,
    split_statistic,
    statistic_name,
)
from dpdm.fields.variables import (
    LEVEL_VARIABLES,
    SURFACE_VARIABLES,
    canonical_name,
    match_level_variables,
    match_variables,
)

Arrays = Mapping[str, xr.DataArray]


def select_variables(
    arrays: Arrays, variables: Sequence[str] | None, rename: Mapping[str, str], whole: bool
) -> dict[str, str]:
    """Map the names to open to names in the file.

    Args:
        arrays: What the file holds on its grid, split by levels.
        variables: The names that are asked for, or None for all.
        rename: The user's choice of variables.
        whole: Whether this file must have everything, or other files may.
    """
    asked = _expand_families(arrays, rename)
    names = (
        _name_all_arrays(arrays, asked)
        if variables is None
        else _find_requested(variables, arrays, asked)
    )
    sought = [*rename.items(), *((name, name) for name in variables or [])]
    known = {*arrays, *map(base_name, arrays.values()), *accepted_names(names, arrays)}
    absent = [(old, new) for new, old in sought if old not in known]
    if absent and (whole or not names):
        raise _absent_variable_error(*absent[0], arrays)
    return names


def accepted_names(names: Mapping[str, str], arrays: Arrays) -> set[str]:
    """Return all words by which a user may speak of what is opened."""
    return {word for new, old in names.items() for word in array_names(arrays[old], new)}


def array_names(array: xr.DataArray, name: str) -> tuple[str, ...]:
    """Return the words for one array of a file: its names, then those of its family."""
    return name, str(array.name), base_name(rename_variable(array, name)), base_name(array)


def _expand_families(arrays: Arrays, rename: Mapping[str, str]) -> dict[str, str]:
    """Return the user's choice of variables, a family's for each of its levels."""
    asked = {new: old for new, old in rename.items() if old in arrays}
    for new, old in rename.items():
        parts = [a for a in arrays.values() if base_name(a) == old and a.name != old]
        if new in SURFACE_VARIABLES and len(parts) > 1:
            raise DpdmError(
                f"{new} lies at the surface, and {old} on {len(parts)} levels.",
                f"Name one of them, as in --var {new}={parts[0].name}.",
            )
        asked |= {_name_level(part, new): str(part.name) for part in parts}
    return asked


def _name_level(part: xr.DataArray, family: str) -> str:
    """Return what one level of a family is to be called."""
    place = read_level(part)
    if place is None or family in SURFACE_VARIABLES:
        return family
    return place._replace(family=family).name


def _name_all_arrays(arrays: Arrays, asked: Mapping[str, str]) -> dict[str, str]:
    """Name every array: canonically where it is known, else as it is."""
    found = match_variables(arrays, asked) | _names_on_levels(arrays, asked)
    taken = set(found) | set(found.values())
    return found | {name: name for name in arrays if name not in taken}


def _names_on_levels(arrays: Arrays, asked: Mapping[str, str]) -> dict[str, str]:
    """Name what is known on levels, but for what the user chose."""
    free = {name: array for name, array in arrays.items() if name not in asked.values()}
    return {new: old for new, old in match_level_variables(free).items() if new not in asked}


def _find_requested(
    variables: Sequence[str], arrays: Arrays, asked: Mapping[str, str]
) -> dict[str, str]:
    """Find what is asked for by its canonical name, then by its name in the file."""
    known = {name: SURFACE_VARIABLES[name] for name in variables if name in SURFACE_VARIABLES}
    found = match_variables(arrays, asked, known) | {
        name: name for name in arrays if name not in SURFACE_VARIABLES
    }
    levels = _names_on_levels(arrays, asked)
    found |= levels
    out = {}
    for name in variables:
        if name in found:
            out[name] = found[name]
        elif name in LEVEL_VARIABLES:
            out |= {
                n: old
                for n, old in levels.items()
                if base_name(rename_variable(arrays[old], n)) == name
            }
        else:
            out |= {
                n: old for n, old in found.items() if n == old and base_name(arrays[old]) == name
            }
    return out


def _absent_variable_error(name: str, wanted: str, arrays: Arrays) -> DpdmError:
    """Refuse a name that is not in the file; offer the nearest that is."""
    there = list(dict.fromkeys(map(base_name, arrays.values())))
    return name_not_found(name, there, f"Say which it is, as in --var {wanted}={{}}.", kind="")


def find_variable(fields: xr.Dataset, wanted: str, hint: str, where: object = "") -> str:
    """Return a variable by its name, that of its mean, or another that it is known by.

    Args:
        fields: Canonical fields.
        wanted: What the user calls it.
        hint: What to do where there is none, with braces for the nearest name.
        where: The file, unless the message has it already.
    """
    stem, kind = split_statistic(wanted)
    known = [v.name for v in SURFACE_VARIABLES.values() if wanted.lower() in v.aliases]
    means = [stem] if kind == "mean" else [statistic_name(wanted, "mean")]
    for name in (wanted, *means, canonical_name(wanted) or "", *known):
        if name in fields.data_vars:
            return name
    raise name_not_found(wanted, fields.data_vars, hint, where)
