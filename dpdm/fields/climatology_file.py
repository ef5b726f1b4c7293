"""Read a file as a climatology: twelve months, one field, or a series of months or days.

The twelve months may be dated or not; those of a climatology after CF-1.11, 7.4, have the bounds
of their years. A series is averaged over each calendar month. The unit of a variable is that of
the file; one that the user declares for the input is taken only where the file has none.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError, DpdmWarning, prefix_file_name, variables_not_found
from dpdm.fields.climatology import MONTHS_PER_YEAR
from dpdm.fields.climatology_grid import (
    check_climatology_spacing,
    check_extent,
    check_land,
    extend_within,
    regrid_months,
    select_around,
)
from dpdm.fields.formats import open_raw
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.plausibility import MissingCodes
from dpdm.fields.read import open_fields, select_member_hint
from dpdm.fields.time import (
    CLIMATOLOGY_YEARS,
    PERIOD_DAYS,
    month_numbers,
    multi_year_bounds,
    period_of,
    step_days,
    step_length,
    time_bounds,
)
from dpdm.fields.time_axis import date_twelve_months, find_month_dim, select_with_bounds
from dpdm.fields.value_checks import load_checked_fields
from dpdm.fields.variables import FileVariable, identify_variable, is_anomaly
from dpdm.system import sha256

Array = NDArray[np.float64]
Period = tuple[str, str]
MONTH_NAMES = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
BLOCK_BYTES = 2**26  # of the steps that are read at a time
PERIOD_HINT = "Give first and last month, as in --climatology-period 1991-01,2020-12."


@dataclass(frozen=True)
class MonthlyMeans:
    """The means of each calendar month of a file.

    Attributes:
        name: The name of the file.
        period: First and last month; empty if unknown.
        fields: Canonical fields (month, lat, lon), on the target grid.
        sha256: Digest of the file.
    """

    name: str
    period: str
    fields: xr.Dataset
    sha256: str


@dataclass(frozen=True)
class FileRequest:
    """What is read from a file of a climatology.

    Attributes:
        path: The file.
        names: The variables that are used.
        period: First and last month of the mean, or None for all.
        rename: Names of variables in the file, by canonical name.
        units: Units of variables that have none.
        missing: Codes of missing values.
    """

    path: Path
    names: Sequence[str]
    period: Period | None
    rename: Mapping[str, str]
    units: Mapping[str, str]
    missing: MissingCodes

    def open(self) -> tuple[xr.Dataset, bool]:
        """Return the file's fields of known variables, and whether its months have dates."""
        raw = date_twelve_months(open_raw(self.path))
        known = {str(name): _known_names(array, self.rename) for name, array in raw.items()}
        self._refuse_anomalies(raw, known)
        spoken = set().union(*known.values())
        bare = {
            n for old, names in known.items() if not raw[old].attrs.get("units") for n in names
        }
        fields = open_fields(
            self.path,
            None,
            {new: old for new, old in self.rename.items() if old in known},
            {name: unit for name, unit in self.units.items() if name in bare},
            self.names,
            {name: codes for name, codes in self.missing.items() if name in {"", *spoken}},
            undated=True,
        )
        return self._select(fields), find_month_dim(raw) is None

    def _refuse_anomalies(self, raw: xr.Dataset, known: Mapping[str, set[str]]) -> None:
        """Refuse anomalies under the name of a variable that is used."""
        for name, names in known.items():
            if is_anomaly(raw[name]) and names & set(self.names):
                raise DpdmError(
                    f"{self.path}: {name} holds anomalies, and a climatology is the variable "
                    "itself.",
                    "Give the means to which they are anomalies.",
                )

    def _select(self, fields: xr.Dataset) -> xr.Dataset:
        """Return the variables that are used, of one member."""
        chosen = [name for name in self.names if name in fields]
        if not chosen:
            raise variables_not_found(self.path, "the required", [*self.names], fields.data_vars)
        if fields.sizes.get("realization", 1) > 1:
            raise DpdmError(
                f"{self.path} holds {fields.sizes['realization']} members, and a climatology has "
                "one.",
                select_member_hint(fields),
            )
        out = select_with_bounds(fields, chosen)
        return out.squeeze("realization", drop=True) if "realization" in out.dims else out


def _known_names(array: xr.DataArray, rename: Mapping[str, str]) -> set[str]:
    """Return the names by which the user may mean an array of a file."""
    found = identify_variable(FileVariable.read(array))
    chosen = {new for new, old in rename.items() if old == array.name}
    return {str(array.name), *chosen, *([found.name] if found else [])}


