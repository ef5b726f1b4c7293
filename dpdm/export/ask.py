"""What the user asked of an export."""

from dataclasses import dataclass
from pathlib import Path

from dpdm.errors import DpdmError
from dpdm.fields.box import Box
from dpdm.fields.input import FileOptions

RASTERS = (".tif", ".tiff")
CUBES = (".nc", ".nc4", ".zarr")
TABLES = (".csv", ".geojson")


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

    def check(self, target: Path) -> None:
        """Refuse what the format of the target cannot hold.

        Raises:
            DpdmError: It cannot.
        """
        of_raster = {"--split": self.split, "--crs": self.crs, "--stac": self.stac}
        for option, given in of_raster.items():
            if given and target.suffix not in RASTERS:
                raise DpdmError(f"{option} is for GeoTIFF, and {target} is none.", "Write a .tif.")
        if self.points and target.suffix not in TABLES:
            what = f"--points makes a table, and {target} is none."
            raise DpdmError(what, "Write a .csv or a .geojson.")
        if target.suffix in TABLES and not self.points:
            raise DpdmError(
                f"A field does not fit into {target}, which holds values at points.",
                "Say at which: --points STATIONS.csv, with columns name, lat and lon; or write a "
                ".tif or .nc.",
            )
