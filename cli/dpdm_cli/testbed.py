"""dpdm testbed."""

from dataclasses import replace
from pathlib import Path

import click

from dpdm_cli import options
from dpdm_cli.console import progress


@click.command(epilog="Example: dpdm testbed lorenz63 truth.nc --trajectories 1024 --length 1024")
@click.argument("system", type=click.Choice(["lorenz63", "kolmogorov"]))
@click.argument("truth", type=options.FILE)
@click.option("--trajectories", type=int, required=True, help="How many to compute.")
@click.option("--length", type=int, required=True, help="States of each trajectory.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides the trajectories.")
@click.option(
    "--burn-in",
    type=int,
    metavar="STATES",
    help="States left out before the first: 1024 for lorenz63, 100 for kolmogorov.",
)
@click.option(
    "--interval",
    type=float,
    metavar="TIME",
    help="lorenz63: time from state to state [0.025].",
)
@click.option(
    "--deterministic",
    is_flag=True,
    help="lorenz63: leave the equations as they are, without noise.",
)
@click.option("--size", type=int, help="kolmogorov: cells along each side of a field [64].")
@click.option(
    "--resolution",
    type=int,
    metavar="CELLS",
    help="kolmogorov: cells along each side to compute on, then averaged [128].",
)
@options.overwrite
def testbed(
    system: str,
    truth: Path,
    trajectories: int,
    length: int,
    seed: int,
    burn_in: int | None,
    interval: float | None,
    deterministic: bool,
    size: int | None,
    resolution: int | None,
    overwrite: bool,
) -> None:
    """Compute trajectories of a system whose equations are known, to TRUTH.

    lorenz63 is three numbers, stochastic unless asked otherwise; kolmogorov is a turbulent flow
    in a doubly periodic plane, u and v every 0.2. The same seed gives the same trajectories,
    however many are asked for.
    """  # fmt: skip
    from dpdm.testbed import Truth, write_truth

    cells = {k: v for k, v in (("size", size), ("resolution", resolution)) if v is not None}
    if cells and system != "kolmogorov":
        raise click.UsageError("--size and --resolution are for kolmogorov.")
    if (interval is not None or deterministic) and system != "lorenz63":
        raise click.UsageError("--interval and --deterministic are for lorenz63.")
    asked = Truth(trajectories, length, seed, burn_in, deterministic=deterministic, **cells)
    asked = asked if interval is None else replace(asked, interval=interval)
    with progress("Computing", "trajectories") as report:
        write_truth(system, truth, asked, options.command_line(), overwrite, report)
