"""Static fields: topography and land fraction, on any grid.

The bundled file has both on a global 0.25 degree grid (see ``docs/statics.md``). A finer target
needs static fields of the user, because finer relief is never guessed.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from dpdm.constants import GRAVITY
from dpdm.errors import DpdmError, name_not_found, prefix_file_name
from dpdm.fields.grid import Grid, align_longitudes, grid_of
from dpdm.fields.regrid import average_conservative, interpolate_bilinear
from dpdm.fields.units import first_step, scale_factor
from dpdm.fields.value_checks import load_checked_fields

MEAN_SPACING_RATIO = 1.5  # spacings, beyond which cells are averaged, not interpolated
STATIC_ATTRS = {
    "topography": {"standard_name": "surface_altitude", "units": "m"},
    "land_fraction": {"standard_name": "land_area_fraction", "units": "1"},
}
STATIC_STANDARD_NAMES = {
    "topography": ("surface_altitude", "surface_geopotential", "geopotential", "altitude"),
    "land_fraction": ("land_area_fraction", "land_binary_mask"),
}
STATIC_NAMES = {
    "topography": "topography orography orog oro z zs phis elevation elev topo dem hsurf hgt "
    "height surface_altitude altitude alt",
    "land_fraction": "land_fraction lsm sftlf land_area_fraction landfrac fr_land land_sea_mask "
    "land_mask landmask lsmask land",
}


class SpacingLimit(NamedTuple):
    """The smallest spacing of a target over that of the source, and the hint for others."""

    min_spacing_ratio: float
    hint: str


BUNDLED_LIMIT = SpacingLimit(
    0.95, "Give topography and land fraction as fine as it with --statics S.nc."
)
USER_LIMIT = SpacingLimit(1 / MEAN_SPACING_RATIO, "Give statics about as fine as the target.")


def make_statics(grid: Grid, own: xr.Dataset | None = None) -> xr.Dataset:
    """Return topography (m, 0 on the sea) and land fraction (0 to 1) on a grid.

    Args:
        grid: The target.
        own: The user's fields from `open_fields`; None for the bundled ones.

    Example:
        >>> import numpy as np
        >>> lhasa_valley = Grid(np.array([29.5, 29.75]), np.array([91.0, 91.25]))
        >>> bool((make_statics(lhasa_valley)["topography"] > 3500).all())
        True
    """
    path = "The bundled statics" if own is None else own.encoding.get("source", "The statics")
    source = read_bundled_statics() if own is None else standardise_statics(own, path)
    with prefix_file_name(path):
        _check_spacing(grid, grid_of(source), BUNDLED_LIMIT if own is None else USER_LIMIT)
        _check_cover(grid, grid_of(source))
    return regrid_statics(source, grid)


@cache
def read_bundled_statics() -> xr.Dataset:
    """Read the bundled fields, global at 0.25 degrees."""
    with as_file(files("dpdm") / "data" / "statics.nc") as path, xr.open_dataset(path) as file:
        return file[list(STATIC_ATTRS)].astype(float).load()


def regrid_statics(source: xr.Dataset, grid: Grid) -> xr.Dataset:
    """Regrid static fields: area means to larger cells, else bilinear interpolation."""
    own = grid_of(source).spacing
    larger = any(t > MEAN_SPACING_RATIO * s for t, s in zip(grid.spacing, own, strict=True))
    return average_conservative(source, grid) if larger else interpolate_bilinear(source, grid)


def standardise_statics(own: xr.Dataset, path: Path | str) -> xr.Dataset:
    """Return the user's two fields under dpdm's names and units, with the sea at 0 m."""
    with prefix_file_name(path):
        found = {
            name: first_step(_find_static_field(own, name)).astype(float) for name in STATIC_ATTRS
        }
    fields = load_checked_fields(xr.Dataset(found), path)
    with prefix_file_name(path):
        height, land = (
            _altitude_to_metres(fields["topography"]),
            _land_to_fraction(fields["land_fraction"]),
        )
        _check_missing(height, land)
    dry = {"topography": _fill_sea(height, land), "land_fraction": land.fillna(0)}
    return xr.Dataset(
        {name: field.assign_attrs(STATIC_ATTRS[name]) for name, field in dry.items()}
    )


def constant_statics(fields: xr.Dataset) -> list[str]:
    """Return the names of the topography and the land fraction among the variables of a file.

    A field of levels or one that changes with time, as geopotential aloft, is none of them.
    """
    standards = {name for names in STATIC_STANDARD_NAMES.values() for name in names}
    usual = {name for names in STATIC_NAMES.values() for name in names.split()}
    return [
        str(name)
        for name, array in fields.data_vars.items()
        if (str(name).lower() in usual or array.attrs.get("standard_name") in standards)
        and not array.attrs.get("family")
        and _is_constant(array)
    ]


def _is_constant(array: xr.DataArray) -> bool:
    """Tell whether the first, the middle and the last step of a field are the same."""
    if array.sizes.get("time", 1) == 1:
        return True
    count = array.sizes["time"]
    first, *others = (array.isel(time=i).values for i in (0, count // 2, count - 1))
    return all(np.allclose(first, other, rtol=1e-4, equal_nan=True) for other in others)


def _find_static_field(own: xr.Dataset, name: str) -> xr.DataArray:
    """Find a field by its standard name, then by the usual names."""
    arrays = {k: v for k, v in own.data_vars.items() if {"lat", "lon"} <= set(v.dims)}
    for standard in STATIC_STANDARD_NAMES[name]:
        for array in arrays.values():
            if array.attrs.get("standard_name") == standard:
                return array
    by_name = {str(key).lower(): array for key, array in arrays.items()}
    for usual in STATIC_NAMES[name].split():
        if usual in by_name:
            return by_name[usual]
    hint = f"Name it {name} or give it the standard name {STATIC_STANDARD_NAMES[name][0]}."
    raise name_not_found(name, arrays or ["nothing on a grid"], hint, kind="")


def _altitude_to_metres(field: xr.DataArray) -> xr.DataArray:
    """Convert an altitude, or a geopotential, to metres."""
    unit = str(field.attrs.get("units", "")).strip()
    if not unit:
        raise DpdmError(f"{field.name} has no units.", "Give it units of m, or m2 s-2.")
    for target, size in (("m", 1.0), ("m2 s-2", GRAVITY)):
        if scale := scale_factor(unit, target):
            return field * (scale / size)
    raise DpdmError(f"{field.name} is in '{unit}', not a height.", "Give it in m, or m2 s-2.")


def _land_to_fraction(field: xr.DataArray) -> xr.DataArray:
    """Convert a land share in percent or in parts of one to parts of one."""
    unit = str(field.attrs.get("units", "")).strip().lower()
    field = field / 100 if unit in ("%", "percent") else field
    low, high = float(field.min()), float(field.max())
    if not (low >= -0.01 and high <= 1.01):
        raise DpdmError(
            f"{field.name} runs from {low:.4g} to {high:.4g} in '{unit or 'no units'}', "
            "which is not a land fraction.",
            "Give it from 0 to 1, or in %.",
        )
    return field.clip(0, 1)


def _check_missing(height: xr.DataArray, land: xr.DataArray) -> None:
    """Refuse missing values in one field where the other is land."""
    gaps = {
        "topography": height.isnull() & (land > 0.5),
        "land_fraction": land.isnull() & (height > 0),
    }
    for name, gap in gaps.items():
        if count := int(gap.sum()):
            raise DpdmError(f"{name} is missing in {count} cells that are land.", "Fill the gaps.")


def _fill_sea(height: xr.DataArray, land: xr.DataArray) -> xr.DataArray:
    """Set the sea to 0 m, without bathymetry and gaps."""
    sea = (land.fillna(0) == 0) & (height < 0)
    return height.where(~sea, 0).fillna(0)


def _check_spacing(grid: Grid, source: Grid, finest: SpacingLimit) -> None:
    """Refuse a target whose relief the source cannot show."""
    for target, own in zip(grid.spacing, source.spacing, strict=True):
        if target < own * finest.min_spacing_ratio - 1e-9:
            raise DpdmError(
                f"the target's cells have {target:.4g} degrees, finer than its {own:.4g}.",
                finest.hint,
            )


def _check_cover(grid: Grid, source: Grid) -> None:
    """Refuse a target with cells whose centres lie outside the source's cells."""
    lon = grid.lon if source.cyclic else align_longitudes(grid.lon, source.lon)
    axes = {"latitude": (grid.lat, source.lat_edges)}
    if not source.cyclic:
        axes["longitude"] = (lon, source.lon_edges)
    for name, (target, edges) in axes.items():
        if target[0] < edges[0] - 1e-6 or target[-1] > edges[-1] + 1e-6:
            raise DpdmError(
                f"the target's {name} runs from {target[0]:.4g} to {target[-1]:.4g}, the "
                f"statics' from {edges[0]:.4g} to {edges[-1]:.4g}.",
                "Give statics that cover the target.",
            )
