"""dpdm perturb."""

from collections.abc import Mapping
from pathlib import Path

import click

from dpdm import choices
from dpdm_cli import options
from dpdm_cli.console import echo, progress, wrote


def spread(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[str, float] | None:
    """Return VALUE or NAME=VALUE as a name, empty for none, and a number."""
    if value is None:
        return None
    name, _, number = value.rpartition("=")
    return name, options.real(number)


@click.command(epilog="Example: dpdm perturb fine.nc ensemble.nc --members 20 --strength 0.5")
@click.argument("state", type=options.FILE)
@click.argument("ensemble", type=options.FILE)
@options.prior
@click.option(
    "--members", type=options.whole("members", 2), default=50, show_default=True,
    help="Size of the ensemble.",
)  # fmt: skip
@click.option(
    "--strength", type=options.Real(), metavar="SHARE",
    help="How far members part: share of the prior's noise schedule, 0 to 1.  [default: 0.3]",
)  # fmt: skip
@click.option(
    "--target-spread", callback=spread, metavar="[NAME=]VALUE",
    help="Find the strength at which the members' standard deviation is this: of a variable in "
    "the prior's units, or of all over their own.",
)  # fmt: skip
@click.option(
    "--seed", type=options.whole("seed", 0), default=0, show_default=True,
    help="Seed of the ensemble; a member depends on it and on its own number alone.",
)  # fmt: skip
@click.option("--centred", is_flag=True, help="Move the members so that their mean is the state.")
@click.option(
    "--consistent", is_flag=True, help="Keep the means over blocks of --factor cells as they are."
)
@options.factor
@options.blind
@options.statics
@click.option(
    "--steps", type=options.whole("steps", 2), help="Noise levels  [default: the prior's]"
)
@click.option(
    "--keep", type=options.OneOf(choices.KEPT), default="members",
    show_default=True, help="Members, or mean, spread and quantiles, or both.",
)  # fmt: skip
@options.device
@options.period
@options.var
@options.units
@options.missing
@options.overwrite
def perturb(
    state: Path,
    ensemble: Path,
    prior: str,
    members: int,
    strength: float | None,
    target_spread: tuple[str, float] | None,
    seed: int,
    centred: bool,
    consistent: bool,
    factor: int | None,
    blind: bool,
    statics: Path | None,
    steps: int | None,
    keep: str,
    device: str,
    period: str,
    rename: Mapping[str, str],
    units: Mapping[str, str],
    missing: Mapping[str, tuple[float, ...]],
    overwrite: bool,
) -> None:
    """Turn each STATE of a file into an ENSEMBLE around it.

    Noise hides part of a state, and the prior draws that part anew: every member is as likely as
    the state. A state is a step of fields, or a trajectory. Strength, noise level and spread are
    printed.
    """  # fmt: skip
    if strength is not None and target_spread is not None:
        raise click.UsageError("Give either --strength or --target-spread.")
    if factor is not None and blind:
        raise click.UsageError("Give either --factor or --blind.")
    from dpdm.perturb import PerturbationOptions, format_calibration, perturb
    from dpdm.states.options import EnsembleOptions, FieldConditioning

    asked = EnsembleOptions(
        members=members, seed=seed, steps=steps or 0, keep=keep, consistent=consistent,
        device=device, rename=rename, units=units, missing=missing,
        history=options.command_line(), period=period,
    )  # fmt: skip
    push = PerturbationOptions(0.3 if strength is None else strength, target_spread, centred)
    around = FieldConditioning(factor or 0, blind, statics)
    with progress("Perturbing", "states") as report:
        points = perturb(state, ensemble, prior, asked, push, around, overwrite, report)
    wrote(ensemble)
    echo(format_calibration(points))
