"""dpdm coarsen."""

from pathlib import Path
from typing import Any

import click

from dpdm_cli import options
from dpdm_cli.console import progress, wrote


@click.command(epilog="Example: dpdm coarsen fine.nc coarse.nc --factor 10")
@click.argument("fine", type=options.FILE)
@click.argument("coarse", type=options.FILE)
@click.option(
    "--factor",
    type=options.whole("factor"),
    required=True,
    help="Cells in a block, along both axes.",
)
@options.var
@options.units
@options.missing
@options.overwrite
def coarsen(
    fine: Path,
    coarse: Path,
    factor: int,
    **rest: Any,
) -> None:
    """Average FINE over blocks of cells, weighted by area, without missing cells."""  # fmt: skip
    from dpdm.fields.read import FileOptions
    from dpdm.regrid import coarsen_file

    with progress("Coarsening", "steps") as report:
        ask = FileOptions(history=options.command_line(), progress=report, **rest)
        coarsen_file(fine, coarse, factor, ask)
    wrote(coarse)
