"""What the numbers say, in a sentence a variable, and how they are written."""

import math
from collections.abc import Sequence

from dpdm.evaluate.metrics import REFERENCE, Row
from dpdm.evaluate.table import digits
from dpdm.fields.variables import KNOWN
from dpdm.report.parts import Part

TESTED = ("better", "worse", "no different")
CALIBRATED = (0.9, 1.1)  # spread-skill ratios that are called so
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"


def conclusion(name: str, rows: Sequence[Row], months: Sequence[Part], method: str) -> str:
    """Say in one sentence how the forecast of a variable does."""
    found = {row["method"]: row for row in rows}
    row, lerp = found[method], found.get(REFERENCE)
    unit, places = units(row["units"]), digits(rows)
    said = f"{called(name)}: the {method} has an RMSE of {number(row['rmse'], places)} {unit}"
    if lerp is not None:
        said += f" where lerp has {number(lerp['rmse'], places)} {unit}"
        said += f": {tested(row)}{in_months(months)}"
    else:
        said += f" and a bias of {number(row['bias'], places)} {unit}"
    return f"{said}{outdone(rows, row, unit)}{calibrated(rows[-1])}."


def outdone(rows: Sequence[Row], row: Row, unit: str) -> str:
    """Name the method with the least RMSE, where it is another.

    Example:
        >>> rows = [{"method": "lerp", "rmse": 0.5}, {"method": "forecast", "rmse": 1.0}]
        >>> outdone(rows, rows[1], "K")
        '; lerp has the least, 0.50 K'
    """
    least = min((other for other in rows if "rmse" in other), key=lambda other: other["rmse"])
    if not least["rmse"] < row["rmse"]:
        return ""
    return f"; {least['method']} has the least, {number(least['rmse'], digits(rows))} {unit}"


def tested(row: Row) -> str:
    """Say how a method stands to lerp.

    Example:
        >>> tested({"rmse_ratio_low": 0.8, "rmse_ratio_high": 0.91, "verdict": "better than lerp"})
        'better than lerp (ratio 0.80 to 0.91)'
    """
    low, high = row["rmse_ratio_low"], row["rmse_ratio_high"]
    ends = "" if math.isnan(low) else f" (ratio {low:.2f} to {high:.2f})"
    return f"{row['verdict']}{ends}"


def in_months(months: Sequence[Part]) -> str:
    """Say in how many of the months that were tested the forecast is better, or worse, than lerp.

    Example:
        >>> in_months([])
        ''
    """
    words = [month.word for month in months if month.word in TESTED]
    if not words:
        return ""
    better, worse = words.count("better"), words.count("worse")
    also = f" and worse in {worse}" if worse else ""
    times = "month" if len(words) == 1 else "months"
    return f", and better in {better} of {len(words)} {times} taken alone{also}"


def calibrated(row: Row) -> str:
    """Say whether members spread as much as their mean errs."""
    ratio = row.get("ssr")
    if ratio is None or math.isnan(ratio):
        return ""
    low, high = CALIBRATED
    word = "too little" if ratio < low else "too much" if ratio > high else "as much as they err"
    return f"; its members spread {word} (spread-skill ratio {ratio:.2f})"


def called(name: str) -> str:
    """Return a variable in words, with its name.

    Example:
        >>> called("tp"), called("hail")
        ('Precipitation (tp)', 'hail')
    """
    known = KNOWN.get(name)
    return f"{known.long_name.capitalize()} ({name})" if known else name


def units(text: str) -> str:
    """Return a unit as it is printed.

    Example:
        >>> units("mm day-1"), units("W m**-2"), units("1")
        ('mm day⁻¹', 'W m⁻²', '')
    """
    words = ["" if word == "1" else _raised(word) for word in text.replace("**", "").split()]
    return " ".join(word for word in words if word)


def _raised(word: str) -> str:
    base = word.rstrip("0123456789").removesuffix("-")
    return base + word[len(base) :].translate(SUPERSCRIPT) if base.isalpha() else word


def number(value: float | None, places: int) -> str:
    """Return a number with so many decimals and a true minus, a dash for none.

    Example:
        >>> number(-0.0312, 2) == MINUS + "0.03", number(float("nan"), 2) == DASH
        (True, True)
    """
    if value is None or not math.isfinite(value):
        return DASH
    return f"{round(value, places) + 0.0:.{places}f}".replace("-", MINUS)
