"""dpdm status."""

import sys
from pathlib import Path

import click

from dpdm_cli import options
from dpdm_cli.command import command
from dpdm_cli.console import echo


@command(
    "dpdm status 20cr_fine",
    "dpdm status 20cr_fine || mail -s 'reconstruction failed' me",
)
@click.argument("out", type=options.FILE)
def status(out: Path) -> None:
    """Show the progress of a reconstruction.

    OUT is its folder. The exit code is 1 if a unit of work failed.
    """
    from dpdm.reconstruct.status import read_status

    progress = read_status(out)
    echo(progress.text())
    sys.exit(1 if progress.failed else 0)
