"""dpdm evaluate."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dpdm_cli import options
from dpdm_cli.checks import check_paths, climatology_file
from dpdm_cli.command import command
from dpdm_cli.console import echo, note

if TYPE_CHECKING:
    from dpdm.file_group import Source


@command(
    "dpdm evaluate fine.nc truth.nc --coarse coarse.nc",
    "dpdm evaluate fine.nc truth.nc --coarse coarse.nc --report scores.html",
)
@click.argument("files", nargs=-1, required=True, type=options.FILE, metavar="FORECAST... TRUTH")
@options.truth("The truth, instead of the last argument.")
@options.coarse("Coarse input of the forecast; adds the reference methods and the consistency.")
@options.climatology_options(
    ". It serves the anomaly correlation and the delta method.  [default: era5 where it fits]"
)
@click.option(
    "--also",
    multiple=True,
    callback=options.parse_pairs,
    metavar="NAME=FILE.nc",
    help="Name and file of another forecast to score. Repeatable.",
)
@options.statics
@click.option(
    "--joint",
    is_flag=True,
    help="Print multivariate scores: energy score, variogram score, correlations.",
)
@click.option(
    "--indices",
    is_flag=True,
    help="Print climate indices (Rx1day, SDII, TXx, variability) and distances between "
    "distributions and between spectra.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option(
    "--report",
    type=options.FILE,
    metavar="REPORT.html",
    help="Write an HTML page with maps, charts, extremes, and scores by month, elevation and "
    "distance to the coast.",
)
@options.overwrite
@options.var
@options.units
@options.missing
def evaluate(
    files: tuple[Path, ...],
    truth: "Source | None",
    coarse: "Source | None",
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
    """Score a forecast and reference methods against the truth."""
    if truth is None and len(files) < 2:
        raise click.UsageError("Missing argument 'TRUTH': the truth, last or with --truth.")
    rivals = {name: options.FILE.convert(path, None, None) for name, path in also.items()}
    inputs = (files, truth, coarse, climatology_file(climatology), statics, rivals)
    check_paths(inputs, report, file_options["overwrite"])
    from dpdm.evaluate.metrics import INDICES, JOINT_SECTION
    from dpdm.evaluate.sections import SectionChoice
    from dpdm.fields.read import FileOptions
    from dpdm.file_group import as_source

    chosen = {JOINT_SECTION: joint, INDICES: indices}
    printed = frozenset(name for name, flag in chosen.items() if flag)
    sections = SectionChoice(printed, has_all=as_json or report is not None)
    input_options = FileOptions(history=options.command_line(), **file_options)
    forecast, true = (files, truth) if truth else (files[:-1], files[-1])
    arguments = as_source(forecast), true, coarse, climatology, rivals, statics, input_options
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
        note(f"Wrote {report}")
    echo(table.to_json() if as_json else table.text())
