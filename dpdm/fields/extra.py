"""Libraries that only some tasks need, imported when they do."""

import os
from importlib import import_module
from typing import Any

from dpdm.errors import DpdmError


def extra(name: str, what: str, group: str = "gis") -> Any:
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
        raise lacking(what, fault, group) from fault


def lacking(what: str, fault: ImportError, group: str = "gis") -> DpdmError:
    """Return what to say of a library that is not installed."""
    library = (fault.name or "a library").partition(".")[0]
    return DpdmError(
        f"{what} need {library}, which is not installed.", f"Run: pip install 'dpdm[{group}]'."
    )
