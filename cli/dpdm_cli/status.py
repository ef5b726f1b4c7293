"""dpdm status."""

import sys
from pathlib import Path

import click

from dpdm_cli import options
from dpdm_cli.console import echo


@click.command(epilog="Example: dpdm status 20cr_fine || mail -s 'look at it' me")
@click.argument("out", type=options.FILE)
def status(out: Path) -> None:
    """Tell how far the reconstruction in OUT is; exit 1 if units of it failed."""
    from dpdm.reconstruct.verify import read_status as look

    found = look(out)
    echo(found.text())
    sys.exit(1 if found.failed else 0)
