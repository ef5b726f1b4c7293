"""dpdm export."""

from pathlib import Path
from typing import Any

import click

from dpdm_cli import options
from dpdm_cli.command import command
from dpdm_cli.console import echo, plural, progress


@command(
    "dpdm export fine.nc rain.tif --variable tp --stat p90",
    "dpdm export fine.nc stations.csv --points stations.csv --out-units tp=mm/month",
)
@click.argument("field", type=options.FILE)
@click.argument("out", type=options.FILE)
@click.option("--variable", default="", metavar="NAME", help="Name of a variable, as t2m.")
@click.option(
    "--stat", default="", metavar="STAT",
    help="Statistic: mean, spread, p10 or another percentile, member=3, or 'probability>300' in "
    "the units of the output.  [default: the mean for GeoTIFF, all for tables, else the members]",
)  # fmt: skip
@click.option(
    "--time", default="", metavar="FROM[..TO]", help="Time steps, as 2012-01 or 2012-01..2012-03."
)
@options.bbox
@options.mask
@click.option(
    "--crs",
    default="",
    metavar="CRS",
    help="Coordinate reference system of a GeoTIFF, as EPSG:3035.",
)
@click.option(
    "--split",
    type=click.Choice(["time"]),
    help="Write a GeoTIFF for each step: OUT_2012-01-16.tif.",
)
@options.points("Points of a .csv or .geojson: a table with columns name, lat and lon.")
@click.option(
    "--method", type=click.Choice(["nearest", "bilinear"]), default="nearest", show_default=True,
    help="Interpolation to points: value of the cell, or bilinear.",
)  # fmt: skip
@click.option("--stac", is_flag=True, help="Write a STAC item OUT.json with a GeoTIFF.")
@options.var
@options.units
@options.out_units
@options.missing
@options.overwrite
def export(field: Path, out: Path, split: str | None, **export_options: Any) -> None:
    """Export FIELD as OUT: .tif, .nc, .zarr, or values at points as .csv or .geojson.

    GeoTIFFs are cloud-optimised, north up, with a band for each step.
    """
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
    echo(f"Wrote {written[0]}{rest}", err=True)
