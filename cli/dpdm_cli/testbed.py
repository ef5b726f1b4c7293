"""dpdm testbed."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click

from dpdm import choices
from dpdm_cli import options
from dpdm_cli.console import progress


@click.command(epilog="Example: dpdm testbed lorenz63 truth.nc --trajectories 1024 --length 1024")
@click.argument("system", type=options.OneOf(choices.SYSTEMS))
@click.argument("truth", type=options.FILE)
@click.option(
    "--trajectories",
    type=options.whole("trajectories"),
    help="How many to compute; not for speedy.",
)
@click.option(
    "--length", type=options.whole("length"), help="States of each trajectory; not for speedy."
)
@click.option(
    "--years",
    type=options.whole("years", 1),
    help="speedy: calendar years of daily states, from 2000 on.",
)
@click.option(
    "--seed",
    type=options.whole("seed"),
    default=0,
    show_default=True,
    help="Decides the trajectories.",
)
@click.option(
    "--burn-in",
    type=options.whole("burn_in"),
    metavar="STATES",
    help="States left out before the first: 1024 for lorenz63, 100 for kolmogorov, 92 for speedy.",
)
@click.option(
    "--interval",
    type=options.Real(),
    metavar="TIME",
    help="lorenz63: time from state to state [0.025].",
)
@click.option(
    "--deterministic",
    is_flag=True,
    help="lorenz63: leave the equations as they are, without noise.",
)
@click.option(
    "--size", type=options.whole("size"), help="kolmogorov: cells along each side of a field [64]."
)
@click.option(
    "--resolution",
    type=options.whole("resolution"),
    metavar="CELLS",
    help="kolmogorov: cells along each side to compute on, then averaged [128].",
)
@options.overwrite
def testbed(
    system: str,
    truth: Path,
    trajectories: int | None,
    length: int | None,
    years: int | None,
    seed: int,
    burn_in: int | None,
    interval: float | None,
    deterministic: bool,
    size: int | None,
    resolution: int | None,
    overwrite: bool,
) -> None:
    """Compute states of a system whose equations are known, to TRUTH.

    lorenz63 is three numbers, stochastic unless asked otherwise; kolmogorov is a turbulent flow
    in a doubly periodic plane, u and v every 0.2. The same seed gives the same trajectories,
    however many are asked for. speedy is a small model of the whole atmosphere: temperature on
    eight levels and near the ground, and surface pressure, every day (a year takes some minutes;
    needs the extra speedy).
    """
    from dpdm.testbed import TruthOptions, write_truth, write_weather
    from dpdm.testbeds.speedy import count_days

    counts = {"--trajectories": trajectories, "--length": length}
    fits(system, ("lorenz63", "kolmogorov"), counts, needed=True)
    fits(system, ("speedy",), {"--years": years}, needed=True)
    fits(system, ("kolmogorov",), {"--size": size, "--resolution": resolution})
    fits(system, ("lorenz63",), {"--interval": interval, "--deterministic": deterministic or None})
    line = options.command_line()
    if system == "speedy":
        with progress("Computing", "days") as report:
            write_weather(truth, count_days(years or 0), seed, burn_in, line, overwrite, report)
        return
    cells = {k: v for k, v in (("size", size), ("resolution", resolution)) if v is not None}
    asked = TruthOptions(
        trajectories or 0, length or 0, seed, burn_in, deterministic=deterministic, **cells
    )
    asked = asked if interval is None else replace(asked, interval=interval)
    with progress("Computing", "trajectories") as report:
        write_truth(system, truth, asked, line, overwrite, report)


def fits(
    system: str, systems: tuple[str, ...], said: Mapping[str, object], needed: bool = False
) -> None:
    """Refuse options of other systems, and the lack of what this one needs."""
    for name, value in said.items():
        if value is not None and system not in systems:
            raise click.UsageError(f"{name} is for {' and '.join(systems)}.")
        if value is None and needed and system in systems:
            raise click.UsageError(f"{system} needs {name}.")
