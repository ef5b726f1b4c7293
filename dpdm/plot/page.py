"""A page of one printed column: a heading, rows of panels, and what it was all made from.

Sizes are those of print: 8.9 cm wide, all text of 12 points. The height follows from what stands
on it, so nothing overlaps and nothing is guessed.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dpdm import __version__
from dpdm.plot.libraries import TextPath, figure, mpl
from dpdm.printable import printable
from dpdm.publish import draft

WIDTH = 8.9 / 2.54  # inches
DPI = 200  # of a PNG, and of the fields in a PDF or SVG, whose words are outlines
TEXT = 12  # points
LINE = 0.2  # inches
EDGE = 0.08  # inches of white around
STYLE = {
    "font.size": TEXT,
    "font.family": ["DejaVu Sans"],
    "axes.titlesize": TEXT,
    "axes.labelsize": TEXT,
    "xtick.labelsize": TEXT,
    "ytick.labelsize": TEXT,
    "legend.fontsize": TEXT,
    "axes.linewidth": 0.6,
    "hatch.linewidth": 0.5,
    "svg.hashsalt": "dpdm",
    "pdf.fonttype": 42,
}
FORMATS = (".png", ".pdf", ".svg")
MADE = ("prior", "input", "observations")  # of a file's provenance


class Page:
    """Lay out a figure from the top down.

    Args:
        heading: Lines above, wrapped where they are too long.
        rows: Heights of the rows of panels, inches.
        footer: What the picture was made from.
    """

    def __init__(self, heading: Sequence[str], rows: Sequence[float], footer: str) -> None:
        lines = [line for text in heading for line in wrapped(text, TEXT)]
        under = wrapped(footer, TEXT)
        head, foot = LINE * len(lines), LINE * len(under)
        self.height = 2 * EDGE + head + sum(rows) + foot
        self.figure = figure.Figure(figsize=(WIDTH, self.height), dpi=DPI)
        self._tops = [self.height - EDGE - head - sum(rows[:i]) for i in range(len(rows))]
        for i, line in enumerate(lines):
            self._write(line, self.height - EDGE - LINE * i, "black")
        for i, line in enumerate(under):
            self._write(line, EDGE + foot - LINE * i, "0.35")

    def _write(self, line: str, top: float, colour: str) -> None:
        place = (EDGE / WIDTH, top / self.height)
        self.figure.text(
            *place, line, size=TEXT, color=colour, va="top", ha="left", parse_math=False
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
        place = (left / WIDTH, bottom / self.height, width / WIDTH, height / self.height)
        return self.figure.add_axes(place, **kind)


def wrapped(text: str, size: int) -> list[str]:
    """Break a text into lines that fit the page, between words where it can."""
    room = (WIDTH - 2 * EDGE) * 72
    lines: list[str] = []
    for word in (part for whole in text.split() for part in fitting(whole, size, room)):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and wide(longer, size) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def fitting(word: str, size: int, room: float) -> list[str]:
    """Break a word, a long file name for example, into pieces that fit a line."""
    if wide(word, size) <= room:
        return [word]
    keep = max(1, int(len(word) * room / wide(word, size)) - 1)
    return [word[:keep], *fitting(word[keep:], size, room)]


def wide(text: str, size: int) -> float:
    """Return the width of a text in points."""
    path = TextPath((0, 0), text.replace("$", "s"), size=size)
    return float(path.get_extents().width)


def provenance(attrs: Mapping[str, Any], files: Sequence[Path]) -> str:
    """Say who drew a picture from which files, and from what else the first of them was made.

    Example:
        >>> provenance({"dpdm_prior": "default"}, [Path("a/fine.nc")]).partition("; ")[2]
        'fine.nc; prior default'
    """
    names = [path.name for path in files]
    made = {word: Path(str(attrs.get(f"dpdm_{word}", ""))).name for word in MADE}
    others = [f"{word} {name}" for word, name in made.items() if name and name not in names]
    return printable("; ".join([f"dpdm {__version__}", ", ".join(names), *others]))


def save(page: Page, out: Path, title: str, overwrite: bool = False) -> None:
    """Write a picture, whole or not at all."""
    ink = io.BytesIO()
    stamps: dict[str, Any] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    words = {"Title": title} | stamps.get(out.suffix, {"Software": f"dpdm {__version__}"})
    page.figure.savefig(ink, format=out.suffix[1:], dpi=DPI, metadata=words)
    with draft(out, overwrite) as hidden:
        hidden.write_bytes(ink.getvalue())


def styled() -> Any:
    """Return a context in which figures have the page's letters and lines."""
    return mpl.rc_context(STYLE)
