"""Where to compute.

Read users' files as bytes or text: only regular files, and only what fits into memory.

A pipe may never end, a device has no end, and either would stop a command without a message.

HDF5 knows one thread at a time, and xarray guards only a part of what it does with it.

Who reads in one thread while another writes holds this lock around each opening, reading, laying
out, writing and closing; a crash of the process is what comes of it otherwise.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from dpdm.errors import DpdmError

if TYPE_CHECKING:
    import xarray as xr


def choose_device(name: str) -> str:
    """Return the torch device for ``auto``, ``cpu`` or ``cuda``.

    Example:
        >>> choose("cpu")
        'cpu'
    """
    import torch

    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise DpdmError(
            "--device cuda was asked for, and torch sees no GPU.",
            "Use --device cpu, or install a CUDA build of torch; dpdm doctor shows what is there.",
        )
    return "cuda" if there and name != "cpu" else "cpu"


COMPRESSION_RATIO = (
    0.1  # of its size in memory: the least that fields take on disk, with few exceptions
)


def available_memory() -> int:
    """Return the bytes of memory that this process may still take.

    The least of what the system, the control group (a container, a job of a queue) and the
    process's own limit leave.
    """
    return min(_system_memory(), _cgroup_memory(), _process_memory())


def _system_memory() -> int:
    """Return what is free or can be freed at once: caches of files can."""
    lines = _read_system_lines("/proc/meminfo")
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    if found:
        return int(found[0]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _cgroup_memory() -> int:
    """Return what the control group leaves; much where there is none."""
    limit, used = (
        _read_system_lines(f"/sys/fs/cgroup/memory.{word}") for word in ("max", "current")
    )
    if not limit or not used or not limit[0].isdecimal():
        return 2**62
    return max(int(limit[0]) - int(used[0]), 0)


def _process_memory() -> int:
    """Return what the limit of address space (ulimit -v) leaves; much where there is none."""
    try:
        import resource
    except ImportError:  # Windows
        return 2**62
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    pages = _read_system_lines("/proc/self/statm")
    if limit == resource.RLIM_INFINITY or not pages:
        return 2**62
    return max(limit - int(pages[0].split()[0]) * resource.getpagesize(), 0)


def _read_system_lines(path: str) -> list[str]:
    """Return the lines of a file of the system; none where there is no such file."""
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def check_required_memory(needed: float, what: str, hint: str, share: float = 0.4) -> None:
    """Refuse what would fill more than a share of the free memory.

    Args:
        needed: Bytes.
        what: What takes them, for the message.
        hint: How to need fewer.
        share: Of the free memory.
    """
    free = available_memory()
    if needed > share * free:
        raise DpdmError(
            f"{what} {format_bytes(needed)}, and {format_bytes(free)} of memory are free.", hint
        )


def check_free_disk(needed: float, target: Path) -> None:
    """Refuse an output that would not fit on its disk, however well it is compressed.

    Args:
        needed: Bytes of the output in memory.
        target: Where it is to be.
    """
    folder = next((p for p in target.resolve().parents if p.exists()), Path())
    free = shutil.disk_usage(folder).free
    if free and COMPRESSION_RATIO * needed > free:
        raise DpdmError(
            f"{target} would hold {format_bytes(needed)} before compression, and "
            f"{format_bytes(free)} are free "
            "on its disk.",
            "Give fewer members, a shorter period, a smaller region, or another disk.",
        )


def format_bytes(size: float) -> str:
    """Return a number of bytes as people read it.

    Example:
        >>> shown(2.34e9), shown(8e18), shown(1e27)
        ('2.3 GB', '8000000.0 TB', '1e+15 TB')
    """
    if size < 1e12:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e12:.1f} TB" if size < 1e20 else f"{size / 1e12:.2g} TB"


def check_field_memory(fields: xr.Dataset, share: float = 0.4) -> None:
    """Refuse fields that would fill more than a share of the free memory."""
    hint = "Give a shorter period or a smaller region."
    check_required_memory(fields.nbytes, "The training series takes", hint, share)


READ_HINT = "Ask its owner for permission to read it."


def check_regular(path: Path) -> None:
    """Refuse a file that does not exist, and a pipe, socket or device."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as fault:
        raise DpdmError(f"{path} does not exist.", "Check the name.") from fault
    except (OSError, ValueError) as fault:
        raise read_error(path, fault) from fault
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise DpdmError(f"{path} is a pipe or a device, not a file.", "Save it as a file first.")


def read_bytes(path: Path) -> bytes:
    """Return the content of a file."""
    check_regular(path)
    if path.is_dir():
        raise DpdmError(f"{path} is a directory.", "Name a file.")
    try:
        # Text takes many times its length once it is split into words and numbers.
        check_required_memory(
            20 * path.stat().st_size, f"Reading {path} takes", "Split it.", share=0.8
        )
        return path.read_bytes()
    except OSError as fault:
        raise read_error(path, fault) from fault


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise DpdmError(f"{path} is not text in UTF-8 ({fault}).", "Save it as UTF-8.") from fault


def read_error(path: Path, fault: OSError | ValueError) -> DpdmError:
    """Return what to report of a file that the system does not open."""
    reason = getattr(fault, "strerror", None) or fault
    return DpdmError(f"{path} cannot be opened: {reason}.", READ_HINT)


def utc_now() -> str:
    """Return the time, UTC, to the second: ``2026-01-31T23:59:59Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


HDF5_LOCK = RLock()


def import_extra(name: str, what: str, group: str = "gis") -> Any:
    """Import a library of an extra.

    Args:
        name: The module.
        what: What needs it, in the plural, for the sentence if it is not there.
        group: The extra that brings it.

    Example:
        >>> extra("parsnip", "Vegetables")
        Traceback (most recent call last):
        ...
        dpdm.errors.DpdmError: Vegetables need parsnip, which is not installed. Run: pip install...
    """
    os.environ["PROJ_NETWORK"] = "OFF"  # PROJ would fetch grids that no command needs
    try:
        return import_module(name)
    except ImportError as fault:
        raise missing_library_error(what, fault, group) from fault


def missing_library_error(what: str, fault: ImportError, group: str = "gis") -> DpdmError:
    """Return what to say of a library that is not installed."""
    library = (fault.name or "a library").partition(".")[0]
    return DpdmError(
        f"{what} need {library}, which is not installed.", f"Run: pip install 'dpdm[{group}]'."
    )


def sha256(path: Path) -> str:
    """Return the digest of a file, or of all files of a Zarr store in order of name."""
    digest = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def damaged_file_error(path: Path | str, fault: Exception) -> DpdmError:
    """Return the error for a file that a library cannot read."""
    damaged = isinstance(fault, OSError | RuntimeError | EOFError)
    hint = "It may be truncated; fetch it again." if damaged else HEADER_TYPES_HINT
    return DpdmError(f"{path} cannot be read ({_first_line(fault)}).", hint)


def _first_line(fault: Exception) -> str:
    return str(fault).splitlines()[0] if str(fault) else type(fault).__name__


HEADER_TYPES_HINT = "Check the types of its variables and attributes."
