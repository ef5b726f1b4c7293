"""dpdm adjust."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from dpdm import choices
from dpdm_cli import options
from dpdm_cli.command import command
from dpdm_cli.console import echo, progress, report_file


@command(
    "dpdm adjust tas.nc adjusted.nc --reference-period 1981-01,2010-12",
    "dpdm adjust ssp245.nc adjusted.nc --reference-period 1985,2014 --reference historical.nc",
)
@click.argument("coarse", type=options.FILE)
@click.argument("out", type=options.FILE)
@options.own_period("First and last month, or year, of the period of comparison.")
@click.option(
    "--method", type=click.Choice(choices.ADJUSTMENT_METHODS), default="anomalies",
    show_default=True,
    help="Add the anomalies of the input to the climatology, or map its quantiles or means to "
    "those of the training data of the prior.",
)  # fmt: skip
@options.reference
@options.prior
@options.climatology
@options.box_option("Adjust")
@options.var
@options.units
@options.missing
@options.overwrite
def adjust(
    coarse: Path,
    out: Path,
    method: str,
    prior: str,
    overwrite: bool,
    rename: Mapping[str, str],
    **other_options: Any,
) -> None:
    """Adjust the monthly climate of a coarse file, without downscaling it.

    The adjustment is that of dpdm downscale --reference-period and of [adjust] in a plan. OUT is
    marked as adjusted, and dpdm downscale does not adjust it again.
    """
    if other_options["reference_period"] is None:
        raise click.UsageError("Missing option '--reference-period'.")
    if method != "anomalies" and (
        other_options["climatology"] or other_options["climatology_period"]
    ):
        raise click.UsageError("--climatology is for --method anomalies.")
    from dpdm.adjust import adjust
    from dpdm.states.options import EnsembleOptions

    adjust_options = EnsembleOptions(
        rename=rename, history=options.command_line(), **other_options
    )
    with progress("Adjusting", "steps") as report:
        done = adjust(coarse, out, method, prior, adjust_options, overwrite, report)
    echo(done, err=True)
    report_file(out)
