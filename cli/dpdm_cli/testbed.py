"""dpdm testbed."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click

from dpdm import choices
from dpdm_cli import options
from dpdm_cli.checks import check_paths
from dpdm_cli.command import command
from dpdm_cli.console import progress


@command(
    "dpdm testbed lorenz63 truth.nc --trajectories 1024 --length 1024",
    "dpdm testbed kolmogorov truth.nc --resolution 64 --seed 1",
)
@click.argument("system", type=options.Choice(choices.SYSTEMS))
@click.argument("truth", type=options.FILE)
@click.option(
    "--trajectories",
    type=options.integer("trajectories"),
    help="Number of trajectories; not for speedy.",
)
@click.option(
    "--length",
    type=options.integer("length"),
    help="Number of states of each trajectory; not for speedy.",
)
@click.option(
    "--years",
    type=options.integer("years", 1),
    help="speedy: number of calendar years of daily states, from 2000.",
)
@click.option(
    "--seed",
    type=options.integer("seed"),
    default=0,
    show_default=True,
    help="Random seed of the trajectories.",
)
@click.option(
    "--burn-in",
    type=options.integer("burn_in"),
    metavar="STATES",
    help="Spin-up before the first state: 1024 for lorenz63, 100 for kolmogorov, 92 for speedy.",
)
@click.option(
    "--interval",
    type=options.FiniteFloat(),
    metavar="TIME",
    help="lorenz63: time between states [0.025].",
)
@click.option(
    "--deterministic",
    is_flag=True,
    help="lorenz63: without stochastic forcing.",
)
@click.option(
    "--size",
    type=options.integer("size"),
    help="kolmogorov: cells along each side of the output [64].",
)
@click.option(
    "--resolution",
    type=options.integer("resolution"),
    metavar="CELLS",
    help="kolmogorov: cells along each side of the model, before averaging [128].",
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
    """Integrate a model with known equations, and write its states.

    lorenz63 has three components, with stochastic forcing by default. kolmogorov is a turbulent
    flow in a doubly periodic plane: u and v every 0.2 time units. The same seed gives the same
    trajectories, regardless of their number. speedy is an intermediate-complexity model of the
    global atmosphere: daily temperature on eight levels and near the surface, and surface
    pressure. A year takes a few minutes, and the extra speedy must be installed.
    """
    check_paths((), truth, overwrite)
    from dpdm.testbed import TruthOptions, write_truth, write_weather
    from dpdm.testbeds.speedy import count_days

    counts = {"--trajectories": trajectories, "--length": length}
    check_system_options(system, ("lorenz63", "kolmogorov"), counts, needed=True)
    check_system_options(system, ("speedy",), {"--years": years}, needed=True)
    check_system_options(system, ("kolmogorov",), {"--size": size, "--resolution": resolution})
    check_system_options(
        system, ("lorenz63",), {"--interval": interval, "--deterministic": deterministic or None}
    )
    history = options.command_line()
    if system == "speedy":
        with progress("Computing", "days") as report:
            write_weather(truth, count_days(years or 0), seed, burn_in, history, overwrite, report)
        return
    cells = {k: v for k, v in (("size", size), ("resolution", resolution)) if v is not None}
    truth_options = TruthOptions(
        trajectories or 0, length or 0, seed, burn_in, deterministic=deterministic, **cells
    )
    if interval is not None:
        truth_options = replace(truth_options, interval=interval)
    with progress("Computing", "trajectories") as report:
        write_truth(system, truth, truth_options, history, overwrite, report)


def check_system_options(
    system: str, systems: tuple[str, ...], values: Mapping[str, object], needed: bool = False
) -> None:
    """Refuse options of other systems, and require those that this one needs."""
    for name, value in values.items():
        if value is not None and system not in systems:
            raise click.UsageError(f"{name} is for {' and '.join(systems)}.")
        if value is None and needed and system in systems:
            raise click.UsageError(f"{system} needs {name}.")
