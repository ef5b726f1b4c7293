"""dpdm export."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dpdm_cli import options
from dpdm_cli.checks import check_paths
from dpdm_cli.command import command
from dpdm_cli.console import note, plural, progress

if TYPE_CHECKING:
    from dpdm.file_group import Source


@command(
    "dpdm export fine.nc rain.tif --variable tp --stat p90",
    "dpdm export fine.nc stations.csv --points stations.csv --out-units tp=mm/month",
)
@options.inputs_and_output("FIELD", "OUT")
@click.option("--variable", default="", metavar="NAME", help="Name of a variable, as in t2m.")
@click.option(
    "--stat", default="", metavar="STAT",
    help="Statistic: mean, spread, p10 or another percentile, member=3, or 'probability>300' in "
    "the units of the output.  [default: the mean for GeoTIFF, all for tables, else the members]",
)  # fmt: skip
@click.option(
    "--time",
    default="",
    metavar="FROM[..TO]",
    help="Time steps, as in 2012-01 or 2012-01..2012-03.",
)
@options.bbox
@options.mask
@click.option(
    "--crs",
    default="",
    metavar="CRS",
    help="Coordinate reference system of a GeoTIFF, as in EPSG:3035.",
)
@click.option(
    "--split",
    type=click.Choice(["time"]),
    help="Write one GeoTIFF per step, as OUT_2012-01-16.tif.",
)
@options.points("Table of the points of a .csv or .geojson, with columns name, lat and lon.")
@click.option(
    "--method", type=click.Choice(["nearest", "bilinear"]), default="nearest", show_default=True,
    help="Interpolation to points: the value of the nearest cell, or bilinear.",
)  # fmt: skip
@click.option("--stac", is_flag=True, help="Write a STAC item OUT.json beside the GeoTIFF.")
@click.option(
    "--qml", is_flag=True,
    help="Write a style OUT.qml beside the GeoTIFF, which QGIS applies when OUT.tif is added.",
)  # fmt: skip
@options.var
@options.units
@options.out_units
@options.missing
@options.overwrite
def export(field: "Source", out: Path, split: str | None, **export_options: Any) -> None:
    """Export fields to GeoTIFF, NetCDF or Zarr, or values at points to CSV or GeoJSON.

    The suffix of OUT sets the format: .tif, .nc, .zarr, .csv or .geojson. GeoTIFFs are
    cloud-optimised and north up, with one band per step. Their precipitation is in mm day-1 or mm
    and their mass fractions in g kg-1, because GIS programs show three decimals; other values are
    in the units of the file.
    """
    replaced = export_options["overwrite"] or split is not None
    check_paths((field, export_options["mask"], export_options["points"]), out, replaced)
    from dpdm.export import export
    from dpdm.export.select import ExportOptions

    with progress("Exporting", "steps") as report:
        history = options.command_line()
        all_options = ExportOptions(
            split=split == "time", history=history, progress=report, **export_options
        )
        written = export(field, out, all_options)
    more = len(written) - 1
    rest = f" and {more} more {plural('file', more)}" if more else ""
    note(f"Wrote {written[0]}{rest}")
