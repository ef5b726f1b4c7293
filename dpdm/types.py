"""Types of tensors and functions that all of the library uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor


Fields: TypeAlias = Annotated["Tensor", "batch variable lat lon"]
Sigma: TypeAlias = Annotated["Tensor", "batch"]
Values: TypeAlias = Annotated["Tensor", "batch observation"]

Denoise: TypeAlias = Callable[[Fields, Sigma], Fields]
"""Maps noisy fields and their noise level to the expected clean fields, E[x | x_t]."""

Operator: TypeAlias = Callable[[Fields], Values]
"""Maps fields to observed values without error, differentiably."""
