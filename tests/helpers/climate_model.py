"""Months of a made-up climate model, laid out as CMIP6 does."""

import cftime
import numpy as np
import xarray as xr

from dpdm.fields.grid import Grid
from dpdm.fields.regrid import coarsen_grid
from tests.helpers.small_world import FACTOR, GRID

DAY = 86400.0  # s
COARSE = coarsen_grid(GRID, FACTOR)


def model_months(
    first: int = 1981, years: int = 6, warm: float = 0.0, wet: float = 1.0, trend: float = 0.0,
    grid: Grid = COARSE, seed: int = 0,
) -> xr.Dataset:  # fmt: skip
    """Return tas (K), with a trend in K a year, and pr (kg m-2 s-1), in a noleap calendar."""
    rng = np.random.default_rng(seed)
    edges = [cftime.DatetimeNoLeap(first + n // 12, n % 12 + 1, 1) for n in range(12 * years + 1)]
    starts, ends = np.array(edges[:-1]), np.array(edges[1:])
    month, shape = np.arange(12 * years)[:, None, None], (12 * years, *grid.shape)
    north = grid.lat[:, None] - 36
    tas = warm + 288 - north / 2 - 9 * np.cos(np.pi * month / 6) + trend * month / 12
    pr = wet * (3 - np.cos(np.pi * month / 6)) * np.exp(0.3 * rng.standard_normal(shape)) / DAY
    dims = ("time", "lat", "lon")
    kelvin = {"standard_name": "air_temperature", "units": "K", "cell_methods": "time: mean"}
    flux = {"standard_name": "precipitation_flux", "units": "kg m-2 s-1"}
    out = xr.Dataset(
        {
            "tas": (dims, tas + rng.standard_normal(shape), kelvin),
            "pr": (dims, pr, flux),
            "time_bnds": (("time", "bnds"), np.stack([starts, ends], 1)),
        },
        grid.coords() | {"time": starts + (ends - starts) / 2, "height": 2.0},
        {"source_id": "Made-up", "table_id": "Amon"},
    )
    out["time"].attrs["bounds"] = "time_bnds"
    out["time"].encoding["units"] = "days since 1850-01-01"
    return out
