r"""Compute scores of several variables together, cell by cell.

Members have shape (M, D, N): M members of D variables at N cells; the truth has shape (D, N). The
fair energy score of an ensemble (Gneiting and Raftery 2007, doi:10.1198/016214506000001437) is

.. math:: \frac1M \sum_m \|x_m - y\| - \frac1{M(M-1)} \sum_{m<n} \|x_m - x_n\|,

and its variogram score of order p (Scheuerer and Hamill 2015, doi:10.1175/MWR-D-14-00269.1),

.. math:: \sum_{i,j} \left(|y_i - y_j|^p - \overline{|x_i - x_j|^p}\right)^2 - s_{ij}^2 / M,

less the variance of the mean over M members, with :math:`s_{ij}^2` the variance of
:math:`|x_i - x_j|^p`: so the expectation of neither depends on M. Of a single field both are the
first term alone.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from dpdm.fields.grid import Array

VARIOGRAM_ORDER = 0.5
ROUNDING = 1e-12  # of the mean square: a smaller variance is rounding
LEAST_VARIANCE = 1e-20  # of standardised values: less is rounding


def energy_score(members: Array, truth: Array) -> Array:
    """Return the fair energy score (N,) of members (M, D, N), or the distance of one member.

    Example:
        >>> energy_score(np.array([[[3.0], [4.0]]]), np.zeros((2, 1)))
        array([5.])
    """
    count = len(members)
    distance: Array = distances(members, truth).mean(0)
    if count == 1:
        return distance
    pairs = np.zeros_like(distance)
    for i in range(count - 1):
        pairs += distances(members[i + 1 :], members[i]).sum(0)
    score: Array = distance - pairs / (count * (count - 1))
    return score


def distances(members: Array, other: Array) -> Array:
    """Return the Euclidean distances (M, N) of members (M, D, N) to another state (D, N)."""
    squares = np.zeros((len(members), members.shape[-1]))
    for i in range(members.shape[1]):
        difference = members[:, i] - other[i]
        squares += np.multiply(difference, difference, out=difference)
    return np.sqrt(squares, out=squares)


def variogram_score(members: Array, truth: Array, order: float = VARIOGRAM_ORDER) -> Array:
    """Return the fair variogram score (N,) of members (M, D, N), over all pairs of variables."""
    count, variables, cells = members.shape
    score: Array = np.zeros(cells)
    for i, j in combinations(range(variables), 2):
        ours = np.abs(members[:, i] - members[:, j]) ** order
        true = np.abs(truth[i] - truth[j]) ** order
        score += 2 * (true - ours.mean(0)) ** 2
        if count > 1:
            score -= 2 * ours.var(0, ddof=1) / count
    return score


def moment_matrix(values: Array, weights: Array) -> Array:
    """Return the weighted sums (D + 1, D + 1) of products of 1 and the values (..., D, N).

    Cells where a value is missing count for nothing; leading axes are summed.
    """
    one = np.ones((*values.shape[:-2], 1, values.shape[-1]))
    extended = np.concatenate([one, values], axis=-2)
    valid = np.isfinite(values).all(-2, keepdims=True)
    filled = np.where(valid, extended, 0.0)
    products = (filled * weights) @ filled.swapaxes(-2, -1)
    sums: Array = products.reshape(-1, *products.shape[-2:]).sum(0)
    return sums


def correlation_matrix(moments: Array) -> Array:
    """Return the correlations (D, D) of standardised values, NaN for a constant variable.

    Example:
        >>> values = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
        >>> correlation_matrix(moment_matrix(values, np.ones(3))).round(9)
        array([[ 1., -1.],
               [-1.,  1.]])
    """
    mass = moments[0, 0] or np.nan
    mean = moments[0, 1:] / mass
    covariance = moments[1:, 1:] / mass - np.outer(mean, mean)
    square = moments[1:, 1:].diagonal() / mass
    variance = covariance.diagonal()
    least = np.maximum(ROUNDING * square, LEAST_VARIANCE)
    deviation = np.sqrt(np.where(variance > least, variance, np.nan))
    correlations: Array = covariance / np.outer(deviation, deviation)
    return correlations
