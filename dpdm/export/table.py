"""Tables of values at stations: one row a station and time, one column a variable and statistic.

Headings carry the units as dpdm reads them, ``t2m [K]``, so that a table of one field can be read
as observations again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr

from dpdm.export.ask import Ask
from dpdm.export.points import Points
from dpdm.export.select import Layer, kinds, layers, named
from dpdm.export.when import dates
from dpdm.fields.cells import guarded
from dpdm.fields.statistics import Statistic, parse
from dpdm.fields.store import naming
from dpdm.fields.write import write_text

ENSEMBLE = ("mean", "spread", "p10", "p50", "p90")


def columns(fields: xr.Dataset, path: Path, ask: Ask) -> list[tuple[Layer, list[Statistic]]]:
    """Return the layers to look up, and the statistics to make of each one's members.

    Where the file has members, statistics are made of their values at the station, for that of an
    interpolated percentile is another one. Where it has only statistics, those are looked up.
    """
    if ask.stat:
        found = layers(fields, path, ask, ask.stat)
        return [(layer, [layer.stat] if layer.stat else []) for layer in found]
    with naming(path):
        bases = named(fields, ask, bare=True)
    names = [name for base in bases for name in _names(fields, base)]
    found = layers(fields[names].assign_coords(fields.coords), path, _plain(ask), "")
    ensemble = [parse(text) for text in ENSEMBLE]
    return [(one, ensemble if "realization" in one.array.dims else []) for one in found]


def _plain(ask: Ask) -> Ask:
    return Ask(mask=ask.mask)


def _names(fields: xr.Dataset, base: str) -> list[str]:
    """Name the fields to look up of a variable: its members, or itself and its statistics."""
    if "realization" in fields[base].dims:
        return [base]
    return [base, *(n for kind in kinds(fields, base) if (n := f"{base}_{kind}") in fields)]


def rows(
    wanted: Sequence[tuple[Layer, list[Statistic]]], places: Points, ask: Ask
) -> pd.DataFrame:
    """Return the table, step by step."""
    steps, parts = wanted[0][0].steps, []
    for step in range(steps):
        parts.append(_step(wanted, places, step))
        ask.progress(step + 1, steps)
    return pd.concat(parts, ignore_index=True)


def _step(
    wanted: Sequence[tuple[Layer, list[Statistic]]], places: Points, step: int
) -> pd.DataFrame:
    """Return one step's rows, a station each."""
    table = places.table[["station"]].copy()
    for layer, stats in wanted:
        members = places.of(layer.members(step))
        if "time" in members.dims:
            table["time"] = dates(members["time"])[0]
            members = members.squeeze("time")
        table[["lat", "lon"]] = places.table[["lat", "lon"]]
        for name, values in _values(layer, stats, members):
            unit = values.attrs.get("units", "")
            table[f"{name} [{unit}]" if unit else name] = values.values.astype(np.float32)
    return table


def _values(
    layer: Layer, stats: list[Statistic], members: xr.DataArray
) -> Iterator[tuple[str, xr.DataArray]]:
    for stat in stats:
        yield f"{members.name}{stat.suffix}", stat.of(members)
    if not stats:
        yield layer.name, members


def write_csv(path: Path, table: pd.DataFrame, overwrite: bool = False) -> None:
    """Write a table as CSV; what is missing is empty."""
    write_text(path, guarded(table).to_csv(index=False, lineterminator="\n"), overwrite)


def write_geojson(path: Path, table: pd.DataFrame, overwrite: bool = False) -> None:
    """Write a table as GeoJSON, a point a row; what is missing is null."""
    features = [_feature(row) for row in table.to_dict("records")]
    said = {"type": "FeatureCollection", "features": features}
    write_text(path, json.dumps(said, indent=1, ensure_ascii=False) + "\n", overwrite)


def _feature(row: dict[str, Any]) -> dict[str, Any]:
    lat, lon = row.pop("lat"), (row.pop("lon") + 180) % 360 - 180
    values = {
        key: value if isinstance(value, str) else _number(value) for key, value in row.items()
    }
    point = {"type": "Point", "coordinates": [round(lon, 9), lat]}
    return {"type": "Feature", "geometry": point, "properties": values}


def _number(value: float) -> float | None:
    """Return a single-precision number in as few digits as it has, or nothing."""
    return float(str(np.float32(value))) if np.isfinite(value) else None
