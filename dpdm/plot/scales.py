"""Choose colour scales, and round values of them that can be labelled side by side.

Colour maps are the perceptually uniform ones of cmocean (Thyng et al. 2016). Signed quantities are
symmetric around zero and drawn with contours as well, since both ends look alike in grey; all
other colour maps change in lightness in one direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
                f"The colours would go from {low:g} to {high:g}, which is no range.",
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


def bar_ticks(
    scale: ColourScale, length: float, overhang: float, upright: bool = False
) -> tuple[Array, list[str]]:
    """Return round values of a colour bar and their labels, as many as fit side by side.

    Args:
        scale: The colours.
        length: Length of the bar, inches.
        overhang: What a label may reach beyond either end, inches.
        upright: Whether the bar is upright.
    """
    arrows = {"neither": 0, "both": 2}.get(scale.extend, 1)
    inner = 72 * length / (1 + arrows * EXTENSION_SHARE)
    every = [scale.round_values(count) for count in TICK_COUNTS]
    for values in [*every, *(some[[0, -1]] for some in every if len(some))]:
        labels = format_values(values)
        sizes = [FONT_SIZE if upright else text_width(label, FONT_SIZE) for label in labels]
        middles = inner * (values - scale.low) / (scale.high - scale.low)
        if len(values) > 1 and labels_fit(middles, sizes, inner, 72 * overhang):
            return values, labels
    middle = every[0][len(every[0]) // 2 :][:1]
    return middle, format_values(middle)


def labels_fit(middles: Array, sizes: Sequence[float], length: float, overhang: float) -> bool:
    """Return whether labels (points) are apart from each other and within the ends of an axis."""
    half = np.array(sizes) / 2
    apart = np.all(middles[1:] - half[1:] - middles[:-1] - half[:-1] >= TICK_GAP)
    return bool(
        apart
        and np.all(middles - half >= -overhang)
        and np.all(middles + half <= length + overhang)
    )


def format_values(values: Array) -> list[str]:
    """Format the values of a scale with the same number of decimals, or powers of ten.

    Example:
        >>> format_values(np.array([0.0, 0.05, 0.1])), format_values(np.array([0.0, 2e6]))[1][-1]
        (['0', '0.05', '0.10'], '⁶')
    """
    largest = float(np.abs(values).max(initial=0.0))
    exponent = int(np.floor(np.log10(largest))) if largest else 0
    if -3 <= exponent < 5:
        return [text.replace("-", "\N{MINUS SIGN}") for text in _fixed_decimals(values)]
    power = "\N{MULTIPLICATION SIGN}10" + str(exponent).translate(
        str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    )
    texts = _fixed_decimals(values / 10.0**exponent)
    return [
        text.replace("-", "\N{MINUS SIGN}") + power if value else text
        for text, value in zip(texts, values, strict=True)
    ]


def _fixed_decimals(values: Array) -> list[str]:
    """Format values with as few decimals as tell them exactly."""
    slack = 1e-4 * (np.ptp(values) or float(np.abs(values).max(initial=1.0)) or 1.0)
    for places in range(12):
        if np.all(np.abs(np.round(values, places) - values) <= slack):
            break
    rounded = np.round(values, places) + 0.0
    return [f"{value:.{places}f}" if value else "0" for value in rounded]


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
