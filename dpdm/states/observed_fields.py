"""The fields to estimate from observations, around coarse fields, the climatology, or nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.read import open_fields
from dpdm.fields.reference_climatology import NONE
from dpdm.fields.value_checks import common_missing_codes
from dpdm.prior import Prior, check_field_prior
from dpdm.prior.model_card import warn_if_unskilled
from dpdm.states.climatological_background import climatological_space
from dpdm.states.field_domain import fit_field_space
from dpdm.states.fields import FieldSpace
from dpdm.states.observed_steps import Dates, observed_axis, steps_between
from dpdm.states.options import Request
from dpdm.states.station_domain import (
    check_any_inside,
    missing_target_error,
    open_target_grids,
)


def observed_fields(prior: Prior, table: pd.DataFrame, request: Request) -> FieldSpace:
    """Return the fields to estimate from observations."""
    if table["lat"].isna().all() and not {"component", "y"}.isdisjoint(table):
        raise DpdmError(
            f"The observations are of trajectories, and the prior {request.prior} is of fields on "
            "the Earth.",
            "Use a prior of trajectories: dpdm train --window makes one.",
        )
    warn_if_unskilled(prior.contract, request.prior)
    check_field_prior(prior)
    files, dates = request.files, request.observations.dates
    space = None if files.coarse else space_of_stations(prior, table, request)
    if space is None:
        if files.coarse is None and files.grid is None:
            raise missing_target_error(table, request.ensemble.bbox is not None)
        physics = not request.observations.coarse_error  # its law has the network's variables
        space = fit_field_space(
            files.coarse, prior, request.ensemble, files.grid, files.statics, physics
        )
    return space if dates is None else select_dates(space, dates)


def space_of_stations(prior: Prior, table: pd.DataFrame, request: Request) -> FieldSpace | None:
    """Return the fields around the climatology, None without a climatology or a domain."""
    options, target = request.ensemble, request.files.grid
    if not prior.takes_reference or options.climatology == NONE:
        return None
    if target is None and options.bbox is None:
        raise missing_target_error(table)
    grids = open_target_grids(prior, target, options)
    check_any_inside(table, grids[1] or grids[0])
    axis = target_axis(request) if isinstance(target, Path) else None
    if axis is None:
        axis = observed_axis(table, prior.contract, grids[0])
    return climatological_space(prior, axis, grids, options, request.files.statics, target)


def target_axis(request: Request) -> xr.Dataset | None:
    """Return time and bounds of the target, None if it has no time axis."""
    codes = common_missing_codes(request.ensemble.missing)
    assert isinstance(request.files.grid, Path)
    fields = open_fields(request.files.grid, needed=(), missing=codes)
    if "time" not in fields.dims:
        return None
    names = (n for n in ("time", "time_bnds") if n in fields.variables)
    return xr.Dataset(coords={name: fields[name].variable for name in names})


def select_dates(space: FieldSpace, dates: Dates) -> FieldSpace:
    """Return the space of the steps in a period."""
    steps = steps_between(space.coarse, dates)
    return replace(space, coarse=space.coarse.isel(time=steps))
