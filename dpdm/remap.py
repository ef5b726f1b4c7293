"""A file in, the same fields on another grid out, step by step."""

from collections.abc import Callable
from pathlib import Path

import xarray as xr

from dpdm.fields.cf import finish
from dpdm.fields.input import FileOptions
from dpdm.fields.store import load, sha256
from dpdm.fields.units import from_canonical
from dpdm.fields.write import Writer, check_output

Rule = Callable[[xr.Dataset], xr.Dataset]


def remap_file(
    source: Path,
    target: Path,
    rule: Rule,
    title: str,
    ask: FileOptions,
    inputs: tuple[Path, ...] = (),
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
            ask.progress(step + 1, steps)


def back(remapped: xr.Dataset, fields: xr.Dataset) -> xr.Dataset:
    """Return canonical fields in the units of their file."""
    bounds = fields.get("time_bnds")
    arrays = {name: from_canonical(array, bounds) for name, array in remapped.data_vars.items()}
    out = xr.Dataset(arrays, attrs=remapped.attrs)
    return out if bounds is None else out.assign_coords(time_bnds=bounds)
