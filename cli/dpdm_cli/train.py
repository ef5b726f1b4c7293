"""dpdm train."""

from collections.abc import Mapping
from pathlib import Path

import click

from dpdm_cli import options
from dpdm_cli.console import echo


def factors(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    """Return the least and the greatest factor of ``10`` or ``4-12``."""
    if value is None:
        return None
    try:
        ends = [int(part) for part in value.split("-")]
    except ValueError:
        ends = []
    if len(ends) not in (1, 2) or min(ends) < 1 or ends[0] > ends[-1]:
        raise click.BadParameter(
            f"{value!r} is neither a whole number, as 10, nor a range, as 4-12."
        )
    return ends[0], ends[-1]


@click.command(
    epilog="Example: dpdm train era5_*.nc --out my.safetensors --factor 10 --minutes 60"
)
@click.argument("fine", nargs=-1, required=True, type=options.FILE)
@click.option(
    "--out",
    required=True,
    type=options.FILE,
    metavar="PRIOR.safetensors",
    help="The prior to write.",
)
@click.option(
    "--factor",
    callback=factors,
    metavar="N|N-M",
    help="Learn from block means of the fine fields: one factor, or a range of them.",
)
@click.option(
    "--coarse",
    multiple=True,
    type=options.FILE,
    metavar="COARSE.nc",
    help="Learn from your own coarse fields at the same times. Repeat for others.",
)
@click.option(
    "--window",
    type=options.whole("window", 1),
    metavar="STATES",
    help="Learn the course of states, fields of the globe or trajectories, in windows of so many.",
)
@click.option(
    "--latent", is_flag=True, help="With --window, of fields: learn codes of an autoencoder."
)
@options.statics
@click.option(
    "--config", type=options.FILE, metavar="FILE.toml", help="Settings; docs/train.md lists them."
)
@click.option(
    "--minutes",
    type=options.Real(min=0, min_open=True),
    help="Stop after so many minutes of training in all.",
)
@click.option(
    "--start",
    metavar="NAME|FILE",
    shell_complete=options.priors,
    help="Begin with the weights of another prior (fine-tuning).",
)
@options.device
@options.var
@options.units
@options.missing
@options.overwrite
def train(
    fine: tuple[Path, ...],
    out: Path,
    factor: tuple[int, int] | None,
    coarse: tuple[Path, ...],
    window: int | None,
    latent: bool,
    statics: Path | None,
    config: Path | None,
    minutes: float | None,
    start: str | None,
    device: str,
    rename: Mapping[str, str],
    units: Mapping[str, str],
    missing: Mapping[str, tuple[float, ...]],
    overwrite: bool,
) -> None:
    """Train a prior on FINE fields, or on trajectories.

    The same command again goes on where it was stopped.
    """  # fmt: skip
    from dpdm.prior import find_prior
    from dpdm.train import train
    from dpdm.training import TrainingFiles
    from dpdm_cli.training import reporter

    if sum((factor is not None, bool(coarse), window is not None)) != 1:
        raise click.UsageError("Give either --factor or --coarse, or --window for trajectories.")
    if latent and window is None:
        raise click.UsageError("--latent belongs to --window, and there is none.")
    first = None if start is None else find_prior(start)
    sources = TrainingFiles(fine, coarse, statics, config, first, rename, units, missing)
    with reporter() as report:
        reached = train(
            sources, out, factor, minutes or 0.0, device, overwrite, report, window, latent
        )
    echo(f"Wrote {out}: {reached.step} training steps", err=True)
