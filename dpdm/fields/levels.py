"""Split variables on levels into one variable a level, and join them again.

Means, interpolation, scores and the channels of a network then need no vertical axis.
`split_levels` makes ``t1000``, ``t850`` and so on of ``t(time, level, lat, lon)``, and
`join_levels` is its inverse.

In files a level is a pressure in Pa or a height in m, from the surface upwards. Model levels have
no fixed pressure, and are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.level_names import (
    Level,
    base_name,
    read_level,
    round_level,
    split_statistic,
    statistic_name,
)
from dpdm.fields.units import scale_factor

VERTICAL_AXIS_ATTRS = {
    "Pa": {
        "standard_name": "air_pressure", "long_name": "pressure", "units": "Pa",
        "positive": "down", "axis": "Z",
    },
    "m": {
        "standard_name": "height", "long_name": "height above the ground", "units": "m",
        "positive": "up", "axis": "Z",
    },
}  # fmt: skip
LEVEL_DIM = "level"  # name of the axis in files; a second one in the same file is level_2
VERTICAL_DIM_NAMES = (
    "plev",
    "lev",
    "level",
    "isobaricinhpa",
    "pressure_level",
    "height",
    "z",
    "bottom_top",
)
HEIGHT_DIM_NAMES = ("height", "heightaboveground", "z", "lev", "level")
NON_VERTICAL_DIMS = ("realization", "time", "lat", "lon")
_MODEL = re.compile(r"sigma|hybrid|eta\b|model|ln_pressure|sleve")


class VerticalAxis(NamedTuple):
    """The vertical axis of a variable.

    Attributes:
        dim: The dimension.
        units: Pa or m.
        values: Pressures or heights, in the order of the file.
    """

    dim: str
    units: str
    values: NDArray[np.float64]


def split_levels(ds: xr.Dataset) -> xr.Dataset:
    """Split each variable on levels into one variable a level, from the surface upwards.

    A variable without levels is left as it is, and so is one on an axis that is neither pressure
    nor height, or at a single height.
    """
    out: dict[str, xr.DataArray] = {}
    for name, array in ds.data_vars.items():
        for part in _iterate_levels(array):
            if str(part.name) in out or (part.name != name and part.name in ds):
                raise DpdmError(
                    f"{name} on levels and another variable are both {part.name}.",
                    f"Remove one: ncks -x -v {part.name} IN.nc OUT.nc.",
                )
            out[str(part.name)] = part
    flat = {dim for array in out.values() for dim in array.dims}
    coords = {n: c for n, c in ds.coords.items() if set(c.dims) <= flat | {"bnds"}}
    return xr.Dataset(out, coords, ds.attrs)


def join_levels(ds: xr.Dataset) -> xr.Dataset:
    """Join the variables of each family along their level, the inverse of `split_levels`."""
    groups = group_families(ds)
    axes = list(dict.fromkeys(_vertical_axis_key(ds, parts) for parts in groups.values()))
    dims = {
        axis: LEVEL_DIM if at == 0 else f"{LEVEL_DIM}_{at + 1}" for at, axis in enumerate(axes)
    }
    of = {part: name for name, parts in groups.items() for part in parts}
    out: dict[str, xr.DataArray] = {}
    for old, array in ds.data_vars.items():
        name = of.get(str(old), str(old))
        if name in groups and name not in out:
            parts = groups[name]
            out[name] = _stack([ds[p] for p in parts], dims[_vertical_axis_key(ds, parts)])
        elif name not in groups:
            out[name] = array
    return xr.Dataset(out, ds.coords, ds.attrs)


def group_families(ds: xr.Dataset) -> dict[str, list[str]]:
    """Return the variables of each family, from the surface upwards, by the family's name."""
    found: dict[str, list[xr.DataArray]] = {}
    for array in ds.data_vars.values():
        if base_name(array) != array.name:
            found.setdefault(base_name(array), []).append(array)
    return {name: [str(a.name) for a in sorted(found[name], key=_height_order)] for name in found}


