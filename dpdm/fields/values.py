"""What a number in an observation file means: a value in its unit, or a code for none.

Unlike a field, of which the median tells whether its unit can be true, a table may mix units row
by row. So each value is held against what its variable can be: outside, it is a code, or a value
in another unit, which is refused, or an impossible one, which is marked.
"""

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.aloft import HPA, Place
from dpdm.fields.columns import levelled
from dpdm.fields.plausibility import CODES, DOUBTFUL, DRIEST, HUGE, PLAUSIBLE
from dpdm.fields.status import ObsStatus, mark
from dpdm.fields.units import from_canonical, parse
from dpdm.fields.variables import ALOFT, KNOWN, REMOTE, Variable

Array = NDArray[np.float64]
NOISE = 5.0  # stated errors by which a value may lie beyond what is possible, as dry cells do
KEEPING = ("", "point", "mean", "coarse")  # operators whose values are those of the variable
ALIKE = ("speed", "exceedance")  # those in the variable's unit, but counted from zero
SEEN = {
    "log1p": "1", "saturating": "1", "threshold": "1", "direction": "degree",
    "heading_east": "1", "heading_north": "1", "divergence": "s-1", "vorticity": "s-1",
    "saturating_vorticity": "1",
}  # fmt: skip


# Standard error where none is stated, and its part that grows with the value.
ERRORS = {
    "t2m": (1.0, 0.0), "tp": (0.3, 0.2), "sp": (100.0, 0.0), "msl": (100.0, 0.0),
    "u10": (1.0, 0.0), "v10": (1.0, 0.0), "t": (1.0, 0.0), "u": (2.0, 0.0), "v": (2.0, 0.0),
    "q": (1e-4, 0.1), "r": (10.0, 0.0), "gh": (15.0, 0.0), "z": (150.0, 0.0),
    "tb": (np.nan, 0.0), "rlut": (30.0, 0.0),
}  # fmt: skip
MEANT = KNOWN | ALOFT | REMOTE


def convert(table: pd.DataFrame) -> None:
    """Bring values and errors to canonical units, each variable and unit by itself.

    Values that an installed package's operator makes are taken as they stand.
    """
    operator = operators(table)
    kept = operator.isin(KEEPING)
    for column in ("value", "error"):
        table[column] = table[column].mask(coded(table[column].to_numpy()))
    meaning = meanings(table)
    alike = table[kept & (meaning != "")]
    keys = [meaning, "units", "error_units", alike["time"].isna()]
    for (name, unit, of_error, _), rows in alike.groupby(keys).groups.items():
        _convert_rows(table, rows, MEANT[name], unit, of_error or unit)
    others = table[operator.isin((*ALIKE, *SEEN)) & (meaning != "")]
    for (name, unit, of), rows in others.groupby([meaning, "units", operator]).groups.items():
        _scale_rows(table, rows, of, unit, SEEN.get(of, MEANT[name].units))
    mark(table, table["value"].isna(), ObsStatus.MISSING)


def meanings(table: pd.DataFrame) -> pd.Series:
    """Return what each row's variable is, of one on levels the family; empty where unknown."""
    aloft = table["pressure"].notna() if "pressure" in table else pd.Series(False, table.index)
    names = {name: _meaning(name) for name in table["variable"].unique()}
    known = table["variable"].map(names)
    return known.where(~known.isin(ALOFT) | ~table["variable"].isin(ALOFT) | aloft, "")


def _meaning(name: str) -> str:
    """Return what a name means, on levels the family's."""
    place = levelled(name)
    return name if name in MEANT else place.family if place else ""


def operators(table: pd.DataFrame) -> pd.Series:
    """Return the name of each row's operator, empty for values of the variable itself."""
    named = table["operator"] if "operator" in table else pd.Series("", table.index)
    return named.fillna("")


def _scale_rows(table: pd.DataFrame, rows: pd.Index, operator: str, unit: str, to: str) -> None:
    """Bring what an operator makes of a variable to its unit, in place; zero stays zero."""
    if not unit and to != "1":
        raise DpdmError(f"{operator} has no units.", f"Add a units column: it may say {to}.")
    given = parse(unit or to)
    if not given.is_compatible_with(to):
        raise DpdmError(f"'{unit}', the unit of {operator}, does not turn into {to}.", "Mend it.")
    scale = float((1 * given).to(parse(to)).magnitude)
    table.loc[rows, ["value", "error"]] *= scale
    table.loc[rows, "units"] = to


