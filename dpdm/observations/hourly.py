"""Know the hourly files of NOAA: the Integrated Surface Database and GHCNh.

ISD (global hourly, CSV) writes temperature and pressure as whole tenths with a quality code,
``TMP`` "+0123,1" for 12.3 degC, +9999 for none. Codes 2, 3, 6 and 7 mark suspect and erroneous
values. GHCNh (``.psv``) has columns of degC, hPa and mm of the past hour, each with a
``_Quality_Code``; 0, 1, 4, 5, 9 or nothing mark values that passed. Wind, dew point and amounts of
other periods are not used.

References:
    NCEI, Federal Climate Complex data documentation for Integrated Surface Data, 2018.
    NCEI, Global Historical Climatology Network hourly, documentation, 2024.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from dpdm.fields.variables import normalise_heading
from dpdm.observations.text_table import TextColumn, TextTable

ISD_COLUMNS = {"tmp": "degC", "slp": "hPa"}
ISD_WRONG = frozenset("2367")
GHCNH_UNITS = {
    "temperature": "degC", "precipitation": "mm/hour", "sea_level_pressure": "hPa",
    "station_level_pressure": "hPa",
}  # fmt: skip
GHCNH_PASSED = frozenset(("", "0", "1", "4", "5", "9"))
QUALITY = "_quality_code"
_ISD_CELL = re.compile(r"([+-]?\d{4,5}),([0-9A-Z])")


def decode_hourly(table: TextTable) -> TextTable:
    """Return a table with plain numbers and units; other tables are returned unchanged."""
    names = [normalise_heading(heading) for heading in table.headings]
    if f"temperature{QUALITY}" in names:
        columns = [_decode_ghcnh(table, names, i) for i in range(len(names))]
    elif any(_is_isd(table.columns[i]) for i, name in enumerate(names) if name in ISD_COLUMNS):
        columns = [_decode_isd(c, n) for c, n in zip(table.columns, names, strict=True)]
    else:
        return table
    return replace(table, columns=columns)


def _is_isd(column: TextColumn) -> bool:
    return bool(column.words) and all(_ISD_CELL.fullmatch(w) for w in column.words if w)


def _decode_isd(column: TextColumn, name: str) -> TextColumn:
    """Return a column in its unit, with the rows that are flagged."""
    if name == "elevation":
        return replace(column, unit="m")
    if name not in ISD_COLUMNS or not _is_isd(column):
        return column
    pairs = [_ISD_CELL.fullmatch(word) for word in column.words]
    words = [_tenths(pair[1]) if pair else "" for pair in pairs]
    wrong = np.array([bool(pair and pair[2] in ISD_WRONG) for pair in pairs], bool)
    flagged = wrong[column.codes] if len(wrong) else None
    return replace(column, unit=ISD_COLUMNS[name], words=words, flagged=flagged)


def _tenths(digits: str) -> str:
    """Return whole tenths as a number, empty where they are all nines.

    Example:
        >>> _tenths("+0123"), _tenths("-0005"), _tenths("+9999")
        ('12.3', '-0.5', '')
    """
    return "" if set(digits.lstrip("+-")) == {"9"} else str(int(digits) / 10)


def _decode_ghcnh(table: TextTable, names: list[str], at: int) -> TextColumn:
    """Return a column with its unit, and the rows that are flagged."""
    column, name = table.columns[at], names[at]
    if name == "elevation":
        return replace(column, unit="m")
    if name not in GHCNH_UNITS:
        return column
    column = replace(column, unit=column.unit or GHCNH_UNITS[name])
    if f"{name}{QUALITY}" not in names:
        return column
    quality = table.columns[names.index(f"{name}{QUALITY}")]
    wrong = quality.map(lambda word: word not in GHCNH_PASSED, bool)
    given = column.map(bool, bool)
    return replace(column, flagged=wrong & given)
