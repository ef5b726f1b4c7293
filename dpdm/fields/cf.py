"""Make a dataset say what it is: metadata after the Climate and Forecast conventions, 1.11.

`finish` turns canonical fields into what goes on disk. On disk time comes before realization,
which CDO insists upon; `open_fields` turns it back. Single precision, compressed, one step of one
member to a chunk, so that a reader of one month reads one month.
"""

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
from dpdm.fields.clock import YEARS, spans
from dpdm.fields.discovery import CONVENTION, discovery, lasting
from dpdm.fields.levels import is_level, joined
from dpdm.fields.variables import KNOWN

CONVENTIONS = "CF-1.11"
FILL = np.float32(9.969209968386869e36)  # NetCDF's own: NCO cannot compare with NaN
ON_DISK = ("time", "realization", "lat", "lon")
EPOCH = "since 1850-01-01"
SPANS = "climatology_bnds"
STEPS = {"days": 86400, "hours": 3600, "minutes": 60}  # seconds
WGS84 = {
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
AXES: dict[str, dict[str, str]] = {
    "time": {"standard_name": "time", "long_name": "time", "axis": "T"},
    "lat": {"standard_name": "latitude"} | _LAT,
    "lon": {"standard_name": "longitude"} | _LON,
    "realization": {"standard_name": "realization", "long_name": "ensemble member", "units": "1"},
}
_LEAPING = ("standard", "gregorian", "proleptic_gregorian")
# What else an input says of a variable, a valid range for example, need not hold of the output.
_KEPT = ("standard_name", "long_name", "units", "comment", "coverage_content_type")


def finish(ds: xr.Dataset, title: str, provenance: Mapping[str, str], history: str) -> xr.Dataset:
    """Give fields their CF metadata, provenance and encoding.

    Args:
        ds: Canonical fields, or what `from_canonical` makes of them; lazy ones stay lazy.
        title: One line on what the file holds.
        provenance: What the file was made from; each entry becomes a `dpdm_` attribute.
        history: The command line; it goes on top, where CDO and NCO put theirs.
    """
    out = joined(ds).reset_coords([name for name in ds.coords if name not in ds.dims])
    levels = [dim for dim in out.dims if is_level(dim)]
    order = (*ON_DISK[:-2], *levels, *ON_DISK[-2:])
    out = out.transpose(*order, ..., missing_dims="ignore").assign(_cell_edges(ds))
    out = out.assign({name: _described(array) for name, array in out.data_vars.items()})
    out = out.assign(crs=xr.DataArray(np.int32(0), attrs=WGS84))
    if "realization" in out.indexes and out["realization"].dtype.kind in "iu":
        out = out.assign_coords(realization=out["realization"].astype(np.int32))
    if YEARS in out.get("time_bnds", xr.DataArray()).attrs:
        out = out.assign({SPANS: spans(out["time_bnds"])}).drop_vars("time_bnds")
    for name in AXES.keys() & out.indexes.keys():
        _describe(out, name)
    out.attrs = file_attributes(ds.attrs, title, provenance, history)
    out.attrs |= discovery(out, title, stamp()) | {"Conventions": f"{CONVENTIONS}, {CONVENTION}"}
    out.encoding = {}
    return out


def moment() -> datetime:
    """Return the time that a file is stamped with: now, or SOURCE_DATE_EPOCH.

    The variable is that of reproducible builds (https://reproducible-builds.org): seconds since
    1970, by which the same work gives the same bytes on any day.
    """
    said = os.environ.get("SOURCE_DATE_EPOCH", "")
    try:
        return datetime.fromtimestamp(int(said), UTC) if said else datetime.now(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise DpdmError(
            f"SOURCE_DATE_EPOCH is {said!r}, which is no number of seconds since 1970.",
            "Unset it, or set it to a number such as 0.",
        ) from error


def stamp() -> str:
    """Return that time as ISO 8601 has it."""
    return moment().strftime("%Y-%m-%dT%H:%M:%SZ")


def file_attributes(
    old: Mapping[str, Any], title: str, provenance: Mapping[str, str], history: str
) -> dict[str, Any]:
    """Return a file's global attributes: the input's, and who made what of it, when and how."""
    before = [str(old["history"]).rstrip()] if old.get("history") else []
    maker, source = f"dpdm {__version__}", str(old.get("source", ""))
    return {
        **lasting(old),
        "Conventions": CONVENTIONS,
        "title": title,
        "source": source if source.startswith(maker) else "; ".join(filter(None, [maker, source])),
        "history": "\n".join([f"{stamp()}: {history}", *before]),
        **{f"dpdm_{key}": _unicode(str(value)) for key, value in provenance.items()},
    }


def _unicode(text: str) -> str:
    """Return a text with the bytes of names that are not UTF-8 written out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _cell_edges(ds: xr.Dataset) -> dict[str, xr.DataArray]:
    """Give the bounds of the cells: neighbours share an edge, and none passes a pole."""
    bounds = {}
    for axis in ("lat", "lon"):
        centre = ds[axis].values
        half = (centre[-1] - centre[0]) / (centre.size - 1) / 2
        edges = np.append(centre - half, centre[-1] + half)
        edges = np.clip(edges, -90, 90) if axis == "lat" else edges
        pairs = np.stack([edges[:-1], edges[1:]], axis=1)
        bounds[f"{axis}_bnds"] = xr.DataArray(pairs, dims=(axis, "bnds"))
    return bounds


def _describe(ds: xr.Dataset, name: str) -> None:
    """Describe an axis and its bounds, and store both as doubles in the same unit."""
    axis, key, bounds = ds[name], "bounds", f"{name}_bnds"
    stored = {"dtype": "float64", "_FillValue": None}
    words = dict(AXES[name])
    if name == "time":
        key, bounds = ("climatology", SPANS) if SPANS in ds else (key, bounds)
        calendar = axis.encoding.get("calendar", axis.dt.calendar)
        stored |= {"units": epoch(axis, ds.get(bounds, axis)), "calendar": calendar}
        leaps = {"units_metadata": "leap_seconds: unknown"}
        words |= leaps if axis.dt.calendar in _LEAPING else {}
    axis.attrs = words | ({key: bounds} if bounds in ds else {})
    axis.encoding = stored if name != "realization" else {}
    if bounds in ds:
        ds[bounds].attrs, ds[bounds].encoding = {}, stored


def epoch(*times: xr.DataArray) -> str:
    """Return the unit in which some times are exact in binary: days, hours, minutes or seconds.

    Example:
        >>> epoch(xr.DataArray(np.array(["2000-01-01T12:00"], "M8[ns]")))
        'days since 1850-01-01'
        >>> epoch(xr.DataArray(np.array(["2000-01-01T01:00"], "M8[ns]")))
        'hours since 1850-01-01'
    """
    seconds = np.concatenate([_clock(time.values.ravel()) for time in times])
    fits = [unit for unit, size in STEPS.items() if not (seconds % (size / 8)).any()]
    return f"{fits[0] if fits else 'seconds'} {EPOCH}"


def _clock(values: np.ndarray) -> NDArray[np.float64]:
    """Return the seconds of the day of dates of any kind."""
    if values.dtype.kind == "M":
        seconds: NDArray[np.float64] = (values - values.astype("M8[D]")) / np.timedelta64(1, "s")
        return seconds
    return np.array([d.hour * 3600 + d.minute * 60 + d.second for d in values], dtype=float)


def _described(array: xr.DataArray) -> xr.DataArray:
    """Leave fields lazy; whatever else there is, bounds for example, is small: have it."""
    return _field(array) if {"lat", "lon"} <= set(array.dims) else array.compute()


def _field(array: xr.DataArray) -> xr.DataArray:
    """Describe a field and say how it is stored."""
    out = array.copy()
    out.attrs = {key: array.attrs[key] for key in _KEPT if key in array.attrs}
    if known := KNOWN.get(str(array.name)):
        words = ("standard_name", "long_name", "units")
        out.attrs = {key: getattr(known, key) for key in words} | out.attrs
    out.attrs |= {"cell_methods": _cell_methods(array), "grid_mapping": "crs"}
    out.attrs.setdefault("coverage_content_type", "modelResult")
    if out.attrs.get("standard_name") == "air_temperature":
        difference = out.attrs["cell_methods"].endswith("standard_deviation")
        kind = "difference" if difference else "on_scale"
        out.attrs["units_metadata"] = f"temperature: {kind}"
    out.encoding = {
        "dtype": "float32",
        "_FillValue": FILL,
        "zlib": True,
        "complevel": 1,
        "shuffle": True,
        "chunksizes": tuple(1 if dim in ON_DISK[:-2] else n for dim, n in array.sizes.items()),
    }
    return out


def _cell_methods(array: xr.DataArray) -> str:
    """Keep the cell methods of the input that still hold; a rate is a mean, not a sum."""
    old = str(array.attrs.get("cell_methods", ""))
    if str(array.attrs.get("standard_name", "")).endswith(("_rate", "_flux")):
        old = old.replace("time: sum", "time: mean")
    names = set(re.findall(r"(\w+):", re.sub(r"\(.*?\)", "", old)))
    held = {"area", "realization", *map(str, array.dims)}
    return old if names and names <= held else "area: mean"
