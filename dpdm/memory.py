"""Refuse what would not fit, before it is read."""

import os

import xarray as xr

from dpdm.errors import DpdmError


def available() -> int:
    """Return the bytes of memory that are free, as the system tells."""
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def check_room(needed: int, what: str, hint: str, share: float = 0.4) -> None:
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
        raise DpdmError(f"{what} {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free.", hint)


def check_memory(fields: xr.Dataset, share: float = 0.4) -> None:
    """Refuse fields that would fill more than a share of the free memory.

    Raises:
        DpdmError: When they would.
    """
    hint = "Give a shorter period or a smaller region."
    check_room(fields.nbytes, "The training series takes", hint, share)
