"""What does not change: topography and land fraction, on any grid.

The bundled file has both on a global 0.25 degree grid, as a model of that spacing sees them
(``docs/statics.md`` tells how they were made). A finer target needs the user's own, for relief
below the spacing of a source is demanded, never guessed.
"""

from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple

import xarray as xr

from dpdm.constants import GRAVITY
from dpdm.errors import DpdmError, not_found
from dpdm.fields.grid import Grid, average, grid_of, lerp, near
from dpdm.fields.store import load, naming
from dpdm.fields.units import first_step, parse, registry

COARSER = 1.5  # spacings: beyond it a mean over cells stands for a lerp between centres
ATTRS = {
    "topography": {"standard_name": "surface_altitude", "units": "m"},
    "land_fraction": {"standard_name": "land_area_fraction", "units": "1"},
}
STANDARD = {
    "topography": ("surface_altitude", "surface_geopotential", "geopotential", "altitude"),
    "land_fraction": ("land_area_fraction", "land_binary_mask"),
}
NAMES = {
    "topography": "topography orography orog oro z zs phis elevation elev topo dem hsurf hgt "
    "height surface_altitude altitude alt",
    "land_fraction": "land_fraction lsm sftlf land_area_fraction landfrac fr_land land_sea_mask "
    "land_mask landmask lsmask land",
}


class Finest(NamedTuple):
    """Say how fine a target may be, in spacings of the source, and what to do about others."""

    share: float
    hint: str


BUNDLED = Finest(0.95, "Give topography and land fraction as fine as it with --statics S.nc.")
MINE = Finest(1 / COARSER, "Give statics about as fine as the target.")


def statics(grid: Grid, own: xr.Dataset | None = None) -> xr.Dataset:
    """Return topography (m, 0 on the sea) and land fraction (0 to 1) on a grid.

    Args:
        grid: The target.
        own: The user's fields, as `open_fields` gives them; None takes the bundled ones.

    Example:
        >>> import numpy as np
        >>> lhasa_valley = Grid(np.array([29.5, 29.75]), np.array([91.0, 91.25]))
        >>> bool((statics(lhasa_valley)["topography"] > 3500).all())
        True
    """
    path = "The bundled statics" if own is None else own.encoding.get("source", "The statics")
    source = bundled() if own is None else mine(own, path)
    with naming(path):
        _check_spacing(grid, grid_of(source), BUNDLED if own is None else MINE)
        _check_cover(grid, grid_of(source))
    return onto(source, grid)


@cache
def bundled() -> xr.Dataset:
    """Read the bundled fields, global at 0.25 degrees."""
    with as_file(files("dpdm") / "data" / "statics.nc") as path, xr.open_dataset(path) as file:
        return file[list(ATTRS)].astype(float).load()


def onto(source: xr.Dataset, grid: Grid) -> xr.Dataset:
    """Bring fields to a grid: area means to larger cells, else the lerp, exact on equal cells."""
    own = grid_of(source).spacing
    larger = any(t > COARSER * s for t, s in zip(grid.spacing, own, strict=True))
    return average(source, grid) if larger else lerp(source, grid)


def mine(own: xr.Dataset, path: Path | str) -> xr.Dataset:
    """Find the user's two fields and give them our names, units and values on the sea."""
    with naming(path):
        found = {name: first_step(_find(own, name)).astype(float) for name in ATTRS}
    fields = load(xr.Dataset(found), path)
    with naming(path):
        height, land = _metres(fields["topography"]), _fraction(fields["land_fraction"])
        _check_missing(height, land)
    dry = {"topography": _dry(height, land), "land_fraction": land.fillna(0)}
    return xr.Dataset({name: field.assign_attrs(ATTRS[name]) for name, field in dry.items()})


def _find(own: xr.Dataset, name: str) -> xr.DataArray:
    """Find a field by its standard name, then by the usual names."""
    arrays = {k: v for k, v in own.data_vars.items() if {"lat", "lon"} <= set(v.dims)}
    for standard in STANDARD[name]:
        for array in arrays.values():
            if array.attrs.get("standard_name") == standard:
                return array
    by_name = {str(key).lower(): array for key, array in arrays.items()}
    for usual in NAMES[name].split():
        if usual in by_name:
            return by_name[usual]
    hint = f"Name it {name} or give it the standard name {STANDARD[name][0]}."
    raise not_found(name, arrays or ["nothing on a grid"], hint, kind="")


def _metres(field: xr.DataArray) -> xr.DataArray:
    """Convert an altitude, or a geopotential, to metres."""
    unit = str(field.attrs.get("units", "")).strip()
    if not unit:
        raise DpdmError(f"{field.name} has no units.", "Give it units of m, or m2 s-2.")
    scale = registry().Quantity(1.0, parse(unit))
    for target, size in (("m", 1.0), ("m2 s-2", GRAVITY)):
        if scale.is_compatible_with(target):
            return field * (float(scale.to(target).magnitude) / size)
    raise DpdmError(f"{field.name} is in '{unit}', not a height.", "Give it in m, or m2 s-2.")


def _fraction(field: xr.DataArray) -> xr.DataArray:
    """Convert a land share in percent or in parts of one to parts of one."""
    unit = str(field.attrs.get("units", "")).strip().lower()
    field = field / 100 if unit in ("%", "percent") else field
    low, high = float(field.min()), float(field.max())
    if not (low >= -0.01 and high <= 1.01):
        raise DpdmError(
            f"{field.name} runs from {low:.4g} to {high:.4g} in '{unit or 'no units'}', "
            "which is no land fraction.",
            "Give it from 0 to 1, or in %.",
        )
    return field.clip(0, 1)


def _check_missing(height: xr.DataArray, land: xr.DataArray) -> None:
    """Refuse a gap in one field where the other shows land."""
    gaps = {
        "topography": height.isnull() & (land > 0.5),
        "land_fraction": land.isnull() & (height > 0),
    }
    for name, gap in gaps.items():
        if count := int(gap.sum()):
            raise DpdmError(
                f"{name} is missing in {count} cells that are land.",
                "Fill them.",
            )


def _dry(height: xr.DataArray, land: xr.DataArray) -> xr.DataArray:
    """Put the sea at 0 m: no bathymetry, and no gap."""
    sea = (land.fillna(0) == 0) & (height < 0)
    return height.where(~sea, 0).fillna(0)


def _check_spacing(grid: Grid, source: Grid, finest: Finest) -> None:
    """Refuse a target whose relief the source cannot show."""
    for target, own in zip(grid.spacing, source.spacing, strict=True):
        if target < own * finest.share - 1e-9:
            raise DpdmError(
                f"the target's cells have {target:.4g} degrees, finer than its {own:.4g}.",
                finest.hint,
            )


def _check_cover(grid: Grid, source: Grid) -> None:
    """Refuse a target with cells whose centres lie outside the source's cells."""
    lon = grid.lon if source.cyclic else near(grid.lon, source.lon)
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
