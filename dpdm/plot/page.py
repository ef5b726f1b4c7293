"""A page of one printed column: a heading, rows of panels, and what it was all made from.

Sizes are those of print: 8.9 cm wide, all text of 12 points. The height follows from what stands
on it, so nothing overlaps and nothing is guessed.

Which colours a quantity has: evenly stepping maps of cmocean (Thyng et al. 2016), by its kind.

What has two signs is balanced around zero, and drawn with lines too, solid above zero and dashed
below: in grey, both ends look alike. All else grows darker or lighter in one direction, and can be
read without colour.

The libraries that maps need, imported in one place, or one sentence on how to get them.

Figures are made without pyplot: no window system, no state that outlives a picture.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dpdm import __version__
from dpdm.errors import DpdmError, escape_controls
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
PAGE_DPI = 200  # of a PNG, and of the fields in a PDF or SVG, whose words are outlines
FONT_SIZE = 12  # points
LINE_HEIGHT = 0.2  # inches
PAGE_MARGIN = 0.08  # inches of white around
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
PROVENANCE_KEYS = ("prior", "input", "observations")  # of a file's provenance


class Page:
    """Lay out a figure from the top down.

    Args:
        heading: Lines above, wrapped where they are too long.
        rows: Heights of the rows of panels, inches.
        footer: What the picture was made from.
    """

    def __init__(self, heading: Sequence[str], rows: Sequence[float], footer: str) -> None:
        lines = [line for text in heading for line in wrap_text(text, FONT_SIZE)]
        under = wrap_text(footer, FONT_SIZE)
        head, foot = LINE_HEIGHT * len(lines), LINE_HEIGHT * len(under)
        self.height = 2 * PAGE_MARGIN + head + sum(rows) + foot
        self.figure = figure.Figure(figsize=(PAGE_WIDTH, self.height), dpi=PAGE_DPI)
        self._tops = [self.height - PAGE_MARGIN - head - sum(rows[:i]) for i in range(len(rows))]
        for i, line in enumerate(lines):
            self._write(line, self.height - PAGE_MARGIN - LINE_HEIGHT * i, "black")
        for i, line in enumerate(under):
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
            row: Which row.
            left: Inches from the left of the page.
            width: Inches.
            height: Inches.
            down: Inches from the top of the row.
            kind: What matplotlib is told of them, a projection for example.
        """
        bottom = self._tops[row] - down - height
        place = (left / PAGE_WIDTH, bottom / self.height, width / PAGE_WIDTH, height / self.height)
        return self.figure.add_axes(place, **kind)


def wrap_text(text: str, size: int) -> list[str]:
    """Break a text into lines that fit the page, between words where it can."""
    room = (PAGE_WIDTH - 2 * PAGE_MARGIN) * 72
    lines: list[str] = []
    for word in (part for whole in text.split() for part in split_word(whole, size, room)):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def split_word(word: str, size: int, room: float) -> list[str]:
    """Break a word, a long file name for example, into pieces that fit a line."""
    if text_width(word, size) <= room:
        return [word]
    keep = max(1, int(len(word) * room / text_width(word, size)) - 1)
    return [word[:keep], *split_word(word[keep:], size, room)]


def text_width(text: str, size: int) -> float:
    """Return the width of a text in points."""
    path = TextPath((0, 0), text.replace("$", "s"), size=size)
    return float(path.get_extents().width)


def picture_provenance(attrs: Mapping[str, Any], files: Sequence[Path]) -> str:
    """Say who drew a picture from which files, and from what else the first of them was made.

    Example:
        >>> picture_provenance({"dpdm_prior": "default"}, [Path("a/fine.nc")]).partition("; ")[2]
        'fine.nc; prior default'
    """
    names = [path.name for path in files]
    made = {word: Path(str(attrs.get(f"dpdm_{word}", ""))).name for word in PROVENANCE_KEYS}
    others = [f"{word} {name}" for word, name in made.items() if name and name not in names]
    return escape_controls("; ".join([f"dpdm {__version__}", ", ".join(names), *others]))


def save_page(page: Page, out: Path, title: str, overwrite: bool = False) -> None:
    """Write a picture, whole or not at all."""
    ink = io.BytesIO()
    stamps: dict[str, Any] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    words = {"Title": title} | stamps.get(out.suffix, {"Software": f"dpdm {__version__}"})
    page.figure.savefig(ink, format=out.suffix[1:], dpi=PAGE_DPI, metadata=words)
    with open_draft(out, overwrite) as hidden:
        hidden.write_bytes(ink.getvalue())


def page_style() -> Any:
    """Return a context in which figures have the page's letters and lines."""
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
TAIL_PERCENT = 0.5  # percent of the pixels at either end that may lie beyond the colours
ROUND_NUMBERS = (1.0, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)


@dataclass(frozen=True)
class ColourScale:
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

    def round_values(self, most: int) -> Array:
        """Return round values within the scale, at most so many steps apart."""
        few = ticker.MaxNLocator(most, steps=[1, 2, 2.5, 5, 10])
        found = np.asarray(few.tick_values(self.low, self.high), float)
        slack = 1e-6 * (self.high - self.low)
        kept: Array = found[(found >= self.low - slack) & (found <= self.high + slack)]
        return kept


def make_colour_scale(kind: str, fields: Sequence[Array]) -> ColourScale:
    """Return one scale for fields that are shown beside each other.

    Args:
        kind: The variable, or spread, difference or trend.
        fields: What is shown; NaN where nothing is.
    """
    values = np.concatenate([field[np.isfinite(field)].ravel() for field in fields])
    if not values.size:
        raise DpdmError("There is no value to draw: all are missing.", "Choose another part.")
    low, high, signed = scale_limits(kind, values)
    under, over = bool(values.min() < low), bool(values.max() > high)
    extend = ("neither", "min", "max", "both")[under + 2 * over]
    return ColourScale(_colour_map(kind, signed), low, high, extend, signed)


def scale_limits(kind: str, values: Array) -> tuple[float, float, bool]:
    """Return the ends of a scale for values, and whether it is balanced around zero."""
    low, high = (float(end) for end in np.percentile(values, (TAIL_PERCENT, 100 - TAIL_PERCENT)))
    if kind in SIGNED_KINDS or (kind not in COLOUR_MAPS and low < 0 < high):
        most = round_up(max(abs(low), abs(high)))
        return -most, most, True
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
    """Return round ends of a scale, a hundredth of which is a step of its roundness."""
    if high <= low:
        return low - 0.5, low + 0.5
    step = 10.0 ** np.floor(np.log10(high - low)) / 5
    return float(np.floor(low / step) * step), float(np.ceil(high / step) * step)
