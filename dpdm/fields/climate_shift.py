"""The difference between the climate of a series and the climatology that it meets.

A difference between climates of other periods, or of a model and of a reanalysis, is a change of
the climate, a bias, or both; the numbers alone do not tell. So it is said, and the user decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dpdm.fields.climatology import TRACE_AMOUNT, Climate
from dpdm.fields.grid import Array

LARGE_DIFFERENCES = {"K": 0.5}  # by unit; of the annual and area mean
LARGE_RATIO = 0.2  # of the amounts of a year


@dataclass(frozen=True)
class ClimateShift:
    """Annual and area means of a variable in a series and in a climatology.

    Attributes:
        name: The variable.
        units: Its units.
        amount: Whether it is an amount, whose changes are ratios.
        own: Mean of the series.
        reference: Mean of the climatology.
    """

    name: str
    units: str
    amount: bool
    own: float
    reference: float

    @property
    def size(self) -> float:
        """Return the mean of the series minus that of the climatology, a share for amounts.

        Example:
            >>> ClimateShift("tp", "mm day-1", True, 3.0, 2.0).size
            0.5
        """
        difference = self.own - self.reference
        return difference / max(self.reference, TRACE_AMOUNT) if self.amount else difference

    @property
    def is_large(self) -> bool:
        """Tell whether the shift is larger than that of most decades."""
        limit = LARGE_RATIO if self.amount else LARGE_DIFFERENCES.get(self.units, np.inf)
        return bool(abs(self.size) > limit)

    def describe(self, series: str, climatology: str) -> str:
        """Return the shift in words.

        Example:
            >>> ClimateShift("t2m", "K", False, 285.0, 287.3).describe("a.nc", "era5")
            't2m of a.nc is on average 2.3 K lower than in era5'
        """
        size = f"{100 * abs(self.size):.0f}%" if self.amount else f"{abs(self.size):.2g}"
        amount = size if self.amount else f"{size} {self.units}".strip()
        side = "higher" if self.size > 0 else "lower"
        return f"{self.name} of {series} is on average {amount} {side} than in {climatology}"


def compare_climates(own: Array, climate: Climate, units: Mapping[str, str]) -> list[ClimateShift]:
    """Return the shift of each variable between the means (12, C, h, w) of two climates.

    Cells and months that either lacks count for neither.
    """
    known = np.isfinite(own) & np.isfinite(climate.mean)
    weights = np.where(known, climate.grid.weights, 0.0)
    total = weights.sum((0, 2, 3))
    means = (
        (np.where(known, each, 0.0) * weights).sum((0, 2, 3)) / np.where(total, total, np.nan)
        for each in (own, climate.mean)
    )
    columns = zip(climate.names, climate.amounts.ravel(), *means, strict=True)
    return [ClimateShift(n, units.get(n, ""), bool(a), *map(float, ms)) for n, a, *ms in columns]
