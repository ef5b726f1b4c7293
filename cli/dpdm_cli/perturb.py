"""dpdm perturb."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dpdm import choices
from dpdm_cli import options
from dpdm_cli.checks import check_paths, climatology_file
from dpdm_cli.command import command
from dpdm_cli.console import echo, progress, report_file

if TYPE_CHECKING:
    from dpdm.file_group import Source


def parse_spread(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[str, float] | None:
    """Parse VALUE or NAME=VALUE as a name, which may be empty, and a number."""
    if value is None:
        return None
    name, _, number = value.rpartition("=")
    return name, options.parse_number(number)


@command(
    "dpdm perturb fine.nc ensemble.nc --members 20 --strength 0.5",
    "dpdm perturb fine.nc ensemble.nc --target-spread t2m=0.5 --centred",
)
@options.inputs_and_output("STATE", "ENSEMBLE")
@options.prior
@click.option(
    "--members", type=options.integer("members", 2), default=50, show_default=True,
    help="Size of the ensemble.",
)  # fmt: skip
@click.option(
    "--strength", type=options.FiniteFloat(), metavar="FRACTION",
    help="Perturbation amplitude: fraction of the noise schedule of the prior, 0 to 1.  "
    "[default: 0.3]",
)  # fmt: skip
@click.option(
    "--target-spread", callback=parse_spread, metavar="[NAME=]VALUE",
    help="Choose the strength that gives this ensemble standard deviation: of one variable, in "
    "the units of the prior, or of all variables, relative to their own standard deviation.",
)  # fmt: skip
@click.option(
    "--seed", type=options.integer("seed", 0), default=0, show_default=True,
    help="Random seed. A member depends only on the seed and on its number, time and place.",
)  # fmt: skip
@click.option(
    "--centred", is_flag=True, help="Shift the members so that their mean equals the state."
)
@click.option(
    "--consistent", is_flag=True, help="Preserve the means over blocks of --factor cells."
)
@options.factor
@options.blind
@options.statics
@options.climatology
@click.option(
    "--steps",
    type=options.integer("steps", 2),
    help="Number of sampling steps.  [default: the prior's]",
)
@click.option(
    "--keep", type=options.Choice(choices.KEPT), default="members",
    show_default=True, help="Write the members, the mean, spread and quantiles (stats), or both "
    "(all).",
)  # fmt: skip
@options.device
@options.period
@options.var
@options.units
@options.missing
@options.overwrite
def perturb(
    state: "Source",
    ensemble: Path,
    prior: str,
    strength: float | None,
    target_spread: tuple[str, float] | None,
    centred: bool,
    factor: int | None,
    blind: bool,
    statics: Path | None,
    steps: int | None,
    overwrite: bool,
    **other_options: Any,
) -> None:
    """Make an ensemble of perturbed states around each state of a file.

    A state is a time step of fields, or a trajectory. Noise is added to it and removed again by
    sampling from the prior, so that every member is as probable as the state itself. The
    strength, the noise level and the spread are printed.
    """
    if strength is not None and target_spread is not None:
        raise click.UsageError("Give either --strength or --target-spread.")
    if factor is not None and blind:
        raise click.UsageError("Give either --factor or --blind.")
    climate = climatology_file(other_options["climatology"])
    check_paths((state, statics, climate), ensemble, overwrite, prior)
    from dpdm.perturb import PerturbationOptions, format_calibration, perturb
    from dpdm.states.options import EnsembleOptions, FieldConditioning

    ensemble_options = EnsembleOptions(
        steps=steps or 0, history=options.command_line(), **other_options
    )
    perturbation = PerturbationOptions(
        0.3 if strength is None else strength, target_spread, centred
    )
    conditioning = FieldConditioning(factor or 0, blind, statics)
    with progress("Perturbing", "states") as report:
        calibration = perturb(
            state,
            ensemble,
            prior,
            ensemble_options,
            perturbation,
            conditioning,
            overwrite,
            report,
        )
    report_file(ensemble)
    echo(format_calibration(calibration))
