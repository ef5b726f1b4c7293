"""Print results to stdout, and progress, warnings and errors to stderr."""

import logging
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
from dpdm_cli.layout import write_commands
from dpdm_cli.log import write_log

Report = Callable[[int, int], None]
QUIET = "dpdm.quiet"  # key of the wish for silence in the context of click


def echo(text: str, err: bool = False, nl: bool = True) -> None:
    """Print a text with its control characters escaped, since names in files are free."""
    click.echo(escape_controls(text), err=err, nl=nl)  # noqa: TID251
    if err:
        write_log(text)


def is_quiet() -> bool:
    """Tell whether the user wants results, warnings and errors only."""
    ctx = click.get_current_context(silent=True)
    return ctx is not None and bool(ctx.find_root().meta.get(QUIET))


def note(text: str) -> None:
    """Print a message that is neither a result nor a warning, unless the user wants silence."""
    if not is_quiet():
        echo(text, err=True)


class TerminalHandler(logging.Handler):
    """Print what the library logs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message in one line."""
        echo(join_lines(record.getMessage()), err=True)


def log_to_terminal() -> None:
    """Print what the library logs until the command ends."""
    logger, handler = logging.getLogger("dpdm"), TerminalHandler()
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(logging.INFO)

    def end() -> None:
        logger.removeHandler(handler)
        logger.setLevel(before)

    click.get_current_context().call_on_close(end)


def join_lines(text: str) -> str:
    """Return a text on one line, so that it cannot imitate lines of dpdm."""
    return " ".join(text.split("\n"))


class Group(click.Group):
    """The group of all commands, with errors of two lines."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands in the order of the README."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by their groups."""
        write_commands(self.commands, formatter)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command, and suggest the nearest name of an unknown one."""
        for word in args:
            if any("\ud800" <= letter <= "\udfff" for letter in word):
                ctx.fail(f"{word!a} is not UTF-8. Rename the file.")
        near = nearest_names(args[0], self.commands, 1, 0.6)
        if near and args[0] not in self.commands and not ctx.resilient_parsing:
            ctx.fail(f"No such command '{args[0]}'. Did you mean '{near[0]}'?")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; exit 1 with two lines after an error, with its code after a signal."""
        try:
            with handle_signals(final=True), print_warnings():
                return super().invoke(ctx)
        except DpdmError as error:
            exit_with_error(error)
        except click.ClickException as error:
            error.message = join_lines(escape_controls(error.message))  # type: ignore[misc]
            write_log(f"Error: {error.format_message()}")
            raise
        except KeyboardInterrupt as stop:
            echo(INTERRUPT_MESSAGE, err=True)
            sys.exit(getattr(stop, "code", 130))
        except (BrokenPipeError, click.Abort, click.exceptions.Exit):
            raise  # handled by click; a broken pipe, as in dpdm info FILE | head, is silent
        except Exception as fault:
            exit_with_error(expected_error(fault))


@contextmanager
def print_warnings() -> Iterator[None]:
    """Print each DpdmWarning once, in one line; leave others to Python."""
    python_warning, printed = warnings.showwarning, set[str]()

    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if not issubclass(category, DpdmWarning):
            python_warning(escape_controls(str(message)), category, *rest, **more)
            write_log(f"{category.__name__}: {message}")
        elif str(message) not in printed:
            printed.add(str(message))
            echo(f"Warning: {join_lines(str(message))}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", DpdmWarning)
        warnings.showwarning = show
        yield


