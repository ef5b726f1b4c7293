"""What of a file is wanted: which steps, cells and variables, and which statistic of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError, prefix_file_name
from dpdm.export.warp import recentre_grid
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.level_names import split_statistic, statistic_name
from dpdm.fields.read import FileOptions
from dpdm.fields.statistics import Statistic, is_ensemble_mean, parse_statistic
from dpdm.fields.subset import Box, cells_in_polygons, select_box, select_on_grid
from dpdm.fields.time import distinct_date_labels
from dpdm.fields.units import from_canonical
from dpdm.fields.value_checks import load_checked_fields
from dpdm.fields.variable_names import find_variable


@dataclass(frozen=True)
class ExportOptions(FileOptions):
    """Say what of a file is exported, and how.

    Attributes:
        variable: Which variable; empty for all, or for the only one.
        stat: Which statistic of the ensemble, as ``mean``, ``p90`` or ``probability>300``.
        time: A date, or two with ``..`` between them; empty for all steps.
        bbox: West, east, south and north of what is kept, degrees.
        mask: A GeoJSON file; cells outside its polygons are missing.
        crs: The reference system of a GeoTIFF, empty for longitude and latitude.
        split: Whether each step is a GeoTIFF of its own.
        points: A table of stations at which a table is made.
        method: "nearest" or "bilinear", between cell centres and stations.
        stac: Whether a STAC item is written beside a GeoTIFF.
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


_DATE_PATTERN = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d)?)?)?)?)?")


@dataclass(frozen=True)
class OutputLayer:
    """One variable of the output: a field in the file, and what is made of its members.

    Attributes:
        name: Its name in the output.
        array: The canonical field, lazy, with or without members and time.
        stat: What is made of the members, or nothing.
        bounds: Time bounds, which amounts need.
        cell_mask: The cells that are kept, or nothing for all.
        path: The file.
    """

    name: str
    array: xr.DataArray
    stat: Statistic | None
    bounds: xr.DataArray | None
    cell_mask: NDArray[np.bool_] | None
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
        loaded = load_checked_fields(one.to_dataset(), self.path)[str(one.name)]
        back = from_canonical(loaded, bounds)
        return back if self.cell_mask is None else back.where(self.cell_mask)

    def output_step(self, step: int) -> xr.DataArray:
        """Return one step of the output."""
        members = self.members(step)
        with prefix_file_name(self.path):
            return (self.stat.of(members) if self.stat else members).rename(self.name)


def open_selected(path: Path, ask: ExportOptions) -> xr.Dataset:
    """Open a file's canonical fields at the steps and in the box, from the west in -180 to 180."""
    fields = ask.open(path, (ask.variable,) if ask.variable else None)
    with prefix_file_name(path):
        fields = select_period(fields, ask.time) if ask.time else fields
        grid = select_box(grid_of(fields), ask.bbox) if ask.bbox else grid_of(fields)
        part = select_on_grid(fields, recentre_grid(grid))
        assert part is not None  # its own cells, on another turn
        return part


def select_period(fields: xr.Dataset, text: str) -> xr.Dataset:
    """Return the steps of a date, as 2012-01, or from one to another, as 2012-01..2012-03."""
    first, dots, last = (part.strip() for part in text.partition(".."))
    last = last if dots else first
    words = [word for word in (first, last) if word]
    if not words or not all(_DATE_PATTERN.fullmatch(word) for word in words):
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


def make_layers(
    fields: xr.Dataset, path: Path, ask: ExportOptions, stat: str
) -> list[OutputLayer]:
    """Return the variables of the output.

    Args:
        fields: Canonical fields.
        path: The file that they are of.
        ask: Which variable and mask.
        stat: The statistic of each; empty to leave every variable as it is.
    """
    with prefix_file_name(path):
        names = named(fields, ask, bool(stat))
        wanted = [select_statistic(fields, name, stat) if stat else (name, None) for name in names]
    kept = cells_in_polygons(grid_of(fields), ask.mask) if ask.mask else None
    bounds = fields.get("time_bnds")
    return [
        OutputLayer(_output_name(fields[name], of), fields[name], of, bounds, kept, path)
        for name, of in wanted
    ]


