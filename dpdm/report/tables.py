"""Make the tables and the conclusions of a report as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dpdm.evaluate.metrics import REFERENCE, Metric, Row, column_metrics, method_label
from dpdm.evaluate.table import format_cell, join_in_sentence, rmse_decimals
from dpdm.fields.variables import SURFACE_VARIABLES
from dpdm.report.accumulate import (
    HIGH_QUANTILE,
    SINGLE_LABEL,
    TRUTH_LABEL,
    PartScores,
    VariableSums,
    shorten_verdict,
)

TEST_OUTCOMES = ("better", "worse", "no different")
CALIBRATED_RANGE = (0.9, 1.1)  # spread-skill ratios of a calibrated ensemble
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"


def write_conclusion(
    name: str, rows: Sequence[Row], months: Sequence[PartScores], method: str
) -> str:
    """Return the conclusion on a method's forecast of a variable in one sentence."""
    by_method = {row["method"]: row for row in rows}
    row, lerp = by_method[method], by_method.get(REFERENCE)
    unit, places = format_unit(row["units"]), rmse_decimals(rows)
    sentence = (
        f"{describe_variable(name)}: the {method} has an RMSE of "
        f"{format_decimal(row['rmse'], places)} {unit}"
    )
    if lerp is not None:
        sentence += (
            f", bilinear interpolation one of {format_decimal(lerp['rmse'], places)} {unit}"
        )
        sentence += f": {describe_test(row)}{count_tested_months(months)}"
    else:
        sentence += f" and a bias of {format_decimal(row['bias'], places)} {unit}"
    return f"{sentence}{name_best_method(rows, row, unit)}{describe_calibration(rows[-1])}."


def name_best_method(rows: Sequence[Row], row: Row, unit: str) -> str:
    """Name the method with the smallest RMSE, if another.

    Example:
        >>> rows = [{"method": "lerp", "rmse": 0.5}, {"method": "forecast", "rmse": 1.0}]
        >>> name_best_method(rows, rows[1], "K")
        '; bilinear has the smallest, 0.50 K'
    """
    least = min((other for other in rows if "rmse" in other), key=lambda other: other["rmse"])
    if not least["rmse"] < row["rmse"]:
        return ""
    return (
        f"; {method_label(least['method'])} has the smallest, "
        f"{format_decimal(least['rmse'], rmse_decimals(rows))} {unit}"
    )


def describe_test(row: Row) -> str:
    """Describe the test of a method against bilinear interpolation.

    Example:
        >>> row = {"rmse_ratio_low": 0.8, "rmse_ratio_high": 0.91, "verdict": "better"}
        >>> describe_test(row)
        'better (ratio 0.80 to 0.91)'
    """
    low, high = row["rmse_ratio_low"], row["rmse_ratio_high"]
    ends = "" if math.isnan(low) else f" (ratio {low:.2f} to {high:.2f})"
    return f"{row['verdict']}{ends}"


def count_tested_months(months: Sequence[PartScores]) -> str:
    """Count the tested months in which the forecast is better, or worse, than bilinear.

    Example:
        >>> count_tested_months([])
        ''
    """
    words = [month.short_verdict for month in months if month.short_verdict in TEST_OUTCOMES]
    if not words:
        return ""
    better, worse = words.count("better"), words.count("worse")
    also = f" and worse in {worse}" if worse else ""
    times = "month" if len(words) == 1 else "months"
    return f", and better in {better} of {len(words)} {times} taken alone{also}"


def describe_calibration(row: Row) -> str:
    """Describe the spread of an ensemble relative to the error of its mean."""
    ratio = row.get("ssr")
    if ratio is None or math.isnan(ratio):
        return ""
    low, high = CALIBRATED_RANGE
    word = "too small" if ratio < low else "too large" if ratio > high else "calibrated"
    return f"; its ensemble spread is {word} (spread-skill ratio {ratio:.2f})"


