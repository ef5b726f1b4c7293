"""One variable of a file, with all that the file says of it, in the units that a picture shows.

A forecast holds members, or what became of them: mean, spread, percentiles. Whoever draws asks for
the mean or the spread and need not know which of them was stored.
"""

from __future__ import annotations

import calendar
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import xarray as xr

from dpdm.errors import DpdmError, escape_controls
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.level_names import base_name, split_statistic, statistic_name
from dpdm.fields.levels import LEVEL_DIM, group_families, is_level_dim, join_levels
from dpdm.fields.plausibility import MissingCodes
from dpdm.fields.read import open_fields
from dpdm.fields.subset import Box, cut_to_grid, select_box
from dpdm.fields.time import period_of, step_labels, time_spacing
from dpdm.fields.units import from_canonical, parse_unit
from dpdm.fields.value_checks import check_values
from dpdm.fields.variable_names import find_variable
from dpdm.plot.options import PlotOptions
from dpdm.plot.page import picture_provenance


def time_resolution(time: xr.DataArray) -> str:
    """Return what a step of an axis stands for: year, season, month, day or moment.

    Example:
        >>> pace(xr.date_range("2000-01", periods=3, freq="MS").to_series().to_xarray()["index"])
        'month'
    """
    period = period_of(time, single="day")
    if period and period != "hour":
        return period
    return "day" if time_spacing(time) >= 1 else "moment"


def format_date(stamp: xr.DataArray, step: str) -> str:
    """Say a date as long as its step deserves.

    Example:
        >>> said(xr.DataArray("2012-07-16T12:00").astype("M8[ns]"), "month")
        'July 2012'
    """
    spelled = {"year": "%Y", "season": "%B %Y", "month": "%B %Y", "day": "%Y-%m-%d"}
    style = spelled.get(step, "%Y-%m-%d %H:%M")
    return str(stamp.dt.strftime(style).item())


def find_first_step(time: xr.DataArray, wanted: str, path: Any) -> int:
    """Return the first step whose date begins as the user wrote it; without a wish, the first."""
    texts = time.dt.strftime("%Y-%m-%dT%H:%M:%S").values.tolist()
    sought = wanted.strip().replace(" ", "T")
    for place, text in enumerate(texts):
        if text.startswith(sought):
            return place
    raise DpdmError(
        f"{path} has no time {wanted}; it reaches from {texts[0][:10]} to {texts[-1][:10]}.",
        f"Give the beginning of a date that it has, as --time {texts[0][:7]}.",
    )


def find_same_step(time: xr.DataArray, stamp: xr.DataArray, step: str, path: Any) -> int:
    """Return the step of another axis that has the same year, month, day or moment."""
    wanted = step_labels(stamp.expand_dims("time"), period=step)[0]
    for place, text in enumerate(step_labels(time, period=step)):
        if text == wanted:
            return place
    raise DpdmError(
        f"{path} has no field of {format_date(stamp, step)}.", "Give a file of the same period."
    )


def has_remote_dates(time: xr.DataArray) -> bool:
    """Tell whether a graph's axis of dates, of the years 1 to 9999, does not hold some dates."""
    years = time.dt.year.values
    return bool(years.min() < 100 or years.max() > 9900)


def graph_dates(time: xr.DataArray, remote: bool = False) -> list[datetime] | list[float]:
    """Return dates that an axis of a graph knows; a 30 February becomes the month's last day.

    Args:
        time: A time axis.
        remote: Whether to return decimal years instead.
    """
    if remote:
        days = time.dt.dayofyear.values - 1 + time.dt.hour.values / 24
        decimal: list[float] = (time.dt.year.values + days / 366).tolist()
        return decimal
    parts = (time.dt.year, time.dt.month, time.dt.day, time.dt.hour)
    rows = zip(*(part.values.tolist() for part in parts), strict=True)
    return [
        datetime(year, month, min(day, calendar.monthrange(year, month)[1]), hour)
        for year, month, day, hour in rows
    ]


VERTICAL_KINDS = ("profile", "section")  # the kinds that show a variable with height
# What people read, of what files hold: unit, factor, offset.
DISPLAY_UNITS = {
    "K": ("°C", 1.0, -273.15),
    "degC": ("°C", 1.0, 0.0),
    "Pa": ("hPa", 0.01, 0.0),
    "mm day-1": ("mm/day", 1.0, 0.0),
    "kg m-2 s-1": ("mm/day", 86400.0, 0.0),
    "m s-1": ("m/s", 1.0, 0.0),
}


