r"""Linear observation operators as sparse links, and the adjoint of any operator.

An **observation operator** is a function from physical fields (B, C, H, W), or trajectories
(B, C, T, H, W), to values (B, N), differentiable and batched. Every linear one here, be it a value
at a point, a mean over an area or over time, or a map from a file, is a list of links, each from
one cell of one channel at one step to one value:

.. math:: y_i = \sum_{l : row_l = i} weight_l \, x[channel_l, step_l, cell_l]

Where (the links), what (``of`` a channel) and when (``at`` a step, ``during`` several) are said
apart. Automatic differentiation gives the adjoint of every operator, linear or not.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from dpdm.errors import DpdmError
from dpdm.types import Fields, Operator, Values


def zero() -> Tensor:
    """Return the number of the first channel or step."""
    return torch.tensor(0)


@dataclass(frozen=True, eq=False)
class Links:
    """A sparse linear operator, with L links to N values.

    Attributes:
        shape: Rows and columns of the field.
        count: N, the number of values.
        row: Number of the value, with shape (L,).
        cell: Number of the cell, row by row, with shape (L,).
        weight: Weight of the cell's value, in float64, with shape (L,).
        channel: Channel of the field, with shape (L,) or ().
        step: Step of the trajectory, with shape (L,) or (); 0 for fields without time.

    Example:
        >>> weight = torch.tensor([0.25, 0.75], dtype=torch.float64)
        >>> pair = Links((1, 3), 1, torch.tensor([0, 0]), torch.tensor([0, 2]), weight)
        >>> pair(torch.tensor([[[[1.0, 9.0, 5.0]]]]))
        tensor([[4.]])
    """

    shape: tuple[int, int]
    count: int
    row: Tensor
    cell: Tensor
    weight: Tensor
    channel: Tensor = field(default_factory=zero)
    step: Tensor = field(default_factory=zero)

    def __call__(self, fields: Fields) -> Values:
        """Return the values (B, N) of fields (B, C, H, W) or trajectories (B, C, T, H, W)."""
        whole = self._checked(fields)
        steps, cells = whole.shape[2], self.shape[0] * self.shape[1]
        index = ((self.channel * steps + self.step) * cells + self.cell).to(whole.device)
        terms = whole.flatten(1).gather(1, index.expand(len(whole), -1))
        # In float64: a million cells of 280 K, added up in float32, are off by 0.2 K.
        weighted = terms.double() * self.weight.to(whole.device)
        row = self.row.to(whole.device).expand(len(whole), -1)
        total = weighted.new_zeros(len(whole), self.count).scatter_add(1, row, weighted)
        return total.to(whole)

    def of(self, channel: int | Tensor) -> "Links":
        """Return the same means of another channel, one for all values or (N,)."""
        return replace(self, channel=self._each(channel))

    def at(self, step: int | Tensor) -> "Links":
        """Return the same means at another step, one for all values or (N,)."""
        return replace(self, step=self._each(step))

    def during(self, first: int | Tensor, last: int | Tensor) -> "Links":
        """Return the means over the steps from ``first`` to ``last``, both included."""
        begin, end = (self._each(t).expand_as(self.row) for t in (first, last))
        length = end - begin + 1
        if bool((length < 1).any()):
            raise DpdmError("A time mean ends before it begins.", "Give the first step first.")
        copy = torch.repeat_interleave(torch.arange(len(self.row)), length)
        offset = torch.arange(len(copy)) - (length.cumsum(0) - length)[copy]
        return replace(
            self,
            row=self.row[copy],
            cell=self.cell[copy],
            weight=(self.weight / length)[copy],
            channel=self.channel.expand_as(self.row)[copy],
            step=begin[copy] + offset,
        )

    @cached_property
    def reached(self) -> Tensor:
        """Tell which values have a link at all, with shape (N,); the others are always 0."""
        return torch.bincount(self.row, minlength=self.count) > 0

    @cached_property
    def _span(self) -> tuple[tuple[int, int], tuple[int, int]]:
        ends = (torch.aminmax(t) for t in (self.channel, self.step))
        channel, step = ((int(low), int(high)) for low, high in ends)
        return channel, step

    def _each(self, number: int | Tensor) -> Tensor:
        given = torch.as_tensor(number)
        return given[self.row] if given.ndim else given

    def _checked(self, fields: Fields) -> Tensor:
        whole = fields if fields.ndim == 5 else fields.unsqueeze(2)
        if whole.ndim != 5 or whole.shape[-2:] != self.shape:
            raise DpdmError(
                f"The observation operator is for fields of {self.shape[0]} x {self.shape[1]} "
                f"cells, but these have the shape {tuple(fields.shape)}.",
                "Build it for the grid of these fields.",
            )
        for name, (low, high), size in zip(
            ("channel", "step"), self._span, whole.shape[1:3], strict=True
        ):
            if low < 0 or high >= size:
                raise DpdmError(
                    f"The observation operator asks for {name} {low if low < 0 else high}, but "
                    f"the fields have {size}, counted from 0.",
                    f"Choose a {name} that is there.",
                )
        return whole


def picks(shape: tuple[int, int], cell: Tensor) -> Links:
    """Return the operator of the values in single cells (N,), numbered row by row.

    A system without space, such as Lorenz-63, is a field of 1 x 1 cells with a channel for each
    component.

    Example:
        >>> first = picks((1, 1), torch.zeros(2, dtype=int)).of(0).at(torch.tensor([0, 8]))
        >>> first(torch.arange(30.0).reshape(1, 3, 10, 1, 1))
        tensor([[0., 8.]])
    """
    count = len(cell)
    return Links(shape, count, torch.arange(count), cell, torch.ones(count, dtype=torch.float64))


def profile(links: Links) -> Callable[[Fields], Tensor]:
    """Return the function that applies the links to every channel: (B, C, ...) to (B, C, N).

    Speed, direction and height corrections are then functions of the channels at each place.
    """

    def local(fields: Fields) -> Tensor:
        apart = fields.flatten(0, 1).unsqueeze(1)
        return links(apart).reshape(*fields.shape[:2], links.count)

    return local


def adjoint(operator: Operator, at: Fields, v: Values) -> Fields:
    """Return the transpose of the operator's Jacobian at some fields, applied to values.

    Args:
        operator: From fields to values.
        at: Where its Jacobian is taken, with shape (B, C, ...).
        v: Values, with shape (B, N).

    Returns:
        Fields, with the shape of ``at``.
    """
    with torch.enable_grad():
        x = at.detach().requires_grad_()
        (pulled,) = torch.autograd.grad(operator(x), x, v)
    return pulled
