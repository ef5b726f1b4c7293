"""Select the steps, cells, variables and statistics to export."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError, prefix_file_name
from dpdm.export.legible_units import convert_to_legible
from dpdm.fields.file_names import file_name, restore_attributes
from dpdm.fields.grid import Grid, grid_of, recentre_grid
from dpdm.fields.level_names import split_statistic, statistic_name
from dpdm.fields.output_units import assign_output_units
from dpdm.fields.read import FileOptions
from dpdm.fields.statistics import Statistic, is_ensemble_mean, parse_statistic
from dpdm.fields.subset import Box, cells_in_polygons, select_box, select_on_grid
from dpdm.fields.time import distinct_date_labels
from dpdm.fields.time_axis import select_with_bounds
from dpdm.fields.units import from_canonical
from dpdm.fields.value_checks import load_checked_fields
from dpdm.fields.variable_names import find_variable
from dpdm.file_group import Source


@dataclass(frozen=True)
class ExportOptions(FileOptions):
    """Options of an export.

    Attributes:
        variable: A variable, empty for all.
        stat: A statistic of the ensemble, as ``mean``, ``p90`` or ``probability>300``.
        time: A date, or two with ``..`` between them; empty for all steps.
        bbox: West, east, south and north, degrees.
        mask: A GeoJSON file; cells outside its polygons are missing.
        crs: The coordinate reference system of a GeoTIFF, empty for longitude and latitude.
        split: Whether each step is written to its own GeoTIFF.
        points: A table of stations, for output as a table.
        method: "nearest" or "bilinear", between cell centres and stations.
        stac: Whether to write a STAC item with a GeoTIFF.
        qml: Whether to write a style file of QGIS with a GeoTIFF.
    """

    variable: str = ""
    stat: str = ""
    time: str = ""
    bbox: Box | None = None
    mask: Path | None = None
    crs: str = ""
    split: bool = False
    points: Path | None = None
    method: str = "nearest"
    stac: bool = False
    qml: bool = False


_DATE_PATTERN = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d)?)?)?)?)?")


@dataclass(frozen=True)
class OutputLayer:
    """One variable of the output.

    Attributes:
        name: Its name in the output.
        array: The lazy canonical field, with or without members and time.
        stat: The statistic of the members to compute, if any.
        bounds: Time bounds, needed for amounts.
        cell_mask: The cells of the mask, if any.
        path: The file.
        legible: Whether values are converted to a legible unit.
    """

    name: str
    array: xr.DataArray
    stat: Statistic | None
    bounds: xr.DataArray | None
    cell_mask: NDArray[np.bool_] | None
    path: Source
    legible: bool = False

    @property
    def colour_kind(self) -> str:
        """Return the quantity that decides the colours: spread, probability or the variable."""
        stem, stored = split_statistic(self.array.name)
        statistic = self.stat.kind if self.stat else stored
        return statistic if statistic in ("spread", "probability") else stem

    @property
    def grid(self) -> Grid:
        """Return the grid."""
        return grid_of(self.array)

    @property
    def steps(self) -> int:
        """Return the number of steps, 1 without time."""
        return int(self.array.sizes.get("time", 1))

    def members(self, step: int) -> xr.DataArray:
        """Load one step with all its members, in the units of the output."""
        timed = "time" in self.array.dims
        one = self.array.isel(time=[step]) if timed else self.array
        bounds = self.bounds.isel(time=[step]) if self.bounds is not None else None
        loaded = load_checked_fields(one.to_dataset(), str(self.path))[str(one.name)]
        values = from_canonical(loaded, bounds)
        return values if self.cell_mask is None else values.where(self.cell_mask)

    def output_step(self, step: int) -> xr.DataArray:
        """Compute one step of the output."""
        members = self.members(step)
        with prefix_file_name(self.path):
            out = self.stat.of(members) if self.stat else members
            out = convert_to_legible(out) if self.legible else out
            return restore_attributes(out).rename(self.name)


def open_selected(path: Source, options: ExportOptions) -> xr.Dataset:
    """Open the canonical fields of the selected steps and box, with longitudes from -180."""
    fields = options.open(path, (options.variable,) if options.variable else None, False)
    with prefix_file_name(path):
        fields = assign_units_of_selected(fields, options)
        fields = select_period(fields, options.time) if options.time else fields
        grid = select_box(grid_of(fields), options.bbox) if options.bbox else grid_of(fields)
        part = select_on_grid(fields, recentre_grid(grid))
        assert part is not None  # its own cells, with other longitudes
        return part


def assign_units_of_selected(fields: xr.Dataset, options: ExportOptions) -> xr.Dataset:
    """Return fields whose selected variables are written in the units of --out-units."""
    names = select_names(fields, options, bare=False)
    stems = {split_statistic(name)[0] for name in names} if options.variable else set()
    related = [name for name in fields.data_vars if split_statistic(name)[0] in stems]
    chosen = select_with_bounds(fields, list(dict.fromkeys([*names, *map(str, related)])))
    return fields.assign(assign_output_units(chosen, options.out_units).data_vars)


def select_period(fields: xr.Dataset, text: str) -> xr.Dataset:
    """Select the steps of a date, as 2012-01, or of a period, as 2012-01..2012-03."""
    first, dots, last = (part.strip() for part in text.partition(".."))
    last = last if dots else first
    dates = [date for date in (first, last) if date]
    if not dates or not all(_DATE_PATTERN.fullmatch(date) for date in dates):
        raise DpdmError(
            f"'{text}' is not a valid date.", "Give --time 2012-01 or --time 2012-01..2012-03."
        )
    if "time" not in fields.dims:
        raise DpdmError("the fields have no time axis.", "Leave --time out.")
    try:
        selected = fields.sel(time=slice(first or None, last or None))
    except (ValueError, TypeError, KeyError) as fault:  # each kind of index has its own
        raise DpdmError(
            f"'{text}' is not a valid date.", "Give a date such as 2012-01-31."
        ) from fault
    if not selected.sizes["time"]:
        ends = [str(fields["time"].values[i])[:10] for i in (0, -1)]
        raise DpdmError(
            f"there is no step of {text}; there are {fields.sizes['time']} from {ends[0]} to "
            f"{ends[1]}.",
            "Give a date between those.",
        )
    return selected


def make_layers(
    fields: xr.Dataset, path: Source, options: ExportOptions, stat: str
) -> list[OutputLayer]:
    """Return the variables of the output.

    Args:
        fields: Canonical fields.
        path: Their file.
        options: Variable and mask.
        stat: The statistic of each variable; empty for the variables themselves.
    """
    with prefix_file_name(path):
        names = select_names(fields, options, bool(stat))
        outputs = [
            select_statistic(fields, name, stat) if stat else (name, None) for name in names
        ]
    cell_mask = cells_in_polygons(grid_of(fields), options.mask) if options.mask else None
    bounds = fields.get("time_bnds")
    return [
        OutputLayer(_output_name(fields[name], of), fields[name], of, bounds, cell_mask, path)
        for name, of in outputs
    ]


def _output_name(array: xr.DataArray, stat: Statistic | None) -> str:
    """Return the name of a variable, with the suffix of its statistic."""
    kind = split_statistic(array.name)[1]
    suffix = stat.suffix if stat else "_mean" if is_ensemble_mean(array) and not kind else ""
    name = file_name(array)
    return f"{split_statistic(name)[0]}{suffix}" if suffix else name


def select_names(fields: xr.Dataset, options: ExportOptions, bare: bool) -> list[str]:
    """Return the selected variable or all variables, if ``bare`` without their statistics."""
    if options.variable:
        return [find_variable(fields, options.variable, "Use --variable {}.")]
    names = [str(name) for name in fields.data_vars]
    return [
        name for name in names if not bare or split_statistic(name)[0] not in set(names) - {name}
    ]


def single_variable(fields: xr.Dataset, path: Source, options: ExportOptions) -> str:
    """Return the selected or only variable of a file."""
    with prefix_file_name(path):
        names = select_names(fields, options, bare=True)
        if len(names) > 1:
            raise DpdmError(
                f"a GeoTIFF has one variable, but there are {len(names)}: {', '.join(names)}.",
                f"Select one of them, as in --variable {names[0]}.",
            )
        return names[0]


def select_statistic(fields: xr.Dataset, name: str, text: str) -> tuple[str, Statistic | None]:
    """Return the stored field of a statistic, or the variable and the statistic to compute."""
    statistic = parse_statistic(text)
    stored = statistic_name(name, statistic.text)
    if stored in fields.data_vars:
        return stored, None
    if statistic.kind == "mean" and is_ensemble_mean(fields[name]):
        return name, None
    if "realization" in fields[name].dims:
        _check_spread(fields[name], statistic)
        return name, statistic
    available = [kind for kind in stored_statistics(fields, name) if kind]
    raise DpdmError(
        f"{name} has no members, and no {statistic.text} is stored"
        + (f"; there is {', '.join(available)}." if available else "."),
        "Leave --stat out, or give a file with members: dpdm downscale ... --keep members.",
    )


def _check_spread(array: xr.DataArray, statistic: Statistic) -> None:
    """Refuse the spread of one member."""
    if statistic.kind == "spread" and array.sizes["realization"] == 1:
        raise DpdmError(f"{array.name} has one member; a spread needs two.", "Draw more members.")


def stored_statistics(fields: xr.Dataset, name: str) -> Sequence[str]:
    """Return the statistics of a variable in the file, the mean first."""
    split = [split_statistic(other) for other in fields.data_vars]
    stored = [kind for stem, kind in split if kind and stem == name]
    own = ["mean"] if is_ensemble_mean(fields[name]) and "mean" not in stored else []
    return own + stored


def iso_dates(time: xr.DataArray) -> list[str]:
    """Return ISO dates, with the time of day unless it is midnight.

    Example:
        >>> times = xr.DataArray(["2012-01-16", "2012-02-15T12"], dims="time").astype("M8[ns]")
        >>> iso_dates(times)
        ['2012-01-16', '2012-02-15T12:00:00']
    """
    texts = time.dt.strftime("%Y-%m-%dT%H:%M:%S").values
    return [str(text).removesuffix("T00:00:00") for text in texts]


def file_labels(time: xr.DataArray) -> list[str]:
    """Return the date of each step, with the time if days have several: 2012-01-16T0600."""
    texts = distinct_date_labels(time, ("%Y-%m-%d", "%Y-%m-%dT%H%M"))
    if len(set(texts)) < len(texts):
        raise DpdmError(
            "Two steps have the same date and minute.", "Select one of them with --time."
        )
    return texts


def split_names(target: Path, time: xr.DataArray) -> list[Path]:
    """Return the name of the file of each step, as OUT_2012-01-16.tif."""
    return [target.with_name(f"{target.stem}_{text}{target.suffix}") for text in file_labels(time)]
