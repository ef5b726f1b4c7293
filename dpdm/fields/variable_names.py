"""Which variables of a file are opened, and their names inside dpdm.

The user may name a variable by its canonical name or by that in the file, and a family of levels
as one variable: ``t`` and ``ta`` mean all of ``t1000``, ``t850`` and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import xarray as xr

from dpdm.errors import DpdmError, name_not_found
from dpdm.fields.file_names import file_name
from dpdm.fields.level_names import (
    Level,
    rename_level,
    split_statistic,
    statistic_name,
    strip_level,
)
from dpdm.fields.variables import (
    LEVEL_VARIABLES,
    SURFACE_VARIABLES,
    FileVariable,
    FileVariables,
    canonical_name,
    match_level_variables,
    match_variables,
)


@dataclass(frozen=True, eq=False)
class SelectedVariable:
    """A variable of a file that is opened.

    Attributes:
        name: Its canonical name, or that in the file where it is not known.
        source: The array in the file.
        level: Its level under the canonical name.
    """

    name: str
    source: FileVariable
    level: Level | None

    @property
    def names(self) -> tuple[str, str]:
        """Return the names in the file and inside dpdm, without a level that both have."""
        if self.level is None:
            return self.source.name, self.name
        return self.source.base_name, strip_level(self.name, self.level)

    @property
    def accepted_names(self) -> tuple[str, ...]:
        """Return the names that the user may use: its own, then those of its family."""
        family = strip_level(self.name, self.level)
        return self.name, self.source.name, family, self.source.base_name


def select_variables(
    sources: FileVariables, variables: Sequence[str] | None, rename: Mapping[str, str], whole: bool
) -> list[SelectedVariable]:
    """Select the variables to open.

    Args:
        sources: The arrays of the file that lie on the grid, split by levels.
        variables: The names to open, or None for all.
        rename: The user's choice of variables, canonical name to name in the file.
        whole: Whether this file must have every variable, or other files may.
    """
    chosen = _expand_families(sources, rename)
    if variables is None:
        names = _name_all(sources, chosen)
    else:
        names = _find_requested(variables, sources, chosen)
    selected = [
        SelectedVariable(new, sources[old], rename_level(sources[old].level, old, new))
        for new, old in names.items()
    ]
    known = {*sources, *(source.base_name for source in sources.values())}
    known.update(*(each.accepted_names for each in selected))
    requested = [*rename.items(), *((name, name) for name in variables or [])]
    absent = [(old, new) for new, old in requested if old not in known]
    if absent and (whole or not names):
        raise _absent_variable_error(*absent[0], sources)
    return selected


def _expand_families(sources: FileVariables, rename: Mapping[str, str]) -> dict[str, str]:
    """Return the user's choice of variables, that of a family for each of its levels."""
    chosen = {new: old for new, old in rename.items() if old in sources}
    for new, old in rename.items():
        parts = [s for s in sources.values() if s.base_name == old and s.name != old]
        if new in SURFACE_VARIABLES and len(parts) > 1:
            raise DpdmError(
                f"{new} lies at the surface, and {old} on {len(parts)} levels.",
                f"Choose one level, as in --var {new}={parts[0].name}.",
            )
        chosen |= {_name_level(part, new): part.name for part in parts}
    return chosen


def _name_level(part: FileVariable, family: str) -> str:
    """Return the canonical name of one level of a family."""
    if part.level is None or family in SURFACE_VARIABLES:
        return family
    return part.level._replace(family=family).name


def _name_all(sources: FileVariables, chosen: Mapping[str, str]) -> dict[str, str]:
    """Map every array: by its canonical name where it is known, else by its own."""
    found = match_variables(sources, chosen) | _match_levels(sources, chosen)
    found |= _name_statistics(sources, found)
    taken = set(found) | set(found.values())
    return found | {name: name for name in sources if name not in taken}


def _name_statistics(sources: FileVariables, found: Mapping[str, str]) -> dict[str, str]:
    """Map the statistics of variables that were found: ``tas_p10`` is t2m_p10 if tas is t2m."""
    stems = {split_statistic(old)[0]: split_statistic(new)[0] for new, old in found.items()}
    statistics: dict[str, str] = {}
    for old in sources:
        stem, kind = split_statistic(old)
        if kind and stem in stems and old not in found.values():
            statistics.setdefault(statistic_name(stems[stem], kind), old)
    return {new: old for new, old in statistics.items() if new not in found}


def _match_levels(sources: FileVariables, chosen: Mapping[str, str]) -> dict[str, str]:
    """Map the known variables on levels, without those that the user chose."""
    free = {name: source for name, source in sources.items() if name not in chosen.values()}
    return {new: old for new, old in match_level_variables(free).items() if new not in chosen}


def _find_requested(
    variables: Sequence[str], sources: FileVariables, chosen: Mapping[str, str]
) -> dict[str, str]:
    """Map requested names: canonical names first, then those in the file."""
    known = {name: SURFACE_VARIABLES[name] for name in variables if name in SURFACE_VARIABLES}
    others = {name: name for name in sources if name not in SURFACE_VARIABLES}
    levels = _match_levels(sources, chosen)
    named = match_variables(sources, chosen, known) | levels
    found = named | _name_statistics(sources, named)
    found |= {name: name for name in others if name not in {*found, *found.values()}}
    out: dict[str, str] = {}
    for name in variables:
        if name in found:
            out[name] = found[name]
        elif name in LEVEL_VARIABLES:
            out |= {new: old for new, old in levels.items() if _family(sources[old], new) == name}
        else:
            out |= {
                new: old
                for new, old in found.items()
                if new == old and sources[old].base_name == name
            }
    return out


def _family(source: FileVariable, name: str) -> str:
    """Return the family of an array under its canonical name."""
    return strip_level(name, rename_level(source.level, source.name, name))


def _absent_variable_error(name: str, wanted: str, sources: FileVariables) -> DpdmError:
    """Return the error for a name that is not in the file, with the nearest ones."""
    names = list(dict.fromkeys(source.base_name for source in sources.values()))
    return name_not_found(name, names, f"Choose one, as in --var {wanted}={{}}.", kind="")


def find_variable(fields: xr.Dataset, wanted: str, hint: str, where: object = "") -> str:
    """Return the name of a variable from its name, that of its mean, or an alias.

    Args:
        fields: Canonical fields.
        wanted: The name that the user gives.
        hint: The hint of the error, with braces for the nearest name.
        where: The file, unless the caller names it in the message.
    """
    stem, kind = split_statistic(wanted)
    known = [v.name for v in SURFACE_VARIABLES.values() if wanted.lower() in v.aliases]
    means = [stem] if kind == "mean" else [statistic_name(wanted, "mean")]
    in_file = [str(n) for n, array in fields.data_vars.items() if file_name(array) == wanted]
    for name in (wanted, *in_file, *means, canonical_name(wanted) or "", *known):
        if name in fields.data_vars:
            return name
    raise name_not_found(wanted, fields.data_vars, hint, where)
