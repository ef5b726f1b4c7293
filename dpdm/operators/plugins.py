"""The user's own observation operators: Python functions that an installed package announces.

A package names its function, from physical fields (B, C, H, W) to values (B, N), in its
``pyproject.toml``:

    [project.entry-points."dpdm.operators"]
    snowline = "mypackage:snowline"

and ``snowline`` is then an operator like any other. It is written in torch, so that its derivative
is known, and it is tried on a field of zeros before it is believed.
"""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import torch
from torch import Tensor

from dpdm.errors import DpdmError, did_you_mean
from dpdm.types import Operator

GROUP = "dpdm.operators"


def names() -> list[str]:
    """List the operators that installed packages announce."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def find(name: str) -> Operator:
    """Return the operator of that name from an installed package."""
    found = entry_points(group=GROUP, name=name)
    values = sorted({point.value for point in found})
    if len(values) != 1:
        raise DpdmError(*missing(name, values))
    (point,) = list(found)[:1]
    operator = load(point)
    if not callable(operator):
        raise DpdmError(f"The operator {name} ({point.value}) is not a function.", "Name one.")
    return operator  # type: ignore[no-any-return]


def missing(name: str, values: list[str]) -> tuple[str, str]:
    """Say why a name gives no operator."""
    if values:
        return (
            f"Several packages announce the operator {name}: {', '.join(values)}.",
            "Uninstall all but one.",
        )
    return (
        f"No installed package announces the operator {name}.",
        did_you_mean(name, names(), f"Announce it as an entry point of {GROUP}."),
    )


def load(point: EntryPoint) -> Any:
    """Import what an entry point names."""
    try:
        return point.load()
    except Exception as error:  # whatever a stranger's module does when imported
        raise DpdmError(
            f"The operator {point.name} ({point.value}) cannot be imported: {error}.",
            "Mend the package that announces it.",
        ) from error


def tried(operator: Operator, name: str, shape: tuple[int, ...], count: int) -> Operator:
    """Return the operator, if it makes sense of two fields of zeros.

    Args:
        operator: From fields to values.
        name: What a message calls it.
        shape: Shape of one field: (C, H, W) or (C, T, H, W).
        count: How many values the observations need.
    """
    zeros = torch.zeros(2, *shape, requires_grad=True)
    try:
        values = operator(zeros)
    except Exception as error:  # whatever a stranger's function does when called
        raise DpdmError(
            f"The operator {name} fails on a field of zeros of shape {tuple(zeros.shape)}: "
            f"{type(error).__name__}: {error}.",
            "Mend it.",
        ) from error
    fault = flaw(values, count)
    if fault:
        raise DpdmError(f"The operator {name} {fault}, on two fields of zeros.", "Mend it.")
    return operator


def flaw(values: Any, count: int) -> str:
    """Say what is wrong with the values (2, N) of two fields of zeros; nothing is ''."""
    if not isinstance(values, Tensor):
        return f"gives a {type(values).__name__} and no tensor"
    if values.shape != (2, count):
        return f"gives the shape {tuple(values.shape)} and not (2, {count})"
    if not bool(values.isfinite().all()):
        return "gives a value that is not finite"
    return "" if values.requires_grad else "has no derivative: it leaves torch on its way"
