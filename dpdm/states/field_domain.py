"""What a coarse file, a prior and a target must have in common, and what to say if not."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from dpdm.errors import DpdmError, DpdmWarning, prefix_file_name, variables_not_found
from dpdm.fields.grid import Grid, grid_of, refine_grid
from dpdm.fields.level_names import level_attrs
from dpdm.fields.plausibility import MissingCodes
from dpdm.fields.read import open_fields, select_member_hint
from dpdm.fields.regrid import (
    average_conservative,
    coarsen_fields,
    interpolate_bilinear,
    is_nested,
)
from dpdm.fields.statics import make_statics
from dpdm.fields.subset import cells_in_polygons, select_box, select_padded_box
from dpdm.fields.time import PERIOD_DAYS, period_of, step_length, time_bounds
from dpdm.fields.time_axis import select_with_bounds
from dpdm.fields.value_checks import common_missing_codes
from dpdm.fields.variables import is_anomaly
from dpdm.prior import Prior, check_field_prior
from dpdm.prior.skill import warn_if_unskilled
from dpdm.states.ensemble import EnsembleOptions
from dpdm.states.fields import FieldFile, FieldSpace
from dpdm.states.request import Request
from dpdm.states.sampling import choose_sampler_config


def select_prior_variables(
    fields: xr.Dataset, prior: Prior, path: Path, rename: Mapping[str, str]
) -> xr.Dataset:
    """Return the variables that the prior has."""
    names = prior.normaliser.names
    families = {channel.family for channel in prior.normaliser.channels}
    for name, old in rename.items():
        if name not in names and name not in families:
            raise DpdmError(
                f"--var {name}={old} names a variable that the prior does not have.",
                f"Its variables are {', '.join(names)}: write --var {names[0]}={old}.",
            )
    found = [n for n in names if n in fields]
    if not found and (departures := [str(n) for n, a in fields.items() if is_anomaly(a)]):
        raise DpdmError(
            f"{path} holds anomalies ({', '.join(departures)}), and the prior's variables are "
            f"{', '.join(names)} themselves.",
            "Add the climatology that they are departures from.",
        )
    if not found:
        raise variables_not_found(path, "the prior's", names, fields.data_vars)
    for channel in prior.normaliser.channels:
        units = (
            fields[channel.name].attrs.get("units") if channel.name in fields else channel.units
        )
        if units != channel.units:
            raise DpdmError(
                f"{path}: {channel.name} is in {units!r}, the prior's in {channel.units!r}.",
                f"Convert it, or declare it: --units {channel.name}='{channel.units}'.",
            )
    if fields.sizes.get("realization", 1) > 1:
        raise DpdmError(
            f"{path} holds {fields.sizes['realization']} members; dpdm downscales one at a time.",
            f"{select_member_hint(fields)} Give each its own --seed.",
        )
    out = select_with_bounds(fields, found)
    return out.squeeze("realization", drop=True) if "realization" in fields.dims else out


def prior_variable_names(prior: Prior) -> list[str]:
    """Return the names of a prior's variables, and of their families."""
    return [name for c in prior.normaliser.channels for name in (c.name, c.family) if name]


LONGER_PERIODS = {
    "month": ("season", "year"),
    "season": ("year",),
}  # means that the season flag covers


def period_mismatch_note(
    fields: xr.Dataset, prior: Prior, path: Path | str, accepted: str = ""
) -> str:
    """Return how the period of the input differs from the prior's, empty where it does not.

    Args:
        fields: Canonical fields.
        prior: A prior of fields.
        path: What a message calls the fields.
        accepted: "any" to go on with a warning where they differ.
    """
    own, given = prior.contract.step, unsupported_period(fields, prior.contract.step)
    if not given:
        return ""
    note = f"steps of {given}, prior of {own}s"
    what = f"{path} has steps of {given}, and the prior was trained on {own}s"
    if accepted != "any":
        shorter = step_length(fields.get("time"), time_bounds(fields)) < PERIOD_DAYS[own][0]
        if shorter and own == "month":
            hint = "Average it first: cdo monmean IN.nc OUT.nc. Or use --period any."
        else:
            hint = "Use a prior of such steps, or --period any."
        raise DpdmError(f"{what}.", hint)
    warnings.warn(f"{what}: spread and detail are those of {own}s.", DpdmWarning, stacklevel=2)
    return note


