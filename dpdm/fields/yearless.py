"""Twelve months that belong to no year, as a climatology may have them.

They become the months of a year whose February has 28 days, each with its own bounds, so that
seasons and amounts come out right.
"""

import numpy as np
import xarray as xr

from dpdm.fields.epochs import NAMES

YEAR = 2001
MONTHS = ("month", "months", "month_number", "month_of_year", "mon")
_WORDS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]


def months_of(ds: xr.Dataset) -> str | None:
    """Return the dimension of twelve months, where the file has no other time."""
    dim = next((str(d) for d in ds.dims if str(d).lower() in MONTHS), None)
    if dim is None or ds.sizes[dim] != 12 or any(str(n).lower() in NAMES for n in ds.variables):
        return None
    return dim if sorted(_numbers(ds, dim)) == list(range(1, 13)) else None


def with_year(ds: xr.Dataset) -> xr.Dataset:
    """Date twelve months of no year in 2001, in order."""
    dim = months_of(ds)
    if dim is None:
        return ds
    edges = np.arange(f"{YEAR}-01", f"{YEAR + 1}-02", dtype="M8[M]").astype("M8[ns]")
    ds = ds.isel({dim: np.argsort(_numbers(ds, dim))})
    ds = ds.drop_vars(dim, errors="ignore").rename({dim: "time"})
    return ds.assign_coords(
        time=("time", edges[:-1] + np.diff(edges) // 2, {"bounds": "month_bnds"}),
        month_bnds=(("time", "bnds"), np.stack([edges[:-1], edges[1:]], axis=1)),
    )


def _numbers(ds: xr.Dataset, dim: str) -> list[int]:
    """Return the numbers of months from numbers or names, 0 for what is neither."""
    if dim not in ds.variables:
        return list(range(1, ds.sizes[dim] + 1))
    values = ds[dim].values.tolist()
    if ds[dim].dtype.kind in "iuf":
        return [int(value) if float(value).is_integer() else 0 for value in values]
    words = [v.decode() if isinstance(v, bytes) else str(v) for v in values]
    return [_WORDS.index(w[:3].lower()) + 1 if w[:3].lower() in _WORDS else 0 for w in words]
