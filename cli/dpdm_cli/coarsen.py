"""dpdm coarsen."""

from pathlib import Path
from typing import Any

import click

from dpdm_cli import options
from dpdm_cli.command import command
from dpdm_cli.console import progress, report_file


@command(
    "dpdm coarsen fine.nc coarse.nc --factor 10",
    "dpdm coarsen fine.nc coarse.zarr --factor 4 --var tp=pr",
)
@click.argument("fine", type=options.FILE)
@click.argument("coarse", type=options.FILE)
@click.option(
    "--factor",
    type=options.integer("factor"),
    required=True,
    help="Number of cells in a block, along both axes.",
)
@options.var
@options.units
@options.out_units
@options.missing
@options.overwrite
def coarsen(
    fine: Path,
    coarse: Path,
    factor: int,
    **file_options: Any,
) -> None:
    """Average FINE over blocks of cells, weighted by area, ignoring missing values."""
    from dpdm.fields.read import FileOptions
    from dpdm.regrid import coarsen_file

    with progress("Coarsening", "steps") as report:
        history = options.command_line()
        input_options = FileOptions(history=history, progress=report, **file_options)
        coarsen_file(fine, coarse, factor, input_options)
    report_file(coarse)
