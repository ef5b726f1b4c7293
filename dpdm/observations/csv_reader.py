"""Read observations from CSV files with any usual separator, decimal sign, encoding and header.

Files have one observation a line (columns `variable` and `value`), or one column a variable. Both
become a *raw table* of one observation a row, with the file's names and units. A second line may
give the units. Hourly files of NOAA's ISD and GHCNh are known (`hourly`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.date_formats import MISSING_WORDS, is_number
from dpdm.fields.units import parse_unit
from dpdm.fields.variables import SURFACE_VARIABLES, normalise_heading
from dpdm.observations.columns import (
    ERROR_SUFFIX,
    LENGTH_COLUMNS,
    NUMERIC_COLUMNS,
    TIME_COLUMNS,
    ObservationOptions,
    check_unique_columns,
    find_text_columns,
    split_unit_suffix,
)
from dpdm.observations.faults import Faults
from dpdm.observations.hourly import decode_hourly
from dpdm.observations.layout import ColumnMeaning, FileLayout
from dpdm.observations.status import ObsStatus
from dpdm.observations.text_dates import parse_column_times, read_time_column, stamps_are_months
from dpdm.observations.text_table import (
    OBSERVATION_COLUMNS_HINT,
    TextTable,
    drop_first_row,
    read_text_table,
)

AMOUNTS = ("mm", "kg m-2")


@dataclass
class Sheet:
    """A table of text whose columns have their meaning.

    Attributes:
        text: The table.
        names: Its headings, normalised, without units.
        at: The index of each role's column.
        options: The user's options.
        faults: Where faults are collected.
        layout: What the columns were taken for.
    """

    text: TextTable
    names: list[str]
    at: dict[str, int]
    options: ObservationOptions
    faults: Faults
    layout: FileLayout = field(default_factory=FileLayout)
    monthly: bool = False

    @property
    def bare(self) -> list[str]:
        """Return the headings without units."""
        return self.text.headings

    def numbers(self, at: int) -> NDArray[Any]:
        """Return the numbers of a column."""
        return self.text.numbers(at, self.faults)

    def unit(self, old: str, written: str) -> str:
        """Return the unit of a variable; amounts of whole months are per month."""
        unit = self.options.unit(old, written)
        if self.monthly and self.options.name(old) == "tp" and _is_amount(unit):
            note = f"{old} is in {unit}, and its times are months: {unit}/month is taken."
            if note not in self.layout.notes:
                self.layout.notes.append(note)
            return f"{unit}/month"
        return unit

    def found(self, at: int, meaning: str, unit: str = "") -> None:
        """Note what a column was taken for."""
        self.layout.columns.append(ColumnMeaning(self.bare[at], meaning, unit))


def read_csv_observations(
    path: Path, options: ObservationOptions, faults: Faults
) -> tuple[pd.DataFrame, FileLayout]:
    """Read a CSV file as a raw table, and what its columns were taken for."""
    sheet = open_sheet(path, options, faults)
    table = _read_shared_columns(sheet)
    chosen = map(normalise_heading, options.rename.values())
    long = "value" in sheet.at and sheet.names[sheet.at["value"]] not in chosen
    parts = [_read_long_form(sheet, table)] if long else _read_wide_form(sheet, table)
    if not parts:
        raise DpdmError(
            f"no column is a known variable; the columns are {', '.join(sheet.bare)}.",
            OBSERVATION_COLUMNS_HINT,
        )
    sheet.layout.columns.sort(key=lambda column: sheet.bare.index(column.heading))
    used = {column.heading for column in sheet.layout.columns}
    sheet.layout.ignored = [heading for heading in sheet.bare if heading not in used]
    return pd.concat(parts, ignore_index=True), sheet.layout


def open_sheet(path: Path, options: ObservationOptions, faults: Faults) -> Sheet:
    """Return the cells of a file, and which column is what."""
    text = decode_hourly(read_text_table(path, faults))
    text = _split_unit_suffixes(text, options)
    names = [normalise_heading(heading) for heading in text.headings]
    chosen = {role: normalise_heading(name) for role, name in options.rename.items()}
    at = find_text_columns(names, chosen)
    _check_header(text, at)
    sheet = Sheet(text, names, _plane_to_degrees(text, at, options), options, faults)
    if units := _find_units_row(sheet):
        sheet.text = drop_first_row(text, units)
    sheet.layout.source, sheet.layout.rows = path.name, len(sheet.text)
    return sheet


def read_station_positions(path: Path, needed: Sequence[str] = ("lat", "lon")) -> pd.DataFrame:
    """Read the positions of stations: `station`, `lat` and `lon`, without duplicates.

    Stations without names have the numbers of their rows.
    """
    faults = Faults("line")
    with faults.collect():
        sheet = open_sheet(path, ObservationOptions({}, {}, {}), faults)
        at, text = sheet.at, sheet.text
        if lost := [role for role in needed if role not in at]:
            headings = ", ".join(sheet.bare[:6])
            what = f"there is no column {' and no '.join(lost)}; the columns are {headings}."
            raise DpdmError(what, "Its first line must name name, lat and lon.")
        table = pd.DataFrame({role: sheet.numbers(at[role]) for role in ("lat", "lon")})
        bare = [str(row) for row in range(1, len(text) + 1)]
        table.insert(0, "station", text.columns[at["station"]].text() if "station" in at else bare)
        bad = np.flatnonzero(table[["lat", "lon"]].isna().any(axis=1))
        if not faults.count:
            faults.add(
                text.lines[bad], lambda i: "there is no position.", "Give it, or remove the row."
            )
    return table.drop_duplicates(ignore_index=True)


def _check_header(text: TextTable, at: Mapping[str, int]) -> None:
    """Refuse a first line of numbers without usual headings."""
    if not at and any(is_number(heading) for heading in text.headings):
        raise DpdmError(
            f"there is no header: the first line is {', '.join(text.headings[:6])}.",
            OBSERVATION_COLUMNS_HINT,
        )


def _split_unit_suffixes(text: TextTable, options: ObservationOptions) -> TextTable:
    """Split units off headings as elevation_ft, where the user does not name the whole."""
    named = options.named_variables() | options.chosen_file_names()
    pairs = [split_unit_suffix(normalise_heading(heading)) for heading in text.headings]
    columns = [
        replace(column, heading=name, unit=unit)
        if unit and not column.unit and column.heading not in named
        else column
        for column, (name, unit) in zip(text.columns, pairs, strict=True)
    ]
    return replace(text, columns=columns)


def _plane_to_degrees(
    text: TextTable, at: dict[str, int], options: ObservationOptions
) -> dict[str, int]:
    """Take y and x for latitude and longitude in tables of variables of the Earth's surface."""
    if not {"y", "x"} <= at.keys() or {"lat", "lon", "trajectory", "component"} & at.keys():
        return at
    listed = text.columns[at["variable"]].words if "variable" in at else text.headings
    observed = {options.name(word) for word in listed}
    if not observed & SURFACE_VARIABLES.keys() or (
        "variable" in at and observed - SURFACE_VARIABLES.keys()
    ):
        return at
    rest = {role: index for role, index in at.items() if role not in ("y", "x")}
    return rest | {"lat": at["y"], "lon": at["x"]}


