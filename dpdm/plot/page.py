"""Lay out a page of one printed column, and choose colour scales.

A page is 8.9 cm wide with text of 12 points; its height follows from its contents. Colour maps are
the perceptually uniform ones of cmocean (Thyng et al. 2016). Signed quantities are symmetric
around zero and drawn with contours as well, since both ends look alike in grey; all other colour
maps change in lightness in one direction. Figures are made without pyplot.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dpdm import __version__
from dpdm.errors import DpdmError
from dpdm.fields.grid import Array
from dpdm.publish import open_draft
from dpdm.system import missing_library_error

try:
    import cartopy.crs as ccrs
    import matplotlib as mpl
    from matplotlib import collections, colors, dates, figure, ticker
    from matplotlib.path import Path as Outline
    from matplotlib.textpath import TextPath

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of matplotlib, about how cmocean makes its maps
        import cmocean
except ImportError as fault:
    raise missing_library_error("Maps", fault) from fault

__all__ = [
    "Outline",
    "TextPath",
    "ccrs",
    "cmocean",
    "collections",
    "colors",
    "dates",
    "figure",
    "mpl",
    "ticker",
]

PAGE_WIDTH = 8.9 / 2.54  # inches
PAGE_DPI = 200  # of a PNG, and of the fields in a PDF or SVG
FONT_SIZE = 12  # points
LINE_HEIGHT = 0.2  # inches
PAGE_MARGIN = 0.08  # inches
PAGE_STYLE = {
    "font.size": FONT_SIZE,
    "font.family": ["DejaVu Sans"],
    "axes.titlesize": FONT_SIZE,
    "axes.labelsize": FONT_SIZE,
    "xtick.labelsize": FONT_SIZE,
    "ytick.labelsize": FONT_SIZE,
    "legend.fontsize": FONT_SIZE,
    "axes.linewidth": 0.6,
    "hatch.linewidth": 0.5,
    "svg.hashsalt": "dpdm",
    "pdf.fonttype": 42,
}
PICTURE_FORMATS = (".png", ".pdf", ".svg")
PERCENTILE_BANDS = {"90%": (5, 95, "0.85"), "50%": (25, 75, "0.65")}
TRUTH_STYLE = dict(color="black", linewidth=1.0, linestyle="none", marker=".", markersize=6,
zorder=5,
             clip_on=False)  # fmt: skip
CENTRE_STYLE = dict(color="#c1272d", linewidth=1.6, zorder=4)


class Page:
    """Lay out a figure from the top down.

    Args:
        heading: Lines above, wrapped to the width of the page.
        rows: Heights of the rows of panels, inches.
        footer: Provenance of the picture.
    """

    def __init__(self, heading: Sequence[str], rows: Sequence[float], footer: str) -> None:
        lines = [line for text in heading for line in wrap_text(text, FONT_SIZE)]
        footer_lines = wrap_text(footer, FONT_SIZE)
        head, foot = LINE_HEIGHT * len(lines), LINE_HEIGHT * len(footer_lines)
        self.height = 2 * PAGE_MARGIN + head + sum(rows) + foot
        self.figure = figure.Figure(figsize=(PAGE_WIDTH, self.height), dpi=PAGE_DPI)
        self._tops = [self.height - PAGE_MARGIN - head - sum(rows[:i]) for i in range(len(rows))]
        for i, line in enumerate(lines):
            self._write(line, self.height - PAGE_MARGIN - LINE_HEIGHT * i, "black")
        for i, line in enumerate(footer_lines):
            self._write(line, PAGE_MARGIN + foot - LINE_HEIGHT * i, "0.35")

    def _write(self, line: str, top: float, colour: str) -> None:
        place = (PAGE_MARGIN / PAGE_WIDTH, top / self.height)
        self.figure.text(
            *place, line, size=FONT_SIZE, color=colour, va="top", ha="left", parse_math=False
        )

    def axes(
        self, row: int, left: float, width: float, height: float, down: float = 0.0, **kind: Any
    ) -> Any:
        """Add axes to a row.

        Args:
            row: Number of the row.
            left: Inches from the left of the page.
            width: Inches.
            height: Inches.
            down: Inches from the top of the row.
            kind: Further arguments of matplotlib, such as a projection.
        """
        bottom = self._tops[row] - down - height
        place = (left / PAGE_WIDTH, bottom / self.height, width / PAGE_WIDTH, height / self.height)
        return self.figure.add_axes(place, **kind)


def wrap_text(text: str, size: int) -> list[str]:
    """Wrap a text to the width of the page, between words if possible."""
    room = (PAGE_WIDTH - 2 * PAGE_MARGIN) * 72
    lines: list[str] = []
    for word in (part for w in text.split() for part in split_word(w, size, room)):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def split_word(word: str, size: int, room: float) -> list[str]:
    """Split a long word, such as a file name, into pieces that fit a line."""
    if text_width(word, size) <= room:
        return [word]
    length = max(1, int(len(word) * room / text_width(word, size)) - 1)
    return [word[:length], *split_word(word[length:], size, room)]


def text_width(text: str, size: int) -> float:
    """Return the width of a text in points."""
    path = TextPath((0, 0), text.replace("$", "s"), size=size)
    return float(path.get_extents().width)


def save_page(page: Page, out: Path, title: str, overwrite: bool = False) -> None:
    """Write a picture atomically."""
    stream = io.BytesIO()
    stamps: dict[str, Any] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    metadata = {"Title": title} | stamps.get(out.suffix, {"Software": f"dpdm {__version__}"})
    page.figure.savefig(stream, format=out.suffix[1:], dpi=PAGE_DPI, metadata=metadata)
    with open_draft(out, overwrite) as draft:
        draft.write_bytes(stream.getvalue())


def page_style() -> Any:
    """Return a context with the fonts and lines of a page."""
    return mpl.rc_context(PAGE_STYLE)


COLOUR_MAPS = {
    "t2m": "thermal",
    "t": "thermal",
    "tp": "rain",
    "sp": "dense",
    "msl": "dense",
    "spread": "amp",
}
SIGNED_KINDS = ("u10", "v10", "u", "v", "difference", "trend")
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


def make_colour_scale(kind: str, fields: Sequence[Array]) -> ColourScale:
    """Return the common scale of several fields.

    Args:
        kind: The variable, or spread, difference or trend.
        fields: The fields, with NaN for missing values.
    """
    values = np.concatenate([field[np.isfinite(field)].ravel() for field in fields])
    if not values.size:
        raise DpdmError("There is no value to draw: all are missing.", "Choose another part.")
    low, high, signed = scale_limits(kind, values)
    below, above = bool(values.min() < low), bool(values.max() > high)
    extend = ("neither", "min", "max", "both")[below + 2 * above]
    return ColourScale(_colour_map(kind, signed), low, high, extend, signed)


def scale_limits(kind: str, values: Array) -> tuple[float, float, bool]:
    """Return the ends of a scale for values, and whether it is symmetric around zero."""
    low, high = (float(end) for end in np.percentile(values, (TAIL_PERCENT, 100 - TAIL_PERCENT)))
    if kind in SIGNED_KINDS or (kind not in COLOUR_MAPS and low < 0 < high):
        largest = round_up(max(abs(low), abs(high)))
        return -largest, largest, True
    if kind in ("tp", "spread"):
        return 0.0, round_up(high), False
    return *round_limits(low, high), False


def _colour_map(kind: str, signed: bool) -> Any:
    return getattr(cmocean.cm, "balance" if signed else COLOUR_MAPS.get(kind, "haline"))


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
