r"""Errors that go together, made independent.

Guidance takes the errors of observations to be independent. Where those of the channels of a
sounder are not, with covariance :math:`C = L L^T` at one place and time,

.. math:: L^{-1} y = L^{-1} A(x) + e, \qquad e \sim N(0, I)

says the same of the fields as :math:`y = A(x) + L e`, and its errors are. `whitening` is
:math:`L^{-1}`, of all places and times at once.
"""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from dpdm.errors import DpdmError
from dpdm.operators.linear import Links
from dpdm.types import Fields


def row_of(values: Tensor) -> Fields:
    """Return values (B, N) as fields of one row, (B, 1, 1, N)."""
    return values[:, None, None]


def whitening(
    error: ArrayLike, place: ArrayLike, channel: ArrayLike, correlation: ArrayLike
) -> Links:
    """Return the inverse Cholesky factor of the covariance of errors, as links of their values."""
    deviation, kind = np.asarray(error, dtype=float), np.asarray(channel)
    order = np.argsort(place, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(np.asarray(place)[order])) + 1)
    related = np.asarray(correlation, dtype=float)
    inverses = [inverse_factor(related[np.ix_(kind[i], kind[i])]) for i in parts]
    sizes = [len(i) for i in parts]
    cells = np.concatenate([np.tile(i, n) for i, n in zip(parts, sizes, strict=True)])
    weights = np.concatenate([each.ravel() for each in inverses]) / deviation[cells]
    rows = np.concatenate([np.repeat(i, n) for i, n in zip(parts, sizes, strict=True)])
    kept = weights != 0
    links = (torch.as_tensor(a[kept]) for a in (rows, cells, weights))
    return Links((1, len(deviation)), len(deviation), *links)


def inverse_factor(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
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
