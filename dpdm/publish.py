"""Atomic outputs: complete, or absent.

An output is written as a draft, under its own name in a new folder ``.NAME.RANDOM.tmp`` in the
folder of the target. Only the user may enter it, so that no link of others is followed. A lock in
that folder lasts as long as the process; the next run with the same target removes the drafts of
ended processes of this machine. A complete output is moved to the target in one step, and replaces
an existing one only if requested.
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
REPLACED_SUFFIX = ".old"  # of the replaced output, on file systems that cannot exchange folders
HOST_NAME = socket.gethostname()
MAX_TARGET_CHARACTERS = 60  # of the target's name in the folder's name
NO_LINK_ERRORS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK)
NO_LOCK_ERRORS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
TARGET_EXISTS_ERRORS = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR)
EXCHANGE, HERE = 2, -100  # RENAME_EXCHANGE and AT_FDCWD of Linux


class Draft:
    """An unfinished output.

    Args:
        target: Its final path; a link is followed.
        replace: Whether it may replace an existing target.
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
        """Sync the output to disk, then move it to the target in one step."""
        if self.path.is_dir():
            os.sync()
        else:
            sync_to_disk(self.path)
        put = _replace if self.replace else _move_to_free_name
        put(self.path, self.target)
        sync_to_disk(self.target.parent)

    def withdraw(self) -> None:
        """Remove a published output, if another one of its group was not published."""
        if not self.replace:
            remove_path(self.target)

    def discard(self) -> None:
        """Remove the rest of the draft."""
        _open_drafts.discard(self)
        if self._folder is not None:
            remove_path(self._folder)
            os.close(self._lock)
            self._folder = None

    def remove_at_once(self) -> None:
        """Remove the draft even while other threads write to it."""
        if self._folder is not None:
            away = _random_name(self.target)
            os.rename(self._folder, away)
            self._folder.touch()  # so that no thread creates the folder again
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
    """Give paths to write to, and publish all outputs if the body succeeds.

    Raises:
        OSError: If one cannot be written; it names the first, if it names no other file.
    """
    with _name_in_errors(targets[0]), ExitStack() as cleaning:
        drafts = [Draft(target, replace) for target in targets]
        for draft in drafts:
            cleaning.callback(draft.discard)
            draft.begin()
        yield [draft.path for draft in drafts]
        with ExitStack() as undoing:
            for draft in drafts:
                draft.publish()
                undoing.callback(draft.withdraw)
            undoing.pop_all()


@contextmanager
def _name_in_errors(target: Path) -> Iterator[None]:
    """Name a file in errors of the system that name none, as writing to an open file does."""
    try:
        yield
    except OSError as fault:
        if fault.errno is None or fault.filename is not None:
            raise
        raise OSError(fault.errno, fault.strerror, str(target)) from fault


@contextmanager
def open_draft(target: Path, replace: bool = False) -> Iterator[Path]:
    """Give a path to write to, and publish the output if the body succeeds."""
    with open_drafts([target], replace) as (path,):
        yield path


def remove_stale_drafts(target: Path) -> None:
    """Remove the drafts of a target by ended processes of this machine."""
    target = target.resolve()
    name = re.compile(re.escape(f".{target.name[:MAX_TARGET_CHARACTERS]}.") + r"[0-9a-f]{8}\.tmp")
    with suppress(OSError), os.scandir(target.parent) as entries:
        for entry in [e for e in entries if name.fullmatch(e.name)]:
            with suppress(OSError, ValueError):
                ours = entry.stat(follow_symlinks=False).st_uid == os.geteuid()
                if ours and entry.is_dir(follow_symlinks=False):
                    _remove_if_abandoned(Path(entry.path))


def _remove_if_abandoned(folder: Path) -> None:
    """Remove the folder of a draft if its process has ended.

    Raises:
        OSError: If it has not, or if the file system has no locks.
    """
    try:
        lock = os.open(folder / LOCK_SUFFIX, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        os.rmdir(folder)  # if it is empty
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Some shared file systems do not show the locks of other machines.
        if json.loads(os.read(lock, 1000) or b"{}").get("host") == HOST_NAME:
            _restore_replaced(folder)
            remove_path(folder)
    finally:
        os.close(lock)


def _restore_replaced(folder: Path) -> None:
    """Restore an output whose replacement was interrupted."""
    for old in folder.glob(f"*{REPLACED_SUFFIX}"):
        target = folder.parent / old.name.removesuffix(REPLACED_SUFFIX)
        if not os.path.lexists(target):
            os.rename(old, target)


def _make_draft_folder(target: Path) -> tuple[Path, int] | tuple[None, int]:
    """Return a new folder and its lock; None if another run has removed it."""
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
    """Move a file or folder to a target that must not exist."""
    try:
        if new.is_dir():
            os.rename(new, target)  # fails if the target exists and is not an empty folder
        else:
            _link_to_free_name(new, target)
    except OSError as fault:
        if fault.errno not in TARGET_EXISTS_ERRORS:
            raise
        raise DpdmError(
            f"{target} was created meanwhile by another run.",
            "This run's result was discarded. Write to another file, or use --overwrite.",
        ) from fault


def _link_to_free_name(new: Path, target: Path) -> None:
    """Link a file to its target, or reserve the target on file systems without hard links."""
    try:
        os.link(new, target, follow_symlinks=False)
    except OSError as fault:
        if fault.errno not in NO_LINK_ERRORS:
            raise
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW))
        os.replace(new, target)


def _replace(new: Path, target: Path) -> None:
    """Move a file or folder to a target, replacing it if it exists."""
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
    """Exchange two folders in one step; return False if the system does not support it."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    return rename is not None and not rename(
        HERE, os.fsencode(one), HERE, os.fsencode(other), EXCHANGE
    )


def append_line(path: Path, line: str) -> None:
    """Append a line to a file that is not a link, and sync it to disk."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(path, flags, 0o666)
    try:
        data = line.encode() + b"\n"
        if os.write(handle, data) != len(data):
            raise DpdmError(f"The disk is full: {path} is incomplete.", "Free disk space.")
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_to_disk(path: Path) -> None:
    """Sync a file, or the entries of a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_path(path: Path) -> None:
    """Remove a file or a folder, if it exists."""
    if path.is_file() or path.is_symlink():
        path.unlink()
        return
    holds_stores = path.is_dir() and any(part.is_dir() for part in path.iterdir())
    for pause in (0, 0.1, 0.4) if holds_stores else (0,):
        time.sleep(pause)  # after an error, the threads of Zarr may still write
        shutil.rmtree(path, ignore_errors=True)
