"""Read a statistic of an ensemble at the steps of a picture.

Of several steps it is that of the members' means over the steps, if there are members.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.statistics import Statistic, ordinal_word, parse_statistic
from dpdm.plot.data import PlotVariable, difference_unit
from dpdm.plot.steps import read_steps


class ShownField(NamedTuple):
    """A field of a map.

    Attributes:
        field: The values.
        label: What it is.
        units: Its units.
        colour_kind: The quantity that decides its colours.
    """

    field: xr.DataArray
    label: str
    units: str
    colour_kind: str

    @property
    def has_relief(self) -> bool:
        """Return whether relief may be shaded over it: not over a spread or a probability."""
        return self.colour_kind not in ("spread", "probability")


def read_statistic(source: PlotVariable, steps: Sequence[int], text: str) -> ShownField:
    """Read a statistic of an ensemble, by default the mean, or a single field."""
    statistic = parse_statistic(text or "mean")
    if statistic.kind == "mean":
        return _read_mean(source, steps, required=bool(text))
    if statistic.kind == "spread":
        return _read_spread(source, steps)
    if len(steps) == 1 and statistic.text in source.statistics:
        field = read_steps(source.statistics[statistic.text], steps, source.path)
    elif source.count:
        field = statistic.of(_members(source, steps))
    else:
        several = " of several steps" if len(steps) > 1 else ""
        raise DpdmError(
            f"{source.path} has no members of {source.name}, and no {statistic.text}{several}.",
            "Write members with dpdm downscale --keep members.",
        )
    probable = statistic.kind == "probability"
    return ShownField(
        field,
        statistic_label(statistic, source),
        "probability" if probable else source.units,
        "probability" if probable else source.colour_kind,
    )


def _members(source: PlotVariable, steps: Sequence[int]) -> xr.DataArray:
    """Read the members' means over some steps, with the name of the variable."""
    return read_steps(source.full_array, steps, source.path).rename(source.name)


def _read_mean(source: PlotVariable, steps: Sequence[int], required: bool) -> ShownField:
    """Read the mean of an ensemble, or a single field if no ensemble is required."""
    if required and source.mean_label == "field":
        raise DpdmError(
            f"{source.path} has neither members nor statistics of {source.name}.",
            "Leave --stat out.",
        )
    label = {"field": "", "one member": "one member"}.get(
        source.mean_label, f"ensemble {source.mean_label}"
    )
    field = read_steps(source.mean, steps, source.path)
    return ShownField(field, label, source.units, source.colour_kind)


def _read_spread(source: PlotVariable, steps: Sequence[int]) -> ShownField:
    """Read the spread of an ensemble."""
    field = read_spread(source, steps)
    if field is None:
        raise DpdmError(
            f"{source.path} has no spread of {source.name}, and fewer than two members.",
            "Downscale with --members 2 or more, or draw --kind map.",
        )
    of = f" of {source.size}" if source.size else ""
    return ShownField(
        field,
        f"ensemble {spread_word(source, steps)}{of}",
        difference_unit(source.units),
        "spread",
    )


def spread_word(source: PlotVariable, steps: Sequence[int]) -> str:
    """Return what a spread of some steps is: without members, the root mean square of theirs."""
    return "rms spread" if len(steps) > 1 and source.count < 2 else "spread"


def read_spread(source: PlotVariable, steps: Sequence[int]) -> xr.DataArray | None:
    """Read the spread over the members, or the root mean square of a stored one, if any."""
    stored = source.statistics.get("spread")
    if stored is not None and (len(steps) == 1 or source.count < 2):
        return read_steps(stored**2, steps, source.path) ** 0.5
    if source.count < 2:
        return None
    members = read_steps(source.full_array, steps, source.path)
    return members.std("realization", ddof=1, skipna=False)


def statistic_label(statistic: Statistic, source: PlotVariable) -> str:
    """Return what a statistic is, with the size of the ensemble."""
    of = f" of {source.size}" if source.size else ""
    if statistic.kind == "percentile":
        median = statistic.value == 50
        return ("median" if median else f"{ordinal_word(statistic.value)} percentile") + of
    if statistic.kind == "member":
        return f"member {statistic.value}"
    threshold = f"{statistic.sign} {statistic.value:g} {source.units}"
    return f"share of {source.size} members {threshold}"
