"""Guard text in CSV files that a spreadsheet would run as a formula."""

from __future__ import annotations

import re

import pandas as pd

FORMULA = re.compile(r"\s*[=+\-@\t\r]")
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
FORMULA_GUARD = re.compile(r"'(?=\s*[=+\-@\t\r])")


def guard_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with an apostrophe before each text that would run as a formula.

    Example:
        >>> table = pd.DataFrame({"station": ["=1+1", "-5", "Ulm"], "t2m": [-1.0, 2.0, 3.0]})
        >>> guard_formulas(table)
          station  t2m
        0   '=1+1 -1.0
        1      -5  2.0
        2     Ulm  3.0
    """
    text = table.select_dtypes(exclude="number").columns
    quoted = {name: table[name].map(_guard_cell) for name in text}
    return table.assign(**quoted).rename(columns=_guard_cell)


def unguard_formula(cell: str) -> str:
    """Return text as it was before `guard_formulas`.

    Example:
        >>> unguard_formula("'=1+1"), unguard_formula("Ulm")
        ('=1+1', 'Ulm')
    """
    return FORMULA_GUARD.sub("", cell, 1)


def _guard_cell(cell: object) -> object:
    if isinstance(cell, str) and FORMULA.match(cell) and not NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell
