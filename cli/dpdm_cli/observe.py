"""dpdm observe."""

from pathlib import Path
from typing import Any

import click

from dpdm_cli import options
from dpdm_cli.console import progress


@click.command(epilog="Example: dpdm observe truth.nc obs.nc --config obs.toml")
@click.argument("truth", type=options.FILE)
@click.argument("obs", type=options.FILE)
@click.option(
    "--config",
    type=options.FILE,
    required=True,
    metavar="OBS.toml",
    help="What is seen, where, when and with which error; docs/observe.md explains it.",
)
@options.var
@options.units
@options.missing
@options.overwrite
def observe(
    truth: Path,
    obs: Path,
    config: Path,
    **rest: Any,
) -> None:
    """Make synthetic observations OBS of TRUTH: fields, or what dpdm testbed wrote."""
    from dpdm.fields.read import FileOptions
    from dpdm.observe import observe

    with progress("Observing", "trajectories") as report:
        ask = FileOptions(history=options.command_line(), progress=report, **rest)
        observe(truth, obs, config, ask)