def gather_levels(block: xr.Dataset, like: xr.DataArray) -> xr.DataArray | None:
    """Return the values of a variable in a block, its levels joined, or None.

    Args:
        block: Fields, split or joined.
        like: The variable as the file has it.
    """
    if like.name in block:
        return block[like.name]
    parts = [str(name) for name, array in block.data_vars.items() if base_name(array) == like.name]
    if not parts:
        return None
    dim = next(str(dim) for dim in like.dims if is_level_dim(dim))
    return join_levels(block[parts])[like.name].rename({LEVEL_DIM: dim})


def is_level_dim(dim: object) -> bool:
    """Tell whether a dimension of an output file is a level axis."""
    return str(dim) == LEVEL_DIM or str(dim).startswith(f"{LEVEL_DIM}_")


def unreadable_dim_error(array: xr.DataArray, dim: str) -> DpdmError:
    """Return the error for a dimension that dpdm cannot read."""
    axis = array[dim] if dim in array.coords else xr.DataArray(np.arange(2))
    names = f"{axis.attrs.get('standard_name', '')} {axis.attrs.get('long_name', '')}".lower()
    unit = str(axis.attrs.get("units", "")).strip()
    size = array.sizes[dim]
    if _MODEL.search(names) or (
        unit in ("1", "level", "levels") and dim.lower() in VERTICAL_DIM_NAMES
    ):
        return DpdmError(
            f"{array.name} is on {size} model levels ({dim}), whose pressure is unknown.",
            "Interpolate it to pressure levels first.",
        )
    if dim.lower() in VERTICAL_DIM_NAMES and not unit:
        return DpdmError(
            f"{array.name} is on {size} levels ({dim}) without units.", _missing_units_hint(axis)
        )
    return DpdmError(
        f"{array.name} has a dimension {dim} of {size}.",
        f"Select one {dim}: ncks -d {dim},0 IN.nc OUT.nc.",
    )


def _missing_units_hint(axis: xr.DataArray) -> str:
    """Return the hint for an axis without units: in hPa where its values suggest it."""
    if axis.name is None or float(axis.max()) <= 100 or float(axis.max()) > 1100:
        return "Give the axis units, such as hPa."
    return f"Give the axis units: ncatted -O -a units,{axis.name},o,c,hPa IN.nc OUT.nc."


def _scaled_levels_hint(axis: VerticalAxis) -> str:
    """Return the hint for levels that are too large, perhaps by a factor of 100."""
    if axis.units == "Pa" and axis.values.max() / 100 <= 1.2e5 and axis.values.min() >= 100:
        return f"Correct the units: ncatted -O -a units,{axis.dim},o,c,Pa IN.nc OUT.nc."
    return "Correct the units of the axis."


def _height_order(array: xr.DataArray) -> float:
    level = read_level(array)
    assert level is not None
    return level.height_order


def _vertical_axis_key(ds: xr.Dataset, parts: list[str]) -> tuple[str, ...]:
    """Return a key of the vertical axis of a family."""
    return tuple(f"{p.level}{p.units}" for p in map(read_level, (ds[n] for n in parts)) if p)


def _stack(parts: list[xr.DataArray], dim: str) -> xr.DataArray:
    """Join variables along a new axis before latitude and longitude."""
    levels = [level for level in map(read_level, parts) if level is not None]
    values = np.array([level.level for level in levels])
    stored = {"dtype": "float64", "_FillValue": None}
    axis = xr.Variable(dim, values, VERTICAL_AXIS_ATTRS[levels[0].units], stored)
    bare = [_strip_level(part) for part in parts]
    joined: xr.DataArray = xr.concat(
        bare, dim, coords="minimal", compat="override", combine_attrs="override"
    )
    joined = joined.assign_coords({dim: axis}).transpose(..., dim, "lat", "lon")
    return joined.chunk({dim: -1}) if joined.chunks else joined


