"""Statistics of an ensemble: their computation, attributes and options.

Spread is the standard deviation with M - 1 in its denominator; percentiles are linear between
members; a probability is the share of members, with a resolution of 1 / M. Where one member is
missing, so is the statistic. A user writes ``mean``, ``p90``, ``member=3`` or ``probability>300``.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError

Array: TypeAlias = NDArray[np.float64]
_FORM = re.compile(r"mean|spread|p(?P<q>\d+)|member=(?P<member>\S+)|probability(?P<over>.*)")
_OVER = re.compile(r"\s*(>=|<=|>|<)\s*(\S+)")
_SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip
_FORMS = "mean, spread, p10, p50, p90, member=3 or 'probability>300'"
_OVER_MEMBERS = " over the ensemble of "
QUANTILES = (10, 50, 90)  # that are stored, in percent


@dataclass(frozen=True)
class Statistic:
    """A statistic of the members.

    Attributes:
        text: The statistic as the user writes it.
        kind: "mean", "spread", "percentile", "member" or "probability".
        value: The percentile, the member's label, or the threshold.
        sign: The comparison with the threshold.
    """

    text: str
    kind: str
    value: Any = None
    sign: str = ""

    @property
    def suffix(self) -> str:
        """Return the suffix of the variable's name in the output."""
        return {"member": "", "probability": "_probability"}.get(self.kind, f"_{self.text}")

    def of(self, members: xr.DataArray) -> xr.DataArray:
        """Return the statistic over the dimension ``realization``, with its attributes."""
        if self.kind == "member":
            return self._member(members)
        like = members.isel(realization=0, drop=True)
        values = np.moveaxis(members.values, members.get_axis_num("realization"), 0).astype(float)
        found: xr.DataArray = like.copy(data=self._over(values).astype(np.float32))
        found.attrs = self.attributes(members)
        return found

    def _over(self, members: Array) -> Array:
        """Return the statistic over the first axis."""
        if self.kind == "probability":
            share = _SIGNS[self.sign](members, self.value).mean(0)
            return np.where(np.isnan(members).any(0), np.nan, share)
        return compute_ensemble_statistics(members, [self.text])[self.text]

    def _member(self, members: xr.DataArray) -> xr.DataArray:
        labels = [str(label) for label in members["realization"].values]
        if str(self.value) not in labels:
            raise DpdmError(
                f"{members.name} has no member {self.value}; there are {labels[0]} to "
                f"{labels[-1]}.",
                "Choose one of those.",
            )
        return members.isel(realization=labels.index(str(self.value)), drop=True)

    def attributes(self, members: xr.DataArray) -> dict[str, Any]:
        """Return the attributes of the statistic, from those of the members."""
        attrs, name = dict(members.attrs), members.attrs.get("long_name", members.name)
        if self.kind == "probability":
            unit = attrs.get("units", "")
            text = f"probability that {name} {self.sign} {self.value:g} {unit}".strip()
            comment = f"Share of {members.sizes['realization']} members."
            return {"long_name": text, "units": "1", "comment": comment}
        return statistic_attrs(attrs, str(members.name), self.text)


PART = 1 << 16  # values of a member whose statistics are computed at once


