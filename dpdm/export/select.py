"""What of a file is wanted: which steps, cells and variables, and which statistic of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.export.ask import Ask
from dpdm.export.frame import placed
from dpdm.fields.box import pick, within
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.input import find_variable
from dpdm.fields.mask import inside
from dpdm.fields.statistics import Statistic, is_mean, name_of, parse, split_name
from dpdm.fields.store import load, naming
from dpdm.fields.units import from_canonical

_WHEN = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d)?)?)?)?)?")


@dataclass(frozen=True)
class Layer:
    """One variable of the output: a field in the file, and what is made of its members.

    Attributes:
        name: Its name in the output.
        array: The canonical field, lazy, with or without members and time.
        stat: What is made of the members, or nothing.
        bounds: Time bounds, which amounts need.
        inside: The cells that are kept, or nothing for all.
        path: The file.
    """

    name: str
    array: xr.DataArray
    stat: Statistic | None
    bounds: xr.DataArray | None
    inside: NDArray[np.bool_] | None
    path: Path

    @property
    def grid(self) -> Grid:
        """Give the cells."""
        return grid_of(self.array)

    @property
    def steps(self) -> int:
        """Count the steps; a field without time is one."""
        return int(self.array.sizes.get("time", 1))

    def members(self, step: int) -> xr.DataArray:
        """Return one step, loaded, in the unit of the file, with any members that there are."""
        timed = "time" in self.array.dims
        one = self.array.isel(time=[step]) if timed else self.array
        bounds = self.bounds.isel(time=[step]) if self.bounds is not None else None
        loaded = load(one.to_dataset(), self.path)[str(one.name)]
        back = from_canonical(loaded, bounds)
        return back if self.inside is None else back.where(self.inside)

    def at(self, step: int) -> xr.DataArray:
        """Return one step of the output."""
        members = self.members(step)
        with naming(self.path):
            return (self.stat.of(members) if self.stat else members).rename(self.name)


def chosen(path: Path, ask: Ask) -> xr.Dataset:
    """Open a file's canonical fields at the steps and in the box, from the west in -180 to 180."""
    fields = ask.open(path, (ask.variable,) if ask.variable else None)
    with naming(path):
        fields = during(fields, ask.time) if ask.time else fields
        grid = within(grid_of(fields), ask.bbox) if ask.bbox else grid_of(fields)
        part = pick(fields, placed(grid))
        assert part is not None  # its own cells, on another turn
        return part


def during(fields: xr.Dataset, text: str) -> xr.Dataset:
    """Return the steps of a date, as 2012-01, or from one to another, as 2012-01..2012-03."""
    first, dots, last = (part.strip() for part in text.partition(".."))
    last = last if dots else first
    words = [word for word in (first, last) if word]
    if not words or not all(_WHEN.fullmatch(word) for word in words):
        raise DpdmError(f"'{text}' is no time.", "Say --time 2012-01 or --time 2012-01..2012-03.")
    if "time" not in fields.dims:
        raise DpdmError("the fields have no time.", "Leave --time out.")
    try:
        kept = fields.sel(time=slice(first or None, last or None))
    except (ValueError, TypeError, KeyError) as fault:  # each kind of index has its own
        raise DpdmError(f"'{text}' is no time.", "Say a date such as 2012-01-31.") from fault
    if not kept.sizes["time"]:
        ends = [str(fields["time"].values[i])[:10] for i in (0, -1)]
        raise DpdmError(
            f"there is no step of {text}; there are {fields.sizes['time']} from {ends[0]} to "
            f"{ends[1]}.",
            "Say a time between those.",
        )
    return kept


def layers(fields: xr.Dataset, path: Path, ask: Ask, stat: str) -> list[Layer]:
    """Return the variables of the output.

    Args:
        fields: Canonical fields.
        path: The file that they are of.
        ask: Which variable and mask.
        stat: The statistic of each; empty to leave every variable as it is.
    """
    with naming(path):
        names = named(fields, ask, bool(stat))
        wanted = [statistic(fields, name, stat) if stat else (name, None) for name in names]
    kept = inside(grid_of(fields), ask.mask) if ask.mask else None
    bounds = fields.get("time_bnds")
    return [
        Layer(_called(fields[name], of), fields[name], of, bounds, kept, path)
        for name, of in wanted
    ]


def _called(array: xr.DataArray, stat: Statistic | None) -> str:
    """Return a name that tells a statistic from the variable."""
    kind = split_name(array.name)[1]
    suffix = stat.suffix if stat else "_mean" if is_mean(array) and not kind else ""
    return f"{array.name}{suffix}"


def named(fields: xr.Dataset, ask: Ask, bare: bool) -> list[str]:
    """Return the variable that is asked for, else all, without statistics of others if bare."""
    if ask.variable:
        return [find_variable(fields, ask.variable, "Say --variable {}.")]
    names = [str(name) for name in fields.data_vars]
    return [name for name in names if not bare or split_name(name)[0] not in set(names) - {name}]


def the_one(fields: xr.Dataset, path: Path, ask: Ask) -> str:
    """Return the variable that a file of one variable is of."""
    with naming(path):
        names = named(fields, ask, bare=True)
        if len(names) > 1:
            raise DpdmError(
                f"there are {len(names)} variables, {', '.join(names)}, and a GeoTIFF has one.",
                f"Say which: --variable {names[0]}.",
            )
        return names[0]


def statistic(fields: xr.Dataset, name: str, text: str) -> tuple[str, Statistic | None]:
    """Return the stored field of a statistic, or the variable and what to make of its members."""
    asked = parse(text)
    ready = name_of(name, asked.text)
    if ready in fields.data_vars:
        return ready, None
    if asked.kind == "mean" and is_mean(fields[name]):
        return name, None
    if "realization" in fields[name].dims:
        _check_many(fields[name], asked)
        return name, asked
    there = [kind for kind in kinds(fields, name) if kind]
    raise DpdmError(
        f"{name} has no members, and no {asked.text} is stored"
        + (f"; there is {', '.join(there)}." if there else "."),
        "Leave --stat out, or give a file with members: dpdm downscale ... --keep members.",
    )


def _check_many(array: xr.DataArray, asked: Statistic) -> None:
    """Refuse the spread of one member."""
    if asked.kind == "spread" and array.sizes["realization"] == 1:
        raise DpdmError(f"{array.name} has one member; a spread needs two.", "Draw more members.")


def kinds(fields: xr.Dataset, name: str) -> Sequence[str]:
    """List the statistics of a variable that are stored, the mean first."""
    split = [split_name(other) for other in fields.data_vars]
    found = [kind for stem, kind in split if kind and stem == name]
    own = ["mean"] if is_mean(fields[name]) and "mean" not in found else []
    return own + found
