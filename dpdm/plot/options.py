"""What the user asks a picture to show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dpdm.fields.read import FileOptions
from dpdm.fields.subset import Box


@dataclass(frozen=True)
class PlotOptions(FileOptions):
    """Say what to draw; whatever is absent is chosen from what the file holds.

    Attributes:
        kind: One of `dpdm.plot.PLOT_KINDS`.
        variable: Its name in the file, or dpdm's.
        time: The beginning of a date, as 2012-07.
        truth: A file to compare with, fine.
        coarse: What the field was made from.
        background: What the field was before observations were seen.
        at: LAT,LON or the name of a station in `points`.
        points: A table of stations with columns station, lat and lon.
        report: What ``dpdm assimilate --report`` wrote.
        box: West, east, south and north, degrees.
    """

    kind: str = ""
    variable: str = ""
    time: str = ""
    truth: Path | None = None
    coarse: Path | None = None
    background: Path | None = None
    at: str = ""
    points: Path | None = None
    report: Path | None = None
    box: Box | None = None