def _find_units_row(sheet: Sheet) -> list[str]:
    """Return the units in the first row, empty where it is a row of values."""
    columns = sheet.text.columns
    if not len(sheet.text):
        return []
    cells = [column.words[column.codes[0]] for column in columns]
    cells = [
        "" if cell.lower() in MISSING_WORDS - {"m"} else cell.strip("[]() ") for cell in cells
    ]
    expected = {i: "" for role, i in sheet.at.items() if role in (*NUMERIC_COLUMNS, "pressure")}
    has_pressure = "pressure" in sheet.at
    for i, name in enumerate(sheet.bare):
        if sheet.options.includes(name, has_pressure) and i not in expected:
            expected[i] = sheet.options.name(name)
    written = {i: cells[i] for i in expected if cells[i]}
    if not written or not all(_is_unit(unit, expected[i]) for i, unit in written.items()):
        return []
    return [written.get(i, "") for i in range(len(cells))]


def _is_unit(text: str, variable: str) -> bool:
    """Tell whether a cell holds a unit, of a variable if it is known."""
    if is_number(text):
        return False
    if text.lower().startswith(("deg", "°")) and variable not in SURFACE_VARIABLES:
        return True
    try:
        unit = parse_unit(text)
    except DpdmError:
        return False
    known = SURFACE_VARIABLES.get(variable)
    return known is None or _is_amount(text) or unit.is_compatible_with(parse_unit(known.units))


def _is_amount(unit: str) -> bool:
    """Tell whether a unit is that of an amount of water."""
    try:
        parsed = parse_unit(unit)
    except DpdmError:
        return False
    return any(parsed.is_compatible_with(amount) for amount in AMOUNTS)


def _read_long_form(sheet: Sheet, table: pd.DataFrame) -> pd.DataFrame:
    """Read a table of one observation a line."""
    at, columns = sheet.at, sheet.text.columns
    if "variable" not in at:
        raise DpdmError(
            "there is a value column and no variable column.", OBSERVATION_COLUMNS_HINT
        )
    value = columns[at["value"]]
    old = columns[at["variable"]].map(str)
    written = (
        columns[at["units"]].map(str) if "units" in at else np.full(len(old), value.unit, object)
    )
    known = {pair: sheet.unit(*pair) for pair in set(zip(old, written, strict=True))}
    for role in {"variable", "value", "units"} & at.keys():
        sheet.found(at[role], role, value.unit if role == "value" else "")
    return table.assign(
        old=old,
        value=sheet.numbers(at["value"]),
        **_read_error_column(sheet, at.get("error")),
        units=[known[pair] for pair in zip(old, written, strict=True)],
    )


