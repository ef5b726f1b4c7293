"""One variable of a file, with all that the file says of it, in the units that a picture shows.

A forecast holds members, or what became of them: mean, spread, percentiles. Whoever draws asks for
the mean or the spread and need not know which of them was stored.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import xarray as xr

from dpdm.errors import DpdmError
from dpdm.evaluate.match import cut
from dpdm.fields.aloft import home
from dpdm.fields.box import Box, within
from dpdm.fields.checks import Missing
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.input import find_variable
from dpdm.fields.levels import LEVEL, families, is_level, joined
from dpdm.fields.statistics import name_of, split_name
from dpdm.fields.store import check_values, open_fields
from dpdm.fields.units import from_canonical, parse
from dpdm.plot import moments
from dpdm.plot.ask import Ask
from dpdm.printable import printable

TALL = ("profile", "section")  # the kinds that show a variable with height
# What people read, of what files hold: unit, factor, offset.
SHOWN = {
    "K": ("°C", 1.0, -273.15),
    "degC": ("°C", 1.0, 0.0),
    "Pa": ("hPa", 0.01, 0.0),
    "mm day-1": ("mm/day", 1.0, 0.0),
    "kg m-2 s-1": ("mm/day", 86400.0, 0.0),
    "m s-1": ("m/s", 1.0, 0.0),
}


@dataclass(frozen=True)
class Source:
    """One variable of one file.

    Attributes:
        path: The file.
        name: The variable, canonical where it is known.
        words: What it is called in a picture.
        stored: The unit in the file, to which other files are brought.
        units: The unit that is shown.
        whole: The members, or the one field, with time where the file has it.
        statistics: What the file holds of the ensemble: mean, spread, p10 and so on.
        attrs: The file's attributes.
    """

    path: Path
    name: str
    words: str
    stored: str
    units: str
    whole: xr.DataArray
    statistics: Mapping[str, xr.DataArray]
    attrs: Mapping[str, Any]

    @property
    def grid(self) -> Grid:
        """Return the cells."""
        return grid_of(self.whole)

    @property
    def count(self) -> int:
        """Count the members; 0 where there are none."""
        return int(self.whole.sizes.get("realization", 0))

    @property
    def members(self) -> xr.DataArray:
        """Return the members."""
        if self.count == 0:
            raise DpdmError(
                f"{self.path} holds no members of {self.name}.",
                "Keep them: dpdm downscale --keep members; or draw another kind.",
            )
        return self.whole

    @property
    def mean(self) -> xr.DataArray:
        """Return the ensemble mean, or the one field there is."""
        if self.count:
            return self.whole.mean("realization", skipna=False, keep_attrs=True)
        return self.statistics.get("mean", self.whole)

    @property
    def spread(self) -> xr.DataArray | None:
        """Return the standard deviation over the members, if the file knows it."""
        if "spread" in self.statistics:
            return self.statistics["spread"]
        return self.whole.std("realization", ddof=1) if self.count > 1 else None

    @property
    def called(self) -> str:
        """Say what the mean is a mean of."""
        if self.count:
            return f"mean of {self.count}" if self.count > 1 else "one member"
        return "mean" if self.statistics else "field"

    @property
    def time(self) -> xr.DataArray:
        """Return the time axis."""
        if "time" not in self.whole.dims:
            raise DpdmError(f"{self.path} has no time axis.", "Draw a map: --kind map.")
        return self.whole["time"]


def opened(path: Path, ask: Ask) -> Source:
    """Open the variable that is asked for, or the first."""
    fields = ask.open(path, (ask.variable,) if ask.variable else None)
    if ask.kind in TALL or ask.variable in families(fields):
        return _source(path, *aloft(path, fields, ask.variable), "", ask.box)
    return _source(path, fields, _variable(path, fields, ask.variable), "", ask.box)


def beside(path: Path, source: Source, missing: Missing = {}) -> Source:
    """Open the same variable in another file, in the units of the first."""
    fields = open_fields(path, needed=(source.name,), missing=missing)
    if LEVEL in source.whole.dims:
        return _source(path, *aloft(path, fields, source.name), source.stored, None)
    name = _variable(path, fields, source.name)
    return _source(path, fields, name, source.stored, None)


def aloft(path: Path, fields: xr.Dataset, wanted: str) -> tuple[xr.Dataset, str]:
    """Return the fields on the levels of a variable, the first without a wish, and its name."""
    groups = families(fields)
    if not groups:
        raise DpdmError(f"{path} has no variable on levels.", "Draw another kind of picture.")
    parts = [part for group in groups.values() for part in group]
    whole = joined(fields[parts])
    name = _variable(path, whole, home(fields[wanted]) if wanted in parts else wanted)
    (dim,) = (str(dim) for dim in whole[name].dims if is_level(dim))
    kin = [other for other, array in whole.data_vars.items() if dim in array.dims]
    for other in kin:  # what is drawn is in the unit that dpdm works in
        whole[other].attrs["source_units"] = whole[other].attrs.get("units", "")
    return whole[kin].rename({dim: LEVEL}), name


def _variable(path: Path, fields: xr.Dataset, wanted: str) -> str:
    """Find a variable, the first without a wish."""
    if not wanted:
        return str(next(iter(fields.data_vars)))
    return find_variable(fields, wanted, "Did you mean --variable {}?", path)


def _source(path: Path, fields: xr.Dataset, name: str, unit: str, box: Box | None) -> Source:
    bounds = fields["time_bnds"] if "time_bnds" in fields.coords else None
    if box is not None:
        fields = cut(fields, within(grid_of(fields), box), str(path))
    array = fields[name]
    stored = unit or str(array.attrs.get("source_units", array.attrs.get("units", "")))
    kin = {
        kind: _shown(fields[name_of(name, kind)], stored, kind == "spread")
        for stem, kind in map(split_name, fields.data_vars)
        if kind and stem == name
    }
    back = from_canonical(array.assign_attrs(source_units=stored), bounds)
    difference = split_name(name)[1] == "spread"
    words = printable(str(array.attrs.get("long_name", name)))
    words = words.removeprefix("mean over the ensemble of ")
    whole = _shown(back, stored, difference)
    units = shown(stored)[0]
    units = "K" if difference and units == "°C" else units
    return Source(path, name, words, stored, units, whole, kin, fields.attrs)


@cache
def shown(stored: str) -> tuple[str, float, float]:
    """Return what a unit is shown as, however it is spelled, with factor and offset to get there.

    Example:
        >>> shown("kg m**-2 s**-1")[0], shown("celsius")[0], shown("Sv")[0]
        ('mm/day', '°C', 'Sv')
    """
    with suppress(DpdmError):
        unit = parse(stored)
        for known, words in SHOWN.items():
            if unit == parse(known):
                return words
    return printable(stored), 1.0, 0.0


def _shown(array: xr.DataArray, stored: str, difference: bool) -> xr.DataArray:
    """Bring values to the unit that is shown; differences know no offset."""
    _, factor, offset = shown(stored)
    return array * factor + (0.0 if difference else offset)


def field_at(array: xr.DataArray, step: int, path: Path) -> xr.DataArray:
    """Read one step."""
    one = array.isel(time=step) if "time" in array.dims else array
    loaded = one.compute()
    check_values(xr.Dataset({"the field": loaded.drop_vars("time", errors="ignore")}), path)
    return loaded


def moment(source: Source, wanted: str) -> tuple[int, str]:
    """Return the step that is asked for, and its date in words; 0 and nothing without time."""
    if "time" not in source.whole.dims and not wanted:
        return 0, ""
    step = moments.chosen(source.time, wanted, source.path)
    return step, moments.said(source.time[step], moments.pace(source.time))


def step_beside(other: Source, source: Source, step: int) -> int:
    """Return the step of another file that has the date of a step of the first."""
    if (
        "time" not in source.whole.dims
        or other.whole.sizes.get("time", 1) == 1 == (source.whole.sizes["time"])
    ):
        return 0
    pace = moments.pace(source.time)
    return moments.same(other.time, source.time[step], pace, other.path)
