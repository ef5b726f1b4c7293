"""Join the positions of a list of stations to observations that have only their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dpdm.errors import DpdmError, prefix_file_name
from dpdm.fields.units import scale_factor
from dpdm.observations.columns import COLUMN_ALIASES, ObservationOptions
from dpdm.observations.csv_reader import Sheet, open_sheet
from dpdm.observations.faults import Faults
from dpdm.observations.layout import FileLayout
from dpdm.observations.values import is_missing_code

POSITIONS = ("lat", "lon", "elevation")
MAX_NAMES = 5  # of stations in a message


def join_station_list(raw: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Return a raw table with the positions of its stations, and notes on the list.

    Positions that the table itself has come first. The list is joined by whichever of its columns
    of names has all stations of the table.

    Args:
        raw: A raw table with a column ``station``.
        path: The list, with a header as that of a table of observations.
    """
    if "station" not in raw:
        raise DpdmError(
            "it has no column of stations, by which --stations joins positions.",
            "Name it station, or leave --stations out.",
        )
    with prefix_file_name(path):
        listed, notes = read_station_list(path, set(raw["station"]) - {""})
    places = pd.Index(listed["station"]).get_indexer(raw["station"])
    joined = raw.copy()
    for name in POSITIONS:
        values = np.append(listed[name].to_numpy(dtype=float), np.nan)[places]
        given = raw[name] if name in raw else pd.Series(np.nan, raw.index)
        given = given.mask(is_missing_code(given.to_numpy(dtype=float)))
        joined[name] = given.fillna(pd.Series(values, raw.index))
    return joined, notes


def read_station_list(path: Path, wanted: set[str]) -> tuple[pd.DataFrame, list[str]]:
    """Read station, latitude, longitude and elevation (m) of the stations that are wanted."""
    faults = Faults("line")
    with faults.collect():
        sheet = open_sheet(path, ObservationOptions({}, {}, {}), faults)
        if lost := [role for role in ("station", "lat", "lon") if role not in sheet.at]:
            raise DpdmError(
                f"there is no column {' and no '.join(lost)}; the columns are "
                f"{', '.join(sheet.bare[:8])}.",
                "Its first line must name station, lat and lon.",
            )
        table = pd.DataFrame({"row": sheet.text.lines, "station": _find_names(sheet, wanted)})
        for role in POSITIONS:
            table[role] = sheet.numbers(sheet.at[role]) if role in sheet.at else np.nan
        table = table[table["station"].isin(wanted)].drop_duplicates(["station", *POSITIONS])
        twice = table[table["station"].duplicated()]
        names, rows = twice["station"].to_list(), twice["row"]
        faults.add(
            rows,
            lambda i: f"{names[i]} has a second position.",
            "Give each its own name, or write positions beside the values.",
        )
    unit = sheet.text.columns[sheet.at["elevation"]].unit if "elevation" in sheet.at else "m"
    return _heights_to_metres(table, unit), _notes(sheet.layout, path, unit)


def _heights_to_metres(table: pd.DataFrame, unit: str) -> pd.DataFrame:
    scale = scale_factor(unit or "m", "m")
    if scale is None:
        raise DpdmError(f"elevation is in '{unit}', not a length.", "Give it in m.")
    height = table["elevation"].mask(is_missing_code(table["elevation"].to_numpy(dtype=float)))
    return table.assign(elevation=height * scale)


def _notes(layout: FileLayout, path: Path, unit: str) -> list[str]:
    assumed = [] if unit else [f"{path.name}: heights in metres are assumed."]
    return [*layout.notes, *assumed]


def _find_names(sheet: Sheet, wanted: set[str]) -> np.ndarray:
    """Return the column of names that has all stations that are wanted."""
    candidates = [i for i, n in enumerate(sheet.names) if n in COLUMN_ALIASES["station"]]
    first = sheet.at["station"]
    best: set[str] = set()
    for i in [first, *(i for i in candidates if i != first)]:
        column = sheet.text.columns[i].text()
        found = wanted & set(column)
        if found == wanted:
            return column
        best = max(best, found, key=len)
    lost = sorted(wanted - best)
    more = f" and {len(lost) - MAX_NAMES} more" if len(lost) > MAX_NAMES else ""
    raise DpdmError(
        f"it lacks {', '.join(lost[:MAX_NAMES])}{more} of the stations observed.",
        "Add them, or remove their observations.",
    )
