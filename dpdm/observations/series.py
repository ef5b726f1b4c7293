"""Series of stations: the values of a variable by station and period, and their neighbours.

The periods are months, days or hours, after the usual distance between the values of a station.
Neighbours are the nearest stations that have a value in the same period.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dpdm.observations.collocation import date_components
from dpdm.observations.columns import row_operators
from dpdm.observations.rows import number_groups
from dpdm.observations.stations import chord, round_positions, unit_vectors
from dpdm.observations.status import is_usable

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Flags = NDArray[np.bool_]
NEIGHBOUR_RADIUS = 300.0  # km
MAX_NEIGHBOURS = 10
CANDIDATES = 40  # nearest stations, of which those with a value are taken
ROWS_AT_ONCE = 100_000  # bounds the memory
NORMAL_YEARS = 5  # least values of a calendar month for its normal
MIN_NEIGHBOURS = 4  # with a value, for a comparison
SPREAD_OF_MAD = 1.4826  # standard deviation over median absolute deviation, of a Gaussian


@dataclass(frozen=True)
class StationSeries:
    """The values of one variable, ordered by station and period, at most one of each.

    Attributes:
        rows: Numbers of the table's rows (N,).
        station: The station of each value (N,), from 0.
        period: The period of each value (N,).
        year: The year of each value (N,).
        month: The calendar month of each value (N,), from 0.
        days: The days of its month (N,) where periods are months, else 1.
        value: The values (N,), in canonical units.
        lat, lon, height: Latitude, longitude (degrees) and height (m) of the stations (S,).
        name: The names of the stations (S,), empty if they have none.
        monthly: Whether periods are months.
    """

    rows: Index
    station: Index
    period: Index
    year: Index
    month: Index
    days: Array
    value: Array
    lat: Array
    lon: Array
    height: Array
    name: NDArray[np.object_]
    monthly: bool

    @cached_property
    def keys(self) -> Index:
        """Return increasing keys (N,) of station and period."""
        return self.station * (int(self.period.max()) + 1) + self.period

    @cached_property
    def candidates(self) -> Index:
        """Return the nearest stations (S, K) within the radius, -1 where there are no more."""
        places = unit_vectors(self.lat, self.lon)
        count = min(CANDIDATES + 1, len(places) + 1)
        reach = chord(NEIGHBOUR_RADIUS)
        _, near = cKDTree(places).query(places, count, distance_upper_bound=reach)
        near = np.where(
            (near == len(places)) | (near == np.arange(len(places))[:, None]), -1, near
        )
        order = np.argsort(near < 0, axis=1, kind="stable")
        nearest: Index = np.take_along_axis(near, order, 1).astype(np.int64)
        return nearest

    def same_station(self) -> Flags:
        """Tell which values (N,) follow a value of the same station."""
        follows: Flags = np.r_[False, self.station[1:] == self.station[:-1]]
        return follows

    def find(self, station: Index, period: Index) -> Index:
        """Return the numbers of values (N,), -1 where there are none."""
        wanted = station * (int(self.period.max()) + 1) + period
        at = np.searchsorted(self.keys, wanted).clip(max=len(self.keys) - 1)
        return np.where((station >= 0) & (self.keys[at] == wanted), at, -1)

    def label(self, station: int) -> str:
        """Return the name of a station, or else its place."""
        place = f"{self.lat[station]:g}, {self.lon[station]:g}"
        return str(self.name[station]) or f"the station at {place}"

    def keep(self, chosen: Flags) -> StationSeries:
        """Return some of the values, of the same stations."""
        names = ("rows", "station", "period", "year", "month", "days", "value")
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})


def make_series(table: pd.DataFrame, variable: str) -> StationSeries | None:
    """Return the usable values of a variable at points with a date, None without any."""
    chosen = is_usable(table) & (table["variable"] == variable).to_numpy()
    chosen &= row_operators(table).isin(("", "point")).to_numpy()
    chosen &= table[["lat", "lon", "time", "value"]].notna().all(axis=1).to_numpy()
    names = ["lat", "lon", "elevation", "time", "value"]
    rows = table.loc[chosen, [*names, "station"] if "station" in table else names]
    if rows.empty or not hasattr(rows["time"].iloc[0], "year"):
        return None
    of, dates = pd.factorize(rows["time"].to_numpy())
    parts = date_components(dates)[of]
    places, station, name = _number_stations(rows)
    hours = _hours(parts)
    monthly, period = _number_periods(parts, hours, station)
    order = np.lexsort((period, station))
    first = np.r_[True, np.diff(station[order]).astype(bool) | np.diff(period[order]).astype(bool)]
    order = order[first]
    days = _days_of_month(parts) if monthly else np.ones(len(parts))
    lat, lon, height = (places[name].to_numpy(float) for name in ("lat", "lon", "elevation"))
    return StationSeries(
        np.flatnonzero(chosen)[order], station[order], period[order], parts[order, 0],
        parts[order, 1] - 1, days[order], rows["value"].to_numpy(float)[order],
        lat, lon, height, name, monthly,
    )  # fmt: skip


def _number_stations(rows: pd.DataFrame) -> tuple[pd.DataFrame, Index, NDArray[np.object_]]:
    """Return the places of stations, the station of each row, and the names of stations."""
    given = rows["station"] if "station" in rows else pd.Series("", rows.index)
    placed = round_positions(rows[["lat", "lon", "elevation"]]).assign(name=given)
    station = number_groups(placed[name] for name in ("name", "lat", "lon"))
    places = placed.iloc[np.unique(station, return_index=True)[1]]
    names: NDArray[np.object_] = places["name"].to_numpy(dtype=object)
    return places, station, names


def _hours(parts: Index) -> Index:
    """Return hours, in months of 31 days, which increase with time in any calendar."""
    year, month, day, hour = parts[:, :4].T
    hours: Index = ((year * 12 + month - 1) * 31 + day - 1) * 24 + hour
    return hours


def _number_periods(parts: Index, hours: Index, station: Index) -> tuple[bool, Index]:
    """Return whether periods are months, and the number of each value's period."""
    order = np.lexsort((hours, station))
    gaps = np.diff(hours[order])[np.diff(station[order]) == 0]
    gaps = gaps[gaps > 0]
    usual = float(np.median(gaps)) if gaps.size else np.inf
    length = 31 * 24 if usual > 20 * 24 else 24 if usual > 12 else 1
    period = hours // length
    return length == 31 * 24, period - period.min()


