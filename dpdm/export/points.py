"""Sample fields at stations, and write tables of the values as CSV or GeoJSON.

A table has a row for each station and time and a column for each variable and statistic. Headings
contain the units, as in ``t2m [K]``, so that tables can be read as observations.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError, DpdmWarning, prefix_file_name
from dpdm.export.select import (
    ExportOptions,
    OutputLayer,
    iso_dates,
    make_layers,
    select_names,
    stored_statistics,
)
from dpdm.fields.csv_cells import guard_formulas
from dpdm.fields.file_names import file_name
from dpdm.fields.grid import Grid, Matrix
from dpdm.fields.regrid import linear_matrix
from dpdm.fields.statistics import Statistic, parse_statistic
from dpdm.fields.write import write_text
from dpdm.file_group import Source
from dpdm.observations.columns import swapped_coordinates_error
from dpdm.observations.csv_reader import read_station_positions

Array = NDArray[np.float64]


@dataclass(frozen=True)
class StationPoints:
    """Stations within a field.

    Attributes:
        table: Columns station, lat and lon.
        rows: Sparse weights (N, H) of the field's rows.
        columns: Sparse weights (N, W) of the field's columns.
    """

    table: pd.DataFrame
    rows: Matrix
    columns: Matrix

    def sample_field(self, array: xr.DataArray) -> xr.DataArray:
        """Return the values at the stations, with dimension ``point`` for ``lat`` and ``lon``.

        A value is missing if its stencil contains a missing value.
        """
        sampled: xr.DataArray = xr.apply_ufunc(
            self._sample_array, array, input_core_dims=[["lat", "lon"]],
            output_core_dims=[["point"]], keep_attrs=True,
        )  # fmt: skip
        return sampled

    def _sample_array(self, values: Array) -> Array:
        flat = values.reshape(-1, *values.shape[-2:]).astype(float)
        sampled = np.stack([self._sample_step(field) for field in flat])
        return sampled.reshape(*values.shape[:-2], -1)

    def _sample_step(self, field: Array) -> Array:
        missing = ~np.isfinite(field)
        value = self._weighted(np.where(missing, 0.0, field))
        return np.where(self._weighted(missing.astype(float)) > 0, np.nan, value)

    def _weighted(self, field: Array) -> Array:
        total: Array = np.asarray(self.columns.multiply(self.rows @ field).sum(axis=1)).ravel()
        return total


def find_points(path: Path, grid: Grid, method: str) -> StationPoints:
    """Return the stations of a table that lie within a grid, and warn of others."""
    with prefix_file_name(path):
        table = read_station_positions(path)
        _check_stations(table)
    lat, lon = table["lat"].to_numpy(), wrap_eastward(table["lon"].to_numpy(), grid)
    inside = (lat >= grid.lat_edges[0]) & (lat <= grid.lat_edges[-1])
    inside &= grid.cyclic | (lon <= grid.lon_edges[-1] + 1e-9)
    _report_outside(path, list(table["station"][~inside]), len(table), grid)
    table, lat, lon = table[inside].reset_index(drop=True), lat[inside], lon[inside]
    if method == "nearest":
        lat, lon = nearest_index(lat, grid.lat), nearest_index(lon, grid.lon)
    return StationPoints(
        table, linear_matrix(grid.lat, lat), linear_matrix(grid.lon, lon, grid.cyclic)
    )


def wrap_eastward(lon: Array, grid: Grid) -> Array:
    """Wrap longitudes to the 360 degrees from the western edge of a grid."""
    west = grid.lon_edges[0] - 1e-9
    wrapped: Array = west + (lon - west) % 360
    return wrapped


def nearest_index(values: Array, centres: Array) -> Array:
    """Return the centres nearest to values.

    Example:
        >>> nearest_index(np.array([0.4, 9.0]), np.array([0.0, 1.0, 2.0])).tolist()
        [0.0, 2.0]
    """
    step = (centres[-1] - centres[0]) / (len(centres) - 1)
    index = np.rint((values - centres[0]) / step).astype(int).clip(0, len(centres) - 1)
    nearest: Array = centres[index]
    return nearest


def _check_stations(table: pd.DataFrame) -> None:
    """Refuse impossible positions."""
    wrong = table[(table["lat"].abs() > 90) | (table["lon"].abs() > 360)]
    if wrong.empty:
        return
    first = wrong.iloc[0]
    where = f"{first['station']} lies at latitude {first['lat']:g}, longitude {first['lon']:g}"
    if abs(first["lon"]) <= 90:
        raise swapped_coordinates_error(where)
    raise DpdmError(f"{where}.", "Give degrees: latitude -90 to 90, longitude -180 to 360.")


def _report_outside(path: Path, out: list[str], count: int, grid: Grid) -> None:
    """Warn of stations outside the grid, and refuse a table without any inside."""
    if not out:
        return
    names = ", ".join(out[:5]) + (", ..." if len(out) > 5 else "")
    field = (
        f"longitudes {grid.lon_edges[0]:g} to {grid.lon_edges[-1]:g} and latitudes "
        f"{grid.lat_edges[0]:g} to {grid.lat_edges[-1]:g}"
    )
    if len(out) == count:
        what = f"No station of {path} lies within the field of {field}."
        raise DpdmError(what, "Check the columns lat and lon, or --bbox.")
    what = f"{len(out)} of {count} stations of {path} lie outside the field and are left out"
    warnings.warn(f"{what}: {names}.", DpdmWarning, stacklevel=2)


DEFAULT_STATISTICS = ("mean", "spread", "p10", "p50", "p90")


def table_columns(
    fields: xr.Dataset, path: Source, options: ExportOptions
) -> list[tuple[OutputLayer, list[Statistic]]]:
    """Return the layers to sample, and the statistics of their members to compute.

    Statistics of members are computed at the station, since interpolated percentiles differ from
    percentiles of interpolated members. In a file of statistics, those are sampled.
    """
    if options.stat:
        layers = make_layers(fields, path, options, options.stat)
        return [(layer, [layer.stat] if layer.stat else []) for layer in layers]
    with prefix_file_name(path):
        bases = select_names(fields, options, bare=True)
    names = [name for base in bases for name in _names_to_read(fields, base)]
    fields = fields[names].assign_coords(fields.coords)
    layers = make_layers(fields, path, ExportOptions(mask=options.mask), "")
    ensemble = [parse_statistic(text) for text in DEFAULT_STATISTICS]
    return [(one, ensemble if "realization" in one.array.dims else []) for one in layers]


def _names_to_read(fields: xr.Dataset, base: str) -> list[str]:
    """Return the fields to sample for a variable: its members, or all its statistics."""
    if "realization" in fields[base].dims:
        return [base]
    return [
        base,
        *(n for kind in stored_statistics(fields, base) if (n := f"{base}_{kind}") in fields),
    ]


def table_rows(
    columns: Sequence[tuple[OutputLayer, list[Statistic]]],
    stations: StationPoints,
    options: ExportOptions,
) -> pd.DataFrame:
    """Return the table, sampled step by step."""
    steps, parts = columns[0][0].steps, []
    for step in range(steps):
        parts.append(_step_rows(columns, stations, step))
        options.progress(step + 1, steps)
    return pd.concat(parts, ignore_index=True)


def _step_rows(
    columns: Sequence[tuple[OutputLayer, list[Statistic]]], stations: StationPoints, step: int
) -> pd.DataFrame:
    """Return the rows of one step, one for each station."""
    table = stations.table[["station"]].copy()
    for layer, stats in columns:
        members = stations.sample_field(layer.members(step))
        if "time" in members.dims:
            table["time"] = iso_dates(members["time"])[0]
            members = members.squeeze("time")
        table[["lat", "lon"]] = stations.table[["lat", "lon"]]
        for name, values in _values(layer, stats, members):
            unit = values.attrs.get("units", "")
            table[f"{name} [{unit}]" if unit else name] = values.values.astype(np.float32)
    return table


def _values(
    layer: OutputLayer, stats: list[Statistic], members: xr.DataArray
) -> Iterator[tuple[str, xr.DataArray]]:
    """Yield the columns of a layer by name."""
    for stat in stats:
        yield f"{file_name(members)}{stat.suffix}", stat.of(members)
    if not stats:
        yield layer.name, members


def write_csv(path: Path, table: pd.DataFrame, overwrite: bool = False) -> None:
    """Write a table as CSV, with empty fields for missing values."""
    write_text(path, guard_formulas(table).to_csv(index=False, lineterminator="\n"), overwrite)


def write_geojson(path: Path, table: pd.DataFrame, overwrite: bool = False) -> None:
    """Write a table as GeoJSON, a point for each row, with null for missing values."""
    features = [_feature(row) for row in table.to_dict("records")]
    collection = {"type": "FeatureCollection", "features": features}
    write_text(path, json.dumps(collection, indent=1, ensure_ascii=False) + "\n", overwrite)


def _feature(row: dict[str, Any]) -> dict[str, Any]:
    lat, lon = row.pop("lat"), (row.pop("lon") + 180) % 360 - 180
    values = {
        key: value if isinstance(value, str) else _number(value) for key, value in row.items()
    }
    point = {"type": "Point", "coordinates": [round(lon, 9), lat]}
    return {"type": "Feature", "geometry": point, "properties": values}


def _number(value: float) -> float | None:
    """Return a single-precision number with its shortest digits, None if not finite."""
    return float(str(np.float32(value))) if np.isfinite(value) else None
