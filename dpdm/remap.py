"""A file in, the same fields on another grid out, step by step."""

from collections.abc import Callable, Mapping
from pathlib import Path

import xarray as xr

from dpdm.fields.cf import finish
from dpdm.fields.store import load, open_fields, sha256
from dpdm.fields.units import from_canonical
from dpdm.fields.write import Writer, check_output

Report = Callable[[int, int], None]
Rule = Callable[[xr.Dataset], xr.Dataset]


def remap_file(
    source: Path,
    target: Path,
    rule: Rule,
    rename: Mapping[str, str],
    units: Mapping[str, str],
    title: str,
    history: str,
    overwrite: bool,
    report: Report,
    inputs: tuple[Path, ...] = (),
) -> None:
    """Write ``rule`` of every step of a file, in the units of the file."""
    check_output(target, [source, *inputs], overwrite)
    fields = open_fields(source, None, rename, units)
    steps = fields.sizes.get("time", 1)
    provenance = {"input": source.name, "input_sha256": sha256(source)}
    template = finish(back(rule(fields), fields), title, provenance, history)
    with Writer(target, template, overwrite) as writer:
        for step in range(steps):
            one = fields.isel(time=[step]) if "time" in fields.dims else fields
            writer.write(back(rule(load(one)), fields))
            report(step + 1, steps)


def back(remapped: xr.Dataset, fields: xr.Dataset) -> xr.Dataset:
    """Return canonical fields in the units of their file."""
    bounds = fields.get("time_bnds")
    return remapped.map(lambda array: from_canonical(array, bounds), keep_attrs=True)
