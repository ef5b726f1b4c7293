"""Which fields are to be drawn: the fine grid between a coarse file, or none, and a prior."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr

from dpdm.draw import sampler_config
from dpdm.ensemble import EnsembleOptions
from dpdm.errors import DpdmError
from dpdm.fields.aloft import stamp
from dpdm.fields.box import around, within
from dpdm.fields.checks import Missing, everywhere
from dpdm.fields.grid import Grid, average, coarsen, grid_of, lerp, refine
from dpdm.fields.mask import inside
from dpdm.fields.statics import statics
from dpdm.fields.store import naming, open_fields
from dpdm.fit import check_finer, check_spacing, check_target, period_note, spoken, wanted
from dpdm.prior import Prior, check_earth
from dpdm.request import Request
from dpdm.skill import warn_of
from dpdm.states.fields import FieldFile, FieldSpace

MARGIN = 12  # cells; with 12 the mean at the edge of a box is within 0.08 of its deviation


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


def plan(
    path: Path | None,
    prior: Prior,
    options: EnsembleOptions,
    target: Path | None,
    own_statics: Path | None,
) -> FieldSpace:
    """Return a space of fields whose parts fit each other.

    Without a coarse file, the target says where and when, and nothing else is known.
    """
    check_earth(prior)
    if path is None:
        nothing = blank_fields(target, prior, options.missing)
        return make_space(nothing, prior, options, target, own_statics)
    codes = options.missing
    opened = open_fields(path, None, options.rename, options.units, spoken(prior), codes)
    coarse = wanted(opened, prior, path, options.rename)
    return make_space(coarse, prior, options, target, own_statics, path)


def make_space(
    coarse: xr.Dataset,
    prior: Prior,
    options: EnsembleOptions,
    target: Path | None,
    own_statics: Path | None,
    path: Path | None = None,
) -> FieldSpace:
    """Return the space of coarse fields that were opened from a path, or are unknown."""
    source = grid_of(coarse)
    note = period_note(coarse, prior, path or target or "", options.period)
    grid, kept = target_of(source, prior, target, options)
    with naming(target or path or ""):
        if path is not None:
            check_finer(source, grid)
        check_spacing(grid, prior)
        if path is not None:
            check_target(source, grid, prior, options.consistent)
    outside = None if options.mask is None else ~inside(kept or grid, options.mask)
    codes = everywhere(options.missing)
    own = None if own_statics is None else open_fields(own_statics, missing=codes)
    ground = statics(grid, own)[["topography", "land_fraction"]]
    smooth = lerp(average(ground, source), grid)
    below, above = (np.stack([g[n].values.astype(float) for n in g]) for g in (ground, smooth))
    way = sampler_config(options, prior)
    prior.denoiser.to(way.device)
    blind = path is None
    return FieldSpace(coarse, prior, grid, below, above, options, way, blind, outside, kept, note)


def target_of(
    source: Grid, prior: Prior, target: Path | None, options: EnsembleOptions
) -> tuple[Grid, Grid | None]:
    """Return the grid to draw on, the user's or the source's cells split, and the box of it.

    Around the box lies a margin, for the network is less sure of itself at an edge; none where
    block means are honoured, for it would cut blocks.
    """
    grid = (
        refine(source, prior.contract.spacing)
        if target is None
        else grid_of(open_fields(target, needed=(), missing=everywhere(options.missing)))
    )
    if options.bbox is None:
        return grid, None
    margin = 0 if options.consistent else MARGIN
    return around(grid, options.bbox, margin), within(grid, options.bbox)


def blank_fields(target: Path | None, prior: Prior, missing: Missing = {}) -> xr.Dataset:
    """Return fields on a target's grid, at its times, of which nothing is known."""
    if target is None:
        raise DpdmError(
            "Neither coarse fields nor a target grid was given.",
            "Give --coarse COARSE.nc, or --grid TARGET.nc to do without; or another --prior.",
        )
    like = open_fields(target, needed=(), missing=everywhere(missing))
    kept = like[[n for n in ("time", "time_bnds") if n in like.variables]]
    shape = (*((like.sizes["time"],) if "time" in like.dims else ()), *grid_of(like).shape)
    dims = [d for d in ("time", "lat", "lon") if d != "time" or "time" in like.dims]
    blank = xr.DataArray(np.broadcast_to(np.float32(np.nan), shape), dims=dims)
    known = ("standard_name", "long_name", "units")
    fields = {
        c.name: blank.assign_attrs({k: getattr(c, k) for k in known} | stamp(c.name, c.family))
        for c in prior.normaliser.channels
    }
    return xr.Dataset(fields, grid_of(like).coords()).assign_coords(kept.variables)


def of_file(
    path: Path, prior: Prior, options: EnsembleOptions, conditioning: FieldConditioning
) -> FieldSpace:
    """Return the fields of a file as states, bound to their block means or to nothing."""
    codes = options.missing
    opened = open_fields(path, None, options.rename, options.units, spoken(prior), codes)
    fields = wanted(opened, prior, path, options.rename)
    check_whole(fields, prior, path)
    if conditioning.blind:
        if options.consistent:
            raise DpdmError(
                "--consistent holds block means, and --blind knows none.", "Leave out one of them."
            )
        nothing = blank_fields(path, prior, codes)
        said = {n: nothing[n].assign_attrs(fields[n].attrs) for n in prior.normaliser.names}
        space, factor = (
            make_space(nothing.assign(said), prior, options, path, conditioning.statics),
            0,
        )
    else:
        factor = conditioning.factor or greatest_factor(fields, prior)
        coarse = coarsen(fields, factor)
        space = make_space(coarse, prior, options, path, conditioning.statics, path)
    way = replace(space.sampler, inflation=1.0)  # the level decides the spread
    return replace(space, sampler=way, file=FieldFile(path, fields, factor))


def of_observations(prior: Prior, table: pd.DataFrame, request: Request) -> FieldSpace:
    """Return the fields that observations are to inform."""
    if table["lat"].isna().all() and not {"component", "y"}.isdisjoint(table):
        raise DpdmError(
            f"The observations are of trajectories, and the prior {request.prior} knows fields on "
            "the Earth.",
            "Name a prior of trajectories with --prior: dpdm train --window makes one.",
        )
    warn_of(prior.contract, request.prior)
    files = request.files
    return plan(files.coarse, prior, request.ensemble, files.grid, files.statics)


def check_whole(fields: xr.Dataset, prior: Prior, path: Path) -> None:
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
