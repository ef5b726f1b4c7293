"""Fields written by the Writer of dpdm."""

from pathlib import Path

import numpy as np
import xarray as xr

from dpdm.fields.metadata import add_cf_metadata
from dpdm.fields.write import Writer


def fields(members: int = 2, calendar: str = "standard") -> xr.Dataset:
    """Make lazy canonical fields of some members and three months, with a hole."""
    rng = np.random.default_rng(0)
    edges = xr.date_range("1899-12-01", periods=4, freq="MS", calendar=calendar, use_cftime=None)
    shape = (members, 3, 8, 12)
    dims = ("realization", "time", "lat", "lon")
    warm = rng.normal(280, 5, shape).astype("f4")
    warm[0, 1, 2, 3] = np.nan
    coords = {
        "realization": np.arange(members),
        "time": edges[:-1],
        "lat": -17.5 + 5 * np.arange(8.0),
        "lon": -30.0 + 5 * np.arange(12.0),
        "time_bnds": (("time", "bnds"), np.stack([edges[:-1], edges[1:]], 1)),
    }
    data = {
        "t2m": (dims, warm, {"units": "K", "standard_name": "air_temperature"}),
        "tp": (dims, rng.gamma(1, 3, shape).astype("f4"), {"units": "mm day-1"}),
    }
    return xr.Dataset(data, coords, {"history": "made", "source": "dice"}).chunk(
        realization=1, time=1
    )


def finished(ds: xr.Dataset) -> xr.Dataset:
    return add_cf_metadata(ds, "Dice", {"seed": "0"}, "dpdm throw dice.nc")


def written(ds: xr.Dataset, path: Path) -> Path:
    """Write a dataset one member and month at a time, backwards."""
    with Writer(path, finished(ds)) as out:
        for step in reversed(range(ds.sizes.get("time", 1))):
            month = ds.isel(time=[step]) if "time" in ds.dims else ds
            for member in range(ds.sizes.get("realization", 1)):
                out.write(month.isel(realization=member, missing_dims="ignore"))
    return path