def _convert_rows(
    table: pd.DataFrame, rows: pd.Index, variable: Variable, unit: str, of_error: str
) -> None:
    """Convert rows of one variable and unit in place; an error is a difference."""
    _check_unit(variable, unit)
    raw, time = table.loc[rows, "value"], table.loc[rows, "time"]
    limits, usual, _ = PLAUSIBLE[variable.name]
    value = _canonical(raw, variable, unit, time)
    error = table.loc[rows, "error"] * _line(variable, of_error, time)[0]
    slack = NOISE * error.fillna(0.0).clip(lower=0.0)
    unusual = (value < usual[0] - slack) | (value > usual[1] + slack)
    absurd = (value < limits[0] - slack) | (value > limits[1] + slack)
    missing = unusual & raw.isin(DOUBTFUL)
    _check_mixed(table.loc[rows], value[absurd & ~missing], variable, unit)
    table.loc[rows[absurd & ~missing], "status"] = ObsStatus.IMPOSSIBLE.value
    if variable.name == "tp":
        value = value.mask(value.between(DRIEST, 0.0), 0.0)
    values = {"value": value.mask(missing), "error": error, "units": variable.units}
    table.loc[rows, list(values)] = pd.DataFrame(values, rows)


def _canonical(values: pd.Series, variable: Variable, unit: str, time: pd.Series) -> pd.Series:
    scale, offset = _line(variable, unit, time)
    return values * scale + offset


def _line(variable: Variable, unit: str, time: pd.Series) -> tuple[Array, float]:
    """Return scale and offset of a unit; a month's length is that of each row's own month."""
    dated = time.notna().all() and time.dtype.kind in "MO"
    coords = {"time": ("time", time.to_numpy())} if dated else {}
    ones = xr.DataArray(np.ones(len(time)), coords, ("time",), variable.name)
    if variable is ALOFT.get(variable.name):  # as one of its levels, whichever
        place = Place(variable.name, 500 * HPA, "Pa")
        ones = ones.rename(place.name).assign_attrs(place.stamp)
    ones.attrs["source_units"] = unit
    slope = from_canonical(ones, difference=True).values
    zero = from_canonical(xr.zeros_like(ones)).values
    return 1.0 / slope, float(-zero[0] / slope[0])


def _check_unit(variable: Variable, unit: str) -> None:
    """Refuse a missing unit, and an amount of rain: nobody says over which time it fell."""
    if not unit:
        raise DpdmError(
            f"{variable.name} has no units.",
            f"Add a units column, write {variable.name} [UNIT] in the header, or say --obs-units "
            f"{variable.name}=UNIT.",
        )
    parsed = parse(unit)
    if variable.name == "tp" and any(parsed.is_compatible_with(u) for u in ("mm", "kg m-2")):
        raise DpdmError(
            f"tp is in '{unit}', an amount, and nothing says over which time it fell.",
            f"If it is per day, write {unit}/day; per month, {unit}/month.",
        )


def _check_mixed(rows: pd.DataFrame, absurd: pd.Series, variable: Variable, unit: str) -> None:
    """Refuse values that are absurd in their unit and usual in another one."""
    _, (low, high), units = PLAUSIBLE[variable.name]
    for other in units if len(absurd) else ():
        few = rows.loc[absurd.index]
        again = _canonical(few["value"], variable, other, few["time"])
        for index in again.index[(again >= low) & (again <= high)][:1]:
            row = rows.loc[index]
            raise DpdmError(
                f"row {row['row']}: {variable.name} is {row['value']:g} when its unit is "
                f"'{unit}', as if it were in {other}; the file may mix units.",
                f"Give each row its unit in a units column, or say --obs-units {variable.name}="
                f"{other} if all are.",
            )


def coded(values: Array) -> NDArray[np.bool_]:
    """Tell which numbers are codes for a missing value."""
    return np.isin(values, CODES) | (np.abs(values) >= HUGE)
