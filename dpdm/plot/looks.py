"""Which colours a quantity has: evenly stepping maps of cmocean (Thyng et al. 2016), by its kind.

What has two signs is balanced around zero, and drawn with lines too, solid above zero and dashed
below: in grey, both ends look alike. All else grows darker or lighter in one direction, and can be
read without colour.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dpdm.errors import DpdmError
from dpdm.fields.grid import Array
from dpdm.plot.libraries import cmocean, colors, ticker

MAPS = {
    "t2m": "thermal",
    "t": "thermal",
    "tp": "rain",
    "sp": "dense",
    "msl": "dense",
    "spread": "amp",
}
SIGNED = ("u10", "v10", "u", "v", "difference", "trend")
TAIL = 0.5  # percent of the pixels at either end that may lie beyond the colours
NEAT = (1.0, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)


@dataclass(frozen=True)
class Look:
    """Say how values become colours.

    Attributes:
        colours: The colour map.
        low: The value of the first colour.
        high: The value of the last.
        extend: Which ends some values lie beyond: neither, min, max or both.
        signed: Whether the values are balanced around zero.
    """

    colours: Any
    low: float
    high: float
    extend: str
    signed: bool

    @property
    def norm(self) -> Any:
        """Return the scale from values to colours."""
        return colors.Normalize(self.low, self.high)

    def steps(self, most: int) -> Array:
        """Return round values within the scale, at most so many steps apart."""
        few = ticker.MaxNLocator(most, steps=[1, 2, 2.5, 5, 10])
        found = np.asarray(few.tick_values(self.low, self.high), float)
        slack = 1e-6 * (self.high - self.low)
        kept: Array = found[(found >= self.low - slack) & (found <= self.high + slack)]
        return kept


def look(kind: str, fields: Sequence[Array]) -> Look:
    """Return one scale for fields that are shown beside each other.

    Args:
        kind: The variable, or spread, difference or trend.
        fields: What is shown; NaN where nothing is.
    """
    values = np.concatenate([field[np.isfinite(field)].ravel() for field in fields])
    if not values.size:
        raise DpdmError("There is no value to draw: all are missing.", "Choose another part.")
    low, high, signed = limits(kind, values)
    under, over = bool(values.min() < low), bool(values.max() > high)
    extend = ("neither", "min", "max", "both")[under + 2 * over]
    return Look(_map(kind, signed), low, high, extend, signed)


def limits(kind: str, values: Array) -> tuple[float, float, bool]:
    """Return the ends of a scale for values, and whether it is balanced around zero."""
    low, high = (float(end) for end in np.percentile(values, (TAIL, 100 - TAIL)))
    if kind in SIGNED or (kind not in MAPS and low < 0 < high):
        most = neat(max(abs(low), abs(high)))
        return -most, most, True
    if kind in ("tp", "spread"):
        return 0.0, neat(high), False
    return *rounded(low, high), False


def _map(kind: str, signed: bool) -> Any:
    return getattr(cmocean.cm, "balance" if signed else MAPS.get(kind, "haline"))


def neat(value: float) -> float:
    """Return the next round number above.

    Example:
        >>> neat(0.073), neat(12.0), neat(0.0)
        (0.08, 15.0, 1.0)
    """
    if value <= 0:
        return 1.0
    power = float(10.0 ** np.floor(np.log10(value) + 1e-9))
    share = next(number for number in NEAT if number * power >= value * (1 - 1e-9))
    return float(round(share * power, 12))


def rounded(low: float, high: float) -> tuple[float, float]:
    """Return round ends of a scale, a hundredth of which is a step of its roundness."""
    if high <= low:
        return low - 0.5, low + 0.5
    step = 10.0 ** np.floor(np.log10(high - low)) / 5
    return float(np.floor(low / step) * step), float(np.ceil(high / step) * step)
