"""Observations of one trajectory, as the reference methods of several benchmarks take them."""

from dataclasses import dataclass

from torch import Tensor

from dpdm.types import Operator


@dataclass(frozen=True)
class Observed:
    """Observations of one trajectory, with independent errors.

    Attributes:
        operator: From trajectories (B, C, T, Y, X) to values (B, N).
        value: Observed values, with shape (N,).
        error: Standard deviations of their errors, with shape (N,).
    """

    operator: Operator
    value: Tensor
    error: Tensor
