"""dpdm lerp."""

from pathlib import Path
from typing import Any

import click

from dpdm_cli import options
from dpdm_cli.console import progress, wrote


@click.command(epilog="Example: dpdm lerp coarse.nc fine.nc --factor 10")
@click.argument("coarse", type=options.FILE)
@click.argument("fine", type=options.FILE)
@options.grid
@click.option(
    "--factor",
    type=options.whole("factor"),
    help="Cut every coarse cell into so many, along both axes.",
)
@options.var
@options.units
@options.missing
@options.overwrite
def lerp(
    coarse: Path,
    fine: Path,
    grid: Path | None,
    factor: int | None,
    **rest: Any,
) -> None:
    """Interpolate COARSE to FINE, bilinear in latitude and longitude: the baseline.

    Between the outermost centres it equals cdo remapbil; beyond them it holds the last value.
    """  # fmt: skip
    from dpdm.fields.read import FileOptions
    from dpdm.regrid import interpolate_file

    if (grid is None) == (factor is None):
        raise click.UsageError("Give either --grid or --factor.")
    with progress("Interpolating", "steps") as report:
        ask = FileOptions(history=options.command_line(), progress=report, **rest)
        interpolate_file(coarse, fine, grid, factor, ask)
    wrote(fine)
