"""Made-up winds over islands: even above water, slower over land, at 0.25 degrees."""

import numpy as np
import xarray as xr

from dpdm.fields.regrid import coarsen_fields
from dpdm.prior.winds import speed_ratio
from tests.helpers.pressure_world import FACTOR, GRID, atmosphere, hills


def islands() -> np.ndarray:
    """Return land fractions (H, W) of 0 and 1."""
    rows, columns = np.indices(GRID.shape)
    return ((np.sin(rows / 2.5) + np.cos(columns / 3)) > 0.4).astype(float)


def statics() -> xr.Dataset:
    """Return the relief and the islands as ERA5 has them."""
    from tests.helpers import pressure_world

    return pressure_world.statics(hills()).assign(
        lsm=(("lat", "lon"), islands(), {"standard_name": "land_area_fraction"})
    )


def fine_winds(months: int = 2) -> xr.Dataset:
    """Return all five variables, with winds of 8 and -3 m s-1 above water."""
    dims = ("time", "lat", "lon")
    shape = (months, *GRID.shape)
    ratio = speed_ratio(islands())
    winds = {
        name: (dims, np.broadcast_to(speed * ratio, shape).astype("f4"), {"units": "m s-1"})
        for name, speed in {"u10": 8.0, "v10": -3.0}.items()
    }
    return atmosphere(hills(), months).assign(winds)


def coarse_winds(*names: str, months: int = 2) -> xr.Dataset:
    """Return means of some variables over blocks of one degree."""
    return coarsen_fields(fine_winds(months)[list(names)], FACTOR)