def read_monthly_means(
    request: FileRequest, grid: Grid, margin: tuple[int, int] = (0, 0)
) -> MonthlyMeans:
    """Return the mean of each calendar month of a file on a grid that it covers, and around it."""
    path = request.path
    fields, dated = request.open()
    own = grid_of(fields)
    check_extent(own, grid, str(path))
    check_climatology_spacing(own, grid, str(path))
    wide = extend_within(own, grid, margin)
    fields = select_around(fields, wide)
    with prefix_file_name(path):
        steps, period, note = select_steps(fields, request.period, dated)
    means = regrid_months(average_months(fields, steps, path), wide)
    check_land(means, grid, str(path))
    if note:
        warnings.warn(f"{path}: {note}", DpdmWarning, stacklevel=2)
    return MonthlyMeans(path.name, period, means, sha256(path))


def select_steps(
    fields: xr.Dataset, period: Period | None, dated: bool
) -> tuple[list[int], str, str]:
    """Return the steps that count, their period, and a note on a period that is not stated."""
    stated = _stated_years(fields)
    if fields.sizes.get("time", 1) == 1 and not _is_part_of_year(fields):
        _refuse_period(period, stated, "one field")
        return [0], stated, "its one field is used for all months."
    _check_step_length(fields)
    numbers = month_numbers(fields["time"], time_bounds(fields))
    if stated or not dated or _is_one_year(fields, numbers):
        _refuse_period(period, stated, "twelve months of unknown years")
        note = "" if stated else "the years of its twelve monthly means are not stated."
        chosen = np.arange(len(numbers))
    else:
        first, last = _month_range(period) if period else (int(numbers[0]), int(numbers[-1]))
        _check_years(numbers, first, last)
        chosen = np.flatnonzero((numbers >= first) & (numbers <= last))
        stated = _period_text((first, last))
        note = "" if period else f"its climatology is the mean of all its months, {stated}."
    check_all_months(numbers[chosen] % MONTHS_PER_YEAR)
    return chosen.tolist(), stated, note


def _is_part_of_year(fields: xr.Dataset) -> bool:
    """Tell whether a single step is known to be shorter than a year."""
    bounds = time_bounds(fields)
    return "time" in fields.dims and period_of(fields["time"], bounds) not in ("", "year")


def _check_step_length(fields: xr.Dataset) -> None:
    """Refuse steps that are longer than a month."""
    time, bounds = fields["time"], time_bounds(fields)
    period, days = period_of(time, bounds), step_length(time, bounds)
    if period != "month" and days > PERIOD_DAYS["month"][1]:
        kind = f"{period}s" if period else f"{days:.4g} days"
        raise DpdmError(
            f"its steps are {kind}, and a climatology needs months.",
            "Give twelve months, a monthly or daily series, or one field.",
        )


def _is_one_year(fields: xr.Dataset, numbers: NDArray[np.int64]) -> bool:
    """Tell whether twelve months without bounds may be means of any years."""
    return len(numbers) == MONTHS_PER_YEAR == np.ptp(numbers) + 1 and time_bounds(fields) is None


def _stated_years(fields: xr.Dataset) -> str:
    """Return the period of the bounds of a climatology; nothing without them."""
    bounds = time_bounds(fields)
    if bounds is None or CLIMATOLOGY_YEARS not in bounds.attrs:
        return ""
    whole = multi_year_bounds(bounds)
    starts, ends = (xr.DataArray(whole.values[:, side], dims="time") for side in (0, 1))
    return _period_text((int(month_numbers(starts).min()), int(month_numbers(ends).max()) - 1))


def _month_range(period: Period) -> tuple[int, int]:
    """Return the first and the last month of a period, counted from January of the year 0.

    Example:
        >>> _month_range(("0001", "0001-03"))
        (12, 14)
    """
    return _month_number(period[0], "01"), _month_number(period[1], "12")


def _month_number(date: str, month: str) -> int:
    """Return the number of a month, or of some month of a year."""
    return 12 * int(date[:4]) + int(date[5:] or month) - 1


def _period_text(months: tuple[int, int]) -> str:
    """Return a period in words.

    Example:
        >>> _period_text((12 * 1991, 12 * 2020 + 11))
        '1991-01 to 2020-12'
    """
    first, last = (f"{number // 12:04d}-{number % 12 + 1:02d}" for number in months)
    return f"{first} to {last}"


