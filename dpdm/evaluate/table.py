"""Format scores as JSON or as aligned text."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any

from dpdm.evaluate.metrics import INDICES, JOINT_SECTION, Metric, Row, column_metrics, method_label

RANK_BINS = 11  # bins of a rank histogram in text


@dataclass
class Section:
    """A part of a table that has scores of its own: joint scores, or climate indices.

    Attributes:
        rows: As of a table; joint ones have ``variables``.
        columns: The scores that have a column.
        notes: Sentences on how the scores were computed.
        is_printed: Whether the text has the section; the JSON and the report always do.
    """

    rows: list[Row] = field(default_factory=list)
    columns: list[Metric] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_printed: bool = False


@dataclass
class Table:
    """A table of scores.

    Attributes:
        rows: One for each variable and method, with ``variable``, ``units``, ``method`` and the
            scores; a score that a method does not have is absent or None.
        notes: Sentences on how the scores were computed.
        means: Rows of variables on levels with the means over their levels.
        sections: Further scores, by the name of the section.
    """

    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    means: list[Row] = field(default_factory=list)
    sections: dict[str, Section] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return all rows and notes as JSON, with null for numbers that are not finite."""
        parts = {"rows": self.rows, "means": self.means}
        parts |= {name: section.rows for name, section in self.sections.items()}
        content = {name: finite_or_none(rows) for name, rows in parts.items() if rows}
        content = {"rows": [], **content, "notes": self.all_notes()}
        return json.dumps(content, indent=1, allow_nan=False)

    def all_notes(self, printed: bool = False) -> list[str]:
        """Return the notes of the table and its sections, or of those that are printed."""
        own = [s.notes for s in self.sections.values() if s.is_printed or not printed]
        return [*self.notes, *(note for notes in own for note in notes)]

    def text(self) -> str:
        """Return an aligned table for each variable and section, followed by the notes."""
        blocks = [
            format_block(name, list(rows))
            for part in (self.rows, self.means)
            for name, rows in groupby(part, lambda r: r["variable"])
        ]
        if self.is_printed(INDICES):
            blocks += [
                format_scores(f"{name} [{rows[0]['units']}], climate indices", rows, columns)
                for name, rows, columns in self.index_blocks()
            ]
        if self.is_printed(JOINT_SECTION):
            section = self.sections[JOINT_SECTION]
            heading = f"{join_in_sentence(section.rows[0]['variables'])}, jointly"
            blocks.append(format_scores(heading, section.rows, section.columns))
        notes = "\n".join(f"- {note}" for note in self.all_notes(printed=True))
        return "\n\n".join([*blocks, notes]).rstrip()

    def is_printed(self, name: str) -> bool:
        """Return whether a section is part of the text."""
        section = self.sections.get(name)
        return section is not None and section.is_printed and bool(section.rows)

    def index_blocks(self) -> list[tuple[str, list[Row], list[Metric]]]:
        """Return the variables, with their rows of indices and distances, and the columns."""
        section = self.sections[INDICES]
        scores = {(row["variable"], row["method"]): row for row in self.rows}
        columns = [*column_metrics(INDICES), *section.columns]
        return [
            (name, [scores.get((name, row["method"]), {}) | row for row in rows], columns)
            for name, rows in groupby(section.rows, lambda r: r["variable"])
        ]


def join_in_sentence(words: Sequence[str]) -> str:
    """Join words as a list in a sentence.

    Example:
        >>> join_in_sentence(["RMSE", "bias", "CRPS"])
        'RMSE, bias and CRPS'
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def finite_or_none(value: Any) -> Any:
    """Return a value, or None for a number that is not finite, also within lists and rows."""
    if isinstance(value, dict):
        return {key: finite_or_none(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [finite_or_none(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def format_block(name: str, rows: Sequence[Row]) -> str:
    """Return the lines of one variable."""
    levels = f", mean of {rows[0]['levels']} levels" if "levels" in rows[0] else ""
    heading = f"{name} [{rows[0]['units']}]{levels}"
    return "\n".join([format_scores(heading, rows, column_metrics()), *score_remarks(rows)])


def format_scores(heading: str, rows: Sequence[Row], metrics: Sequence[Metric]) -> str:
    """Return a heading, and the columns that have a value in some row."""
    decimals = rmse_decimals(rows)
    cells = [
        [method_label(row["method"]), *(format_cell(row, metric, decimals) for metric in metrics)]
        for row in rows
    ]
    table = [["method", *(metric.column for metric in metrics)], *cells]
    filled = [column for column in zip(*table, strict=True) if any(c != "-" for c in column[1:])]
    head, *body = ("  ".join(line) for line in zip(*map(align_column, filled), strict=True))
    return "\n".join([heading, head, "-" * len(head), *body])


def align_column(column: Sequence[str]) -> list[str]:
    """Pad the entries of a column to one width, numbers on the right."""
    width = max(map(len, column))
    left = column[0] == "method"
    return [entry.ljust(width) if left else entry.rjust(width) for entry in column]


def rmse_decimals(rows: Sequence[Row]) -> int:
    """Return the decimals that give the largest RMSE three significant digits."""
    largest = max((row.get("rmse") or 0.0 for row in rows), default=0.0)
    return min(9, max(0, 2 - math.floor(math.log10(largest)))) if largest > 0 else 2


def format_cell(row: Row, metric: Metric, decimals: int) -> str:
    """Return one entry as text, a dash if it has no value."""
    if metric.text is not None:
        return metric.text(row)
    value = finite_or_none(row.get(metric.name))
    if value is None:
        return "-"
    places = decimals if metric.digits is None else metric.digits
    return f"{round(value, places) + 0.0:.{places}f}"  # + 0.0 removes the sign of a zero


def score_remarks(rows: Sequence[Row]) -> list[str]:
    """Return sentences on the test of the last method and on the ensemble."""
    lines = [
        f"{method_label(row['method'])}: {row['verdict']}." for row in rows if "verdict" in row
    ][-1:]
    for row in rows:
        if "rank_histogram" in row:
            histogram = " ".join(
                f"{share:.1f}" for share in relative_histogram(row["rank_histogram"])
            )
            ratio = finite_or_none(row.get("ssr"))
            ssr = "" if ratio is None else f"spread-skill ratio {ratio:.2f} (1 is calibrated); "
            lines.append(f"{row['method']}: {ssr}rank histogram {histogram} (1 is flat).")
    return lines


def relative_histogram(histogram: Sequence[float]) -> list[float]:
    """Return a rank histogram relative to a uniform one, in at most 11 bins.

    Example:
        >>> relative_histogram([0.5, 0.25, 0.25])
        [1.5, 0.75, 0.75]
    """
    count = len(histogram)
    bins = min(RANK_BINS, count)
    ends = [round(i * count / bins) for i in range(bins + 1)]
    return [sum(histogram[a:b]) * count / (b - a) for a, b in pairwise(ends)]
