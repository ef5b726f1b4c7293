"""dpdm train."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dpdm.errors import escape_controls
from dpdm_cli import options
from dpdm_cli.checks import check_paths
from dpdm_cli.command import command
from dpdm_cli.console import echo, note
from dpdm_cli.log import write_log

if TYPE_CHECKING:
    from dpdm.training.loop import TrainingProgress


def parse_factors(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    """Parse a factor, as 10, or a range of factors, as 4-12."""
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


def format_progress(progress: "TrainingProgress") -> str:
    """Return share done, loss, rate, time left and held-out scores in one line."""
    left = progress.seconds * (1 / max(progress.share, 1e-9) - 1) / 60
    rate = progress.run_windows / max(progress.run_seconds, 1e-9)
    scores = "  ".join(f"{name} {value:.3f}" for name, value in progress.scores.items())
    return (
        f"{progress.share:6.1%}  step {progress.step}  loss {progress.loss:.4f}  "
        f"{rate:.1f} windows/s  {left:.1f} min left"
        + (f"  held-out {progress.measure}: {scores}" if scores else "")
    )


@contextmanager
def show_training() -> Iterator[Callable[["TrainingProgress"], None]]:
    """Yield a callback that updates a line on a terminal, or prints one each minute."""
    last = [0.0]
    live = sys.stderr.isatty()

    def report(progress: "TrainingProgress") -> None:
        now = time.monotonic()
        if now - last[0] >= (0.5 if live else 60.0) or progress.share >= 1:
            last[0] = now
            ends = "\r" if live and progress.share < 1 else "\n"
            text = escape_controls(format_progress(progress))
            print(f"{text:<110}", end=ends, file=sys.stderr, flush=True)
            if ends == "\n":
                write_log(text)

    yield report


@command(
    "dpdm train era5_*.nc --out my.safetensors --factor 10 --minutes 60",
    "dpdm train fine.nc --out my.safetensors --coarse coarse.nc --check",
)
@click.argument("fine", nargs=-1, required=True, type=options.FILE)
@click.option(
    "-o",
    "--out",
    required=True,
    type=options.FILE,
    metavar="PRIOR.safetensors",
    help="The prior to write.",
)
@click.option(
    "--factor",
    callback=parse_factors,
    metavar="N|N-M",
    help="Train on block means of the fine fields: a refinement factor, or a range.",
)
@click.option(
    "--coarse",
    multiple=True,
    type=options.FILE,
    metavar="COARSE.nc",
    help="Train on your own coarse fields at the same times. Repeatable.",
)
@click.option(
    "--window",
    type=options.integer("window", 1),
    metavar="STATES",
    help="Train on sequences of states (trajectories, or global fields) of this length.",
)
@click.option(
    "--latent",
    is_flag=True,
    help="With --window and fields: train in the latent space of an autoencoder.",
)
@options.statics
@click.option(
    "--config",
    type=options.FILE,
    metavar="FILE.toml",
    help="Settings (docs/settings.md).",
)
@click.option(
    "--minutes",
    type=options.FiniteFloat(min=0),
    help="Total training time, over all runs; 0 leaves --start as it is, for --fast-minutes.",
)
@click.option(
    "--fast-minutes",
    type=options.FiniteFloat(min=0, min_open=True),
    help="Then train a fast head as long: it draws a member in one network evaluation.",
)
@click.option(
    "--start",
    metavar="NAME|FILE|none",
    shell_complete=options.complete_prior,
    help="Start from the weights of another prior (fine-tuning); none for random weights.  "
    "[default: the bundled prior, if variables, spacing, factor and network agree]",
)
@options.check_option(
    "Describe the training data and estimate time, memory and disk space, without writing "
    "anything."
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
    fast_minutes: float | None,
    start: str | None,
    check: bool,
    device: str,
    rename: Mapping[str, str],
    units: Mapping[str, str],
    missing: Mapping[str, tuple[float, ...]],
    overwrite: bool,
) -> None:
    """Train a prior on fine fields or trajectories.

    FINE may be several files, with different variables or periods, or with static fields (relief
    and land fraction). The same command resumes a run that was stopped; with larger --minutes it
    continues the training of a finished prior.
    """
    if sum((factor is not None, bool(coarse), window is not None)) != 1:
        raise click.UsageError("Give either --factor or --coarse, or --window for trajectories.")
    if latent and window is None:
        raise click.UsageError("--latent requires --window.")
    if latent and check:
        raise click.UsageError("--check does not support --latent.")
    if minutes == 0 and (fast_minutes is None or start in (None, "none")):
        raise click.UsageError("--minutes 0 is for --fast-minutes with --start PRIOR.")
    if fast_minutes is not None and check:
        raise click.UsageError("--check does not support --fast-minutes.")
    check_paths((fine, coarse, statics, config), None if out.exists() else out)
    from dpdm.prior import find_prior
    from dpdm.train import check_training, train
    from dpdm.training import TrainingFiles

    start_prior = None if start in (None, "none") else find_prior(start)
    files = TrainingFiles(
        fine, coarse, statics, config, start_prior, rename, units, missing, start is None
    )
    if check:
        for line in check_training(files, out, factor, minutes or 0.0, device, window):
            echo(line)
        return
    with show_training() as report:
        reached = train(
            files, out, factor, minutes or 0.0, device, overwrite, report, window, latent, note,
            fast_minutes or 0.0, minutes == 0,
        )  # fmt: skip
    note(f"Wrote {out}: {reached.step} training steps")
