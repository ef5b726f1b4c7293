"""Which step of a field an observation belongs to.

With bounds, the step whose interval holds the stamp (start included, end not). Without, the axis
itself tells: steps a month apart are months, and any stamp within the month matches; so with years
and days; otherwise a step reaches half way to its neighbours. Numbers, as on a model's own axis,
must agree to a hundredth of a step.

How far what an observation sees reaches, and whether the domain holds all of it.

A point is seen where it lies. A block or a disc that reaches beyond the domain's edge is a mean of
what is known and what is not, and no observation of the domain.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import cftime
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from dpdm.constants import EARTH_RADIUS
from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid, edges_from_centres
from dpdm.fields.time import MATCHING_PERIODS, period_of
from dpdm.observations.columns import row_operators

Array = NDArray[np.float64]
StepIndices = NDArray[np.int64]


def match_steps(
    stamps: pd.Series, time: xr.DataArray, bounds: xr.DataArray | None = None, period: str = ""
) -> StepIndices:
    """Return the index of the step that each stamp belongs to, -1 where there is none.

    Args:
        stamps: Dates or numbers.
        time: The field's axis, ascending, in any calendar.
        bounds: Its bounds (time, 2).
        period: What a step stands for, day, month or year, where the axis does not decide; a
            single step is a day otherwise.
    """
    known = stamps.notna().to_numpy()
    out = np.full(len(stamps), -1, dtype=np.int64)
    if not known.any():
        return out
    said = stamps.to_numpy()[known]
    dated = said.dtype.kind == "M" or hasattr(said[0], "year")
    if dated != (time.dtype.kind in "MO"):
        kind = "dates" if dated else "numbers"
        raise DpdmError(
            f"The observations' times are {kind}, as {said[0]!s:.19} is, "
            f"and the field's are {'numbers' if dated else 'dates'}.",
            "Give both the same.",
        )
    out[known] = _match_dates(said, time, bounds, period) if dated else _match_numbers(said, time)
    return out


def previous_moments(ends: pd.Series) -> pd.Series:
    """Return the moments just before some dates; numbers are those of steps themselves."""
    if ends.dtype.kind == "M":
        return ends - pd.Timedelta(1, "s")
    dated = ends.dtype == object
    return ends - timedelta(seconds=1) if dated else ends


def _match_numbers(said: np.ndarray, time: xr.DataArray) -> StepIndices:
    axis, values = time.values.astype(float), said.astype(float)
    nearest = np.abs(values[:, None] - axis).argmin(axis=1)
    spacing = np.diff(axis).min() if axis.size > 1 else 1.0
    return np.where(np.abs(values - axis[nearest]) <= 0.01 * spacing, nearest, -1)


def _match_dates(
    said: np.ndarray, time: xr.DataArray, bounds: xr.DataArray | None, period: str
) -> StepIndices:
    calendar = time.dt.calendar
    words, axis = _date_components(said), _date_components(time.values)
    if bounds is not None:
        return _search_intervals(
            _count_days(words, calendar),
            _count_days(_date_components(bounds.values.ravel()), calendar),
        )
    days = _count_days(axis, calendar)
    period = period_of(time) or period or ("day" if time.size == 1 else "")
    if period not in MATCHING_PERIODS:
        return _search_intervals(_count_days(words, calendar), _midpoint_edges(days))
    at = {label: i for i, label in enumerate(_number_periods(axis, period).tolist())}
    return np.array(
        [at.get(label, -1) for label in _number_periods(words, period).tolist()], np.int64
    )


def _midpoint_edges(axis: Array) -> Array:
    """Return starts and ends, in turn, of intervals that reach half way to the neighbours."""
    middle = (axis[1:] + axis[:-1]) / 2
    edges = np.r_[2 * axis[0] - middle[0], middle, 2 * axis[-1] - middle[-1]]
    return np.stack([edges[:-1], edges[1:]], axis=1).ravel()


def _search_intervals(days: Array, ends: Array) -> StepIndices:
    at = np.searchsorted(ends[::2], days, side="right") - 1
    inside = (at >= 0) & (days < ends[1::2][np.maximum(at, 0)])
    return np.where(inside, at, -1)


def _date_components(stamps: Any) -> NDArray[np.int64]:
    """Return year, month, day, hour, minute and second (N, 6) of dates of any kind."""
    parts = ("year", "month", "day", "hour", "minute", "second")
    if stamps.dtype.kind == "M":
        index = pd.DatetimeIndex(stamps)
        return np.stack([getattr(index, part) for part in parts], axis=1).astype(np.int64)
    return np.array([[getattr(date, part) for part in parts] for date in stamps], np.int64)


def _number_periods(words: NDArray[np.int64], period: str) -> NDArray[np.int64]:
    """Number the years, months or days that dates lie in."""
    count = {"year": 1, "month": 2, "day": 3}[period]
    labels: NDArray[np.int64] = words[:, :count] @ np.array([10_000, 100, 1])[:count]
    return labels


def _count_days(words: NDArray[np.int64], calendar: str) -> Array:
    """Count days in a field's calendar, NaN where it has no such day."""
    dates, which = np.unique(words[:, :3], axis=0, return_inverse=True)
    whole = np.array([_day_number(date, calendar) for date in dates.tolist()])
    days: Array = whole[which.ravel()] + words[:, 3:] @ [3600, 60, 1] / 86400
    return days


