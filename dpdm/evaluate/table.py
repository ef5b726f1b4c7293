"""Format scores as JSON or as aligned text."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any

from dpdm.evaluate.metrics import Metric, Row, column_metrics

RANK_BINS = 11  # bins of a rank histogram in text


@dataclass
class Table:
    """A table of scores.

    Attributes:
        rows: One for each variable and method, with ``variable``, ``units``, ``method`` and the
            scores; a score that a method does not have is absent or None.
        notes: Sentences on how the scores were computed.
        means: Rows of variables on levels with the means over their levels.
    """

    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    means: list[Row] = field(default_factory=list)

    def to_json(self) -> str:
        """Return rows, notes and means as JSON, with null for numbers that are not finite."""
        rows, means = (
            [{key: finite_or_none(value) for key, value in row.items()} for row in part]
            for part in (self.rows, self.means)
        )
        content = {"rows": rows, "notes": self.notes} | ({"means": means} if means else {})
        return json.dumps(content, indent=1, allow_nan=False)

    def text(self) -> str:
        """Return an aligned table for each variable, followed by the notes."""
        blocks = [
            format_block(name, list(rows))
            for part in (self.rows, self.means)
            for name, rows in groupby(part, lambda r: r["variable"])
        ]
        return "\n\n".join([*blocks, "\n".join(f"- {note}" for note in self.notes)]).rstrip()


def join_in_sentence(words: Sequence[str]) -> str:
    """Join words as a list in a sentence.

    Example:
        >>> join_in_sentence(["RMSE", "bias", "CRPS"])
        'RMSE, bias and CRPS'
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def finite_or_none(value: Any) -> Any:
    """Return a value, or None for a number that is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def format_block(name: str, rows: Sequence[Row]) -> str:
    """Return the lines of one variable."""
    decimals = rmse_decimals(rows)
    metrics = column_metrics()
    cells = [
        [row["method"], *(format_cell(row, metric, decimals) for metric in metrics)]
        for row in rows
    ]
    table = [["method", *(metric.column for metric in metrics)], *cells]
    filled = [column for column in zip(*table, strict=True) if any(c != "-" for c in column[1:])]
    head, *body = ("  ".join(line) for line in zip(*map(align_column, filled), strict=True))
    levels = f", mean of {rows[0]['levels']} levels" if "levels" in rows[0] else ""
    heading = f"{name} [{rows[0]['units']}]{levels}"
    return "\n".join([heading, head, "-" * len(head), *body, *score_remarks(rows)])


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
    """Return sentences on the test against lerp of the last method and on the ensemble."""
    lines = [f"{row['method']}: {row['verdict']}." for row in rows if "verdict" in row][-1:]
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
