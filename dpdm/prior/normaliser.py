r"""Conversion of labelled fields to tensors: transforms, scaling and conditioning channels.

The diffusion works on the **residual from bilinear interpolation** (the *lerp*), after the
transform T of each variable:

.. math:: x = (T(fine) - base) / scale

Where the coarse field is known, base is T(lerp(coarse)), and scale is the standard deviation s of
such residuals at that coarse spacing. Where it is missing, base and scale are the mean and the
standard deviation of the field itself. So the base retains the climate-change signal, and nothing
is limited to the range of the training data.

**A reference state** is a fine field R that is known beforehand, as the climatology of the place
and month, with its own coarse version. The base is then that of the delta method: T(R) plus the
coarse anomaly, and the scale grows with the size of the anomaly,

.. math:: a = T(lerp(coarse)) - T(lerp(R)), \qquad base = T(R) + a, \qquad
          scale = s \sqrt{\alpha^2 + (\beta a / \gamma)^2}

with :math:`\gamma` the standard deviation of anomalies, which is the scale around R where no
coarse field is known. For a logarithmic transform the sum is a ratio.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from dpdm.prior.variable_spec import VariableSpec


@dataclass(frozen=True)
class Transform:
    """A pair of maps between physical and modelled values.

    Attributes:
        forward: From physical values.
        inverse: Back to physical values.
        expectation: Physical mean, from mean and variance of Gaussian modelled values.
    """

    forward: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]
    expectation: Callable[[Tensor, Tensor], Tensor]


def expected_amount(mean: Tensor, variance: Tensor) -> Tensor:
    """Return E[max(exp(u) - 1, 0)] for Gaussian u.

    Example:
        >>> expected_amount(torch.tensor(2.0), torch.tensor(1e-12)).exp().log().item()
        6.389056...
    """
    deviation = variance.clamp_min(1e-20).sqrt()
    above = torch.special.ndtr((mean + variance) / deviation)
    wet: Tensor = torch.exp(mean + variance / 2) * above - torch.special.ndtr(mean / deviation)
    return wet.clamp_min(0)


TRANSFORMS = {
    "identity": Transform(lambda v: v, lambda u: u, lambda mean, variance: mean),
    "log1p": Transform(
        lambda v: v.clamp_min(0).log1p(), lambda u: u.clamp_min(0).expm1(), expected_amount
    ),
    "log": Transform(torch.log, torch.exp, lambda mean, variance: (mean + variance / 2).exp()),
}


@dataclass(frozen=True)
class Normaliser:
    """Convert physical fields to normalised x, and back.

    Attributes:
        channels: The modelled variables, in order.
    """

    channels: tuple[VariableSpec, ...]

    @property
    def names(self) -> list[str]:
        """List the variables' names."""
        return [channel.name for channel in self.channels]

    @property
    def network(self) -> Normaliser:
        """Return the scaling of the variables that the network draws."""
        return self

    @property
    def mirror_signs(self) -> Tensor:
        """Give -1 for variables that change sign by mirroring at the equator, shape (C, 1, 1)."""
        signs = [-1.0 if c.standard_name == "northward_wind" else 1.0 for c in self.channels]
        return torch.tensor(signs, dtype=torch.float64)[:, None, None]

    def forward(self, physical: Tensor) -> Tensor:
        """Return transformed values T(v), with the shape (C, H, W) of the input."""
        return self._apply_by_variable(physical, lambda c, v: TRANSFORMS[c.transform].forward(v))

    def forward_smooth(self, physical: Tensor) -> Tensor:
        """Return transformed values of interpolated coarse fields (C, H, W)."""
        return Normaliser.forward(self, physical)

    def inverse(self, modelled: Tensor) -> Tensor:
        """Return physical values, for ``modelled`` (..., C, H, W)."""
        return self._apply_by_variable(modelled, lambda c, u: TRANSFORMS[c.transform].inverse(u))

    def expectation(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Return physical means, for means and variances (..., C, H, W) of modelled values."""
        pairs = torch.stack([mean, variance])
        each = self._apply_by_variable(
            pairs, lambda c, mv: TRANSFORMS[c.transform].expectation(*mv)[None]
        )
        return each[0]

    def _apply_by_variable(
        self, values: Tensor, rule: Callable[[VariableSpec, Tensor], Tensor]
    ) -> Tensor:
        parts = values.unbind(-3)
        return torch.stack([rule(c, v) for c, v in zip(self.channels, parts, strict=True)], -3)

    @property
    def takes_reference(self) -> bool:
        """Tell whether all variables have a scale around a reference state."""
        return all(channel.reference for channel in self.channels)

    def base_and_scale(
        self, lerp: Tensor, factor: float, reference: ReferenceState | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return base and scale, for the transformed lerp (C, H, W), NaN where missing."""
        known = lerp.isfinite()
        rows = [(c.mean, c.std, c.residual_std(factor)) for c in self.channels]
        mean, std, residual = lerp.new_tensor(rows).T[..., None, None]
        base, scale = torch.where(known, lerp, mean), torch.where(known, residual, std)
        if reference is None:
            return base, scale
        alpha, beta, gamma = lerp.new_tensor([c.reference for c in self.channels]).T[
            ..., None, None
        ]
        anomaly = (lerp - reference.lerp).nan_to_num()
        spread = residual * (alpha**2 + (beta * anomaly / gamma) ** 2).sqrt()
        referred = reference.known(lerp)
        return (
            torch.where(referred, reference.fine + anomaly, base),
            torch.where(referred, torch.where(known, spread, gamma), scale),
        )

    def standardise(self, lerp: Tensor) -> Tensor:
        """Return the transformed lerp, standardised by mean and standard deviation."""
        mean = lerp.new_tensor([c.mean for c in self.channels]).reshape(-1, 1, 1)
        std = lerp.new_tensor([c.std for c in self.channels]).reshape(-1, 1, 1)
        return (lerp - mean) / std


@dataclass(frozen=True)
class ReferenceState:
    """A fine state that is known beforehand, in transformed values.

    Attributes:
        fine: The state (C, H, W), NaN where unknown.
        lerp: The same, averaged to the coarse grid and interpolated back (C, H, W); NaN without
            coarse fields.
    """

    fine: Tensor
    lerp: Tensor

    def first(self, count: int) -> ReferenceState:
        """Return the state of the first variables."""
        return ReferenceState(self.fine[:count], self.lerp[:count])

    def known(self, lerp: Tensor) -> Tensor:
        """Tell where the state is known, and its coarse version wherever the coarse field is."""
        return self.fine.isfinite() & (self.lerp.isfinite() | lerp.isnan())


@dataclass(frozen=True)
class StaticTensors:
    """Static fields, with shapes (H, W) and (H,).

    Attributes:
        topography: Surface altitude in km, and its subgrid detail (fine minus lerp).
        land: Land fraction, and its subgrid detail.
        lat: Latitudes, degrees.
    """

    topography: tuple[Tensor, Tensor]
    land: tuple[Tensor, Tensor]
    lat: Tensor


def make_reference_channels(
    normaliser: Normaliser, lerp: Tensor, factor: float, reference: ReferenceState | None
) -> Tensor:
    """Return the conditioning channels of a reference state (4 C, H, W), 0 where unknown.

    They are the state, its detail (the state minus its lerp), the coarse anomaly from it, and a
    flag; each in units of its standard deviation.

    Args:
        normaliser: The scaling of the variables.
        lerp: Transformed lerp (C, H, W), NaN where missing.
        factor: Ratio of coarse to fine spacing.
        reference: The state, or None.
    """
    if reference is None:
        return lerp.new_zeros(4 * len(lerp), *lerp.shape[1:])
    rows = [(c.residual_std(factor), c.reference[2]) for c in normaliser.channels]
    residual, gamma = lerp.new_tensor(rows).T[..., None, None]
    known = reference.known(lerp)
    channels = [
        normaliser.standardise(reference.fine), (reference.fine - reference.lerp) / residual,
        (lerp - reference.lerp) / gamma, torch.ones_like(lerp),
    ]  # fmt: skip
    return torch.cat([torch.where(known, each, 0.0).nan_to_num() for each in channels])


def make_conditioning_channels(
    standard: Tensor,
    ground: StaticTensors,
    factor: tuple[float, float] | None,
    season: float | None,
) -> Tensor:
    """Return the conditioning channels, with shape (G, H, W).

    Args:
        standard: Standardised lerp of all variables (C, H, W), NaN where missing.
        ground: Static fields on the same cells.
        factor: Ratio of coarse to fine spacing, along latitude and longitude; None without coarse.
        season: Fraction of the year passed; None for means over seasons or years.
    """
    known = standard.isfinite()
    angle = 2 * np.pi * (season or 0.0)
    on = 0.0 if season is None else 1.0
    detail = 0.0 if factor is None else 1.0
    logs = (0.0, 0.0) if factor is None else tuple(float(np.log2(f)) / 4 for f in factor)
    sine = torch.sin(torch.deg2rad(ground.lat))[:, None].expand(standard.shape[-2:])
    numbers = [on * np.cos(angle), on * np.sin(angle), on, *logs]
    flat = standard.new_tensor(numbers)[:, None, None].expand(-1, *standard.shape[-2:])
    relief = [
        ground.topography[0], ground.topography[1] * detail,
        ground.land[0], ground.land[1] * detail, sine,
    ]  # fmt: skip
    return torch.cat([standard.nan_to_num(), known.to(standard), torch.stack(relief), flat])


def to_tensor(fields: xr.Dataset, names: list[str], shape: tuple[int, int]) -> Tensor:
    """Return the variables of one step (C, H, W) in float64, NaN for absent variables."""
    absent = np.full(shape, np.nan)
    arrays = [
        fields[n].transpose("lat", "lon").values.astype(float) if n in fields else absent
        for n in names
    ]
    return torch.from_numpy(np.stack(arrays))


def make_static_tensors(
    statics: NDArray[np.float64], smooth: NDArray[np.float64], lat: NDArray[np.float64]
) -> StaticTensors:
    """Return topography and land (2, H, W) with their subgrid detail, as float32 tensors."""
    fine, lerp, rows = (
        torch.from_numpy(np.ascontiguousarray(a, dtype=np.float32)) for a in (statics, smooth, lat)
    )
    detail = fine - lerp
    return StaticTensors((fine[0] / 1000, detail[0] / 1000), (fine[1], detail[1]), rows)


def geometric_mean_factor(factor: tuple[float, float]) -> float:
    """Return the geometric mean of the factors along latitude and longitude."""
    return float(np.sqrt(factor[0] * factor[1]))
