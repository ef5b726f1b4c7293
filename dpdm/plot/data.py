"""Open the variable of a picture, with truth and input, in the units that the picture shows.

A file holds members, or statistics of them (mean, spread, percentiles); `PlotVariable` gives mean
and spread in either case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import xarray as xr

from dpdm import __version__
from dpdm.errors import DpdmError, escape_controls, prefix_file_name
from dpdm.fields.file_names import restore_names
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.level_names import base_name, split_statistic, statistic_name
from dpdm.fields.levels import LEVEL_DIM, group_families, is_level_dim, join_levels
from dpdm.fields.output_units import OutputUnit, OutputUnits, assign_output_units
from dpdm.fields.plausibility import MissingCodes
from dpdm.fields.read import FileOptions, open_fields
from dpdm.fields.subset import Box, cut_to_grid, select_box
from dpdm.fields.time_axis import select_with_bounds
from dpdm.fields.units import from_canonical, parse_unit
from dpdm.fields.variable_names import find_variable
from dpdm.file_group import Source, as_source, paths_of
from dpdm.plot.anomalies import ClimatologyRequest
from dpdm.plot.page import CM_PER_INCH, PageFormat
from dpdm.plot.scales import ScaleChoice

PROVENANCE_KEYS = ("prior", "input", "observations")  # attributes dpdm_KEY of a file
VERTICAL_KINDS = ("profile", "section")  # kinds that show variables on levels
DisplayUnit = tuple[str, float, float]  # unit, factor, offset
UNIT_KEYS = ("output_units", "source_units", "units")  # attributes with a variable's unit
# Units of pictures by unit of the file: unit, factor, offset.
DISPLAY_UNITS = {
    "K": ("°C", 1.0, -273.15),
    "degC": ("°C", 1.0, 0.0),
    "Pa": ("hPa", 0.01, 0.0),
    "mm day-1": ("mm/day", 1.0, 0.0),
    "kg m-2 s-1": ("mm/day", 86400.0, 0.0),
    "m s-1": ("m/s", 1.0, 0.0),
}


@dataclass(frozen=True)
class PlotOptions(FileOptions):
    """Options of a picture; missing ones are chosen by the contents of the file.

    Attributes:
        kind: One of `dpdm.plot.PLOT_KINDS`.
        variable: Its name in the file, or canonical.
        time: The beginning of a date, as 2012-07.
        truth: A fine field to compare with.
        coarse: The input of downscaling.
        background: The field before observations were assimilated.
        at: LAT,LON or the name of a station in `points`.
        points: A table of stations with columns station, lat and lon.
        report: The report of ``dpdm assimilate --report``.
        bbox: West, east, south and north, degrees.
        season: Initials of successive months, as DJF, whose steps are averaged.
        stat: A statistic of the members, as ``p90``.
        anomaly: Whether a climatology is subtracted.
        climatology: Its name or file; by default the bundled one.
        climatology_period: First and last month or year of a climatology that is a series.
        cmap: Name of a colour map.
        vmin: Value of its first colour.
        vmax: Value of its last colour.
        no_relief: Whether maps are drawn without relief.
        size: Width of the picture, cm.
        dpi: Pixels an inch.
        title: The first line of the picture, instead of the variable.
        interactive: Whether a map is written as a web page.
    """

    kind: str = ""
    variable: str = ""
    time: str = ""
    truth: Source | None = None
    coarse: Source | None = None
    background: Path | None = None
    at: str = ""
    points: Path | None = None
    report: Path | None = None
    bbox: Box | None = None
    season: str = ""
    stat: str = ""
    anomaly: bool = False
    climatology: str = ""
    climatology_period: tuple[str, str] | None = None
    cmap: str = ""
    vmin: float | None = None
    vmax: float | None = None
    no_relief: bool = False
    size: float | None = None
    dpi: int | None = None
    title: str = ""
    interactive: bool = False

    @property
    def form(self) -> PageFormat:
        """Return width and resolution of the page."""
        default = PageFormat()
        return PageFormat(
            self.size / CM_PER_INCH if self.size else default.width, self.dpi or default.dpi
        )

    @property
    def colours(self) -> ScaleChoice:
        """Return what is chosen of the colours."""
        return ScaleChoice(self.cmap, self.vmin, self.vmax)


@dataclass(frozen=True)
class PlotVariable:
    """One variable of one file.

    Attributes:
        path: The file.
        name: Its name, canonical if known.
        title: Its name in a picture.
        file_units: Units in the file, to which other files are converted.
        units: Units in the picture.
        exact_units: Whether the user has chosen the units of the picture.
        full_array: The members, or a single field, with time if the file has it.
        statistics: Statistics of the ensemble in the file: mean, spread, p10 and so on.
        attrs: Attributes of the file.
        bounds: Bounds of the steps, if the file has them.
        reference: The climatology that is subtracted, empty for values themselves.
    """

    path: Source
    name: str
    title: str
    file_units: str
    units: str
    exact_units: bool
    full_array: xr.DataArray
    statistics: Mapping[str, xr.DataArray]
    attrs: Mapping[str, Any]
    bounds: xr.DataArray | None = None
    reference: str = ""

    @property
    def grid(self) -> Grid:
        """Return the grid."""
        return grid_of(self.full_array)

    @property
    def count(self) -> int:
        """Return the number of members, which may be 0."""
        return int(self.full_array.sizes.get("realization", 0))

    @property
    def members(self) -> xr.DataArray:
        """Return the members."""
        if self.count == 0:
            raise DpdmError(
                f"{self.path} has no members of {self.name}.",
                "Write them with dpdm downscale --keep members, or draw another kind.",
            )
        return self.full_array

    @property
    def mean(self) -> xr.DataArray:
        """Return the ensemble mean, or the single field."""
        if self.count:
            return self.full_array.mean("realization", skipna=False, keep_attrs=True)
        return self.statistics.get("mean", self.full_array)

    @property
    def size(self) -> int:
        """Return the size of the ensemble, also where only statistics are stored; 0 if unknown."""
        stated = str(self.attrs.get("dpdm_members", ""))
        return self.count or (int(stated) if self.statistics and stated.isdigit() else 0)

    @property
    def colour_kind(self) -> str:
        """Return the quantity that decides the colours."""
        stem, statistic = split_statistic(self.name)
        if self.reference:
            return "anomaly of tp" if stem == "tp" else "anomaly"
        return "spread" if statistic == "spread" else stem

    @property
    def has_relief(self) -> bool:
        """Return whether relief may be shaded over maps: not over spreads or anomalies."""
        return self.colour_kind not in ("spread", "anomaly", "anomaly of tp")

    @property
    def spread(self) -> xr.DataArray | None:
        """Return the ensemble standard deviation, if available."""
        if "spread" in self.statistics:
            return self.statistics["spread"]
        return self.full_array.std("realization", ddof=1) if self.count > 1 else None

    @property
    def mean_label(self) -> str:
        """Return a label of the mean."""
        if self.count:
            return f"mean of {self.count}" if self.count > 1 else "one member"
        return "mean" if self.statistics else "field"

    @property
    def time(self) -> xr.DataArray:
        """Return the time axis."""
        if "time" not in self.full_array.dims:
            raise DpdmError(f"{self.path} has no time axis.", "Draw a map with --kind map.")
        return self.full_array["time"]


def open_variable(path: Source, options: PlotOptions) -> PlotVariable:
    """Open the selected variable of a file, by default the first."""
    fields = options.open(path, (options.variable,) if options.variable else None, False)
    families = {*group_families(fields), *group_families(restore_names(fields))}
    if options.kind in VERTICAL_KINDS or options.variable in families:
        fields, name = select_variable_levels(path, fields, options.variable)
    else:
        name = _variable(path, fields, options.variable)
    drawn = [str(n) for n in fields.data_vars if n == name or split_statistic(n)[0] == name]
    fields = _assign_units(fields, drawn, options.out_units, path)
    return _make_variable(path, fields, name, "", options.bbox)


def open_same_variable(
    path: Source, source: PlotVariable, missing: MissingCodes = {}
) -> PlotVariable:
    """Open the same variable of another file, in the units of the first."""
    fields = open_fields(paths_of(path), needed=(source.name,), missing=missing)
    if LEVEL_DIM in source.full_array.dims:
        fields, name = select_variable_levels(path, fields, source.name)
    else:
        name = _variable(path, fields, source.name)
    if source.exact_units:
        fields = _assign_units(fields, [name], [OutputUnit(name, source.file_units)], path)
    return _make_variable(path, fields, name, source.file_units, None)


def _assign_units(
    fields: xr.Dataset, names: Sequence[str], wanted: OutputUnits, path: Source
) -> xr.Dataset:
    """Return fields of which some are shown in the units that the user wants."""
    with prefix_file_name(path):
        converted = assign_output_units(select_with_bounds(fields, names), wanted)
    return fields.assign(converted.data_vars)


def select_variable_levels(
    path: Source, fields: xr.Dataset, wanted: str
) -> tuple[xr.Dataset, str]:
    """Return a variable on all its levels, by default the first, and its name."""
    groups = group_families(fields)
    if not groups:
        raise DpdmError(f"{path} has no variable on levels.", "Draw another kind of picture.")
    parts = [part for group in groups.values() for part in group]
    joined = join_levels(fields[parts])
    name = _variable(path, joined, base_name(fields[wanted]) if wanted in parts else wanted)
    (dim,) = (str(dim) for dim in joined[name].dims if is_level_dim(dim))
    related = [other for other, array in joined.data_vars.items() if dim in array.dims]
    for other in related:  # pictures show canonical units
        joined[other].attrs["source_units"] = joined[other].attrs.get("units", "")
    return joined[related].rename({dim: LEVEL_DIM}), name


def _variable(path: Source, fields: xr.Dataset, wanted: str) -> str:
    """Return the name of a variable, by default the first."""
    if not wanted:
        return str(next(iter(fields.data_vars)))
    return find_variable(fields, wanted, "Did you mean --variable {}?", path)


def _make_variable(
    path: Source, fields: xr.Dataset, name: str, unit: str, box: Box | None
) -> PlotVariable:
    """Convert a variable and its statistics to the units of a picture."""
    bounds = fields["time_bnds"] if "time_bnds" in fields.coords else None
    if box is not None:
        fields = cut_to_grid(fields, select_box(grid_of(fields), box), str(path))
    array = fields[name]
    own = next((array.attrs[key] for key in UNIT_KEYS if key in array.attrs), "")
    stored, exact = unit or str(own), "output_units" in array.attrs
    display = exact_unit(stored) if exact else display_unit(stored)
    statistics = {
        kind: _convert_to_display(fields[statistic_name(name, kind)], display, kind == "spread")
        for stem, kind in map(split_statistic, fields.data_vars)
        if kind and stem == name
    }
    values = from_canonical(array.assign_attrs(source_units=stored), bounds)
    difference = split_statistic(name)[1] == "spread"
    title = escape_controls(str(array.attrs.get("long_name", name)))
    title = title.removeprefix("mean over the ensemble of ")
    values = _convert_to_display(values, display, difference)
    units = difference_unit(display[0]) if difference else display[0]
    drawn = PlotVariable(
        path, name, title, stored, units, exact, values, statistics, fields.attrs, bounds
    )
    if drawn.count == 1:  # it has no spread and no percentiles, though they are stored
        return replace(drawn, statistics={k: v for k, v in statistics.items() if k == "mean"})
    return drawn


def exact_unit(stored: str) -> DisplayUnit:
    """Return a unit as the unit of a picture, in its usual spelling and without conversion.

    Example:
        >>> exact_unit("degC"), exact_unit("K")
        (('°C', 1.0, 0.0), ('K', 1.0, 0.0))
    """
    label, *line = display_unit(stored)
    return (label if line == [1.0, 0.0] else escape_controls(stored)), 1.0, 0.0


@cache
def display_unit(stored: str) -> DisplayUnit:
    """Return the unit of a picture for a unit of a file, with factor and offset.

    Example:
        >>> display_unit("kg m**-2 s**-1")[0], display_unit("celsius")[0], display_unit("Sv")[0]
        ('mm/day', '°C', 'Sv')
    """
    with suppress(DpdmError):
        unit = parse_unit(stored)
        for known, conversion in DISPLAY_UNITS.items():
            if unit == parse_unit(known):
                return conversion
    return escape_controls(stored), 1.0, 0.0


def _convert_to_display(
    array: xr.DataArray, display: DisplayUnit, difference: bool
) -> xr.DataArray:
    """Convert values to the unit of a picture; differences have no offset."""
    _, factor, offset = display
    return array * factor + (0.0 if difference else offset)


def difference_unit(units: str) -> str:
    """Return the unit of a difference: K for degrees Celsius."""
    return "K" if units == "°C" else units


@dataclass(frozen=True)
class PlotData:
    """One variable of up to four files, in the same units.

    Attributes:
        options: Options of the picture.
        source: The field.
        truth: The truth.
        coarse: The input of downscaling.
        background: The field before observations were assimilated.
    """

    options: PlotOptions
    source: PlotVariable
    truth: PlotVariable | None
    coarse: PlotVariable | None
    background: PlotVariable | None

    @property
    def footer(self) -> str:
        """Return the provenance of the picture."""
        options = self.options
        files = [
            self.source.path,
            options.truth,
            options.coarse,
            options.background,
            options.report,
        ]
        return picture_provenance(self.source.attrs, [path for path in files if path])

    def heading(self, *more: str) -> list[str]:
        """Return the title of the variable, and a line of further words."""
        title = self.source.title
        title = title if title == self.source.name else title[:1].upper() + title[1:]
        if self.source.reference:
            more = (f"anomaly from {self.source.reference}", *more)
        return [self.options.title or title, ", ".join(word for word in more if word)]

    def need_truth(self, kind: str) -> PlotVariable:
        """Return the truth."""
        if self.truth is None:
            raise DpdmError(f"A picture of kind {kind} needs the truth.", "Add --truth TRUTH.nc.")
        return self.truth


def open_plot_data(path: Source, options: PlotOptions) -> PlotData:
    """Open the files of a picture."""
    source = open_variable(path, options)
    truth, coarse, background = (
        None if other is None else open_same_variable(other, source, options.missing)
        for other in (options.truth, options.coarse, options.background)
    )
    if options.anomaly:
        source = subtract_climatology(source, options)
        truth, coarse = (
            None if each is None else subtract_climatology(each, options)
            for each in (truth, coarse)
        )
    return PlotData(options, source, truth, coarse, background)


def subtract_climatology(variable: PlotVariable, options: PlotOptions) -> PlotVariable:
    """Return the anomalies of a variable and of its statistics, lazily."""
    stem, statistic = split_statistic(variable.name)
    if statistic == "spread":
        raise DpdmError(f"{variable.name} is a spread, which has no anomaly.", "Leave it out.")
    request = ClimatologyRequest(
        options.climatology, options.climatology_period, stem, options.missing
    )
    climate = request.open(variable.full_array, variable.bounds, variable.path)
    stored = variable.file_units
    states = climate.states.assign_attrs(source_units=stored)
    display = exact_unit(stored) if variable.exact_units else display_unit(stored)
    normal = _convert_to_display(from_canonical(states, variable.bounds), display, False)
    return replace(
        variable,
        full_array=variable.full_array - normal,
        statistics={
            kind: array if kind == "spread" else array - normal
            for kind, array in variable.statistics.items()
        },
        units=difference_unit(variable.units),
        reference=climate.title,
    )


def shared_grid(source: PlotVariable, truth: PlotVariable | None) -> Grid:
    """Return the grid to compare on: the field's, or the truth's if it has fewer cells."""
    fewer = truth and truth.grid.lat.size * truth.grid.lon.size
    cells = source.grid.lat.size * source.grid.lon.size
    return truth.grid if truth and fewer and fewer < cells else source.grid


def cut_field(grid: Grid, array: xr.DataArray, what: str) -> xr.Dataset:
    """Cut a field to a grid, as variable `field`."""
    return cut_to_grid(array.to_dataset(name="field"), grid, what)


def picture_provenance(attrs: Mapping[str, Any], files: Sequence[Source]) -> str:
    """Return the version of dpdm, the files of a picture, and the inputs of the first of them.

    Example:
        >>> attrs = {"dpdm_prior": "default", "dpdm_input": "tas.nc pr.nc"}
        >>> picture_provenance(attrs, [Path("a/fine.nc")]).partition("; ")[2]
        'fine.nc; prior default; input tas.nc and 1 more file'
    """
    names = [path.name for path in files]
    words = {word: str(attrs.get(f"dpdm_{word}", "")).split() for word in PROVENANCE_KEYS}
    inputs = {word: as_source([*map(Path, paths)]).name for word, paths in words.items() if paths}
    others = [f"{word} {name}" for word, name in inputs.items() if name not in names]
    return escape_controls("; ".join([f"dpdm {__version__}", ", ".join(names), *others]))


def join_names(names: Sequence[str]) -> str:
    """Join names for a sentence.

    Example:
        >>> join_names(["a", "b", "c"])
        'a, b or c'
    """
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
