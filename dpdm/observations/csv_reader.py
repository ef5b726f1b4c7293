"""Read a table of text: whatever its separator, decimal sign, encoding and header.

One observation a line (columns `variable` and `value`), or one column a variable. What dpdm makes
of either is a *raw table*, long, with the file's own names and units; `observations` goes on.
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
    "their units, as t2m [degC]; --obs-var t2m=NAME says which is which."
)
MAX_COLUMN_COUNT = 10_000  # columns
_HEADING = re.compile(r"^(.*?)\s*[\[(]([^\])]*)[\])]\s*$")


def read_csv_observations(path: Path, asked: ObservationOptions) -> pd.DataFrame:
    """Read a CSV file as a raw table."""
    cells = read_cells(path)
    names = [normalise_heading(_split_heading(column)[0]) for column in cells]
    at = find_columns(names)
    _check_header(list(cells), at)
    long = "value" in at and names[at["value"]] not in map(
        normalise_heading, asked.rename.values()
    )
    table = _read_shared_columns(cells, at, names)
    beside = at.get("pressure")
    parts = (
        [_read_long_form(cells, table, at, asked)]
        if long
        else _read_wide_form(cells, table, names, asked, beside)
    )
    if not parts:
        bare = ", ".join(_split_heading(column)[0] for column in cells)
        raise DpdmError(
            f"no column is a variable that is known; there is {bare}.", OBSERVATION_COLUMNS_HINT
        )
    return pd.concat(parts, ignore_index=True)


def read_station_positions(path: Path, needed: Sequence[str] = ("lat", "lon")) -> pd.DataFrame:
    """Read where stations are: `station`, `lat` and `lon`, each place once, in their order.

    Stations have the numbers of their rows where they have no names and none are needed.
    """
    cells = read_cells(path)
    at = find_columns([normalise_heading(_split_heading(column)[0]) for column in cells])
    if lost := [role for role in needed if role not in at]:
        headings = ", ".join(cells.columns[:6])
        what = f"there is no column {' and no '.join(lost)}; there is {headings}."
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
    """Refuse a first line that has numbers, and none of the usual headings."""
    if not at and any(is_number(column) for column in columns):
        raise DpdmError(
            f"there is no header: the first line is {', '.join(columns[:6])}.",
            OBSERVATION_COLUMNS_HINT,
        )


def _read_long_form(
    cells: pd.DataFrame, table: pd.DataFrame, at: dict[str, int], asked: ObservationOptions
) -> pd.DataFrame:
    """Read the form of one observation a line."""
    if "variable" not in at:
        raise DpdmError("there is a value and no variable column.", OBSERVATION_COLUMNS_HINT)
    unit = _split_heading(cells.columns[at["value"]])[1]
    written = cells.iloc[:, at["units"]] if "units" in at else pd.Series(unit, cells.index)
    old = cells.iloc[:, at["variable"]].str.strip()
    known = {pair: asked.unit(*pair) for pair in set(zip(old, written, strict=True))}
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
    asked: ObservationOptions,
    beside: int | None,
) -> list[pd.DataFrame]:
    """Read the form of one column a variable, each perhaps with a column of errors.

    Beside a column of pressures, variables on levels are known too.
    """
    bare, aloft = [_split_heading(column)[0] for column in cells], beside is not None
    wanted = [n for i, n in enumerate(bare) if i != beside and asked.includes(n, aloft)]
    check_unique_columns(wanted, asked)
    _check_ambiguous_names(wanted if aloft else [], asked)
    errors = {ERROR_SUFFIX.sub("", n): i for i, n in enumerate(names) if ERROR_SUFFIX.search(n)}
    return [
        table.assign(
            old=name,
            value=_parse_number_column(cells, i),
            units=asked.unit(name, _split_heading(cells.columns[i])[1]),
            **_read_error_column(cells, errors.get(names[i])),
        )
        for i, name in enumerate(bare)
        if name in wanted
    ]


def _check_ambiguous_names(names: list[str], asked: ObservationOptions) -> None:
    """Refuse names beside a pressure that may be of the air there, or of that at the surface."""
    for name in names:
        low, high = asked.name(name), asked.name(name, aloft=True)
        if low in SURFACE_VARIABLES and low != high:
            raise DpdmError(
                f"{name} may be {low}, or {high} at the pressure beside it.",
                f"Say which: --obs-var {high}={name}, or --obs-var {low}={name}.",
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
    """Read what the observations of a line share: when and where."""
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
    """Join the columns that together are a time: date and time, or year, month and day."""
    if {"date", "time"} <= set(names):
        date, clock = (cells.iloc[:, names.index(word)] for word in ("date", "time"))
        return list((date + "T" + clock).str.strip("T"))
    if "time" in at:
        return list(cells.iloc[:, at["time"]])
    parts = [cells.iloc[:, names.index(w)] for w in ("year", "month", "day") if w in names]
    if {"year", "month"} <= set(names):
        return ["-".join(words) for words in zip(*parts, strict=True)]
    return [""] * len(cells)


def _parse_number_column(cells: pd.DataFrame, at: int) -> np.ndarray:
    """Read a column of numbers, NaN where there is none."""
    said = _decimal_point_cells(cells, at)
    said = said.mask(said.str.lower().isin(MISSING_WORDS), "nan")
    out: np.ndarray = pd.to_numeric(said, errors="coerce").to_numpy(dtype=float)
    wrong = np.flatnonzero(np.isnan(out) & (said != "nan").to_numpy())
    if wrong.size:
        raise DpdmError(
            f"row {wrong[0] + 1}: {cells.columns[at]} is '{cells.iloc[wrong[0], at]}', not a "
            "number.",
            "Write a number, or leave the cell empty.",
        )
    return out


def _decimal_point_cells(cells: pd.DataFrame, at: int) -> pd.Series:
    """Return a column of cells, numbers with decimal points."""
    said = cells.iloc[:, at].str.strip()
    return said.str.replace(",", ".", regex=False) if cells.attrs["comma"] else said


def _split_heading(column: str) -> tuple[str, str]:
    """Split the unit off a heading."""
    found = _HEADING.match(column)
    return (found[1].strip(), found[2].strip()) if found else (column.strip(), "")


def read_cells(path: Path) -> pd.DataFrame:
    """Read the table as text, one column a heading."""
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
            f"it is no table ({fault}).", "Look for a stray quotation mark."
        ) from fault


def _check_width(row: list[str], header: list[str], number: int) -> None:
    """Refuse a row that has not one cell for each heading, for they would be read shifted."""
    if len(row) == len(header) or (len(row) > len(header) and not any(row[len(header) :])):
        return
    raise DpdmError(
        f"row {number} has {len(row)} cells where the header has {len(header)}.",
        "Mend the row; a cell with a separator in it needs quotation marks.",
    )


def _decode_text_file(path: Path) -> str:
    """Decode a file as Unicode where it is, else as Latin-1, which spreadsheets write."""
    data = read_bytes(path)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    if b"\0" in data:
        raise DpdmError("it is neither text nor NetCDF.", "Save it as CSV.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")
