"""The specification of a modelled variable, as the header of a prior states it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class VariableSpec:
    """One modelled variable: its names, units and scaling.

    Attributes:
        name: Canonical short name.
        standard_name: CF standard name, empty if unknown.
        long_name: Descriptive name.
        units: Units of the physical values.
        transform: Key of ``TRANSFORMS``.
        mean: Mean of the transformed fine field.
        std: Standard deviation of the transformed fine field.
        residual: Pairs of a factor and the standard deviation of residuals from its lerp.
        level: Pressure or height of the level, Pa or m; 0 for none.
        family: Name of the variable without its level, empty for none.
        reference: alpha, beta and gamma of the scale around a reference state; empty for priors
            that take none.
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
    reference: tuple[float, ...] = ()

    @property
    def transformed_units(self) -> str:
        """Return the units of transformed values."""
        return f"log(1 + {self.units})" if self.transform == "log1p" else self.units

    def residual_std(self, factor: float) -> float:
        """Return the standard deviation of residuals at a factor, by interpolation."""
        factors, stds = np.array(self.residual).T
        return float(np.interp(np.log(factor), np.log(factors), stds))


def variable_spec_attrs(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the attributes of a variable that its specification stores.

    Example:
        >>> variable_spec_attrs({"units": "K", "family": "t", "level": 85000.0})["level"]
        85000.0
    """
    names = ("standard_name", "long_name", "units", "family")
    texts: dict[str, Any] = {name: str(attrs.get(name, "")) for name in names}
    return texts | {"level": float(attrs.get("level", 0.0))}


def count_conditioning_channels(variables: int, reference: bool = False) -> int:
    """Count the conditioning channels of a prior of fields.

    Example:
        >>> count_conditioning_channels(2), count_conditioning_channels(2, reference=True)
        (14, 22)
    """
    return (6 if reference else 2) * variables + 10
