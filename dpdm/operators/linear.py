r"""Linear observation operators as sparse links, and the adjoint of any operator.

An **observation operator** is a function from physical fields (B, C, H, W), or trajectories
(B, C, T, H, W), to values (B, N), differentiable and batched. Every linear one here, be it a value
at a point, a mean over an area or over time, or a map from a file, is a list of links, each from
one cell of one channel at one step to one value:

.. math:: y_i = \sum_{l : row_l = i} weight_l \, x[channel_l, step_l, cell_l]

Where (the links), what (``of`` a channel) and when (``at`` a step, ``during`` several) are said
apart. Automatic differentiation gives the adjoint of every operator, linear or not.

Functions of single values, and the ways to put operators together.

An instrument that saturates, a satellite that only tells whether it rains, a variable that is
judged by its logarithm: each is a smooth function after a linear operator. None clips, for where
a function is flat, an observation has no gradient to pull with.

Errors that go together, made independent.

Guidance takes the errors of observations to be independent. Where those of the channels of a
sounder are not, with covariance :math:`C = L L^T` at one place and time,

.. math:: L^{-1} y = L^{-1} A(x) + e, \qquad e \sim N(0, I)

says the same of the fields as :math:`y = A(x) + L e`, and its errors are. `whitening` is
:math:`L^{-1}`, of all places and times at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from dpdm.errors import DpdmError
from dpdm.types import Fields, Operator, Values


def first_index() -> Tensor:
    """Return the number of the first channel or step."""
    return torch.tensor(0)


@dataclass(frozen=True, eq=False)
class SparseOperator:
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
        >>> pair = SparseOperator((1, 3), 1, torch.tensor([0, 0]), torch.tensor([0, 2]), weight)
        >>> pair(torch.tensor([[[[1.0, 9.0, 5.0]]]]))
        tensor([[4.]])
    """

    shape: tuple[int, int]
    count: int
    row: Tensor
    cell: Tensor
    weight: Tensor
    channel: Tensor = field(default_factory=first_index)
    step: Tensor = field(default_factory=first_index)

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

    def for_channel(self, channel: int | Tensor) -> SparseOperator:
        """Return the same means of another channel, one for all values or (N,)."""
        return replace(self, channel=self._per_value(channel))

    def at_step(self, step: int | Tensor) -> SparseOperator:
        """Return the same means at another step, one for all values or (N,)."""
        return replace(self, step=self._per_value(step))

    def average_steps(self, first: int | Tensor, last: int | Tensor) -> SparseOperator:
        """Return the means over the steps from ``first`` to ``last``, both included."""
        begin, end = (self._per_value(t).expand_as(self.row) for t in (first, last))
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
    def has_links(self) -> Tensor:
        """Tell which values have a link at all, with shape (N,); the others are always 0."""
        return torch.bincount(self.row, minlength=self.count) > 0

    @cached_property
    def _span(self) -> tuple[tuple[int, int], tuple[int, int]]:
        ends = (torch.aminmax(t) for t in (self.channel, self.step))
        channel, step = ((int(low), int(high)) for low, high in ends)
        return channel, step

    def _per_value(self, number: int | Tensor) -> Tensor:
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


def pick_cells(shape: tuple[int, int], cell: Tensor) -> SparseOperator:
    """Return the operator of the values in single cells (N,), numbered row by row.

    A system without space, such as Lorenz-63, is a field of 1 x 1 cells with a channel for each
    component.

    Example:
        >>> first = pick_cells((1, 1), torch.zeros(2, dtype=int)).for_channel(0)
        >>> first.at_step(torch.tensor([0, 8]))(torch.arange(30.0).reshape(1, 3, 10, 1, 1))
        tensor([[0., 8.]])
    """
    count = len(cell)
    return SparseOperator(
        shape, count, torch.arange(count), cell, torch.ones(count, dtype=torch.float64)
    )


def apply_per_channel(links: SparseOperator) -> Callable[[Fields], Tensor]:
    """Return the function that applies the links to every channel: (B, C, ...) to (B, C, N).

    Speed, direction and height corrections are then functions of the channels at each place.
    """

    def local(fields: Fields) -> Tensor:
        apart = fields.flatten(0, 1).unsqueeze(1)
        return links(apart).reshape(*fields.shape[:2], links.count)

    return local


