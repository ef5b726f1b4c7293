"""dpdm plot."""

from pathlib import Path
from typing import Any

import click

from dpdm import choices
from dpdm_cli import options
from dpdm_cli.command import command
from dpdm_cli.console import echo


@command(
    "dpdm plot fine.nc fine.png --truth truth.nc --time 2012-07",
    "dpdm plot fine.nc seoul.pdf --at 37.6,127.0 --out-units degC",
)
@click.argument("field", type=options.FILE)
@click.argument("out", type=options.FILE)
@click.option(
    "--kind",
    type=options.Choice(choices.PICTURES),
    help="Kind of picture.  [default: chosen by the contents of the files]",
)
@click.option(
    "--variable", default="", metavar="NAME", help="Name of a variable.  [default: the first]"
)
@click.option(
    "--time", default="", metavar="DATE", help="A date or its beginning.  [default: the first]"
)
@options.truth("A fine field to compare with.")
@options.coarse("The input of downscaling.")
@options.background("For profile and section: the field before assimilation.")
@click.option(
    "--at", default="", metavar="LAT,LON|STATION", help="Location of a series or profile."
)
@options.points("Table of stations for --at, with columns station, lat, lon.")
@click.option(
    "--report",
    type=options.FILE,
    metavar="OBS_REPORT.csv",
    help="For obs: the report of dpdm assimilate --report.",
)
@options.box_option("Draw")
@options.var
@options.units
@options.out_units
@options.missing
@options.overwrite
def plot(field: Path, out: Path, kind: str | None, **plot_options: Any) -> None:
    """Draw FIELD as OUT, a .png, .pdf or .svg of single-column width (8.9 cm).

    A map; with --truth, --coarse or an ensemble a comparison; with --at a series; with --report
    observation misfits; of a variable on levels a profile, over all dates without --time.
    Coastlines and relief come with dpdm; nothing is downloaded.
    """
    from dpdm.plot import plot
    from dpdm.plot.data import PlotOptions

    drawn = plot(field, out, PlotOptions(kind=kind or "", **plot_options))
    echo(f"Wrote {out}: {drawn}", err=True)
