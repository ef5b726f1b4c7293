"""Values of fields at stations: of the cell that holds each, or bilinear between four centres."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError, DpdmWarning
from dpdm.fields.grid import Grid, Matrix, stencil
from dpdm.fields.observations import swapped
from dpdm.fields.store import naming
from dpdm.fields.text import read_places

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Points:
    """Stations within a field.

    Attributes:
        table: Columns station, lat and lon.
        rows: Weights of the field's rows for each station, with shape (N, H), sparse.
        columns: Weights of its columns, with shape (N, W), sparse.
    """

    table: pd.DataFrame
    rows: Matrix
    columns: Matrix

    def of(self, array: xr.DataArray) -> xr.DataArray:
        """Return the values at the stations, with dimension ``point`` for ``lat`` and ``lon``.

        A value is missing where its stencil holds a missing one.
        """
        found: xr.DataArray = xr.apply_ufunc(
            self._sample, array, input_core_dims=[["lat", "lon"]],
            output_core_dims=[["point"]], keep_attrs=True,
        )  # fmt: skip
        return found

    def _sample(self, values: Array) -> Array:
        flat = values.reshape(-1, *values.shape[-2:]).astype(float)
        found = np.stack([self._one(field) for field in flat])
        return found.reshape(*values.shape[:-2], -1)

    def _one(self, field: Array) -> Array:
        lost = ~np.isfinite(field)
        value = self._weighted(np.where(lost, 0.0, field))
        return np.where(self._weighted(lost.astype(float)) > 0, np.nan, value)

    def _weighted(self, field: Array) -> Array:
        total: Array = np.asarray(self.columns.multiply(self.rows @ field).sum(axis=1)).ravel()
        return total


def points(path: Path, grid: Grid, method: str) -> Points:
    """Return the stations of a table that lie within a grid.

    Warns:
        DpdmWarning: Some do not, and are left out.
    """
    with naming(path):
        table = read_places(path)
        _check(table)
    lat, lon = table["lat"].to_numpy(), eastward(table["lon"].to_numpy(), grid)
    seen = (lat >= grid.lat_edges[0]) & (lat <= grid.lat_edges[-1])
    seen &= grid.cyclic | (lon <= grid.lon_edges[-1] + 1e-9)
    _tell(path, list(table["station"][~seen]), len(table), grid)
    table, lat, lon = table[seen].reset_index(drop=True), lat[seen], lon[seen]
    if method == "nearest":
        lat, lon = nearest(lat, grid.lat), nearest(lon, grid.lon)
    return Points(table, stencil(grid.lat, lat), stencil(grid.lon, lon, grid.cyclic))


def eastward(lon: Array, grid: Grid) -> Array:
    """Return longitudes on the turn that begins at the western edge of a grid."""
    west = grid.lon_edges[0] - 1e-9
    turned: Array = west + (lon - west) % 360
    return turned


def nearest(values: Array, centres: Array) -> Array:
    """Return the centres next to values.

    Example:
        >>> nearest(np.array([0.4, 9.0]), np.array([0.0, 1.0, 2.0])).tolist()
        [0.0, 2.0]
    """
    step = (centres[-1] - centres[0]) / (len(centres) - 1)
    index = np.rint((values - centres[0]) / step).astype(int).clip(0, len(centres) - 1)
    found: Array = centres[index]
    return found


def _check(table: pd.DataFrame) -> None:
    """Refuse impossible positions."""
    wrong = table[(table["lat"].abs() > 90) | (table["lon"].abs() > 360)]
    if wrong.empty:
        return
    first = wrong.iloc[0]
    where = f"{first['station']} lies at latitude {first['lat']:g}, longitude {first['lon']:g}"
    if abs(first["lon"]) <= 90:
        raise swapped(where)
    raise DpdmError(f"{where}.", "Give degrees: latitude -90 to 90, longitude -180 to 360.")


def _tell(path: Path, out: list[str], count: int, grid: Grid) -> None:
    """Say which stations lie outside."""
    if not out:
        return
    names = ", ".join(out[:5]) + (", ..." if len(out) > 5 else "")
    field = (
        f"longitudes {grid.lon_edges[0]:g} to {grid.lon_edges[-1]:g} and latitudes "
        f"{grid.lat_edges[0]:g} to {grid.lat_edges[-1]:g}"
    )
    if len(out) == count:
        what = f"No station of {path} lies within the field of {field}."
        raise DpdmError(what, "Check lat and lon, or --bbox.")
    what = f"{len(out)} of {count} stations of {path} lie outside the field and are left out"
    warnings.warn(f"{what}: {names}.", DpdmWarning, stacklevel=2)
