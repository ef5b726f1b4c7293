"""A file in, the same fields on another grid out, step by step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import xarray as xr

from dpdm.fields.cf import finish
from dpdm.fields.checks import Missing
from dpdm.fields.store import load, open_fields, sha256
from dpdm.fields.units import from_canonical
from dpdm.fields.write import Writer, check_output

Rule = Callable[[xr.Dataset], xr.Dataset]


@dataclass(frozen=True)
class Ask:
    """What the user said beside the files.

    Attributes:
        rename: Variables' names in the file, by canonical name.
        units: Units declared by the user, by variable.
        history: The command line, for the output's history.
        overwrite: Whether an existing output is replaced.
        report: Told steps done and all steps.
        missing: Numbers that stand for missing values, by variable; of all under "".
    """

    rename: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    history: str = "dpdm"
    overwrite: bool = False
    report: Callable[[int, int], None] = lambda done, total: None
    missing: Missing = field(default_factory=dict)

    def open(self, path: Path) -> xr.Dataset:
        """Return a file's canonical fields."""
        return open_fields(path, None, self.rename, self.units, missing=self.missing)


def remap_file(
    source: Path, target: Path, rule: Rule, title: str, ask: Ask, inputs: tuple[Path, ...] = ()
) -> None:
    """Write ``rule`` of every step of a file, in the units of the file."""
    check_output(target, [source, *inputs], ask.overwrite)
    fields = ask.open(source)
    steps = fields.sizes.get("time", 1)
    provenance = {"input": source.name, "input_sha256": sha256(source)}
    template = finish(back(rule(fields), fields), title, provenance, ask.history)
    with Writer(target, template, ask.overwrite) as writer:
        for step in range(steps):
            one = fields.isel(time=[step]) if "time" in fields.dims else fields
            writer.write(back(rule(load(one)), one))
            ask.report(step + 1, steps)


def back(remapped: xr.Dataset, fields: xr.Dataset) -> xr.Dataset:
    """Return canonical fields in the units of their file."""
    bounds = fields.get("time_bnds")
    arrays = {name: from_canonical(array, bounds) for name, array in remapped.data_vars.items()}
    out = xr.Dataset(arrays, attrs=remapped.attrs)
    return out if bounds is None else out.assign_coords(time_bnds=bounds)
