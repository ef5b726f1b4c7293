"""What a user says of the files that a command reads, and the variable that is meant."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import xarray as xr

from dpdm.errors import not_found
from dpdm.fields.checks import Missing
from dpdm.fields.columns import canonical
from dpdm.fields.statistics import name_of, split_name
from dpdm.fields.store import open_fields
from dpdm.fields.variables import KNOWN


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
    missing: Missing = field(default_factory=dict)
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
    stem, kind = split_name(wanted)
    known = [v.name for v in KNOWN.values() if wanted.lower() in v.aliases]
    means = [stem] if kind == "mean" else [name_of(wanted, "mean")]
    for name in (wanted, *means, canonical(wanted) or "", *known):
        if name in fields.data_vars:
            return name
    raise not_found(wanted, fields.data_vars, hint, where)
