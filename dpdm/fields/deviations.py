"""How far observations may be off, where their file does not say."""

from collections.abc import Mapping

import numpy as np
import pandas as pd  # type: ignore[import-untyped]

from dpdm.errors import DpdmError
from dpdm.fields.channels import Channels
from dpdm.fields.status import is_usable
from dpdm.fields.values import ERRORS, KEEPING, meanings, operators


def assign_errors(
    table: pd.DataFrame, errors: Mapping[str, float], channels: Channels | None
) -> None:
    """Complete the errors of usable rows, and refuse those that are not positive."""
    open_rows = is_usable(table)
    meaning = meanings(table)
    bare = open_rows & table["error"].isna()
    _check_operators(table[bare], meaning[bare])
    for (name, known), rows in table[bare].groupby(["variable", meaning[bare]]).groups.items():
        table.loc[rows, "error"] = _usual_error(
            str(name), known, table.loc[rows], errors, channels
        )
    wrong = np.flatnonzero(open_rows & (table["error"] <= 0))
    if wrong.size:
        row = table.iloc[wrong[0]]
        raise DpdmError(
            f"row {row['row']}: the error of {row['variable']} is {row['error']:g}.",
            "Give a standard deviation above 0, or leave the cell empty for the usual one.",
        )


def _check_operators(bare: pd.DataFrame, meaning: pd.Series) -> None:
    """Refuse rows without an error of which no usual one is known: an operator made them."""
    made = bare[~operators(bare).isin(KEEPING) & meaning.isin(ERRORS)]
    if len(made):
        row = made.iloc[0]
        raise DpdmError(
            f"row {row['row']}: the {row['operator']} of {row['variable']} has no error.",
            "Add a column of errors, in the unit of the values.",
        )


def _usual_error(
    name: str,
    known: str,
    rows: pd.DataFrame,
    errors: Mapping[str, float],
    channels: Channels | None,
) -> pd.Series:
    """Return the user's standard deviation of a variable, or that of the table above."""
    for stated in (name, known):
        if stated in errors:
            return pd.Series(float(errors[stated]), rows.index)
    if known == "tb":
        return _error_of_channels(rows, channels)
    if known not in ERRORS:
        raise DpdmError(
            f"{name} has no error.", f"Say --error {name}=STD, or add a column of errors."
        )
    error, share = ERRORS[known]
    return error + share * rows["value"].abs()


def _error_of_channels(rows: pd.DataFrame, channels: Channels | None) -> pd.Series:
    """Return the errors that the file of channels states."""
    names = rows["channel"] if "channel" in rows else pd.Series("", rows.index)
    known = {n: channels.error[channels.number(n)] for n in names.unique()} if channels else {}
    error = names.map(known).astype(float)
    if error.isna().any():
        raise DpdmError(
            f"tb of channel {names[error.isna()].iloc[0]} has no error.",
            "Say --error tb=STD, add a column of errors, or give a file with errors: --channels.",
        )
    return error
