"""dpdm reconstruct."""

import re
from pathlib import Path

import click

from dpdm_cli import options
from dpdm_cli.console import echo, told

SECONDS = {"h": 3600, "m": 60, "s": 1}


def duration(ctx: click.Context, parameter: click.Parameter, value: str | None) -> float:
    """Return a duration such as 50m or 1h30m in seconds."""
    if value is None:
        return 0.0
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms])", value)
    if "".join(number + unit for number, unit in parts) != value or not parts:
        raise click.BadParameter(f"{value!r} is no duration; write 50m, 2h or 1h30m.")
    return sum(options.real(number) * SECONDS[unit] for number, unit in parts)


@click.command(epilog="Example: dpdm reconstruct 20cr.toml fine --budget 8h")
@click.argument("plan", type=options.FILE)
@click.argument("out", type=options.FILE, required=False)
@click.option("--check", is_flag=True, help="Check the plan, and print what it will cost.")
@click.option("--verify", is_flag=True, help="Check what is in OUT, and draw 3 units again.")
@click.option("--budget", callback=duration, metavar="50m", help="End after so much time.")
@click.option(
    "--workers", type=options.whole("workers", 1), help="Processes  [default: the plan's]"
)
@click.option("--scheduler", default="", metavar="ADDRESS", help="A Dask scheduler that exists.")
@click.option(
    "--accept-change", is_flag=True, help="Go on though plan, prior, input or dpdm have changed."
)
def reconstruct(
    plan: Path,
    out: Path | None,
    check: bool,
    verify: bool,
    budget: float,
    workers: int | None,
    scheduler: str,
    accept_change: bool,
) -> None:
    """Reconstruct the series that PLAN describes into the folder OUT, or go on with it.

    It may be stopped at any time; the same command takes it up where it was. Nothing is done
    twice, and the files do not depend on when or where they were made.
    """
    if check and verify:
        raise click.UsageError("Give either --check or --verify.")
    if out is None and not check:
        raise click.UsageError("Missing argument 'OUT'.")
    if workers and scheduler:
        raise click.UsageError("--workers is for a local cluster; leave it out with --scheduler.")
    if check:
        checked(plan, out)
    elif out is not None and verify:
        verified(plan, out)
    elif out is not None:
        run(plan, out, budget, workers or 0, scheduler, accept_change)


def run(plan: Path, out: Path, budget: float, workers: int, scheduler: str, accept: bool) -> None:
    """Reconstruct, and say how it ended."""
    from dpdm.reconstruct import RunOptions, reconstruct

    with told("Reconstructing", "units") as (say, report):
        asked = RunOptions(workers, scheduler, budget, accept, say, report)
        if reconstruct(plan, out, asked):
            say(f"all of {out} is done")


def checked(plan: Path, out: Path | None) -> None:
    """Print what a plan will cost."""
    from dpdm.reconstruct.estimate import estimate_cost

    for line in estimate_cost(plan, out):
        echo(line)


def verified(plan: Path, out: Path) -> None:
    """Verify what was reconstructed, and print what was found."""
    from dpdm.reconstruct.verify import verify_products

    with told("Verifying", "products") as (_, report):
        for line in verify_products(plan, out, report):
            echo(line)
