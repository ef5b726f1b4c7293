"""dpdm reconstruct."""

import re
from pathlib import Path

import click

from dpdm_cli import options
from dpdm_cli.checks import check_paths
from dpdm_cli.command import command
from dpdm_cli.console import echo, show_progress

SECONDS = {"h": 3600, "m": 60, "s": 1}


def parse_duration(ctx: click.Context, parameter: click.Parameter, value: str | None) -> float:
    """Parse a duration such as 50m or 1h30m as seconds."""
    if value is None:
        return 0.0
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms])", value)
    if "".join(number + unit for number, unit in parts) != value or not parts:
        raise click.BadParameter(f"{value!r} is not a valid duration; write 50m, 2h or 1h30m.")
    return sum(options.parse_number(number) * SECONDS[unit] for number, unit in parts)


@command(
    "dpdm reconstruct 20cr.toml fine --check",
    "dpdm reconstruct 20cr.toml fine --budget 8h",
)
@click.argument("plan", type=options.FILE)
@click.argument("out", type=options.FILE, required=False)
@options.check_option(
    "Check the plan, and estimate time, memory and disk space, without writing anything."
)
@click.option(
    "--verify", is_flag=True, help="Verify the files in OUT, and recompute three units of work."
)
@click.option("--budget", callback=parse_duration, metavar="50m", help="Time limit of this run.")
@click.option(
    "--workers",
    type=options.integer("workers", 1),
    help="Number of processes.  [default: the plan's]",
)
@click.option(
    "--scheduler", default="", metavar="ADDRESS", help="Address of a running Dask scheduler."
)
@click.option(
    "--accept-change",
    is_flag=True,
    help="Resume although the plan, the prior, the input or dpdm has changed.",
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
    """Downscale a long series by a plan, or resume it.

    PLAN is a TOML file, and OUT the folder of the output. A run may be stopped at any time, and
    the same command resumes it. No unit of work is computed twice, and the output does not depend
    on interruptions.
    """
    if check and verify:
        raise click.UsageError("Give either --check or --verify.")
    if out is None and not check:
        raise click.UsageError("Missing argument 'OUT'.")
    if workers and scheduler:
        raise click.UsageError("--workers is for local processes; leave it out with --scheduler.")
    check_paths(plan)
    if check:
        print_estimate(plan, out)
    elif out is not None and verify:
        print_verification(plan, out)
    elif out is not None:
        run(plan, out, budget, workers or 0, scheduler, accept_change)


def run(
    plan: Path, out: Path, budget: float, workers: int, scheduler: str, accept_change: bool
) -> None:
    """Run a reconstruction, and print whether it is complete."""
    from dpdm.reconstruct.run import RunOptions, reconstruct

    with show_progress("Reconstructing", "units") as (print_line, report):
        options = RunOptions(workers, scheduler, budget, accept_change, print_line, report)
        if reconstruct(plan, out, options):
            print_line(f"all of {out} is done")


def print_estimate(plan: Path, out: Path | None) -> None:
    """Print the estimated cost of a plan."""
    from dpdm.reconstruct.estimate import estimate_cost

    for line in estimate_cost(plan, out):
        echo(line)


def print_verification(plan: Path, out: Path) -> None:
    """Verify a reconstruction, and print the results."""
    from dpdm.reconstruct.verify import verify_products

    with show_progress("Verifying", "products") as (_, report):
        for line in verify_products(plan, out, report):
            echo(line)
