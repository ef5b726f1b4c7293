"""Metadata of output files, after the CF conventions 1.11 and ACDD 1.3.

`add_cf_metadata` makes the dataset of an output file from canonical fields. On disk time comes
before realization, as CDO requires. Fields are stored in single precision, compressed, in chunks
of one step of one member.

The Attribute Convention for Data Discovery (https://wiki.esipfed.org/ACDD_1-3) adds global
attributes for catalogues. They are computed from the axes of the output, not copied from the
input. Unknown ones, an author for example, are omitted; licence and institution are copied.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm import __version__
from dpdm.errors import DpdmError
from dpdm.fields.levels import LEVEL_DIM, is_level_dim, join_levels
from dpdm.fields.time import CLIMATOLOGY_YEARS, days_between, multi_year_bounds, period_of_length
from dpdm.fields.variables import SURFACE_VARIABLES

ACDD_CONVENTION = "ACDD-1.3"
# Attributes of an input that do not hold for what is derived from it.
STALE_ATTRIBUTES = re.compile(
    r"dpdm_(?!adjust).*|geospatial_.*|time_coverage_.*|date_(created|modified|issued|metadata_modified)"
    r"|id|naming_authority|uuid|tracking_id|creation_date|summary|keywords(_vocabulary)?"
)
ENSEMBLE_STATISTIC = re.compile(r".* over the ensemble of ")


def drop_stale_attributes(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of an input that also hold for its derivatives."""
    return {key: value for key, value in attrs.items() if not STALE_ATTRIBUTES.fullmatch(key)}


def discovery_attributes(fields: xr.Dataset, title: str, now: str) -> dict[str, Any]:
    """Return the ACDD attributes of fields that have CF metadata."""
    return (
        _summary_attributes(fields, title)
        | _horizontal_extent(fields)
        | _vertical_extent(fields)
        | _time_coverage(fields)
        | {"date_created": now, "standard_name_vocabulary": "CF Standard Name Table"}
    )


def _summary_attributes(fields: xr.Dataset, title: str) -> dict[str, str]:
    """Return a summary, and the standard names as keywords."""
    known = [a for a in fields.data_vars.values() if {"lat", "lon"} <= set(a.dims)]
    names = [str(a.attrs.get("standard_name") or a.name) for a in known]
    plain = [ENSEMBLE_STATISTIC.sub("", str(a.attrs.get("long_name") or a.name)) for a in known]
    cells = f"{fields.sizes['lat']} x {fields.sizes['lon']} cells of latitude and longitude"
    return {
        "summary": f"{title}. On {cells}: {', '.join(dict.fromkeys(plain))}.",
        "keywords": ", ".join(dict.fromkeys(names)),
        "keywords_vocabulary": "CF Standard Names",
    }


def _horizontal_extent(fields: xr.Dataset) -> dict[str, Any]:
    """Return the range of latitudes and longitudes."""
    out: dict[str, Any] = {}
    for axis, units in (("lat", "degrees_north"), ("lon", "degrees_east")):
        centres = fields[axis].values
        least, most = float(centres.min()), float(centres.max())
        extent = {"min": least, "max": most, "units": units}
        if centres.size > 1:
            extent["resolution"] = round((most - least) / (centres.size - 1), 9)
        out |= {f"geospatial_{axis}_{word}": value for word, value in extent.items()}
    return out


def _vertical_extent(fields: xr.Dataset) -> dict[str, Any]:
    """Return the range of levels."""
    if LEVEL_DIM not in fields.dims:
        return {}
    levels, attrs = fields[LEVEL_DIM].values, fields[LEVEL_DIM].attrs
    ends = {"min": float(levels.min()), "max": float(levels.max())}
    known = {key: attrs[key] for key in ("units", "positive") if key in attrs}
    return {f"geospatial_vertical_{word}": value for word, value in (ends | known).items()}


def _time_coverage(fields: xr.Dataset) -> dict[str, str]:
    """Return the first and the last date, and the time step."""
    if "time" not in fields.dims or fields["time"].dtype.kind not in "MO":
        return {}
    time = fields["time"]
    first, last = time[[0, -1]].dt.strftime("%Y-%m-%dT%H:%M:%SZ").values.tolist()
    coverage = {"start": first, "end": last}
    if time.size > 1:
        days = days_between(time.values[:-1], time.values[1:])
        coverage |= {
            "duration": f"P{days.sum():.6g}D",
            "resolution": iso_duration(float(np.median(days))),
        }
    return {f"time_coverage_{word}": value for word, value in coverage.items()}


def iso_duration(days: float) -> str:
    """Return a duration as ISO 8601; months have any number of days.

    Example:
        >>> [iso_duration(days) for days in (30.5, 91, 365, 10, 0.25)]
        ['P1M', 'P3M', 'P1Y', 'P10D', 'PT6H']
    """
    known = {"day": "P1D", "month": "P1M", "season": "P3M", "year": "P1Y"}
    if found := known.get(period_of_length(days)):
        return found
    return f"P{days:.6g}D" if days >= 1 else f"PT{24 * days:.6g}H"


