"""The operator of a table of observations: each row is seen as its instrument sees.

A row names its operator, and the settings that this one needs. One that names none is a point's,
on a level if it says a pressure, or what its variable implies: a brightness temperature, say. Rows
that share operator, variable and settings are one group, and one operator; the values come back in
the order of the rows. Installed packages may announce more operators (`operators.plugins`): such
a function gives the values of its whole group, in the order of the rows.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpdm.fields.columns import SETTINGS
from dpdm.operators import plugins
from dpdm.operators.layout import Layout
from dpdm.operators.points import climb, points
from dpdm.operators.registry import OPERATORS, Sites, build, known
from dpdm.types import Fields, Operator, Values

IMPLIED = {"tb": "brightness", "rlut": "olr"}  # operators of rows that name none
Array: TypeAlias = NDArray[np.float64]
Place: TypeAlias = Callable[[pd.DataFrame], Sites]


def observation_operator(
    rows: pd.DataFrame, place: Place, shape: tuple[int, ...] = ()
) -> Operator:
    """Return the operator from physical fields to the rows' values (B, N).

    It works on fields (B, C, H, W) and on trajectories (B, C, T, H, W), as the sites do.

    Args:
        rows: Observations, with ``variable``, ``value`` and, where a row is not of a point,
            ``operator`` and its settings.
        place: Returns where and when some rows were measured.
        shape: Shape of one field, on which operators of other packages are tried; without it
            they are not.

    Raises:
        DpdmError: When an operator is unknown, lacks a setting or makes no sense.
    """
    numbers = list(groups(rows))
    parts = [part(rows.iloc[chosen], place, shape) for chosen in numbers]
    back = torch.from_numpy(np.argsort(np.concatenate(numbers)))

    def operator(fields: Fields) -> Values:
        return torch.cat([each(fields) for each in parts], dim=1)[:, back.to(fields.device)]

    return operator


def locate(
    rows: pd.DataFrame, cells: Layout, names: Sequence[str], relief: Array, **more: Any
) -> Sites:
    """Return where some rows were measured on the Earth.

    A temperature is brought to the station's height by the lapse rate of the standard atmosphere,
    a surface pressure by the hypsometric equation; where the elevation is unknown the field's own
    relief (m) is taken.
    """
    lat, lon, height = (rows[n].to_numpy(float, copy=True) for n in ("lat", "lon", "elevation"))
    up = climb(points(cells, lat, lon), relief, height)
    return Sites(cells, tuple(names), lat, lon, climb=up, **more)


def values_and_errors(rows: pd.DataFrame, kind: type = float) -> tuple[Tensor, Tensor]:
    """Return values and standard deviations of some rows."""
    arrays = (rows[n].to_numpy(kind, copy=True) for n in ("value", "error"))
    value, error = map(torch.from_numpy, arrays)
    return value, error


def groups(rows: pd.DataFrame) -> Iterator[np.ndarray]:
    """Yield the numbers of the rows that share operator, variable and settings."""
    shared = {name: rows[name].to_numpy() for name in ("channel", *SETTINGS) if name in rows}
    keys = pd.DataFrame(
        {"operator": operator_names(rows), "variable": rows["variable"].to_numpy()}
    )
    keys = keys.assign(**shared)
    yield from keys.groupby(list(keys), sort=False, dropna=False).indices.values()


def operator_names(rows: pd.DataFrame) -> np.ndarray:
    """Return the name of each row's operator, the implied one where it names none."""
    said = rows["operator"] if "operator" in rows else pd.Series("", rows.index)
    implied = rows["variable"].map(IMPLIED).fillna("point")
    if "pressure" in rows:
        implied = implied.mask(rows["pressure"].notna(), "level")
    names: np.ndarray = said.where(~said.isin(("", "point")), implied).to_numpy(dtype=object)
    return names


def part(rows: pd.DataFrame, place: Place, shape: tuple[int, ...]) -> Operator:
    """Return the operator of one group."""
    name, variable = operator_names(rows)[0], str(rows["variable"].iloc[0])
    if name not in OPERATORS:
        operator = plugins.find(known(name))
        return plugins.tried(operator, name, shape, len(rows)) if shape else operator
    operator = build(name, place(rows), variable, **settings(rows))
    return near(operator, rows["value"].to_numpy(float)) if name == "direction" else operator


def settings(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the settings that a group's rows share."""
    said = {name: float(rows[name].iloc[0]) for name in SETTINGS if name in rows}
    numbers = {name: value for name, value in said.items() if np.isfinite(value)}
    channel = str(rows["channel"].iloc[0]) if "channel" in rows else ""
    return numbers | ({"channel": channel} if channel else {})


def near(operator: Operator, value: np.ndarray) -> Operator:
    """Return the operator of directions, on the turn of the circle nearest to what was observed.

    Degrees jump at north. So told, a wind from 350 that was observed as 10 misses it by 20.
    """
    observed = torch.from_numpy(value.copy())

    def turned(fields: Fields) -> Tensor:
        degrees = operator(fields)
        middle = observed.to(degrees)
        return middle + (degrees - middle + 180) % 360 - 180

    return turned
