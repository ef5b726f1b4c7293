"""Processes that a command has started."""

from pathlib import Path


def children(parent: int, kind: bytes = b"spawn_main") -> list[int]:
    """Return the processes that work for another."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            words = stat.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and kind in words:
            found.append(int(stat.parent.name))
    return found