def unsupported_period(fields: xr.Dataset, own: str) -> str:
    """Return the period of fields where it is known and is not one that a prior serves."""
    time, bounds = fields.get("time"), time_bounds(fields)
    given, days = period_of(time, bounds), step_length(time, bounds)
    if not own or given in (own, *LONGER_PERIODS.get(own, ())):
        return ""
    if given:
        return f"{given}s"
    return f"{days:.3g} days" if 0 < days < PERIOD_DAYS[own][0] else ""


def check_finer(source: Grid, grid: Grid) -> None:
    """Refuse a target that is coarser than the input."""
    for axis, name in enumerate(("latitude", "longitude")):
        coarse, fine = source.spacing[axis], grid.spacing[axis]
        if fine > coarse * 1.001:
            raise DpdmError(
                f"The target is coarser in {name} ({fine:g} degrees) than the input ({coarse:g}).",
                "Use dpdm coarsen for that.",
            )


def check_spacing(grid: Grid, prior: Prior) -> None:
    """Refuse a target whose spacing is not the prior's."""
    for axis, name in enumerate(("latitude", "longitude")):
        fine, trained = grid.spacing[axis], prior.contract.spacing[axis]
        if not 0.74 < fine / trained < 1.35:
            raise DpdmError(
                f"The target's {name} spacing is {fine:g} degrees, the prior's {trained:g}.",
                "Choose a target near that, or train a prior for it with dpdm train.",
            )


def check_target(source: Grid, grid: Grid, prior: Prior, consistent: bool) -> None:
    """Refuse a target that the prior cannot serve from this source."""
    for axis, name in enumerate(("latitude", "longitude")):
        coarse, fine = source.spacing[axis], grid.spacing[axis]
        least, most = prior.contract.factors
        if not 0.74 * least < coarse / fine < 1.35 * most:
            raise DpdmError(
                f"From {coarse:g} to {fine:g} degrees of {name} is a factor of "
                f"{coarse / fine:.3g}; the prior was trained for {least} to {most}.",
                "Use another prior, or train one with dpdm train --factor.",
            )
    if not source.covers(grid):
        raise DpdmError(
            "The target grid reaches beyond the cells of the input.",
            "Cut the target, or give a larger input: nothing is extrapolated.",
        )
    if consistent and not is_nested(grid, source):
        raise DpdmError(
            "--consistent needs whole fine cells in every coarse cell, and this target cuts some.",
            "Leave out --grid or --bbox, which make such a target, or leave out --consistent.",
        )


BOX_MARGIN_CELLS = (
    12  # cells; with 12 the mean at the edge of a box is within 0.08 of its deviation
)


@dataclass(frozen=True)
class FieldConditioning:
    """What a prior of fields is conditioning of the states of a file that it is bound to.

    Attributes:
        factor: Cells along each side of the blocks whose means it knows; 0 for the greatest that
            prior and grid allow.
        blind: Whether it knows nothing.
        statics: The user's own statics, or nothing.
    """

    factor: int = 0
    blind: bool = False
    statics: Path | None = None


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


def check_complete_state(fields: xr.Dataset, prior: Prior, path: Path) -> None:
    """Refuse a state that lacks variables of the prior, which knows them together."""
    if missing := [n for n in prior.normaliser.names if n not in fields]:
        raise DpdmError(
            f"{path} has no {', '.join(missing)}, and the prior knows "
            f"{', '.join(prior.normaliser.names)} together.",
            "Give a file with all of them, or a prior of fewer.",
        )


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
