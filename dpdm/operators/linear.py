r"""Linear observation operators as sparse matrices, and compositions of operators.

An **observation operator** is a function from physical fields (B, C, H, W), or trajectories (B, C,
T, H, W), to values (B, N), differentiable and batched. A linear one (a value at a point, a mean
over an area or over time) is a list of links, each from one cell of one channel at one step to one
value:

.. math:: y_i = \sum_{l : row_l = i} weight_l \, x[channel_l, step_l, cell_l]

Cells, channel (``for_channel``) and steps (``at_step``, ``average_steps``) are set separately.

**Nonlinear operators** are smooth functions after a linear operator: saturation of an instrument,
the occurrence of rain, a logarithm. None clips, because a constant function has no gradient.

**Correlated errors.** Guidance assumes independent errors of observations. For errors of the
channels of a sounder with covariance :math:`C = L L^T` at one place and time,

.. math:: L^{-1} y = L^{-1} A(x) + e, \qquad e \sim N(0, I)

is equivalent to :math:`y = A(x) + L e`, with independent errors. `whitening_matrix` is
:math:`L^{-1}` for all places and times.
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
    """Return index 0, of the first channel or step."""
    return torch.tensor(0)


@dataclass(frozen=True, eq=False)
class SparseOperator:
    """A sparse linear operator, with L links to N values.

    Attributes:
        shape: Rows and columns of the field.
        count: N, the number of values.
        row: Index of the value, with shape (L,).
        cell: Index of the cell, row by row, with shape (L,).
        weight: Weight of the cell, in float64, with shape (L,).
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
        series = self._checked(fields)
        steps, cells = series.shape[2], self.shape[0] * self.shape[1]
        index = ((self.channel * steps + self.step) * cells + self.cell).to(series.device)
        terms = series.flatten(1).gather(1, index.expand(len(series), -1))
        # In float64: in float32 the mean of a million cells of 280 K has an error of 0.2 K.
        weighted = terms.double() * self.weight.to(series.device)
        row = self.row.to(series.device).expand(len(series), -1)
        total = weighted.new_zeros(len(series), self.count).scatter_add(1, row, weighted)
        return total.to(series)

    def for_channel(self, channel: int | Tensor) -> SparseOperator:
        """Return the operator for a channel, one for all values or (N,)."""
        return replace(self, channel=self._per_value(channel))

    def at_step(self, step: int | Tensor) -> SparseOperator:
        """Return the operator at a step, one for all values or (N,)."""
        return replace(self, step=self._per_value(step))

    def average_steps(self, first: int | Tensor, last: int | Tensor) -> SparseOperator:
        """Return the operator of means over the steps from ``first`` to ``last``, inclusive."""
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
        """Mark the values that have any link, with shape (N,); the others are always 0."""
        return torch.bincount(self.row, minlength=self.count) > 0

    @cached_property
    def _span(self) -> tuple[tuple[int, int], tuple[int, int]]:
        ends = (torch.aminmax(t) for t in (self.channel, self.step))
        channel, step = ((int(low), int(high)) for low, high in ends)
        return channel, step

    def _per_value(self, number: int | Tensor) -> Tensor:
        index = torch.as_tensor(number)
        return index[self.row] if index.ndim else index

    def _checked(self, fields: Fields) -> Tensor:
        series = fields if fields.ndim == 5 else fields.unsqueeze(2)
        if series.ndim != 5 or series.shape[-2:] != self.shape:
            raise DpdmError(
                f"The observation operator is for fields of {self.shape[0]} x {self.shape[1]} "
                f"cells, but these have the shape {tuple(fields.shape)}.",
                "Build it for the grid of these fields.",
            )
        for name, (low, high), size in zip(
            ("channel", "step"), self._span, series.shape[1:3], strict=True
        ):
            if low < 0 or high >= size:
                raise DpdmError(
                    f"The observation operator uses {name} {low if low < 0 else high}, but "
                    f"the fields have {size}, counted from 0.",
                    f"Choose an existing {name}.",
                )
        return series


