"""Adjust the coarse fields of a space to the climatology, or say how far from it they are."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError, DpdmWarning
from dpdm.fields.climate_shift import ClimateShift, compare_climates
from dpdm.fields.climatology import MONTHS_PER_YEAR, Climate
from dpdm.fields.driver_climate import (
    DriverClimate,
    average_own_climate,
    check_both_known,
    climate_of_cells,
    select_stencil,
)
from dpdm.fields.grid import Array, Grid, grid_of
from dpdm.fields.reference_climatology import ReferenceClimatology
from dpdm.fields.reference_period import (
    Indices,
    ReferencePeriod,
    format_month_span,
    parse_month_span,
    select_reference_period,
)
from dpdm.fields.subset import describe_extent
from dpdm.fields.time import PERIOD_DAYS, is_dated, month_numbers, step_length, time_bounds
from dpdm.prior import Prior
from dpdm.states.fields import FieldSpace
from dpdm.states.reference import open_coarse_climatology
from dpdm.system import sha256

MIN_CLIMATE_YEARS = 5  # below it the mean of a month is mostly weather
MAX_SAMPLE = 20  # steps of each calendar month, from which a shift is estimated
REMOVED_CHANGE = (
    ", and the two periods do not overlap: the change of the climate between them is removed with "
    "the bias."
)
TAKEN_CHANGE = ": the difference is interpreted as climate change."
ADJUSTED_ATTR = "dpdm_adjustment_method"  # of a file written by dpdm adjust
REFERENCE_HINT = "Choose a period within it, or give its files: --reference FILE.nc."
BIAS_HINT = "Give --reference-period if it is a bias of the model."


def adjust_driver(space: FieldSpace, series: str, reference: xr.Dataset | None) -> FieldSpace:
    """Return a space whose coarse fields are their own anomalies, added to the climatology.

    Args:
        space: The space.
        series: Name of the coarse file.
        reference: Fields of the reference period, if they are in other files.
    """
    refuse_adjusted(space.coarse, series)
    names = [n for n in space.names if n in space.coarse]
    known = require_climatology(space_climatology(space), names, space.grid, series)
    space = replace(space, coarse=select_stencil(space.coarse, space.grid))
    own, source = space.coarse, series
    if reference is not None:
        own, source = select_stencil(reference, space.grid), "--reference"
        check_reference(own, space.coarse, series)
    months = driver_months(space.coarse, series) % MONTHS_PER_YEAR
    period = find_driver_period(own, space.options.reference_period or (), source)
    climate = climate_on_cells(known, space.coarse, space.prior)
    means = average_period(own, climate, period)
    warn_of_other_period(
        lambda: compare_climates(means, climate, units_of(own)), period, ends_of(known),
        name_climatology(known), source,
    )  # fmt: skip
    notes = describe_driver(period, known, space.options.reference)
    return replace(space, driver=DriverClimate(climate, means, months, notes))


def check_reference(own: xr.Dataset, coarse: xr.Dataset, series: str) -> None:
    """Refuse a reference period of other variables, or on another grid, than the coarse fields."""
    if lacking := [str(name) for name in coarse.data_vars if name not in own]:
        raise DpdmError(
            f"--reference has no {', '.join(lacking)}, and {series} has.",
            "Give files with all variables of the input.",
        )
    if not grid_of(own).is_same(grid_of(coarse)):
        raise DpdmError(
            f"The grid of --reference ({describe_extent(grid_of(own))}) is not that of {series} "
            f"({describe_extent(grid_of(coarse))}), around the output.",
            f"Interpolate it: cdo remapcon,{series} IN.nc OUT.nc.",
        )


def average_period(own: xr.Dataset, climate: Climate, period: ReferencePeriod) -> Array:
    """Return the means (12, C, h, w) of a reference period, and refuse cells of one climate."""
    steps = np.concatenate([period.month_steps(m) for m in range(MONTHS_PER_YEAR)])
    months = period.month_indices % MONTHS_PER_YEAR
    means = average_own_climate(own, climate.names, steps, months)
    for mine, other in zip(means, climate.mean, strict=True):
        check_both_known(climate.names, mine, other)
    return means


def warn_of_other_period(
    shifts: Callable[[], Sequence[ClimateShift]],
    period: ReferencePeriod,
    ends: Sequence[str],
    climatology: str,
    series: str,
) -> None:
    """Say how far two climates lie apart if their periods have no month in common.

    Args:
        shifts: A function that compares the climates, called if they are.
        period: The reference period of the series.
        ends: First and last month of the climatology; empty if unknown.
        climatology: What the climatology is.
        series: What the series is.
    """
    first, last = parse_month_span(ends) if len(ends) == 2 else period.span
    if period.span[0] <= last and first <= period.span[1]:
        return
    for shift in shifts():
        words = shift.describe(f"{series} ({period})", climatology)
        warnings.warn(f"{words}{REMOVED_CHANGE}", DpdmWarning, stacklevel=2)


def describe_driver(
    period: ReferencePeriod, known: ReferenceClimatology, files: Sequence[Path]
) -> dict[str, object]:
    """Return the provenance of an adjustment."""
    notes = {"reference_period": str(period), "reference_climatology": name_climatology(known)}
    if files:
        notes["reference_input"] = " ".join(path.name for path in files)
        notes["reference_input_sha256"] = " ".join(map(sha256, files))
    return {**notes}


def warn_of_shift(space: FieldSpace, series: str, hint: str = BIAS_HINT) -> None:
    """Say how far the climate of coarse fields of a year or more is from the climatology.

    The means are those of at most 20 steps of each calendar month.
    """
    known, coarse = space.coarse_climatology, select_stencil(space.coarse, space.grid)
    time = coarse.get("time")
    if known is None or time is None or not is_dated(time) or is_adjusted(coarse):
        return
    if step_length(time, time_bounds(coarse)) > PERIOD_DAYS["month"][1]:
        return
    labels = driver_months(coarse, series)
    steps = sample_steps(labels % MONTHS_PER_YEAR)
    cells = replace(known, fields=select_stencil(known.fields, space.grid))
    climate = climate_on_cells(cells, coarse, space.prior)
    if not len(steps) or not climate.names:
        return
    own = average_own_climate(coarse, climate.names, steps, labels % MONTHS_PER_YEAR)
    dates = format_month_span((int(labels.min()), int(labels.max())))
    for shift in compare_climates(own, climate, units_of(coarse)):
        if shift.is_large:
            words = shift.describe(f"{series} ({dates})", name_climatology(known))
            warnings.warn(f"{words}{TAKEN_CHANGE} {hint}", DpdmWarning, stacklevel=2)


def sample_steps(months: Indices) -> Indices:
    """Return some steps of each calendar month, spread over a series; none if it lacks one.

    Example:
        >>> len(sample_steps(np.arange(1200) % 12)), len(sample_steps(np.arange(11)))
        (240, 0)
    """
    found = [np.flatnonzero(months == month) for month in range(MONTHS_PER_YEAR)]
    if not all(map(len, found)):
        return np.empty(0, np.intp)
    spread = (np.linspace(0, len(f) - 1, min(len(f), MAX_SAMPLE)) for f in found)
    return np.concatenate([f[s.round().astype(int)] for f, s in zip(found, spread, strict=True)])


def driver_months(fields: xr.Dataset, series: str) -> Indices:
    """Return the month of each step (T,), counted from the year 0, of months or shorter steps."""
    time, bounds = fields.get("time"), time_bounds(fields)
    if time is None or not is_dated(time):
        raise DpdmError(
            f"{series} has no dates, and --reference-period selects months.",
            "Give a dated series, or leave out --reference-period.",
        )
    if (days := step_length(time, bounds)) > PERIOD_DAYS["month"][1]:
        raise DpdmError(
            f"{series} has steps of {days:.3g} days, and --reference-period compares months.",
            "Give monthly or shorter steps, or leave out --reference-period.",
        )
    return month_numbers(time, bounds).astype(np.intp)


def find_driver_period(fields: xr.Dataset, ends: Sequence[str], series: str) -> ReferencePeriod:
    """Return the reference period of a series, with every calendar month in it."""
    found = select_reference_period(
        driver_months(fields, series), parse_month_span(ends), series,
        "--reference-period is", REFERENCE_HINT,
    )  # fmt: skip
    years = found.years_of_months()
    if not min(years):
        raise DpdmError(
            f"{series} has no month {int(np.argmin(years)) + 1} in --reference-period, {found}.",
            "Choose a period with every month of the year, best of 30 years.",
        )
    if min(years) < MIN_CLIMATE_YEARS:
        warnings.warn(
            f"The reference period, {found}, has fewer than {MIN_CLIMATE_YEARS} years: much of "
            "the estimated climate is weather. Choose 30 years if possible.",
            DpdmWarning,
            stacklevel=2,
        )
    return found


def space_climatology(space: FieldSpace) -> ReferenceClimatology | None:
    """Return the climatology on the coarse cells of a space, None if there is none.

    A prior that is not conditional on one can be given coarse fields of its climate as well.
    """
    if space.coarse_climatology is not None or space.prior.takes_reference:
        return space.coarse_climatology
    return open_coarse_climatology(space.prior, space.grid, grid_of(space.coarse), space.options)


def require_climatology(
    known: ReferenceClimatology | None, names: Sequence[str], grid: Grid, series: str
) -> ReferenceClimatology:
    """Return a climatology of some variables on the coarse cells around a fine grid."""
    lacking = [n for n in names if known is None or n not in known.fields]
    if known is None or len(lacking) == len(names):
        raise DpdmError(
            f"There is no climatology of {', '.join(names)} around {series}, which "
            "--reference-period needs to add the anomalies to.",
            "Give one that covers it: --climatology FILE; or leave out --reference-period.",
        )
    if lacking:
        warnings.warn(
            f"{', '.join(lacking)} of {series} is left as it is: {name_climatology(known)} does "
            "not have it.",
            DpdmWarning,
            stacklevel=2,
        )
    return replace(known, fields=select_stencil(known.fields, grid))


def is_adjusted(fields: xr.Dataset) -> bool:
    """Tell whether fields were written by ``dpdm adjust``, or derived from such."""
    return ADJUSTED_ATTR in fields.attrs


def refuse_adjusted(fields: xr.Dataset, series: str) -> None:
    """Refuse to adjust fields a second time."""
    if is_adjusted(fields):
        raise DpdmError(
            f"{series} is adjusted already: {fields.attrs.get('dpdm_adjustment', '')}",
            "Give the original file, or leave out --reference-period.",
        )


def climate_on_cells(known: ReferenceClimatology, coarse: xr.Dataset, prior: Prior) -> Climate:
    """Return a climatology on coarse cells as a climate of the variables that both have."""
    channels = [
        c for c in prior.normaliser.channels if c.name in coarse and c.name in known.fields
    ]
    amounts = np.array([c.transform == "log1p" for c in channels], bool)
    return climate_of_cells(known.fields, [c.name for c in channels], amounts)


def units_of(fields: xr.Dataset) -> dict[str, str]:
    """Return the units of variables."""
    return {str(name): str(array.attrs.get("units", "")) for name, array in fields.items()}


def ends_of(known: ReferenceClimatology) -> list[str]:
    """Return the first and the last month of a climatology, nothing if they are unknown."""
    return known.period.split(" to ") if known.period else []


def name_climatology(known: ReferenceClimatology) -> str:
    """Return the name and the period of a climatology."""
    period = f" ({known.period})" if known.period else ""
    return f"the climatology {known.name}{period}"
