"""dpdm downscale."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from dpdm import choices
from dpdm_cli import options
from dpdm_cli.console import progress, report_file


@click.command(epilog="Example: dpdm downscale era5_1deg.nc fine.nc --members 10")
@click.argument("coarse", type=options.FILE)
@click.argument("fine", type=options.FILE)
@options.prior
@click.option(
    "--members",
    type=options.integer("members", 0),
    default=33,
    show_default=True,
    help="Size of the ensemble; 0 is the same as --mean.",
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
    help="Seed of the ensemble; a member depends only on the seed, its number, time and place.",
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
    help="Write the members, or mean, spread and quantiles (stats), or both.",
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
@options.missing
@options.overwrite
def downscale(
    coarse: Path,
    fine: Path,
    prior: str,
    mean: bool,
    grid: Path | None,
    statics: Path | None,
    overwrite: bool,
    rename: Mapping[str, str],
    units: Mapping[str, str],
    members: int,
    steps: int | None,
    sampler: str | None,
    **other_options: Any,
) -> None:
    """Downscale COARSE to an ensemble of FINE fields.

    Without --grid, the refinement factor is that of the prior. The output has the units of the
    input.
    """
    given = click.get_current_context().get_parameter_source("members")
    if mean and members and given is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("Give either --mean or --members.")
    if other_options["reference"] and other_options["reference_period"] is None:
        raise click.UsageError("--reference needs --reference-period.")
    from dpdm.downscale import downscale
    from dpdm.states.options import EnsembleOptions

    ensemble_options = EnsembleOptions(
        members=0 if mean else members, steps=steps or 0, sampler=sampler or "", rename=rename,
        units=units, history=options.command_line(), **other_options,
    )  # fmt: skip
    with progress("Downscaling", "member-steps") as report:
        downscale(coarse, fine, prior, ensemble_options, grid, statics, overwrite, report)
    report_file(fine)
