"""What of a table of observations a prior can see: levels between its own, columns of air."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from numpy.typing import NDArray

from dpdm.errors import DpdmError, DpdmWarning
from dpdm.fields.aloft import placed
from dpdm.fields.channels import Channels
from dpdm.fields.columns import levelled
from dpdm.fields.status import ObsStatus, is_usable, mark
from dpdm.fields.tensors import Channel
from dpdm.fields.variables import REMOTE
from dpdm.operators.linear import Links
from dpdm.operators.soundings import carried, column
from dpdm.operators.whitening import whitening

GROUND = "The ground is seen from above, and there is no t2m: the lowest level stands for it."
SLACK = 1e-6  # of a pressure, by which it may miss the outermost level
AT_ONCE = [
    "lat",
    "lon",
    "step",
    "last",
    "radius",
    "trajectory",
]  # what one look of a sounder shares


def levels_of(channels: Sequence[Channel]) -> tuple[float, ...]:
    """Return the pressures of a prior's variables, Pa; 0 for those on none."""
    places = [placed(c.name, c.family) for c in channels]
    return tuple(p.level if p is not None and p.units == "Pa" else 0.0 for p in places)


def screen_observations(
    table: pd.DataFrame, channels: Sequence[Channel], sounder: Channels | None
) -> pd.DataFrame:
    """Return observations as a prior can see them, with the status of those that it cannot.

    Args:
        table: Observations.
        channels: The prior's variables.
        sounder: Channels of brightness temperatures, if their weights are known.
    """
    names = {c.name for c in channels}
    table, reach = at_pressures(table, names), reaches(channels)
    ends = [table["variable"].map({n: r[i] for n, r in reach.items()}) for i in (0, 1)]
    p = table["pressure"] if "pressure" in table else pd.Series(np.nan, table.index)
    remote, aloft = table["variable"].isin(REMOTE), p.notna()
    there = table["variable"].isin(names) | (aloft & ends[0].notna()) | (remote & ("t" in reach))
    mark(table, table["variable"].isin(reach) & ~there, ObsStatus.NO_PRESSURE)
    mark(table, ~there, ObsStatus.NO_VARIABLE)
    within = p.between(ends[0] * (1 - SLACK), ends[1] * (1 + SLACK))
    mark(table, aloft & ~within, ObsStatus.BEYOND_LEVELS)
    check_remote(table, sounder, "t2m" in names)
    return table


def at_pressures(table: pd.DataFrame, names: set[str]) -> pd.DataFrame:
    """Return observations of levels that are none of the prior's as such at their pressures."""
    other = {n: levelled(n) for n in table["variable"].unique() if n not in names}
    places = {n: place for n, place in other.items() if place}
    rows = table["variable"].isin(places)
    if not rows.any():
        return table.copy()
    pressure = table["pressure"] if "pressure" in table else pd.Series(np.nan, table.index)
    there = table["variable"].map({n: place.level for n, place in places.items()})
    named = table["variable"].map({n: place.family for n, place in places.items()})
    return table.assign(
        variable=table["variable"].mask(rows, named), pressure=pressure.mask(rows, there)
    )


def reaches(channels: Sequence[Channel]) -> dict[str, tuple[float, float]]:
    """Return the lowest and the highest pressure of each variable on levels, Pa."""
    found: dict[str, list[float]] = {}
    for channel, level in zip(channels, levels_of(channels), strict=True):
        if level:
            found.setdefault(channel.family, []).append(level)
    return {family: (min(levels), max(levels)) for family, levels in found.items()}


def check_remote(table: pd.DataFrame, sounder: Channels | None, ground: bool) -> None:
    """Say what stands for the ground where it is seen from above."""
    used = table[table["variable"].isin(REMOTE) & is_usable(table)]
    seen = used[used["variable"] == "tb"]
    if len(seen) and sounder is None:
        row = seen.iloc[0]
        raise DpdmError(
            f"{row['source']}: row {row['row']} is a brightness temperature of channel "
            f"{row['channel']}, and nothing says what it sees.",
            "Name a file of weighting functions, --channels FILE, or leave these rows out.",
        )
    deep = (
        [sounder.surface[sounder.number(n)] for n in seen["channel"].unique()] if sounder else []
    )
    if not ground and (len(seen) < len(used) or any(deep)):
        warnings.warn(GROUND, DpdmWarning, stacklevel=2)


def weights_of(
    names: Sequence[str], levels: Sequence[float], sounder: Channels
) -> Mapping[str, NDArray[np.float64]]:
    """Return the weights of a field's levels, and of the ground, for each channel of a sounder.

    Args:
        names: The field's variables.
        levels: Their pressures, Pa; 0 for those on none.
        sounder: The channels.
    """
    air = carried(sounder.weight, sounder.level, column(names, levels, "t").level)
    whole = np.column_stack([air, sounder.surface])
    return dict(zip(sounder.name, whole, strict=True))


def whitening_operator(rows: pd.DataFrame, sounder: Channels | None) -> Links | None:
    """Return what makes the errors of rows independent, with variance 1; None if they are.

    The errors of a sounder's channels at one place and time may go together.
    """
    tb = (rows["variable"] == "tb").to_numpy()
    if sounder is None or not tb.any() or is_eye(sounder.correlation):
        return None
    count = len(sounder.name)
    keys = [name for name in AT_ONCE if name in rows]
    place = rows.groupby(keys, sort=False, dropna=False).ngroup().to_numpy()
    place = np.where(tb, place, len(rows) + np.arange(len(rows)))
    channel = [sounder.number(n) if t else count for n, t in zip(rows["channel"], tb, strict=True)]
    whole = np.eye(count + 1)
    whole[:count, :count] = sounder.correlation
    return whitening(rows["error"].to_numpy(float), place, channel, whole)


def is_eye(matrix: NDArray[np.float64]) -> bool:
    """Tell whether a matrix is the identity."""
    return np.array_equal(matrix, np.eye(len(matrix)))
