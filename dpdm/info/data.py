"""Describe a data file as dpdm reads it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import xarray as xr

from dpdm.fields.file_names import renamed_variables
from dpdm.fields.formats import GroupsError, list_groups, open_raw
from dpdm.fields.grid import grid_of
from dpdm.fields.level_names import base_name, read_level
from dpdm.fields.plausibility import MissingCodes
from dpdm.fields.read import OmittedVariableWarning, open_fields
from dpdm.fields.time import step_labels, time_bounds
from dpdm.fields.trajectories import holds_trajectories, trajectory_cadence
from dpdm.info.text import describe_levels, group_by_family


def describe_data(path: Path, missing: MissingCodes = {}) -> dict[str, Any]:
    """Describe the variables, units, grid and times of a data file, as dpdm reads them."""
    if path.exists() and holds_trajectories(path):
        return describe_trajectories(path)
    groups = describe_groups(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OmittedVariableWarning)  # they are listed
        try:
            fields = open_fields(path, needed=(), missing=missing)
        except GroupsError:
            return {"file": str(path), **groups}
    grid = grid_of(fields)
    time = fields.get("time")
    words = {
        str(n): f"{a.attrs.get('long_name', a.attrs.get('standard_name', ''))} "
        f"[{a.attrs.get('source_units', a.attrs.get('units', 'no units'))}]".strip()
        for n, a in fields.data_vars.items()
    }
    families = {str(name): base_name(array) for name, array in fields.data_vars.items()}
    return {
        "file": str(path),
        "variables": group_by_family(words, families),
        **describe_names(fields),
        **describe_unreadable(fields),
        **groups,
        **describe_levels(map(read_level, fields.data_vars.values())),
        "grid": f"{grid.shape[0]} latitudes by {grid.shape[1]} longitudes",
        "spacing_degrees": [round(s, 9) for s in grid.spacing],
        "latitude": [round(float(v), 9) for v in grid.lat_edges[[0, -1]]],
        "longitude": [round(float(v), 9) for v in grid.lon_edges[[0, -1]]],
        "cyclic": grid.cyclic,
        "members": fields.sizes.get("realization", 1),
        "steps": fields.sizes.get("time", 1),
        "period": [] if time is None else [str(time.values[i])[:19] for i in (0, -1)],
        "dates": describe_dates(fields),
        "calendar": "" if time is None else file_calendar(time),
        "history": str(fields.attrs.get("history", "")),
    }


def describe_dates(fields: xr.Dataset) -> list[str]:
    """Return the labels of the first and the last step, if the fields have times: ``2012-01``."""
    if "time" not in fields.dims:
        return []
    labels = step_labels(fields["time"], time_bounds(fields))
    return [labels[0], labels[-1]]


def describe_names(fields: xr.Dataset) -> dict[str, list[str]]:
    """Describe the variables that have another name in the file, if any."""
    names = renamed_variables(fields)
    return {"names": names} if names else {}


def describe_unreadable(fields: xr.Dataset) -> dict[str, dict[str, str]]:
    """Describe the variables that cannot be read, if any."""
    unreadable = fields.encoding["unreadable"]
    return {"unreadable": unreadable} if unreadable else {}


def describe_groups(path: Path) -> dict[str, dict[str, str]]:
    """Describe the groups of a file, if any."""
    groups = list_groups(path) if path.exists() else {}
    return {"groups": {n: ", ".join(names) for n, names in groups.items()}} if groups else {}


def describe_trajectories(path: Path) -> dict[str, Any]:
    """Describe a file of trajectories."""
    with open_raw(path) as ds:
        return {
            "file": str(path),
            "variables": {
                str(n): f"{a.attrs.get('long_name', '')} [{a.attrs.get('units', 'no units')}]"
                for n, a in ds.data_vars.items()
            },
            "dimensions": {str(d): n for d, n in ds.sizes.items()},
            "time_between_states": trajectory_cadence(ds),
            "history": str(ds.attrs.get("history", "")),
        }


def file_calendar(time: xr.DataArray) -> str:
    """Return the calendar by its name in the file."""
    return str(time.encoding.get("calendar", time.dt.calendar))
