"""dpdm observe."""

from pathlib import Path
from typing import Any

import click

from dpdm_cli import options
from dpdm_cli.checks import check_paths
from dpdm_cli.command import command
from dpdm_cli.console import progress


@command(
    "dpdm observe truth.nc obs.nc --config obs.toml",
    "dpdm observe air.zarr obs.nc --config sondes.toml --var t=ta",
)
@click.argument("truth", type=options.FILE)
@click.argument("obs", type=options.FILE)
@click.option(
    "--config",
    type=options.FILE,
    required=True,
    metavar="OBS.toml",
    help="Quantities, locations, times and errors of the observations (docs/observe.md).",
)
@options.var
@options.units
@options.missing
@options.overwrite
def observe(
    truth: Path,
    obs: Path,
    config: Path,
    **file_options: Any,
) -> None:
    """Make synthetic observations of fields or trajectories."""
    check_paths((truth, config), obs, file_options["overwrite"])
    from dpdm.fields.read import FileOptions
    from dpdm.observe import observe

    with progress("Observing", "trajectories") as report:
        history = options.command_line()
        input_options = FileOptions(history=history, progress=report, **file_options)
        observe(truth, obs, config, input_options)
