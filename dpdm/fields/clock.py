"""The time axis of a file, made canonical: a sorted `time` in the calendar of the file.

The bounds of the steps come along, for they say over which period an amount fell. Those of a
climatology span all its years (CF-1.11, 7.4): inside dpdm they are those of one year, which is
what a step stands for, and an attribute remembers the years on either side.
"""

from collections.abc import Hashable, Iterable
from itertools import pairwise

import cftime
import numpy as np
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.epochs import INVENTED, NAMES, check_dates
from dpdm.fields.leads import valid
from dpdm.fields.time import check_bounds, dates_of, enclose, is_dated
from dpdm.fields.yearless import with_year

USUAL_BOUNDS = ("time_bnds", "time_bounds", "time_bound")
YEARS = "climatology_years"  # an attribute of time_bnds: years before, and years after


def keep_time(ds: xr.Dataset) -> tuple[xr.Dataset, xr.DataArray | None]:
    """Name the time axis `time`, check it, and take its bounds.

    A single time that is no dimension becomes a dimension of one step. Start and lead time of a
    forecast become the time that it is valid for; twelve months without a year, those of a year.
    A file may have no time.

    Returns:
        The dataset, and the bounds (time, bnds) where the file has them.
    """
    ds = with_year(ds)
    ds = valid(ds, _find(ds))
    name = _find(ds)
    if name is None:
        return _timeless(ds), None
    ds = _named(ds, name)
    _check(ds["time"])
    return _bounded(ds)


def _bounded(ds: xr.Dataset) -> tuple[xr.Dataset, xr.DataArray | None]:
    bounds = _bounds(ds, "bounds")
    if bounds is None and (spans := _bounds(ds, "climatology")) is not None:
        return ds, _one_year(ds["time"], spans)
    if bounds is None or (bounds[:, 0] == bounds[:, 1]).all():  # the bounds of moments
        return ds, None
    return _settled(ds, bounds), bounds


def within_bounds(ds: xr.Dataset, name: str) -> xr.Dataset:
    """Return a file whose stamps, under any name, lie within their bounds, if it has any."""
    if ds[name].dims != (name,) or not is_dated(ds[name]):
        return ds
    moved, _ = _bounded(ds if name == "time" else ds.rename({name: "time"}))
    return ds.assign_coords({name: (name, moved["time"].values, ds[name].attrs)})


def _settled(ds: xr.Dataset, bounds: xr.DataArray) -> xr.Dataset:
    """Move stamps at the end of their step to its middle, and check that bounds enclose them."""
    time = ds["time"]
    check_bounds(time, bounds, _bounds_name(ds, "bounds"))
    moved = time.copy(data=dates_of(time, bounds).values)
    moved.encoding = time.encoding
    return ds.assign_coords(time=moved)


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
    check_dates(time)
    if bool(time.isnull().any()):
        raise DpdmError("time has missing steps.", "Remove them.")
    values = time.values
    for before, after in pairwise(values):
        if before == after:
            raise DpdmError(f"time {after} comes twice.", "Leave one of the two steps out.")
        if before > after:
            raise DpdmError(
                f"time {after} comes after {before}.",
                "Sort the steps: cdo sorttimestamp IN.nc OUT.nc.",
            )


def _timeless(ds: xr.Dataset) -> xr.Dataset:
    """Drop a time of one step that has no date, and refuse several steps."""
    for dim in ("time", "valid_time", "t", "Time"):
        if ds.sizes.get(dim, 1) > 1 and dim not in ds.variables:
            raise DpdmError(f"its {ds.sizes[dim]} steps have no times.", INVENTED)
    return ds.isel(time=0, drop=True) if "time" in ds.dims else ds


def _bounds(ds: xr.Dataset, key: str) -> xr.DataArray | None:
    """Take the bounds that the axis names, or that have a usual name: two dates a step."""
    time, name = ds["time"], _bounds_name(ds, key)
    if name not in ds.variables:
        return None
    bounds = ds[name].load()
    if bounds.shape == (2,) and time.size == 1:
        bounds = bounds.expand_dims("time")
    if bounds.shape != (time.size, 2):
        return None
    if bounds.dtype.kind in "fiu" and key == "bounds":
        bounds = _decoded(bounds, time)
    if bounds.dtype.kind not in "MO":
        return None
    found = xr.DataArray(bounds.values, dims=("time", "bnds"), name="time_bnds")
    named = key in time.attrs or key in time.encoding
    return found if named or enclose(found, time) else None


