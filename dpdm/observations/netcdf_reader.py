"""Read observations from NetCDF: CF discrete samplings, grids, and dpdm's own files.

A file of `value` along one dimension, with the name of each value's variable, is read row by row.
In any other file each variable is broadcast against its coordinates: points, stations by time,
swaths and grids all give one observation an element.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cf_xarray  # noqa: F401
import numpy as np
import pandas as pd
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.formats import open_raw
from dpdm.fields.time_axis import centre_end_stamps
from dpdm.fields.time_decoding import decode_time_variable
from dpdm.fields.variables import (
    LEVEL_VARIABLES,
    OBSERVED_VARIABLES,
    SATELLITE_VARIABLES,
    FileVariable,
    grade_match,
    identify_variable,
    normalise_heading,
)
from dpdm.observations.columns import (
    LENGTH_COLUMNS,
    NUMERIC_COLUMNS,
    TIME_COLUMNS,
    ObservationOptions,
    check_unique_columns,
    find_column,
    find_columns,
    parse_pressure_level,
)
from dpdm.observations.layout import ColumnMeaning, FileLayout
from dpdm.system import damaged_file_error

ROLE_STANDARD_NAMES = {
    "time": ("time",),
    "lat": ("latitude",),
    "lon": ("longitude",),
    "elevation": ("surface_altitude", "altitude"),
    "station": ("platform_id", "platform_name"),
    "pressure": ("air_pressure",),
    "channel": ("sensor_band_identifier",),
    "radius": (),
}
COORDINATE_VARIABLES = {
    "pressure": LEVEL_VARIABLES,
    "channel": SATELLITE_VARIABLES,
    "radius": SATELLITE_VARIABLES,
}  # coordinates, and the variables that have them
_ERROR = re.compile(r"(_error|_std|_sigma|_uncertainty|_stderr)$")


def open_sampling(path: Path) -> xr.Dataset:
    """Open a NetCDF or GRIB file, or a Zarr store, and read it into memory."""
    try:
        with open_raw(path) as opened:
            return opened.load()
    except (DpdmError, MemoryError):
        raise
    except Exception as fault:  # each library has kinds of its own
        raise damaged_file_error(path, fault) from fault


def read_sampling(
    ds: xr.Dataset, options: ObservationOptions, source: str
) -> tuple[pd.DataFrame, FileLayout]:
    """Read the dataset of a file as a raw table, and what its variables were taken for."""
    layout = FileLayout(source)
    listed = "value" in ds and ds["value"].ndim == 1
    read = _read_listed_values if listed else _read_sampled_variables
    table = read(ds, options, layout.columns)
    layout.rows = len(table)
    edges = {array.attrs.get("bounds") for array in ds.variables.values()}
    known = {column.heading for column in layout.columns} | edges
    layout.ignored = [str(name) for name in ds.variables if name not in known]
    for column in layout.columns:
        if column.meaning == "elevation" and not ds[column.heading].attrs.get("units"):
            layout.notes.append(f"{column.heading} has no unit; heights in metres are assumed.")
    return table, layout


def _describe_roles(ds: xr.Dataset, at: Mapping[str, str]) -> list[ColumnMeaning]:
    """Return the variables of a file that have a role, with the units of those that need one."""
    units = {role: "m" if role in LENGTH_COLUMNS else "" for role in at}
    for role in {*LENGTH_COLUMNS, "pressure", "value", "error"} & at.keys():
        units[role] = str(ds[at[role]].attrs.get("units", "")) or units[role]
    return [ColumnMeaning(name, role, units[role]) for role, name in at.items()]


def _read_listed_values(
    ds: xr.Dataset, options: ObservationOptions, columns: list[ColumnMeaning]
) -> pd.DataFrame:
    """Read a list of values, each with the name of its variable."""
    (dim,) = ds["value"].dims
    names = [str(name) for name, a in ds.variables.items() if a.dims in ((dim,), ())]
    found = find_columns([normalise_heading(name) for name in names])
    at = {role: names[where] for role, where in found.items()}
    at["value"] = "value"
    columns += _describe_roles(ds, at)
    if "time" in at and "trajectory" not in at:
        ds = ds.assign({at["time"]: decode_time_variable(at["time"], ds.variables[at["time"]])})
    if "variable" not in at:
        raise DpdmError("the variable of each value is missing.", "Add variable(obs).")
    table = {
        role: _flatten_role(xr.broadcast(ds[n], ds["value"])[0], role) for role, n in at.items()
    }
    old = table.pop("variable")
    default = str(ds["value"].attrs.get("units", ""))
    written = table.pop("units", np.full(len(old), default, dtype=object))
    out = pd.DataFrame({"row": np.arange(1, len(old) + 1), "error": np.nan, "old": old} | table)
    out["units"] = [options.unit(*pair) for pair in zip(old, written, strict=True)]
    out.attrs = _coordinate_units(ds, at)
    return out


def _flatten_role(array: xr.DataArray, role: str) -> np.ndarray:
    """Return the flat array of a role: numbers, dates or text."""
    values = array.values.ravel()
    if role in NUMERIC_COLUMNS:
        return values.astype(float)
    if role in TIME_COLUMNS or values.dtype.kind in "iuf":
        return values
    return np.array([_decode_text(value) for value in values], dtype=object)


def _decode_text(value: Any) -> str:
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)).strip()


def _read_sampled_variables(
    ds: xr.Dataset, options: ObservationOptions, columns: list[ColumnMeaning]
) -> pd.DataFrame:
    """Read each known variable with its coordinates."""
    at = {role: name for role in ROLE_STANDARD_NAMES if (name := _find_role_coordinate(ds, role))}
    if not {"lat", "lon"} <= at.keys():
        raise DpdmError("the values have no latitude and longitude.", "Give both CF units.")
    if "time" in at:
        ds = ds.assign({at["time"]: decode_time_variable(at["time"], ds.variables[at["time"]])})
        ds = centre_end_stamps(ds, at["time"])
    at = {
        role: name
        for role, name in at.items()
        if role != "pressure" or _is_vertical_pressure(ds, at)
    }
    columns += _describe_roles(ds, at)
    ds = ds.rename(
        {at[role]: role for role in COORDINATE_VARIABLES if role in at and at[role] != role}
    )
    at |= {role: role for role in COORDINATE_VARIABLES if role in at}
    ds = ds.set_coords([role for role in COORDINATE_VARIABLES if role in at])
    names = [
        str(n)
        for n in ds.data_vars
        if n not in at.values() and _is_variable_wanted(ds, str(n), options)
    ]
    check_unique_columns([_identifying_name(ds, name, options) for name in names], options)
    if not names:
        raise DpdmError(
            f"no variable is known; the variables are {', '.join(map(str, ds.data_vars))}.",
            "Name one: --obs-var t2m=NAME.",
        )
    out = pd.concat(
        [_flatten_variable(ds, name, at, options, columns) for name in names], ignore_index=True
    )
    out.attrs = _coordinate_units(ds, at)
    return out


def _coordinate_units(ds: xr.Dataset, at: Mapping[str, str]) -> dict[Any, Any]:
    """Return the units of lengths and pressures."""
    roles = {*LENGTH_COLUMNS, "pressure"} & at.keys()
    return {role: str(ds[at[role]].attrs.get("units", "")) for role in roles}


def _find_role_coordinate(ds: xr.Dataset, role: str) -> str | None:
    """Find a coordinate by its standard name, then by its usual names."""
    marked = [
        str(name)
        for name, array in ds.variables.items()
        if array.attrs.get("standard_name") in ROLE_STANDARD_NAMES[role]
        or (role == "station" and array.attrs.get("cf_role") == "timeseries_id")
    ]
    names = [str(name) for name in ds.variables]
    plains = [normalise_heading(name) for name in names]
    best = find_column(plains, role)
    best = find_column(plains, "level") if role == "pressure" and best is None else best
    usual = [] if best is None else [names[best]]
    # A height without dimensions is that of the sensor above the ground.
    found = [
        n
        for n in marked + usual
        if role != "elevation" or ds[n].ndim or normalise_heading(n) != "height"
    ]
    dated = [name for name in found if role != "time" or name == "valid_time"]
    return next(iter(dated + found), None)


def _is_variable_wanted(ds: xr.Dataset, name: str, options: ObservationOptions) -> bool:
    """Tell whether an array is read: known to dpdm, or named by the user."""
    if ds[name].dtype.kind not in "fiu":
        return False
    known = _identifying_name(ds, name, options)
    if known in OBSERVED_VARIABLES or parse_pressure_level(known):
        return options.includes(known, has_pressure="pressure" in ds[name].coords)
    return name in options.named_variables() | options.chosen_file_names()


def _identifying_name(ds: xr.Dataset, name: str, options: ObservationOptions) -> str:
    """Return an array's canonical name from its metadata, or its own."""
    source = FileVariable.read(ds[name])
    if name in options.chosen_file_names():
        return name
    among = LEVEL_VARIABLES if "pressure" in source.array.coords else SATELLITE_VARIABLES
    best = max(among.values(), key=lambda variable: grade_match(source, variable))
    known = identify_variable(source) or (best if grade_match(source, best) else None)
    return name if known is None or known.name in options.rename else known.name


