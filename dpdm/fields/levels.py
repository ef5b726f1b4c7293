"""Levels: a variable on levels is one variable a level inside dpdm, and one variable in files.

What works on a field of latitude by longitude then works on every level: means, lerps, scores and
channels of a network need to know nothing of the vertical. `split` makes of
``t(time, level, lat, lon)`` the variables ``t1000``, ``t850`` and so on, and `joined` puts such a
family together again.

In files a level is a pressure in Pa or a height in m, from the surface upwards. Model levels have
no pressure of their own, and are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
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
from dpdm.fields.units import parse_unit, unit_registry

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
LEVEL_DIM = "level"  # what the axis is called in files; a second one in the same file, level_2
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
                    f"Leave one out: ncks -x -v {part.name} IN.nc OUT.nc.",
                )
            out[str(part.name)] = part
    flat = {dim for array in out.values() for dim in array.dims}
    kept = {n: c for n, c in ds.coords.items() if set(c.dims) <= flat | {"bnds"}}
    return xr.Dataset(out, kept, ds.attrs)


def join_levels(ds: xr.Dataset) -> xr.Dataset:
    """Join the variables of each family along their level, the inverse of `split`."""
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
    """Return what a block holds of a variable in a file, its levels joined, or nothing.

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
    """Tell whether a dimension of a file that dpdm writes is one of levels."""
    return str(dim) == LEVEL_DIM or str(dim).startswith(f"{LEVEL_DIM}_")


def unreadable_dim_error(array: xr.DataArray, dim: str) -> DpdmError:
    """Refuse a dimension that is none of dpdm's, with what may be done about it."""
    axis = array[dim] if dim in array.coords else xr.DataArray(np.arange(2))
    said = f"{axis.attrs.get('standard_name', '')} {axis.attrs.get('long_name', '')}".lower()
    unit = str(axis.attrs.get("units", "")).strip()
    size = array.sizes[dim]
    if _MODEL.search(said) or (
        unit in ("1", "level", "levels") and dim.lower() in VERTICAL_DIM_NAMES
    ):
        return DpdmError(
            f"{array.name} is on {size} model levels ({dim}), of which dpdm knows no pressure.",
            "Interpolate it to pressure levels first.",
        )
    if dim.lower() in VERTICAL_DIM_NAMES and not unit:
        return DpdmError(
            f"{array.name} is on {size} levels ({dim}) without units.",
            _missing_units_hint(axis),
        )
    return DpdmError(
        f"{array.name} has a dimension {dim} of {size}.",
        f"Select one {dim}: ncks -d {dim},0 IN.nc OUT.nc.",
    )


def _missing_units_hint(axis: xr.DataArray) -> str:
    """Return what to do about an axis without units that can be hPa, or may be anything."""
    if axis.name is None or float(axis.max()) <= 100 or float(axis.max()) > 1100:
        return "Give the axis units, such as hPa."
    return f"Give the axis units: ncatted -O -a units,{axis.name},o,c,hPa IN.nc OUT.nc."


def _scaled_levels_hint(axis: VerticalAxis) -> str:
    """Return what to do about levels that are too large by the hundred of a hPa."""
    if axis.units == "Pa" and axis.values.max() / 100 <= 1.2e5 and axis.values.min() >= 100:
        return f"Correct the units: ncatted -O -a units,{axis.dim},o,c,Pa IN.nc OUT.nc."
    return "Correct the units of the axis."


def _height_order(array: xr.DataArray) -> float:
    place = read_level(array)
    assert place is not None
    return place.height_order


def _vertical_axis_key(ds: xr.Dataset, parts: list[str]) -> tuple[str, ...]:
    """Return what tells the vertical axis of one family from that of another."""
    return tuple(f"{p.level}{p.units}" for p in map(read_level, (ds[n] for n in parts)) if p)


def _stack(parts: list[xr.DataArray], dim: str) -> xr.DataArray:
    """Join variables along a new axis before latitude and longitude."""
    places = [place for place in map(read_level, parts) if place is not None]
    values = np.array([place.level for place in places])
    stored = {"dtype": "float64", "_FillValue": None}
    axis = xr.Variable(dim, values, VERTICAL_AXIS_ATTRS[places[0].units], stored)
    bare = [_strip_level(part) for part in parts]
    whole: xr.DataArray = xr.concat(
        bare, dim, coords="minimal", compat="override", combine_attrs="override"
    )
    whole = whole.assign_coords({dim: axis}).transpose(..., dim, "lat", "lon")
    return whole.chunk({dim: -1}) if whole.chunks else whole


