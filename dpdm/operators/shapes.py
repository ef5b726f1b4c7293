"""Functions of single values, and the ways to put operators together.

An instrument that saturates, a satellite that only tells whether it rains, a variable that is
judged by its logarithm: each is a smooth function after a linear operator. None clips, for where
a function is flat, an observation has no gradient to pull with.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from dpdm.types import Fields

Map = Callable[[Tensor], Tensor]


def saturating(w: Tensor) -> Tensor:
    """Return w / (1 + |w|), between -1 and 1.

    Example:
        >>> saturating(torch.tensor([-1.0, 0.0, 3.0]))
        tensor([-0.5000,  0.0000,  0.7500])
    """
    return w / (1 + w.abs())


def log1p(w: Tensor) -> Tensor:
    """Return sign(w) log(1 + |w|): the log1p of an amount, smooth through slight negatives."""
    # Not sign(w) log1p(|w|), whose derivative torch takes to be 0 where it never rains.
    return w.clamp_min(0).log1p() - (-w).clamp_min(0).log1p() * (w < 0)


def threshold(level: float, width: float) -> Map:
    """Return the smooth step from 0 to 1 at a level, with 46% of it within a width.

    Example:
        >>> threshold(1.0, 0.5)(torch.tensor([-9.0, 1.0, 11.0]))
        tensor([0.0000, 0.5000, 1.0000])
    """
    return lambda w: torch.sigmoid((w - level) / width)


def exceedance(level: float, width: float) -> Map:
    """Return how far values exceed a level, rounded off over a width: its slope is `threshold`.

    Example:
        >>> exceedance(1.0, 0.1)(torch.tensor([0.0, 3.0]))
        tensor([4.5399e-06, 2.0000e+00])
    """
    return lambda w: torch.nn.functional.softplus((w - level) / width) * width


def select(channel: int) -> Callable[[Fields], Fields]:
    """Return the function that keeps one channel, (B, C, ...) to (B, 1, ...)."""
    return lambda fields: fields[:, channel, None]


def flat(fields: Tensor) -> Tensor:
    """Return all values in a row, (B, ...) to (B, N)."""
    return fields.flatten(1)


def compose(*functions: Map) -> Map:
    """Return the function that applies the first function first.

    Example:
        >>> compose(select(1), saturating, flat)(torch.ones(2, 3, 1, 2))
        tensor([[0.5000, 0.5000],
                [0.5000, 0.5000]])
    """

    def composed(values: Tensor) -> Tensor:
        for function in functions:
            values = function(values)
        return values

    return composed


def concat(*functions: Map) -> Map:
    """Return the operator whose values (B, N) are those of several, one after the other.

    Maps of fields are joined along their channels.
    """
    return lambda fields: torch.cat([function(fields) for function in functions], dim=1)
