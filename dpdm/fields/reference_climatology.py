"""The reference climatology of a target grid, for each calendar month.

Twelve monthly fields of some variables, from the bundled climatology, a file, or a prior. One
step of a series has the climate of its month; a season or a year that of its months, weighted by
their days; shorter steps that between the middles of two months.
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

from dpdm import choices
from dpdm.errors import DpdmError, did_you_mean
from dpdm.fields.climatology_file import (
    PERIOD_HINT,
    FileRequest,
    is_whole_year,
    read_monthly_means,
)
from dpdm.fields.climatology_grid import cells_around, regrid_months
from dpdm.fields.grid import Array, Grid, extend_grid
from dpdm.fields.packed_climatology import PackedClimatology, read_packed_climatology
from dpdm.fields.plausibility import MissingCodes
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

BUNDLED, NONE = choices.CLIMATOLOGIES
DEFAULT = ""
NAMED_CHOICES = (DEFAULT, NONE, BUNDLED)
DEFAULT_SPACING_RATIOS = (0.6, 1.6)  # target over climatology, of a default
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
        attrs = {name: array.attrs for name, array in chosen.items()}
        state = (chosen * share).sum("month", skipna=False)
        return state.assign({n: a.assign_attrs(attrs[n]) for n, a in state.items()})

    @property
    def title(self) -> str:
        """Return name and period, as in "era5 (2000-01 to 2025-12)"."""
        return f"{self.name} ({self.period})" if self.period else self.name

    @property
    def provenance(self) -> dict[str, object]:
        """Return name, digest and period, for the attributes of the output."""
        notes: dict[str, object] = {"climatology": self.name}
        notes |= {"climatology_sha256": self.sha256} if self.sha256 else {}
        return notes | ({"climatology_period": self.period} if self.period else {})


def month_weights(time: xr.DataArray | None, bounds: xr.DataArray | None, step: int) -> Array:
    """Return the share (12,) of each calendar month in the climate of one step."""
    if time is None or not is_dated(time):
        return _interval_weights(0, 12)
    length = step_length(time, bounds)
    if period_of(time, bounds, single="month") == "month":
        month = int(step_months(time, bounds)[step])
        return _interval_weights(month - 1, month)
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
    weights: Array = days / days.sum()
    return weights


def _interpolation_weights(position: float) -> Array:
    """Return the weights (12,) of linear interpolation in time between the middles of months.

    Example:
        >>> _interpolation_weights(6.75).tolist()[6:8]  # three weeks into July
        [0.75, 0.25]
    """
    month = floor(position)
    beyond = position - month - 0.5  # of the month, from its middle
    other = month + (1 if beyond >= 0 else -1)
    length, next_length = MONTH_DAYS[[month % 12, other % 12]]
    share = abs(beyond) * length / ((length + next_length) / 2)
    weights = np.zeros(12)
    weights[[month % 12, other % 12]] = 1 - share, share
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
    margin: tuple[int, int] = (0, 0),
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
        margin: Rows and columns around the grid that are returned too, as far as they are known.
    """
    check_climatology_period(choice, period)
    if choice == NONE:
        return None
    if choice in NAMED_CHOICES:
        return open_bundled_climatology(grid, names, choice == BUNDLED, margin)
    check_file_name(choice)
    request = FileRequest(Path(choice), names, period, rename, units, missing)
    means = read_monthly_means(request, grid, margin)
    return ReferenceClimatology(means.name, means.period, means.fields, means.sha256)


def check_climatology_period(choice: str, period: tuple[str, str] | None) -> None:
    """Refuse a period for a climatology that is no file, and one shorter than a year."""
    if period is not None and choice in NAMED_CHOICES:
        raise DpdmError(
            "--climatology-period selects the years of a file, and --climatology names none.",
            "Give the file with --climatology FILE, or leave the period out.",
            code=2,
        )
    if period is not None and not is_whole_year(period):
        raise DpdmError(
            f"--climatology-period {','.join(period)} is shorter than a year.", PERIOD_HINT, code=2
        )


def check_file_name(choice: str) -> None:
    """Refuse a name that is neither a climatology's nor a file's."""
    if not Path(choice).suffix and not Path(choice).exists():
        raise DpdmError(
            f"There is no climatology {choice}: no such file, and no bundled one of that name.",
            did_you_mean(choice, choices.CLIMATOLOGIES, f"Give {BUNDLED}, {NONE} or a file."),
        )


@cache
def bundled_climatology() -> PackedClimatology:
    """Return the bundled climatology, of which only the header is read."""
    return read_packed_climatology(Path(str(files("dpdm") / "data" / "climatology_era5.bin")))


def open_bundled_climatology(
    grid: Grid, names: Sequence[str], required: bool = False, margin: tuple[int, int] = (0, 0)
) -> ReferenceClimatology | None:
    """Return the bundled climatology on a grid, with a margin of rows and columns.

    Without ``required``, None where it has no variable, or another spacing than the grid.
    """
    packed = bundled_climatology()
    known = [name for name in names if name in packed.names]
    if not required and not (known and has_default_spacing(grid, packed.grid)):
        return None
    if not known:
        raise DpdmError(
            f"The climatology {BUNDLED} has {', '.join(packed.names)}, and none of "
            f"{', '.join(names)}.",
            "Leave --climatology out, or give a file of them with --climatology FILE.",
        )
    wide = extend_grid(grid, *margin)
    parts = (regrid_months(read_bundled_region(packed, name, wide), wide) for name in known)
    return ReferenceClimatology(BUNDLED, packed.attrs["period"], xr.merge(parts))


def has_default_spacing(grid: Grid, own: Grid) -> bool:
    """Tell whether a grid has about the spacing of a climatology, so that it is used unasked."""
    low, high = DEFAULT_SPACING_RATIOS
    return all(low <= t / s <= high for t, s in zip(grid.spacing, own.spacing, strict=True))


def read_bundled_region(packed: PackedClimatology, name: str, grid: Grid) -> xr.Dataset:
    """Return a packed variable (month, lat, lon) on the cells around a grid."""
    own = packed.grid
    rows, columns, lon = cells_around(own, grid)
    attrs = packed.variables[packed.names.index(name)].attrs
    values = packed.read(name, rows, columns)
    axes = {"month": np.arange(1, 13), "lat": own.lat[rows], "lon": lon}
    return xr.Dataset({name: (("month", "lat", "lon"), values, attrs)}, axes)