def describe_variable(name: str) -> str:
    """Return the long name of a variable with its short name.

    Example:
        >>> describe_variable("tp"), describe_variable("hail")
        ('Precipitation (tp)', 'hail')
    """
    known = SURFACE_VARIABLES.get(name)
    return f"{known.long_name.capitalize()} ({name})" if known else name


def format_unit(text: str) -> str:
    """Format a unit with superscripts.

    Example:
        >>> format_unit("mm day-1"), format_unit("W m**-2"), format_unit("1")
        ('mm day⁻¹', 'W m⁻²', '')
    """
    words = [
        "" if word == "1" else _format_exponent(word) for word in text.replace("**", "").split()
    ]
    return " ".join(word for word in words if word)


def _format_exponent(word: str) -> str:
    base = word.rstrip("0123456789").removesuffix("-")
    return base + word[len(base) :].translate(SUPERSCRIPT) if base.isalpha() else word


def format_decimal(value: float | None, places: int) -> str:
    """Format a number with a fixed number of decimals and a minus sign, a dash without one.

    Example:
        >>> format_decimal(-0.0312, 2) == MINUS + "0.03", format_decimal(float("nan"), 2) == DASH
        (True, True)
    """
    if value is None or not math.isfinite(value):
        return DASH
    return f"{round(value, places) + 0.0:.{places}f}".replace("-", MINUS)


REPORT_QUANTILES = (0.001, 0.01, 0.05, 0.5, 0.95, 0.99, 0.999)
TOP_TIMES = 5  # times with the highest means
HIGHEST_WORDS = {"tp": "wettest", "t2m": "warmest"}


@dataclass(frozen=True)
class ReportTable:
    """A table of text.

    Attributes:
        caption: A sentence on the contents.
        head: Names of the columns.
        rows: Entries of each row, of which the first is its name.
    """

    caption: str
    head: list[str]
    rows: list[list[str]]


def scores_table(rows: Sequence[Row], title: str) -> ReportTable:
    """Return the scores of all methods over all times, without empty columns."""
    tests = [str(row.get("verdict", "-")) for row in rows]
    return columns_table(
        rows, column_metrics(), f"{title}: over all times and cells", {"against bilinear": tests}
    )


def columns_table(
    rows: Sequence[Row],
    metrics: Sequence[Metric],
    caption: str,
    further: Mapping[str, Sequence[str]] = {},
) -> ReportTable:
    """Return the columns that have a value in some row, and what is in the variable's unit."""
    decimals = rmse_decimals(rows)
    columns = [("method", [method_label(row["method"]) for row in rows])]
    columns += [
        (metric.label or metric.column, [format_cell(row, metric, decimals) for row in rows])
        for metric in metrics
    ]
    filled = [
        (head, texts)
        for head, texts in [*columns, *further.items()]
        if any(text != "-" for text in texts)
    ]
    lines = [
        [name, *(_format_entry(text) for text in line)]
        for name, *line in zip(*(texts for _, texts in filled), strict=True)
    ]
    heads = [head for head, _ in filled]
    return ReportTable(caption + name_units(rows, metrics, heads), heads, lines)


def name_units(rows: Sequence[Row], metrics: Sequence[Metric], heads: Sequence[str]) -> str:
    """Return a clause on the columns that are in the unit of the variable."""
    names = [metric.label or metric.column for metric in metrics if not metric.unit]
    in_unit = [name for name in dict.fromkeys(names) if name in heads]
    unit = format_unit(rows[-1]["units"]) or "parts of one"
    return f"; {join_in_sentence(in_unit)} in {unit}" if in_unit else ""


def conclude_jointly(title: str, rows: Sequence[Row]) -> str:
    """Return the conclusion on the joint scores of the last method in one sentence.

    Example:
        >>> rows = [{"method": "ensemble of 9", "energy_score": 0.5, "energy_score_ratio": 0.4}]
        >>> conclude_jointly("Jointly", rows)
        'Jointly: the ensemble of 9 has an energy score of 0.500, 0.40 times that of bilinear.'
    """
    row = rows[-1]
    ratio = row.get("energy_score_ratio")
    than = "" if ratio is None else f", {format_decimal(ratio, 2)} times that of bilinear"
    score = format_decimal(row.get("energy_score"), 3)
    return f"{title}: the {row['method']} has an energy score of {score}{than}."


