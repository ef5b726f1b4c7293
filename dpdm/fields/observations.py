r"""Observations as people have them, made one table in canonical names and units.

A row of the table is one observation :math:`y = A(x) + e`: its value, the standard deviation of
:math:`e`, where and when it was made. A row that cannot be used stays, and its `status` says why:
what is dropped in silence is missed by nobody. `stations.check` goes on from here.

| variable | standard deviation where neither the file nor the user gives one |
|---|---|
| t2m | 1 K |
| tp | 0.3 mm day-1 + 20% of the value |
| sp, msl | 100 Pa |
| u10, v10 | 1 m s-1 |

They stand for instrument and representativeness: what a point says of a cell's mean.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.columns import POSITIONS, Asked
from dpdm.fields.sampling import read_sampling
from dpdm.fields.source import CLASSIC, HDF5
from dpdm.fields.store import naming
from dpdm.fields.text import read_text
from dpdm.fields.units import DRIEST, WETTEST, from_canonical, parse, registry
from dpdm.fields.variables import KNOWN, Variable

Array = NDArray[np.float64]
WHAT = ("source", "row", "variable", "value", "error")
CORE = (*WHAT, "time", "lat", "lon", "elevation", "units", "status")
EXTRA: dict[str, str | float] = dict.fromkeys(("station", "operator", "component"), "")
EXTRA |= dict.fromkeys(("trajectory", "y", "x"), np.nan)
# Codes that are no value of any variable, and those that are codes where the value is absurd.
CODES = (-999.0, -999.9, -999.99, -9999.0, -9999.9, -99999.0, -32768.0, 9999.0)
DOUBTFUL = (-99.0, -99.9, 99.9, 999.0, 999.9, 9999.9, 99999.0, 32767.0)
HUGE = 1e20
KEEPING = ("", "point", "identity", "mean", "coarse")  # operators that keep the variable's unit


class Usual(NamedTuple):
    """Say what values a variable may have, in which units it comes, and how sure it is."""

    low: float
    high: float
    units: tuple[str, ...]
    error: float
    share: float = 0.0


USUAL = {
    "t2m": Usual(180.0, 340.0, ("K", "degC", "degF"), 1.0),
    "tp": Usual(DRIEST, WETTEST, (), 0.3, 0.2),
    "sp": Usual(3e4, 1.2e5, ("Pa", "hPa"), 100.0),
    "msl": Usual(8e4, 1.15e5, ("Pa", "hPa"), 100.0),
    "u10": Usual(-95.0, 95.0, (), 1.0),
    "v10": Usual(-95.0, 95.0, (), 1.0),
}


def read_observations(
    paths: Sequence[Path],
    errors: Mapping[str, float] = {},
    rename: Mapping[str, str] = {},
    units: Mapping[str, str] = {},
) -> pd.DataFrame:
    """Read observations from CSV and NetCDF files into one table.

    Args:
        paths: The files.
        errors: Standard deviations by variable, in canonical units, for observations that have
            none of their own.
        rename: The user's choice of variables, canonical name to name in the file.
        units: The user's word for units, by either name.

    Returns:
        One row an observation. `source` and `row` (from 1) say where it stands; `variable`,
        `value`, `error` and `units` are canonical for variables that dpdm knows; `time` is a
        date, a number or NaT; `lat` and `lon` are degrees, `elevation` metres, NaN where
        unknown; `status` is empty, or why the row is of no use. `station`, `operator`,
        `trajectory`, `component`, `y` and `x` are there where a file has them.

    Raises:
        DpdmError: A file cannot be read without a guess, or an error is not positive.
    """
    if not paths:
        raise DpdmError("No observation file was given.", "Name at least one.")
    asked = Asked(rename, units, errors)
    for name, error in errors.items():
        _check_stated(name, error)
    tables = [_one(Path(path), asked) for path in paths]
    table = pd.concat(tables, ignore_index=True)
    _check_spoken(asked, table)
    table = table.fillna({name: EXTRA[name] for name in EXTRA.keys() & set(table.columns)})
    return table.drop(columns="old")


def _check_stated(name: str, error: float) -> None:
    if not (np.isfinite(error) and error > 0):
        raise DpdmError(f"The error of {name} is {error:g}.", "Give a standard deviation above 0.")


def _check_spoken(asked: Asked, table: pd.DataFrame) -> None:
    """Refuse a word on a variable that no file has: a slip of the pen."""
    seen = {*table["variable"], *table["old"], *asked.chosen()}
    if stray := asked.spoken() - seen:
        raise DpdmError(
            f"{', '.join(sorted(stray))} is named, but no file has it.",
            f"The files have {', '.join(sorted(set(table['variable'])))}.",
        )


def _one(path: Path, asked: Asked) -> pd.DataFrame:
    """Read one file, whatever its format."""
    with naming(path):
        raw = (read_text if _is_text(path) else read_sampling)(path, asked)
        if raw.empty:
            raise DpdmError("it has no observation.", "Add rows.")
        table = _completed(raw, path.name)
        table["variable"] = [asked.name(old) for old in table["old"]]
        table["elevation"] = _metres(table["elevation"], raw.attrs.get("elevation", ""))
        _check_place(table)
        _convert(table)
        _assign_errors(table, asked)
    return table


def _is_text(path: Path) -> bool:
    if not path.exists():
        raise DpdmError("there is no such file.", "Check the name.")
    if path.is_dir():
        return False
    with path.open("rb") as stream:
        head = stream.read(4)
    return head not in (*CLASSIC, HDF5) and not head.startswith(b"GRIB")


def _completed(raw: pd.DataFrame, source: str) -> pd.DataFrame:
    """Give a raw table all columns, in their order."""
    table = raw.assign(source=source, status="", variable="").reset_index(drop=True)
    absent = {name: np.nan for name in ("lat", "lon", "elevation") if name not in table}
    table = table.assign(**absent)
    if "time" not in table:
        table["time"] = np.datetime64("NaT", "ns")
    return table[[*CORE, *(name for name in EXTRA if name in table), "old"]]


def _metres(values: pd.Series, unit: str) -> pd.Series:
    """Convert heights to metres; those without a unit are."""
    values = values.where(~_coded(values.to_numpy()))
    if not unit:
        return values
    scale = registry().Quantity(1.0, parse(unit))
    if not scale.is_compatible_with("m"):
        raise DpdmError(f"elevation is in '{unit}', not a height.", "Give it in m.")
    return values * float(scale.to("m").magnitude)


def _check_place(table: pd.DataFrame) -> None:
    """Refuse impossible coordinates; mark the rows that have none."""
    lat, lon = (table[name].abs().to_numpy() for name in ("lat", "lon"))
    if ((lat > 90) & (lat <= 360) & (lon <= 90)).any():
        raise swapped(f"latitude reaches {lat.max():g}")
    wrong = np.flatnonzero((lat > 90) | (lon > 360))
    if wrong.size:
        row = table.iloc[wrong[0]]
        raise DpdmError(
            f"row {row['row']} lies at latitude {row['lat']:g}, longitude {row['lon']:g}.",
            "Give degrees: latitude -90 to 90, longitude -180 to 360.",
        )
    placed = [table[list(w)].notna().all(axis=1) for w in POSITIONS if set(w) <= set(table)]
    table.loc[~np.logical_or.reduce(placed), "status"] = "no position"


def swapped(evidence: str) -> DpdmError:
    """Say that someone took latitude for longitude."""
    return DpdmError(
        f"{evidence}: latitude and longitude look swapped.", "Exchange the two columns' names."
    )


def _convert(table: pd.DataFrame) -> None:
    """Bring values and errors to canonical units, each variable and unit by itself."""
    operator = table["operator"] if "operator" in table else pd.Series("", table.index)
    kept = operator.fillna("").isin(KEEPING)
    coded = _coded(table["value"].to_numpy())
    table.loc[coded, "value"] = np.nan
    table.loc[_coded(table["error"].to_numpy()), "error"] = np.nan
    for (name, unit), rows in table[kept].groupby(["variable", "units"]).groups.items():
        if name in KNOWN:
            _convert_rows(table, rows, KNOWN[name], unit)
    table.loc[table["value"].isna() & (table["status"] == ""), "status"] = "missing"


def _convert_rows(table: pd.DataFrame, rows: pd.Index, variable: Variable, unit: str) -> None:
    """Convert the rows of one variable and unit in place."""
    if not unit:
        raise DpdmError(
            f"{variable.name} has no units.",
            f"Add a units column, write {variable.name} [UNIT] in the header, or say --units "
            f"{variable.name}={variable.units}.",
        )
    _check_rate(variable, unit)
    raw, usual = table.loc[rows, "value"], USUAL[variable.name]
    scale, offset = _line(variable, unit, table.loc[rows, "time"])
    value = raw * scale + offset
    absurd = (value < usual.low) | (value > usual.high)
    missing = absurd & raw.isin(DOUBTFUL)
    _check_mixed(table.loc[rows], value[absurd & ~missing], variable, unit)
    table.loc[rows[absurd & ~missing], "status"] = "impossible value"
    value = value.clip(lower=0).where(~absurd, value) if variable.name == "tp" else value
    table.loc[rows, "value"] = value.mask(missing)
    table.loc[rows, "error"] *= scale
    table.loc[rows, "units"] = variable.units


def _line(variable: Variable, unit: str, time: pd.Series) -> tuple[Array, float]:
    """Return scale and offset of a unit; a month's length is that of each row's own month."""
    dated = time.notna().all() and time.dtype.kind in "MO"
    coords = {"time": ("time", time.to_numpy())} if dated else {}
    ones = xr.DataArray(np.ones(len(time)), coords, ("time",), variable.name)
    ones.attrs["source_units"] = unit
    slope = from_canonical(ones, difference=True).values
    zero = from_canonical(xr.zeros_like(ones)).values
    return 1.0 / slope, float(-zero[0] / slope[0])


def _check_rate(variable: Variable, unit: str) -> None:
    """Refuse an amount of rain: nobody says over which time it fell."""
    parsed = parse(unit)
    if variable.name == "tp" and any(parsed.is_compatible_with(u) for u in ("mm", "kg m-2")):
        raise DpdmError(
            f"tp is in '{unit}', an amount, and nothing says over which time it fell.",
            f"If it is per day, write {unit}/day; per month, {unit}/month.",
        )


def _check_mixed(rows: pd.DataFrame, absurd: pd.Series, variable: Variable, unit: str) -> None:
    """Refuse values that are absurd in their unit and usual in another one."""
    usual = USUAL[variable.name]
    for other in usual.units if len(absurd) else ():
        scale, offset = _line(variable, other, rows["time"].loc[absurd.index])
        again = rows["value"].loc[absurd.index] * scale + offset
        for index in again.index[(again >= usual.low) & (again <= usual.high)][:1]:
            row = rows.loc[index]
            raise DpdmError(
                f"row {row['row']}: {variable.name} is {row['value']:g} when its unit is "
                f"'{unit}', as if it were in {other}; the file may mix units.",
                f"Give each row its unit in a units column, or say --units {variable.name}="
                f"{other} if all are.",
            )


def _coded(values: Array) -> NDArray[np.bool_]:
    """Tell which numbers are codes for a missing value."""
    return np.isin(values, CODES) | (np.abs(values) >= HUGE)


def _assign_errors(table: pd.DataFrame, asked: Asked) -> None:
    """Complete the errors of usable rows, and refuse those that are not positive."""
    usable = table["status"] == ""
    for name, rows in table[usable & table["error"].isna()].groupby("variable").groups.items():
        table.loc[rows, "error"] = _usual_error(str(name), table.loc[rows, "value"], asked.errors)
    wrong = np.flatnonzero(usable & (table["error"] <= 0))
    if wrong.size:
        row = table.iloc[wrong[0]]
        raise DpdmError(
            f"row {row['row']}: the error of {row['variable']} is {row['error']:g}.",
            "Give a standard deviation above 0, or leave the cell empty for the usual one.",
        )


def _usual_error(name: str, values: pd.Series, errors: Mapping[str, float]) -> pd.Series:
    """Return the user's standard deviation of a variable, or that of the table above."""
    if name in errors:
        return pd.Series(float(errors[name]), values.index)
    if name not in USUAL:
        raise DpdmError(
            f"{name} has no error.", f"Say --error {name}=STD, or add a column of errors."
        )
    return USUAL[name].error + USUAL[name].share * values.abs()