def compute_ensemble_statistics(
    members: NDArray[Any], names: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Return ``mean``, ``spread`` and percentiles over the first axis; no spread of one member."""
    found = {name: _MOMENTS[name](members) for name in names if name in _MOMENTS}
    shares = [name for name in names if name not in found]
    values = np.percentile(members, [int(name[1:]) for name in shares], axis=0) if shares else []
    return found | dict(zip(shares, values, strict=True))


def compute_in_parts(
    members: Sequence[NDArray[Any]], names: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Return the same statistics, without a copy of all members, which may be global fields."""
    flat = [member.reshape(-1) for member in members]
    parts = [
        compute_ensemble_statistics(np.stack([m[start : start + PART] for m in flat]), names)
        for start in range(0, flat[0].size, PART)
    ]
    shape = members[0].shape
    return {name: np.concatenate([part[name] for part in parts]).reshape(shape) for name in names}


def _mean(members: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(members.mean(0, dtype=float))


def _spread(members: NDArray[Any]) -> NDArray[Any]:
    if len(members) == 1:
        return np.full_like(members[0], np.nan)
    return np.asarray(members.std(0, dtype=float, ddof=1))


_MOMENTS = {"mean": _mean, "spread": _spread}


def statistic_names(quantiles: Sequence[int] = QUANTILES) -> list[str]:
    """Return the names of the statistics that are stored."""
    return [*_MOMENTS, *(f"p{quantile}" for quantile in quantiles)]


def statistic_attrs(attrs: Mapping[str, Any], name: str, statistic: str) -> dict[str, Any]:
    """Return the attributes of a statistic, from those of the variable.

    Example:
        >>> statistic_attrs({"long_name": "2 m temperature"}, "t2m", "p50")["cell_methods"]
        'realization: median'
    """
    name_of_method = {"mean": "mean", "spread": "standard deviation", "p50": "median"}.get(
        statistic, ""
    )
    prefix = name_of_method or f"{ordinal_word(int(statistic[1:]))} percentile"
    out = dict(attrs) | {"long_name": f"{prefix}{_OVER_MEMBERS}{attrs.get('long_name', name)}"}
    if not name_of_method:  # CF has no method of that name
        return out | {"comment": "Percentile over realization, linear between members."}
    method = f"{attrs.get('cell_methods', '')} realization: {name_of_method.replace(' ', '_')}"
    return out | {"cell_methods": method.strip()}


def ordinal_word(number: int) -> str:
    """Return a number as an ordinal.

    Example:
        >>> ordinal_word(1), ordinal_word(12), ordinal_word(90)
        ('1st', '12th', '90th')
    """
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number // 10 == 1 else ending}"


def parse_statistic(text: str) -> Statistic:
    """Read a statistic.

    Example:
        >>> parse_statistic("p90").value, parse_statistic("probability >= 0.5").sign
        (90, '>=')
    """
    found = _FORM.fullmatch(text.strip())
    if found and found["over"] is not None:
        return _probability(text, found["over"])
    if found and found["q"] and int(found["q"]) <= 100:
        return Statistic(f"p{int(found['q'])}", "percentile", int(found["q"]))
    if found and found["member"]:
        return Statistic(text.strip(), "member", found["member"])
    if found and not found["q"]:
        return Statistic(text.strip(), text.strip())
    raise DpdmError(f"'{text}' is not a statistic.", f"Use --stat {_FORMS}.")


def _probability(text: str, over: str) -> Statistic:
    found = _OVER.fullmatch(over)
    with suppress(ValueError):
        if found and math.isfinite(threshold := float(found[2])):
            return Statistic(text.strip(), "probability", threshold, found[1])
    raise DpdmError(
        f"'{text}' has no threshold.", "Quote it for the shell: --stat 'probability>300'."
    )


def is_ensemble_mean(array: xr.DataArray) -> bool:
    """Tell whether the attributes of an array declare an ensemble mean."""
    return "realization: mean" in str(array.attrs.get("cell_methods", ""))


class StateLabel(Protocol):
    """A function that gives a member or a statistic its axes and metadata."""

    def __call__(
        self, values: NDArray[Any], member: int | None = None, statistic: str = ""
    ) -> xr.Dataset:
        """Return physical values with axes and metadata."""


def ensemble_blocks(
    members: Iterable[NDArray[Any]], label: StateLabel, keep: str, quantiles: Sequence[int]
) -> Iterator[xr.Dataset]:
    """Yield the blocks of one step: each member, then the statistics.

    ``keep`` is "members", "stats" or "all", or "mean" for a single field that is the mean.
    """
    if keep == "mean":
        yield label(next(iter(members)))
        return
    stored = []
    for number, drawn in enumerate(members):
        member = drawn.astype(np.float32, order="C")
        if keep != "members":
            stored.append(member)
        yield label(member, number) if keep != "stats" else xr.Dataset()
    if stored:
        statistics = compute_in_parts(stored, statistic_names(quantiles))
        yield xr.merge([label(values, statistic=name) for name, values in statistics.items()])
