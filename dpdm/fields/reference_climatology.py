"""The reference climatology of a target grid: what is known of the climate of each place.

Twelve monthly fields of some variables, from the bundled climatology, a file, or a prior. One
step of a series has the climate of its month; a season or a year that of its months, weighted by
their days; shorter steps that between the middles of two months.

A grid that is a part of the climatology's takes its cells. A finer climatology is averaged over
the area of the target's cells, another one interpolated bilinearly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import ceil, floor
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.climatology_file import MonthlyMeans, read_monthly_means
from dpdm.fields.grid import Array, Grid, grid_of
from dpdm.fields.packed_climatology import PackedClimatology, read_packed_climatology
from dpdm.fields.plausibility import MissingCodes
from dpdm.fields.regrid import (
    apply_matrices,
    apply_mean,
    average_conservative,
    bilinear_matrices,
)
from dpdm.fields.statics import MEAN_SPACING_RATIO, read_bundled_statics, regrid_statics
from dpdm.fields.subset import select_on_grid
from dpdm.fields.time import (
    PERIOD_DAYS,
    is_dated,
    period_of,
    step_dates,
    step_intervals,
    step_length,
    step_months,
    to_cftime,
)

BUNDLED = "era5"
DEFAULT, NONE = "", "none"
NAMED_CHOICES = (DEFAULT, NONE, BUNDLED)
DEFAULT_SPACING_RATIOS = (0.6, 1.6)  # target over climatology, of a default
COARSEST_RATIO = 1.6  # climatology over target
LAND = 0.5  # land fraction from which on a cell is land
MONTH_DAYS = np.array([31, 28.25, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


@dataclass(frozen=True)
class ReferenceClimatology:
    """The climatology on a target grid.

    Attributes:
        name: "era5" for the bundled one, the name of a file, or "prior's own".
        period: First and last month, as in "2000-01 to 2025-12"; empty if unknown.
        fields: Canonical fields (month, lat, lon), month from 1 to 12, of the variables that it
            has; NaN where it is unknown.
        sha256: Digest of a file, empty for others.
    """

    name: str
    period: str
    fields: xr.Dataset
    sha256: str = ""

    def state(
        self, time: xr.DataArray | None, bounds: xr.DataArray | None, step: int
    ) -> xr.Dataset:
        """Return the climate (lat, lon) of one step of a time axis, or of the year without one."""
        weights = month_weights(time, bounds, step)
        months = np.flatnonzero(weights)
        share = xr.DataArray(weights[months], dims="month")
        chosen = self.fields.isel(month=months).drop_vars("month")
        with xr.set_options(keep_attrs=True):
            return (chosen * share).sum("month", skipna=False)

    @property
    def provenance(self) -> dict[str, object]:
        """Return name, digest and period, for the attributes of the output."""
        notes: dict[str, object] = {"climatology": self.name}
        notes |= {"climatology_sha256": self.sha256} if self.sha256 else {}
        return notes | ({"climatology_period": self.period} if self.period else {})


def month_weights(time: xr.DataArray | None, bounds: xr.DataArray | None, step: int) -> Array:
    """Return the share (12,) of each calendar month in the climate of one step."""
    if time is None or not is_dated(time):
        return MONTH_DAYS / MONTH_DAYS.sum()
    length = step_length(time, bounds)
    if period_of(time, bounds, single="month") == "month":
        return np.eye(12)[step_months(time, bounds)[step] - 1]
    if length > PERIOD_DAYS["month"][1]:
        starts, ends = step_intervals(time, bounds)
        return _interval_weights(*(_month_position(times[step]) for times in (starts, ends)))
    date = step_dates(time, bounds).values[step]
    day = 0.99 < length < 1.01
    return _interpolation_weights(_month_position(date, whole_day=day))


def _month_position(date: object, whole_day: bool = False) -> float:
    """Return a date in months since the year 0; the middle of its day if the day is meant."""
    stamp = to_cftime(np.array([date]), getattr(date, "calendar", "standard"))[0]
    hours = 12.0 if whole_day else stamp.hour + stamp.minute / 60
    passed = (stamp.day - 1 + hours / 24) / stamp.daysinmonth
    return float(stamp.year * 12 + stamp.month - 1 + passed)


def _interval_weights(start: float, end: float) -> Array:
    """Return the share (12,) of each calendar month in an interval, by days.

    Example:
        >>> (90.25 * _interval_weights(11, 14)).round(2).tolist()[:3]  # December to February
        [31.0, 28.25, 0.0]
    """
    days = np.zeros(12)
    for month in range(floor(start), ceil(end)):
        days[month % 12] += (min(end, month + 1) - max(start, month)) * MONTH_DAYS[month % 12]
    return days / days.sum()


def _interpolation_weights(position: float) -> Array:
    """Return the weights (12,) of linear interpolation between the middles of months.

    Example:
        >>> _interpolation_weights(0.75).tolist()[:3]  # three weeks into January
        [0.75, 0.25, 0.0]
    """
    before = floor(position - 0.5)
    after = position - 0.5 - before
    weights = np.zeros(12)
    weights[[before % 12, (before + 1) % 12]] = 1 - after, after
    return weights


def open_climatology(
    choice: str,
    grid: Grid,
    names: Sequence[str],
    *,
    period: tuple[str, str] | None = None,
    rename: Mapping[str, str] = {},
    units: Mapping[str, str] = {},
    missing: MissingCodes = {},
) -> ReferenceClimatology | None:
    """Return the climatology of a grid, None where there is none.

    Args:
        choice: "era5" for the bundled one, "none", a path, or nothing for the default: the
            bundled one where it has a variable and about the spacing of the grid.
        grid: The target.
        names: The variables that are used.
        period: First and last month of a file's series that are averaged.
        rename: Names of variables in a file, by canonical name.
        units: Units of a file's variables that have none, by variable.
        missing: Codes of missing values of a file.
    """
    check_climatology_period(choice, period)
    if choice == NONE:
        return None
    if choice in NAMED_CHOICES:
        return open_bundled_climatology(grid, names, required=choice == BUNDLED)
    means = read_monthly_means(Path(choice), names, period, rename, units, missing)
    return fit_file(means, grid)


def check_climatology_period(choice: str, period: tuple[str, str] | None) -> None:
    """Refuse a period for a climatology that is no file."""
    if period is not None and choice in NAMED_CHOICES:
        raise DpdmError(
            "--climatology-period selects the years of a file, and --climatology names none.",
            "Give the file with --climatology FILE, or leave the period out.",
            code=2,
        )


@cache
def bundled_climatology() -> PackedClimatology:
    """Return the bundled climatology, of which only the header is read."""
    return read_packed_climatology(Path(str(files("dpdm") / "data" / "climatology_era5.bin")))


def open_bundled_climatology(
    grid: Grid, names: Sequence[str], required: bool = False
) -> ReferenceClimatology | None:
    """Return the bundled climatology on a grid.

    Without ``required``, None where it has no variable, or another spacing than the grid.
    """
    packed = bundled_climatology()
    known = [name for name in names if name in packed.names]
    if not required and not (known and has_default_spacing(grid, packed.grid)):
        return None
    if not known:
        raise DpdmError(
            f"The climatology {BUNDLED} has {', '.join(packed.names)}, and none of the prior's "
            f"variables {', '.join(names)}.",
            "Leave --climatology out, or give a file of them with --climatology FILE.",
        )
    fields = read_bundled_region(packed, known, grid)
    return ReferenceClimatology(BUNDLED, packed.attrs["period"], regrid_months(fields, grid))


def has_default_spacing(grid: Grid, own: Grid) -> bool:
    """Tell whether a grid has about the spacing of a climatology, so that it is used unasked."""
    low, high = DEFAULT_SPACING_RATIOS
    return all(low <= t / s <= high for t, s in zip(grid.spacing, own.spacing, strict=True))


def read_bundled_region(packed: PackedClimatology, names: Sequence[str], grid: Grid) -> xr.Dataset:
    """Return the packed fields (month, lat, lon) on the cells around a grid."""
    own = packed.grid
    rows = _rows_around(own, grid)
    columns, lon = _columns_around(own, grid)
    arrays = {}
    for name in names:
        attrs = packed.variables[packed.names.index(name)].attrs
        arrays[name] = (("month", "lat", "lon"), packed.read(name, rows, columns), attrs)
    return xr.Dataset(arrays, {"month": np.arange(1, 13), "lat": own.lat[rows], "lon": lon})


def _rows_around(own: Grid, grid: Grid) -> NDArray[np.intp]:
    """Return the rows between which the cells of a grid lie."""
    south, north = (grid.lat_edges[[0, -1]] - own.lat[0]) / own.spacing[0]
    return np.arange(max(0, floor(south)), min(own.shape[0] - 1, ceil(north)) + 1)


def _columns_around(own: Grid, grid: Grid) -> tuple[NDArray[np.intp], Array]:
    """Return the columns between which the cells of a grid lie, and their longitudes."""
    step, count = own.spacing[1], own.shape[1]
    west, east = (grid.lon_edges[[0, -1]] - own.lon[0]) / step
    numbers = np.arange(floor(west), ceil(east) + 1)
    if len(numbers) >= count:
        return np.arange(count), own.lon
    return numbers % count, own.lon[0] + step * numbers


def regrid_months(fields: xr.Dataset, grid: Grid) -> xr.Dataset:
    """Return monthly fields on a grid: their own cells, area means, or bilinear interpolation.

    Where some of the cells between which a value lies are unknown, the others count.
    """
    same = select_on_grid(fields, grid)
    if same is not None:
        return same
    own = grid_of(fields)
    if any(t > MEAN_SPACING_RATIO * s for t, s in zip(grid.spacing, own.spacing, strict=True)):
        return average_conservative(fields, grid)
    return apply_matrices(fields, grid, bilinear_matrices(own, grid), apply_mean)


def fit_file(means: MonthlyMeans, grid: Grid) -> ReferenceClimatology:
    """Return the monthly means of a file on a grid that they cover."""
    own = grid_of(means.fields)
    check_extent(own, grid, means.path.name)
    check_climatology_spacing(own, grid, means.path.name)
    fields = regrid_months(means.fields, grid)
    check_land(fields, grid, means.path.name)
    return ReferenceClimatology(means.path.name, means.period, fields, means.sha256)


def check_extent(own: Grid, grid: Grid, name: str) -> None:
    """Refuse a climatology that does not cover a grid."""
    if not own.covers(grid):
        raise DpdmError(
            f"{name} reaches over {describe_extent(own)}, and the target over "
            f"{describe_extent(grid)}.",
            "Give a climatology that covers the target, or a smaller target with --bbox.",
        )


def describe_extent(grid: Grid) -> str:
    """Return the extent of the cells in words.

    Example:
        >>> describe_extent(Grid(np.array([10.5, 11.5]), np.array([100.5, 101.5])))
        'latitudes 10 to 12 and longitudes 100 to 102'
    """
    (south, north), (west, east) = grid.lat_edges[[0, -1]], grid.lon_edges[[0, -1]]
    return f"latitudes {south:g} to {north:g} and longitudes {west:g} to {east:g}"


def check_climatology_spacing(own: Grid, grid: Grid, name: str) -> None:
    """Refuse a climatology whose cells are much larger than the target's."""
    for axis, word in enumerate(("latitude", "longitude")):
        coarse, fine = own.spacing[axis], grid.spacing[axis]
        if coarse > COARSEST_RATIO * fine:
            raise DpdmError(
                f"{name} has a spacing of {coarse:.4g} degrees of {word}, the target of "
                f"{fine:.4g}.",
                "Give a climatology about as fine as the target: detail is not made up.",
            )


def check_land(fields: xr.Dataset, grid: Grid, name: str) -> None:
    """Refuse months without values on land; missing values at sea are allowed."""
    land = regrid_statics(read_bundled_statics(), grid)["land_fraction"].values > LAND
    for variable, array in fields.data_vars.items():
        gaps: NDArray[np.bool_] = array.isnull().any("month").values
        if gaps.all():
            raise DpdmError(
                f"{name}: {variable} has no value on the target grid.",
                "Give a climatology of this region.",
            )
        if (gaps & land).any():
            row, column = np.argwhere(gaps & land)[0]
            raise DpdmError(
                f"{name}: {variable} is missing in {int((gaps & land).sum())} cells of the target "
                f"that are land, first at latitude {grid.lat[row]:g}, longitude "
                f"{grid.lon[column]:g}.",
                "Fill the gaps, as with cdo setmisstonn, or select a region without them with "
                "--bbox.",
            )
