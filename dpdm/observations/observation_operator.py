"""The observation operator H of a table, from fields to the values of all rows.

A row names its operator and its settings. Without a name the operator is that of a point, of a
level if the row has a pressure, or the one of its variable, as for brightness temperatures. Rows
of the same operator, variable and settings form a group with one operator; values are returned in
the order of the rows. Installed packages may provide more operators (`operators.registry`), which
return the values of their group in the order of the rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpdm.errors import DpdmError, DpdmWarning
from dpdm.fields.level_names import parse_level
from dpdm.fields.variables import SATELLITE_VARIABLES
from dpdm.observations.columns import OPERATOR_SETTINGS, OPERATOR_VARIABLES, parse_pressure_level
from dpdm.observations.sounder import SounderChannels
from dpdm.observations.status import ObsStatus, is_usable, mark_status
from dpdm.operators import registry
from dpdm.operators.geometry import GridLayout
from dpdm.operators.interpolation import height_above_relief, point_operator
from dpdm.operators.linear import SparseOperator, whitening_matrix
from dpdm.operators.radiance import find_level_column, interpolate_weighting
from dpdm.operators.registry import OPERATORS, ObsLocations, build_operator, require_plugin
from dpdm.prior.variable_spec import VariableSpec
from dpdm.types import Fields, Operator, Values

IMPLIED_OPERATORS = {variable: name for name, variable in OPERATOR_VARIABLES.items()}
Array: TypeAlias = NDArray[np.float64]
LocateRows: TypeAlias = Callable[[pd.DataFrame], ObsLocations]


def observation_operator(
    rows: pd.DataFrame, place: LocateRows, shape: tuple[int, ...] = ()
) -> Operator:
    """Return the operator from physical fields to the rows' values (B, N).

    It accepts fields (B, C, H, W) and trajectories (B, C, T, H, W), like the locations.

    Args:
        rows: Observations, with ``variable``, ``value`` and, except for points, ``operator`` and
            its settings.
        place: Returns the locations and times of rows.
        shape: Shape of one field, for a test of the operators of other packages; no test without.
    """
    numbers = list(group_rows(rows))
    parts = [select_rows(rows.iloc[chosen], place, shape) for chosen in numbers]
    back = torch.from_numpy(np.argsort(np.concatenate(numbers)))

    def operator(fields: Fields) -> Values:
        return torch.cat([each(fields) for each in parts], dim=1)[:, back.to(fields.device)]

    return operator


def station_locations(
    rows: pd.DataFrame, cells: GridLayout, names: Sequence[str], relief: Array, **more: Any
) -> ObsLocations:
    """Return the locations of rows on the Earth.

    A temperature is adjusted to the station's height by the lapse rate of the standard atmosphere,
    a surface pressure by the hypsometric equation; where the elevation is unknown the field's own
    relief (m) is taken.
    """
    lat, lon, height = (rows[n].to_numpy(float, copy=True) for n in ("lat", "lon", "elevation"))
    up = height_above_relief(point_operator(cells, lat, lon), relief, height)
    return ObsLocations(cells, tuple(names), lat, lon, height_offset=up, **more)


def values_and_errors(rows: pd.DataFrame, kind: type = float) -> tuple[Tensor, Tensor]:
    """Return values and standard deviations of some rows."""
    arrays = (rows[n].to_numpy(kind, copy=True) for n in ("value", "error"))
    value, error = map(torch.from_numpy, arrays)
    return value, error


def log_amounts(operator: Operator, amount: Tensor) -> Operator:
    """Return an operator with log(1 + v) of the values v (N,) that are amounts."""
    if not bool(amount.any()):
        return operator

    def modelled(fields: Fields) -> Values:
        values = operator(fields)
        chosen = amount.to(values.device)
        return torch.where(chosen, torch.where(chosen, values, 0.0).clamp_min(0).log1p(), values)

    return modelled


def log_amount_values(value: Tensor, error: Tensor, amount: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return values and standard deviations (N,), those of amounts for log(1 + v).

    The standard deviation is arsinh(s / (1 + v)): s / (1 + v) for small errors, and growing as
    the logarithm for errors above the value, which reach no further than zero below it.
    """
    wet = value.clamp_min(0)
    return (
        torch.where(amount, wet.log1p(), value),
        torch.where(amount, torch.asinh(error / (1 + wet)), error),
    )


