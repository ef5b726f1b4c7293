"""Bring fields to common cells and times, by label and never by position.

Times match by date and hour; between calendars, by year, month and day. A field without time
meets only fields without time or with a single one.
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.box import as_slice, pick
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.time import (
    MATCHED,
    MONTHS,
    bounds_of,
    common_period,
    is_dated,
    labels_of,
    period_of,
    stamps_of,
)

GREGORIAN = {"standard", "gregorian", "proleptic_gregorian"}


def spatial(fields: xr.Dataset) -> xr.Dataset:
    """Return the variables that lie on the latitude-longitude grid."""
    return fields[[str(v) for v, a in fields.data_vars.items() if {"lat", "lon"} <= {*a.dims}]]


def cut(fields: xr.Dataset, grid: Grid, what: str) -> xr.Dataset:
    """Return the fields on the cells of a grid that is a part of theirs."""
    part = pick(fields, grid)
    if part is None:
        own = grid_of(fields)
        raise DpdmError(
            f"The {what} ({extent(own)}) does not have the truth's cells ({extent(grid)}).",
            "Cut the truth, or interpolate: cdo remapbil,TRUTH.nc IN.nc OUT.nc.",
        )
    return part


def extent(grid: Grid) -> str:
    """Describe a grid in a few words.

    Example:
        >>> extent(Grid(np.arange(0, 5, 0.5), np.arange(10, 12, 0.5)))
        '10 x 4 cells, lat 0 to 4.5, lon 10 to 11.5'
    """
    height, width = grid.shape
    lat, lon = grid.lat, grid.lon
    return (
        f"{height} x {width} cells, lat {lat[0]:g} to {lat[-1]:g}, lon {lon[0]:g} to {lon[-1]:g}"
    )


def whole(coarse: xr.Dataset, fine: Grid) -> xr.Dataset | None:
    """Return the part of a coarse field whose cells a fine grid covers whole.

    Its longitudes begin where the fine ones do. None where it is less than two by two cells.
    """
    grid = grid_of(coarse)
    slack = [1e-3 * spacing for spacing in grid.spacing]
    south, north = grid.lat_edges[:-1], grid.lat_edges[1:]
    part = coarse.isel(
        lat=(south >= fine.lat_edges[0] - slack[0]) & (north <= fine.lat_edges[-1] + slack[0])
    )
    if not fine.cyclic:
        west = (grid.lon_edges[:-1] - fine.lon_edges[0] + slack[1]) % 360.0 - slack[1]
        inside = west + grid.spacing[1] <= np.ptp(fine.lon_edges) + slack[1]
        part = part.assign_coords(lon=fine.lon_edges[0] + west + grid.spacing[1] / 2)
        part = part.isel(lon=inside).sortby("lon")
    return part if min(part.sizes["lat"], part.sizes["lon"]) > 1 else None


def match_times(fields: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Return the fields at the times that all of them hold, with the first one's stamps.

    Days, months, seasons and years are the same wherever within them they are stamped.

    Fields without time come back with a single time.
    """
    timed = {name: f for name, f in fields.items() if "time" in f.dims}
    if len(timed) < len(fields):
        return {name: single(f, name, timed) for name, f in fields.items()}
    check_periods(fields)
    period = common_period(list(fields.values()))
    if not period and len({calendar(f) for f in fields.values()}) > 1:
        period = "day"
    found = {name: labels(f, name, period) for name, f in fields.items()}
    first = next(iter(found.values()))
    common = [label for label in first if all(label in other for other in found.values())]
    if not common:
        raise DpdmError(
            f"The {' and the '.join(found)} share no time (they begin with "
            f"{' and '.join(next(iter(labels), 'nothing') for labels in found.values())}).",
            "Give files of the same period.",
        )
    picked = {name: at_steps(f, [found[name][c] for c in common]) for name, f in fields.items()}
    times = next(iter(picked.values()))["time"]
    return {name: f.assign_coords(time=times.values) for name, f in picked.items()}


def check_periods(fields: Mapping[str, xr.Dataset]) -> None:
    """Refuse months, seasons or years beside steps of another length; lone steps may be any."""
    axes = {name: (f["time"], bounds_of(f)) for name, f in fields.items()}
    shown = {
        n: period_of(*axis) for n, axis in axes.items() if axis[0].size > 1 or axis[1] is not None
    }
    for (one, period), (other, found) in combinations(shown.items(), 2):
        if period != found and found and period and {period, found} & MONTHS.keys():
            raise DpdmError(
                f"The steps of the {other} are {found}s, those of the {one} {period}s.",
                "Give means over the same periods.",
            )


def single(fields: xr.Dataset, name: str, timed: Mapping[str, xr.Dataset]) -> xr.Dataset:
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


def at_steps(fields: xr.Dataset, steps: list[int]) -> xr.Dataset:
    """Return the given time steps, as a slice where they are neighbours."""
    return fields.isel(time=as_slice(np.asarray(steps)))


def calendar(fields: xr.Dataset) -> str:
    """Name the calendar of the times; all Gregorian ones are one."""
    if not is_dated(fields["time"]):
        return "none"
    name = str(fields["time"].dt.calendar)
    return "gregorian" if name in GREGORIAN else name


def labels(fields: xr.Dataset, name: str, period: str) -> dict[str, int]:
    """Return the place of each time by the period that it is, or by its moment."""
    found = labels_at(fields, period)
    places = {label: place for place, label in enumerate(found)}
    if len(places) < len(found):
        raise DpdmError(
            f"The {name} has two times with the same label.",
            "Drop one, or give all files one calendar if they are sub-daily.",
        )
    return places


def labels_at(fields: xr.Dataset, period: str) -> list[str]:
    """Return the label of each time: its day, month or year, or else its moment or its number."""
    time = fields["time"]
    if not is_dated(time):
        return [str(value) for value in time.values]
    if period in MATCHED:
        return labels_of(time, bounds_of(fields), period)
    return stamps_of(time)
