"""dpdm info."""

from collections.abc import Mapping

import click

from dpdm_cli import options
from dpdm_cli.command import command
from dpdm_cli.console import echo


@command(
    "dpdm info default",
    "dpdm info fine.nc --json",
)
@click.argument("file", shell_complete=options.complete_file_or_prior)
@options.missing
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def info(file: str, missing: Mapping[str, tuple[float, ...]], as_json: bool) -> None:
    """Describe a data file or a prior.

    FILE is a data file, a .safetensors file, or the name of a bundled prior.
    """
    import json

    from dpdm.info import describe_file

    description = describe_file(file, missing)
    from dpdm.info.text import format_description

    echo(json.dumps(description, indent=2) if as_json else format_description(description))