def _coordinate_applies(role: str, old: str, array: xr.DataArray) -> bool:
    """Tell whether a coordinate belongs to a variable, as a channel to brightness temperatures."""
    if role not in COORDINATE_VARIABLES:
        return True
    return role in array.coords and (
        old in COORDINATE_VARIABLES[role] or old not in OBSERVED_VARIABLES
    )


def _is_vertical_pressure(ds: xr.Dataset, at: dict[str, str]) -> bool:
    """Tell whether a pressure is a vertical coordinate, not a measurement."""
    array = ds[at["pressure"]]
    placed = {dim for role in ("lat", "lon", "time") if role in at for dim in ds[at[role]].dims}
    path = str(ds.attrs.get("featureType", "")).lower().startswith(("profile", "trajectory"))
    return at["pressure"] in ds.coords or path or not set(array.dims) <= placed


def _flatten_variable(
    ds: xr.Dataset,
    name: str,
    at: dict[str, str],
    options: ObservationOptions,
    columns: list[ColumnMeaning],
) -> pd.DataFrame:
    """Return one variable's elements with their coordinates, of a grid the finite ones.

    What it and its error were taken for is added to ``columns``.
    """
    array, old = ds[name].squeeze(), _identifying_name(ds, name, options)
    at = {role: found for role, found in at.items() if _coordinate_applies(role, old, array)}
    coords = {role: ds[found].squeeze() for role, found in at.items()}
    _check_dims(array, name, coords)
    error = _find_error_variable(ds, name)
    coords |= {} if error is None else {"error": error.squeeze()}
    value, *others = xr.broadcast(
        _drop_coordinates(array), *map(_drop_coordinates, coords.values())
    )
    flat = {role: _flatten_role(part, role) for role, part in zip(coords, others, strict=True)}
    out = pd.DataFrame(
        {"error": np.nan, "old": old, "value": _flatten_role(value, "value")} | flat
    )
    unit = options.units.get(name, options.unit(old, str(array.attrs.get("units", ""))))
    error_unit = "" if error is None else str(error.attrs.get("units", ""))
    columns.append(ColumnMeaning(name, options.name(old, "pressure" in at), unit))
    columns += [] if error is None else [ColumnMeaning(str(error.name), "error", error_unit)]
    out = out.assign(row=np.arange(1, len(out) + 1), units=unit, error_units=error_unit)
    gridded = coords["lat"].dims != coords["lon"].dims
    return out[np.isfinite(out["value"])] if gridded else out