def _day_number(words: list[int], calendar: str) -> float:
    try:
        date = cftime.datetime(*words, calendar=calendar)
    except ValueError:
        return np.nan
    return float(cftime.date2num(date, "days since 1850-01-01", calendar=calendar))


EDGE_TOLERANCE = 1e-6  # cells, by which rounding may carry a block over the edge at which it ends


def footprints_in_domain(
    table: pd.DataFrame, domain: Grid, swap: bool = False
) -> NDArray[np.bool_]:
    """Tell which observations lie in the domain's cells, with all that they are a mean over.

    Args:
        table: Observations.
        domain: The grid.
        swap: Whether to take latitude for longitude.
    """
    lat, lon = (table[name].to_numpy() for name in (("lon", "lat") if swap else ("lat", "lon")))
    lon = wrap_longitudes(lon, domain)
    south, north, along = footprint_reach(table, lat, domain)
    low, high = edges_from_centres(domain.lat)[[0, -1]]
    west, east = domain.lon_edges[[0, -1]]
    between = (lon - along >= west) & (lon + along <= east)
    columns = between | (domain.cyclic & np.isfinite(lon))
    found: NDArray[np.bool_] = (south >= low) & (north <= high) & columns
    return found


def wrap_longitudes(lon: Array, domain: Grid) -> Array:
    """Bring longitudes to the turn of the circle that the domain is on."""
    middle = (domain.lon_edges[0] + domain.lon_edges[-1]) / 2
    near: Array = lon + 360.0 * np.round((middle - lon) / 360.0)
    return near


def footprint_reach(table: pd.DataFrame, lat: Array, domain: Grid) -> tuple[Array, Array, Array]:
    """Return how far south, north and to either side each observation reaches, degrees.

    Args:
        table: Observations, with ``operator``, ``factor`` and ``radius`` where they have any.
        lat: Their latitudes, with shape (N,).
        domain: The grid, of whose cells blocks are made.
    """
    arc = np.degrees(operator_setting(table, ("mean", ""), "radius") / EARTH_RADIUS)
    half = (operator_setting(table, ("coarse",), "factor") / 2 - EDGE_TOLERANCE).clip(min=0)
    tall, wide = half * np.array(domain.spacing)[:, None]
    # A disc goes over a pole and comes down on the other side.
    south = np.where(arc > 0, (lat - arc).clip(min=-90), lat - tall)
    north = np.where(arc > 0, (lat + arc).clip(max=90), lat + tall)
    return south, north, wide + longitude_reach(arc, lat)


def operator_setting(table: pd.DataFrame, of: tuple[str, ...], name: str) -> Array:
    """Return a setting of the rows of some operators, 0 in all others."""
    if name not in table:
        return np.zeros(len(table))
    said = table[name].where(row_operators(table).isin(of), 0.0)
    values: Array = said.fillna(0.0).to_numpy(float)
    return values


def longitude_reach(arc: Array, lat: Array) -> Array:
    """Return how far discs reach along longitude; all round where they hold a pole.

    The meridian that touches a small circle of radius r around latitude phi lies
    asin(sin r / cos phi) beside its middle.
    """
    polar = arc >= 90 - np.abs(lat)
    cosine = np.where(polar, 1.0, np.cos(np.radians(lat)))
    touching = np.degrees(np.arcsin(np.sin(np.radians(arc)) / cosine))
    return np.where(polar & (arc > 0), 180.0, touching)
