"""Control variables of the stations: the departure of the lapse rate, and the network's bias.

They are estimated with the field of each step. A station is not on the relief of the grid, and
the change of temperature between the two need not be 6.5 K/km: in the inversions of winter
valleys it has the other sign. What all stations of a step have in common may be their bias, as
far as the law allows, and not the field's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dpdm.constants import LAPSE_RATE

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


def describe_controls(controls: Mapping[int, Controls], names: Sequence[str]) -> Iterator[str]:
    """Yield a line on each variable whose stations have control variables."""
    if not controls:
        return
    mean = np.mean([each.mean for each in controls.values()], axis=0)
    spread = np.mean([each.spread for each in controls.values()], axis=0)
    count = f"mean of {len(controls)} steps" if len(controls) > 1 else "one step"
    for name, values, stds in zip(names, mean, spread, strict=True):
        if not stds.any():
            continue
        if name == "t2m":
            rate = values[0] - 1e3 * LAPSE_RATE
            yield (
                f"{name}: changes by {rate:.1f} +- {stds[0]:.1f} K/km from the relief to the "
                f"stations, network bias {values[1]:.2f} +- {stds[1]:.2f} K ({count})"
            )
        else:
            yield (
                f"{name}: changes by {100 * np.expm1(values[0]):.0f}% (+- "
                f"{100 * stds[0]:.0f}%) a km from the relief to the stations, network bias "
                f"{100 * np.expm1(values[1]):.0f}% (+- {100 * stds[1]:.0f}%) of 1 + mm/day "
                f"({count})"
            )


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