def group_rows(rows: pd.DataFrame) -> Iterator[np.ndarray]:
    """Yield the numbers of the rows that share operator, variable and settings."""
    shared = {
        name: rows[name].to_numpy() for name in ("channel", *OPERATOR_SETTINGS) if name in rows
    }
    keys = pd.DataFrame(
        {"operator": operator_names(rows), "variable": rows["variable"].to_numpy()}
    )
    keys = keys.assign(**shared)
    yield from keys.groupby(list(keys), sort=False, dropna=False).indices.values()


def operator_names(rows: pd.DataFrame) -> np.ndarray:
    """Return the name of each row's operator, the implied one where it names none."""
    named = rows["operator"] if "operator" in rows else pd.Series("", rows.index)
    implied = rows["variable"].map(IMPLIED_OPERATORS).fillna("point")
    if "pressure" in rows:
        implied = implied.mask(rows["pressure"].notna(), "level")
    names: np.ndarray = named.where(~named.isin(("", "point")), implied).to_numpy(dtype=object)
    return names


def select_rows(rows: pd.DataFrame, place: LocateRows, shape: tuple[int, ...]) -> Operator:
    """Return the operator of one group."""
    name, variable = operator_names(rows)[0], str(rows["variable"].iloc[0])
    if name not in OPERATORS:
        operator = registry.find_plugin(require_plugin(name))
        return registry.check_plugin(operator, name, shape, len(rows)) if shape else operator
    operator = build_operator(name, place(rows), variable, **operator_settings(rows))
    return (
        unwrap_directions(operator, rows["value"].to_numpy(float))
        if name == "direction"
        else operator
    )


