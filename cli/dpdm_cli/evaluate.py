"""dpdm evaluate."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from dpdm_cli import options
from dpdm_cli.console import echo


@click.command(epilog="Example: dpdm evaluate fine.nc truth.nc --coarse coarse.nc")
@click.argument("forecast", type=options.FILE)
@click.argument("truth", type=options.FILE)
@options.coarse("What the forecast was made from: adds the baselines and the consistency.")
@click.option(
    "--climatology",
    type=options.FILE,
    metavar="TRAIN.nc",
    help="A fine training series: its climatology for the ACC and as a baseline.",
)
@click.option(
    "--also",
    multiple=True,
    callback=options.pairs,
    metavar="NAME=FILE.nc",
    help="Another forecast to score beside it. Repeat for others.",
)
@options.statics
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option(
    "--report",
    type=options.FILE,
    metavar="REPORT.html",
    help="Write a page with maps, charts, scores by month, height and coast, and extremes.",
)
@options.overwrite
@options.var
@options.units
@options.missing
def evaluate(
    forecast: Path,
    truth: Path,
    coarse: Path | None,
    climatology: Path | None,
    also: Mapping[str, str],
    statics: Path | None,
    as_json: bool,
    report: Path | None,
    **rest: Any,
) -> None:
    """Score FORECAST against TRUTH, beside the honest baselines."""  # fmt: skip
    others = {name: Path(path) for name, path in also.items()}
    from dpdm.fields.read import FileOptions

    said = FileOptions(history=options.command_line(), **rest)
    given = forecast, truth, coarse, climatology, others, statics, said
    if report is None:
        from dpdm.evaluate import evaluate_files

        table = evaluate_files(*given)
    else:
        from dpdm.report import report as write_report

        table = write_report(report, *given)
        echo(f"Wrote {report}", err=True)
    echo(table.to_json() if as_json else table.text())