def apply_adjoint(operator: Operator, at: Fields, v: Values) -> Fields:
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


TensorMap = Callable[[Tensor], Tensor]


def saturate(w: Tensor) -> Tensor:
    """Return w / (1 + |w|), between -1 and 1.

    Example:
        >>> saturate(torch.tensor([-1.0, 0.0, 3.0]))
        tensor([-0.5000,  0.0000,  0.7500])
    """
    return w / (1 + w.abs())


def signed_log1p(w: Tensor) -> Tensor:
    """Return sign(w) log(1 + |w|): the log1p of an amount, smooth through slight negatives."""
    # Not sign(w) log1p(|w|), whose derivative torch takes to be 0 where it never rains.
    return w.clamp_min(0).log1p() - (-w).clamp_min(0).log1p() * (w < 0)


def smooth_threshold(level: float, width: float) -> TensorMap:
    """Return the smooth step from 0 to 1 at a level, with 46% of it within a width.

    Example:
        >>> smooth_threshold(1.0, 0.5)(torch.tensor([-9.0, 1.0, 11.0]))
        tensor([0.0000, 0.5000, 1.0000])
    """
    return lambda w: torch.sigmoid((w - level) / width)


def exceedance(level: float, width: float) -> TensorMap:
    """Return how far values exceed a level, rounded off over a width: its slope is `threshold`.

    Example:
        >>> exceedance(1.0, 0.1)(torch.tensor([0.0, 3.0]))
        tensor([4.5399e-06, 2.0000e+00])
    """
    return lambda w: torch.nn.functional.softplus((w - level) / width) * width


def select_channel(channel: int) -> Callable[[Fields], Fields]:
    """Return the function that keeps one channel, (B, C, ...) to (B, 1, ...)."""
    return lambda fields: fields[:, channel, None]


def flatten_values(fields: Tensor) -> Tensor:
    """Return all values in a row, (B, ...) to (B, N)."""
    return fields.flatten(1)


def compose_maps(*functions: TensorMap) -> TensorMap:
    """Return the function that applies the first function first.

    Example:
        >>> compose_maps(select_channel(1), saturate, flatten_values)(torch.ones(2, 3, 1, 2))
        tensor([[0.5000, 0.5000],
                [0.5000, 0.5000]])
    """

    def composed(values: Tensor) -> Tensor:
        for function in functions:
            values = function(values)
        return values

    return composed


def concat_operators(*functions: TensorMap) -> TensorMap:
    """Return the operator whose values (B, N) are those of several, one after the other.

    Maps of fields are joined along their channels.
    """
    return lambda fields: torch.cat([function(fields) for function in functions], dim=1)


def as_single_row(values: Tensor) -> Fields:
    """Return values (B, N) as fields of one row, (B, 1, 1, N)."""
    return values[:, None, None]


def whitening_matrix(
    error: ArrayLike, place: ArrayLike, channel: ArrayLike, correlation: ArrayLike
) -> SparseOperator:
    """Return the inverse Cholesky factor of the covariance of errors, as links of their values."""
    deviation, kind = np.asarray(error, dtype=float), np.asarray(channel)
    order = np.argsort(place, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(np.asarray(place)[order])) + 1)
    related = np.asarray(correlation, dtype=float)
    inverses = [inverse_cholesky(related[np.ix_(kind[i], kind[i])]) for i in parts]
    sizes = [len(i) for i in parts]
    cells = np.concatenate([np.tile(i, n) for i, n in zip(parts, sizes, strict=True)])
    weights = np.concatenate([each.ravel() for each in inverses]) / deviation[cells]
    rows = np.concatenate([np.repeat(i, n) for i, n in zip(parts, sizes, strict=True)])
    kept = weights != 0
    links = (torch.as_tensor(a[kept]) for a in (rows, cells, weights))
    return SparseOperator((1, len(deviation)), len(deviation), *links)


def inverse_cholesky(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inverse of the Cholesky factor of a matrix of correlations."""
    try:
        factor = np.linalg.cholesky(correlation)
    except np.linalg.LinAlgError as fault:
        raise DpdmError(
            "The correlations of the channels' errors contradict each other, or a channel comes "
            "twice at one place and time.",
            "Give a positive definite matrix with ones on its diagonal, and each channel once.",
        ) from fault
    return np.tril(np.linalg.inv(factor))
