"""dpdm downscale."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from dpdm import choices
from dpdm_cli import options
from dpdm_cli.console import progress, wrote


@click.command(epilog="Example: dpdm downscale era5_1deg.nc fine.nc --members 10")
@click.argument("coarse", type=options.FILE)
@click.argument("fine", type=options.FILE)
@options.prior
@click.option(
    "--members",
    type=options.whole("members", 0),
    default=33,
    show_default=True,
    help="Size of the ensemble; 0 is the same as --mean.",
)
@click.option(
    "--mean",
    is_flag=True,
    help="Write the mean of the infinite ensemble, in one network evaluation a step.",
)
@click.option(
    "--seed",
    type=options.whole("seed", 0),
    default=0,
    show_default=True,
    help="Seed of the ensemble; a member depends on it and on its own number alone.",
)
@click.option(
    "--steps", type=options.whole("steps", 2), help="Noise levels  [default: the prior's]"
)
@click.option(
    "--sampler",
    type=options.OneOf(choices.SAMPLERS),
    help="Sampler  [default: the prior's]",
)
@options.grid
@options.bbox
@options.mask
@options.statics
@click.option(
    "--keep",
    type=options.OneOf(choices.KEPT),
    default="all",
    show_default=True,
    help="Members, or mean, spread and quantiles, or both.",
)
@click.option("--consistent", is_flag=True, help="Make the output's block means equal the input.")
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
    **rest: Any,
) -> None:
    """Downscale COARSE into an ensemble of FINE fields.

    Without --grid every coarse cell is cut into as many fine cells as the prior was trained for.
    Values come back in the units of the input.
    """  # fmt: skip
    given = click.get_current_context().get_parameter_source("members")
    if mean and members and given is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("Give either --mean or --members.")
    from dpdm.downscale import downscale
    from dpdm.states.options import EnsembleOptions

    asked = EnsembleOptions(
        members=0 if mean else members, steps=steps or 0, sampler=sampler or "", rename=rename,
        units=units, history=options.command_line(), **rest,
    )  # fmt: skip
    with progress("Downscaling", "member-steps") as report:
        downscale(coarse, fine, prior, asked, grid, statics, overwrite, report)
    wrote(fine)
