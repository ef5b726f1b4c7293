"""Fields whose every value tells where it is, on grids as files have them."""

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from dpdm.fields.grid import Grid

GRIDS = {
    "globe of 0 to 360": Grid(np.arange(-88.75, 90, 2.5), np.arange(1.25, 360, 2.5)),
    "globe of -180 to 180": Grid(np.arange(-88.75, 90, 2.5), np.arange(-178.75, 180, 2.5)),
    "globe with poles": Grid(np.arange(-90, 90.1, 2.5), np.arange(0, 360, 3.75)),
    "across the dateline": Grid(np.arange(-20.0, 10), np.arange(170.0, 190)),
    "across Greenwich": Grid(np.arange(40.125, 60, 0.25), np.arange(-9.875, 10, 0.25)),
    "west, of 0 to 360": Grid(np.arange(-54.5, -30), np.arange(280.5, 300)),
}


def west(lon: Any) -> Any:
    """Return longitudes in -180 to 180."""
    return (np.asarray(lon) + 180) % 360 - 180


def told(lat: Any, lon: Any) -> Any:
    """Return the value, K, that stands at a place: no two cells have the same."""
    return 280 + np.asarray(lat) / 3 + west(lon) / 1000


def field(grid: Grid, steps: int = 2, members: int = 0, calendar: str = "standard") -> xr.Dataset:
    """Return temperatures that tell their place, a kelvin warmer each step."""
    time = xr.date_range(
        "2012-01-16", periods=steps, freq="31D", calendar=calendar, use_cftime=None
    )
    values = told(grid.lat[:, None], grid.lon) + np.arange(steps)[:, None, None]
    dims, coords = ["time", "lat", "lon"], grid.coords() | {"time": time}
    if members:
        noise = np.random.default_rng(0).standard_normal((members, *values.shape))
        dims, values = ["realization", *dims], values + noise
        coords |= {"realization": np.arange(members)}
    attrs = {"units": "K", "standard_name": "air_temperature", "long_name": "2 metre temperature"}
    return xr.Dataset({"t2m": (dims, values.astype("f4"), attrs)}, coords)


def written(path: Path, ds: xr.Dataset) -> Path:
    """Write a dataset with the attributes that make CDO and GDAL know its axes."""
    ds["lat"].attrs |= {"units": "degrees_north", "standard_name": "latitude"}
    ds["lon"].attrs |= {"units": "degrees_east", "standard_name": "longitude"}
    ds.to_netcdf(path)
    return path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing reach out."""

    def refuse(*words: Any, **more: Any) -> None:
        raise AssertionError("a connection was sought")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
