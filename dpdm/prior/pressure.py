r"""Surface pressure by physics: the hypsometric equation instead of a network.

With the height z of the cells and :math:`z_s` that of the coarse cells, interpolated, the modelled
value of surface pressure p is the logarithm of the pressure at the height :math:`z_s`, which is
smooth,

.. math:: u = \ln p + \frac{g \, (z - z_s)}{R \, (T + \Gamma (z - z_s) / 2)}

with the temperature T of the same member. The inverse is exact. Its base is the interpolated
logarithm of the coarse pressure, and nothing remains to be learnt but

- the error of interpolation, proportional to the spacing s of the coarse cells,
- the temperature of the layer between z and :math:`z_s`, which is not that at 2 m, and
- the error of the relief, if it is not that of the coarse fields:

.. math:: \sigma_u^2 = (\epsilon s)^2 + \Big(\frac{g (z - z_s)}{R T^2} \sigma_T\Big)^2
          + \Big(\frac{g}{R T} \sigma_z\Big)^2

:math:`\epsilon` and :math:`\sigma_T` are those of an analysis of North America at 91 km, in block
means by 2 to 6, with its own relief and temperature. :math:`\sigma_z` is that of the bundled
relief from ERA5's, 60 S to 75 N without the Alps, as a power of the roughness, the RMS of z minus
its mean over 5 by 5 cells (docs/method.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from torch import Tensor

from dpdm.constants import GAS_CONSTANT, GRAVITY, LAPSE_RATE, STANDARD_TEMPERATURE
from dpdm.diffusion.block_means import BlockMeans, log_shift
from dpdm.fields.variables import PRESSURE, TEMPERATURE
from dpdm.operators.interpolation import pressure_log_ratio
from dpdm.prior import Prior
from dpdm.prior.normaliser import Normaliser, ReferenceState
from dpdm.prior.variable_spec import VariableSpec

Array = NDArray[np.float64]
INTERPOLATION_ERROR = 1e-6  # of ln p, for each km of the coarse spacing
LAYER_ERROR = 5.0  # K, temperature of the layer, where that at 2 m is known
CLIMATE_ERRORS = {"month": 2.0, "season": 2.0, "year": 2.0}  # K, climatology at 2 m
WEATHER_ERROR = 6.5  # K, the same of shorter steps, on land above 1200 m
STANDARD_ERROR = 15.0  # K, standard atmosphere
RELIEF_ERROR, RELIEF_POWER = 0.52, 0.9  # m, of the bundled relief, roughness of 1 m, by four
FACTOR_POWER = 0.1  # of that error, which the means of larger cells increase
ROUGH_CELLS, NEAR_CELLS = 5, 9
LENGTHS = {TEMPERATURE: 4.0, PRESSURE: 0.75}  # cells, of the correlation of x

SPECS = {
    TEMPERATURE: VariableSpec(
        TEMPERATURE, "air_temperature", "2 metre temperature", "K", "identity",
        STANDARD_TEMPERATURE, STANDARD_ERROR, ((1.0, WEATHER_ERROR),),
    ),
    PRESSURE: VariableSpec(
        PRESSURE, "surface_air_pressure", "surface pressure", "Pa", "log",
        float(np.log(1e5)), 0.1, ((1.0, 1e-3),),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class PressureNormaliser(Normaliser):
    """Convert fields with surface pressure, the last variable, to normalised x, and back.

    Attributes:
        drawn: Number of variables that a network draws, the first ones.
        height: Height of the cells (H, W), m.
        offset: The same minus the interpolated height of the coarse cells (H, W), m.
        spread: Standard deviation of u (H, W).
        climate_error: Standard deviation of temperature around its climatology, K, where the
            network draws none.
    """

    drawn: int = 0
    height: Tensor = field(default_factory=lambda: torch.zeros(0))
    offset: Tensor = field(default_factory=lambda: torch.zeros(0))
    spread: Tensor = field(default_factory=lambda: torch.zeros(0))
    climate_error: float = WEATHER_ERROR

    @cached_property
    def network(self) -> Normaliser:
        """Return the scaling of the variables that the network draws."""
        return Normaliser(self.channels[: self.drawn])

    @property
    def takes_reference(self) -> bool:
        """Tell whether the network has a scale around a reference state."""
        return self.network.takes_reference

    @property
    def lengths(self) -> tuple[float, ...]:
        """Return the correlation lengths of the variables that no network draws, cells."""
        return tuple(LENGTHS[c.name] for c in self.channels[self.drawn :])

    def log_ratio(self, physical: Tensor) -> Tensor:
        """Return ln of the pressure at the interpolated height over surface pressure (..., H, W).

        On another grid, which is that of the coarse cells, both heights are the same.
        """
        if physical.shape[-2:] != self.offset.shape:
            return torch.zeros_like(physical[..., 0, :, :])
        temperature = physical[..., self.names.index(TEMPERATURE), :, :]
        return pressure_log_ratio(-self.offset.to(physical), temperature)

    def forward(self, physical: Tensor) -> Tensor:
        """Return transformed values, with the shape (..., C, H, W) of the input."""
        return _add_to_last(super().forward(physical), self.log_ratio(physical))

    def inverse(self, modelled: Tensor) -> Tensor:
        """Return physical values, for ``modelled`` (..., C, H, W)."""
        smooth = super().inverse(modelled)
        return _scale_last(smooth, (-self.log_ratio(smooth)).exp())

    def expectation(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Return physical means, for means and variances (..., C, H, W) of modelled values."""
        smooth = super().expectation(mean, variance)
        return _scale_last(smooth, (-self.log_ratio(smooth)).exp())

    def base_and_scale(
        self, lerp: Tensor, factor: float, reference: ReferenceState | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return base and scale, for the transformed lerp (C, H, W), NaN where missing."""
        n, pairs = self.drawn, []
        if n:
            part = None if reference is None else reference.first(n)
            pairs.append(self.network.base_and_scale(lerp[:n], factor, part))
        if len(self.channels) - n > 1:
            pairs.append(self.climate_temperature(reference))
        usual = torch.full_like(self.spread, self.channels[-1].mean).to(lerp)
        pairs.append((torch.where(lerp[-1].isfinite(), lerp[-1], usual)[None], self.spread[None]))
        base, scale = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        return base, scale.to(base)

    def climate_temperature(self, reference: ReferenceState | None) -> tuple[Tensor, Tensor]:
        """Return temperature (1, H, W) where it is not drawn by the network, and its error.

        It is that of the climatology, else that of the standard atmosphere.
        """
        standard = STANDARD_TEMPERATURE - LAPSE_RATE * self.height
        climate = torch.full_like(standard, torch.nan)
        if reference is not None:
            climate = reference.fine[self.names.index(TEMPERATURE)].to(standard)
        known = climate.isfinite()
        error = torch.where(known, self.climate_error, STANDARD_ERROR).to(standard)
        return torch.where(known, climate, standard)[None], error[None]

    def solve_pressure(self, modelled: Tensor, blocks: BlockMeans) -> Tensor:
        """Return modelled values (B, C, H, W) with the known block means of pressure."""
        pressure = self.inverse(modelled)[..., -1, :, :]
        return _add_to_last(modelled, log_shift(pressure, blocks, len(self.channels) - 1))


def _add_to_last(values: Tensor, added: Tensor) -> Tensor:
    return torch.cat([values[..., :-1, :, :], values[..., -1:, :, :] + added[..., None, :, :]], -3)


def _scale_last(values: Tensor, ratio: Tensor) -> Tensor:
    return torch.cat([values[..., :-1, :, :], values[..., -1:, :, :] * ratio[..., None, :, :]], -3)


def add_pressure(prior: Prior, drawn: bool, period: str) -> Prior:
    """Return a prior of fields that has surface pressure by physics as its last variable.

    Args:
        prior: A prior without surface pressure.
        drawn: Whether the network's variables are drawn; without them it takes any step, spacing
            and factor.
        period: Period of a step of the coarse fields, empty if unknown.
    """
    channels = prior.normaliser.channels if drawn else ()
    climate_error = CLIMATE_ERRORS.get(period, WEATHER_ERROR)
    if all(channel.name != TEMPERATURE for channel in channels):
        channels = (*channels, SPECS[TEMPERATURE])
    count = len(prior.normaliser.channels) if drawn else 0
    normaliser = PressureNormaliser(
        (*channels, SPECS[PRESSURE]), count, climate_error=climate_error
    )
    if drawn:
        return replace(prior, normaliser=normaliser)
    contract = replace(prior.contract, factors=(1, 1000), period="", cadence=0.0)
    return replace(prior, normaliser=normaliser, contract=contract, coarse={}, reference={})


def pressure_spread(height: Array, offset: Array, spacing: float, relief_error: Array) -> Array:
    """Return the standard deviation of u (H, W).

    Args:
        height: Height of the cells, m.
        offset: The same minus the interpolated height of the coarse cells, m.
        spacing: Distance of the coarse cells, km.
        relief_error: Standard deviation of the offset, m.
    """
    temperature = STANDARD_TEMPERATURE - LAPSE_RATE * height
    rate = GRAVITY / (GAS_CONSTANT * temperature)
    layer = rate * offset / temperature * LAYER_ERROR
    return np.sqrt((INTERPOLATION_ERROR * spacing) ** 2 + layer**2 + (rate * relief_error) ** 2)


def bundled_relief_error(height: Array, factor: float, cyclic: bool = False) -> Array:
    """Return the standard deviation of the offset of the bundled relief (H, W), m.

    Args:
        height: The bundled relief, m.
        factor: Coarse over fine spacing.
        cyclic: Whether the columns are cyclic.
    """
    modes = ("nearest", "wrap" if cyclic else "nearest")
    detail = height - uniform_filter(height, ROUGH_CELLS, mode=modes)
    roughness = np.sqrt(uniform_filter(detail**2, NEAR_CELLS, mode=modes).clip(0))
    error: Array = RELIEF_ERROR * (factor / 4) ** FACTOR_POWER * roughness**RELIEF_POWER
    return error
