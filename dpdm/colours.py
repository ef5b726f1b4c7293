"""Choose the colour map of a variable, and the values of its first and last colour.

Colour maps are the perceptually uniform ones of cmocean (Thyng et al. 2016). Signed quantities are
symmetric around zero; all other colour maps change in lightness in one direction.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpdm.errors import DpdmError, nearest_names
from dpdm.system import import_extra

Array = NDArray[np.float64]
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


def tail_values(values: NDArray[Any]) -> tuple[float, float]:
    """Return the values that only a few of finite ones lie below and above."""
    low, high = np.percentile(values, (TAIL_PERCENT, 100 - TAIL_PERCENT))
    return float(low), float(high)


def scale_limits(kind: str, low: float, high: float) -> tuple[float, float, bool]:
    """Return the ends of a scale from tail values, and whether it is symmetric around zero.

    Example:
        >>> scale_limits("u10", -3.0, 7.9), scale_limits("tp", 0.1, 11.0)
        ((-8.0, 8.0, True), (0.0, 15.0, False))
    """
    if kind in SIGNED_KINDS or (kind not in COLOUR_MAPS and low < 0 < high):
        largest = round_up(max(abs(low), abs(high)))
        return -largest, largest, True
    if kind == "probability":
        return 0.0, 1.0, False
    if kind in ("tp", "spread"):
        return 0.0, round_up(high), False
    return *round_limits(low, high), False


def colour_map_name(kind: str, signed: bool) -> str:
    """Return the name of the colour map of a quantity."""
    return COLOUR_MAPS.get(kind, "balance" if signed else "haline")


def find_colour_map(name: str) -> Any:
    """Return the colour map of a name, of cmocean or else of matplotlib."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of matplotlib, about how cmocean makes its maps
        own = import_extra("cmocean", "Colours").cm.cmap_d
    others = import_extra("matplotlib", "Colours").colormaps
    if name in own:
        return own[name]
    if name in others:
        return others[name]
    close = nearest_names(name, sorted({*own, *others}), 3)
    raise DpdmError(
        f"There is no colour map {name}.",
        f"Give one of matplotlib or cmocean, such as {', '.join(close) or 'viridis'}.",
    )


def round_values(low: float, high: float, count: int) -> Array:
    """Return round values between two ends, at most ``count`` intervals."""
    ticker = import_extra("matplotlib.ticker", "Colours")
    locator = ticker.MaxNLocator(count, steps=[1, 2, 2.5, 5, 10])
    values = np.asarray(locator.tick_values(low, high), float)
    slack = 1e-6 * (high - low)
    inside: Array = values[(values >= low - slack) & (values <= high + slack)]
    return inside


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