def _days_of_month(parts: Index) -> Array:
    """Return the days of months in the Gregorian calendar."""
    first = (parts[:, 0] - 1970) * 12 + parts[:, 1] - 1
    edges = np.stack([first, first + 1]).astype("M8[M]").astype("M8[D]").astype(np.int64)
    days: Array = np.diff(edges, axis=0)[0].astype(float)
    return days


def monthly_normals(series: StationSeries, value: Array, least: int = NORMAL_YEARS) -> Array:
    """Return the median of each value's station and calendar month (N,), NaN of fewer values."""
    groups = pd.Series(value).groupby(series.station * 12 + series.month)
    normals: Array = groups.transform("median").to_numpy(float)
    return np.where(groups.transform("count").to_numpy() >= least, normals, np.nan)


def neighbour_values(series: StationSeries, value: Array, chosen: Index) -> Array:
    """Return values of the nearest neighbours in the same period, NaN where there are no more.

    Args:
        series: The series.
        value: Their values (N,), NaN for those that do not count.
        chosen: Numbers of the values (M,) whose neighbours are sought.

    Returns:
        Values with shape (M, `MAX_NEIGHBOURS`).
    """
    found = np.full((len(chosen), MAX_NEIGHBOURS), np.nan)
    count = np.zeros(len(chosen), dtype=np.int64)
    open_rows = np.arange(len(chosen))
    for nearest in series.candidates.T:
        near = nearest[series.station[chosen[open_rows]]]
        open_rows, near = open_rows[near >= 0], near[near >= 0]
        at = series.find(near, series.period[chosen[open_rows]])
        values = np.where(at >= 0, value[at], np.nan)
        here = open_rows[np.isfinite(values)]
        found[here, count[here]] = values[np.isfinite(values)]
        count[here] += 1
        open_rows = open_rows[count[open_rows] < MAX_NEIGHBOURS]
        if not open_rows.size:
            break
    return found


def neighbour_statistics(
    series: StationSeries, value: Array, chosen: Index
) -> tuple[Array, Array, Index]:
    """Return the median, the robust spread and the number of neighbours of some values.

    Spread is that of a Gaussian with the same median absolute deviation. All have shape (M,); see
    `neighbour_values` for the arguments.
    """
    median, spread = np.full((2, len(chosen)), np.nan)
    count = np.zeros(len(chosen), dtype=np.int64)
    for start in range(0, len(chosen), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        near = neighbour_values(series, value, chosen[part])
        median[part] = row_median(near)
        spread[part] = SPREAD_OF_MAD * row_median(np.abs(near - median[part, None]))
        count[part] = np.isfinite(near).sum(axis=1)
    return median, spread, count


def row_median(values: Array) -> Array:
    """Return the median (N,) of the finite values of rows (N, K), NaN without any.

    NumPy's function for missing values is many times slower.
    """
    if not values.size:
        return np.full(len(values), np.nan)
    ordered = np.sort(values, axis=1)  # NaN last
    count = np.isfinite(values).sum(axis=1)
    low, high = (np.maximum(count - 1, 0) // 2, count // 2)
    high = np.minimum(high, values.shape[1] - 1)
    pick = np.take_along_axis(ordered, np.stack([low, high], axis=1), axis=1)
    median: Array = np.where(count > 0, pick.mean(axis=1), np.nan)
    return median