def _strip_level(part: xr.DataArray) -> xr.DataArray:
    """Return a variable under its family's name, without its level."""
    out = part.copy(deep=False).rename(base_name(part))
    level = read_level(part)
    out.attrs = {k: v for k, v in part.attrs.items() if level is None or k not in level.attributes}
    return out


def _iterate_levels(array: xr.DataArray) -> Iterator[xr.DataArray]:
    """Yield a variable's levels, from the surface upwards, or the variable itself."""
    axis = find_vertical_axis(array)
    if axis is None:
        yield array
        return
    _check_vertical_axis(axis, array)
    base, statistic = _split_statistic(str(array.name), axis)
    levels = [Level(base, float(value), axis.units) for value in axis.values]
    for at in sorted(range(len(levels)), key=lambda i: levels[i].height_order):
        part = array.isel({axis.dim: at}, drop=True)
        yield part.rename(statistic_name(levels[at].name, statistic)).assign_attrs(
            levels[at].attributes
        )


def _split_statistic(name: str, axis: VerticalAxis) -> tuple[str, str]:
    """Split a name into family and statistic; ``z500`` on the single level 500 hPa is z."""
    base, statistic = split_statistic(name)
    token = Level("", float(axis.values[0]), axis.units).name
    single = axis.values.size == 1 and base.endswith(token) and base != token
    return base.removesuffix(token) if single else base, statistic


def find_vertical_axis(array: xr.DataArray) -> VerticalAxis | None:
    """Return the vertical axis of a variable, None if there is none to split."""
    if not {"lat", "lon"} <= set(array.dims):
        return None
    for dim in (str(dim) for dim in array.dims if dim not in NON_VERTICAL_DIMS):
        lines = [c for c in array.coords.values() if c.dims == (dim,)]
        for line in sorted(lines, key=lambda c: c.name != dim):
            if (found := _read_vertical_axis(line)) and _needs_split(found, str(line.name)):
                return found
    return None


def _needs_split(axis: VerticalAxis, name: str) -> bool:
    """Tell whether an axis has levels to split, not a single implied height."""
    if axis.values.size > 1:
        return True
    return name == LEVEL_DIM if axis.units == "m" else bool(axis.values[0] > 0)


def _read_vertical_axis(line: xr.DataArray) -> VerticalAxis | None:
    """Return the vertical axis of a coordinate in Pa or m, or None."""
    name, standard = str(line.name).lower(), str(line.attrs.get("standard_name", "")).lower()
    unit = str(line.attrs.get("units", "")).strip() or ("hPa" if "inhpa" in name else "")
    if not unit or _MODEL.search(standard) or line.dtype.kind not in "fiu":
        return None
    up = line.attrs.get("positive", "up") == "up"
    high = standard == "height" or (standard == "" and name in HEIGHT_DIM_NAMES and up)
    for target in ("Pa", "m") if high else ("Pa",):
        with suppress(DpdmError):  # of an unknown unit
            if scale := scale_factor(unit, target):
                values = [round_level(float(value) * scale) for value in line.values]
                return VerticalAxis(str(line.dims[0]), target, np.array(values))
    return None


def _check_vertical_axis(axis: VerticalAxis, array: xr.DataArray) -> None:
    """Refuse levels that are missing, repeated or impossible."""
    values, what = axis.values, f"{axis.dim} of {array.name}"
    if not np.isfinite(values).all():
        raise DpdmError(
            f"{what} has a missing level.", "Correct the coordinate, or remove that level."
        )
    kinds, counts = np.unique(values, return_counts=True)
    if (counts > 1).any():
        repeated = f"{kinds[counts > 1][0]:g} {axis.units}"
        raise DpdmError(f"{what} holds {repeated} twice.", "Remove one of the two.")
    low, high = (1.0, 1.2e5) if axis.units == "Pa" else (-500.0, 1.2e5)
    if values.min() < low or values.max() > high:
        raise DpdmError(
            f"{what} runs from {values.min():g} to {values.max():g} {axis.units}, beyond the "
            "levels of the atmosphere.",
            _scaled_levels_hint(axis),
        )