@dataclass(frozen=True)
class PlotVariable:
    """One variable of one file.

    Attributes:
        path: The file.
        name: The variable, canonical where it is known.
        title: What it is called in a picture.
        file_units: The unit in the file, to which other files are brought.
        units: The unit that is shown.
        full_array: The members, or the one field, with time where the file has it.
        statistics: What the file holds of the ensemble: mean, spread, p10 and so on.
        attrs: The file's attributes.
    """

    path: Path
    name: str
    title: str
    file_units: str
    units: str
    full_array: xr.DataArray
    statistics: Mapping[str, xr.DataArray]
    attrs: Mapping[str, Any]

    @property
    def grid(self) -> Grid:
        """Return the cells."""
        return grid_of(self.full_array)

    @property
    def count(self) -> int:
        """Count the members; 0 where there are none."""
        return int(self.full_array.sizes.get("realization", 0))

    @property
    def members(self) -> xr.DataArray:
        """Return the members."""
        if self.count == 0:
            raise DpdmError(
                f"{self.path} holds no members of {self.name}.",
                "Keep them: dpdm downscale --keep members; or draw another kind.",
            )
        return self.full_array

    @property
    def mean(self) -> xr.DataArray:
        """Return the ensemble mean, or the one field there is."""
        if self.count:
            return self.full_array.mean("realization", skipna=False, keep_attrs=True)
        return self.statistics.get("mean", self.full_array)

    @property
    def spread(self) -> xr.DataArray | None:
        """Return the standard deviation over the members, if the file knows it."""
        if "spread" in self.statistics:
            return self.statistics["spread"]
        return self.full_array.std("realization", ddof=1) if self.count > 1 else None

    @property
    def mean_label(self) -> str:
        """Say what the mean is a mean of."""
        if self.count:
            return f"mean of {self.count}" if self.count > 1 else "one member"
        return "mean" if self.statistics else "field"

    @property
    def time(self) -> xr.DataArray:
        """Return the time axis."""
        if "time" not in self.full_array.dims:
            raise DpdmError(f"{self.path} has no time axis.", "Draw a map: --kind map.")
        return self.full_array["time"]


def open_variable(path: Path, ask: PlotOptions) -> PlotVariable:
    """Open the variable that is asked for, or the first."""
    fields = ask.open(path, (ask.variable,) if ask.variable else None)
    if ask.kind in VERTICAL_KINDS or ask.variable in group_families(fields):
        return _make_variable(
            path, *select_variable_levels(path, fields, ask.variable), "", ask.box
        )
    return _make_variable(path, fields, _variable(path, fields, ask.variable), "", ask.box)


def open_same_variable(
    path: Path, source: PlotVariable, missing: MissingCodes = {}
) -> PlotVariable:
    """Open the same variable in another file, in the units of the first."""
    fields = open_fields(path, needed=(source.name,), missing=missing)
    if LEVEL_DIM in source.full_array.dims:
        return _make_variable(
            path, *select_variable_levels(path, fields, source.name), source.file_units, None
        )
    name = _variable(path, fields, source.name)
    return _make_variable(path, fields, name, source.file_units, None)


def select_variable_levels(path: Path, fields: xr.Dataset, wanted: str) -> tuple[xr.Dataset, str]:
    """Return the fields on the levels of a variable, the first without a wish, and its name."""
    groups = group_families(fields)
    if not groups:
        raise DpdmError(f"{path} has no variable on levels.", "Draw another kind of picture.")
    parts = [part for group in groups.values() for part in group]
    whole = join_levels(fields[parts])
    name = _variable(path, whole, base_name(fields[wanted]) if wanted in parts else wanted)
    (dim,) = (str(dim) for dim in whole[name].dims if is_level_dim(dim))
    kin = [other for other, array in whole.data_vars.items() if dim in array.dims]
    for other in kin:  # what is drawn is in the unit that dpdm works in
        whole[other].attrs["source_units"] = whole[other].attrs.get("units", "")
    return whole[kin].rename({dim: LEVEL_DIM}), name


def _variable(path: Path, fields: xr.Dataset, wanted: str) -> str:
    """Find a variable, the first without a wish."""
    if not wanted:
        return str(next(iter(fields.data_vars)))
    return find_variable(fields, wanted, "Did you mean --variable {}?", path)


def _make_variable(
    path: Path, fields: xr.Dataset, name: str, unit: str, box: Box | None
) -> PlotVariable:
    bounds = fields["time_bnds"] if "time_bnds" in fields.coords else None
    if box is not None:
        fields = cut_to_grid(fields, select_box(grid_of(fields), box), str(path))
    array = fields[name]
    stored = unit or str(array.attrs.get("source_units", array.attrs.get("units", "")))
    kin = {
        kind: _convert_to_display(fields[statistic_name(name, kind)], stored, kind == "spread")
        for stem, kind in map(split_statistic, fields.data_vars)
        if kind and stem == name
    }
    back = from_canonical(array.assign_attrs(source_units=stored), bounds)
    difference = split_statistic(name)[1] == "spread"
    words = escape_controls(str(array.attrs.get("long_name", name)))
    words = words.removeprefix("mean over the ensemble of ")
    whole = _convert_to_display(back, stored, difference)
    units = display_unit(stored)[0]
    units = "K" if difference and units == "°C" else units
    return PlotVariable(path, name, words, stored, units, whole, kin, fields.attrs)


