"""The time axis of a file, made canonical: a sorted `time` in the calendar of the file.

The bounds of the steps come along, for they say over which period an amount fell.
"""

from collections.abc import Hashable, Iterable
from itertools import pairwise

import xarray as xr

from dpdm.errors import DpdmError

RELATIVE = "Rewrite the times: cdo -r settunits,days IN.nc OUT.nc."
INVENTED = "Set the times: cdo -r settunits,days -settaxis,2000-01-15,12:00,1mon IN.nc OUT.nc."
NAMES = ("valid_time", "time", "date")


def keep_time(ds: xr.Dataset) -> tuple[xr.Dataset, xr.DataArray | None]:
    """Name the time axis `time`, check it, and take its bounds.

    A single time that is no dimension becomes a dimension of one step. A file may have no time.

    Returns:
        The dataset, and the bounds (time, bnds) where the file has them.

    Raises:
        DpdmError: Times are not dates, missing, repeated or unsorted.
    """
    name = _find(ds)
    if name is None:
        return ds, None
    ds = _named(ds, name)
    _check(ds["time"])
    return ds, _bounds(ds)


def _find(ds: xr.Dataset) -> str | None:
    """Find the time of validity: a line of dates before a single date, GRIB's first."""
    usual = [str(name) for name in ds.variables if str(name).lower() in NAMES]
    marked = [str(name) for name in ds.cf.coordinates.get("time", [])]
    names = sorted(dict.fromkeys(usual + marked), key=lambda n: (-ds[n].ndim, _place(n)))
    return next((name for name in names if ds[name].ndim < 2), None)


def _place(name: str) -> int:
    return NAMES.index(name.lower()) if name.lower() in NAMES else len(NAMES)


def _named(ds: xr.Dataset, name: str) -> xr.Dataset:
    if ds[name].ndim == 0:
        on_grid = [key for key, array in ds.data_vars.items() if array.ndim >= 2]
        ds = ds.drop_vars([n for n in ds.coords if n == "time" and name != "time"])
        lone = ds.set_coords(name).rename({name: "time"} if name != "time" else {})
        return lone.assign({key: lone[key].expand_dims("time") for key in on_grid})
    dim = ds[name].dims[0]
    if dim != name:
        ds = ds.drop_vars([n for n in (dim,) if n in ds.variables])
        ds = ds.set_coords(name).swap_dims({dim: name})
    if name != "time":
        ds = ds.drop_vars("time", errors="ignore").rename({name: "time"})
    return ds


def _check(time: xr.DataArray) -> None:
    if time.dtype.kind != "M" and not hasattr(time.values.flat[0], "calendar"):
        raise DpdmError(
            f"{time.name} holds {time.values.flat[0]}, which is not a date.",
            RELATIVE if "units" in time.attrs else INVENTED,
        )
    if bool(time.isnull().any()):
        raise DpdmError("time has missing steps.", "Remove them.")
    values = time.values
    for before, after in pairwise(values):
        if not before < after:
            word = "comes twice" if before == after else f"comes after {before}"
            raise DpdmError(f"time {after} {word}.", "Sort it: cdo mergetime IN.nc OUT.nc.")


def _bounds(ds: xr.Dataset) -> xr.DataArray | None:
    """Take the bounds that the axis names, where they are two dates a step."""
    time = ds["time"]
    name = time.attrs.get("bounds", time.encoding.get("bounds"))
    if name not in ds.variables or ds[name].shape != (time.size, 2):
        return None
    bounds = ds[name].load()
    if bounds.dtype.kind not in "MO":
        return None
    return xr.DataArray(bounds.values, dims=("time", "bnds"), name="time_bnds")


def pick(ds: xr.Dataset, names: Iterable[Hashable]) -> xr.Dataset:
    """Return some variables with the bounds of their times, which ``ds[names]`` leaves behind."""
    bounds = {n: ds[n] for n in ("time_bnds",) if n in ds.coords}
    return ds[list(names)].assign_coords(bounds)
