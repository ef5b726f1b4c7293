"""Tables of stations on a small grid."""

import numpy as np
import pandas as pd
import xarray as xr

from dpdm.fields.grid import Grid

GRID = Grid(np.arange(30.5, 40), np.arange(120.5, 130))


GLOBE = Grid(np.arange(-87.5, 90, 5), np.arange(2.5, 360, 5))


def table(lat, lon, value=280.0, error=1.0, **rest) -> pd.DataFrame:
    """Make temperatures at some places."""
    rows = pd.DataFrame({"lat": np.atleast_1d(lat), "lon": lon}).astype(float)
    made = {"source": "a.csv", "row": np.arange(1, len(rows) + 1), "variable": "t2m"}
    said = {"value": value, "error": error, "elevation": np.nan, "units": "K", "status": ""}
    return rows.assign(**made, **said, time=np.datetime64("2012-07-15", "ns")).assign(**rest)


def axis(start: str, count: int, freq: str, calendar: str = "standard") -> xr.DataArray:
    times = xr.date_range(start, periods=count, freq=freq, calendar=calendar)
    return xr.DataArray(times, dims="time", name="time")


def relief(height: float, land: np.ndarray | float) -> xr.Dataset:
    field = xr.DataArray(np.full(GRID.shape, height), dims=("lat", "lon"))
    return xr.Dataset({"topography": field, "land_fraction": field * 0 + land})
