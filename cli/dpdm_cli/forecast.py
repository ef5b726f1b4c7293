"""dpdm forecast."""

from pathlib import Path

import click

from dpdm_cli import options
from dpdm_cli.checks import check_paths
from dpdm_cli.command import command
from dpdm_cli.console import echo, report_file


@command(
    "dpdm forecast train.nc state.nc out.nc --prior lorenz.safetensors --steps 50",
    "dpdm forecast train.nc state.nc out.nc --prior lorenz.safetensors --lead 5 --tune 3",
)
@click.argument("train", type=options.FILE)
@click.argument("state", type=options.FILE)
@click.argument("out", type=options.FILE)
@options.prior
@click.option(
    "--lead", type=options.integer("lead", 1), default=10, show_default=True,
    help="Number of model steps in one step of the surrogate.",
)  # fmt: skip
@click.option(
    "--steps", type=options.integer("forecast_steps", 1), default=100, show_default=True,
    help="Number of steps of the surrogate.",
)  # fmt: skip
@click.option(
    "--sigma", type=options.FiniteFloat(), default=0.1, show_default=True,
    help="Noise level of the features.",
)  # fmt: skip
@options.layer
@click.option(
    "--tune", type=options.FiniteFloat(min=0, min_open=True), metavar="MINUTES",
    help="Fine-tune the layers for this time; by default they are frozen.",
)  # fmt: skip
@options.overwrite
def forecast(
    train: Path,
    state: Path,
    out: Path,
    prior: str,
    lead: int,
    steps: int,
    sigma: float,
    layer: str,
    tune: float | None,
    overwrite: bool,
) -> None:
    """Fit a linear surrogate model to trajectories, and forecast with it.

    The surrogate is linear in the state and in the features that the prior computes from it. It is
    fitted to TRAIN, starts from the last state of STATE, and writes the forecast to OUT. Its skill
    on a held-out tenth of TRAIN is printed.
    """
    check_paths((train, state), out, overwrite, prior)
    from dpdm.forecast import ForecastOptions, forecast, format_skill
    from dpdm.states.features import FeatureOptions
    from dpdm.states.options import EnsembleOptions

    features = FeatureOptions(sigma, tuple(layer.split(",")))
    ensemble_options = EnsembleOptions(device="cpu", history=options.command_line())
    skill = forecast(
        train,
        state,
        out,
        prior,
        ForecastOptions(lead, steps, features, tune or 0.0),
        ensemble_options,
        overwrite,
    )
    report_file(out)
    echo(format_skill(skill))
