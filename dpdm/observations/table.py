"""Read observations from files into one table in canonical names and units.

A row of the table is one observation :math:`y = A(x) + e`: its value, the standard deviation of
:math:`e`, where and when it was made. A row that cannot be used is kept,
with the reason in its `status`. `quality_control.check_observations` checks the table further.

| variable | standard deviation where neither the file nor the user gives one |
|---|---|
| t2m | 1 K |
| tp | 0.3 mm day-1 + 20% of the value |
| sp, msl | 100 Pa |
| u10, v10 | 1 m s-1 |
| t, u, v, q, r, gh, z at a pressure | 1 K, 2 m s-1, 1e-4 + 10%, 10%, 15 m, 150 m2 s-2 |
| rlut | 30 W m-2: its operator knows neither clouds nor vapour (`operators.radiance`) |
| tb | that of its channel, in the file of channels |

They include instrument error and representativeness error. The same name may mean the air at a
station and on a level: with a pressure it is the latter. Brightness temperatures and outgoing
radiation are variables of their own, with known operators.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from dpdm.errors import DpdmError, prefix_file_name
from dpdm.fields.formats import CLASSIC_SIGNATURES, HDF5_SIGNATURE, read_signature
from dpdm.fields.level_names import round_level
from dpdm.fields.plausibility import MissingCodes
from dpdm.fields.units import scale_factor
from dpdm.fields.value_checks import matches_code
from dpdm.fields.variables import LEVEL_VARIABLES
from dpdm.observations.columns import (
    COLUMN_ALIASES,
    LENGTH_COLUMNS,
    OPERATOR_SETTINGS,
    OPERATOR_VARIABLES,
    POSITION_COLUMNS,
    ObservationOptions,
    swapped_coordinates_error,
)
from dpdm.observations.csv_reader import read_csv_observations
from dpdm.observations.faults import Faults
from dpdm.observations.ghcn_monthly import is_ghcn_monthly, read_ghcn_monthly
from dpdm.observations.layout import FileLayout, LayoutCallback, ignore_layout
from dpdm.observations.netcdf_reader import open_sampling, read_sampling
from dpdm.observations.sounder import SounderChannels, normalise_channel_name
from dpdm.observations.station_list import join_station_list
from dpdm.observations.status import ObsStatus
from dpdm.observations.text_table import first_bytes
from dpdm.observations.values import assign_errors, convert_to_canonical_units, is_missing_code
from dpdm.system import check_regular

PRESSURE_LIMITS = (1.0, 1.1e5)  # Pa; the range of observations


def name_observed_variables(
    table: pd.DataFrame, options: ObservationOptions, unit: str, faults: Faults
) -> pd.DataFrame:
    """Name the variables of a table, and drop the pressures of those on no level.

    Args:
        table: Rows with the names ``old`` of their file.
        options: The user's options.
        unit: The unit of the column ``pressure``, if there is one.
        faults: Where faults are collected.
    """
    has_pressure = pd.Series(False, table.index)
    if "pressure" in table:
        has_pressure = table["pressure"].notna() & ~is_missing_code(table["pressure"].to_numpy())
    old, words = pd.factorize(table["old"])
    names = np.array([[options.name(w), options.name(w, True)] for w in words], dtype=object)
    table = table.assign(variable=names[old, has_pressure.to_numpy(dtype=int)])
    if "operator" in table:
        whole = table["operator"].isin(OPERATOR_VARIABLES)
        table.loc[whole, "variable"] = table["operator"].map(OPERATOR_VARIABLES)
        table.loc[whole | (table["operator"] == "level"), "operator"] = ""
    table = _check_channel_use(table)
    on_level = has_pressure & table["variable"].isin(LEVEL_VARIABLES)
    if not on_level.any():
        return table.drop(columns="pressure", errors="ignore")
    pressure = _pressures_to_pascal(table[on_level], unit, faults)
    return table.assign(pressure=pressure.reindex(table.index))


def _check_channel_use(table: pd.DataFrame) -> pd.DataFrame:
    """Drop the channels of all but brightness temperatures, and mark those without one."""
    remote = table["variable"] == "tb"
    if not remote.any():
        return table.drop(columns="channel", errors="ignore")
    channel = table["channel"] if "channel" in table else pd.Series("", table.index)
    named = remote & channel.notna() & (channel.astype(str) != "")
    status = table["status"].mask(remote & ~named, ObsStatus.NO_CHANNEL.value)
    return table.assign(
        channel=channel.map(normalise_channel_name).where(named, ""), status=status
    )


def _pressures_to_pascal(rows: pd.DataFrame, unit: str, faults: Faults) -> pd.Series:
    """Convert pressures to Pa."""
    if not unit:
        raise DpdmError(
            f"{rows['variable'].iloc[0]} is observed at a pressure that has no units.",
            "Write pressure [hPa] in the header, give the variable units, or use --units "
            "pressure=hPa.",
        )
    scale = scale_factor(unit, "Pa")
    if scale is None:
        raise DpdmError(f"The pressure of the rows is in '{unit}'.", "Give it in hPa or Pa.")
    pressure = rows["pressure"] * scale
    wrong = rows[~pressure.between(*PRESSURE_LIMITS)]
    faults.add(
        wrong["row"],
        lambda i: f"the pressure is {wrong['pressure'].iloc[i]:g} {unit}.",
        "Pressures are 0.01 to 1100 hPa; use --units pressure=UNIT for another unit.",
    )
    return pressure.map(round_level)


VALUE_COLUMNS = ("source", "row", "variable", "value", "error")
CORE_COLUMNS = (*VALUE_COLUMNS, "time", "lat", "lon", "elevation", "units", "status")
OPTIONAL_COLUMNS: dict[str, str | float] = dict.fromkeys(
    ("station", "operator", "component", "channel"), ""
)
OPTIONAL_COLUMNS |= dict.fromkeys(("trajectory", "y", "x", "pressure", *OPERATOR_SETTINGS), np.nan)


def read_observations(
    paths: Sequence[Path],
    errors: Mapping[str, float] = {},
    rename: Mapping[str, str] = {},
    units: Mapping[str, str] = {},
    channels: SounderChannels | None = None,
    missing: MissingCodes = {},
    stations: Path | None = None,
    on_layout: LayoutCallback = ignore_layout,
    verification: Sequence[Path] = (),
) -> pd.DataFrame:
    """Read observations from CSV, GHCN-Monthly and NetCDF files into one table.

    Args:
        paths: The files.
        errors: Standard deviations by variable, in canonical units, for observations that have
            none of their own.
        rename: The user's choice of variables, canonical name to name in the file.
        units: Units declared by the user, by either name.
        channels: The channels of the sounder of brightness temperatures.
        missing: Missing-value codes, by either name; those of all under "".
        stations: A list of stations, whose positions belong to the text files without any.
        on_layout: Called with what the columns of each file were taken for.
        verification: Further files, whose rows are marked by ``verify``.

    Returns:
        One row an observation. `source` and `row` give its origin, the line of a text file from
        1 or the number of the value in a NetCDF file; `variable`, `value`, `error` and `units`
        are canonical for variables that dpdm knows; `time` is a date, a number or NaT; `lat` and
        `lon` are degrees, `elevation` metres, NaN where unknown; `status` is empty, or the
        reason why the row cannot be used. `station`, `operator`, `trajectory`, `component`, `y`,
        `x`, `pressure` (Pa), `channel`, the operator's settings (`OPERATOR_SETTINGS`) and `end`,
        that of a mean over time which begins at `time`, are there where a file has them.
    """
    if not paths:
        raise DpdmError("No observation file was given.", "Name at least one.")
    options = ObservationOptions(rename, units, errors, missing)
    for name, error in errors.items():
        _check_error_option(name, error)
    files, tables = [*paths, *verification], []
    for path in map(Path, files):
        table, layout = _read_observation_file(path, options, channels, stations)
        tables.append(table)
        on_layout(layout)
    table = pd.concat(tables, ignore_index=True) if len(tables) > 1 else tables[0]
    if verification:
        reserved = np.arange(len(files)) >= len(paths)
        table["verify"] = np.repeat(reserved, [len(each) for each in tables])
    _check_named_variables(options, table)
    table = table.fillna(
        {name: OPTIONAL_COLUMNS[name] for name in OPTIONAL_COLUMNS.keys() & set(table.columns)}
    )
    return table.drop(columns=["old", "error_units"])


def _check_error_option(name: str, error: float) -> None:
    if not (np.isfinite(error) and error > 0):
        raise DpdmError(f"The error of {name} is {error:g}.", "Give a standard deviation above 0.")


def _check_named_variables(options: ObservationOptions, table: pd.DataFrame) -> None:
    """Refuse options for variables that no file has."""
    seen = {*table["variable"].unique(), *table["old"].unique(), *options.chosen_file_names()}
    seen |= {"pressure"} & {*table.columns}
    seen |= COLUMN_ALIASES.keys() & options.rename.keys()
    if stray := options.named_variables() - seen:
        raise DpdmError(
            f"{', '.join(sorted(stray))} is named in an option, but no file has it.",
            f"The files have {', '.join(sorted(set(table['variable'])))}.",
        )


def _read_observation_file(
    path: Path,
    options: ObservationOptions,
    channels: SounderChannels | None,
    stations: Path | None,
) -> tuple[pd.DataFrame, FileLayout]:
    """Read one file, whatever its format, and describe its columns."""
    opened = None if _is_text(path) else open_sampling(path)
    faults = Faults("line" if opened is None else "row")
    with prefix_file_name(path), _name_observation_options(), faults.collect():
        if opened is None:
            raw, layout = _read_text(path, options, stations, faults)
        else:
            raw, layout = read_sampling(opened, options, path.name)
        if raw.empty and not faults.count:
            raise DpdmError("it has no observation.", "Add rows.")
        table = _canonical_table(raw, path.name, options, channels, faults)
    return table, layout


def _read_text(
    path: Path, options: ObservationOptions, stations: Path | None, faults: Faults
) -> tuple[pd.DataFrame, FileLayout]:
    """Read a text file as a raw table, with the positions of a list of stations."""
    if is_ghcn_monthly(first_bytes(path)):
        return read_ghcn_monthly(path, faults)
    raw, layout = read_csv_observations(path, options, faults)
    if stations is not None:
        units = {name: raw.attrs.get(name, "") for name in LENGTH_COLUMNS}
        raw["elevation"] = _lengths_to_metres(
            raw.get("elevation", pd.Series(np.nan, raw.index)), "elevation", units["elevation"]
        )
        raw, notes = join_station_list(raw, stations)
        raw.attrs["elevation"] = "m"
        layout.notes += notes
    return raw, layout


def _canonical_table(
    raw: pd.DataFrame,
    source: str,
    options: ObservationOptions,
    channels: SounderChannels | None,
    faults: Faults,
) -> pd.DataFrame:
    """Return a raw table in canonical names and units."""
    table = _complete_columns(raw, source)
    _check_finite(table, faults)
    for name in ("lat", "lon", "elevation"):
        table[name] = table[name].mask(is_missing_code(table[name].to_numpy()))
    for name in {*LENGTH_COLUMNS} & set(table):
        with faults.catch():
            table[name] = _lengths_to_metres(table[name], name, raw.attrs.get(name, ""))
    unit = options.units.get("pressure", raw.attrs.get("pressure", ""))
    table = name_observed_variables(table, options, unit, faults)
    _check_coordinates(table, faults)
    _mask_declared_codes(table, options.missing)
    convert_to_canonical_units(table, faults)
    assign_errors(table, options.errors, channels, faults)
    return table


@contextmanager
def _name_observation_options() -> Iterator[None]:
    """Replace options for fields by those for observations in hints."""
    try:
        yield
    except DpdmError as fault:
        hint = re.sub(r"--(?=(units|var|missing)\b)", "--obs-", fault.hint)
        raise DpdmError(fault.what, hint, details=fault.details) from fault.__cause__


def _check_finite(table: pd.DataFrame, faults: Faults) -> None:
    """Refuse infinite errors and positions; an infinite value is a missing one."""
    for name in ("error", "lat", "lon", "elevation"):
        infinite = np.isinf(table[name].to_numpy(dtype=float))
        wrong = table.loc[infinite, ["row", name]]
        faults.add(
            wrong["row"],
            lambda i, n=name, rows=wrong: f"{n} is {rows[n].iloc[i]}.",  # type: ignore[misc]
            "Give a finite number, or leave the cell empty.",
        )
        table.loc[infinite, name] = np.nan


def _mask_declared_codes(table: pd.DataFrame, missing: MissingCodes) -> None:
    """Mask the missing-value codes that the user declares, in place."""
    for name, codes in missing.items():
        of = (table["variable"] == name) | (table["old"] == name) | (name == "")
        table["value"] = table["value"].mask(of & matches_code(table["value"].to_numpy(), codes))


def _is_text(path: Path) -> bool:
    check_regular(path)
    if path.is_dir():
        return False
    head = read_signature(path)
    return head not in (*CLASSIC_SIGNATURES, HDF5_SIGNATURE) and not head.startswith(b"GRIB")


def _complete_columns(raw: pd.DataFrame, source: str) -> pd.DataFrame:
    """Add the missing columns to a raw table, and order them."""
    status = raw["status"].fillna("") if "status" in raw else ObsStatus.USABLE.value
    table = raw.assign(source=source, status=status, variable="").reset_index(drop=True)
    absent = {name: np.nan for name in ("lat", "lon", "elevation") if name not in table}
    table = table.assign(**absent)
    table["error_units"] = raw.get("error_units", "")
    if "time" not in table:
        table["time"] = np.datetime64("NaT", "ns")
    return table[
        [
            *CORE_COLUMNS,
            *(name for name in (*OPTIONAL_COLUMNS, "end") if name in table),
            "old",
            "error_units",
        ]
    ]


def _lengths_to_metres(values: pd.Series, name: str, unit: str) -> pd.Series:
    """Convert lengths to metres, the default unit."""
    if not unit:
        return values
    scale = scale_factor(unit, "m")
    if scale is None:
        raise DpdmError(f"{name} is in '{unit}', not a length.", "Give it in m.")
    return values * scale


def _check_coordinates(table: pd.DataFrame, faults: Faults) -> None:
    """Refuse impossible coordinates, and mark rows without any."""
    lat, lon = (table[name].abs().to_numpy() for name in ("lat", "lon"))
    turned = np.flatnonzero((lat > 90) & (lat <= 360) & (lon <= 90))
    if turned.size:
        row = table.iloc[turned[0]]
        evidence = f"{faults.word} {row['row']}: latitude is {row['lat']:g}"
        upright = ((lat <= 90) & (lon > 90) & (lon <= 360)).any()
        raise swapped_coordinates_error(
            evidence, "its numbers" if upright else "the two columns' names"
        )
    wrong = table.loc[(lat > 90) | (lon > 360), ["row", "lat", "lon"]]
    faults.add(
        wrong["row"],
        lambda i: "the position is latitude {:g}, longitude {:g}.".format(*wrong.iloc[i, 1:]),
        "Give degrees: latitude -90 to 90, longitude -180 to 360.",
    )
    placed = [table[list(w)].notna().all(axis=1) for w in POSITION_COLUMNS if set(w) <= set(table)]
    table.loc[~np.logical_or.reduce(placed), "status"] = ObsStatus.NO_POSITION.value
