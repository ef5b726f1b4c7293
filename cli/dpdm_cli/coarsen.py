"""dpdm coarsen."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dpdm_cli import options
from dpdm_cli.checks import check_paths
from dpdm_cli.command import command
from dpdm_cli.console import progress, report_file

if TYPE_CHECKING:
    from dpdm.file_group import Source


@command(
    "dpdm coarsen fine.nc coarse.nc --factor 10",
    "dpdm coarsen fine.nc coarse.zarr --factor 4 --var tp=pr",
)
@options.inputs_and_output("FINE", "COARSE")
@click.option(
    "--factor",
    type=options.integer("factor"),
    required=True,
    help="Number of cells along each side of a block.",
)
@options.var
@options.units
@options.out_units
@options.missing
@options.overwrite
def coarsen(
    fine: "Source",
    coarse: Path,
    factor: int,
    **file_options: Any,
) -> None:
    """Average a fine file over blocks of cells, weighted by area and ignoring missing values."""
    check_paths(fine, coarse, file_options["overwrite"])
    from dpdm.fields.read import FileOptions
    from dpdm.regrid import coarsen_file

    with progress("Coarsening", "steps") as report:
        history = options.command_line()
        input_options = FileOptions(history=history, progress=report, **file_options)
        coarsen_file(fine, coarse, factor, input_options)
    report_file(coarse)
