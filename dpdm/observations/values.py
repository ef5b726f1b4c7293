"""Convert the values and errors of observations to canonical units.

The median of a field shows whether its unit is plausible, but a table may mix units row by row. So
each value is compared with the limits of its variable: beyond them, it is a missing-value code, a
value in another unit, which is refused, or an impossible one, which is marked.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.level_names import PA_PER_HPA, Level
from dpdm.fields.plausibility import (
    DOUBTFUL_CODES,
    MIN_FILL_VALUE,
    MIN_PRECIPITATION,
    MISSING_VALUE_CODES,
    PLAUSIBLE_RANGES,
)
from dpdm.fields.units import from_canonical, parse_unit, scale_factor
from dpdm.fields.variables import LEVEL_VARIABLES, OBSERVED_VARIABLES, Variable
from dpdm.observations.columns import (
    IDENTITY_OPERATORS,
    OPERATOR_UNITS,
    SAME_UNIT_OPERATORS,
    row_operators,
    row_variables,
)
from dpdm.observations.faults import Faults
from dpdm.observations.sounder import SounderChannels
from dpdm.observations.status import ObsStatus, is_usable, mark_status

Array = NDArray[np.float64]
MAX_ERRORS_BEYOND_LIMITS = (
    5.0  # stated errors by which a value may exceed the limits, as in dry cells
)


# Standard error where none is stated: a constant, and a share of the value.
USUAL_ERRORS = {
    "t2m": (1.0, 0.0), "tp": (0.3, 0.2), "sp": (100.0, 0.0), "msl": (100.0, 0.0),
    "u10": (1.0, 0.0), "v10": (1.0, 0.0), "t": (1.0, 0.0), "u": (2.0, 0.0), "v": (2.0, 0.0),
    "q": (1e-4, 0.1), "r": (10.0, 0.0), "gh": (15.0, 0.0), "z": (150.0, 0.0),
    "tb": (np.nan, 0.0), "rlut": (30.0, 0.0),
}  # fmt: skip


def convert_to_canonical_units(table: pd.DataFrame, faults: Faults) -> None:
    """Convert values and errors to canonical units, by variable and unit, in place.

    Values of operators of other packages are not converted. Units that do not fit and values as
    in another unit are faults.
    """
    operator = row_operators(table)
    identity = operator.isin(IDENTITY_OPERATORS)
    for column in ("value", "error"):
        table[column] = table[column].mask(is_missing_code(table[column].to_numpy()))
    meaning = row_variables(table)
    units = table.loc[identity & (meaning != ""), ["units", "error_units"]]
    keys = [meaning, "units", "error_units", table["time"].isna()]
    for (name, unit, of_error, _), rows in units.groupby(keys).groups.items():
        with faults.catch():
            _convert_rows(table, rows, OBSERVED_VARIABLES[name], unit, of_error or unit, faults)
    others = operator.isin((*SAME_UNIT_OPERATORS, *OPERATOR_UNITS)) & (meaning != "")
    units = table.loc[others, ["units"]]
    for (name, unit, of), rows in units.groupby([meaning, "units", operator]).groups.items():
        to = OPERATOR_UNITS.get(of, OBSERVED_VARIABLES[name].units)
        with faults.catch():
            _scale_rows(table, rows, of, unit, to)
    mark_status(table, table["value"].isna(), ObsStatus.MISSING)


def _scale_rows(table: pd.DataFrame, rows: pd.Index, operator: str, unit: str, to: str) -> None:
    """Scale the values of an operator to its unit, in place; zero stays zero."""
    if not unit and to != "1":
        raise DpdmError(f"{operator} has no units.", f"Add a units column, for example with {to}.")
    scale = scale_factor(unit or to, to)
    if scale is None:
        raise DpdmError(
            f"'{unit}', the unit of {operator}, cannot be converted to {to}.", "Correct the unit."
        )
    table.loc[rows, ["value", "error"]] *= scale
    table.loc[rows, "units"] = to


def _convert_rows(
    table: pd.DataFrame,
    rows: pd.Index,
    variable: Variable,
    unit: str,
    of_error: str,
    faults: Faults,
) -> None:
    """Convert rows of one variable and unit, in place; an error is a difference."""
    _check_observation_unit(variable, unit)
    raw, time = table.loc[rows, "value"], table.loc[rows, "time"]
    limits, usual, _ = PLAUSIBLE_RANGES[variable.name]
    value = _values_to_canonical(raw, variable, unit, time)
    error = table.loc[rows, "error"] * _unit_scale_and_offset(variable, of_error, time)[0]
    slack = MAX_ERRORS_BEYOND_LIMITS * error.fillna(0.0).clip(lower=0.0)
    unusual = (value < usual[0] - slack) | (value > usual[1] + slack)
    absurd = (value < limits[0] - slack) | (value > limits[1] + slack)
    missing = unusual & raw.isin(DOUBTFUL_CODES)
    _check_mixed_units(table.loc[rows], value[absurd & ~missing], variable, unit, faults)
    table.loc[rows[absurd & ~missing], "status"] = ObsStatus.IMPOSSIBLE.value
    if variable.name == "tp":
        value = value.mask(value.between(MIN_PRECIPITATION, 0.0), 0.0)
    values = {"value": value.mask(missing), "error": error, "units": variable.units}
    table.loc[rows, list(values)] = pd.DataFrame(values, rows)


def _values_to_canonical(
    values: pd.Series, variable: Variable, unit: str, time: pd.Series
) -> pd.Series:
    scale, offset = _unit_scale_and_offset(variable, unit, time)
    return values * scale + offset


def _unit_scale_and_offset(variable: Variable, unit: str, time: pd.Series) -> tuple[Array, float]:
    """Return scale and offset of a unit; the length of a month is that of each row."""
    dated = time.notna().all() and time.dtype.kind in "MO"
    coords = {"time": ("time", time.to_numpy())} if dated else {}
    ones = xr.DataArray(np.ones(len(time)), coords, ("time",), variable.name)
    if variable is LEVEL_VARIABLES.get(variable.name):  # on any of its levels
        level = Level(variable.name, 500 * PA_PER_HPA, "Pa")
        ones = ones.rename(level.name).assign_attrs(level.attributes)
    ones.attrs["source_units"] = unit
    slope = from_canonical(ones, difference=True).values
    zero = from_canonical(xr.zeros_like(ones)).values
    return 1.0 / slope, float(-zero[0] / slope[0])


def _check_observation_unit(variable: Variable, unit: str) -> None:
    """Refuse a missing unit, and an amount of precipitation without a period."""
    if not unit:
        raise DpdmError(
            f"{variable.name} has no units.",
            f"Add a units column, write {variable.name} [UNIT] in the header, or use --obs-units "
            f"{variable.name}=UNIT.",
        )
    parsed = parse_unit(unit)
    if variable.name == "tp" and any(parsed.is_compatible_with(u) for u in ("mm", "kg m-2")):
        raise DpdmError(
            f"tp is in '{unit}', an amount, and the period in which it fell is unknown.",
            f"If it is per day, write {unit}/day; per month, {unit}/month.",
        )


def _check_mixed_units(
    rows: pd.DataFrame, absurd: pd.Series, variable: Variable, unit: str, faults: Faults
) -> None:
    """Refuse values that are impossible in their unit and usual in another one."""
    _, (low, high), units = PLAUSIBLE_RANGES[variable.name]
    suspects = rows.loc[absurd.index]
    for other in units:
        if suspects.empty:
            return
        again = _values_to_canonical(suspects["value"], variable, other, suspects["time"])
        found = suspects[(again >= low) & (again <= high)]
        faults.add(
            found["row"],
            lambda i, of=found, to=other: (  # type: ignore[misc]
                f"{variable.name} is {of['value'].iloc[i]:g} when its unit is '{unit}', as if it "
                f"were in {to}; the file may mix units."
            ),
            f"Give each row its unit in a units column, or use --obs-units {variable.name}="
            f"{other} if all are.",
        )
        suspects = suspects.drop(found.index)


def is_missing_code(values: Array) -> NDArray[np.bool_]:
    """Tell which numbers are missing-value codes."""
    return np.isin(values, MISSING_VALUE_CODES) | (np.abs(values) >= MIN_FILL_VALUE)


def assign_errors(
    table: pd.DataFrame,
    errors: Mapping[str, float],
    channels: SounderChannels | None,
    faults: Faults,
) -> None:
    """Fill the missing errors of usable rows, and refuse errors that are not positive.

    ``usual_error`` marks the rows that have neither an error of their own nor one of the user.
    """
    open_rows = is_usable(table)
    meaning = row_variables(table)
    bare = open_rows & table["error"].isna()
    table["usual_error"] = bare & ~table["variable"].isin(errors) & ~meaning.isin(errors)
    columns = [name for name in ("row", "variable", "operator") if name in table]
    _check_operators(table.loc[bare, columns], meaning[bare], faults)
    names = table.loc[bare, ["variable"]]
    for (name, known), rows in names.groupby(["variable", meaning[bare]]).groups.items():
        with faults.catch():
            table.loc[rows, "error"] = _usual_error(
                str(name), known, table.loc[rows], errors, channels
            )
    wrong = table.loc[open_rows & (table["error"] <= 0), ["row", "variable", "error"]]
    faults.add(
        wrong["row"],
        lambda i: f"the error of {wrong['variable'].iloc[i]} is {wrong['error'].iloc[i]:g}.",
        "Give a standard deviation above 0, or leave the cell empty for the usual one.",
    )


def _check_operators(bare: pd.DataFrame, meaning: pd.Series, faults: Faults) -> None:
    """Refuse rows of operators, which have no usual error, without an error."""
    rows = bare[~row_operators(bare).isin(IDENTITY_OPERATORS) & meaning.isin(USUAL_ERRORS)]
    faults.add(
        rows["row"],
        lambda i: f"the {rows['operator'].iloc[i]} of {rows['variable'].iloc[i]} has no error.",
        "Add a column of errors, in the unit of the values.",
    )


def _usual_error(
    name: str,
    known: str,
    rows: pd.DataFrame,
    errors: Mapping[str, float],
    channels: SounderChannels | None,
) -> pd.Series:
    """Return the user's standard deviation of a variable, or the usual one."""
    for stated in (name, known):
        if stated in errors:
            return pd.Series(float(errors[stated]), rows.index)
    if known == "tb":
        return _channel_errors(rows, channels)
    if known not in USUAL_ERRORS:
        raise DpdmError(
            f"{name} has no error.", f"Use --error {name}=STD, or add a column of errors."
        )
    error, share = USUAL_ERRORS[known]
    return error + share * rows["value"].abs()


def _channel_errors(rows: pd.DataFrame, channels: SounderChannels | None) -> pd.Series:
    """Return the errors in the file of channels."""
    names = rows["channel"] if "channel" in rows else pd.Series("", rows.index)
    known = (
        {n: channels.error[channels.channel_index(n)] for n in names.unique()} if channels else {}
    )
    error = names.map(known).astype(float)
    if error.isna().any():
        raise DpdmError(
            f"tb of channel {names[error.isna()].iloc[0]} has no error.",
            "Use --error tb=STD, add a column of errors, or give a file with errors: --channels.",
        )
    return error
