"""Fields as dpdm reads them."""

import numpy as np
import xarray as xr

LAT = np.arange(-30.0, 31.0, 10.0)


LON = np.arange(0.0, 360.0, 30.0)


DAYS = np.array(["2000-01-15", "2000-02-15", "2000-03-15"], "M8[ns]")


def temperature(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """Give a field that depends on the place only, so that cells can be told apart."""
    east = np.deg2rad(lon)
    return 280 + np.cos(np.deg2rad(lat))[:, None] * (10 + np.cos(east) + 2 * np.sin(east))


def fields(lat=LAT, lon=LON, time=DAYS, names=("time", "lat", "lon"), dtype="f4") -> xr.Dataset:
    """Make a dataset as a user might have it."""
    values = temperature(np.asarray(lat, "f8"), np.asarray(lon, "f8")).astype(dtype)
    values = np.stack([values + i for i in range(len(time))])
    return xr.Dataset(
        {"tas": (names, values, {"units": "K", "standard_name": "air_temperature"})},
        {
            names[0]: time,
            names[1]: (names[1], lat, {"units": "degrees_north"}),
            names[2]: (names[2], lon, {"units": "degrees_east"}),
        },
        {"institute": "none"},
    )
