"""The formats that fields are exported to, each registered once with what it can hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dpdm.errors import DpdmError
from dpdm.export.select import ExportOptions


@dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes:
        name: As messages call it.
        suffixes: The ends of its files' names, by which it is chosen.
        write: Takes source, target and options; returns the files that it wrote.
        options: Those that not every format heeds: split, crs, stac and points.
        is_table: Whether it holds values at points, and no fields.
    """

    name: str
    suffixes: tuple[str, ...]
    write: Callable[[Path, Path, ExportOptions], list[Path]]
    options: tuple[str, ...] = ()
    is_table: bool = False

    def check(self, target: Path, ask: ExportOptions) -> None:
        """Refuse what the format cannot hold."""
        for option in ("split", "crs", "stac"):
            if getattr(ask, option) and option not in self.options:
                other = next(f for f in FORMATS.values() if option in f.options)
                raise DpdmError(
                    f"--{option} is for {other.name}, and {target} is none.",
                    f"Write a {other.suffixes[0]}.",
                )
        if ask.points and not self.is_table:
            what = f"--points makes a table, and {target} is none."
            raise DpdmError(what, "Write a .csv or a .geojson.")
        if self.is_table and not ask.points:
            raise DpdmError(
                f"A field does not fit into {target}, which holds values at points.",
                "Say at which: --points STATIONS.csv, with columns name, lat and lon; or write a "
                ".tif or .nc.",
            )


FORMATS: dict[str, Format] = {}


def register(*formats: Format) -> None:
    """Add formats, by the suffixes of their files."""
    FORMATS.update({suffix: each for each in formats for suffix in each.suffixes})
