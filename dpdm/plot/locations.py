"""Find points by coordinates or station names, and interpolate fields to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError, nearest_names, prefix_file_name
from dpdm.fields.grid import Array, Grid, align_longitudes, grid_of
from dpdm.fields.regrid import bilinear_matrices
from dpdm.observations.csv_reader import read_station_positions


@dataclass(frozen=True)
class PlotPoint:
    """A point on the Earth.

    Attributes:
        lat: Degrees north.
        lon: Degrees east.
        label: Coordinates or station's name.
    """

    lat: float
    lon: float
    label: str


def find_point(at: str, points: Path | None, grid: Grid, path: object) -> PlotPoint:
    """Return the point LAT,LON or the station of a table, which must lie on the grid of a file."""
    if not at:
        raise DpdmError("A series needs a location.", "Give --at LAT,LON, or a station's name.")
    point = _parse_pair(at) or _find_station(at, points)
    if not grid.covers(Grid(np.array([point.lat]), np.array([point.lon]))):
        raise DpdmError(
            f"{point.label} lies outside {path}, which has latitudes {grid.lat[0]:g} to "
            f"{grid.lat[-1]:g} and longitudes {grid.lon[0]:g} to {grid.lon[-1]:g}.",
            "Give a location within the grid, latitude first: --at LAT,LON.",
        )
    return point


def _parse_pair(text: str) -> PlotPoint | None:
    """Return the point LAT,LON, or None for any other text."""
    try:
        lat, lon = (float(part) for part in text.split(","))
    except ValueError:
        return None
    if not (abs(lat) <= 90 and np.isfinite(lon)):
        raise DpdmError(f"--at {text} has latitude {lat:g}.", "Latitude comes first: LAT,LON.")
    return PlotPoint(lat, lon, format_position(lat, lon))


def format_position(lat: float, lon: float) -> str:
    """Format coordinates.

    Example:
        >>> format_position(37.5, -127.0)
        '37.5°N 127°W'
    """
    east = (lon + 180) % 360 - 180
    return f"{abs(lat):g}°{'S' if lat < 0 else 'N'} {abs(east):g}°{'W' if east < 0 else 'E'}"


def _find_station(name: str, points: Path | None) -> PlotPoint:
    """Return the position of a station in a table."""
    if points is None:
        raise DpdmError(
            f"--at {name} is not LAT,LON, and there is no table of stations.",
            "Add --points STATIONS.csv, or give --at LAT,LON.",
        )
    with prefix_file_name(points):
        table = read_station_positions(points, ("station", "lat", "lon"))
    matches = table[table["station"].str.casefold() == name.strip().casefold()]
    if matches.empty:
        close = nearest_names(name, sorted(set(table["station"])), 3)
        raise DpdmError(
            f"{points} has no station {name}.", f"Similar names are {', '.join(close)}."
        )
    row = matches.iloc[0]
    label = f"{row['station']}, {format_position(row['lat'], row['lon'])}"
    return PlotPoint(row["lat"], row["lon"], label)


def interpolate_point(array: xr.DataArray, at: PlotPoint) -> xr.DataArray:
    """Interpolate a field to a point, bilinearly."""
    _, columns = _bilinear_weights(array, at)
    return _weighted_sum(interpolate_parallel(array, at), "lon", columns)


def interpolate_parallel(array: xr.DataArray, at: PlotPoint) -> xr.DataArray:
    """Interpolate a field to the parallel of a point, linearly."""
    rows, _ = _bilinear_weights(array, at)
    return _weighted_sum(array, "lat", rows)


def _bilinear_weights(
    array: xr.DataArray, at: PlotPoint
) -> tuple[dict[int, float], dict[int, float]]:
    """Return the weights of the rows and of the columns around a point."""
    grid = grid_of(array)
    lon = float(align_longitudes(np.array([at.lon]), grid.lon)[0])
    point = Grid(np.array([at.lat]), np.array([lon]))
    rows, columns = (
        dict(zip(m.col.tolist(), m.data.tolist(), strict=True))
        for m in (matrix.tocoo() for matrix in bilinear_matrices(grid, point))
    )
    return rows, columns


def _weighted_sum(array: xr.DataArray, dim: str, weights: Mapping[int, float]) -> xr.DataArray:
    """Return the weighted sum of a few rows or columns."""
    parts = (weight * array.isel({dim: i}, drop=True) for i, weight in weights.items())
    return reduce(add, parts)


def read_point_values(array: xr.DataArray, at: PlotPoint, path: object) -> Array:
    """Return the values (time,) of fields at a point."""
    values: Array = np.asarray(interpolate_point(array, at).values, float)
    if not np.isfinite(values).any():
        raise DpdmError(f"{path} has no value at {at.label}.", "Choose another location.")
    return values
