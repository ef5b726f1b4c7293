"""Read tables of text: any usual separator, decimal sign, encoding; a row of units; gzip.

Of each column every different cell is stored, and parsed, once: of 600,000 rows of stations and
months the dates differ 1,800 times, and the latitudes 600 times.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from io import BytesIO, TextIOWrapper
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.csv_cells import unguard_formula
from dpdm.fields.date_formats import MISSING_WORDS
from dpdm.observations.faults import Faults
from dpdm.system import check_required_memory, damaged_file_error, read_bytes

OBSERVATION_COLUMNS_HINT = (
    "Its first line must name time, lat, lon, and variable, value and units, or variables with "
    "their units, as t2m [degC]; --obs-var t2m=NAME names a variable's column."
)
SEPARATORS = ",;\t|"
MAX_COLUMN_COUNT = 10_000  # columns
MAX_UNPACKED = 1 << 30  # bytes of a compressed file
CHUNK = 500  # rows, fewer than make Python look for garbage
GZIP_SIGNATURE = b"\x1f\x8b"
Strings = NDArray[Any]


@dataclass(frozen=True)
class TextColumn:
    """A column of text, each of its different cells stored once.

    Attributes:
        heading: The name, without unit.
        unit: The unit in the heading or in the row of units; empty for none.
        words: The different cells, stripped.
        codes: The index of each row's cell among them.
        flagged: The rows that the file itself marks as wrong, or None.
    """

    heading: str
    unit: str
    words: list[str]
    codes: NDArray[np.int32]
    flagged: NDArray[np.bool_] | None = None

    def map(self, convert: Callable[[str], Any], dtype: Any = object) -> NDArray[Any]:
        """Return the values of the cells, each different one converted once."""
        values = np.empty(len(self.words), dtype=dtype)
        for i, word in enumerate(self.words):
            values[i] = convert(word)
        return values[self.codes] if len(self.words) else np.empty(0, dtype)

    def text(self) -> Strings:
        """Return the cells as text, empty where there is none."""
        return self.map(lambda w: "" if w.lower() in MISSING_WORDS else unguard_formula(w))

    def numbers(self, lines: NDArray[np.int64], faults: Faults, comma: bool) -> NDArray[Any]:
        """Return the cells as numbers, NaN where there is none; other words are faults."""
        values, wrong = self.parse_numbers(comma)
        rows = np.flatnonzero(wrong[self.codes])
        faults.add(
            lines[rows],
            lambda i: f"{self.label} is '{self.words[self.codes[rows[i]]]}', not a number.",
            "Write a number, or leave the cell empty.",
        )
        return values[self.codes]

    def parse_numbers(self, comma: bool) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the number of each different cell, and whether it is a word instead."""
        values, wrong = np.full(len(self.words), np.nan), np.zeros(len(self.words), bool)
        for i, word in enumerate(self.words):
            try:
                values[i] = float(word.replace(",", ".") if comma else word)
            except ValueError:
                wrong[i] = word.lower() not in MISSING_WORDS
            if "_" in word:  # a number in Python only
                values[i], wrong[i] = np.nan, True
        return values, wrong

    @property
    def label(self) -> str:
        """Return the heading with its unit."""
        return f"{self.heading} [{self.unit}]" if self.unit else self.heading


@dataclass(frozen=True)
class TextTable:
    """A table of text.

    Attributes:
        columns: Its columns.
        lines: The line of the file that each row begins on, from 1.
        comma: Whether numbers have decimal commas.
    """

    columns: list[TextColumn]
    lines: NDArray[np.int64]
    comma: bool = False

    @property
    def headings(self) -> list[str]:
        """Return the names of the columns, without units."""
        return [column.heading for column in self.columns]

    def numbers(self, at: int, faults: Faults) -> NDArray[Any]:
        """Return the numbers of a column."""
        return self.columns[at].numbers(self.lines, faults, self.comma)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.lines)


class _Numbers(dict[str, int]):
    """The number of each different word, in order of appearance."""

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        return number


@dataclass
class _Builder:
    """Columns under construction, of which every different cell is stored once."""

    width: int
    index: list[_Numbers] = field(init=False)
    codes: list[list[NDArray[np.int32]]] = field(init=False)
    lines: list[int] = field(default_factory=list)
    wrong_widths: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.index = [_Numbers() for _ in range(self.width)]
        self.codes = [[] for _ in range(self.width)]

    def add(self, records: list[tuple[int, list[str]]]) -> None:
        """Add records, and note those of another width; empty cells beyond it do not count."""
        rows = []
        for line, row in records:
            if len(row) != self.width:
                if len(row) < self.width or any(row[self.width :]):
                    self.wrong_widths[line] = len(row)
                    continue
                row = row[: self.width]  # noqa: PLW2901
            rows.append(row)
            self.lines.append(line)
        columns = zip(*rows, strict=True)  # none without rows
        for index, codes, cells in zip(self.index, self.codes, columns, strict=False):
            codes.append(np.fromiter(map(index.__getitem__, cells), np.int32, len(cells)))

    def column(self, at: int, heading: str, unit: str) -> TextColumn:
        """Return a finished column."""
        codes = np.concatenate(self.codes[at] or [np.empty(0, np.int32)])
        return TextColumn(heading, unit, [word.strip() for word in self.index[at]], codes)