def _strip_level(part: xr.DataArray) -> xr.DataArray:
    """Return a variable under its family's name, without its level."""
    out = part.copy(deep=False).rename(base_name(part))
    place = read_level(part)
    out.attrs = {k: v for k, v in part.attrs.items() if place is None or k not in place.attributes}
    return out


def _iterate_levels(array: xr.DataArray) -> Iterator[xr.DataArray]:
    """Yield a variable's levels, from the surface upwards, or the variable itself."""
    axis = find_vertical_axis(array)
    if axis is None:
        yield array
        return
    _check_vertical_axis(axis, array)
    base, statistic = _split_statistic(str(array.name), axis)
    places = [Level(base, float(value), axis.units) for value in axis.values]
    for at in sorted(range(len(places)), key=lambda i: places[i].height_order):
        part = array.isel({axis.dim: at}, drop=True)
        yield part.rename(statistic_name(places[at].name, statistic)).assign_attrs(
            places[at].attributes
        )


def _split_statistic(name: str, axis: VerticalAxis) -> tuple[str, str]:
    """Part a name into the family's and a statistic's; ``z500`` on the one level 500 hPa is z."""
    base, statistic = split_statistic(name)
    token = Level("", float(axis.values[0]), axis.units).name
    lone = axis.values.size == 1 and base.endswith(token) and base != token
    return base.removesuffix(token) if lone else base, statistic


def find_vertical_axis(array: xr.DataArray) -> VerticalAxis | None:
    """Return the axis of a variable's levels, if it has one that is to be split."""
    if not {"lat", "lon"} <= set(array.dims):
        return None
    for dim in (str(dim) for dim in array.dims if dim not in NON_VERTICAL_DIMS):
        lines = [c for c in array.coords.values() if c.dims == (dim,)]
        for line in sorted(lines, key=lambda c: c.name != dim):
            if (found := _read_vertical_axis(line)) and _needs_split(found, str(line.name)):
                return found
    return None


def _needs_split(axis: VerticalAxis, name: str) -> bool:
    """Tell whether an axis is of levels, and not the one height that goes without saying."""
    if axis.values.size > 1:
        return True
    return name == LEVEL_DIM if axis.units == "m" else bool(axis.values[0] > 0)


def _read_vertical_axis(line: xr.DataArray) -> VerticalAxis | None:
    """Return the levels that a coordinate holds in Pa or m, or nothing."""
    name, standard = str(line.name).lower(), str(line.attrs.get("standard_name", "")).lower()
    unit = str(line.attrs.get("units", "")).strip() or ("hPa" if "inhpa" in name else "")
    if not unit or _MODEL.search(standard) or line.dtype.kind not in "fiu":
        return None
    try:
        parsed = parse_unit(unit)
    except DpdmError:
        return None
    up = line.attrs.get("positive", "up") == "up"
    high = standard == "height" or (standard == "" and name in HEIGHT_DIM_NAMES and up)
    for to in ("Pa", "m") if high else ("Pa",):
        if parsed.is_compatible_with(to):
            scale = float(unit_registry().Quantity(1.0, parsed).to(to).magnitude)
            values = [round_level(float(value) * scale) for value in line.values]
            return VerticalAxis(str(line.dims[0]), to, np.array(values))
    return None


def _check_vertical_axis(axis: VerticalAxis, array: xr.DataArray) -> None:
    """Refuse levels that are missing, repeated or impossible."""
    values, what = axis.values, f"{axis.dim} of {array.name}"
    if not np.isfinite(values).all():
        raise DpdmError(f"{what} has a missing level.", "Mend the coordinate, or leave it out.")
    kinds, counts = np.unique(values, return_counts=True)
    if (counts > 1).any():
        twice = f"{kinds[counts > 1][0]:g} {axis.units}"
        raise DpdmError(f"{what} holds {twice} twice.", "Leave one of the two out.")
    low, high = (1.0, 1.2e5) if axis.units == "Pa" else (-500.0, 1.2e5)
    if values.min() < low or values.max() > high:
        raise DpdmError(
            f"{what} runs from {values.min():g} to {values.max():g} {axis.units}, which no level "
            "of the atmosphere does.",
            _scaled_levels_hint(axis),
        )
