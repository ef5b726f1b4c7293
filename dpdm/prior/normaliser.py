"""The only door between labelled fields and tensors: transforms, scaling, conditioning channels.

The diffusion runs on the **residual to the lerp**, after the transform T of each variable:

.. math:: x = (T(fine) - base) / scale

Where the coarse field is known, base is T(lerp(coarse)), plus the residual climatology where the
prior holds one, and scale is the standard deviation of such residuals at that coarse spacing.
Where it is missing, base and scale are the mean and the standard deviation of the field itself.
So the climate-change signal passes through the base undamped, and nothing is clamped to the range
of the training data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


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
}


@dataclass(frozen=True)
class VariableSpec:
    """One modelled variable: what it is called, and how it is scaled.

    Attributes:
        name: Canonical short name.
        standard_name: CF standard name, empty if unknown.
        long_name: Name for people.
        units: Units of the physical values.
        transform: Key of ``TRANSFORMS``.
        mean: Mean of the transformed fine field.
        std: Standard deviation of the transformed fine field.
        residual: Pairs of a factor and the standard deviation of residuals to its lerp.
        level: Pressure or height of the level, Pa or m; 0 where there is none.
        family: Name of the variable on levels that it belongs to, empty for none.
    """

    name: str
    standard_name: str
    long_name: str
    units: str
    transform: str
    mean: float
    std: float
    residual: tuple[tuple[float, float], ...]
    level: float = 0.0
    family: str = ""

    def residual_std(self, factor: float) -> float:
        """Return the standard deviation of residuals at a factor, by interpolation."""
        factors, stds = np.array(self.residual).T
        return float(np.interp(np.log(factor), np.log(factors), stds))


def variable_spec_attrs(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Return what a channel says of its variable, from the variable's attributes.

    Example:
        >>> variable_spec_attrs({"units": "K", "family": "t", "level": 85000.0})["level"]
        85000.0
    """
    names = ("standard_name", "long_name", "units", "family")
    said: dict[str, Any] = {name: str(attrs.get(name, "")) for name in names}
    return said | {"level": float(attrs.get("level", 0.0))}


@dataclass(frozen=True)
class Normaliser:
    """Scale physical fields to the x that the denoiser knows, and back.

    Attributes:
        channels: The modelled variables, in order.
    """

    channels: tuple[VariableSpec, ...]

    @property
    def names(self) -> list[str]:
        """List the variables' names."""
        return [channel.name for channel in self.channels]

    @property
    def mirror_signs(self) -> Tensor:
        """Give -1 for what a mirror at the equator turns round, with shape (C, 1, 1)."""
        turned = [-1.0 if c.standard_name == "northward_wind" else 1.0 for c in self.channels]
        return torch.tensor(turned, dtype=torch.float64)[:, None, None]

    def forward(self, physical: Tensor) -> Tensor:
        """Return transformed values T(v), with the shape (C, H, W) of the input."""
        return self._apply_by_variable(physical, lambda c, v: TRANSFORMS[c.transform].forward(v))

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

    def base_and_scale(
        self, lerp: Tensor, factor: float, climatology: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return base and scale, for the transformed lerp (C, H, W), NaN where it is missing."""
        known = lerp.isfinite()
        column = (-1, 1, 1)
        mean, std, residual = (
            lerp.new_tensor(each).reshape(column)
            for each in (
                [c.mean for c in self.channels],
                [c.std for c in self.channels],
                [c.residual_std(factor) for c in self.channels],
            )
        )
        base = lerp if climatology is None else lerp + climatology
        return torch.where(known, base, mean), torch.where(known, residual, std)

    def standardise(self, lerp: Tensor) -> Tensor:
        """Return the transformed lerp over its mean and standard deviation."""
        mean = lerp.new_tensor([c.mean for c in self.channels]).reshape(-1, 1, 1)
        std = lerp.new_tensor([c.std for c in self.channels]).reshape(-1, 1, 1)
        return (lerp - mean) / std
