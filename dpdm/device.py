"""Where to compute."""

import torch

from dpdm.errors import DpdmError


def choose(name: str) -> str:
    """Return the torch device for ``auto``, ``cpu`` or ``cuda``.

    Raises:
        DpdmError: When a GPU is asked for and there is none.

    Example:
        >>> choose("cpu")
        'cpu'
    """
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise DpdmError(
            "--device cuda was asked for, and torch sees no GPU.",
            "Use --device cpu, or install a CUDA build of torch; dpdm doctor shows what is there.",
        )
    return "cuda" if there and name != "cpu" else "cpu"