def report_file(path: Path) -> None:
    """Print path, sizes, cells and variables of a file that a command has written."""
    if is_quiet():
        return
    import xarray as xr

    with xr.open_dataset(path, decode_times=False) as ds:
        sizes = dict(ds.sizes)
        cells = describe_cells(ds) if {"lat", "lon"} <= ds.sizes.keys() else ""
    nouns = {"time": "step", "realization": "member", "component": "component"}
    nouns |= {"trajectory": "trajectory"}
    counts = {noun: sizes[dim] for dim, noun in nouns.items() if dim in sizes}
    parts = [f"{n} {plural(noun, n)}" for noun, n in counts.items()]
    planes = [pair for pair in (("lat", "lon"), ("y", "x")) if set(pair) <= sizes.keys()]
    parts += [f"{sizes[rows]} x {sizes[columns]} cells" for rows, columns in planes]
    note(f"Wrote {path}: {', '.join(parts)}{cells}")


def describe_cells(ds: Any) -> str:
    """Return spacing and extent of a grid, and what the variables are inside dpdm."""
    from dpdm.fields.grid import grid_of
    from dpdm.fields.variables import describe_file_names

    grid = grid_of(ds)
    lat, lon = (edges[[0, -1]] for edges in (grid.lat_edges, grid.lon_edges))
    spacing = " x ".join(dict.fromkeys(f"{side:.4g}" for side in grid.spacing))
    names = ", ".join(describe_file_names(ds))
    return (
        f" of {spacing} degrees, longitude {lon[0]:.6g} to {lon[1]:.6g}, "
        f"latitude {lat[0]:.6g} to {lat[1]:.6g}{f'; {names}' if names else ''}"
    )


def plural(word: str, count: int) -> str:
    """Return the singular or plural of a noun by its count.

    Example:
        >>> plural("step", 1), plural("trajectory", 2)
        ('step', 'trajectories')
    """
    if count == 1:
        return word
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"


def expected_error(fault: Exception) -> DpdmError:
    """Return the error to print for an exception; raise it if DPDM_TRACEBACK is set."""
    if isinstance(fault, MemoryError):
        return DpdmError("Out of memory.", "Use fewer variables or a smaller domain.")
    if isinstance(fault, OSError):
        what = f"{fault.filename or 'A file'}: {fault.strerror or fault}."
        return DpdmError(what, "Check that it exists, its permissions, and the disk.")
    if os.environ.get("DPDM_TRACEBACK"):
        raise fault
    return internal_error(fault)


def internal_error(fault: Exception) -> DpdmError:
    """Return the error to print for an unexpected exception, which is a bug of dpdm.

    Example:
        >>> internal_error(KeyError("lat")).what
        "Internal error: KeyError: 'lat'."
    """
    lines = str(fault).splitlines() or ["no message"]
    return DpdmError(
        f"Internal error: {type(fault).__name__}: {lines[0][:300]}.",
        "Report this as a bug, with the traceback: set DPDM_TRACEBACK=1 and run it again.",
    )


def exit_with_error(error: DpdmError) -> None:
    """Print an error in two lines, and one more for each detail, and exit with its code."""
    echo(f"Error: {join_lines(error.what)}", err=True)
    for detail in error.details:
        echo(f"  {join_lines(detail)}", err=True)
    if error.hint:
        echo(f"Hint: {join_lines(error.hint)}", err=True)
    sys.exit(error.code)


@contextmanager
def progress(what: str, unit: str) -> Iterator[Report]:
    """Show a progress bar on a terminal."""
    with show_progress(what, unit) as (_, report):
        yield report


@contextmanager
def show_progress(what: str, unit: str) -> Iterator[tuple[Callable[[str], None], Report]]:
    """Show a progress bar below printed lines; without a terminal, lines with their time."""
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
    shown = console.is_terminal and not is_quiet()

    def print_line(line: str) -> None:
        if is_quiet():
            return
        if console.is_terminal:
            console.print(escape_controls(line), highlight=False, markup=False)
        else:
            click.echo(f"{utc_now()} {escape_controls(line)}", err=True)  # noqa: TID251
        write_log(line)

    def report(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)
        check_interrupt()

    with Progress(*columns, console=console, disable=not shown) as bar:
        task = bar.add_task(what, total=None)
        yield print_line, report
