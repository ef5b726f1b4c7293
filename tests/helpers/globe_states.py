"""A made-up weather on a small globe, and priors that the command itself trained on it."""

from pathlib import Path

import numpy as np
import xarray as xr

from tests.helpers.small_world import dpdm

TOML = """
[net]
read = [8, 8, 8]
widths = [8, 8]
depth = 1
[train]
steps = 12
batch = 2
warmup = 4
validate = 6
[code]
codes = 8
encode = 16
decode = 16
depth = 1
share = 0.5
"""
ROWS, COLUMNS = 16, 32


def weather(days: int = 400, first: str = "2001-01-01") -> xr.Dataset:
    """Return daily t (K) on two levels and sp (Pa): waves that travel, and a seasonal cycle."""
    rng = np.random.default_rng(0)
    lat = (np.arange(ROWS) + 0.5) * 180 / ROWS - 90
    lon = np.arange(COLUMNS) * 360 / COLUMNS
    time = xr.date_range(first, periods=days, freq="D")
    y, x, day = np.radians(lat)[:, None], np.radians(lon), np.arange(days)[:, None, None]
    cycle = -8 * np.cos(2 * np.pi * day / 365.25) * np.sin(y)
    wave = 4 * np.cos(y) * np.cos(2 * x - 0.3 * day + 0.05 * day**1.2)
    noise = 0.3 * rng.standard_normal((3, days, ROWS, COLUMNS))
    low = 300 - 40 * np.sin(y) ** 2 + cycle + wave + noise[0]
    high = 270 - 30 * np.sin(y) ** 2 + cycle + 0.7 * wave + noise[1]
    pressure = 101325 - 300 * wave + 100 * noise[2]
    t = np.stack([low, high], 1).astype("f4")
    said = {"standard_name": "air_pressure", "units": "Pa", "positive": "down", "axis": "Z"}
    coords = {
        "time": time,
        "level": ("level", [85000.0, 50000.0], said),
        "lat": ("lat", lat, {"units": "degrees_north"}),
        "lon": ("lon", lon, {"units": "degrees_east"}),
    }
    return xr.Dataset(
        {
            "t": (
                ("time", *list(coords)[1:]),
                t,
                {"standard_name": "air_temperature", "units": "K"},
            ),
            "sp": (
                ("time", "lat", "lon"),
                (pressure + 0 * t[:, 0]).astype("f4"),
                {"standard_name": "surface_air_pressure", "units": "Pa"},
            ),
        },
        coords,
    )


def taught(folder: Path, *words: str, series: xr.Dataset | None = None) -> Path:
    """Train a prior of windows of 3 states with the command, and return its file."""
    (folder / "globe.toml").write_text(TOML)
    (weather() if series is None else series).to_netcdf(folder / "weather.nc")
    out = folder / "prior.safetensors"
    result = dpdm(
        "train", folder / "weather.nc", "--window", 3, "--out", out, "--config",
        folder / "globe.toml", *words,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return out
