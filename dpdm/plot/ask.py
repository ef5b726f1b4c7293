"""What the user asks a picture to show."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dpdm.fields.box import Box
from dpdm.fields.checks import Missing


@dataclass(frozen=True)
class Ask:
    """Say what to draw; whatever is absent is chosen from what the file holds.

    Attributes:
        kind: One of `dpdm.plot.KINDS`.
        variable: Its name in the file, or dpdm's.
        time: The beginning of a date, as 2012-07.
        truth: A file to compare with, fine.
        coarse: What the field was made from.
        background: What the field was before observations were seen.
        at: LAT,LON or the name of a station in `points`.
        points: A table of stations with columns station, lat and lon.
        report: What ``dpdm assimilate --report`` wrote.
        box: West, east, south and north, degrees.
        rename: The user's choice of variables, canonical name to name in the file.
        units: The user's word for units, by either name.
        overwrite: Whether an existing picture is replaced.
        missing: Numbers that stand for missing values, by variable; of all under "".
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
    rename: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    overwrite: bool = False
    missing: Missing = field(default_factory=dict)
