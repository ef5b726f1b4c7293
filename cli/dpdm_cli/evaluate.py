"""dpdm evaluate."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from dpdm_cli import options
from dpdm_cli.command import command
from dpdm_cli.console import echo


@command(
    "dpdm evaluate fine.nc truth.nc --coarse coarse.nc",
    "dpdm evaluate fine.nc truth.nc --coarse coarse.nc --report scores.html",
)
@click.argument("forecast", type=options.FILE)
@click.argument("truth", type=options.FILE)
@options.coarse("Input of the forecast: adds the reference methods and the consistency.")
@options.climatology_options(
    "; for the ACC and the delta method (lerp + residual climatology).  [default: era5 where it "
    "fits]"
)
@click.option(
    "--also",
    multiple=True,
    callback=options.parse_pairs,
    metavar="NAME=FILE.nc",
    help="Another forecast to score. Repeatable.",
)
@options.statics
@click.option(
    "--joint",
    is_flag=True,
    help="Print scores of the variables together: energy score, variogram score, correlations.",
)
@click.option(
    "--indices",
    is_flag=True,
    help="Print climate indices (Rx1day, SDII, TXx, variability) and distances of distributions "
    "and spectra.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option(
    "--report",
    type=options.FILE,
    metavar="REPORT.html",
    help="Write a page with maps, charts, extremes, and scores by month, elevation and coast.",
)
@options.overwrite
@options.var
@options.units
@options.missing
def evaluate(
    forecast: Path,
    truth: Path,
    coarse: Path | None,
    climatology: str,
    climatology_period: tuple[str, str] | None,
    also: Mapping[str, str],
    statics: Path | None,
    joint: bool,
    indices: bool,
    as_json: bool,
    report: Path | None,
    **file_options: Any,
) -> None:
    """Score FORECAST and reference methods against TRUTH."""
    from dpdm.evaluate.metrics import INDICES, JOINT_SECTION
    from dpdm.evaluate.sections import SectionChoice
    from dpdm.fields.read import FileOptions

    chosen = {JOINT_SECTION: joint, INDICES: indices}
    printed = frozenset(name for name, flag in chosen.items() if flag)
    sections = SectionChoice(printed, has_all=as_json or report is not None)
    input_options = FileOptions(history=options.command_line(), **file_options)
    rivals = {name: Path(path) for name, path in also.items()}
    arguments = forecast, truth, coarse, climatology, rivals, statics, input_options
    if report is None:
        from dpdm.evaluate import evaluate_files

        table = evaluate_files(
            *arguments, climatology_period=climatology_period, sections=sections
        )
    else:
        from dpdm.report import report as write_report

        table = write_report(
            report, *arguments, climatology_period=climatology_period, sections=sections
        )
        echo(f"Wrote {report}", err=True)
    echo(table.to_json() if as_json else table.text())
