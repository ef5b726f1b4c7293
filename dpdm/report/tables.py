"""The tables of a report, as text: a caption, a head, and rows that begin with their name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dpdm.evaluate.metrics import REFERENCE, Row, columns
from dpdm.evaluate.table import cell, digits
from dpdm.report.gather import HIGH, SINGLE, TRUTH, Kept
from dpdm.report.parts import Part, worded
from dpdm.report.words import DASH, MINUS, number, units

QUANTILES = (0.001, 0.01, 0.05, 0.5, 0.95, 0.99, 0.999)
TOP = 5  # times with the highest means
HIGHEST = {"tp": "wettest", "t2m": "warmest"}


@dataclass(frozen=True)
class Tabulated:
    """Hold a table.

    Attributes:
        caption: What it shows, a sentence.
        head: The names of the columns; the first is that of the rows' names.
        rows: Text.
    """

    caption: str
    head: list[str]
    rows: list[list[str]]


def scores(rows: Sequence[Row], title: str) -> Tabulated:
    """Return the scores of all methods over all times; columns that are empty are left out."""
    decimals = digits(rows)
    unit = units(rows[0]["units"]) or "parts of one"
    shown = columns()
    head = [metric.label or metric.column for metric in shown]
    body = [[row["method"], *(cell(row, metric, decimals) for metric in shown),
             str(row.get("verdict", "-"))] for row in rows]  # fmt: skip
    table = [["method", *head, "against lerp"], *body]
    kept = [col for col in zip(*table, strict=True) if any(text != "-" for text in col[1:])]
    first, *rest = (list(line) for line in zip(*kept, strict=True))
    printed = [[line[0], *(_printed(text) for text in line[1:])] for line in rest]
    inside = [metric.column for metric in shown if not metric.unit and metric.column in first]
    said = f"{title}: over all times and cells; {listed(inside)} in {unit}"
    return Tabulated(said, first, printed)


def listed(words: Sequence[str]) -> str:
    """Return words as a list in a sentence.

    Example:
        >>> listed(["RMSE", "bias", "CRPS"])
        'RMSE, bias and CRPS'
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _printed(text: str) -> str:
    """Return an entry of a text table with true minus, dash and a verdict that is short."""
    if text == "-":
        return DASH
    if text[:1] == "-":
        return f"{MINUS}{text[1:]}"
    return worded(text)


def parts(
    found: Sequence[Part], caption: str, first: str, size: str, places: int, several: str
) -> Tabulated:
    """Return the scores of months or classes, a row each; `several` names the members together."""
    methods = list(found[0].rows)
    whole = several or methods[-1]
    tested = any(part.word for part in found)
    head = [first, size, *(f"RMSE of {method}" for method in methods), f"bias of {methods[-1]}"]
    head += ["CRPS of lerp"] if tested else []
    head += [f"CRPS of {whole}"]
    head += ["RMSE/lerp", "95% range", "against lerp"] if tested else []
    rows = []
    for part in found:
        many = f"{100 * part.size:.1f}%" if size == "area" else f"{part.size:g}"
        lerp = [part.rows[REFERENCE]["crps"]] if tested else []
        errors = (row["rmse"] for row in part.rows.values())
        values = [*errors, part.forecast["bias"], *lerp, part.members["crps"]]
        row = [part.label, many, *(number(value, places) for value in values)]
        rows.append(row + (compared(part) if tested else []))
    return Tabulated(caption, head, rows)


def compared(part: Part) -> list[str]:
    """Return a part's ratio to lerp, its interval and its verdict."""
    ratio, low, high = (number(value, 2) for value in part.ratio)
    ends = DASH if low == DASH else f"{low}-{high}"
    return [ratio, ends, part.word or DASH]


def quantiles(
    title: str, kept: Kept, quantile_of: Mapping[str, Sequence[float]], places: int
) -> Tabulated:
    """Return quantiles over all cells and times, of the truth and of what is compared."""
    methods = ordered(kept)
    rows = [
        [f"{100 * share:g}%", *(number(quantile_of[m][place], places) for m in methods)]
        for place, share in enumerate(QUANTILES)
    ]
    return Tabulated(
        f"{title}: quantiles over times and cells, by area", ["quantile", *methods], rows
    )


def ordered(kept: Kept) -> list[str]:
    """Return the methods whose values are known, the truth first and single members last."""
    last = [SINGLE] if SINGLE in kept.mass and SINGLE not in kept.methods else []
    return [TRUTH, *kept.methods, *last]


def wettest(name: str, title: str, kept: Kept, times: Sequence[str], places: int) -> Tabulated:
    """Return the times with the truth's highest means, and the extremes that they have."""
    means = np.array([mean[TRUTH] for mean in kept.mean])
    order = [int(step) for step in np.argsort(-means) if np.isfinite(means[step])][:TOP]
    methods = ordered(kept)
    head = ["time", "mean of truth", *(f"{100 * HIGH:g}% of {method}" for method in methods)]
    rows = [
        [times[step], number(means[step], places),
         *(number(kept.high[step][method], places) for method in methods)]
        for step in order
    ]  # fmt: skip
    word = HIGHEST.get(name, "highest")
    caption = f"{title}: the {word} times, and the value that 1% of the area exceeds"
    return Tabulated(caption, head, rows)