def pick_cells(shape: tuple[int, int], cell: Tensor) -> SparseOperator:
    """Return the operator of the values of single cells (N,), indexed row by row.

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
    """Return the function that applies the links to every channel: (B, C, ...) to (B, C, N)."""

    def local(fields: Fields) -> Tensor:
        channels = fields.flatten(0, 1).unsqueeze(1)
        return links(channels).reshape(*fields.shape[:2], links.count)

    return local


def apply_adjoint(operator: Operator, at: Fields, v: Values) -> Fields:
    """Apply the transpose of an operator's Jacobian at fields (B, C, ...) to values (B, N)."""
    with torch.enable_grad():
        x = at.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(operator(x), x, v)
    return gradient


TensorMap = Callable[[Tensor], Tensor]


def saturate(w: Tensor) -> Tensor:
    """Return w / (1 + |w|), between -1 and 1.

    Example:
        >>> saturate(torch.tensor([-1.0, 0.0, 3.0]))
        tensor([-0.5000,  0.0000,  0.7500])
    """
    return w / (1 + w.abs())


def signed_log1p(w: Tensor) -> Tensor:
    """Return sign(w) log(1 + |w|): the log1p of an amount, smooth for negative values."""
    # Not sign(w) log1p(|w|), whose derivative in torch is 0 at w = 0.
    return w.clamp_min(0).log1p() - (-w).clamp_min(0).log1p() * (w < 0)


def smooth_threshold(level: float, width: float) -> TensorMap:
    """Return the smooth step from 0 to 1 at a threshold, with 46% of it within a width.

    Example:
        >>> smooth_threshold(1.0, 0.5)(torch.tensor([-9.0, 1.0, 11.0]))
        tensor([0.0000, 0.5000, 1.0000])
    """
    return lambda w: torch.sigmoid((w - level) / width)


def exceedance(level: float, width: float) -> TensorMap:
    """Return the smooth exceedance of a threshold, the integral of `smooth_threshold`.

    Example:
        >>> exceedance(1.0, 0.1)(torch.tensor([0.0, 3.0]))
        tensor([4.5399e-06, 2.0000e+00])
    """
    return lambda w: torch.nn.functional.softplus((w - level) / width) * width


def select_channel(channel: int) -> Callable[[Fields], Fields]:
    """Return the function that selects one channel, (B, C, ...) to (B, 1, ...)."""
    return lambda fields: fields[:, channel, None]


def flatten_values(fields: Tensor) -> Tensor:
    """Flatten values, (B, ...) to (B, N)."""
    return fields.flatten(1)


def compose_maps(*functions: TensorMap) -> TensorMap:
    """Return the composition of functions, the first applied first.

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
    """Return the operator that concatenates the values (B, N), or channels, of several."""
    return lambda fields: torch.cat([function(fields) for function in functions], dim=1)


def as_single_row(values: Tensor) -> Fields:
    """Return values (B, N) as fields of one row, (B, 1, 1, N)."""
    return values[:, None, None]


def whitening_matrix(
    error: ArrayLike, place: ArrayLike, channel: ArrayLike, correlation: ArrayLike
) -> SparseOperator:
    """Return the inverse Cholesky factor of the error covariance, as a sparse operator."""
    deviation, kind = np.asarray(error, dtype=float), np.asarray(channel)
    order = np.argsort(place, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(np.asarray(place)[order])) + 1)
    related = np.asarray(correlation, dtype=float)
    inverses = [inverse_cholesky(related[np.ix_(kind[i], kind[i])]) for i in groups]
    sizes = [len(i) for i in groups]
    cells = np.concatenate([np.tile(i, n) for i, n in zip(groups, sizes, strict=True)])
    weights = np.concatenate([each.ravel() for each in inverses]) / deviation[cells]
    rows = np.concatenate([np.repeat(i, n) for i, n in zip(groups, sizes, strict=True)])
    nonzero = weights != 0
    links = (torch.as_tensor(a[nonzero]) for a in (rows, cells, weights))
    return SparseOperator((1, len(deviation)), len(deviation), *links)


def inverse_cholesky(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inverse of the Cholesky factor of a matrix of correlations."""
    try:
        factor = np.linalg.cholesky(correlation)
    except np.linalg.LinAlgError as fault:
        raise DpdmError(
            "The error correlations of channels are not positive definite, or a channel is given "
            "twice at one place and time.",
            "Give a positive definite matrix with ones on its diagonal, and each channel once.",
        ) from fault
    return np.tril(np.linalg.inv(factor))
