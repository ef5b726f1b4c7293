"""What the prior expects at observations, from one evaluation.

Modelled values are taken as Gaussian, with the mean and the variance that the network gives, as
wide as the members' are made. In each of the fields drawn from that, all cells have the same rank:
so every value at a point runs through its quantiles. Functions of the wind are the exception, for
there components and neighbours would cancel: each cell has a rank of its own. How cells go
together is not asked, so means over areas, and slopes, come out too wide rather than too narrow,
and nothing is turned away that should not be.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpdm.draw import Posterior
from dpdm.types import Operator

Array = NDArray[np.float64]
QUANTILES = 33


def quantiles(posterior: Posterior, operator: Operator, of_wind: NDArray[np.bool_]) -> Array:
    """Return quantiles of the prior at observations (N, Q), from one evaluation.

    Args:
        posterior: What has seen no observation yet.
        operator: From physical fields to values.
        of_wind: Which of the values are functions of both components of the wind, (N,).
    """
    mean, variance = posterior.moments()
    deviation = posterior.how.inflation * variance.sqrt()
    normal = torch.special.ndtri((torch.arange(QUANTILES).double() + 0.5) / QUANTILES)

    def seen(ranks: Tensor) -> Array:
        physical = posterior.prior.normaliser.inverse(mean + deviation * ranks)
        values: Array = operator(physical).T.numpy()
        return values

    out = seen(normal.reshape(-1, *[1] * mean.ndim))
    if of_wind.any():
        dice = torch.Generator().manual_seed(0)
        order = torch.rand(QUANTILES, *mean.shape, generator=dice).argsort(0)
        out[of_wind] = seen(normal[order])[of_wind]
    return out
