"""What the commands say: results on stdout, progress and faults on stderr."""

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from dpdm.errors import DpdmError, DpdmWarning, escape_controls, nearest_names
from dpdm.interrupt import INTERRUPT_MESSAGE, check_interrupt, handle_signals

Report = Callable[[int, int], None]


def echo(text: str, err: bool = False, nl: bool = True) -> None:
    """Print a text: the one way out for words from files, whose names and attributes are free."""
    click.echo(escape_controls(text), err=err, nl=nl)  # noqa: TID251


def in_line(text: str) -> str:
    """Return a text without line ends, which would pass for lines of dpdm's own."""
    return " ".join(text.split("\n"))


class Group(click.Group):
    """Commands that are imported when called, and that fail in two lines."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands in the order of the README."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; for a word that is almost one, name the nearest."""
        for word in args:
            if any("\ud800" <= letter <= "\udfff" for letter in word):
                ctx.fail(f"{word!a} is not UTF-8. Rename the file.")
        near = nearest_names(args[0], self.commands, 1, 0.6)
        if near and args[0] not in self.commands and not ctx.resilient_parsing:
            ctx.fail(f"No such command '{args[0]}'. Did you mean '{near[0]}'?")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; turn a fault into two lines and exit 1, a signal into its exit code."""
        try:
            with handle_signals(final=True), saying_warnings():
                return super().invoke(ctx)
        except DpdmError as error:
            fail(error)
        except click.ClickException as error:
            error.message = in_line(escape_controls(error.message))  # type: ignore[misc]
            raise
        except KeyboardInterrupt as stop:
            echo(INTERRUPT_MESSAGE, err=True)
            sys.exit(getattr(stop, "code", 130))
        except (BrokenPipeError, click.Abort, click.exceptions.Exit):
            raise  # click's own; a broken pipe as in dpdm info FILE | head ends quietly
        except Exception as fault:
            fail(reported(fault))


@contextmanager
def saying_warnings() -> Iterator[None]:
    """Print each warning of dpdm's own once, in one line; leave others to Python."""
    before, said = warnings.showwarning, set[str]()

    def say(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if not issubclass(category, DpdmWarning):
            before(escape_controls(str(message)), category, *rest, **more)
        elif str(message) not in said:
            said.add(str(message))
            echo(f"Warning: {in_line(str(message))}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", DpdmWarning)
        warnings.showwarning = say
        yield


def wrote(path: Path) -> None:
    """Tell in one line what a command has written, of fields or trajectories."""
    import xarray as xr

    with xr.open_dataset(path, decode_times=False) as ds:
        sizes = dict(ds.sizes)
    words = {"time": "step", "realization": "member", "component": "component"}
    words |= {"trajectory": "trajectory"}
    counts = {word: sizes[dim] for dim, word in words.items() if dim in sizes}
    said = [f"{n} {plural(word, n)}" for word, n in counts.items()]
    planes = [pair for pair in (("lat", "lon"), ("y", "x")) if set(pair) <= sizes.keys()]
    said += [f"{sizes[rows]} x {sizes[columns]} cells" for rows, columns in planes]
    echo(f"Wrote {path}: {', '.join(said)}", err=True)


def plural(word: str, count: int) -> str:
    """Return a noun as its count has it.

    Example:
        >>> plural("step", 1), plural("trajectory", 2)
        ('step', 'trajectories')
    """
    if count == 1:
        return word
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"


def reported(fault: Exception) -> DpdmError:
    """Return what to report of an exception that is no `DpdmError`; raise it if users ask."""
    if isinstance(fault, MemoryError):
        hint = "Give fewer variables or a smaller domain."
        return DpdmError("The memory is used up.", hint)
    if isinstance(fault, OSError):
        what = f"{fault.filename or 'A file'}: {fault.strerror or fault}."
        return DpdmError(what, "Check that it is there, that you may use it, and the disk.")
    if os.environ.get("DPDM_TRACEBACK"):
        raise fault
    return internal(fault)


def internal(fault: Exception) -> DpdmError:
    """Return what to report of an exception that nobody expected, which is a fault of dpdm.

    Example:
        >>> internal(KeyError("lat")).what
        "Internal error: KeyError: 'lat'."
    """
    lines = str(fault).splitlines() or ["no message"]
    return DpdmError(
        f"Internal error: {type(fault).__name__}: {lines[0][:300]}.",
        "Report this as a bug, with the traceback: set DPDM_TRACEBACK=1 and run it again.",
    )


def fail(error: DpdmError) -> None:
    """Print a fault in two lines and exit with its code, 1 if it has no other."""
    echo(f"Error: {in_line(error.what)}", err=True)
    if error.hint:
        echo(f"Hint: {in_line(error.hint)}", err=True)
    sys.exit(error.code)


@contextmanager
def progress(what: str, unit: str) -> Iterator[Report]:
    """Show how far a long command is: a bar on a terminal, nothing elsewhere."""
    with told(what, unit) as (_, report):
        yield report


@contextmanager
def told(what: str, unit: str) -> Iterator[tuple[Callable[[str], None], Report]]:
    """Show a bar with lines above it on a terminal; elsewhere, print the lines with their time."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from dpdm.system import utc_now

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    console = Console(stderr=True)

    def say(line: str) -> None:
        if console.is_terminal:
            console.print(escape_controls(line), highlight=False, markup=False)
        else:
            echo(f"{utc_now()} {line}", err=True)

    def report(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)
        check_interrupt()

    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield say, report
