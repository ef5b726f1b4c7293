"""The bundled climatology at stations, with which values of short records are compared."""

from __future__ import annotations

import numpy as np

from dpdm.constants import LAPSE_RATE
from dpdm.fields.packed_climatology import Axis
from dpdm.fields.reference_climatology import bundled_climatology
from dpdm.fields.statics import read_bundled_statics
from dpdm.observations.series import Array, Index, StationSeries
from dpdm.observations.step_changes import comparable_values

MONTHS = 12


def place_normals(series: StationSeries, variable: str) -> Array:
    """Return the climatology of each value's place and month (N,), NaN for single days.

    It is transformed as values are for comparison.
    """
    if not series.monthly:
        return np.full(len(series.value), np.nan)
    climate = station_climate(variable, series.lat, series.lon, series.height)
    return comparable_values(climate, variable)[series.month, series.station]


def station_climate(variable: str, lat: Array, lon: Array, height: Array) -> Array:
    """Return the climate (12, S) of stations in canonical units, NaN where it is unknown.

    It is bilinear between the cells; temperature is brought from the relief to the height of
    the station by 6.5 K/km.

    Args:
        variable: Canonical name of the variable.
        lat: Latitudes of the stations (S,), degrees.
        lon: Longitudes (S,), degrees.
        height: Heights (S,), m; NaN for that of the relief.
    """
    packed = bundled_climatology()
    if variable not in packed.names:
        return np.full((MONTHS, len(lat)), np.nan)
    rows, columns, weights = corner_cells(lat, lon, packed.lat, packed.lon)
    own_rows, row_at = np.unique(rows, return_inverse=True)
    own_columns, column_at = np.unique(columns, return_inverse=True)
    cells = packed.read(variable, own_rows, own_columns)
    corners = cells[:, row_at.reshape(rows.shape), column_at.reshape(rows.shape)]
    climate: Array = (corners * weights).sum(axis=1)
    if variable == "t2m":
        relief = read_bundled_statics()["topography"].values[rows, columns]
        above = height - (relief * weights).sum(axis=0)
        climate -= LAPSE_RATE * np.nan_to_num(above)
    return climate


def corner_cells(lat: Array, lon: Array, rows: Axis, columns: Axis) -> tuple[Index, Index, Array]:
    """Return the rows, the columns and the weights (4, S) of the cells around places.

    Args:
        lat: Latitudes (S,), degrees.
        lon: Longitudes (S,), degrees.
        rows: First latitude, spacing and number of rows.
        columns: The same of the columns, which go around the Earth.

    Example:
        >>> place = np.array([0.5]), np.array([359.75])
        >>> [e.ravel().tolist() for e in corner_cells(*place, (0.0, 1.0, 9), (0.0, 1.0, 360))]
        [[0, 0, 1, 1], [359, 0, 359, 0], [0.125, 0.375, 0.125, 0.375]]
    """
    y = ((lat - rows[0]) / rows[1]).clip(0, rows[2] - 1)
    x = (lon - columns[0]) % 360 / columns[1]
    south, west = np.minimum(np.floor(y), rows[2] - 2), np.floor(x)
    up, over = y - south, x - west
    at_row = np.stack([south, south, south + 1, south + 1]).astype(np.int64)
    at_column = np.stack([west, west + 1, west, west + 1]).astype(np.int64) % columns[2]
    weights = [(1 - up) * (1 - over), (1 - up) * over, up * (1 - over), up * over]
    return at_row, at_column, np.stack(weights)
