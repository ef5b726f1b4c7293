"""dpdm assimilate."""

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dpdm import choices
from dpdm_cli import options
from dpdm_cli.checks import check_paths, climatology_file
from dpdm_cli.command import command
from dpdm_cli.console import echo, note, progress, report_file

if TYPE_CHECKING:
    from dpdm.fields.named_grids import Target
    from dpdm.file_group import Source

POSITIVE = options.FiniteFloat(min=0, min_open=True)


@command(
    "dpdm assimilate stations.csv analysis.nc --coarse coarse.nc --withhold 0.1",
    "dpdm assimilate stations.csv analysis.nc --bbox 124,130,33,39 --report seen.csv",
)
@options.inputs_and_output("OBSERVATIONS", "ANALYSIS", joined=False)
@options.prior
@options.coarse(
    "Coarse fields to condition on. Without them the climatology is the background, and --grid or "
    "--bbox sets the domain."
)
@click.option(
    "--dates", callback=options.parse_dates, metavar="FIRST,LAST",
    help="Analyse only the steps from FIRST to LAST, as in 1993-01,1993-12.",
)  # fmt: skip
@options.grid
@options.bbox
@options.statics
@options.climatology
@click.option(
    "--members", type=options.integer("members", 1), default=33, show_default=True,
    help="Size of the ensemble.",
)  # fmt: skip
@click.option(
    "--seed", type=options.integer("seed", 0), default=0, show_default=True,
    help="Random seed of the ensemble and of the withheld stations.",
)  # fmt: skip
@click.option(
    "--guidance", type=options.Choice(choices.GUIDANCES), default=None,
    help="Method of guidance by observations (docs/assimilate.md).  [default: the prior's]",
)  # fmt: skip
@click.option(
    "--steps",
    type=options.integer("steps", 2),
    help="Number of sampling steps.  [default: the prior's]",
)
@click.option(
    "--corrections", type=options.integer("corrections", 0),
    help="Langevin corrections after each step.  [default: the prior's]",
)  # fmt: skip
@click.option("--tau", type=POSITIVE, help="Langevin step size.  [default: the prior's]")
@click.option(
    "--gamma", type=options.FiniteFloat(min=0),
    help="For --guidance sda: ratio of the prior variance to the noise variance.  "
    "[default: 0.01]",
)  # fmt: skip
@click.option(
    "--iterations", type=options.integer("iterations", 1),
    help="Krylov dimensions of --guidance mmps, or maximum number of conjugate gradient steps of "
    "law.  [default: 3 or 20]",
)  # fmt: skip
@click.option("--zeta", type=POSITIVE, help="For --guidance dps: guidance strength.  [default: 1]")
@click.option(
    "--error", "errors", multiple=True, callback=options.parse_numbers, metavar="VAR=STD",
    help="Error standard deviation of observations that have none in their file, in K, mm day-1, "
    "Pa or m s-1. "
    "Repeatable.",
)  # fmt: skip
@click.option(
    "--coarse-error", multiple=True, callback=options.parse_coarse_error,
    metavar="auto|VAR=STD",
    help="Error standard deviation of the coarse input, as in t2m=1.5, or auto to estimate it "
    "from the stations (default without --coarse). Repeatable.",
)  # fmt: skip
@click.option(
    "--coarse-length", type=POSITIVE, default=300.0, show_default=True, metavar="KM",
    help="Correlation length of the error of the coarse input.",
)  # fmt: skip
@click.option(
    "--reject", type=options.FiniteFloat(min=0), default=5.0, show_default=True,
    help="Reject observations more than this many standard deviations from the background; 0 "
    "rejects none.",
)  # fmt: skip
@click.option(
    "--coverage", type=options.FiniteFloat(0, 1), default=0.8, show_default=True,
    help="Minimum fraction of a month, season or year that a station must cover.",
)  # fmt: skip
@click.option(
    "--qc", type=options.Choice(choices.QC_LEVELS), default="all", show_default=True,
    help="Checks of observations against one another: all, duplicates only (basic), or none.",
)  # fmt: skip
@click.option(
    "--withhold", type=options.FiniteFloat(0, 1, max_open=True), default=0.0, show_default=True,
    help="Fraction of the stations withheld for verification.",
)  # fmt: skip
@click.option(
    "--stations", type=options.FILE, metavar="LIST.csv",
    help="Table of station positions, joined by name to observations without positions.",
)  # fmt: skip
@options.check_option(
    "Print how the columns are interpreted and which observations will be used, and estimate "
    "time, memory and disk space, without writing anything."
)
@click.option(
    "--withhold-blocks", type=options.Kilometres(), default=0.0, metavar="LENGTHkm",
    help="Withhold all stations of whole blocks of this size, as in 100km.",
)  # fmt: skip
@click.option(
    "--verify", multiple=True, type=options.FILE, metavar="OBS.csv",
    help="Observations used for verification only. Repeatable.",
)  # fmt: skip
@click.option(
    "--channels", type=options.FILE, metavar="FILE",
    help="Weighting functions of sounder channels (docs/assimilate.md).",
)  # fmt: skip
@click.option(
    "--report", type=options.FILE, metavar="OBS_REPORT.csv",
    help="Write the status, innovation and residual of each observation.",
)  # fmt: skip
@click.option(
    "--keep", type=options.Choice(choices.KEPT), default="all", show_default=True,
    help="Write the members, the mean, spread and quantiles (stats), or both (all).",
)  # fmt: skip
@options.device
@options.period
@options.var
@options.units
@options.missing
@click.option(
    "--obs-var", multiple=True, callback=options.parse_pairs, metavar="NAME=VARIABLE",
    help="Name of a variable or column in the observations, as in t2m=TA. Repeatable.",
)  # fmt: skip
@click.option(
    "--obs-units", multiple=True, callback=options.parse_pairs, metavar="NAME=UNIT",
    help="Units of the observations, if missing in their file, as in t2m=degC. Repeatable.",
)  # fmt: skip
@options.missing_option(
    "--obs-missing",
    "Missing-value code in the observations, as in -999 or tp=-9. Repeatable.",
)
@options.overwrite
def assimilate(
    observations: tuple[Path, ...],
    analysis: Path,
    prior: str,
    coarse: "Source | None",
    grid: "Target | None",
    statics: Path | None,
    report: Path | None,
    verify: tuple[Path, ...],
    steps: int | None,
    overwrite: bool,
    check: bool,
    **other_options: Any,
) -> None:
    """Assimilate observations into the ensemble.

    OBSERVATIONS are CSV or NetCDF files of stations, points or fields, or of trajectories if the
    prior is one of trajectories. Scores of the background and of the analysis are printed, also
    at the stations withheld by --withhold and at those of --verify.
    """
    check_dependent_options()
    climate = climatology_file(other_options["climatology"])
    more = (climate, other_options["channels"], other_options["stations"])
    inputs = (observations, coarse, grid, statics, verify, more)
    check_paths(inputs, None if check else analysis, overwrite, prior)
    from dpdm.assimilate import assimilate, check_assimilation
    from dpdm.assimilate.departures import format_departures
    from dpdm.info.prior import describe_code
    from dpdm.states.options import AssimilationFiles, AssimilationOptions, EnsembleOptions

    named = {field.name for field in fields(EnsembleOptions)} & other_options.keys()
    of_ensemble = {name: other_options.pop(name) for name in named}
    ensemble_options = EnsembleOptions(
        steps=steps or 0, history=options.command_line(), **of_ensemble
    )
    for name, default in (("guidance", ""), ("tau", 0.0)):
        other_options[name] = other_options[name] or default
    files = AssimilationFiles(observations, coarse, grid, statics, analysis, report, verify)
    options_used = AssimilationOptions(**other_options)
    if check:
        check_assimilation(files, prior, ensemble_options, options_used, echo)
        return
    with progress("Assimilating", "member-steps") as progress_report:
        rows = assimilate(
            files, prior, ensemble_options, options_used, overwrite, progress_report, note
        )
    report_file(analysis)
    echo(format_departures(rows))
    if line := describe_code(prior):
        echo(line)


def check_dependent_options() -> None:
    """Refuse an option without the one that it refines."""
    context, given = click.get_current_context(), click.core.ParameterSource.COMMANDLINE
    for name, needed in (("coarse_length", "coarse_error"), ("withhold_blocks", "withhold")):
        if context.get_parameter_source(name) is given and not context.params[needed]:
            option, other = (f"--{word.replace('_', '-')}" for word in (name, needed))
            raise click.UsageError(f"{option} requires {other}.")
