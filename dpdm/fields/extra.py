"""Libraries that only some tasks need, imported when they do."""

from importlib import import_module
from typing import Any

from dpdm.errors import DpdmError


def extra(name: str, what: str) -> Any:
    """Import a library of the extra `gis`.

    Args:
        name: The module.
        what: What needs it, in the plural, for the sentence if it is not there.

    Raises:
        DpdmError: When it is not installed.

    Example:
        >>> extra("parsnip", "Vegetables")
        Traceback (most recent call last):
        ...
        dpdm.errors.DpdmError: Vegetables need parsnip, which is not installed. Run: pip install...
    """
    try:
        return import_module(name)
    except ImportError as fault:
        what = f"{what} need {name.partition('.')[0]}, which is not installed."
        raise DpdmError(what, "Run: pip install 'dpdm[gis]'.") from fault
