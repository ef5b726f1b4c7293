"""The system: device, memory, disk, files, time and optional libraries."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
        >>> choose_device("cpu")
        'cpu'
    """
    import torch

    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise DpdmError(
            "--device cuda was requested, but torch finds no GPU.",
            "Use --device cpu, or install a CUDA build of torch; run dpdm doctor for details.",
        )
    return "cuda" if available and name != "cpu" else "cpu"


COMPRESSION_RATIO = 0.1  # least size of fields on disk, relative to memory


def available_memory() -> int:
    """Return the memory available to this process, in bytes.

    The minimum of the free memory of the system, of the control group (a container, a batch job)
    and of the limit of the process.
    """
    return min(_system_memory(), _cgroup_memory(), _process_memory())


def _system_memory() -> int:
    """Return the free memory of the system, including file caches."""
    lines = _read_system_lines("/proc/meminfo")
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    if found:
        return int(found[0]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _cgroup_memory() -> int:
    """Return the free memory of the control group; a large number without one."""
    limit, used = (
        _read_system_lines(f"/sys/fs/cgroup/memory.{word}") for word in ("max", "current")
    )
    if not limit or not used or not limit[0].isdecimal():
        return 2**62
    return max(int(limit[0]) - int(used[0]), 0)


def _process_memory() -> int:
    """Return the free address space (ulimit -v); a large number without a limit."""
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
    """Return the lines of a system file, or none if it does not exist."""
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def check_required_memory(needed: float, what: str, hint: str, share: float = 0.4) -> None:
    """Refuse a task that needs more than a share of the free memory.

    Args:
        needed: Required bytes.
        what: The begin of the message, up to the number.
        hint: How to reduce the requirement.
        share: Allowed share of the free memory.
    """
    free = available_memory()
    if needed > share * free:
        raise DpdmError(
            f"{what} {format_bytes(needed)}, but {format_bytes(free)} of memory are free.", hint
        )


def peak_memory() -> int:
    """Return the greatest memory of this process so far, in bytes."""
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def free_disk(target: Path) -> tuple[int, Path]:
    """Return the free bytes of the disk of a target, and the existing folder in which it lies."""
    whole = target.resolve()
    folder = next(path for path in (whole, *whole.parents) if path.is_dir())
    return shutil.disk_usage(folder).free, folder


def check_free_disk(needed: float, target: Path) -> None:
    """Refuse an output of ``needed`` bytes in memory that exceeds the disk even if compressed."""
    free, _ = free_disk(target)
    if free and COMPRESSION_RATIO * needed > free:
        raise DpdmError(
            f"{target} would hold {format_bytes(needed)} before compression, but "
            f"{format_bytes(free)} are free on its disk.",
            "Give fewer members, a shorter period, a smaller region, or another disk.",
        )


def format_bytes(size: float) -> str:
    """Return a number of bytes in the unit that suits it, kB to TB.

    Example:
        >>> format_bytes(2.34e9), format_bytes(8e18), format_bytes(1e27)
        ('2.3 GB', '8000000.0 TB', '1e+15 TB')
        >>> format_bytes(0), format_bytes(7600), format_bytes(1.3e8)
        ('0 kB', '8 kB', '130 MB')
    """
    if size < 1e6:
        return f"{size / 1e3:.0f} kB"
    if size < 1e9:
        return f"{float(f'{size / 1e6:.2g}'):g} MB"
    if size < 1e12:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e12:.1f} TB" if size < 1e20 else f"{size / 1e12:.2g} TB"


def check_field_memory(fields: xr.Dataset, share: float = 0.4) -> None:
    """Refuse fields that need more than a share of the free memory."""
    hint = "Give a shorter period or a smaller region."
    check_required_memory(fields.nbytes, "The training series takes", hint, share)


def format_hours(hours: float) -> str:
    """Return a time in seconds, minutes, hours or days.

    Example:
        >>> [format_hours(each) for each in (0.005, 0.2, 30, 720)]
        ['18 seconds', '12 minutes', '30.0 hours', '30.0 days']
        >>> format_hours(1 / 3600)
        '1 second'
    """
    if hours < 1 / 30:
        seconds = round(3600 * hours)
        return f"{seconds} second{'' if seconds == 1 else 's'}"
    if hours < 1:
        return f"{60 * hours:.0f} minutes"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"


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
    """Return the content of a regular file that fits into memory."""
    check_regular(path)
    if path.is_dir():
        raise DpdmError(f"{path} is a directory.", "Name a file.")
    try:
        # Parsed text takes many times its length.
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
    """Return the error of a file that cannot be opened."""
    reason = getattr(fault, "strerror", None) or fault
    return DpdmError(f"{path} cannot be opened: {reason}.", READ_HINT)


def utc_now() -> str:
    """Return the time, UTC, to the second: ``2026-01-31T23:59:59Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


HDF5_LOCK = RLock()  # for all access to NetCDF files from several threads


def import_extra(name: str, what: str, group: str = "gis") -> Any:
    """Import an optional library.

    Args:
        name: The module.
        what: The feature that needs it, in the plural, for the error message.
        group: The extra of dpdm that installs it.

    Example:
        >>> import_extra("parsnip", "Vegetables")
        Traceback (most recent call last):
        ...
        dpdm.errors.DpdmError: Vegetables need parsnip, which is not installed. Run: pip install...
    """
    os.environ["PROJ_NETWORK"] = "OFF"  # PROJ must not download grids
    try:
        return import_module(name)
    except ImportError as fault:
        raise missing_library_error(what, fault, group) from fault


@contextmanager
def hide_module(name: str) -> Iterator[None]:
    """Let imports of a module fail, for libraries that import it if it is there."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


def missing_library_error(what: str, fault: ImportError, group: str = "gis") -> DpdmError:
    """Return the error of a library that is not installed."""
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
