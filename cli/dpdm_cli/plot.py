"""dpdm plot."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dpdm import choices
from dpdm_cli import options
from dpdm_cli.checks import check_paths
from dpdm_cli.command import command
from dpdm_cli.console import note

if TYPE_CHECKING:
    from dpdm.file_group import Source


@command(
    "dpdm plot fine.nc fine.png --truth truth.nc --time 2012-07",
    "dpdm plot fine.nc seoul.pdf --at 37.6,127.0 --out-units degC",
)
@options.inputs_and_output("FIELD", "OUT")
@click.option(
    "--kind",
    type=options.Choice(choices.PICTURES),
    help="Kind of figure.  [default: chosen by the contents of the files]",
)
@click.option(
    "--variable", default="", metavar="NAME", help="Name of a variable.  [default: the first]"
)
@click.option(
    "--time",
    default="",
    metavar="DATE",
    help="A date, or its beginning, as in 2012-07.  [default: the first]",
)
@click.option(
    "--season", default="", metavar="DJF",
    help="Average over a season, given by the initials of its months, in all years or in those of "
    "--time.",
)  # fmt: skip
@click.option(
    "--stat", default="", metavar="STAT",
    help="For maps: mean, spread, p10, p50, p90, member=3, or 'probability>20' in the units "
    "drawn.",
)  # fmt: skip
@click.option("--anomaly", is_flag=True, help="Subtract the climatology of each step's month.")
@options.climatology_options(
    "; for --anomaly. FIELD itself gives its own monthly means.  [default: era5]"
)
@options.truth("Fine fields to compare with.")
@options.coarse("The coarse input of the downscaling.")
@options.background("For profile and section: the field before assimilation.")
@click.option(
    "--at", default="", metavar="LAT,LON|STATION", help="Location of a series or profile."
)
@options.points("Table of stations for --at, with columns station, lat and lon.")
@click.option(
    "--report",
    type=options.FILE,
    metavar="OBS_REPORT.csv",
    help="Observation report, written by dpdm assimilate --report.",
)
@options.box_option("Draw")
@click.option("--cmap", default="", metavar="NAME", help="Colour map of cmocean or matplotlib.")
@click.option(
    "--vmin", type=options.FiniteFloat(), metavar="VALUE", help="Value of the first colour."
)
@click.option(
    "--vmax", type=options.FiniteFloat(), metavar="VALUE", help="Value of the last colour."
)
@click.option("--no-relief", is_flag=True, help="Draw maps without relief.")
@click.option(
    "--size", type=options.FiniteFloat(7, 60), metavar="CM",
    help="Width of the figure, 7 to 60 cm; the height follows.  [default: 8.9]",
)  # fmt: skip
@click.option(
    "--dpi",
    type=click.IntRange(50, 1200),
    help="Resolution in pixels per inch, of a .png and of fields in other formats.  [default: "
    "200]",
)
@click.option(
    "--title", default="", metavar="TEXT", help="Title, instead of the name of the variable."
)
@click.option(
    "--interactive", is_flag=True,
    help="Write a map as one page OUT.html that works offline: pan, zoom, the value at the "
    "cursor, and a slider over the steps, or those of --time.",
)  # fmt: skip
@options.var
@options.units
@options.out_units
@options.missing
@options.overwrite
def plot(field: "Source", out: Path, kind: str | None, **plot_options: Any) -> None:
    """Draw maps, series, profiles and diagnostics of fields.

    OUT is a .png, .pdf or .svg, by default of single-column width (8.9 cm), or, with
    --interactive, an .html. Without --kind, the
    files decide: a map; a comparison, with --truth, --coarse or an ensemble; a series, with --at;
    observation departures, with --report; a profile, for a variable on levels. Coastlines and
    relief are bundled, and nothing is downloaded.
    """
    names = ("truth", "coarse", "background", "points", "report")
    check_paths([field, *map(plot_options.get, names)], out, plot_options["overwrite"])
    from dpdm.plot import plot
    from dpdm.plot.data import PlotOptions

    drawn = plot(field, out, PlotOptions(kind=kind or "", **plot_options))
    note(f"Wrote {out}: {drawn}")
