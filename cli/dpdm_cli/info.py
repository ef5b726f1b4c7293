"""dpdm info."""

import click

from dpdm_cli import options
from dpdm_cli.console import echo


@click.command(epilog="Example: dpdm info default")
@click.argument("file", shell_complete=options.files_or_priors)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def info(file: str, as_json: bool) -> None:
    """Tell what a prior or a data file holds; FILE may be the name of a bundled prior."""
    import json

    from dpdm.info import describe, text

    said = describe(file)
    echo(json.dumps(said, indent=2) if as_json else text(said))
