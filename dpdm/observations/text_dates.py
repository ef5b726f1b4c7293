"""Read the times of a table: one column, a date and a clock, or year, month, day and hour."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.date_formats import MISSING_WORDS, parse_times
from dpdm.observations.columns import DATE_PARTS, find_date_parts
from dpdm.observations.faults import Faults
from dpdm.observations.text_table import TextColumn

MONTH_NAMES = {
    "jan": "1", "feb": "2", "mar": "3", "apr": "4", "may": "5", "jun": "6", "jul": "7", "aug": "8",
    "sep": "9", "oct": "10", "nov": "11", "dec": "12",
}  # fmt: skip
_MONTH = re.compile(r"\d{4}[-/.]?\d{1,2}")
_WHOLE = re.compile(r"(\d+)\.0*")  # a whole number as spreadsheets write it


def read_time_column(
    columns: Sequence[TextColumn], at: Mapping[str, int], names: list[str]
) -> tuple[TextColumn | None, list[int]]:
    """Return the column of times, and the indices of the columns that it was joined from."""
    parts = find_date_parts(names)
    if {"date", "time"} <= set(names):
        used = [names.index("date"), names.index("time")]
        return join_columns([columns[i] for i in used], _join_clock), used
    if "time" in at:
        return columns[at["time"]], [at["time"]]
    if {"year", "month"} <= parts.keys():
        used = [parts[part] for part in DATE_PARTS if part in parts]
        return join_columns([columns[i] for i in used], _join_parts), used
    if "month" in parts:  # of dates as 1950-01
        return columns[parts["month"]], [parts["month"]]
    if "year" in parts:
        raise DpdmError(
            "there is a column year and none of months.",
            "Write dates as 2012-07, or add a column month.",
        )
    return None, []


def join_columns(columns: Sequence[TextColumn], join: Any) -> TextColumn:
    """Return a column of cells that are joined from those of several columns."""
    codes = np.zeros(len(columns[0].codes), dtype=np.int64)
    for column in columns:
        codes = codes * max(len(column.words), 1) + column.codes
        codes = np.unique(codes, return_inverse=True)[1]  # not beyond 64 bits
    _, first = np.unique(codes, return_index=True)
    words = [join([c.words[c.codes[row]] for c in columns]) for row in first]
    return TextColumn(columns[0].heading, "", words, codes.astype(np.int32))


def _join_clock(cells: list[str]) -> str:
    return "T".join(cells).strip("T")


def _join_parts(cells: list[str]) -> str:
    """Return a date from year, month, and perhaps day, hour and minute."""
    parts = [_WHOLE.sub(r"\1", cell) for cell in cells]
    if any(part.lower() in MISSING_WORDS for part in parts[:2]):
        return ""
    parts[1] = MONTH_NAMES.get(parts[1][:3].lower(), parts[1])
    date, clock = "-".join(parts[:3]), [part.zfill(2) for part in parts[3:]]
    return f"{date}T{':'.join(clock)}" if clock else date


def stamps_are_months(column: TextColumn | None) -> bool:
    """Tell whether all dates of a column are months, as 1950-01 or 195001."""
    known = [w for w in column.words if w.lower() not in MISSING_WORDS] if column else []
    return bool(known) and all(_MONTH.fullmatch(_WHOLE.sub(r"\1", word)) for word in known)


def parse_column_times(
    column: TextColumn | None, lines: NDArray[np.int64], faults: Faults
) -> NDArray[Any]:
    """Return the dates or numbers of a column; see `parse_times`."""
    if column is None or not column.words:
        return np.full(len(lines), np.datetime64("NaT", "ns"))
    words = [_WHOLE.sub(r"\1", w) if len(w) > 6 else w for w in column.words]
    try:
        return parse_times(words)[column.codes]
    except DpdmError as fault:
        bad = _unreadable_words(words)
        if not bad:
            raise
        rows = np.flatnonzero(np.isin(column.codes, list(bad)))
        what = [bad[code] for code in column.codes[rows]]
        faults.add(lines[rows], lambda i: what[i], fault.hint)
        rest = ["" if i in bad else word for i, word in enumerate(words)]
        return parse_times(rest)[column.codes]


def _unreadable_words(words: list[str]) -> dict[int, str]:
    """Return what is wrong with each word that is no date by itself, by its index."""
    bad = {}
    dated = any(re.search(r"\d[-/]\d", word) for word in words)
    for i, word in enumerate(words):
        try:
            found = parse_times([word]).dtype.kind if word.lower() not in MISSING_WORDS else "M"
        except DpdmError as fault:
            bad[i] = fault.what
        else:
            if found == "f" and dated:
                bad[i] = f"'{word}' is not a date that can be read."
    return bad