def read_text_table(path: Path, faults: Faults) -> TextTable:
    """Read a table whose first line names the columns; rows of another width are faults.

    Blank lines are skipped, and so are comments, which begin with #.
    """
    records, mark = _open_records(path)
    _, header = next(records)
    if len(header) > MAX_COLUMN_COUNT:
        what = f"its header has {len(header)} columns."
        raise DpdmError(what, f"Give up to {MAX_COLUMN_COUNT}.")
    builder = _Builder(len(header))
    while chunk := list(islice(records, CHUNK)):
        builder.add(chunk)
    wrong = list(builder.wrong_widths.items())
    faults.add(
        [line for line, _ in wrong],
        lambda i: f"there are {wrong[i][1]} cells where the header has {len(header)}.",
        "Correct the row; a cell with a separator in it needs quotation marks.",
    )
    columns = [builder.column(i, *split_heading(cell)) for i, cell in enumerate(header)]
    return TextTable(columns, np.array(builder.lines, np.int64), mark == ";")


def drop_first_row(table: TextTable, units: list[str]) -> TextTable:
    """Return a table without its first row, which gave the units of columns without one."""
    columns = []
    for column, unit in zip(table.columns, units, strict=True):
        left = np.unique(column.codes[1:])
        at = np.zeros(len(column.words), np.int32)
        at[left] = np.arange(len(left))
        words = [column.words[i] for i in left]
        codes = at[column.codes[1:]]
        columns.append(replace(column, unit=column.unit or unit, words=words, codes=codes))
    return replace(table, columns=columns, lines=table.lines[1:])


_HEADING = re.compile(r"^(.*?)\s*[\[(]([^\])]*)[\])]\s*$", re.DOTALL)


def split_heading(column: str) -> tuple[str, str]:
    """Split a heading into name and unit.

    Example:
        >>> split_heading("t2m [degC]"), split_heading("tp (mm/month)"), split_heading("lat")
        (('t2m', 'degC'), ('tp', 'mm/month'), ('lat', ''))
    """
    found = _HEADING.match(column)
    return (found[1].strip(), found[2].strip()) if found else (column.strip(), "")


def _open_records(path: Path) -> tuple[Iterator[tuple[int, list[str]]], str]:
    """Return the records of a file with the lines that they begin on, and the separator."""
    lines = iter(_decode_text(unpack(path)))
    skipped, first = 0, ""
    for first in lines:
        if not _is_skipped(first):
            break
        skipped += 1
    else:
        raise DpdmError("it is empty.", OBSERVATION_COLUMNS_HINT)
    mark = max(SEPARATORS, key=first.count)
    return _read_records(chain([first], lines), skipped, mark), mark


def _is_skipped(line: str) -> bool:
    """Tell whether a line before the header is blank or a comment."""
    return not line.strip(" \t\r\n" + SEPARATORS) or line.lstrip().startswith("#")


def _read_records(lines: Iterator[str], before: int, mark: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines, delimiter=mark, skipinitialspace=True)
    start = before + 1
    try:
        for row in reader:
            line, start = start, before + reader.line_num + 1
            if row and not _is_blank(row):
                yield line, row
    except csv.Error as fault:  # a quotation mark that is never closed
        raise DpdmError(
            f"it is not a table ({fault}).", "Look for a stray quotation mark."
        ) from fault


def _is_blank(row: list[str]) -> bool:
    """Tell whether a row has no cell but a comment."""
    if row[0][:1].isalnum():  # nearly all rows
        return False
    return not any(map(str.strip, row[1:])) and row[0].lstrip()[:1] in ("", "#")


def unpack(path: Path) -> bytes:
    """Return the bytes of a file, unpacked if it is compressed by gzip."""
    data = read_bytes(path)
    if not data.startswith(GZIP_SIGNATURE):
        return data
    try:
        with gzip.GzipFile(fileobj=BytesIO(data)) as stream:
            data = stream.read(MAX_UNPACKED + 1)
    except (OSError, EOFError, zlib.error) as fault:
        raise damaged_file_error(path, fault) from fault
    if len(data) > MAX_UNPACKED:
        raise DpdmError(f"unpacked it is above {MAX_UNPACKED >> 30} GiB.", "Split it.")
    check_required_memory(20 * len(data), f"Reading {path} takes", "Split it.", share=0.8)
    return data


def first_bytes(path: Path) -> bytes:
    """Return the first bytes of a file, unpacked if it is compressed by gzip."""
    with path.open("rb") as stream:
        head = stream.read(1 << 16)
    if not head.startswith(GZIP_SIGNATURE):
        return head[:200]
    try:
        return zlib.decompressobj(wbits=31).decompress(head, 200)
    except zlib.error:
        return b""  # refused when it is read


def _decode_text(data: bytes) -> TextIOWrapper:
    """Return the lines of a file as Unicode, else as Latin-1, which spreadsheets write."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return TextIOWrapper(BytesIO(data), "utf-16", "replace", newline="")
    if b"\0" in data:
        raise DpdmError("it is neither text nor NetCDF.", "Save it as CSV.")
    try:
        data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return TextIOWrapper(BytesIO(data), "latin-1", newline="")
    return TextIOWrapper(BytesIO(data), "utf-8-sig", newline="")