def operator_settings(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the settings that a group's rows share."""
    settings = {name: float(rows[name].iloc[0]) for name in OPERATOR_SETTINGS if name in rows}
    numbers = {name: value for name, value in settings.items() if np.isfinite(value)}
    channel = str(rows["channel"].iloc[0]) if "channel" in rows else ""
    return numbers | ({"channel": channel} if channel else {})


def unwrap_directions(operator: Operator, value: np.ndarray) -> Operator:
    """Unwrap the directions of an operator to within 180 degrees of the observed ones.

    So 350 degrees differs by 20 from an observed 10.
    """
    observed = torch.from_numpy(value.copy())

    def turned(fields: Fields) -> Tensor:
        degrees = operator(fields)
        middle = observed.to(degrees)
        return middle + (degrees - middle + 180) % 360 - 180

    return turned


GROUND_NOTE = (
    "The surface contributes to a channel, and there is no t2m: the lowest level is used."
)
PRESSURE_TOLERANCE = 1e-6  # relative; rounding of a pressure at the outermost level
SOUNDING_COLUMNS = [
    "lat",
    "lon",
    "step",
    "last",
    "radius",
    "trajectory",
]  # columns that one sounding shares


def variable_pressures(channels: Sequence[VariableSpec]) -> tuple[float, ...]:
    """Return the pressures of a prior's variables, Pa; 0 for those on no level."""
    places = [parse_level(c.name, c.family) for c in channels]
    return tuple(p.level if p is not None and p.units == "Pa" else 0.0 for p in places)


def screen_observations(
    table: pd.DataFrame, channels: Sequence[VariableSpec], sounder: SounderChannels | None
) -> pd.DataFrame:
    """Screen observations: mark those that the prior's variables and levels cannot represent.

    Args:
        table: Observations.
        channels: The prior's variables.
        sounder: The channels of brightness temperatures, if known.
    """
    names = {c.name for c in channels}
    table, reach = split_level_names(table, names), pressure_ranges(channels)
    ends = [table["variable"].map({n: r[i] for n, r in reach.items()}) for i in (0, 1)]
    p = table["pressure"] if "pressure" in table else pd.Series(np.nan, table.index)
    satellite, on_level = table["variable"].isin(SATELLITE_VARIABLES), p.notna()
    known = (
        table["variable"].isin(names) | (on_level & ends[0].notna()) | (satellite & ("t" in reach))
    )
    mark_status(table, table["variable"].isin(reach) & ~known, ObsStatus.NO_PRESSURE)
    mark_status(table, ~known, ObsStatus.NO_VARIABLE)
    within = p.between(ends[0] * (1 - PRESSURE_TOLERANCE), ends[1] * (1 + PRESSURE_TOLERANCE))
    mark_status(table, on_level & ~within, ObsStatus.BEYOND_LEVELS)
    warn_ground_substitute(table, sounder, "t2m" in names)
    return table


def split_level_names(table: pd.DataFrame, names: set[str]) -> pd.DataFrame:
    """Split the names of levels that the prior lacks into family and pressure."""
    other = {n: parse_pressure_level(n) for n in table["variable"].unique() if n not in names}
    places = {n: place for n, place in other.items() if place}
    rows = table["variable"].isin(places)
    if not rows.any():
        return table.copy()
    pressure = table["pressure"] if "pressure" in table else pd.Series(np.nan, table.index)
    levels = table["variable"].map({n: place.level for n, place in places.items()})
    families = table["variable"].map({n: place.family for n, place in places.items()})
    return table.assign(
        variable=table["variable"].mask(rows, families), pressure=pressure.mask(rows, levels)
    )


def pressure_ranges(channels: Sequence[VariableSpec]) -> dict[str, tuple[float, float]]:
    """Return the lowest and the highest pressure of each variable on levels, Pa."""
    found: dict[str, list[float]] = {}
    for channel, level in zip(channels, variable_pressures(channels), strict=True):
        if level:
            found.setdefault(channel.family, []).append(level)
    return {family: (min(levels), max(levels)) for family, levels in found.items()}


def warn_ground_substitute(
    table: pd.DataFrame, sounder: SounderChannels | None, ground: bool
) -> None:
    """Warn that the lowest level replaces a missing surface temperature."""
    used = table[table["variable"].isin(SATELLITE_VARIABLES) & is_usable(table)]
    seen = used[used["variable"] == "tb"]
    if len(seen) and sounder is None:
        row = seen.iloc[0]
        raise DpdmError(
            f"{row['source']}: row {row['row']} is a brightness temperature of channel "
            f"{row['channel']}, and its weighting function is unknown.",
            "Name a file of weighting functions, --channels FILE, or remove these rows.",
        )
    surface = (
        [sounder.surface[sounder.channel_index(n)] for n in seen["channel"].unique()]
        if sounder
        else []
    )
    if not ground and (len(seen) < len(used) or any(surface)):
        warnings.warn(GROUND_NOTE, DpdmWarning, stacklevel=2)


def channel_weighting(
    names: Sequence[str], levels: Sequence[float], sounder: SounderChannels
) -> Mapping[str, NDArray[np.float64]]:
    """Return the weights of a field's levels and of the surface for each channel.

    Args:
        names: The field's variables.
        levels: Their pressures, Pa; 0 for those on no level.
        sounder: The channels.
    """
    air = interpolate_weighting(
        sounder.weight, sounder.level, find_level_column(names, levels, "t").level
    )
    weights = np.column_stack([air, sounder.surface])
    return dict(zip(sounder.name, weights, strict=True))


def whitening_operator(
    rows: pd.DataFrame, sounder: SounderChannels | None
) -> SparseOperator | None:
    """Return the whitening operator of the rows' errors, None if they are independent.

    The errors of a sounder's channels at one position and time may be correlated.
    """
    tb = (rows["variable"] == "tb").to_numpy()
    if sounder is None or not tb.any() or is_identity(sounder.correlation):
        return None
    count = len(sounder.name)
    keys = [name for name in SOUNDING_COLUMNS if name in rows]
    place = rows.groupby(keys, sort=False, dropna=False).ngroup().to_numpy()
    place = np.where(tb, place, len(rows) + np.arange(len(rows)))
    channel = [
        sounder.channel_index(n) if t else count for n, t in zip(rows["channel"], tb, strict=True)
    ]
    correlation = np.eye(count + 1)
    correlation[:count, :count] = sounder.correlation
    return whitening_matrix(rows["error"].to_numpy(float), place, channel, correlation)


def is_identity(matrix: NDArray[np.float64]) -> bool:
    """Tell whether a matrix is the identity."""
    return np.array_equal(matrix, np.eye(len(matrix)))
