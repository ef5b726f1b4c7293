"""What a user says of the files that a command reads, and the variable that is meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import xarray as xr

from dpdm.errors import name_not_found
from dpdm.fields.read import open_fields
from dpdm.fields.statistics import split_statistic, statistic_name
from dpdm.fields.value_checks import MissingCodes
from dpdm.fields.variable_names import canonical_name
from dpdm.fields.variables import SURFACE_VARIABLES


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """What the user said beside the names of files.

    Attributes:
        rename: Variables' names in the file, by canonical name.
        units: Units declared by the user, by variable.
        missing: Numbers that stand for missing values, by variable; of all under "".
        history: The command line, for the output's history.
        overwrite: Whether an existing output is replaced.
        progress: Told steps done and all steps.
    """

    rename: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    missing: MissingCodes = field(default_factory=dict)
    history: str = "dpdm"
    overwrite: bool = False
    progress: Callable[[int, int], None] = lambda done, total: None

    def open(self, path: Path, needed: Sequence[str] | None = None) -> xr.Dataset:
        """Return a file's canonical fields; ``needed`` as in `open_fields`."""
        return open_fields(path, None, self.rename, self.units, needed, self.missing)


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
