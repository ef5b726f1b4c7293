"""Standardise the horizontal axes of a file: `lat` and `lon`, ascending, exactly regular.

Files write the same grid in many ways: north first or south first, longitudes from 0 or from
-180, a region cut in two by the seam, 0 and 360 both, single-precision steps that differ in the
last digit. Each axis is read as an order of cells and exact coordinate values; the data follow
by one lazy `isel`. What is not a regular grid is refused, never interpolated.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

import cf_xarray  # noqa: F401
import numpy as np
import xarray as xr

from dpdm.errors import DpdmError

Array = np.ndarray
SPACING_TOLERANCE = 2e-3  # of a spacing: single precision puts 0.1 degree steps off by 3e-4
ROUNDING_TOLERANCE = 1e-9  # of a spacing: double precision
REGULAR_GRID_HINT = "Interpolate it to a regular latitude by longitude grid first."
HORIZONTAL_AXIS_NAMES = {
    "latitude": ("lat", "latitude", "nav_lat", "precise_latitude", "y"),
    "longitude": ("lon", "longitude", "nav_lon", "precise_longitude", "x"),
}


def standardise_axes(ds: xr.Dataset) -> xr.Dataset:
    """Name, order and regularise the horizontal axes of a dataset."""
    ds = _rename_axes(ds)
    with _regrid_hint(ds):
        rows, lat = order_latitudes(ds["lat"].values)
        columns, lon = order_longitudes(ds["lon"].values)
    ds = ds.isel(lat=rows, lon=columns)
    return ds.assign_coords(lat=("lat", lat), lon=("lon", lon))


def order_latitudes(values: Array) -> tuple[slice | Array, Array]:
    """Order latitudes southernmost first.

    Returns:
        The order of the cells, and their exact latitudes, degrees north.
    """
    values = _check_finite_axis(values, "latitude")
    if (beyond := np.abs(values).max()) > 90 + 1e-6:
        raise DpdmError(f"latitude reaches {beyond:g}, beyond 90.", "Correct the coordinate.")
    step = -1 if values[0] > values[-1] else 1
    _check_sorted(values[::step], "latitude")
    return slice(None, None, step), np.clip(snap_to_regular(values[::step], "latitude"), -90, 90)


def order_longitudes(values: Array) -> tuple[slice | Array, Array]:
    """Order longitudes westernmost first, without a seam inside the domain.

    Returns:
        The order of the cells, and their exact longitudes, degrees east. A domain that crosses
        the seam of its file becomes contiguous: -10..10 out of 0..360, 170..190 out of -180..180.
    """
    values = _check_finite_axis(values, "longitude")
    step = -1 if np.median(np.diff(values)) < 0 else 1
    order = np.arange(values.size)[::step]
    order, east = _unwrap_longitudes(order, values[order])
    _check_sorted(east, "longitude")
    if abs(east[-1] - east[0] - 360) < SPACING_TOLERANCE * (east[1] - east[0]):
        order, east = order[:-1], east[:-1]
    if east[-1] - east[0] > 360:
        raise DpdmError(
            f"longitude runs from {east[0]:g} to {east[-1]:g}, more than once round.",
            "Remove the repeated cells.",
        )
    return order, snap_to_regular(east, "longitude")


def snap_to_regular(values: Array, name: str) -> Array:
    """Snap ascending coordinates to an exactly regular float64 axis.

    The step and the start become short fractions where those explain the values, so that files
    of one grid agree to the last bit whatever their precision.

    Example:
        >>> snap_to_regular(np.float32([0.1, 0.2, 0.3, 0.4]).astype(float), "latitude")
        array([0.1, 0.2, 0.3, 0.4])
    """
    count = np.arange(values.size)
    step = (values[-1] - values[0]) / (values.size - 1)
    even = values[0] + step * count
    off = np.abs(values - even).max() / step
    if off > SPACING_TOLERANCE:
        raise DpdmError(
            f"{name} is not regular: a cell is {off:.2g} of a step off.", REGULAR_GRID_HINT
        )
    tolerance = SPACING_TOLERANCE * step if off > ROUNDING_TOLERANCE else ROUNDING_TOLERANCE * step
    start, stride = (Fraction(float(v)).limit_denominator(1000) for v in (values[0], step))
    exact = np.array([float(start + stride * int(i)) for i in count])
    return exact if np.abs(exact - values).max() <= tolerance else even


def _rename_axes(ds: xr.Dataset) -> xr.Dataset:
    """Find the axes and call them and their dimensions lat and lon."""
    with _regrid_hint(ds):
        names = {key: _find_axis(ds, key) for key in HORIZONTAL_AXIS_NAMES}
        lat, lon = (ds[name] for name in names.values())
        _check_rotation(ds, {str(dim) for axis in (lat, lon) for dim in axis.dims})
        if lat.dims == lon.dims:
            raise DpdmError(
                "the grid is a list of cells, not latitude by longitude.", REGULAR_GRID_HINT
            )
    for axis, new in ((lat, "lat"), (lon, "lon")):
        old, dim = str(axis.name), axis.dims[0]
        if old != dim:
            ds = ds.drop_vars([dim], errors="ignore").swap_dims({dim: old})
        ds = ds.drop_vars(new) if new in ds.variables and new != old else ds
        ds = ds.rename({old: new}) if new != old else ds
    return ds


@contextmanager
def _regrid_hint(ds: xr.Dataset) -> Iterator[None]:
    """Add the command that regrids to the hint, where CDO can read the grid."""
    try:
        yield
    except DpdmError as fault:
        rule = _cdo_operator(ds)
        if fault.hint != REGULAR_GRID_HINT or not rule:
            raise
        hint = f"Interpolate it first: cdo {rule},r360x180 IN.nc OUT.nc."
        raise DpdmError(fault.what, hint) from fault


def _cdo_operator(ds: xr.Dataset) -> str:
    """Return the CDO operator that regrids, if CDO can read the grid's coordinates."""
    found = [ds.cf.coordinates.get(key, []) for key in HORIZONTAL_AXIS_NAMES]
    axes = [ds[name] for names in found for name in names
            if str(ds[name].attrs.get("units", "")).startswith("degree")]  # fmt: skip
    if len(axes) != 2 or any(axis.name not in ds.coords for axis in axes):
        return ""
    return "remapnn" if axes[0].dims == axes[1].dims and axes[0].ndim == 1 else "remapbil"


