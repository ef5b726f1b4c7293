"""Refuse what would not fit into memory or on the disk, before it is begun."""

import os
import shutil
from pathlib import Path

import xarray as xr

from dpdm.errors import DpdmError

COMPRESSED = 0.1  # of its size in memory: the least that fields take on disk, with few exceptions


def available() -> int:
    """Return the bytes of memory that this process may still take.

    The least of what the system, the control group (a container, a job of a queue) and the
    process's own limit leave.
    """
    return min(_of_system(), _of_group(), _of_process())


def _of_system() -> int:
    """Return what is free or can be freed at once: caches of files can."""
    lines = _lines("/proc/meminfo")
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    if found:
        return int(found[0]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _of_group() -> int:
    """Return what the control group leaves; much where there is none."""
    limit, used = (_lines(f"/sys/fs/cgroup/memory.{word}") for word in ("max", "current"))
    if not limit or not used or not limit[0].isdecimal():
        return 2**62
    return max(int(limit[0]) - int(used[0]), 0)


def _of_process() -> int:
    """Return what the limit of address space (ulimit -v) leaves; much where there is none."""
    try:
        import resource
    except ImportError:  # Windows
        return 2**62
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    pages = _lines("/proc/self/statm")
    if limit == resource.RLIM_INFINITY or not pages:
        return 2**62
    return max(limit - int(pages[0].split()[0]) * resource.getpagesize(), 0)


def _lines(path: str) -> list[str]:
    """Return the lines of a file of the system; none where there is no such file."""
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def check_room(needed: float, what: str, hint: str, share: float = 0.4) -> None:
    """Refuse what would fill more than a share of the free memory.

    Args:
        needed: Bytes.
        what: What takes them, for the message.
        hint: How to need fewer.
        share: Of the free memory.

    Raises:
        DpdmError: When it would.
    """
    free = available()
    if needed > share * free:
        raise DpdmError(f"{what} {shown(needed)}, and {shown(free)} of memory are free.", hint)


def check_disk(needed: float, target: Path) -> None:
    """Refuse an output that would not fit on its disk, however well it is compressed.

    Args:
        needed: Bytes of the output in memory.
        target: Where it is to be.

    Raises:
        DpdmError: When it would not fit.
    """
    folder = next((p for p in target.resolve().parents if p.exists()), Path())
    free = shutil.disk_usage(folder).free
    if free and COMPRESSED * needed > free:
        raise DpdmError(
            f"{target} would hold {shown(needed)} before compression, and {shown(free)} are free "
            "on its disk.",
            "Give fewer members, a shorter period, a smaller region, or another disk.",
        )


def shown(size: float) -> str:
    """Return a number of bytes as people read it.

    Example:
        >>> shown(2.34e9), shown(8e18), shown(1e27)
        ('2.3 GB', '8000000.0 TB', '1e+15 TB')
    """
    if size < 1e12:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e12:.1f} TB" if size < 1e20 else f"{size / 1e12:.2g} TB"


def check_memory(fields: xr.Dataset, share: float = 0.4) -> None:
    """Refuse fields that would fill more than a share of the free memory.

    Raises:
        DpdmError: When they would.
    """
    hint = "Give a shorter period or a smaller region."
    check_room(fields.nbytes, "The training series takes", hint, share)