def _format_entry(text: str) -> str:
    """Format an entry of a text table with a minus sign, a dash or a short verdict."""
    if text == "-":
        return DASH
    if text[:1] == "-":
        return f"{MINUS}{text[1:]}"
    return shorten_verdict(text)


def parts_table(
    parts: Sequence[PartScores], caption: str, key: str, size: str, places: int, ensemble: str
) -> ReportTable:
    """Return the scores of months or classes, a row each."""
    methods = list(parts[0].rows)
    tested = any(part.short_verdict for part in parts)
    head = [
        key,
        size,
        *(f"RMSE of {method_label(method)}" for method in methods),
        f"bias of {methods[-1]}",
    ]
    head += ["CRPS of bilinear"] if tested else []
    head += [f"CRPS of {ensemble or methods[-1]}"]
    ranges = any(math.isfinite(part.ratio[1]) for part in parts)
    head += ["RMSE/bilinear", *["95% range"] * ranges, "against bilinear"] if tested else []
    rows = []
    for part in parts:
        extent = f"{100 * part.size:.1f}%" if size == "area" else f"{part.size:g}"
        lerp = [part.rows[REFERENCE]["crps"]] if tested else []
        errors = (row["rmse"] for row in part.rows.values())
        values = [*errors, part.forecast["bias"], *lerp, part.members["crps"]]
        row = [part.label, extent, *(format_decimal(value, places) for value in values)]
        rows.append(row + (format_ratio(part, ranges) if tested else []))
    return ReportTable(caption, head, rows)


def format_ratio(part: PartScores, ranges: bool) -> list[str]:
    """Return the RMSE ratio of a part, its interval if there is a column, and its verdict."""
    ratio, low, high = (format_decimal(value, 2) for value in part.ratio)
    ends = DASH if low == DASH else f"{low}-{high}"
    return [ratio, *[ends] * ranges, part.short_verdict or DASH]


def quantiles_table(
    title: str, quantiles: Mapping[str, Sequence[float]], places: int
) -> ReportTable:
    """Return quantiles over all cells and times, by method."""
    rows = [
        [f"{100 * share:g}%", *(format_decimal(own[i], places) for own in quantiles.values())]
        for i, share in enumerate(REPORT_QUANTILES)
    ]
    return ReportTable(
        f"{title}: quantiles over times and cells, by area",
        ["quantile", *map(method_label, quantiles)],
        rows,
    )


def order_methods(sums: VariableSums) -> list[str]:
    """Return the methods with distributions, the truth first and single members last."""
    last = (
        [SINGLE_LABEL]
        if SINGLE_LABEL in sums.bin_weights and SINGLE_LABEL not in sums.methods
        else []
    )
    return [TRUTH_LABEL, *sums.methods, *last]


def highest_times_table(
    name: str, title: str, sums: VariableSums, times: Sequence[str], places: int
) -> ReportTable:
    """Return the times with the highest means of the truth, and their extremes."""
    means = np.array([mean[TRUTH_LABEL] for mean in sums.mean])
    order = [int(step) for step in np.argsort(-means) if np.isfinite(means[step])][:TOP_TIMES]
    methods = order_methods(sums)
    head = [
        "time",
        "mean of truth",
        *(f"{100 * HIGH_QUANTILE:g}% of {method_label(method)}" for method in methods),
    ]
    rows = [
        [times[step], format_decimal(means[step], places),
         *(format_decimal(sums.high[step][method], places) for method in methods)]
        for step in order
    ]  # fmt: skip
    word = HIGHEST_WORDS.get(name, "highest")
    caption = f"{title}: the {word} times, and the value that 1% of the area exceeds"
    return ReportTable(caption, head, rows)
