"""dpdm forecast."""

from pathlib import Path

import click

from dpdm_cli import options
from dpdm_cli.console import echo, wrote


@click.command(
    epilog="Example: dpdm forecast train.nc state.nc out.nc --prior lorenz.safetensors --steps 50"
)
@click.argument("train", type=options.FILE)
@click.argument("state", type=options.FILE)
@click.argument("out", type=options.FILE)
@options.prior
@click.option(
    "--lead", type=options.whole("lead", 1), default=10, show_default=True,
    help="Model steps that one step of the surrogate takes.",
)  # fmt: skip
@click.option(
    "--steps", type=options.whole("steps", 1, "forecast_steps"), default=100, show_default=True,
    help="Steps of the surrogate.",
)  # fmt: skip
@click.option(
    "--sigma", type=options.Real(), default=0.1, show_default=True,
    help="Noise level of the features.",
)  # fmt: skip
@options.layer
@click.option(
    "--tune", type=options.Real(min=0, min_open=True), metavar="MINUTES",
    help="Teach the layers too, for so many minutes; without, they stay frozen.",
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
    """Learn a surrogate from the trajectories TRAIN, and go on from the last of STATE to OUT.

    The surrogate is linear in the state and in the prior's features of it. Its skill on a tenth of
    TRAIN that it has not seen is printed.
    """  # fmt: skip
    from dpdm.forecast import ForecastOptions, forecast, format_skill
    from dpdm.states.features import FeatureOptions
    from dpdm.states.options import EnsembleOptions

    look = FeatureOptions(sigma, tuple(layer.split(",")))
    asked = EnsembleOptions(device="cpu", history=options.command_line())
    skill = forecast(
        train,
        state,
        out,
        prior,
        ForecastOptions(lead, steps, look, tune or 0.0),
        asked,
        overwrite,
    )
    wrote(out)
    echo(format_skill(skill))
