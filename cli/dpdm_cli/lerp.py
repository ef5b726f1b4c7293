"""dpdm lerp."""

from pathlib import Path
from typing import Any

import click

from dpdm_cli import options
from dpdm_cli.command import command
from dpdm_cli.console import progress, report_file


@command(
    "dpdm lerp coarse.nc fine.nc --factor 10",
    "dpdm lerp coarse.nc fine.nc --grid truth.nc",
)
@click.argument("coarse", type=options.FILE)
@click.argument("fine", type=options.FILE)
@options.grid
@click.option(
    "--factor",
    type=options.integer("factor"),
    help="Refinement factor: fine cells per coarse cell, along both axes.",
)
@options.var
@options.units
@options.out_units
@options.missing
@options.overwrite
def lerp(
    coarse: Path,
    fine: Path,
    grid: Path | None,
    factor: int | None,
    **file_options: Any,
) -> None:
    """Regrid COARSE to FINE by bilinear interpolation, the reference method.

    It equals cdo remapbil between the outermost cell centres; beyond them values are constant.
    """
    from dpdm.fields.read import FileOptions
    from dpdm.regrid import interpolate_file

    if (grid is None) == (factor is None):
        raise click.UsageError("Give either --grid or --factor.")
    with progress("Interpolating", "steps") as report:
        history = options.command_line()
        input_options = FileOptions(history=history, progress=report, **file_options)
        interpolate_file(coarse, fine, grid, factor, input_options)
    report_file(fine)
