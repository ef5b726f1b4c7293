"""Choose colour scales, and round values of them that can be labelled side by side.

Colour maps are the perceptually uniform ones of cmocean (Thyng et al. 2016). Signed quantities are
symmetric around zero and drawn with contours as well, since both ends look alike in grey; all
other colour maps change in lightness in one direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dpdm.errors import DpdmError, nearest_names
from dpdm.fields.grid import Array
from dpdm.plot.page import FONT_SIZE, cmocean, colors, mpl, text_width, ticker

COLOUR_MAPS = {
    "t2m": "thermal",
    "t": "thermal",
    "tp": "rain",
    "sp": "dense",
    "msl": "dense",
    "spread": "amp",
    "probability": "matter",
    "anomaly of tp": "BrBG",  # dry is brown
}
SIGNED_KINDS = ("u10", "v10", "u", "v", "difference", "trend", "anomaly", "anomaly of tp")
TAIL_PERCENT = 0.5  # percent of the pixels that may lie beyond either end of the colours
ROUND_NUMBERS = (1.0, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)


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
        locator = ticker.MaxNLocator(count, steps=[1, 2, 2.5, 5, 10])
        values = np.asarray(locator.tick_values(self.low, self.high), float)
        slack = 1e-6 * (self.high - self.low)
        inside: Array = values[(values >= self.low - slack) & (values <= self.high + slack)]
        return inside


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
    kind: str, fields: Sequence[Array], choice: ScaleChoice = ScaleChoice()
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
    low, high, signed = scale_limits(kind, values)
    low, high = choice.limits(low, high, signed)
    below, above = bool(values.min() < low), bool(values.max() > high)
    extend = ("neither", "min", "max", "both")[below + 2 * above]
    name = choice.cmap or COLOUR_MAPS.get(kind, "balance" if signed else "haline")
    colours = find_colour_map(name)
    if signed and low < 0 < high and low != -high:  # white remains at zero
        colours = cmocean.tools.crop(colours, low, high, 0.0)
    return ColourScale(colours, low, high, extend, signed)


def scale_limits(kind: str, values: Array) -> tuple[float, float, bool]:
    """Return the ends of a scale for values, and whether it is symmetric around zero."""
    low, high = (float(end) for end in np.percentile(values, (TAIL_PERCENT, 100 - TAIL_PERCENT)))
    if kind in SIGNED_KINDS or (kind not in COLOUR_MAPS and low < 0 < high):
        largest = round_up(max(abs(low), abs(high)))
        return -largest, largest, True
    if kind == "probability":
        return 0.0, 1.0, False
    if kind in ("tp", "spread"):
        return 0.0, round_up(high), False
    return *round_limits(low, high), False


def find_colour_map(name: str) -> Any:
    """Return the colour map of a name, of cmocean or else of matplotlib."""
    own = cmocean.cm.cmap_d
    if name in own:
        return own[name]
    if name in mpl.colormaps:
        return mpl.colormaps[name]
    close = nearest_names(name, sorted({*own, *mpl.colormaps}), 3)
    raise DpdmError(
        f"There is no colour map {name}.",
        f"Give one of matplotlib or cmocean, such as {', '.join(close) or 'viridis'}.",
    )


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


def format_values(values: Array, span: float) -> list[str]:
    """Format values of a scale with as few decimals, alike, as tell them within its span.

    Example:
        >>> format_values(np.array([0.0, 0.05, 0.1]), 0.1), format_values(np.array([995.0]), 20.0)
        (['0', '0.05', '0.10'], ['995'])
    """
    for places in range(12):
        if np.all(np.abs(np.round(values, places) - values) <= 1e-4 * span):
            break
    rounded = np.round(values, places) + 0.0
    return [
        f"{value:.{places}f}".replace("-", "\N{MINUS SIGN}") if value else "0" for value in rounded
    ]


def round_up(value: float) -> float:
    """Return the next round number above.

    Example:
        >>> round_up(0.073), round_up(12.0), round_up(0.0)
        (0.08, 15.0, 1.0)
    """
    if value <= 0:
        return 1.0
    power = float(10.0 ** np.floor(np.log10(value) + 1e-9))
    share = next(number for number in ROUND_NUMBERS if number * power >= value * (1 - 1e-9))
    return float(round(share * power, 12))


def round_limits(low: float, high: float) -> tuple[float, float]:
    """Round the ends of a scale outwards."""
    if high <= low:
        return low - 0.5, low + 0.5
    step = 10.0 ** np.floor(np.log10(high - low)) / 5
    return float(np.floor(low / step) * step), float(np.ceil(high / step) * step)
