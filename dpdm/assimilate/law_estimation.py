r"""Estimate the law of departures from the departures of stations, by maximum likelihood.

The departures d of the stations of one step from the background are Gaussian with a covariance
that is linear in the variances of the law,

.. math:: K = \sum_l s_l^2 \exp(-d_{ij}^2 / 2 l^2) + \lambda^2 c c^T + \gamma^2 h h^T + \beta^2
          + \mathrm{diag}(\tau^2)

and the steps of a season share one law. The logarithm of each standard deviation has a normal
prior around the default, so that few stations move it little: the estimate maximises

.. math:: \log p = -\tfrac12 \sum_t (d_t^T K_t^{-1} d_t + \log |K_t|)
          - \tfrac12 \sum_k (\log s_k - \log s_k^0)^2 / w^2
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpdm.assimilate.anomaly_law import AnomalyLaw
from dpdm.assimilate.smooth_fields import EARTH_RADIUS_KM

Array = NDArray[np.float64]
PRIOR_WIDTH = 0.8  # of the logarithm of a standard deviation: a factor of 2.2
MAX_STEPS, MAX_STATIONS = 14, 200  # of one season, and of a step: 2 seconds a season
MAX_ITERATIONS = 30


@dataclass(frozen=True, eq=False)
class StepDepartures:
    """The departures of the stations of one step, in transformed values.

    Attributes:
        departure: Observation minus background equivalent (N,).
        position: Unit vectors of the stations (N, 3).
        height: Height above the relief, km (N,).
        land: Smooth land fraction (N,).
        error: Stated standard deviation (N,), NaN where the law's noise replaces it.
    """

    departure: Array
    position: Array
    height: Array
    land: Array
    error: Array

    def thin(self) -> StepDepartures:
        """Return at most as many stations as are needed, spread over their order."""
        count = len(self.departure)
        if count <= MAX_STATIONS:
            return self
        chosen = np.linspace(0, count - 1, MAX_STATIONS).round().astype(int)
        names = ("departure", "position", "height", "land", "error")
        return StepDepartures(*(getattr(self, name)[chosen] for name in names))


class _Likelihood:
    """Minus the log-likelihood of one step as a function of the logarithms of the law."""

    def __init__(self, step: StepDepartures, law: AnomalyLaw) -> None:
        position = torch.from_numpy(step.position)
        cosine = (position @ position.T).clamp(-1, 1)
        square = (EARTH_RADIUS_KM * cosine.acos()) ** 2
        self.departure = torch.from_numpy(step.departure)
        land, height = torch.from_numpy(step.land) - 1, torch.from_numpy(step.height)
        free = torch.from_numpy(np.isnan(step.error)).double()
        self.parts = torch.stack([
            *(torch.exp(-square / (2 * length**2)) for length in law.lengths),
            torch.diag(free), torch.outer(land, land), torch.outer(height, height),
            torch.ones_like(square),
        ])  # fmt: skip
        stated = torch.from_numpy(np.nan_to_num(step.error)) ** 2
        jitter = 1e-6 * max(float(np.mean(step.departure**2)), 1e-12)
        self.fixed = torch.diag(stated + jitter)

    def __call__(self, log_stds: Tensor) -> Tensor:
        variances = (2 * log_stds).exp()
        covariance = self.fixed + torch.tensordot(variances, self.parts, dims=1)
        root = torch.linalg.cholesky(covariance)
        white = torch.linalg.solve_triangular(root, self.departure[:, None], upper=False)
        total: Tensor = white.square().sum() / 2 + root.diagonal().log().sum()
        return total


def estimate_law(
    steps: Sequence[StepDepartures], default: AnomalyLaw, width: float = PRIOR_WIDTH
) -> AnomalyLaw:
    """Return the law of the largest posterior density, the default without departures.

    Args:
        steps: The departures of some steps.
        default: The law before any data.
        width: Standard deviation of the logarithm of each of its standard deviations.
    """
    from scipy.optimize import minimize

    chosen = [step.thin() for step in spread_choice(steps, MAX_STEPS) if len(step.departure) > 1]
    if not chosen:
        return default
    likelihoods = [_Likelihood(step, default) for step in chosen]
    start = np.log(np.array(default.values))

    def objective(x: Array) -> tuple[float, Array]:
        log_stds = torch.tensor(x, requires_grad=True)
        away = (log_stds - torch.from_numpy(start)) / width
        total = away.square().sum() / 2
        for likelihood in likelihoods:
            total = total + likelihood(log_stds)
        (gradient,) = torch.autograd.grad(total, log_stds)
        return float(total.detach()), gradient.numpy()

    bounds = [(value - 4, value + 4) for value in start]
    found = minimize(
        objective, start, jac=True, method="L-BFGS-B", bounds=bounds,
        options={"maxiter": MAX_ITERATIONS},
    )  # fmt: skip
    return default.with_values(tuple(float(v) for v in np.exp(found.x)))


def spread_choice(items: Sequence[StepDepartures], count: int) -> list[StepDepartures]:
    """Return up to ``count`` items, spread over their order."""
    if len(items) <= count:
        return list(items)
    return [items[n] for n in np.linspace(0, len(items) - 1, count).round().astype(int)]
