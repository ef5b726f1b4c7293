"""dpdm export."""

from pathlib import Path
from typing import Any

import click

from dpdm_cli import options
from dpdm_cli.console import echo, plural, progress


@click.command(epilog="Example: dpdm export fine.nc rain.tif --variable tp --stat p90")
@click.argument("field", type=options.FILE)
@click.argument("out", type=options.FILE)
@click.option("--variable", default="", metavar="NAME", help="Which variable, as t2m.")
@click.option(
    "--stat", default="", metavar="STAT",
    help="mean, spread, p10 or another percentile, member=3, or 'probability>300', in the units "
    "of the file  [default: for GeoTIFF the mean, for tables all, else members as they are]",
)  # fmt: skip
@click.option(
    "--time", default="", metavar="FROM[..TO]", help="Which steps, as 2012-01 or 2012-01..2012-03."
)
@options.bbox
@options.mask
@click.option("--crs", default="", metavar="CRS", help="Warp a GeoTIFF, as to EPSG:3035.")
@click.option(
    "--split", type=click.Choice(["time"]), help="Write a GeoTIFF a step: OUT_2012-01-16.tif."
)
@options.points("A table with columns name, lat and lon: where a .csv or .geojson has its values.")
@click.option(
    "--method", type=click.Choice(["nearest", "bilinear"]), default="nearest", show_default=True,
    help="The value of the cell around a point, or between four centres.",
)  # fmt: skip
@click.option("--stac", is_flag=True, help="Write a STAC item OUT.json beside a GeoTIFF.")
@options.var
@options.units
@options.missing
@options.overwrite
def export(field: Path, out: Path, split: str | None, **rest: Any) -> None:
    """Write FIELD as OUT: .tif, .nc, .zarr, or the values at points as .csv or .geojson.

    GeoTIFFs are cloud-optimised, north up, with longitudes from -180 to 180 and a band a step.
    """  # fmt: skip
    from dpdm.export import export
    from dpdm.export.select import ExportOptions

    with progress("Exporting", "steps") as report:
        history = options.command_line()
        ask = ExportOptions(split=split == "time", history=history, progress=report, **rest)
        written = export(field, out, ask)
    more = len(written) - 1
    also = f" and {more} more {plural('file', more)}" if more else ""
    echo(f"Wrote {written[0]}{also}", err=True)