def _bounds_name(ds: xr.Dataset, key: str) -> str:
    """Return the name of the bounds that the axis names, or a usual one where it names none."""
    time = ds["time"]
    if name := time.attrs.get(key, time.encoding.get(key, "")):
        return str(name)
    climatology = "climatology" in time.attrs or "climatology" in time.encoding
    usual = () if key != "bounds" or climatology else USUAL_BOUNDS
    return next((name for name in usual if name in ds.variables), "")


def _decoded(bounds: xr.DataArray, time: xr.DataArray) -> xr.DataArray:
    """Return bounds as dates, which without an attribute of the axis are read as numbers."""
    units, calendar = time.encoding.get("units"), time.encoding.get("calendar", "standard")
    if units is None:
        return bounds
    found = bounds.drop_vars(list(bounds.coords)).assign_attrs(units=units, calendar=calendar)
    return xr.decode_cf(found.to_dataset(name="bounds"))["bounds"]


def _one_year(time: xr.DataArray, spans: xr.DataArray) -> xr.DataArray | None:
    """Return the bounds of a climatology within the year of its stamps.

    Parts of days over many days have none, and neither have steps of different years.
    """
    calendar = time.dt.calendar
    moments, edges = (_dates(v, calendar) for v in (time.values, spans.values.ravel()))
    pairs, years = [], set()
    for moment, start, end in zip(moments, edges[::2], edges[1::2], strict=True):
        begun = _in_year(start, moment.year)
        begun = begun if begun <= moment else _in_year(start, moment.year - 1)
        ended = _in_year(end, begun.year)
        ended = ended if ended > begun else _in_year(end, begun.year + 1)
        pairs.append([begun, ended])
        years.add((begun.year - start.year, end.year - ended.year))
    if len(years) != 1 or any(e.hour != s.hour for s, e in pairs):
        return None
    values = np.array(pairs, dtype=object)
    if time.dtype.kind == "M":
        values = np.array([[d.isoformat() for d in pair] for pair in pairs], dtype="M8[ns]")
    return xr.DataArray(
        values, dims=("time", "bnds"), name="time_bnds", attrs={YEARS: years.pop()}
    )


def spans(bounds: xr.DataArray) -> xr.DataArray:
    """Return the bounds of a climatology over all its years, from those within one."""
    before, after = bounds.attrs[YEARS]
    dates = _dates(bounds.values.ravel(), bounds.dt.calendar)
    shifts = [-before, after] * bounds.sizes["time"]
    moved = [_in_year(d, d.year + n) for d, n in zip(dates, shifts, strict=True)]
    values = np.array(moved, dtype=object)
    if bounds.dtype.kind == "M":
        values = np.array([d.isoformat() for d in moved], dtype="M8[ns]")
    return xr.DataArray(values.reshape(bounds.shape), dims=bounds.dims)


def _dates(values: np.ndarray, calendar: str) -> list[cftime.datetime]:
    """Return dates of a calendar for dates of any kind."""
    if values.dtype.kind != "M":
        return list(values)
    words = [stamp.timetuple()[:6] for stamp in values.astype("M8[s]").astype(object)]
    return [cftime.datetime(*six, calendar=calendar) for six in words]


def _in_year(date: cftime.datetime, year: int) -> cftime.datetime:
    first = date.replace(year=year, day=1)
    return first.replace(day=min(date.day, first.daysinmonth))


def pick(ds: xr.Dataset, names: Iterable[Hashable]) -> xr.Dataset:
    """Return some variables with the bounds of their times, which ``ds[names]`` leaves behind."""
    bounds = {n: ds[n] for n in ("time_bnds",) if n in ds.coords}
    return ds[list(names)].assign_coords(bounds)