def _read_wide_form(sheet: Sheet, table: pd.DataFrame) -> list[pd.DataFrame]:
    """Read a table of one column a variable, with optional columns of errors.

    With a column of pressures, variables on levels are known too.
    """
    names, options, bare = sheet.names, sheet.options, sheet.bare
    pressure = sheet.at.get("pressure")
    has_pressure = pressure is not None
    taken = {i for role, i in sheet.at.items() if role in ("lat", "lon", "elevation", "pressure")}
    wanted = [
        n for i, n in enumerate(bare) if i not in taken and options.includes(n, has_pressure)
    ]
    check_unique_columns(wanted, options)
    _check_ambiguous_names(wanted if has_pressure else [], options)
    errors = {ERROR_SUFFIX.sub("", n): i for i, n in enumerate(names) if ERROR_SUFFIX.search(n)}
    return [
        _read_variable(sheet, table, i, errors.get(names[i]), has_pressure)
        for i, name in enumerate(bare)
        if name in wanted
    ]


def _read_variable(
    sheet: Sheet, table: pd.DataFrame, at: int, error_at: int | None, has_pressure: bool
) -> pd.DataFrame:
    """Read a column of values, and that of their errors."""
    column = sheet.text.columns[at]
    unit = sheet.unit(column.heading, column.unit)
    sheet.found(at, sheet.options.name(column.heading, has_pressure), unit)
    value = sheet.numbers(at)
    out = table.assign(old=column.heading, value=value, units=unit)
    if column.flagged is not None:
        out["value"] = out["value"].mask(column.flagged)
        out["status"] = np.where(column.flagged, ObsStatus.FLAGGED.value, ObsStatus.USABLE.value)
    return out.assign(**_read_error_column(sheet, error_at))


def _check_ambiguous_names(names: list[str], options: ObservationOptions) -> None:
    """Refuse names that, with a pressure, may be at the surface or on a level."""
    for name in names:
        low, high = options.name(name), options.name(name, has_pressure=True)
        if low in SURFACE_VARIABLES and low != high:
            raise DpdmError(
                f"{name} may be {low}, or {high} at the pressure of its row.",
                f"Choose one: --obs-var {high}={name}, or --obs-var {low}={name}.",
            )


def _read_error_column(sheet: Sheet, at: int | None) -> dict[str, Any]:
    """Read a column of errors and its unit, if there is one."""
    if at is None:
        return {"error": np.nan, "error_units": ""}
    unit = sheet.text.columns[at].unit
    sheet.found(at, "error", unit)
    return {"error": sheet.numbers(at), "error_units": unit}


def _read_shared_columns(sheet: Sheet) -> pd.DataFrame:
    """Read the columns that all observations of a line share: time, position, settings."""
    at, columns = sheet.at, sheet.text.columns
    table = pd.DataFrame({"row": sheet.text.lines})
    time, used = read_time_column(columns, at, sheet.names)
    sheet.monthly = stamps_are_months(time)
    table["time"] = parse_column_times(time, sheet.text.lines, sheet.faults)
    for index in used:
        sheet.found(index, "time")
    if "end" in at:
        table["end"] = parse_column_times(columns[at["end"]], sheet.text.lines, sheet.faults)
    apart = {*TIME_COLUMNS, "variable", "value", "error", "units"}
    for role in (role for role in at if role not in apart):
        table[role] = _read_role(sheet, role)
    for role in {*LENGTH_COLUMNS, "pressure"} & at.keys():
        table.attrs[role] = columns[at[role]].unit
    if "elevation" in at and not columns[at["elevation"]].unit:
        heading = columns[at["elevation"]].heading
        sheet.layout.notes.append(f"{heading} has no unit; heights in metres are assumed.")
    return table


def _read_role(sheet: Sheet, role: str) -> NDArray[Any]:
    """Read the column of a role."""
    at = sheet.at[role]
    column = sheet.text.columns[at]
    unit = column.unit or ("m" if role in LENGTH_COLUMNS else "")
    sheet.found(at, role, unit)
    if role == "pressure":  # of levels, and words for the surface
        return column.parse_numbers(sheet.text.comma)[0][column.codes]
    numeric = role in NUMERIC_COLUMNS or role == "trajectory"
    return sheet.numbers(at) if numeric else column.text()
