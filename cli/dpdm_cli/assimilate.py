"""dpdm assimilate."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from dpdm import choices
from dpdm_cli import options
from dpdm_cli.console import echo, progress, wrote

POSITIVE = options.Real(min=0, min_open=True)


@click.command(
    epilog="Example: dpdm assimilate stations.csv analysis.nc --coarse coarse.nc --withhold 0.1"
)
@click.argument("observations", nargs=-1, required=True, type=options.FILE)
@click.argument("analysis", type=options.FILE)
@options.prior
@click.option(
    "--coarse", type=options.FILE, metavar="COARSE.nc",
    help="Coarse fields to start from; without them, --grid says where and when.",
)  # fmt: skip
@options.grid
@options.bbox
@options.statics
@click.option(
    "--members", type=options.whole("members", 1), default=33, show_default=True,
    help="Size of the ensemble.",
)  # fmt: skip
@click.option(
    "--seed", type=options.whole("seed", 0), default=0, show_default=True,
    help="Seed of the ensemble, and of what is withheld.",
)  # fmt: skip
@click.option(
    "--guidance", type=options.OneOf(choices.GUIDANCES), default=None,
    help="How observations pull: docs/assimilate.md.  [default: the prior's]",
)  # fmt: skip
@click.option(
    "--steps", type=options.whole("steps", 2), help="Noise levels  [default: the prior's]"
)
@click.option(
    "--corrections", type=options.whole("corrections", 0),
    help="Langevin corrections after each step.  [default: the prior's]",
)  # fmt: skip
@click.option("--tau", type=POSITIVE, help="Their length.  [default: the prior's]")
@click.option(
    "--gamma", type=options.Real(min=0),
    help="Gamma of --guidance sda: the prior's uncertainty over the noise's.  [default: 0.01]",
)  # fmt: skip
@click.option(
    "--iterations", type=options.whole("iterations", 1),
    help="Conjugate gradient steps of --guidance mmps, or the most of law.  [default: 3 or 20]",
)  # fmt: skip
@click.option("--zeta", type=POSITIVE, help="Pull of --guidance dps.  [default: 1]")
@click.option(
    "--error", "errors", multiple=True, callback=options.numbers, metavar="VAR=STD",
    help="Standard deviation of observations without one, in K, mm day-1, Pa or m s-1. Repeat.",
)  # fmt: skip
@click.option(
    "--coarse-error", multiple=True, callback=options.numbers, metavar="VAR=STD",
    help="What may be wrong with the coarse field itself, as in t2m=1.5. Repeat.",
)  # fmt: skip
@click.option(
    "--coarse-length", type=POSITIVE, default=300.0, show_default=True, metavar="KM",
    help="Over what length it is wrong alike.",
)  # fmt: skip
@click.option(
    "--reject", type=options.Real(min=0), default=5.0, show_default=True,
    help="Turn away observations so many standard deviations from the prior; 0 keeps all.",
)  # fmt: skip
@click.option(
    "--coverage", type=options.Real(0, 1), default=0.8, show_default=True,
    help="Least share of a month, season or year that the values of a station must cover.",
)  # fmt: skip
@click.option(
    "--withhold", type=options.Real(0, 1, max_open=True), default=0.0, show_default=True,
    help="Share of the stations kept back to score the analysis.",
)  # fmt: skip
@click.option(
    "--channels", type=options.FILE, metavar="FILE",
    help="What the channels of a sounder see: weighting functions, docs/assimilate.md.",
)  # fmt: skip
@click.option(
    "--report", type=options.FILE, metavar="OBS_REPORT.csv",
    help="Write every observation with its use, innovation and residual.",
)  # fmt: skip
@click.option(
    "--keep", type=options.OneOf(choices.KEPT), default="all", show_default=True,
    help="Members, or mean, spread and quantiles, or both.",
)  # fmt: skip
@options.device
@options.period
@options.var
@options.units
@options.missing
@click.option(
    "--obs-var", multiple=True, callback=options.pairs, metavar="NAME=VARIABLE",
    help="Which variable of the observations is meant, as in t2m=TA. Repeat for others.",
)  # fmt: skip
@click.option(
    "--obs-units", multiple=True, callback=options.pairs, metavar="NAME=UNIT",
    help="The observations' units, where their file does not say, as in t2m=degC.",
)  # fmt: skip
@options.codes(
    "--obs-missing",
    "Number in the observations that stands for a missing value, as -999 or tp=-9. Repeat.",
)
@options.overwrite
def assimilate(
    observations: tuple[Path, ...],
    analysis: Path,
    prior: str,
    coarse: Path | None,
    grid: Path | None,
    statics: Path | None,
    bbox: tuple[float, float, float, float] | None,
    report: Path | None,
    members: int,
    seed: int,
    steps: int | None,
    keep: str,
    device: str,
    period: str,
    rename: Mapping[str, str],
    units: Mapping[str, str],
    missing: Mapping[str, tuple[float, ...]],
    overwrite: bool,
    **said: Any,
) -> None:
    """Pull an ensemble towards OBSERVATIONS, and write it as ANALYSIS.

    Observations are CSV or NetCDF files of stations, points or fields, or of trajectories,
    if the prior is one of those. Scores at them are printed; with --withhold also at stations
    that the analysis has not seen.
    """  # fmt: skip
    refuse_strays()
    said |= {"guidance": said["guidance"] or "", "tau": said["tau"] or 0.0}
    from dpdm.assimilate import assimilate
    from dpdm.assimilate.departures import format_departures
    from dpdm.info import describe_code
    from dpdm.states.options import AssimilationFiles, AssimilationOptions, EnsembleOptions

    asked = EnsembleOptions(
        members=members, seed=seed, steps=steps or 0, keep=keep, device=device, bbox=bbox,
        rename=rename, units=units, missing=missing,
        history=options.command_line(), period=period,
    )  # fmt: skip
    files = AssimilationFiles(observations, coarse, grid, statics, analysis, report)
    with progress("Assimilating", "member-steps") as tell:
        rows = assimilate(files, prior, asked, AssimilationOptions(**said), overwrite, tell)
    wrote(analysis)
    echo(format_departures(rows))
    if line := describe_code(prior):
        echo(line)


def refuse_strays() -> None:
    """Refuse the length of an error that is not stated."""
    context, given = click.get_current_context(), click.core.ParameterSource.COMMANDLINE
    if (
        context.get_parameter_source("coarse_length") is given
        and not context.params["coarse_error"]
    ):
        raise click.UsageError("--coarse-length belongs to --coarse-error, and there is none.")
