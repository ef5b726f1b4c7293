"""Choose colour scales, and round values of them that can be labelled side by side.

Limits and colour maps are those of `dpdm.colours`. Signed quantities are drawn with contours as
well, since both ends of their colour maps look alike in grey.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpdm.colours import (
    colour_map_name,
    find_colour_map,
    format_values,
    round_values,
    scale_limits,
    tail_values,
)
from dpdm.errors import DpdmError
from dpdm.fields.grid import Array
from dpdm.plot.page import FONT_SIZE, cmocean, colors, text_width


@dataclass(frozen=True)
class ColourScale:
    """A map from values to colours.

    Attributes:
        colours: The colour map.
        low: Value of the first colour.
        high: Value of the last colour.
        extend: Ends that some values lie beyond: neither, min, max or both.
        signed: Whether the scale is symmetric around zero.
    """

    colours: Any
    low: float
    high: float
    extend: str
    signed: bool

    @property
    def norm(self) -> Any:
        """Return matplotlib's norm of the scale."""
        return colors.Normalize(self.low, self.high)

    def round_values(self, count: int) -> Array:
        """Return round values within the scale, at most ``count`` intervals."""
        return round_values(self.low, self.high, count)


@dataclass(frozen=True)
class ScaleChoice:
    """What a user chooses of a colour scale.

    Attributes:
        cmap: Name of a colour map of cmocean or matplotlib; empty for that of the variable.
        vmin: Value of the first colour; None for that of the fields.
        vmax: Value of the last colour.
    """

    cmap: str = ""
    vmin: float | None = None
    vmax: float | None = None

    def limits(self, low: float, high: float, signed: bool) -> tuple[float, float]:
        """Return the ends of a scale, the other end of a symmetric one as far from zero."""
        low = -self.vmax if signed and self.vmax is not None else low
        high = -self.vmin if signed and self.vmin is not None else high
        low = low if self.vmin is None else self.vmin
        high = high if self.vmax is None else self.vmax
        if not low < high:
            raise DpdmError(
                f"The colours would go from {low:g} to {high:g}, which is not a range.",
                "Give --vmin below --vmax, in the units of the picture.",
            )
        return low, high


def make_colour_scale(
    kind: str, fields: Sequence[NDArray[Any]], choice: ScaleChoice = ScaleChoice()
) -> ColourScale:
    """Return the common scale of several fields.

    Args:
        kind: The variable, or spread, probability, difference, trend or anomaly.
        fields: The fields, with NaN for missing values.
        choice: What the user chooses of it.
    """
    values = np.concatenate([field[np.isfinite(field)].ravel() for field in fields])
    if not values.size:
        raise DpdmError("There is no value to draw: all are missing.", "Choose another part.")
    low, high, signed = scale_limits(kind, *tail_values(values))
    low, high = choice.limits(low, high, signed)
    below, above = bool(values.min() < low), bool(values.max() > high)
    extend = ("neither", "min", "max", "both")[below + 2 * above]
    colours = find_colour_map(choice.cmap or colour_map_name(kind, signed))
    if signed and low < 0 < high and low != -high:  # white remains at zero
        colours = cmocean.tools.crop(colours, low, high, 0.0)
    return ColourScale(colours, low, high, extend, signed)


TICK_GAP = 5.0  # points between the labels of a bar
TICK_COUNTS = (4, 3, 2, 1)  # intervals that are tried
EXTENSION_SHARE = 0.05  # of a bar's length, each arrow at its ends
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class BarTicks(NamedTuple):
    """The labelled values of a colour bar.

    Attributes:
        values: Round values.
        labels: Their labels, which have room side by side.
        power: A power of ten that all labels are multiplied with, empty for none.
    """

    values: list[float]
    labels: list[str]
    power: str

    def write(self, bar: Any) -> None:
        """Write the labels at a colour bar."""
        bar.set_ticks(self.values, labels=self.labels)
        bar.ax.minorticks_off()
        bar.ax.tick_params(pad=2)


def bar_ticks(
    scale: ColourScale, length: float, overhang: float, upright: bool = False
) -> BarTicks:
    """Return the ticks of a colour bar, as many as fit side by side.

    Args:
        scale: The colours.
        length: Length of the bar, inches.
        overhang: What a label may reach beyond either end, inches.
        upright: Whether the bar is upright.
    """
    arrows = {"neither": 0, "both": 2}.get(scale.extend, 1)
    inner, span = 72 * length / (1 + arrows * EXTENSION_SHARE), scale.high - scale.low
    exponent = power_exponent(max(abs(scale.low), abs(scale.high)))
    power = f"\N{MULTIPLICATION SIGN}10{str(exponent).translate(SUPERSCRIPT)}" if exponent else ""
    every = [scale.round_values(count) for count in TICK_COUNTS]
    fewer = [values for some in every for values in (some[1:-1], some[[0, -1]])]
    for values in [*every, *fewer]:
        labels = format_values(values / 10.0**exponent, span / 10.0**exponent)
        sizes = [FONT_SIZE if upright else text_width(label, FONT_SIZE) for label in labels]
        middles = inner * (values - scale.low) / span
        if len(values) > 1 and labels_fit(middles, sizes, inner, 72 * overhang):
            return BarTicks(values.tolist(), labels, power)
    middle = np.array([(scale.low + scale.high) / 2])
    labels = format_values(middle / 10.0**exponent, span / 10.0**exponent)
    return BarTicks(middle.tolist(), labels, power)


def labels_fit(middles: Array, sizes: Sequence[float], length: float, overhang: float) -> bool:
    """Return whether labels (points) are apart from each other and within the ends of an axis."""
    half = np.array(sizes) / 2
    apart = np.all(middles[1:] - half[1:] - middles[:-1] - half[:-1] >= TICK_GAP)
    return bool(
        apart
        and np.all(middles - half >= -overhang)
        and np.all(middles + half <= length + overhang)
    )


def power_exponent(largest: float) -> int:
    """Return the exponent that very small and very large values are written with, else 0.

    Example:
        >>> power_exponent(2e-6), power_exponent(1013.0)
        (-6, 0)
    """
    exponent = int(np.floor(np.log10(largest) + 1e-9)) if largest > 0 else 0
    return 0 if -3 <= exponent < 4 else exponent
