"""Read users' files as bytes or text: only regular files, and only what fits into memory.

A pipe may never end, a device has no end, and either would stop a command without a message.
"""

import stat
from pathlib import Path

from dpdm.errors import DpdmError
from dpdm.memory import check_room

READ = "Ask its owner for permission to read it."


def check_regular(path: Path) -> None:
    """Refuse a file that does not exist, and a pipe, socket or device."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as fault:
        raise DpdmError(f"{path} does not exist.", "Check the name.") from fault
    except (OSError, ValueError) as fault:
        raise unreadable(path, fault) from fault
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise DpdmError(f"{path} is a pipe or a device, not a file.", "Save it as a file first.")


def read_bytes(path: Path) -> bytes:
    """Return the content of a file."""
    check_regular(path)
    if path.is_dir():
        raise DpdmError(f"{path} is a directory.", "Name a file.")
    try:
        # Text takes many times its length once it is split into words and numbers.
        check_room(20 * path.stat().st_size, f"Reading {path} takes", "Split it.", share=0.8)
        return path.read_bytes()
    except OSError as fault:
        raise unreadable(path, fault) from fault


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise DpdmError(f"{path} is not text in UTF-8 ({fault}).", "Save it as UTF-8.") from fault


def unreadable(path: Path, fault: OSError | ValueError) -> DpdmError:
    """Return what to report of a file that the system does not open."""
    reason = getattr(fault, "strerror", None) or fault
    return DpdmError(f"{path} cannot be opened: {reason}.", READ)
