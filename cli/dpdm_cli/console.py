"""What the commands say: results on stdout, progress and faults on stderr."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from dpdm.errors import DpdmError


class Group(click.Group):
    """Commands that are imported when called, and that fail in two lines."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands in the order of the README."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; turn a fault into two lines and exit 1, an interrupt into exit 130."""
        try:
            return super().invoke(ctx)
        except DpdmError as error:
            fail(error)
        except KeyboardInterrupt:
            click.echo("Interrupted: nothing half-written is left.", err=True)
            sys.exit(130)
        except MemoryError:
            fail(DpdmError("The memory is used up.", "Give fewer variables or a smaller domain."))
        except OSError as error:
            fail(DpdmError(f"{error.filename or 'A file'}: {error.strerror or error}."))


def fail(error: DpdmError) -> None:
    """Print a fault in two lines and exit 1."""
    click.echo(f"Error: {error.what}", err=True)
    if error.hint:
        click.echo(f"Hint: {error.hint}", err=True)
    sys.exit(1)


@contextmanager
def progress(what: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show how far a long command is: a bar on a terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