def _find_axis(ds: xr.Dataset, key: str) -> str:
    """Find an axis by CF, then by its usual names."""
    marked = list(ds.cf.coordinates.get(key, [])) + list(
        ds.cf.axes.get("Y" if key == "latitude" else "X", [])
    )
    usual = [
        n for want in HORIZONTAL_AXIS_NAMES[key] for n in ds.variables if str(n).lower() == want
    ]
    names = [str(name) for name in dict.fromkeys(marked + usual)]
    lines = sorted((n for n in names if ds[n].ndim == 1), key=lambda n: n != ds[n].dims[0])
    if lines:
        return lines[0]
    _check_rotation(ds, {*map(str, ds.dims)})
    if names:
        raise DpdmError(
            f"{key} ({names[0]}) has {ds[names[0]].ndim} dimensions, not one.", REGULAR_GRID_HINT
        )
    raise DpdmError(f"there is no {key}.", f"Name the coordinate {key} or give it CF units.")


def _check_rotation(ds: xr.Dataset, dims: set[str]) -> None:
    """Refuse a rotated or projected grid on ``dims``; other grids of the file are ignored."""
    for name, array in ds.variables.items():
        mapping = str(array.attrs.get("grid_mapping_name", ""))
        grid = str(array.attrs.get("standard_name", ""))
        if "degrees_north" in str(array.attrs.get("units", "")):
            grid = ""  # CDO marks a latitude with a grid mapping as a projection coordinate
        odd = mapping not in ("", "latitude_longitude")
        if (odd and _mapping_applies(ds, str(name), dims)) or (
            grid.startswith(("grid_lat", "projection_y")) and {*map(str, array.dims)} <= dims
        ):
            raise DpdmError(
                f"the grid is rotated or projected ({name}: {mapping or grid}).", REGULAR_GRID_HINT
            )


def _mapping_applies(ds: xr.Dataset, mapping: str, dims: set[str]) -> bool:
    """Tell whether a grid mapping may belong to variables on some dimensions."""
    mappings = {n: str(a.encoding.get("grid_mapping", a.attrs.get("grid_mapping", "")))
            for n, a in ds.data_vars.items()}  # fmt: skip
    uses = [ds[name] for name, text in mappings.items() if mapping in text.split()]
    return not uses or any(dims <= {*map(str, array.dims)} for array in uses)


def _check_finite_axis(values: Array, name: str) -> Array:
    """Check that there are at least two finite coordinates, as float64."""
    if values.size < 2:
        raise DpdmError(
            f"{name} has one cell only.", "Give a domain of at least two by two cells."
        )
    values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise DpdmError(f"{name} has missing or infinite coordinates.", "Correct the coordinate.")
    return values


def _check_sorted(values: Array, name: str) -> None:
    steps = np.diff(values)
    if (steps == 0).any():
        repeated = values[:-1][steps == 0][0]
        raise DpdmError(f"{name} {repeated:g} is repeated.", "Remove the repeated cells.")
    if (steps < 0).any():
        raise DpdmError(f"{name} is not sorted, near {values[:-1][steps < 0][0]:g}.", "Sort it.")


def _unwrap_longitudes(order: Array, values: Array) -> tuple[Array, Array]:
    """Close the seam of a file: undo one jump, start after the one gap, return to 0..360."""
    steps = np.diff(values)
    jumps = np.flatnonzero(steps < -180)
    gaps = np.flatnonzero(steps > 1.5 * np.median(np.abs(steps)))
    if jumps.size == 1:
        values = values + 360.0 * (np.arange(values.size) > jumps[0])
    elif gaps.size == 1 and jumps.size == 0 and _spans_globe(values):
        first = gaps[0] + 1
        order, values = np.roll(order, -first), np.roll(values, -first)
        values[-first:] += 360
    if values[-1] >= 360 and values[0] >= 180:
        values = values - 360
    return order, values


def _spans_globe(values: Array) -> bool:
    """Tell whether the last cell is the western neighbour of the first."""
    step = np.median(np.abs(np.diff(values)))
    return bool(abs(values[0] + 360 - values[-1] - step) < 0.1 * step)