CONVENTIONS = "CF-1.11"
FILL_VALUE = np.float32(9.969209968386869e36)  # NetCDF's own: NCO cannot compare with NaN
DISK_DIMS = ("time", "realization", "lat", "lon")
REFERENCE_DATE = "since 1850-01-01"
CLIMATOLOGY_BOUNDS = "climatology_bnds"
SECONDS_PER_UNIT = {"days": 86400, "hours": 3600, "minutes": 60}  # seconds
WGS84_ATTRS = {
    "grid_mapping_name": "latitude_longitude",
    "geographic_crs_name": "WGS 84",
    "horizontal_datum_name": "World Geodetic System 1984",
    "reference_ellipsoid_name": "WGS 84",
    "prime_meridian_name": "Greenwich",
    "semi_major_axis": 6378137.0,
    "inverse_flattening": 298.257223563,
    "longitude_of_prime_meridian": 0.0,
    "crs_wkt": 'GEOGCRS["WGS 84",DATUM["World Geodetic System 1984",ELLIPSOID["WGS 84",6378137,'
    '298.257223563]],PRIMEM["Greenwich",0],CS[ellipsoidal,2],AXIS["latitude",north],'
    'AXIS["longitude",east],ANGLEUNIT["degree",0.0174532925199433],ID["EPSG",4326]]',
}
_LAT = {"long_name": "latitude", "units": "degrees_north", "axis": "Y"}
_LON = {"long_name": "longitude", "units": "degrees_east", "axis": "X"}
AXIS_ATTRS: dict[str, dict[str, str]] = {
    "time": {"standard_name": "time", "long_name": "time", "axis": "T"},
    "lat": {"standard_name": "latitude"} | _LAT,
    "lon": {"standard_name": "longitude"} | _LON,
    "realization": {"standard_name": "realization", "long_name": "ensemble member", "units": "1"},
}
_LEAP_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")
# Other attributes of an input, a valid range for example, may not hold for the output.
_PRESERVED_ATTRS = ("standard_name", "long_name", "units", "comment", "coverage_content_type")


def add_cf_metadata(
    ds: xr.Dataset, title: str, provenance: Mapping[str, str], history: str
) -> xr.Dataset:
    """Give fields their CF metadata, provenance and encoding.

    Args:
        ds: Canonical fields, or those of `from_canonical`; lazy ones stay lazy.
        title: One line on what the file holds.
        provenance: Inputs and settings; each entry becomes a `dpdm_` attribute.
        history: The command line; it is put first, as CDO and NCO do.
    """
    out = join_levels(ds).reset_coords([name for name in ds.coords if name not in ds.dims])
    levels = [dim for dim in out.dims if is_level_dim(dim)]
    order = (*DISK_DIMS[:-2], *levels, *DISK_DIMS[-2:])
    out = out.transpose(*order, ..., missing_dims="ignore").assign(_cell_edges(ds))
    out = out.assign({name: _load_auxiliary(array) for name, array in out.data_vars.items()})
    out = out.assign(crs=xr.DataArray(np.int32(0), attrs=WGS84_ATTRS))
    if "realization" in out.indexes and out["realization"].dtype.kind in "iu":
        out = out.assign_coords(realization=out["realization"].astype(np.int32))
    if CLIMATOLOGY_YEARS in out.get("time_bnds", xr.DataArray()).attrs:
        out = out.assign({CLIMATOLOGY_BOUNDS: multi_year_bounds(out["time_bnds"])}).drop_vars(
            "time_bnds"
        )
    for name in AXIS_ATTRS.keys() & out.indexes.keys():
        _describe_axis(out, name)
    out.attrs = file_attributes(ds.attrs, title, provenance, history)
    out.attrs |= discovery_attributes(out, title, creation_timestamp()) | {
        "Conventions": f"{CONVENTIONS}, {ACDD_CONVENTION}"
    }
    out.encoding = {}
    return out


def creation_time() -> datetime:
    """Return the creation time of a file: now, or SOURCE_DATE_EPOCH.

    With this variable of reproducible builds (https://reproducible-builds.org), seconds since
    1970, the same command writes the same bytes on any day.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    try:
        return datetime.fromtimestamp(int(text), UTC) if text else datetime.now(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise DpdmError(
            f"SOURCE_DATE_EPOCH is {text!r}, not a number of seconds since 1970.",
            "Unset it, or set it to a number such as 0.",
        ) from error


def creation_timestamp() -> str:
    """Return the creation time as ISO 8601."""
    return creation_time().strftime("%Y-%m-%dT%H:%M:%SZ")


def file_attributes(
    old: Mapping[str, Any], title: str, provenance: Mapping[str, str], history: str
) -> dict[str, Any]:
    """Return a file's global attributes: those of the input, title, history and provenance."""
    before = [str(old["history"]).rstrip()] if old.get("history") else []
    maker, source = f"dpdm {__version__}", str(old.get("source", ""))
    return {
        **drop_stale_attributes(old),
        "Conventions": CONVENTIONS,
        "title": title,
        "source": source if source.startswith(maker) else "; ".join(filter(None, [maker, source])),
        "history": "\n".join([f"{creation_timestamp()}: {history}", *before]),
        **{f"dpdm_{key}": _escape_bytes(str(value)) for key, value in provenance.items()},
    }


