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
| t, u, v, q, r, gh, z at a pressure | 1 K, 2 m s-1, 1e-4 + 10%, 10%, 15 m, 150 m2 s-2 |
| rlut | 30 W m-2: its operator knows neither clouds nor vapour (`operators.soundings`) |
| tb | that of its channel, in the file of channels |

They stand for instrument and representativeness: what a point says of a cell's mean.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd  # type: ignore[import-untyped]

from dpdm.errors import DpdmError
from dpdm.fields.channels import Channels
from dpdm.fields.checks import Missing, is_code
from dpdm.fields.columns import LENGTHS, POSITIONS, SETTINGS, Asked
from dpdm.fields.deviations import assign_errors
from dpdm.fields.meant import named
from dpdm.fields.sampling import open_sampling, read_sampling
from dpdm.fields.source import CLASSIC, HDF5, head_of
from dpdm.fields.status import ObsStatus
from dpdm.fields.store import naming
from dpdm.fields.text import read_text
from dpdm.fields.units import parse, registry
from dpdm.fields.values import coded, convert
from dpdm.readable import check_regular

WHAT = ("source", "row", "variable", "value", "error")
CORE = (*WHAT, "time", "lat", "lon", "elevation", "units", "status")
EXTRA: dict[str, str | float] = dict.fromkeys(("station", "operator", "component", "channel"), "")
EXTRA |= dict.fromkeys(("trajectory", "y", "x", "pressure", *SETTINGS), np.nan)


def read_observations(
    paths: Sequence[Path],
    errors: Mapping[str, float] = {},
    rename: Mapping[str, str] = {},
    units: Mapping[str, str] = {},
    channels: Channels | None = None,
    missing: Missing = {},
) -> pd.DataFrame:
    """Read observations from CSV and NetCDF files into one table.

    Args:
        paths: The files.
        errors: Standard deviations by variable, in canonical units, for observations that have
            none of their own.
        rename: The user's choice of variables, canonical name to name in the file.
        units: The user's word for units, by either name.
        channels: Those of the sounder whose brightness temperatures were observed.
        missing: Numbers that stand for missing values, by either name; of all under "".

    Returns:
        One row an observation. `source` and `row` (from 1) say where it stands; `variable`,
        `value`, `error` and `units` are canonical for variables that dpdm knows; `time` is a
        date, a number or NaT; `lat` and `lon` are degrees, `elevation` metres, NaN where
        unknown; `status` is empty, or why the row is of no use. `station`, `operator`,
        `trajectory`, `component`, `y`, `x`, `pressure` (Pa), `channel`, the operator's settings
        (`SETTINGS`) and `end`, that of a mean over time which begins at `time`, are there where a
        file has them.
    """
    if not paths:
        raise DpdmError("No observation file was given.", "Name at least one.")
    asked = Asked(rename, units, errors, missing)
    for name, error in errors.items():
        _check_stated(name, error)
    tables = [_one(Path(path), asked, channels) for path in paths]
    table = pd.concat(tables, ignore_index=True)
    _check_spoken(asked, table)
    table = table.fillna({name: EXTRA[name] for name in EXTRA.keys() & set(table.columns)})
    return table.drop(columns=["old", "error_units"])


def _check_stated(name: str, error: float) -> None:
    if not (np.isfinite(error) and error > 0):
        raise DpdmError(f"The error of {name} is {error:g}.", "Give a standard deviation above 0.")


def _check_spoken(asked: Asked, table: pd.DataFrame) -> None:
    """Refuse a word on a variable that no file has: a slip of the pen."""
    seen = {*table["variable"].unique(), *table["old"].unique(), *asked.chosen()}
    seen |= {"pressure"} & {*table.columns}
    if stray := asked.spoken() - seen:
        raise DpdmError(
            f"{', '.join(sorted(stray))} is named, but no file has it.",
            f"The files have {', '.join(sorted(set(table['variable'])))}.",
        )


