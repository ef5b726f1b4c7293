"""dpdm lerp."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dpdm_cli import options
from dpdm_cli.checks import check_paths
from dpdm_cli.command import command
from dpdm_cli.console import progress, report_file

if TYPE_CHECKING:
    from dpdm.fields.named_grids import Target
    from dpdm.file_group import Source


@command(
    "dpdm lerp coarse.nc fine.nc --factor 10",
    "dpdm lerp coarse.nc fine.nc --grid truth.nc",
)
@options.inputs_and_output("COARSE", "FINE")
@options.grid
@click.option(
    "--factor",
    type=options.integer("factor"),
    help="Refinement factor: fine cells along each side of a coarse cell.",
)
@options.var
@options.units
@options.out_units
@options.missing
@options.overwrite
def lerp(
    coarse: "Source",
    fine: Path,
    grid: "Target | None",
    factor: int | None,
    **file_options: Any,
) -> None:
    """Interpolate a coarse file bilinearly, as the reference method.

    The result agrees with cdo remapbil between the outermost cell centres; beyond them values are
    constant.
    """
    if (grid is None) == (factor is None):
        raise click.UsageError("Give either --grid or --factor, or --res.")
    check_paths((coarse, grid), fine, file_options["overwrite"])
    from dpdm.fields.read import FileOptions
    from dpdm.regrid import interpolate_file

    with progress("Interpolating", "steps") as report:
        history = options.command_line()
        input_options = FileOptions(history=history, progress=report, **file_options)
        interpolate_file(coarse, fine, grid, factor, input_options)
    report_file(fine)