@cache
def display_unit(stored: str) -> tuple[str, float, float]:
    """Return what a unit is shown as, however it is spelled, with factor and offset to get there.

    Example:
        >>> shown("kg m**-2 s**-1")[0], shown("celsius")[0], shown("Sv")[0]
        ('mm/day', '°C', 'Sv')
    """
    with suppress(DpdmError):
        unit = parse_unit(stored)
        for known, words in DISPLAY_UNITS.items():
            if unit == parse_unit(known):
                return words
    return escape_controls(stored), 1.0, 0.0


def _convert_to_display(array: xr.DataArray, stored: str, difference: bool) -> xr.DataArray:
    """Bring values to the unit that is shown; differences know no offset."""
    _, factor, offset = display_unit(stored)
    return array * factor + (0.0 if difference else offset)


def read_step(array: xr.DataArray, step: int, path: Path) -> xr.DataArray:
    """Read one step."""
    one = array.isel(time=step) if "time" in array.dims else array
    loaded = one.compute()
    check_values(xr.Dataset({"the field": loaded.drop_vars("time", errors="ignore")}), path)
    return loaded


def find_date(source: PlotVariable, wanted: str) -> tuple[int, str]:
    """Return the step that is asked for, and its date in words; 0 and nothing without time."""
    if "time" not in source.full_array.dims and not wanted:
        return 0, ""
    step = find_first_step(source.time, wanted, source.path)
    return step, format_date(source.time[step], time_resolution(source.time))


def find_matching_step(other: PlotVariable, source: PlotVariable, step: int) -> int:
    """Return the step of another file that has the date of a step of the first."""
    if (
        "time" not in source.full_array.dims
        or other.full_array.sizes.get("time", 1) == 1 == (source.full_array.sizes["time"])
    ):
        return 0
    return find_same_step(other.time, source.time[step], time_resolution(source.time), other.path)


@dataclass(frozen=True)
class PlotData:
    """One variable in up to four files, all in one unit.

    Attributes:
        options: What the user wants.
        source: The field.
        truth: What it should be.
        coarse: What it was made from.
        background: What it was before observations were seen.
    """

    options: PlotOptions
    source: PlotVariable
    truth: PlotVariable | None
    coarse: PlotVariable | None
    background: PlotVariable | None

    @property
    def footer(self) -> str:
        """Say what the picture was made from."""
        ask = self.options
        files = [self.source.path, ask.truth, ask.coarse, ask.background, ask.report]
        return picture_provenance(self.source.attrs, [path for path in files if path])

    def heading(self, *more: str) -> list[str]:
        """Return the variable's name and a line of more words."""
        words = self.source.title
        name = words if words == self.source.name else words[:1].upper() + words[1:]
        return [name, ", ".join(word for word in more if word)]

    def need_truth(self, kind: str) -> PlotVariable:
        """Return the truth."""
        if self.truth is None:
            raise DpdmError(f"A picture of kind {kind} needs the truth.", "Say --truth TRUTH.nc.")
        return self.truth


def open_plot_data(path: Path, ask: PlotOptions) -> PlotData:
    """Open all files."""
    source = open_variable(path, ask)
    truth, coarse, background = (
        None if other is None else open_same_variable(other, source, ask.missing)
        for other in (ask.truth, ask.coarse, ask.background)
    )
    return PlotData(ask, source, truth, coarse, background)


@dataclass(frozen=True)
class DateFields:
    """All fields of one date.

    Attributes:
        step: Which step of the field's axis.
        date: Its date in words.
        fields: By title: coarse, mean, truth, as far as there are any.
        spread: The ensemble's standard deviation.
    """

    step: int
    date: str
    fields: dict[str, xr.DataArray]
    spread: xr.DataArray | None


def read_date_fields(view: PlotData) -> DateFields:
    """Read the fields of the date that is asked for."""
    source = view.source
    step, date = find_date(source, view.options.time)
    fields = {}
    if view.coarse:
        fields["coarse"] = _matching_fields(view.coarse, source, step)
    fields[source.mean_label] = read_step(source.mean, step, source.path)
    if view.truth:
        fields["truth"] = _matching_fields(view.truth, source, step)
    spread = source.spread
    wide = None if spread is None else read_step(spread, step, source.path)
    return DateFields(step, date, fields, wide)


def _matching_fields(other: PlotVariable, source: PlotVariable, step: int) -> xr.DataArray:
    return read_step(other.mean, find_matching_step(other, source, step), other.path)


def join_names(names: Sequence[str]) -> str:
    """Join names for a sentence.

    Example:
        >>> listed(["a", "b", "c"])
        'a, b or c'
    """
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