def _one(path: Path, asked: Asked, channels: Channels | None) -> pd.DataFrame:
    """Read one file, whatever its format."""
    opened = None if _is_text(path) else open_sampling(path)
    with naming(path), _observed():
        raw = read_text(path, asked) if opened is None else read_sampling(opened, asked)
        if raw.empty:
            raise DpdmError("it has no observation.", "Add rows.")
        table = _completed(raw, path.name)
        _check_finite(table)
        for name in ("lat", "lon", "elevation"):
            table[name] = table[name].mask(coded(table[name].to_numpy()))
        for name in {*LENGTHS} & set(table):
            table[name] = _metres(table[name], name, raw.attrs.get(name, ""))
        table = named(table, asked, asked.units.get("pressure", raw.attrs.get("pressure", "")))
        _check_place(table)
        _clear(table, asked.missing)
        convert(table)
        assign_errors(table, asked.errors, channels)
    return table


@contextmanager
def _observed() -> Iterator[None]:
    """Name the options for observations where the floor below names those for fields."""
    try:
        yield
    except DpdmError as fault:
        hint = re.sub(r"--(?=(units|var|missing)\b)", "--obs-", fault.hint)
        raise DpdmError(fault.what, hint) from fault.__cause__


def _check_finite(table: pd.DataFrame) -> None:
    """Refuse infinite errors and places; an infinite value is a missing one."""
    for name in ("error", "lat", "lon", "elevation"):
        wrong = np.flatnonzero(np.isinf(table[name].to_numpy(dtype=float)))
        if wrong.size:
            raise DpdmError(
                f"row {table['row'].iloc[wrong[0]]}: {name} is {table[name].iloc[wrong[0]]}.",
                "Give a finite number, or leave the cell empty.",
            )


def _clear(table: pd.DataFrame, missing: Missing) -> None:
    """Make the numbers missing that the user declares so, in place."""
    for name, codes in missing.items():
        of = (table["variable"] == name) | (table["old"] == name) | (name == "")
        table["value"] = table["value"].mask(of & is_code(table["value"].to_numpy(), codes))


def _is_text(path: Path) -> bool:
    check_regular(path)
    if path.is_dir():
        return False
    head = head_of(path)
    return head not in (*CLASSIC, HDF5) and not head.startswith(b"GRIB")


def _completed(raw: pd.DataFrame, source: str) -> pd.DataFrame:
    """Give a raw table all columns, in their order."""
    table = raw.assign(source=source, status=ObsStatus.USABLE.value, variable="").reset_index(
        drop=True
    )
    absent = {name: np.nan for name in ("lat", "lon", "elevation") if name not in table}
    table = table.assign(**absent)
    table["error_units"] = raw.get("error_units", "")
    if "time" not in table:
        table["time"] = np.datetime64("NaT", "ns")
    return table[
        [*CORE, *(name for name in (*EXTRA, "end") if name in table), "old", "error_units"]
    ]


def _metres(values: pd.Series, name: str, unit: str) -> pd.Series:
    """Convert lengths to metres; those without a unit are."""
    if not unit:
        return values
    scale = registry().Quantity(1.0, parse(unit))
    if not scale.is_compatible_with("m"):
        raise DpdmError(f"{name} is in '{unit}', not a length.", "Give it in m.")
    return values * float(scale.to("m").magnitude)


def _check_place(table: pd.DataFrame) -> None:
    """Refuse impossible coordinates; mark the rows that have none."""
    lat, lon = (table[name].abs().to_numpy() for name in ("lat", "lon"))
    turned = np.flatnonzero((lat > 90) & (lat <= 360) & (lon <= 90))
    if turned.size:
        row = table.iloc[turned[0]]
        evidence = f"row {row['row']}: latitude is {row['lat']:g}"
        upright = ((lat <= 90) & (lon > 90) & (lon <= 360)).any()
        raise swapped(evidence, "its numbers" if upright else "the two columns' names")
    wrong = np.flatnonzero((lat > 90) | (lon > 360))
    if wrong.size:
        row = table.iloc[wrong[0]]
        raise DpdmError(
            f"row {row['row']} lies at latitude {row['lat']:g}, longitude {row['lon']:g}.",
            "Give degrees: latitude -90 to 90, longitude -180 to 360.",
        )
    placed = [table[list(w)].notna().all(axis=1) for w in POSITIONS if set(w) <= set(table)]
    table.loc[~np.logical_or.reduce(placed), "status"] = ObsStatus.NO_POSITION.value


def swapped(evidence: str, what: str = "the two columns' names") -> DpdmError:
    """Say that someone took latitude for longitude."""
    return DpdmError(f"{evidence}: latitude and longitude look swapped.", f"Exchange {what}.")
