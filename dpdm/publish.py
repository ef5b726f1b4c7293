"""Outputs that are whole or not there.

An output is written as a draft: under its own name in a new folder beside the target, called
``.NAME.RANDOM.tmp``, which only the user may enter; so no link that others have made is followed.
A lock in that folder lasts as long as the process: the next run to the same target removes the
drafts of processes of this machine that have ended, and no others. What is whole is moved to the
target in one step. It replaces nothing, unless the user wants that.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from dpdm.errors import DpdmError
from dpdm.interrupt import register_removal

LOCK_SUFFIX = ".lock"
REPLACED_SUFFIX = ".old"  # what a draft replaces, in file systems that cannot exchange folders
HOST_NAME = socket.gethostname()
MAX_TARGET_CHARACTERS = (
    60  # characters of the target's name in that of the folder, which has a limit
)
NO_LINK_ERRORS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK)
NO_LOCK_ERRORS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
TARGET_EXISTS_ERRORS = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR)
EXCHANGE, HERE = 2, -100  # RENAME_EXCHANGE and AT_FDCWD of Linux


class Draft:
    """An output that is not yet whole.

    Args:
        target: Where it will be; a link is followed.
        replace: Whether it may replace what is there then.
    """

    def __init__(self, target: Path, replace: bool = False) -> None:
        self.target, self.replace = target.resolve(), replace
        self._folder: Path | None = None
        self._lock = -1

    @property
    def path(self) -> Path:
        """Give the path to write to."""
        assert self._folder is not None
        return self._folder / self.target.name

    def begin(self) -> Path:
        """Make the folder, and return the path to write to."""
        remove_stale_drafts(self.target)
        while self._folder is None:
            self._folder, self._lock = _make_draft_folder(self.target)
        _open_drafts.add(self)
        return self.path

    def publish(self) -> None:
        """Make the output durable, then move it to the target in one step."""
        _make_durable(self.path)
        put = _replace if self.replace else _move_to_free_name
        put(self.path, self.target)
        sync_to_disk(self.target.parent)

    def withdraw(self) -> None:
        """Remove an output that was published, for another that belongs to it was not."""
        if not self.replace:
            remove_path(self.target)

    def discard(self) -> None:
        """Remove what is left of the draft."""
        _open_drafts.discard(self)
        if self._folder is not None:
            remove_path(self._folder)
            os.close(self._lock)
            self._folder = None

    def remove_at_once(self) -> None:
        """Remove the draft though other threads may be writing to it still."""
        if self._folder is not None:
            away = _random_name(self.target)
            os.rename(self._folder, away)
            self._folder.touch()  # so that nobody makes the folder again
            shutil.rmtree(away, ignore_errors=True)
            self._folder.unlink()


_open_drafts: set[Draft] = set()


@register_removal
def remove_drafts() -> None:
    """Remove all drafts of this process."""
    for one in list(_open_drafts):
        with suppress(OSError):
            one.remove_at_once()


@contextmanager
def open_drafts(targets: Sequence[Path], replace: bool = False) -> Iterator[list[Path]]:
    """Give paths to write to, and publish them all if the body ends well."""
    with ExitStack() as cleaning:
        made = [Draft(target, replace) for target in targets]
        for one in made:
            cleaning.callback(one.discard)
            one.begin()
        yield [one.path for one in made]
        with ExitStack() as undoing:
            for one in made:
                one.publish()
                undoing.callback(one.withdraw)
            undoing.pop_all()


@contextmanager
def open_draft(target: Path, replace: bool = False) -> Iterator[Path]:
    """Give a path to write to, and publish it if the body ends well."""
    with open_drafts([target], replace) as (path,):
        yield path


def remove_stale_drafts(target: Path) -> None:
    """Remove the drafts of a target that ended processes of this machine have left."""
    target = target.resolve()
    name = re.compile(re.escape(f".{target.name[:MAX_TARGET_CHARACTERS]}.") + r"[0-9a-f]{8}\.tmp")
    with suppress(OSError), os.scandir(target.parent) as entries:
        for entry in [e for e in entries if name.fullmatch(e.name)]:
            with suppress(OSError, ValueError):
                ours = entry.stat(follow_symlinks=False).st_uid == os.geteuid()
                if ours and entry.is_dir(follow_symlinks=False):
                    _remove_if_abandoned(Path(entry.path))


def _remove_if_abandoned(folder: Path) -> None:
    """Remove the folder of a draft if the process that made it has ended.

    Raises:
        OSError: It has not, or the file system has no locks.
    """
    try:
        lock = os.open(folder / LOCK_SUFFIX, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        os.rmdir(folder)  # where nothing is in it
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Not all shared file systems show the locks of other machines.
        if json.loads(os.read(lock, 1000) or b"{}").get("host") == HOST_NAME:
            _restore_replaced(folder)
            remove_path(folder)
    finally:
        os.close(lock)


def _restore_replaced(folder: Path) -> None:
    """Put back what a process was replacing when it was killed."""
    for old in folder.glob(f"*{REPLACED_SUFFIX}"):
        target = folder.parent / old.name.removesuffix(REPLACED_SUFFIX)
        if not os.path.lexists(target):
            os.rename(old, target)


def _make_draft_folder(target: Path) -> tuple[Path, int] | tuple[None, int]:
    """Make a folder with a lock, which it returns; nothing where another run has swept it."""
    folder = _random_name(target)
    folder.mkdir(mode=0o700)
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        lock = os.open(folder / LOCK_SUFFIX, flags, 0o600)
    except FileNotFoundError:
        return None, -1
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        remove_path(folder)
        return None, -1
    except OSError as fault:
        if fault.errno not in NO_LOCK_ERRORS:
            raise
    os.write(lock, json.dumps({"pid": os.getpid(), "host": HOST_NAME}).encode())
    return folder, lock


def _random_name(target: Path) -> Path:
    return target.with_name(f".{target.name[:MAX_TARGET_CHARACTERS]}.{secrets.token_hex(4)}.tmp")


def _move_to_free_name(new: Path, target: Path) -> None:
    """Move a file or folder to a name that must be free."""
    try:
        if new.is_dir():
            os.rename(new, target)  # fails where there is anything but an empty folder
        else:
            _link_to_free_name(new, target)
    except OSError as fault:
        if fault.errno not in TARGET_EXISTS_ERRORS:
            raise
        raise DpdmError(
            f"{target} appeared meanwhile: another run has written it.",
            "This run's result was discarded. Write to another file, or use --overwrite.",
        ) from fault


def _link_to_free_name(new: Path, target: Path) -> None:
    """Give a file its name; where a file system has no hard links, hold the name first."""
    try:
        os.link(new, target, follow_symlinks=False)
    except OSError as fault:
        if fault.errno not in NO_LINK_ERRORS:
            raise
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW))
        os.replace(new, target)


def _replace(new: Path, target: Path) -> None:
    """Move a file or folder to a name, in the place of what is there."""
    if not new.is_dir():
        os.replace(new, target)
    elif not target.exists():
        os.rename(new, target)
    elif not _exchange_folders(new, target):
        old = new.with_name(new.name + REPLACED_SUFFIX)
        os.rename(target, old)
        try:
            os.rename(new, target)
        except BaseException:
            os.rename(old, target)
            raise


def _exchange_folders(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; tell whether system and file system can."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    return rename is not None and not rename(
        HERE, os.fsencode(one), HERE, os.fsencode(other), EXCHANGE
    )


def _make_durable(path: Path) -> None:
    if path.is_dir():
        os.sync()
    else:
        sync_to_disk(path)


def append_line(path: Path, line: str) -> None:
    """Append a line to a file that is no link, and have it on the disk itself."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(path, flags, 0o666)
    try:
        whole = line.encode() + b"\n"
        if os.write(handle, whole) != len(whole):
            raise DpdmError(f"The disk is full: {path} was cut short.", "Make room.")
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_to_disk(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk itself."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_path(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_file() or path.is_symlink():
        path.unlink()
        return
    holds_stores = path.is_dir() and any(part.is_dir() for part in path.iterdir())
    for pause in (0, 0.1, 0.4) if holds_stores else (0,):
        time.sleep(pause)  # after a fault, Zarr's threads write for a moment more
        shutil.rmtree(path, ignore_errors=True)
