"""Variables of coarse fields that need no network, for a prior that has none of them itself.

`PhysicalFields` prepares what they need of the coarse fields: base and spread of each step.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
import xarray as xr
from torch import Tensor

from dpdm.errors import DpdmWarning
from dpdm.fields.file_names import NAME_ATTR
from dpdm.fields.grid import Grid
from dpdm.fields.time import period_of, time_bounds
from dpdm.fields.variables import PRESSURE, SURFACE_VARIABLES
from dpdm.prior import Prior
from dpdm.prior.physics import PHYSICAL, add_physical_variables
from dpdm.prior.winds import WINDS
from dpdm.states.surface_pressure import SEA_LEVEL, SOURCE, PressureReduction, fit_pressure
from dpdm.states.surface_winds import WindInterpolation, fit_winds

SOURCES = {PRESSURE: (PRESSURE, SEA_LEVEL)}  # the first that a file has
Reference = tuple[Tensor, Tensor]


def physical_names(prior: Prior) -> tuple[str, ...]:
    """Return the variables that a prior has by physics, if a file has them."""
    return tuple(name for name in PHYSICAL if name not in prior.normaliser.names)


def physical_sources(prior: Prior) -> tuple[str, ...]:
    """Return the variables of a file from which they are got."""
    return tuple(s for name in physical_names(prior) for s in SOURCES.get(name, (name,)))


def take_physical(fields: xr.Dataset, prior: Prior) -> xr.Dataset:
    """Return fields with the source of surface pressure under its name, if there is one."""
    if PRESSURE not in physical_names(prior):
        return fields
    source = next((name for name in SOURCES[PRESSURE] if name in fields), None)
    if source is None:
        return fields
    known = SURFACE_VARIABLES[PRESSURE]
    names = {"standard_name": known.standard_name, "long_name": known.long_name}
    array = fields[source].assign_attrs(names | {SOURCE: source})
    if source != PRESSURE:
        array.attrs.pop(NAME_ATTR, None)  # of another quantity
    return fields.assign({PRESSURE: array})


def physical_in(fields: xr.Dataset, prior: Prior) -> list[str]:
    """Return the variables of fields that no network draws."""
    return [name for name in physical_names(prior) if name in fields]


def warn_of_omission(fields: xr.Dataset, prior: Prior) -> None:
    """Warn that variables of a file are not drawn."""
    if names := physical_in(take_physical(fields, prior), prior):
        words = " and ".join(SURFACE_VARIABLES[name].long_name for name in names)
        warnings.warn(
            f"Left out: {words}. An error of the coarse fields is for variables that the network "
            "draws; for the others, state none.",
            DpdmWarning,
            stacklevel=2,
        )


def draws_network(coarse: xr.Dataset, prior: Prior) -> bool:
    """Tell whether the network draws a variable of coarse fields."""
    return any(c.name in coarse for c in prior.normaliser.network.channels)


def add_physics(coarse: xr.Dataset, prior: Prior) -> Prior:
    """Return a prior with the variables of coarse fields that need no network."""
    names = physical_in(coarse, prior)
    if not names:
        return prior
    period = period_of(coarse.get("time"), time_bounds(coarse))
    return add_physical_variables(prior, names, draws_network(coarse, prior), period)


@dataclass(frozen=True)
class PhysicalFields:
    """What variables without a network need of the coarse fields.

    Attributes:
        pressure: The reduction of surface pressure, or None.
        winds: The interpolation of winds, or None.
    """

    pressure: PressureReduction | None = None
    winds: WindInterpolation | None = None

    @property
    def notes(self) -> dict[str, object]:
        """Describe how the variables are made, for the attributes of the output."""
        known = {"surface_pressure": self.pressure, "surface_winds": self.winds}
        return {name: part.note for name, part in known.items() if part is not None}

    def describe(self, coarse: xr.Dataset) -> xr.Dataset:
        """Return coarse fields with the method of each variable as a comment."""
        comments = {}
        if self.pressure is not None:
            comments[PRESSURE] = f"By {self.pressure.note}."
        if self.winds is not None:
            comments |= {name: f"By {self.winds.note}." for name in WINDS if name in coarse}
        return coarse.assign({n: coarse[n].assign_attrs(comment=c) for n, c in comments.items()})

    def prepare(
        self,
        lerp: Tensor,
        fields: xr.Dataset,
        grid: Grid,
        names: list[str],
        reference: Reference | None,
        coarse_reference: xr.Dataset | None,
    ) -> tuple[Tensor, Tensor, xr.Dataset]:
        """Return interpolated fields and spreads (C, H, W), and the coarse fields as conditions.

        A spread is NaN where the prior's scaling knows it.

        Args:
            lerp: Interpolated fields (C, H, W).
            fields: Coarse fields of one step.
            grid: The fine grid.
            names: The variables.
            reference: The climatology of the step, and its interpolated coarse means, or None.
            coarse_reference: The climatology of the step on the coarse cells, or None.
        """
        lerp, spread = lerp.clone(), torch.full_like(lerp, torch.nan)
        if self.winds is not None:
            numbers = [names.index(name) for name in WINDS if name in names]
            fine = None if reference is None else reference[0][numbers].numpy()
            known = [names[number] for number in numbers]
            winds, errors = self.winds.interpolate(fields, known, fine, coarse_reference)
            lerp[numbers] = torch.where(
                lerp[numbers].isfinite(), torch.from_numpy(winds), torch.nan
            )
            spread[numbers] = torch.from_numpy(errors)
        if self.pressure is not None:
            lerp = self.pressure.replace_pressure(lerp, fields, grid, names, reference)
            spread[-1] = torch.from_numpy(self.pressure.spread)
            fields = self.pressure.without_sea_level(fields)
        return lerp, spread, fields


def fit_physics(
    prior: Prior, coarse: xr.Dataset, grid: Grid, own: xr.Dataset | None
) -> tuple[Prior, PhysicalFields]:
    """Return a prior whose variables by physics know the surface, and their preparation.

    Args:
        prior: A prior, some of whose variables may be by physics.
        coarse: Coarse fields.
        grid: The fine grid.
        own: The user's own statics, or None.
    """
    prior, pressure = fit_pressure(prior, coarse, grid, own)
    return prior, PhysicalFields(pressure, fit_winds(prior, coarse, grid, own))
