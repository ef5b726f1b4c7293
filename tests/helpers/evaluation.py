"""A forecast, its truth and the coarse file between them."""

from typing import Any

import numpy as np
import xarray as xr

from dpdm.evaluate.table import Table
from dpdm.fields.grid import Grid
from dpdm.fields.reference_climatology import ReferenceClimatology

FINE = Grid(np.arange(20.1, 30, 0.2), np.arange(100.1, 112, 0.2))


COARSE = Grid(np.arange(20.5, 30), np.arange(100.5, 112))


def months(count: int, calendar: str = "standard", start: str = "2001-01-01") -> xr.Variable:
    """Return the first days of months."""
    times = xr.date_range(start, periods=count, freq="MS", calendar=calendar)
    return xr.Variable(("time",), times)


def world(seed: int, count: int = 3, members: int = 0, **times: str) -> xr.Dataset:
    """Return t2m (K) and tp (mm day-1) of any number of months, rough at all scales."""
    random = np.random.default_rng(seed)
    lead = {"realization": members} if members else {}
    shape = (*lead.values(), count, *FINE.shape)
    dims = (*lead, "time", "lat", "lon")
    t2m = (dims, 280 + 5 * random.standard_normal(shape), {"units": "K"})
    tp = (dims, random.gamma(1.0, 3.0, shape), {"units": "mm day-1"})
    coords = {**FINE.coords(), "time": months(count, **times)}
    return xr.Dataset({"t2m": t2m, "tp": tp}, coords)


def climatology_of(series: xr.Dataset) -> ReferenceClimatology:
    """Return the climatology of a series, as if read from a file."""
    means = series.groupby("time.month").mean()
    return ReferenceClimatology("a.nc", "2001-01 to 2010-12", means)


def rows(table: Table, variable: str = "t2m") -> dict[str, dict[str, Any]]:
    """Return the rows of a variable by method."""
    return {row["method"]: row for row in table.rows if row["variable"] == variable}