def is_whole_year(period: Period) -> bool:
    """Tell whether a period has a year or more.

    Example:
        >>> is_whole_year(("1991-07", "1992-06")), is_whole_year(("1991-07", "1991-12"))
        (True, False)
    """
    first, last = _month_range(period)
    return last - first + 1 >= MONTHS_PER_YEAR


def _check_years(numbers: NDArray[np.int64], first: int, last: int) -> None:
    """Refuse a period that a series does not cover."""
    if first < numbers[0] or last > numbers[-1]:
        raise DpdmError(
            f"it holds {_period_text((int(numbers[0]), int(numbers[-1])))}, and "
            f"--climatology-period asks for {_period_text((first, last))}.",
            "Give a period within the file's.",
        )


def _refuse_period(period: Period | None, stated: str, content: str) -> None:
    """Refuse a period for a file without years to choose from, unless it is the file's own."""
    wanted = _period_text(_month_range(period)) if period else stated
    if wanted != stated:
        raise DpdmError(
            f"it holds {f'means of {stated}' if stated else content}, and --climatology-period "
            f"asks for {wanted}.",
            "Leave the period out, or give a series of these years.",
        )


def check_all_months(months: NDArray[np.int64]) -> None:
    """Refuse months, 0 to 11, some of which are absent."""
    absent = [MONTH_NAMES[month] for month in sorted(set(range(12)) - set(months.tolist()))]
    if absent:
        raise DpdmError(
            f"it has no {', '.join(absent)}.",
            "Give all twelve months, or one field for all of them.",
        )


def average_months(fields: xr.Dataset, steps: Sequence[int], path: Path) -> xr.Dataset:
    """Return the mean of each calendar month (month, lat, lon) over steps, by their days."""
    single = "time" not in fields.dims or fields.sizes["time"] == 1
    months, weights = ([0], [1.0]) if single else _months_and_weights(fields)
    names, shape = [*map(str, fields.data_vars)], grid_of(fields).shape
    total, known = (np.zeros((1 if single else 12, len(names), *shape)) for _ in range(2))
    for block, values in _read_blocks(fields, names, steps, path):
        for step, each in zip(block, values, strict=True):
            seen = np.isfinite(each)
            total[months[step]] += weights[step] * np.where(seen, each, 0.0)
            known[months[step]] += weights[step] * seen
    mean = np.divide(total, known, out=np.full_like(total, np.nan), where=known > 0)
    return _label_months(mean, fields)


def _read_blocks(
    fields: xr.Dataset, names: Sequence[str], steps: Sequence[int], path: Path
) -> Iterator[tuple[Sequence[int], Array]]:
    """Yield some steps at a time, and their values (n, C, H, W)."""
    series = fields if "time" in fields.dims else fields.expand_dims("time")
    size = max(1, int(BLOCK_BYTES * series.sizes["time"] / series.nbytes))
    for start in range(0, len(steps), size):
        block = steps[start : start + size]
        loaded = load_checked_fields(series.isel(time=block), path, gaps=True)
        arrays = [loaded[name].transpose("time", "lat", "lon").values for name in names]
        yield block, np.stack(arrays, axis=1)


def _months_and_weights(fields: xr.Dataset) -> tuple[list[int], list[float]]:
    """Return the calendar month, 0 to 11, and the weight of each step.

    Steps count by their length; months equally, a February of 29 days like others.
    """
    time, bounds = fields["time"], time_bounds(fields)
    months = month_numbers(time, bounds) % MONTHS_PER_YEAR
    days = step_days(time, bounds).values
    equal = period_of(time, bounds) == "month"
    return months.tolist(), (np.ones_like(days) if equal else days).tolist()


def _label_months(mean: Array, fields: xr.Dataset) -> xr.Dataset:
    """Return means (12 or 1, C, H, W) as fields of twelve months."""
    whole = np.broadcast_to(mean, (MONTHS_PER_YEAR, *mean.shape[1:])).astype(np.float32)
    arrays = {
        name: (("month", "lat", "lon"), whole[:, number], array.attrs)
        for number, (name, array) in enumerate(fields.data_vars.items())
    }
    axes = {"month": np.arange(1, 13), "lat": fields["lat"].values, "lon": fields["lon"].values}
    return xr.Dataset(arrays, axes)