def _drop_coordinates(array: xr.DataArray) -> xr.DataArray:
    return array.drop_vars(array.coords)


def _check_dims(array: xr.DataArray, name: str, coords: dict[str, xr.DataArray]) -> None:
    """Refuse a dimension other than space, time, level and channel."""
    roles = ("lat", "lon", "time", "pressure", "channel")
    explained = {dim for r in roles if r in coords for dim in coords[r].dims}
    where = {*coords["lat"].dims, *coords["lon"].dims}
    for dim in set(array.dims) - explained:
        raise DpdmError(
            f"{name} has a dimension {dim} of {array.sizes[dim]}.",
            f"Select one {dim}: ncks -d {dim},0 IN.nc OUT.nc.",
        )
    if missing := where - set(array.dims):
        raise DpdmError(
            f"{name} does not lie along {', '.join(map(str, missing))}, as latitude does.",
            "Write each observation with its own latitude and longitude.",
        )


def _find_error_variable(ds: xr.Dataset, name: str) -> xr.DataArray | None:
    """Find a variable's standard error, by CF metadata or by name."""
    ancillary = {*str(ds[name].attrs.get("ancillary_variables", "")).split()} & set(ds.variables)
    errors = [n for n in ancillary if "error" in str(ds[n].attrs.get("standard_name", ""))]
    named = [str(n) for n in ds.variables if _ERROR.sub("", str(n)) == name and n != name]
    return next((ds[n] for n in errors + named), None)
