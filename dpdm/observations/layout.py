"""What the columns of an observation file were taken for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ColumnMeaning:
    """What a column was taken for.

    Attributes:
        heading: Its heading in the file, or what the format calls it.
        meaning: A role, as ``lat``, or the canonical name of a variable.
        unit: Its unit, empty for none.
    """

    heading: str
    meaning: str
    unit: str = ""


@dataclass
class FileLayout:
    """The columns of one file.

    Attributes:
        source: Name of the file.
        rows: Number of its rows, of a NetCDF file of its values.
        columns: The columns that are used.
        ignored: The headings of the others.
        notes: A sentence on each assumption.
    """

    source: str = ""
    rows: int = 0
    columns: list[ColumnMeaning] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        r"""Return a description, a line each.

        Example:
            >>> layout = FileLayout("a.csv", 3, [ColumnMeaning("Höhe", "elevation", "m")], ["Ort"])
            >>> print(*layout.lines(), sep="\n")
            a.csv: 3 rows
              Höhe  ->  elevation [m]
              not used: Ort
        """
        width = max((len(column.heading) for column in self.columns), default=0)
        out = [f"{self.source}: {self.rows} row{'s' if self.rows != 1 else ''}"]
        for column in self.columns:
            unit = f" [{column.unit}]" if column.unit else ""
            out.append(f"  {column.heading.ljust(width)}  ->  {column.meaning}{unit}")
        if self.ignored:
            out.append(f"  not used: {', '.join(self.ignored)}")
        return out + [f"  {note}" for note in self.notes]


LayoutCallback = Callable[[FileLayout], None]


def ignore_layout(layout: FileLayout) -> None:
    """Do nothing with the layout of a file."""
