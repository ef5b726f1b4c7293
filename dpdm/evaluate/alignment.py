"""Align fields in time by label.

Times match by date and hour; between calendars, by year, month and day. A field without time
matches only fields without time or with a single time.
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
    """Select the times that all fields share, with the time stamps of the first.

    Days, months, seasons and years match whatever their time stamps. Fields without time get a
    single time.
    """
    timed = {name: f for name, f in fields.items() if "time" in f.dims}
    if len(timed) < len(fields):
        return {name: add_single_time(f, name, timed) for name, f in fields.items()}
    check_periods(fields)
    period = common_period(list(fields.values()))
    if not period and len({calendar_name(f) for f in fields.values()}) > 1:
        period = "day"
    labels = {name: index_times(f, name, period) for name, f in fields.items()}
    first = next(iter(labels.values()))
    common = [label for label in first if all(label in other for other in labels.values())]
    if not common:
        raise DpdmError(
            f"The {' and the '.join(labels)} share no time (they begin with "
            f"{' and '.join(next(iter(own), 'nothing') for own in labels.values())}).",
            "Give files of the same period.",
        )
    aligned = {
        name: f.isel(time=as_slice(np.array([labels[name][label] for label in common])))
        for name, f in fields.items()
    }
    times = next(iter(aligned.values()))["time"]
    return {name: f.assign_coords(time=times.values) for name, f in aligned.items()}


def check_periods(fields: Mapping[str, xr.Dataset]) -> None:
    """Refuse months, seasons or years with steps of another length, single steps excepted."""
    axes = {name: (f["time"], time_bounds(f)) for name, f in fields.items()}
    periods = {
        n: period_of(*axis) for n, axis in axes.items() if axis[0].size > 1 or axis[1] is not None
    }
    for (one, first), (other, second) in combinations(periods.items(), 2):
        if first != second and first and second and {first, second} & MONTHS_PER_PERIOD.keys():
            raise DpdmError(
                f"The steps of the {other} are {second}s, those of the {one} {first}s.",
                "Give means over the same periods.",
            )


def add_single_time(fields: xr.Dataset, name: str, timed: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Return fields of at most one time with a time axis of length one."""
    label = next((f["time"].values[:1] for f in timed.values()), np.array([0]))
    if fields.sizes.get("time", 1) != 1:
        raise DpdmError(
            f"The {name} has {fields.sizes['time']} times, but another field has no time axis.",
            "Select one time: cdo seltimestep,1 IN.nc OUT.nc.",
        )
    return (
        fields.squeeze("time", drop=True).expand_dims(time=label)
        if name in timed
        else (fields.expand_dims(time=label))
    )


def calendar_name(fields: xr.Dataset) -> str:
    """Return the calendar of the times, with one name for all Gregorian ones."""
    if not is_dated(fields["time"]):
        return "none"
    name = str(fields["time"].dt.calendar)
    return "gregorian" if name in GREGORIAN_CALENDARS else name


def index_times(fields: xr.Dataset, name: str, period: str) -> dict[str, int]:
    """Return the index of each time by its label."""
    labels = label_times(fields, period)
    index = {label: step for step, label in enumerate(labels)}
    if len(index) < len(labels):
        raise DpdmError(
            f"The {name} has two times with the same label.",
            "Drop one of them; sub-daily files must all have the same calendar.",
        )
    return index


def label_times(fields: xr.Dataset, period: str) -> list[str]:
    """Return the label of each time: its period, its date and hour, or its number."""
    time = fields["time"]
    if not is_dated(time):
        return [str(value) for value in time.values]
    if period in MATCHING_PERIODS:
        return step_labels(time, time_bounds(fields), period)
    return step_timestamps(time)
