"""A made-up hydrostatic atmosphere over made-up hills, at 0.25 degrees."""

import numpy as np
import xarray as xr

from dpdm.constants import GAS_CONSTANT, GRAVITY, LAPSE_RATE
from dpdm.fields.grid import Grid
from dpdm.fields.regrid import coarsen_fields

GRID = Grid(40 + 0.25 * (np.arange(24) + 0.5), 100 + 0.25 * (np.arange(28) + 0.5))
FACTOR = 4
SEA_LEVEL = 290.0  # K


def hills(seed: int = 0) -> np.ndarray:
    """Return heights (H, W) of 500 to 1500 m, with detail within coarse cells."""
    rng = np.random.default_rng(seed)
    return 1000 + 150 * rng.standard_normal(GRID.shape).clip(-3, 3)


def statics(height: np.ndarray) -> xr.Dataset:
    """Return a relief as geopotential, all of it land."""
    axes = ("lat", "lon")
    z = xr.Variable(axes, height * GRAVITY, {"units": "m2 s-2", "standard_name": "geopotential"})
    land = xr.Variable(axes, np.ones(GRID.shape), {"standard_name": "land_area_fraction"})
    return xr.Dataset({"z": z, "lsm": land}, GRID.coords())


def sea_level_pressure() -> np.ndarray:
    """Return pressure at sea level (H, W), linear in latitude and longitude, Pa."""
    return 101000 + 30 * (GRID.lat[:, None] - 43) - 20 * (GRID.lon - 103)


def atmosphere(height: np.ndarray, months: int = 2) -> xr.Dataset:
    """Return temperature, rain, surface pressure and pressure at sea level of some months."""
    time = xr.date_range("2001-01-01", periods=months, freq="MS")
    power = GRAVITY / (GAS_CONSTANT * LAPSE_RATE)
    t2m = SEA_LEVEL - LAPSE_RATE * height
    values = {
        "t2m": (t2m, "K"),
        "tp": (2 + np.sin(height / 100), "mm day-1"),
        "sp": (sea_level_pressure() * (t2m / SEA_LEVEL) ** power, "Pa"),
        "msl": (sea_level_pressure(), "Pa"),
    }
    dims, shape = ("time", "lat", "lon"), (months, *GRID.shape)
    fields = {
        name: (dims, np.broadcast_to(value, shape).astype("f4"), {"units": units})
        for name, (value, units) in values.items()
    }
    return xr.Dataset(fields, GRID.coords() | {"time": time})


def coarse_atmosphere(height: np.ndarray, *names: str, months: int = 2) -> xr.Dataset:
    """Return means of some variables over blocks of one degree."""
    return coarsen_fields(atmosphere(height, months)[list(names)], FACTOR)
