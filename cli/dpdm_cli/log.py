"""The log of a command: a file with every line of standard error and its time, appended."""

import re
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import click

from dpdm.errors import DpdmError, escape_controls
from dpdm.system import utc_now

STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ")
STAMP_BYTES = 21
_opened: list[TextIO] = []


def start_log(path: Path, first: str, ctx: click.Context) -> None:
    """Append lines to a file until the command ends, beginning with its command line."""
    check_log(path)
    _opened.append(path.open("a", encoding="utf-8", errors="backslashreplace"))
    ctx.find_root().call_on_close(close_log)
    write_log(first)


def check_log(path: Path) -> None:
    """Refuse a file that is not a log, whose contents would be damaged."""
    if not path.exists():
        return
    if not path.is_file():
        raise DpdmError(f"{path} is not a file.", "Name another one with --log.")
    with path.open("rb") as file:
        head = file.read(STAMP_BYTES)
    if head and not STAMP.match(head):
        raise DpdmError(
            f"{path} exists, and is not a log of dpdm.", "Name another file with --log."
        )


def write_log(text: str) -> None:
    """Append a text to the log, if there is one: each line with its time."""
    for file in _opened:
        with suppress(OSError):  # a full disk must not end the work
            file.writelines(f"{utc_now()} {line}\n" for line in escape_controls(text).split("\n"))
            file.flush()


def close_log() -> None:
    """End the log."""
    while _opened:
        with suppress(OSError):
            _opened.pop().close()