def _output_name(array: xr.DataArray, stat: Statistic | None) -> str:
    """Return a name that tells a statistic from the variable."""
    kind = split_statistic(array.name)[1]
    suffix = stat.suffix if stat else "_mean" if is_ensemble_mean(array) and not kind else ""
    return f"{array.name}{suffix}"


def named(fields: xr.Dataset, ask: ExportOptions, bare: bool) -> list[str]:
    """Return the variable that is asked for, else all, without statistics of others if bare."""
    if ask.variable:
        return [find_variable(fields, ask.variable, "Say --variable {}.")]
    names = [str(name) for name in fields.data_vars]
    return [
        name for name in names if not bare or split_statistic(name)[0] not in set(names) - {name}
    ]


def single_variable(fields: xr.Dataset, path: Path, ask: ExportOptions) -> str:
    """Return the variable that a file of one variable is of."""
    with prefix_file_name(path):
        names = named(fields, ask, bare=True)
        if len(names) > 1:
            raise DpdmError(
                f"there are {len(names)} variables, {', '.join(names)}, and a GeoTIFF has one.",
                f"Say which: --variable {names[0]}.",
            )
        return names[0]


def select_statistic(fields: xr.Dataset, name: str, text: str) -> tuple[str, Statistic | None]:
    """Return the stored field of a statistic, or the variable and what to make of its members."""
    asked = parse_statistic(text)
    ready = statistic_name(name, asked.text)
    if ready in fields.data_vars:
        return ready, None
    if asked.kind == "mean" and is_ensemble_mean(fields[name]):
        return name, None
    if "realization" in fields[name].dims:
        _check_spread(fields[name], asked)
        return name, asked
    there = [kind for kind in stored_statistics(fields, name) if kind]
    raise DpdmError(
        f"{name} has no members, and no {asked.text} is stored"
        + (f"; there is {', '.join(there)}." if there else "."),
        "Leave --stat out, or give a file with members: dpdm downscale ... --keep members.",
    )


def _check_spread(array: xr.DataArray, asked: Statistic) -> None:
    """Refuse the spread of one member."""
    if asked.kind == "spread" and array.sizes["realization"] == 1:
        raise DpdmError(f"{array.name} has one member; a spread needs two.", "Draw more members.")


def stored_statistics(fields: xr.Dataset, name: str) -> Sequence[str]:
    """List the statistics of a variable that are stored, the mean first."""
    split = [split_statistic(other) for other in fields.data_vars]
    found = [kind for stem, kind in split if kind and stem == name]
    own = ["mean"] if is_ensemble_mean(fields[name]) and "mean" not in found else []
    return own + found


def iso_dates(time: xr.DataArray) -> list[str]:
    """Return ISO dates, with the time of the day where it is not midnight.

    Example:
        >>> times = xr.DataArray(["2012-01-16", "2012-02-15T12"], dims="time").astype("M8[ns]")
        >>> dates(times)
        ['2012-01-16', '2012-02-15T12:00:00']
    """
    texts = time.dt.strftime("%Y-%m-%dT%H:%M:%S").values
    return [str(text).removesuffix("T00:00:00") for text in texts]


def file_labels(time: xr.DataArray) -> list[str]:
    """Return the day of each step, and the time where a day has several: 2012-01-16T0600."""
    texts = distinct_date_labels(time, ("%Y-%m-%d", "%Y-%m-%dT%H%M"))
    if len(set(texts)) < len(texts):
        raise DpdmError("Two steps are of the same minute.", "Choose one of them with --time.")
    return texts


def split_names(target: Path, time: xr.DataArray) -> list[Path]:
    """Return the name of each step's own file, as OUT_2012-01-16.tif."""
    return [target.with_name(f"{target.stem}_{text}{target.suffix}") for text in file_labels(time)]
