"""Lay out a page, by default of one printed column.

A page is 8.9 cm wide with text of 12 points; its height follows from its contents. Figures are
made without pyplot.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpdm import __version__
from dpdm.publish import open_draft
from dpdm.system import missing_library_error

try:
    import cartopy.crs as ccrs
    import matplotlib as mpl
    from matplotlib import collections, colors, dates, figure, patheffects, ticker
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
    "patheffects",
    "ticker",
]

CM_PER_INCH = 2.54
PAGE_WIDTH = 8.9 / CM_PER_INCH  # inches
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
MIN_BAND_MEMBERS = 10  # fewer members have no percentile bands
PERCENTILE_BANDS = {"90%": (5, 95, "0.85"), "50%": (25, 75, "0.65")}
TRUTH_STYLE = dict(color="black", linewidth=1.0, linestyle="none", marker=".", markersize=6,
zorder=5,
             clip_on=False)  # fmt: skip
CENTRE_STYLE = dict(color="#c1272d", linewidth=1.6, zorder=4)


@dataclass(frozen=True)
class PageFormat:
    """The format of a page.

    Attributes:
        width: Inches.
        dpi: Pixels an inch, of a PNG, and of the fields in a PDF or SVG.
    """

    width: float = PAGE_WIDTH
    dpi: int = PAGE_DPI


class Page:
    """Lay out a figure from the top down.

    Args:
        heading: Lines above, wrapped to the width of the page.
        rows: Heights of the rows of panels, inches.
        footer: Provenance of the picture.
        form: Width and resolution.
    """

    def __init__(
        self,
        heading: Sequence[str],
        rows: Sequence[float],
        footer: str,
        form: PageFormat = PageFormat(),
    ) -> None:
        room = form.width - 2 * PAGE_MARGIN
        lines = [line for text in heading for line in wrap_text(text, FONT_SIZE, room)]
        footer_lines = wrap_text(footer, FONT_SIZE, room)
        self.form = form
        head, foot = LINE_HEIGHT * len(lines), LINE_HEIGHT * len(footer_lines)
        self.height = 2 * PAGE_MARGIN + head + sum(rows) + foot
        self.figure = figure.Figure(figsize=(form.width, self.height), dpi=form.dpi)
        self._tops = [self.height - PAGE_MARGIN - head - sum(rows[:i]) for i in range(len(rows))]
        for i, line in enumerate(lines):
            self._write(line, self.height - PAGE_MARGIN - LINE_HEIGHT * i, "black")
        for i, line in enumerate(footer_lines):
            self._write(line, PAGE_MARGIN + foot - LINE_HEIGHT * i, "0.35")

    def _write(self, line: str, top: float, colour: str) -> None:
        place = (PAGE_MARGIN / self.form.width, top / self.height)
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
        across, up = self.form.width, self.height
        place = (left / across, bottom / up, width / across, height / up)
        return self.figure.add_axes(place, **kind)


def wrap_text(text: str, size: int, room: float = PAGE_WIDTH - 2 * PAGE_MARGIN) -> list[str]:
    """Wrap a text to a width (inches), by default that of a page, between words if possible."""
    lines: list[str] = []
    for word in (part for w in text.split() for part in split_word(w, size, 72 * room)):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= 72 * room:
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
    page.figure.savefig(stream, format=out.suffix[1:], dpi=page.form.dpi, metadata=metadata)
    with open_draft(out, overwrite) as draft:
        draft.write_bytes(stream.getvalue())


def page_style() -> Any:
    """Return a context with the fonts and lines of a page."""
    return mpl.rc_context(PAGE_STYLE)
