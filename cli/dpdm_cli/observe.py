"""dpdm observe."""

from collections.abc import Mapping
from pathlib import Path

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
    rename: Mapping[str, str],
    units: Mapping[str, str],
    missing: Mapping[str, tuple[float, ...]],
    overwrite: bool,
) -> None:
    """Make synthetic observations OBS of TRUTH: fields, or what dpdm testbed wrote."""
    from dpdm.observe import observe as run
    from dpdm.remap import Ask

    with progress("Observing", "trajectories") as report:
        ask = Ask(rename, units, options.command_line(), overwrite, report, missing)
        run(truth, obs, config, ask)