def _escape_bytes(text: str) -> str:
    """Return a text with bytes that are not UTF-8 escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def _cell_edges(ds: xr.Dataset) -> dict[str, xr.DataArray]:
    """Return the bounds of the cells, none beyond a pole."""
    bounds = {}
    for axis in ("lat", "lon"):
        centre = ds[axis].values
        half = (centre[-1] - centre[0]) / (centre.size - 1) / 2
        edges = np.append(centre - half, centre[-1] + half)
        edges = np.clip(edges, -90, 90) if axis == "lat" else edges
        pairs = np.stack([edges[:-1], edges[1:]], axis=1)
        bounds[f"{axis}_bnds"] = xr.DataArray(pairs, dims=(axis, "bnds"))
    return bounds


def _describe_axis(ds: xr.Dataset, name: str) -> None:
    """Set the attributes and the encoding of an axis and its bounds."""
    axis, key, bounds = ds[name], "bounds", f"{name}_bnds"
    stored = {"dtype": "float64", "_FillValue": None}
    attrs = dict(AXIS_ATTRS[name])
    if name == "time":
        key, bounds = (
            ("climatology", CLIMATOLOGY_BOUNDS) if CLIMATOLOGY_BOUNDS in ds else (key, bounds)
        )
        calendar = axis.encoding.get("calendar", axis.dt.calendar)
        stored |= {"units": exact_time_unit(axis, ds.get(bounds, axis)), "calendar": calendar}
        leaps = {"units_metadata": "leap_seconds: unknown"}
        attrs |= leaps if axis.dt.calendar in _LEAP_CALENDARS else {}
    axis.attrs = attrs | ({key: bounds} if bounds in ds else {})
    axis.encoding = stored if name != "realization" else {}
    if bounds in ds:
        ds[bounds].attrs, ds[bounds].encoding = {}, stored


def exact_time_unit(*times: xr.DataArray) -> str:
    """Return the largest unit in which times are exact in binary: days, hours, minutes, seconds.

    Example:
        >>> exact_time_unit(xr.DataArray(np.array(["2000-01-01T12:00"], "M8[ns]")))
        'days since 1850-01-01'
        >>> exact_time_unit(xr.DataArray(np.array(["2000-01-01T01:00"], "M8[ns]")))
        'hours since 1850-01-01'
    """
    seconds = np.concatenate([_seconds_of_day(time.values.ravel()) for time in times])
    fits = [unit for unit, size in SECONDS_PER_UNIT.items() if not (seconds % (size / 8)).any()]
    return f"{fits[0] if fits else 'seconds'} {REFERENCE_DATE}"


def _seconds_of_day(values: np.ndarray) -> NDArray[np.float64]:
    """Return the seconds of the day of dates of any kind."""
    if values.dtype.kind == "M":
        seconds: NDArray[np.float64] = (values - values.astype("M8[D]")) / np.timedelta64(1, "s")
        return seconds
    return np.array([d.hour * 3600 + d.minute * 60 + d.second for d in values], dtype=float)


def _load_auxiliary(array: xr.DataArray) -> xr.DataArray:
    """Describe a lazy field; load any other variable, bounds for example."""
    return _describe_field(array) if {"lat", "lon"} <= set(array.dims) else array.compute()


def _describe_field(array: xr.DataArray) -> xr.DataArray:
    """Set the attributes and the encoding of a field."""
    out = array.copy()
    out.attrs = {key: array.attrs[key] for key in _PRESERVED_ATTRS if key in array.attrs}
    if known := SURFACE_VARIABLES.get(str(array.name)):
        keys = ("standard_name", "long_name", "units")
        out.attrs = {key: getattr(known, key) for key in keys} | out.attrs
    out.attrs |= {"cell_methods": _cell_methods(array), "grid_mapping": "crs"}
    out.attrs.setdefault("coverage_content_type", "modelResult")
    if out.attrs.get("standard_name") == "air_temperature":
        difference = out.attrs["cell_methods"].endswith("standard_deviation")
        kind = "difference" if difference else "on_scale"
        out.attrs["units_metadata"] = f"temperature: {kind}"
    out.encoding = {
        "dtype": "float32",
        "_FillValue": FILL_VALUE,
        "zlib": True,
        "complevel": 1,
        "shuffle": True,
        "chunksizes": tuple(1 if dim in DISK_DIMS[:-2] else n for dim, n in array.sizes.items()),
    }
    return out


def _cell_methods(array: xr.DataArray) -> str:
    """Return the cell methods of the input that still hold; a rate is a mean, not a sum."""
    old = str(array.attrs.get("cell_methods", ""))
    if str(array.attrs.get("standard_name", "")).endswith(("_rate", "_flux")):
        old = old.replace("time: sum", "time: mean")
    names = set(re.findall(r"(\w+):", re.sub(r"\(.*?\)", "", old)))
    held = {"area", "realization", *map(str, array.dims)}
    return old if names and names <= held else "area: mean"
