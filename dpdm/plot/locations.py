"""A point on the grid, by its coordinates or by the name of a station."""

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
from dpdm.plot.data import PlotVariable
from dpdm.plot.options import PlotOptions


@dataclass(frozen=True)
class PlotPoint:
    """A point.

    Attributes:
        lat: Degrees north.
        lon: Degrees east.
        label: What it is called.
    """

    lat: float
    lon: float
    label: str


def find_point(ask: PlotOptions, source: PlotVariable) -> PlotPoint:
    """Return the point that is asked for."""
    if not ask.at:
        raise DpdmError("A series needs a place.", "Say --at LAT,LON, or a station's name.")
    here = _parse_pair(ask.at) or _find_station(ask)
    grid = source.grid
    point = Grid(np.array([here.lat]), np.array([here.lon]))
    if not grid.covers(point):
        raise DpdmError(
            f"{here.label} lies outside {source.path}, which has latitudes {grid.lat[0]:g} to "
            f"{grid.lat[-1]:g} and longitudes {grid.lon[0]:g} to {grid.lon[-1]:g}.",
            "Give a place within it, latitude first: --at LAT,LON.",
        )
    return here


def _parse_pair(text: str) -> PlotPoint | None:
    """Read LAT,LON."""
    try:
        lat, lon = (float(part) for part in text.split(","))
    except ValueError:
        return None
    if not (abs(lat) <= 90 and np.isfinite(lon)):
        raise DpdmError(f"--at {text} has latitude {lat:g}.", "Latitude comes first: LAT,LON.")
    return PlotPoint(lat, lon, format_position(lat, lon))


def format_position(lat: float, lon: float) -> str:
    """Write a place as people do.

    Example:
        >>> named(37.5, -127.0)
        '37.5°N 127°W'
    """
    east = (lon + 180) % 360 - 180
    return f"{abs(lat):g}°{'S' if lat < 0 else 'N'} {abs(east):g}°{'W' if east < 0 else 'E'}"


def _find_station(ask: PlotOptions) -> PlotPoint:
    if ask.points is None:
        raise DpdmError(
            f"--at {ask.at} is no LAT,LON, and no table of stations was given.",
            "Say --points STATIONS.csv too, or write --at LAT,LON.",
        )
    with prefix_file_name(ask.points):
        table = read_station_positions(ask.points, ("station", "lat", "lon"))
    found = table[table["station"].str.casefold() == ask.at.strip().casefold()]
    if found.empty:
        names = sorted(set(table["station"]))
        close = nearest_names(ask.at, names, 3)
        raise DpdmError(
            f"{ask.points} has no station {ask.at}.", f"Nearest by name: {', '.join(close)}."
        )
    row = found.iloc[0]
    return PlotPoint(
        row["lat"], row["lon"], f"{row['station']}, {format_position(row['lat'], row['lon'])}"
    )


def interpolate_point(array: xr.DataArray, at: PlotPoint) -> xr.DataArray:
    """Return the field at a point, bilinear between the four centres around it."""
    _, columns = _bilinear_shares(array, at)
    return _weighted_sum(interpolate_parallel(array, at), "lon", columns)


def interpolate_parallel(array: xr.DataArray, at: PlotPoint) -> xr.DataArray:
    """Return the field along the parallel of a point, linear between the rows on both sides."""
    rows, _ = _bilinear_shares(array, at)
    return _weighted_sum(array, "lat", rows)


def _bilinear_shares(
    array: xr.DataArray, at: PlotPoint
) -> tuple[dict[int, float], dict[int, float]]:
    """Return the rows and columns around a point, and what each adds to the value there."""
    grid = grid_of(array)
    lon = float(align_longitudes(np.array([at.lon]), grid.lon)[0])
    point = Grid(np.array([at.lat]), np.array([lon]))
    rows, columns = (m.tocoo() for m in bilinear_matrices(grid, point))
    both = [dict(zip(m.col.tolist(), m.data.tolist(), strict=True)) for m in (rows, columns)]
    return both[0], both[1]


def _weighted_sum(array: xr.DataArray, dim: str, shares: Mapping[int, float]) -> xr.DataArray:
    parts = (share * array.isel({dim: i}, drop=True) for i, share in shares.items())
    return reduce(add, parts)


def read_point_values(array: xr.DataArray, at: PlotPoint, path: Path) -> Array:
    """Return the values at a point."""
    values: Array = np.asarray(interpolate_point(array, at).values, float)
    if not np.isfinite(values).any():
        raise DpdmError(f"{path} has no value at {at.label}.", "Choose another place.")
    return values
