"""dpdm downscale."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dpdm import choices
from dpdm_cli import options
from dpdm_cli.checks import check_paths, climatology_file
from dpdm_cli.command import command
from dpdm_cli.console import echo, note, progress, report_file

if TYPE_CHECKING:
    from dpdm.fields.named_grids import Target
    from dpdm.file_group import Source


@command(
    "dpdm downscale era5_1deg.nc fine.nc --members 10",
    "dpdm downscale gcm.nc fine.nc --mean --bbox 100,130,10,40 --out-units degC",
)
@options.inputs_and_output("COARSE", "FINE")
@options.prior
@click.option(
    "--members",
    type=options.integer("members", 0),
    default=33,
    show_default=True,
    help="Size of the ensemble; 0 is equivalent to --mean.",
)
@click.option(
    "--mean",
    is_flag=True,
    help="Write the ensemble mean, from one network evaluation per step.",
)
@click.option(
    "--seed",
    type=options.integer("seed", 0),
    default=0,
    show_default=True,
    help="Random seed. A member depends only on the seed and on its number, time and place.",
)
@click.option(
    "--steps",
    type=options.integer("steps", 2),
    help="Number of sampling steps, by a sampler other than fast.  [default: the prior's]",
)
@click.option(
    "--sampler",
    type=options.Choice(choices.SAMPLERS),
    help="Sampler; fast draws a member in one network evaluation.  [default: fast, if the prior "
    "has that head and neither --steps nor --consistent is given; else the prior's]",
)
@options.grid
@options.bbox
@options.mask
@options.statics
@options.climatology
@click.option(
    "--keep",
    type=options.Choice(choices.KEPT),
    default="all",
    show_default=True,
    help="Write the members, the mean, spread and quantiles (stats), or both (all).",
)
@click.option(
    "--consistent", is_flag=True, help="Constrain the block means of the output to the input."
)
@options.reference_period
@options.reference
@options.device
@options.period
@options.var
@options.units
@options.out_units
@options.missing
@options.check_option("Estimate time, memory and disk space, without writing anything.")
@options.overwrite
def downscale(
    coarse: "Source",
    fine: Path,
    prior: str,
    mean: bool,
    grid: "Target | None",
    statics: Path | None,
    check: bool,
    overwrite: bool,
    rename: Mapping[str, str],
    units: Mapping[str, str],
    members: int,
    steps: int | None,
    sampler: str | None,
    **other_options: Any,
) -> None:
    """Downscale a coarse file to an ensemble of fine fields.

    COARSE is one or several input files, and FINE is the output. Without --grid or --res, the
    refinement factor of the prior is used. Without --out-units, the output has the units of the
    input.
    """
    given = click.get_current_context().get_parameter_source("members")
    if mean and members and given is not click.core.ParameterSource.DEFAULT:
        raise click.UsageError("Give either --mean or --members.")
    if other_options["reference"] and other_options["reference_period"] is None:
        raise click.UsageError("--reference requires --reference-period.")
    climate = climatology_file(other_options["climatology"])
    files = (coarse, grid, statics, climate, other_options["mask"], other_options["reference"])
    check_paths(files, None if check else fine, overwrite, prior)
    from dpdm.downscale import check_downscaling, downscale
    from dpdm.states.options import EnsembleOptions

    ensemble_options = EnsembleOptions(
        members=0 if mean else members, steps=steps or 0, sampler=sampler or "", rename=rename,
        units=units, history=options.command_line(), **other_options,
    )  # fmt: skip
    task = coarse, fine, prior, ensemble_options, grid, statics
    if check:
        for line in check_downscaling(*task):
            echo(line)
        return
    with progress("Downscaling", "member-steps") as report:
        downscale(*task, overwrite, report, note)
    report_file(fine)
