"""Control variables of the stations: the departure of the lapse rate, and the network's bias.

They are estimated with the field of each step. A station is not on the relief of the grid, and
the change of temperature between the two need not be 6.5 K/km: in the inversions of winter
valleys it has the other sign. What all stations of a step have in common may be their bias, as
far as the law allows, and not the field's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dpdm.constants import LAPSE_RATE
from dpdm.prior.variable_spec import VariableSpec

Array = NDArray[np.float64]
COLUMNS = ("lapse_departure", "network_bias")


@dataclass(frozen=True, eq=False)
class Controls:
    """The control variables of one step, in transformed values.

    Attributes:
        mean: Of each variable (C, 2): change with height for a kilometre, beyond that of the
            operator; and bias.
        spread: Their standard deviations (C, 2).
    """

    mean: Array
    spread: Array


def describe_controls(
    controls: Mapping[int, Controls], channels: Sequence[VariableSpec]
) -> Iterator[str]:
    """Yield a line on each variable whose stations have control variables."""
    if not controls:
        return
    mean = np.mean([each.mean for each in controls.values()], axis=0)
    spread = np.mean([each.spread for each in controls.values()], axis=0)
    count = f"mean of {len(controls)} steps" if len(controls) > 1 else "one step"
    for channel, values, stds in zip(channels, mean, spread, strict=True):
        if stds.any():
            rate, bias = map(partial(format_change, channel), values + base(channel), stds)
            yield (
                f"{channel.name}: changes by {rate} a km from the relief to the stations, "
                f"network bias {bias} ({count})"
            )


def base(channel: VariableSpec) -> Array:
    """Return the change with height (1 km) of the operator, and no bias."""
    return np.array([-1e3 * LAPSE_RATE if channel.name == "t2m" else 0.0, 0.0])


def format_change(channel: VariableSpec, change: float, std: float) -> str:
    """Return a change of transformed values with its standard deviation.

    Example:
        >>> spec = VariableSpec("tp", "", "", "mm day-1", "log1p", 1.0, 1.0, ((4.0, 0.1),))
        >>> format_change(spec, 0.1, 0.05)
        '11% +- 5% of 1 + mm day-1'
    """
    if channel.transform == "log1p":
        percent = round(100 * float(np.expm1(change)))
        return f"{percent}% +- {100 * std:.0f}% of 1 + {channel.units}"
    return f"{change:.2g} +- {std:.2g} {channel.units}"


def add_controls(
    report: pd.DataFrame, controls: Mapping[int, Controls], names: Sequence[str]
) -> pd.DataFrame:
    """Return a report with the control variables of each row's step and variable."""
    if not controls:
        return report
    values = pd.DataFrame(
        [
            (step, name, *each.mean[number])
            for step, each in controls.items()
            for number, name in enumerate(names)
        ],
        columns=["step", "variable", *COLUMNS],
    )
    keys = pd.MultiIndex.from_frame(report[["step", "variable"]])
    found = values.set_index(["step", "variable"]).reindex(keys)
    return report.assign(**{name: found[name].to_numpy() for name in COLUMNS})
