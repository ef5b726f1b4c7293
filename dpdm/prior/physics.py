"""Variables of a prior that need no network: surface pressure and winds, by physics.

They follow the variables of the network: temperature where pressure needs it and the network has
none, then the winds, and pressure last, because it depends on the temperature of its member. x of
each is a smooth Gaussian field (`dpdm.diffusion.gaussian_fields`). What depends on the coarse
fields of a step, base and spread, is prepared in `dpdm.states`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from dpdm.constants import LAPSE_RATE, STANDARD_TEMPERATURE
from dpdm.diffusion.block_means import BlockMeans, log_shift, solve_identity
from dpdm.fields.variables import PRESSURE, TEMPERATURE
from dpdm.operators.interpolation import pressure_log_ratio
from dpdm.prior import Prior
from dpdm.prior.normaliser import Normaliser, ReferenceState
from dpdm.prior.pressure import CLIMATE_ERRORS, STANDARD_ERROR, WEATHER_ERROR
from dpdm.prior.variable_spec import VariableSpec
from dpdm.prior.winds import WINDS, correlation_length

LENGTHS = {TEMPERATURE: 4.0, PRESSURE: 0.75}  # cells, of the correlation of x
SPECS = {
    TEMPERATURE: VariableSpec(
        TEMPERATURE, "air_temperature", "2 metre temperature", "K", "identity",
        STANDARD_TEMPERATURE, STANDARD_ERROR, ((1.0, WEATHER_ERROR),),
    ),
    "u10": VariableSpec(
        "u10", "eastward_wind", "10 metre eastward wind", "m s-1", "identity", 0.0, 5.0,
        ((1.0, 0.5),),
    ),
    "v10": VariableSpec(
        "v10", "northward_wind", "10 metre northward wind", "m s-1", "identity", 0.0, 5.0,
        ((1.0, 0.5),),
    ),
    PRESSURE: VariableSpec(
        PRESSURE, "surface_air_pressure", "surface pressure", "Pa", "log",
        float(np.log(1e5)), 0.1, ((1.0, 1e-3),),
    ),
}  # fmt: skip
PHYSICAL = (*WINDS, PRESSURE)  # in the order of a prior's variables


@dataclass(frozen=True)
class PhysicalNormaliser(Normaliser):
    """Convert fields, the last of which no network draws, to normalised x, and back.

    Attributes:
        drawn: Number of variables that a network draws, the first ones.
        height: Height of the cells (H, W), m, for pressure.
        offset: The same minus the interpolated height of the coarse cells (H, W), m.
        climate_error: Standard deviation of temperature around its climatology, K, where the
            network draws none.
    """

    drawn: int = 0
    height: Tensor = field(default_factory=lambda: torch.zeros(0))
    offset: Tensor = field(default_factory=lambda: torch.zeros(0))
    climate_error: float = WEATHER_ERROR

    @cached_property
    def network(self) -> Normaliser:
        """Return the scaling of the variables that the network draws."""
        return Normaliser(self.channels[: self.drawn])

    @cached_property
    def physical(self) -> list[str]:
        """List the variables that no network draws."""
        return self.names[self.drawn :]

    @property
    def has_pressure(self) -> bool:
        """Tell whether surface pressure is one of them, which is then the last."""
        return PRESSURE in self.physical

    @property
    def takes_reference(self) -> bool:
        """Tell whether the network has a scale around a reference state."""
        return self.network.takes_reference

    def lengths(self, factor: float) -> tuple[float, ...]:
        """Return the correlation lengths of the variables that no network draws, cells."""
        return tuple(LENGTHS.get(n, correlation_length(factor)) for n in self.physical)

    def log_ratio(self, values: Tensor) -> Tensor:
        """Return ln of the pressure at the interpolated height over surface pressure (..., H, W).

        On another grid, which is that of the coarse cells, both heights are the same.
        """
        if values.shape[-2:] != self.offset.shape:
            return torch.zeros_like(values[..., 0, :, :])
        temperature = values[..., self.names.index(TEMPERATURE), :, :]
        return pressure_log_ratio(-self.offset.to(values), temperature)

    def forward(self, physical: Tensor) -> Tensor:
        """Return transformed values, with the shape (..., C, H, W) of the input."""
        out = super().forward(physical)
        return _add_to_last(out, self.log_ratio(physical)) if self.has_pressure else out

    def inverse(self, modelled: Tensor) -> Tensor:
        """Return physical values, for ``modelled`` (..., C, H, W)."""
        return self.from_smooth_height(super().inverse(modelled))

    def expectation(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Return physical means, for means and variances (..., C, H, W) of modelled values."""
        return self.from_smooth_height(super().expectation(mean, variance))

    def from_smooth_height(self, smooth: Tensor) -> Tensor:
        """Return physical values from those with pressure at the interpolated height."""
        if not self.has_pressure:
            return smooth
        return _scale_last(smooth, (-self.log_ratio(smooth)).exp())

    def base_and_scale(
        self, lerp: Tensor, factor: float, reference: ReferenceState | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return base and scale, for the transformed lerp (C, H, W), NaN where missing."""
        base, scale = Normaliser(self.channels).base_and_scale(lerp, factor)
        if self.drawn:
            part = None if reference is None else reference.first(self.drawn)
            first = self.network.base_and_scale(lerp[: self.drawn], factor, part)
            base[: self.drawn], scale[: self.drawn] = first
        if TEMPERATURE in self.physical:
            number = self.names.index(TEMPERATURE)
            base[number], scale[number] = self.climate_temperature(reference)
        return base, scale

    def climate_temperature(self, reference: ReferenceState | None) -> tuple[Tensor, Tensor]:
        """Return temperature (H, W) where it is not drawn by the network, and its error.

        It is that of the climatology, else that of the standard atmosphere.
        """
        standard = STANDARD_TEMPERATURE - LAPSE_RATE * self.height
        climate = torch.full_like(standard, torch.nan)
        if reference is not None:
            climate = reference.fine[self.names.index(TEMPERATURE)].to(standard)
        known = climate.isfinite()
        error = torch.where(known, self.climate_error, STANDARD_ERROR).to(standard)
        return torch.where(known, climate, standard), error

    def solve_block_means(self, modelled: Tensor, variance: Tensor, blocks: BlockMeans) -> Tensor:
        """Return modelled values (B, C, H, W) with the known block means of winds and pressure.

        Args:
            modelled: Modelled values.
            variance: Their error variance (C, H, W).
            blocks: The known means, of all variables.
        """
        out = modelled.clone()
        for number in (self.names.index(name) for name in WINDS if name in self.physical):
            each = modelled[:, number], variance[number].to(modelled)
            out[:, number] = solve_identity(*each, blocks, number)
        if not self.has_pressure:
            return out
        pressure = self.inverse(out)[..., -1, :, :]
        return _add_to_last(out, log_shift(pressure, blocks, len(self.channels) - 1))


def _add_to_last(values: Tensor, added: Tensor) -> Tensor:
    return torch.cat([values[..., :-1, :, :], values[..., -1:, :, :] + added[..., None, :, :]], -3)


def _scale_last(values: Tensor, ratio: Tensor) -> Tensor:
    return torch.cat([values[..., :-1, :, :], values[..., -1:, :, :] * ratio[..., None, :, :]], -3)


def add_physical_variables(
    prior: Prior, names: Sequence[str], drawn: bool, period: str = ""
) -> Prior:
    """Return a prior of fields that also has variables by physics, after its own.

    Args:
        prior: A prior without them.
        names: Some of `PHYSICAL`.
        drawn: Whether the network's variables are drawn; without them the prior takes any step,
            spacing and factor.
        period: Period of a step of the coarse fields, empty if unknown.
    """
    channels = prior.normaliser.channels if drawn else ()
    needed = [name for name in PHYSICAL if name in names]
    if PRESSURE in names and all(channel.name != TEMPERATURE for channel in channels):
        needed = [TEMPERATURE, *needed]
    normaliser = PhysicalNormaliser(
        (*channels, *(SPECS[name] for name in needed)),
        len(channels),
        climate_error=CLIMATE_ERRORS.get(period, WEATHER_ERROR),
    )
    if drawn:
        return replace(prior, normaliser=normaliser)
    contract = replace(prior.contract, factors=(1, 1000), period="", cadence=0.0)
    return replace(prior, normaliser=normaliser, contract=contract, coarse={}, reference={})
