"""What the user asked of an export."""

from dataclasses import dataclass
from pathlib import Path

from dpdm.fields.box import Box
from dpdm.fields.input import FileOptions


@dataclass(frozen=True)
class Ask(FileOptions):
    """Say what of a file is exported, and how.

    Attributes:
        variable: Which variable; empty for all, or for the only one.
        stat: Which statistic of the ensemble, as ``mean``, ``p90`` or ``probability>300``.
        time: A date, or two with ``..`` between them; empty for all steps.
        bbox: West, east, south and north of what is kept, degrees.
        mask: A GeoJSON file; cells outside its polygons are missing.
        crs: The reference system of a GeoTIFF, empty for longitude and latitude.
        split: Whether each step is a GeoTIFF of its own.
        points: A table of stations at which a table is made.
        method: "nearest" or "bilinear", between cell centres and stations.
        stac: Whether a STAC item is written beside a GeoTIFF.
    """

    variable: str = ""
    stat: str = ""
    time: str = ""
    bbox: Box | None = None
    mask: Path | None = None
    crs: str = ""
    split: bool = False
    points: Path | None = None
    method: str = "nearest"
    stac: bool = False
