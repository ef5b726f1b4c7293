"""Bring fields to common cells and times, by label and never by position.

Times match by date and hour; between calendars, by year, month and day. A field without time
meets only fields without time or with a single one.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.subset import as_slice
from dpdm.fields.time import (
    MATCHING_PERIODS,
    MONTHS_PER_PERIOD,
    common_period,
    is_dated,
    period_of,
    step_labels,
    step_timestamps,
    time_bounds,
)

GREGORIAN_CALENDARS = {"standard", "gregorian", "proleptic_gregorian"}


def match_times(fields: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Return the fields at the times that all of them hold, with the first one's stamps.

    Days, months, seasons and years are the same wherever within them they are stamped.

    Fields without time come back with a single time.
    """
    timed = {name: f for name, f in fields.items() if "time" in f.dims}
    if len(timed) < len(fields):
        return {name: add_single_time(f, name, timed) for name, f in fields.items()}
    check_periods(fields)
    period = common_period(list(fields.values()))
    if not period and len({calendar_name(f) for f in fields.values()}) > 1:
        period = "day"
    found = {name: index_times(f, name, period) for name, f in fields.items()}
    first = next(iter(found.values()))
    common = [label for label in first if all(label in other for other in found.values())]
    if not common:
        raise DpdmError(
            f"The {' and the '.join(found)} share no time (they begin with "
            f"{' and '.join(next(iter(labels), 'nothing') for labels in found.values())}).",
            "Give files of the same period.",
        )
    picked = {name: slice_steps(f, [found[name][c] for c in common]) for name, f in fields.items()}
    times = next(iter(picked.values()))["time"]
    return {name: f.assign_coords(time=times.values) for name, f in picked.items()}


def check_periods(fields: Mapping[str, xr.Dataset]) -> None:
    """Refuse months, seasons or years beside steps of another length; lone steps may be any."""
    axes = {name: (f["time"], time_bounds(f)) for name, f in fields.items()}
    shown = {
        n: period_of(*axis) for n, axis in axes.items() if axis[0].size > 1 or axis[1] is not None
    }
    for (one, period), (other, found) in combinations(shown.items(), 2):
        if period != found and found and period and {period, found} & MONTHS_PER_PERIOD.keys():
            raise DpdmError(
                f"The steps of the {other} are {found}s, those of the {one} {period}s.",
                "Give means over the same periods.",
            )


def add_single_time(fields: xr.Dataset, name: str, timed: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Return fields of one time or none with a time axis of length one."""
    label = next((f["time"].values[:1] for f in timed.values()), np.array([0]))
    if fields.sizes.get("time", 1) != 1:
        raise DpdmError(
            f"The {name} has {fields.sizes['time']} times where another field has no time axis.",
            "Choose one: cdo seltimestep,1 IN.nc OUT.nc.",
        )
    return (
        fields.squeeze("time", drop=True).expand_dims(time=label)
        if name in timed
        else (fields.expand_dims(time=label))
    )


def slice_steps(fields: xr.Dataset, steps: list[int]) -> xr.Dataset:
    """Return the given time steps, as a slice where they are neighbours."""
    return fields.isel(time=as_slice(np.asarray(steps)))


def calendar_name(fields: xr.Dataset) -> str:
    """Name the calendar of the times; all Gregorian ones are one."""
    if not is_dated(fields["time"]):
        return "none"
    name = str(fields["time"].dt.calendar)
    return "gregorian" if name in GREGORIAN_CALENDARS else name


def index_times(fields: xr.Dataset, name: str, period: str) -> dict[str, int]:
    """Return the place of each time by the period that it is, or by its moment."""
    found = label_times(fields, period)
    places = {label: place for place, label in enumerate(found)}
    if len(places) < len(found):
        raise DpdmError(
            f"The {name} has two times with the same label.",
            "Drop one, or give all files one calendar if they are sub-daily.",
        )
    return places


def label_times(fields: xr.Dataset, period: str) -> list[str]:
    """Return the label of each time: its day, month or year, or else its moment or its number."""
    time = fields["time"]
    if not is_dated(time):
        return [str(value) for value in time.values]
    if period in MATCHING_PERIODS:
        return step_labels(time, time_bounds(fields), period)
    return step_timestamps(time)
