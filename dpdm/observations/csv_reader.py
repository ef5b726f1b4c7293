"""Read observations from CSV files with any usual separator, decimal sign, encoding and header.

Files have one observation a line (columns `variable` and `value`), or one column a variable. Both
become a *raw table* of one observation a row, with the file's names and units.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dpdm.errors import DpdmError
from dpdm.fields.csv_cells import unguard_formulas
from dpdm.fields.date_formats import MISSING_WORDS, is_number, parse_times
from dpdm.fields.variables import SURFACE_VARIABLES, normalise_heading
from dpdm.observations.columns import (
    ERROR_SUFFIX,
    LENGTH_COLUMNS,
    NUMERIC_COLUMNS,
    TIME_COLUMNS,
    ObservationOptions,
    check_unique_columns,
    find_columns,
)
from dpdm.system import read_bytes

OBSERVATION_COLUMNS_HINT = (
    "Its first line must name time, lat, lon, and variable, value and units, or variables with "
    "their units, as t2m [degC]; --obs-var t2m=NAME names a variable's column."
)
MAX_COLUMN_COUNT = 10_000  # columns
_HEADING = re.compile(r"^(.*?)\s*[\[(]([^\])]*)[\])]\s*$")


def read_csv_observations(path: Path, options: ObservationOptions) -> pd.DataFrame:
    """Read a CSV file as a raw table."""
    cells = read_cells(path)
    names = [normalise_heading(_split_heading(column)[0]) for column in cells]
    at = find_columns(names)
    _check_header(list(cells), at)
    long = "value" in at and names[at["value"]] not in map(
        normalise_heading, options.rename.values()
    )
    table = _read_shared_columns(cells, at, names)
    pressure = at.get("pressure")
    parts = (
        [_read_long_form(cells, table, at, options)]
        if long
        else _read_wide_form(cells, table, names, options, pressure)
    )
    if not parts:
        headings = ", ".join(_split_heading(column)[0] for column in cells)
        raise DpdmError(
            f"no column is a known variable; the columns are {headings}.", OBSERVATION_COLUMNS_HINT
        )
    return pd.concat(parts, ignore_index=True)


def read_station_positions(path: Path, needed: Sequence[str] = ("lat", "lon")) -> pd.DataFrame:
    """Read the positions of stations: `station`, `lat` and `lon`, without duplicates.

    Stations without names have the numbers of their rows.
    """
    cells = read_cells(path)
    at = find_columns([normalise_heading(_split_heading(column)[0]) for column in cells])
    if lost := [role for role in needed if role not in at]:
        headings = ", ".join(cells.columns[:6])
        what = f"there is no column {' and no '.join(lost)}; the columns are {headings}."
        raise DpdmError(what, "Its first line must name name, lat and lon.")
    table = pd.DataFrame({role: _parse_number_column(cells, at[role]) for role in ("lat", "lon")})
    bare = [str(row) for row in range(1, len(cells) + 1)]
    table.insert(
        0, "station", _clean_text_cells(cells.iloc[:, at["station"]]) if "station" in at else bare
    )
    if (bad := np.flatnonzero(table[["lat", "lon"]].isna().any(axis=1))).size:
        raise DpdmError(f"row {bad[0] + 1} has no position.", "Give it, or remove the row.")
    return table.drop_duplicates(ignore_index=True)


def _check_header(columns: list[str], at: dict[str, int]) -> None:
    """Refuse a first line of numbers without usual headings."""
    if not at and any(is_number(column) for column in columns):
        raise DpdmError(
            f"there is no header: the first line is {', '.join(columns[:6])}.",
            OBSERVATION_COLUMNS_HINT,
        )


def _read_long_form(
    cells: pd.DataFrame, table: pd.DataFrame, at: dict[str, int], options: ObservationOptions
) -> pd.DataFrame:
    """Read a table of one observation a line."""
    if "variable" not in at:
        raise DpdmError(
            "there is a value column and no variable column.", OBSERVATION_COLUMNS_HINT
        )
    unit = _split_heading(cells.columns[at["value"]])[1]
    written = cells.iloc[:, at["units"]] if "units" in at else pd.Series(unit, cells.index)
    old = cells.iloc[:, at["variable"]].str.strip()
    known = {pair: options.unit(*pair) for pair in set(zip(old, written, strict=True))}
    return table.assign(
        old=old.to_numpy(),
        value=_parse_number_column(cells, at["value"]),
        **_read_error_column(cells, at.get("error")),
        units=[known[pair] for pair in zip(old, written, strict=True)],
    )


def _read_wide_form(
    cells: pd.DataFrame,
    table: pd.DataFrame,
    names: list[str],
    options: ObservationOptions,
    pressure: int | None,
) -> list[pd.DataFrame]:
    """Read a table of one column a variable, with optional columns of errors.

    With a column of pressures, variables on levels are known too.
    """
    bare, has_pressure = [_split_heading(column)[0] for column in cells], pressure is not None
    wanted = [n for i, n in enumerate(bare) if i != pressure and options.includes(n, has_pressure)]
    check_unique_columns(wanted, options)
    _check_ambiguous_names(wanted if has_pressure else [], options)
    errors = {ERROR_SUFFIX.sub("", n): i for i, n in enumerate(names) if ERROR_SUFFIX.search(n)}
    return [
        table.assign(
            old=name,
            value=_parse_number_column(cells, i),
            units=options.unit(name, _split_heading(cells.columns[i])[1]),
            **_read_error_column(cells, errors.get(names[i])),
        )
        for i, name in enumerate(bare)
        if name in wanted
    ]


def _check_ambiguous_names(names: list[str], options: ObservationOptions) -> None:
    """Refuse names that, with a pressure, may be at the surface or on a level."""
    for name in names:
        low, high = options.name(name), options.name(name, has_pressure=True)
        if low in SURFACE_VARIABLES and low != high:
            raise DpdmError(
                f"{name} may be {low}, or {high} at the pressure of its row.",
                f"Choose one: --obs-var {high}={name}, or --obs-var {low}={name}.",
            )


def _read_error_column(cells: pd.DataFrame, at: int | None) -> dict[str, Any]:
    """Read a column of errors and its unit, if there is one."""
    if at is None:
        return {"error": np.nan, "error_units": ""}
    return {
        "error": _parse_number_column(cells, at),
        "error_units": _split_heading(cells.columns[at])[1],
    }


def _read_shared_columns(
    cells: pd.DataFrame, at: dict[str, int], names: list[str]
) -> pd.DataFrame:
    """Read the columns that all observations of a line share: time, position, settings."""
    table = pd.DataFrame({"row": np.arange(1, len(cells) + 1)})
    table["time"] = parse_times(_time_cells(cells, at, names))
    if "end" in at:
        table["end"] = parse_times(list(cells.iloc[:, at["end"]]))
    if "pressure" in at:
        table["pressure"] = pd.to_numeric(
            _decimal_point_cells(cells, at["pressure"]), "coerce"
        ).to_numpy()
    for role in at.keys() - {*TIME_COLUMNS, "variable", "value", "error", "units", "pressure"}:
        numeric = role in NUMERIC_COLUMNS or role == "trajectory"
        table[role] = (
            _parse_number_column(cells, at[role])
            if numeric
            else _clean_text_cells(cells.iloc[:, at[role]])
        )
    for role in {*LENGTH_COLUMNS, "pressure"} & at.keys():
        table.attrs[role] = _split_heading(cells.columns[at[role]])[1]
    return table


def _clean_text_cells(cells: pd.Series) -> pd.Series:
    return unguard_formulas(cells.where(~cells.str.lower().isin(MISSING_WORDS), "")).to_numpy()


def _time_cells(cells: pd.DataFrame, at: dict[str, int], names: list[str]) -> list[str]:
    """Return the cells of times, joined from date and time, or year, month and day."""
    if {"date", "time"} <= set(names):
        date, clock = (cells.iloc[:, names.index(word)] for word in ("date", "time"))
        return list((date + "T" + clock).str.strip("T"))
    if "time" in at:
        return list(cells.iloc[:, at["time"]])
    parts = [cells.iloc[:, names.index(w)] for w in ("year", "month", "day") if w in names]
    if {"year", "month"} <= set(names):
        return ["-".join(cells) for cells in zip(*parts, strict=True)]
    return [""] * len(cells)


def _parse_number_column(cells: pd.DataFrame, at: int) -> np.ndarray:
    """Read a column of numbers, NaN where there is none."""
    texts = _decimal_point_cells(cells, at)
    texts = texts.mask(texts.str.lower().isin(MISSING_WORDS), "nan")
    out: np.ndarray = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=float)
    wrong = np.flatnonzero(np.isnan(out) & (texts != "nan").to_numpy())
    if wrong.size:
        raise DpdmError(
            f"row {wrong[0] + 1}: {cells.columns[at]} is '{cells.iloc[wrong[0], at]}', not a "
            "number.",
            "Write a number, or leave the cell empty.",
        )
    return out


def _decimal_point_cells(cells: pd.DataFrame, at: int) -> pd.Series:
    """Return a column of cells, numbers with decimal points."""
    texts = cells.iloc[:, at].str.strip()
    return texts.str.replace(",", ".", regex=False) if cells.attrs["comma"] else texts


def _split_heading(column: str) -> tuple[str, str]:
    """Split a heading into name and unit."""
    found = _HEADING.match(column)
    return (found[1].strip(), found[2].strip()) if found else (column.strip(), "")


def read_cells(path: Path) -> pd.DataFrame:
    """Read the cells of a table as text."""
    lines = [line for line in _decode_text_file(path).splitlines() if line.strip(" \t;,")]
    while lines and lines[0].lstrip().startswith("#"):
        lines = lines[1:]
    if not lines:
        raise DpdmError("it is empty.", OBSERVATION_COLUMNS_HINT)
    mark = max(",;\t", key=lines[0].count)
    header, *rows = _split_lines(lines, mark)
    if len(header) > MAX_COLUMN_COUNT:
        raise DpdmError(
            f"its header has {len(header)} columns.", f"Give up to {MAX_COLUMN_COUNT}."
        )
    for number, row in enumerate(rows, 1):
        _check_width(row, header, number)
    cells = pd.DataFrame([row[: len(header)] for row in rows], columns=header, dtype=str)
    cells.attrs["comma"] = mark == ";"
    return cells


def _split_lines(lines: list[str], mark: str) -> list[list[str]]:
    try:
        return list(csv.reader(lines, delimiter=mark, skipinitialspace=True))
    except csv.Error as fault:  # a quotation mark that is never closed
        raise DpdmError(
            f"it is not a table ({fault}).", "Look for a stray quotation mark."
        ) from fault


def _check_width(row: list[str], header: list[str], number: int) -> None:
    """Refuse a row whose cells do not match the headings."""
    if len(row) == len(header) or (len(row) > len(header) and not any(row[len(header) :])):
        return
    raise DpdmError(
        f"row {number} has {len(row)} cells where the header has {len(header)}.",
        "Correct the row; a cell with a separator in it needs quotation marks.",
    )


def _decode_text_file(path: Path) -> str:
    """Decode a file as Unicode, else as Latin-1, which spreadsheets write."""
    data = read_bytes(path)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    if b"\0" in data:
        raise DpdmError("it is neither text nor NetCDF.", "Save it as CSV.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")
