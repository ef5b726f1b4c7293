"""What a variable is called in the file that it comes from, and in files that are written.

Inside dpdm a variable has a canonical name (``t2m``), whatever the file calls it (``tas``). The
attributes of a canonical array hold the other name, and outputs are written under it.
"""

from __future__ import annotations

from typing import Any

import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.level_names import read_level, split_statistic, statistic_name

NAME_ATTR = "source_name"  # without the level, which other attributes hold


def name_attributes(name: str, canonical: str) -> dict[str, Any]:
    """Return the attributes that hold a file's name of a variable, where it is another one."""
    return {} if name == canonical else {NAME_ATTR: name}


def file_name(array: xr.DataArray) -> str:
    """Return the name of a canonical array in files, with its level and its statistic.

    Example:
        >>> file_name(xr.DataArray(0.0, name="t2m_p90", attrs={"source_name": "tas"}))
        'tas_p90'
        >>> attrs = {"family": "t", "level": 85000.0, "level_units": "Pa"}
        >>> file_name(xr.DataArray(0.0, name="t850", attrs=attrs | {"source_name": "ta"}))
        'ta850'
    """
    if NAME_ATTR not in array.attrs:
        return str(array.name)
    level = read_level(array)
    stem, kind = split_statistic(array.attrs[NAME_ATTR])
    stem = stem if level is None else level._replace(family=stem).name
    return statistic_name(stem, split_statistic(array.name)[1] or kind)


def restore_names(ds: xr.Dataset) -> xr.Dataset:
    """Return canonical fields under the names of their file."""
    names = {str(old): file_name(array) for old, array in ds.data_vars.items()}
    if len(set(names.values())) < len(names):
        twice = next(new for new in names.values() if [*names.values()].count(new) > 1)
        both = " and ".join(old for old, new in names.items() if new == twice)
        raise DpdmError(f"{both} would both be written as {twice}.", "Rename one in the file.")
    arrays = {names[str(old)]: restore_attributes(a) for old, a in ds.data_vars.items()}
    out = xr.Dataset(arrays, ds.coords, ds.attrs)
    out.encoding = ds.encoding
    return out


def restore_attributes(array: xr.DataArray) -> xr.DataArray:
    """Return an array with the attributes of an output, among them the family of its level."""
    if NAME_ATTR not in array.attrs:
        return array
    attrs = {key: value for key, value in array.attrs.items() if key != NAME_ATTR}
    if level := read_level(array):
        family = split_statistic(array.attrs[NAME_ATTR])[0]
        attrs |= level._replace(family=family).attributes
    out = array.copy(deep=False)
    out.attrs = attrs
    return out


def drop_statistic(array: xr.DataArray) -> xr.DataArray:
    """Return an array whose name in files is that of its variable, not of a statistic of it."""
    if NAME_ATTR not in array.attrs:
        return array
    return array.assign_attrs({NAME_ATTR: split_statistic(array.attrs[NAME_ATTR])[0]})


def renamed_variables(ds: xr.Dataset) -> list[str]:
    """Return the names of the file and of dpdm where they differ, as ``tas -> t2m``."""
    pairs = ((file_name(array), str(name)) for name, array in ds.data_vars.items())
    return [f"{old} -> {new}" for old, new in pairs if old != new]
