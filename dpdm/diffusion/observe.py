r"""What was measured: :math:`y = A(x) + e`, with :math:`e \sim N(0, R)` and R diagonal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpdm.types import Fields, Values


@dataclass(frozen=True)
class Observation:
    """Measured values, how fields predict them, and how far to trust them.

    Attributes:
        operator: Observation operator A, from fields (B, ...) to values (B, N), differentiable.
        value: Measured values y, with shape (N,).
        variance: Error variance, the diagonal of R, with shape (N,).
        scale: Variance of A(x) for fields x of unit variance, with shape (N,): it makes SDA's
            Gamma a number without units. None where the values are of that order anyway.
    """

    operator: Callable[[Fields], Values]
    value: Tensor
    variance: Tensor
    scale: Tensor | None = None

    def misfit(self, x: Fields) -> Values:
        """Return y - A(x), with shape (B, N)."""
        return self.value.to(x) - self.operator(x)


def stack(observations: Sequence[Observation]) -> Observation:
    """Merge independent observations into one.

    Example:
        >>> seen = Observation(lambda x: x[:, :2], torch.zeros(2), torch.ones(2))
        >>> stack([seen, seen]).misfit(torch.ones(1, 3))
        tensor([[-1., -1., -1., -1.]])
    """
    scales = [torch.ones_like(o.value) if o.scale is None else o.scale for o in observations]
    return Observation(
        lambda x: torch.cat([o.operator(x) for o in observations], dim=1),
        torch.cat([o.value for o in observations]),
        torch.cat([o.variance for o in observations]),
        torch.cat(scales),
    )
