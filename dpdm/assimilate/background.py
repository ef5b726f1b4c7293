r"""Error of the coarse input: a smooth Gaussian error that is added to the members.

The prior takes the coarse field as exact, so its members differ from it only by what the coarse
cells do not resolve. Where the truth is the field f plus an error b of the coarse input,

.. math:: y = A(f) + b + e, \qquad b = s \, L z, \quad z \sim N(0, I),

with L the root of a Gaussian correlation between the coarse cells, interpolated, the members of f
are drawn with :math:`R + G G^T` for the errors' covariance, where G = s A L, and b then belongs to
each member by Matheron's rule, which is exact:

.. math:: z = \tilde z + G^T (R + G G^T)^{-1} (y - A(f) - G \tilde z - \tilde e)

with :math:`\tilde z, \tilde e` independent draws. Without observations b is an independent draw.

References:
    Wilson et al. (2020), Efficiently sampling functions from Gaussian process posteriors,
    https://arxiv.org/abs/2002.09309, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpdm.constants import EARTH_RADIUS
from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid
from dpdm.fields.regrid import bilinear_matrices
from dpdm.operators.geometry import globe_layout
from dpdm.operators.interpolation import point_operator

Array = NDArray[np.float64]
MAX_COARSE_CELLS = 3000  # their correlation matrix is dense
EARTH_RADIUS_KM = EARTH_RADIUS / 1e3


@dataclass(frozen=True, eq=False)
class CoarseError:
    """The distribution of the error of the coarse input.

    Attributes:
        source: The coarse grid.
        target: The fine grid.
        std: Standard deviation of each channel (C,), physical units, 0 for none.
        length: Correlation length, km.
    """

    source: Grid
    target: Grid
    std: Tensor
    length: float

    @cached_property
    def correlation_root(self) -> Tensor:
        """Return the root of the correlation between coarse cells, (n, n)."""
        lat, lon = (np.radians(a).ravel() for a in np.meshgrid(
            self.source.lat, self.source.lon, indexing="ij"
        ))  # fmt: skip
        cosine = np.cos(lat) * np.cos(lat[:, None]) * np.cos(lon - lon[:, None])
        distance = EARTH_RADIUS_KM * np.arccos(
            (cosine + np.sin(lat) * np.sin(lat[:, None])).clip(-1, 1)
        )
        values, vectors = np.linalg.eigh(np.exp(-((distance / self.length) ** 2) / 2))
        return torch.from_numpy(vectors * np.sqrt(values.clip(0)))

    def field(self, z: Tensor) -> Tensor:
        """Return the error (C, H, W) of z (C, n)."""
        coarse = (z @ self.correlation_root.T).reshape(-1, *self.source.shape)
        rows, columns = (
            torch.from_numpy(m.toarray()) for m in bilinear_matrices(self.source, self.target)
        )
        return self.std[:, None, None] * (rows @ coarse @ columns.T)

    def response(self, lat: Array, lon: Array, channel: Tensor) -> Tensor:
        """Return G (N, n), the response of observations to z of their channel."""
        links = point_operator(globe_layout(self.source.lat, self.source.lon), lat, lon)
        basis = self.correlation_root.T.reshape(-1, 1, *self.source.shape)
        return self.std[channel][:, None] * links(basis).T


def innovation_covariance(g: Tensor, error: Tensor, channel: Tensor) -> Tensor:
    """Return R + G G^T (N, N); errors of different channels are independent."""
    same = channel[:, None] == channel
    return torch.diag(error**2) + same * (g @ g.T)


def condition_error(
    g: Tensor, error: Tensor, channel: Tensor, departure: Tensor, z: Tensor, e: Tensor
) -> Tensor:
    """Return z (C, n) given the departures y - A(f), by Matheron's rule.

    Args:
        g: Response of the observations to z, (N, n).
        error: Standard deviations of the observations, (N,).
        channel: Channel of each, (N,).
        departure: y - A(f), with shape (N,).
        z: Standard normal draws, (C, n).
        e: Standard normal draws, (N,).
    """
    residual = departure - (g * z[channel]).sum(1) - error * e
    weights = torch.linalg.solve(innovation_covariance(g, error, channel), residual)
    out = z.clone()
    return out.index_add_(0, channel, g * weights[:, None])


def build_coarse_error(
    names: Sequence[str],
    source: Grid | None,
    target: Grid,
    std: Mapping[str, float],
    length: float,
) -> CoarseError | None:
    """Return the error of the coarse input, None where no standard deviation is above 0."""
    if std and source is None:
        raise DpdmError("--coarse-error is stated, and there is no --coarse.", "Leave it out.")
    for name, value in std.items():
        if not (value >= 0 and math.isfinite(value)):
            raise DpdmError(f"The coarse error of {name} is {value:g}.", "Give 0 or more.")
        if name not in names:
            raise DpdmError(
                f"--coarse-error names {name}, which is not a variable of the prior.",
                f"Its variables are {', '.join(names)}.",
            )
    if source is None or not any(std.values()):
        return None
    if (count := source.shape[0] * source.shape[1]) > MAX_COARSE_CELLS:
        raise DpdmError(
            f"--coarse-error is for coarse fields of up to {MAX_COARSE_CELLS} cells, and "
            f"these have {count}.",
            "Cut the coarse fields to the region.",
        )
    each = torch.tensor([float(std.get(name, 0.0)) for name in names], dtype=torch.float64)
    return CoarseError(source, target, each, length)
