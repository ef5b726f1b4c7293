"""What a coarse file, a prior and a target must have in common, and what to say if not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid, grid_of, refine_grid
from dpdm.fields.level_names import level_attrs
from dpdm.fields.read import open_fields, prefix_file_name
from dpdm.fields.regrid import (
    average_conservative,
    coarsen_fields,
    interpolate_bilinear,
)
from dpdm.fields.statics import make_statics
from dpdm.fields.subset import cells_in_polygons, select_box, select_padded_box
from dpdm.fields.value_checks import MissingCodes, common_missing_codes
from dpdm.prior import Prior, check_field_prior
from dpdm.prior.skill import warn_if_unskilled
from dpdm.states.fields import FieldFile, FieldSpace
from dpdm.states.options import EnsembleOptions, FieldConditioning, Request
from dpdm.states.requirements import (
    check_complete_state,
    check_finer,
    check_spacing,
    check_target,
    period_mismatch_note,
    prior_variable_names,
    select_prior_variables,
)
from dpdm.states.sampling import choose_sampler_config

BOX_MARGIN_CELLS = (
    12  # cells; with 12 the mean at the edge of a box is within 0.08 of its deviation
)


def fit_field_space(
    path: Path | None,
    prior: Prior,
    options: EnsembleOptions,
    target: Path | None,
    own_statics: Path | None,
) -> FieldSpace:
    """Return a space of fields whose parts fit each other.

    Without a coarse file, the target says where and when, and nothing else is known.
    """
    check_field_prior(prior)
    if path is None:
        nothing = blank_fields(target, prior, options.missing)
        return make_field_space(nothing, prior, options, target, own_statics)
    codes = options.missing
    opened = open_fields(
        path, None, options.rename, options.units, prior_variable_names(prior), codes
    )
    coarse = select_prior_variables(opened, prior, path, options.rename)
    return make_field_space(coarse, prior, options, target, own_statics, path)


def make_field_space(
    coarse: xr.Dataset,
    prior: Prior,
    options: EnsembleOptions,
    target: Path | None,
    own_statics: Path | None,
    path: Path | None = None,
) -> FieldSpace:
    """Return the space of coarse fields that were opened from a path, or are unknown."""
    source = grid_of(coarse)
    note = period_mismatch_note(coarse, prior, path or target or "", options.period)
    grid, kept = build_target_grid(source, prior, target, options)
    with prefix_file_name(target or path or ""):
        if path is not None:
            check_finer(source, grid)
        check_spacing(grid, prior)
        if path is not None:
            check_target(source, grid, prior, options.consistent)
    outside = None if options.mask is None else ~cells_in_polygons(kept or grid, options.mask)
    codes = common_missing_codes(options.missing)
    own = None if own_statics is None else open_fields(own_statics, missing=codes)
    ground = make_statics(grid, own)[["topography", "land_fraction"]]
    smooth = interpolate_bilinear(average_conservative(ground, source), grid)
    below, above = (np.stack([g[n].values.astype(float) for n in g]) for g in (ground, smooth))
    way = choose_sampler_config(options, prior)
    prior.denoiser.to(way.device)
    blind = path is None
    return FieldSpace(coarse, prior, grid, below, above, options, way, blind, outside, kept, note)


def build_target_grid(
    source: Grid, prior: Prior, target: Path | None, options: EnsembleOptions
) -> tuple[Grid, Grid | None]:
    """Return the grid to draw on, the user's or the source's cells split, and the box of it.

    Around the box lies a margin, for the network is less sure of itself at an edge; none where
    block means are honoured, for it would cut blocks.
    """
    grid = (
        refine_grid(source, prior.contract.spacing)
        if target is None
        else grid_of(open_fields(target, needed=(), missing=common_missing_codes(options.missing)))
    )
    if options.bbox is None:
        return grid, None
    margin = 0 if options.consistent else BOX_MARGIN_CELLS
    return select_padded_box(grid, options.bbox, margin), select_box(grid, options.bbox)


def blank_fields(target: Path | None, prior: Prior, missing: MissingCodes = {}) -> xr.Dataset:
    """Return fields on a target's grid, at its times, of which nothing is known."""
    if target is None:
        raise DpdmError(
            "Neither coarse fields nor a target grid was given.",
            "Give --coarse COARSE.nc, or --grid TARGET.nc to do without; or another --prior.",
        )
    like = open_fields(target, needed=(), missing=common_missing_codes(missing))
    kept = like[[n for n in ("time", "time_bnds") if n in like.variables]]
    shape = (*((like.sizes["time"],) if "time" in like.dims else ()), *grid_of(like).shape)
    dims = [d for d in ("time", "lat", "lon") if d != "time" or "time" in like.dims]
    blank = xr.DataArray(np.broadcast_to(np.float32(np.nan), shape), dims=dims)
    known = ("standard_name", "long_name", "units")
    fields = {
        c.name: blank.assign_attrs(
            {k: getattr(c, k) for k in known} | level_attrs(c.name, c.family)
        )
        for c in prior.normaliser.channels
    }
    return xr.Dataset(fields, grid_of(like).coords()).assign_coords(kept.variables)


def open_field_file(
    path: Path, prior: Prior, options: EnsembleOptions, conditioning: FieldConditioning
) -> FieldSpace:
    """Return the fields of a file as states, bound to their block means or to nothing."""
    codes = options.missing
    opened = open_fields(
        path, None, options.rename, options.units, prior_variable_names(prior), codes
    )
    fields = select_prior_variables(opened, prior, path, options.rename)
    check_complete_state(fields, prior, path)
    if conditioning.blind:
        if options.consistent:
            raise DpdmError(
                "--consistent holds block means, and --blind knows none.", "Leave out one of them."
            )
        nothing = blank_fields(path, prior, codes)
        said = {n: nothing[n].assign_attrs(fields[n].attrs) for n in prior.normaliser.names}
        space, factor = (
            make_field_space(nothing.assign(said), prior, options, path, conditioning.statics),
            0,
        )
    else:
        factor = conditioning.factor or greatest_factor(fields, prior)
        coarse = coarsen_fields(fields, factor)
        space = make_field_space(coarse, prior, options, path, conditioning.statics, path)
    way = replace(space.sampler, inflation=1.0)  # the level decides the spread
    return replace(space, sampler=way, file=FieldFile(path, fields, factor))


def observed_fields(prior: Prior, table: pd.DataFrame, request: Request) -> FieldSpace:
    """Return the fields that observations are to inform."""
    if table["lat"].isna().all() and not {"component", "y"}.isdisjoint(table):
        raise DpdmError(
            f"The observations are of trajectories, and the prior {request.prior} knows fields on "
            "the Earth.",
            "Name a prior of trajectories with --prior: dpdm train --window makes one.",
        )
    warn_if_unskilled(prior.contract, request.prior)
    files = request.files
    return fit_field_space(files.coarse, prior, request.ensemble, files.grid, files.statics)


def greatest_factor(fields: xr.Dataset, prior: Prior) -> int:
    """Return the greatest factor of the prior that divides a grid."""
    shape, (least, most) = grid_of(fields).shape, prior.contract.factors
    for factor in range(most, least - 1, -1):
        if not any(n % factor or n == factor for n in shape):
            return factor
    raise DpdmError(
        f"No factor from {least} to {most}, which the prior knows, divides a grid of "
        f"{shape[0]} by {shape[1]} cells.",
        "Cut the field, or say --blind to hold no large scales.",
    )
