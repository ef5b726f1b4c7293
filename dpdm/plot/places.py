"""A point on the grid, by its coordinates or by the name of a station."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError, nearest
from dpdm.fields.grid import Array, Grid, grid_of, lerp_matrices, near
from dpdm.fields.store import naming
from dpdm.fields.text import read_places
from dpdm.plot.ask import Ask
from dpdm.plot.source import Source


@dataclass(frozen=True)
class Place:
    """A point.

    Attributes:
        lat: Degrees north.
        lon: Degrees east.
        words: What it is called.
    """

    lat: float
    lon: float
    words: str


def place_of(ask: Ask, source: Source) -> Place:
    """Return the point that is asked for."""
    if not ask.at:
        raise DpdmError("A series needs a place.", "Say --at LAT,LON, or a station's name.")
    here = _pair(ask.at) or _station(ask)
    grid = source.grid
    point = Grid(np.array([here.lat]), np.array([here.lon]))
    if not grid.covers(point):
        raise DpdmError(
            f"{here.words} lies outside {source.path}, which has latitudes {grid.lat[0]:g} to "
            f"{grid.lat[-1]:g} and longitudes {grid.lon[0]:g} to {grid.lon[-1]:g}.",
            "Give a place within it, latitude first: --at LAT,LON.",
        )
    return here


def _pair(text: str) -> Place | None:
    """Read LAT,LON."""
    try:
        lat, lon = (float(part) for part in text.split(","))
    except ValueError:
        return None
    if not (abs(lat) <= 90 and np.isfinite(lon)):
        raise DpdmError(f"--at {text} has latitude {lat:g}.", "Latitude comes first: LAT,LON.")
    return Place(lat, lon, named(lat, lon))


def named(lat: float, lon: float) -> str:
    """Write a place as people do.

    Example:
        >>> named(37.5, -127.0)
        '37.5°N 127°W'
    """
    east = (lon + 180) % 360 - 180
    return f"{abs(lat):g}°{'S' if lat < 0 else 'N'} {abs(east):g}°{'W' if east < 0 else 'E'}"


def _station(ask: Ask) -> Place:
    if ask.points is None:
        raise DpdmError(
            f"--at {ask.at} is no LAT,LON, and no table of stations was given.",
            "Say --points STATIONS.csv too, or write --at LAT,LON.",
        )
    with naming(ask.points):
        table = read_places(ask.points, ("station", "lat", "lon"))
    found = table[table["station"].str.casefold() == ask.at.strip().casefold()]
    if found.empty:
        names = sorted(set(table["station"]))
        close = nearest(ask.at, names, 3)
        raise DpdmError(
            f"{ask.points} has no station {ask.at}.", f"Nearest by name: {', '.join(close)}."
        )
    row = found.iloc[0]
    return Place(row["lat"], row["lon"], f"{row['station']}, {named(row['lat'], row['lon'])}")


def beside_point(array: xr.DataArray, at: Place) -> xr.DataArray:
    """Return the field at a point, bilinear between the four centres around it."""
    _, columns = _shares(array, at)
    return _sum(beside_parallel(array, at), "lon", columns)


def beside_parallel(array: xr.DataArray, at: Place) -> xr.DataArray:
    """Return the field along the parallel of a point, linear between the rows on both sides."""
    rows, _ = _shares(array, at)
    return _sum(array, "lat", rows)


def _shares(array: xr.DataArray, at: Place) -> tuple[dict[int, float], dict[int, float]]:
    """Return the rows and columns around a point, and what each adds to the value there."""
    grid = grid_of(array)
    lon = float(near(np.array([at.lon]), grid.lon)[0])
    point = Grid(np.array([at.lat]), np.array([lon]))
    rows, columns = (m.tocoo() for m in lerp_matrices(grid, point))
    both = [dict(zip(m.col.tolist(), m.data.tolist(), strict=True)) for m in (rows, columns)]
    return both[0], both[1]


def _sum(array: xr.DataArray, dim: str, shares: Mapping[int, float]) -> xr.DataArray:
    parts = (share * array.isel({dim: i}, drop=True) for i, share in shares.items())
    return reduce(add, parts)


def value_at(array: xr.DataArray, at: Place, path: Path) -> Array:
    """Return the values at a point."""
    values: Array = np.asarray(beside_point(array, at).values, float)
    if not np.isfinite(values).any():
        raise DpdmError(f"{path} has no value at {at.words}.", "Choose another place.")
    return values
