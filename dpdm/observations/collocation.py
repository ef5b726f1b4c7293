"""Collocate observations with the steps and the domain of a field.

With bounds, an observation belongs to the step whose interval contains its stamp (start included,
end not). Without, steps a month apart are months, and any stamp within the month matches; the same
holds for years and days; other steps reach half way to their neighbours. Numbers, as on a model's
axis, must agree to a hundredth of a step.

The footprint of a point is its position, that of a mean a block or a disc. A footprint that
reaches beyond the domain's edge is outside the domain.
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
        period: The period of a step, day, month or year, where the axis does not show it; a
            single step is a day by default.
    """
    known = stamps.notna().to_numpy()
    out = np.full(len(stamps), -1, dtype=np.int64)
    if not known.any():
        return out
    of, values = pd.factorize(stamps.to_numpy()[known])  # of stations, far fewer than rows
    dated = values.dtype.kind == "M" or hasattr(values[0], "year")
    if dated != (time.dtype.kind in "MO"):
        kind = "dates" if dated else "numbers"
        raise DpdmError(
            f"The observations' times are {kind}, as {values[0]!s:.19} is, "
            f"and the field's are {'numbers' if dated else 'dates'}.",
            "Give both the same.",
        )
    found = _match_dates(values, time, bounds, period) if dated else _match_numbers(values, time)
    out[known] = found[of]
    return out


def previous_moments(ends: pd.Series) -> pd.Series:
    """Return the second before each date; numbers are returned unchanged."""
    if ends.dtype.kind == "M":
        return ends - pd.Timedelta(1, "s")
    dated = ends.dtype == object
    return ends - timedelta(seconds=1) if dated else ends


def _match_numbers(values: np.ndarray, time: xr.DataArray) -> StepIndices:
    axis, values = time.values.astype(float), values.astype(float)
    nearest = np.abs(values[:, None] - axis).argmin(axis=1)
    spacing = np.diff(axis).min() if axis.size > 1 else 1.0
    return np.where(np.abs(values - axis[nearest]) <= 0.01 * spacing, nearest, -1)


def _match_dates(
    values: np.ndarray, time: xr.DataArray, bounds: xr.DataArray | None, period: str
) -> StepIndices:
    calendar = time.dt.calendar
    parts, axis = date_components(values), date_components(time.values)
    if bounds is not None:
        return _search_intervals(
            _count_days(parts, calendar),
            _count_days(date_components(bounds.values.ravel()), calendar),
        )
    days = _count_days(axis, calendar)
    period = period_of(time) or period or ("day" if time.size == 1 else "")
    if period not in MATCHING_PERIODS:
        return _search_intervals(_count_days(parts, calendar), _midpoint_edges(days))
    at = {label: i for i, label in enumerate(_number_periods(axis, period).tolist())}
    return np.array(
        [at.get(label, -1) for label in _number_periods(parts, period).tolist()], np.int64
    )


def _midpoint_edges(axis: Array) -> Array:
    """Return alternating starts and ends of intervals half way to the neighbours."""
    middle = (axis[1:] + axis[:-1]) / 2
    edges = np.r_[2 * axis[0] - middle[0], middle, 2 * axis[-1] - middle[-1]]
    return np.stack([edges[:-1], edges[1:]], axis=1).ravel()


def _search_intervals(days: Array, ends: Array) -> StepIndices:
    at = np.searchsorted(ends[::2], days, side="right") - 1
    inside = (at >= 0) & (days < ends[1::2][np.maximum(at, 0)])
    return np.where(inside, at, -1)


def date_components(stamps: Any) -> NDArray[np.int64]:
    """Return year, month, day, hour, minute and second (N, 6) of dates of any kind."""
    parts = ("year", "month", "day", "hour", "minute", "second")
    if stamps.dtype.kind == "M":
        index = pd.DatetimeIndex(stamps)
        return np.stack([getattr(index, part) for part in parts], axis=1).astype(np.int64)
    return np.array([[getattr(date, part) for part in parts] for date in stamps], np.int64)


def _number_periods(parts: NDArray[np.int64], period: str) -> NDArray[np.int64]:
    """Return the numbers of the years, months or days of dates."""
    count = {"year": 1, "month": 2, "day": 3}[period]
    labels: NDArray[np.int64] = parts[:, :count] @ np.array([10_000, 100, 1])[:count]
    return labels


def _count_days(parts: NDArray[np.int64], calendar: str) -> Array:
    """Return days in a field's calendar, NaN for dates that it lacks."""
    dates, which = np.unique(parts[:, :3], axis=0, return_inverse=True)
    day_numbers = np.array([_day_number(date, calendar) for date in dates.tolist()])
    days: Array = day_numbers[which.ravel()] + parts[:, 3:] @ [3600, 60, 1] / 86400
    return days


def _day_number(parts: list[int], calendar: str) -> float:
    try:
        date = cftime.datetime(*parts, calendar=calendar)
    except ValueError:
        return np.nan
    return float(cftime.date2num(date, "days since 1850-01-01", calendar=calendar))


EDGE_TOLERANCE = 1e-6  # cells; rounding of the edge of a block


def footprints_in_domain(
    table: pd.DataFrame, domain: Grid, swap: bool = False
) -> NDArray[np.bool_]:
    """Tell which observations have their footprints in the domain.

    Args:
        table: Observations.
        domain: The grid.
        swap: Whether to exchange latitude and longitude.
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
    """Wrap longitudes to the range of the domain."""
    middle = (domain.lon_edges[0] + domain.lon_edges[-1]) / 2
    near: Array = lon + 360.0 * np.round((middle - lon) / 360.0)
    return near


def footprint_reach(table: pd.DataFrame, lat: Array, domain: Grid) -> tuple[Array, Array, Array]:
    """Return the southern and northern ends and the half-width of footprints, degrees.

    Args:
        table: Observations, with ``operator``, ``factor`` and ``radius`` where they have any.
        lat: Their latitudes, with shape (N,).
        domain: The grid, whose cells form the blocks.
    """
    arc = np.degrees(operator_setting(table, ("mean", ""), "radius") / EARTH_RADIUS)
    half = (operator_setting(table, ("coarse",), "factor") / 2 - EDGE_TOLERANCE).clip(min=0)
    tall, wide = half * np.array(domain.spacing)[:, None]
    # A disc may extend across a pole.
    south = np.where(arc > 0, (lat - arc).clip(min=-90), lat - tall)
    north = np.where(arc > 0, (lat + arc).clip(max=90), lat + tall)
    return south, north, wide + longitude_reach(arc, lat)


def operator_setting(table: pd.DataFrame, of: tuple[str, ...], name: str) -> Array:
    """Return a setting of the rows with some operators, 0 in other rows."""
    if name not in table:
        return np.zeros(len(table))
    setting = table[name].where(row_operators(table).isin(of), 0.0)
    values: Array = setting.fillna(0.0).to_numpy(float)
    return values


def longitude_reach(arc: Array, lat: Array) -> Array:
    """Return the half-width of discs in longitude, 180 degrees where they contain a pole.

    The meridian that touches a small circle of radius r around latitude phi lies
    asin(sin r / cos phi) from its centre.
    """
    polar = arc >= 90 - np.abs(lat)
    cosine = np.where(polar, 1.0, np.cos(np.radians(lat)))
    touching = np.degrees(np.arcsin(np.sin(np.radians(arc)) / cosine))
    return np.where(polar & (arc > 0), 180.0, touching)
