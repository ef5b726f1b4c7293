"""One reconstruction at a time in a folder.

The lock is the system's (flock): it ends with the process that holds it, however that ends, so
there is none to be left behind, and no clock decides. The file says who holds it, for people.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dpdm import utc
from dpdm.errors import DpdmError

NAME = ".lock"
BUSY = 75  # EX_TEMPFAIL of sysexits: try again later
LOOKS = 5  # tries, for dpdm status holds the lock while it looks who does


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder.

    Raises:
        DpdmError: When another process holds it, which ends with code 75, the file system has no
            locks, or there is no folder.
    """
    if not folder.is_dir():
        raise DpdmError(
            f"There is no folder {folder}.", "Name the folder OUT of a reconstruction."
        )
    path = folder / NAME
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        _take(handle, path)
        who = {"pid": os.getpid(), "host": socket.gethostname(), "since": utc.now()}
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(who).encode(), 0)
        yield
    finally:
        os.close(handle)


def _take(handle: int, path: Path) -> None:
    try:
        _try(handle, LOOKS)
    except BlockingIOError as fault:
        raise DpdmError(
            f"{path.parent} is being worked on by {said(path)}.",
            "Wait until it ends, or stop it; dpdm status shows how far it is.",
            code=BUSY,
        ) from fault
    except OSError as fault:
        if fault.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        raise DpdmError(
            f"The file system of {path.parent} has no locks, so two runs could not be told apart.",
            "Write to another one, or have it mounted with flock.",
        ) from fault


def _try(handle: int, times: int) -> None:
    """Take the lock, though somebody may look at it in this moment."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if times <= 1:
            raise
        time.sleep(0.02)
        _try(handle, times - 1)


def holder(folder: Path) -> str:
    """Say who works on a folder now; nothing if nobody does."""
    path = folder / NAME
    if not path.exists():
        return ""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return said(path)
    return ""


def said(path: Path) -> str:
    """Return what a lock's file says of its holder."""
    try:
        who = json.loads(path.read_text(encoding="utf-8"))
        return f"process {who['pid']} on {who['host']} since {who['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
