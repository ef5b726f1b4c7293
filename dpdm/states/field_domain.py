"""Open spaces of fields: of coarse fields, of a target grid, of a file of fine fields."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr

from dpdm.diffusion.tile import COARSEST_CELL
from dpdm.errors import DpdmError, prefix_file_name
from dpdm.fields.grid import Grid, grid_of, refine_grid
from dpdm.fields.level_names import level_attrs
from dpdm.fields.named_grids import Target, fit_grid, target_path
from dpdm.fields.output_units import assign_output_units
from dpdm.fields.plausibility import MissingCodes
from dpdm.fields.read import open_fields
from dpdm.fields.reference_climatology import ReferenceClimatology
from dpdm.fields.regrid import (
    average_conservative,
    coarsen_fields,
    interpolate_bilinear,
)
from dpdm.fields.statics import make_statics
from dpdm.fields.subset import cells_in_polygons, describe_extent, select_box, select_padded_box
from dpdm.fields.value_checks import common_missing_codes
from dpdm.file_group import FileGroup, Source, paths_of
from dpdm.prior import Prior, check_field_prior
from dpdm.states.driver_adjustment import adjust_driver, warn_of_shift
from dpdm.states.fields import FieldFile, FieldSpace
from dpdm.states.options import EnsembleOptions, FieldConditioning
from dpdm.states.physical_variables import (
    add_physics,
    draws_network,
    fit_physics,
    physical_names,
    physical_sources,
    take_physical,
    warn_of_omission,
)
from dpdm.states.reference import open_reference
from dpdm.states.requirements import (
    check_complete_state,
    check_finer,
    check_spacing,
    check_target,
    period_mismatch_note,
    select_prior_variables,
)
from dpdm.states.sampling import choose_inflation, choose_sampler_config

LOG = logging.getLogger(__name__)
TargetGrids = tuple[Grid, Grid | None]  # the fine grid, and the part of it that is written
References = tuple[ReferenceClimatology | None, ReferenceClimatology | None]
BOX_MARGIN_CELLS = 16  # members at the edge of a box are then within 0.1 of the spread


def fit_field_space(
    path: Source | None,
    prior: Prior,
    options: EnsembleOptions,
    target: Target | None,
    own_statics: Path | None,
    physics: bool = True,
) -> FieldSpace:
    """Return the space of a coarse file, or the unconditional space of a target.

    Variables that need no network are drawn with ``physics``.
    """
    check_field_prior(prior)
    if path is None:
        blank = blank_fields(target, prior, options.missing)
        return make_field_space(blank, prior, options, target, own_statics)
    coarse = (open_coarse_fields if physics else open_prior_variables)(path, prior, options)
    if not physics:
        warn_of_omission(open_coarse_fields(path, prior, options), prior)
    space = make_field_space(coarse, prior, options, target, own_statics, path)
    if options.reference_period is None:
        warn_of_shift(space, path.name)
        return space
    files = options.reference
    reference = open_prior_variables(files[0], prior, options, files[1:]) if files else None
    return adjust_driver(space, path.name, reference)


def open_prior_variables(
    path: Source, prior: Prior, options: EnsembleOptions, more: Sequence[Path] = ()
) -> xr.Dataset:
    """Return the variables of the prior in a file, or in several that follow each other."""
    names = [name for c in prior.normaliser.channels for name in (c.name, c.family) if name]
    fields = open_fields(
        [*paths_of(path), *more], None, options.rename, options.units, names, options.missing
    )
    return select_prior_variables(fields, prior, path, options.rename)


def open_coarse_fields(path: Source, prior: Prior, options: EnsembleOptions) -> xr.Dataset:
    """Return the variables in a file that the prior draws, by its network or by physics."""
    names = [name for c in prior.normaliser.channels for name in (c.name, c.family) if name]
    fields = open_fields(
        paths_of(path), None, options.rename, options.units, [*names, *physical_sources(prior)],
        options.missing,
    )  # fmt: skip
    fields = take_physical(fields, prior)
    return select_prior_variables(fields, prior, path, options.rename, physical_names(prior))


def make_field_space(
    coarse: xr.Dataset,
    prior: Prior,
    options: EnsembleOptions,
    target: Target | None,
    own_statics: Path | None,
    path: Source | None = None,
) -> FieldSpace:
    """Return the space of coarse fields from a path, or of blank fields."""
    prior, source = add_physics(coarse, prior), grid_of(coarse)
    place = target_path(target) or path or ""
    note = period_mismatch_note(coarse, prior, path or place, options.period)
    grids = build_target_grid(source, prior, target, options)
    blind = path is None
    with prefix_file_name(place):
        if not blind:
            check_finer(source, grids[0])
        if draws_network(coarse, prior):
            check_spacing(grids[0], prior)
        if not blind:
            check_target(source, grids[0], prior, options.consistent)
    LOG.info("Output grid: %s", describe_extent(grids[1] or grids[0]))
    references = open_reference(prior, grids[0], None if blind else source, options)
    space = assemble_space(coarse, prior, options, grids, own_statics, references, note)
    return replace(space, blind=blind)


def assemble_space(
    coarse: xr.Dataset,
    prior: Prior,
    options: EnsembleOptions,
    grids: TargetGrids,
    own_statics: Path | None,
    references: References,
    note: str = "",
) -> FieldSpace:
    """Return the space of coarse fields on checked grids, with statics and climatologies.

    Args:
        coarse: Canonical coarse fields.
        prior: The prior.
        options: Options of the ensemble.
        grids: The fine grid, and the part of it that is written, if it is one.
        own_statics: File of the user's own statics, or None.
        references: The climatology on the fine grid and on that of the coarse fields.
        note: Difference between the periods of coarse fields and prior.
    """
    source, (grid, output_grid) = grid_of(coarse), grids
    outside = (
        None if options.mask is None else ~cells_in_polygons(output_grid or grid, options.mask)
    )
    codes = common_missing_codes(options.missing)
    user_statics = None if own_statics is None else open_fields(own_statics, missing=codes)
    ground = make_statics(grid, user_statics)[["topography", "land_fraction"]]
    coarse_ground = interpolate_bilinear(average_conservative(ground, source), grid)
    statics, smooth = (
        np.stack([g[n].values.astype(float) for n in g]) for g in (ground, coarse_ground)
    )
    sampler = choose_sampler_config(options, prior)
    if references[0] is not None:
        sampler = choose_inflation(sampler, prior, "reference_inflation")
    prior.denoiser.to(sampler.device)
    prior, physics = fit_physics(prior, coarse, grid, user_statics)
    coarse = assign_output_units(physics.describe(coarse), options.out_units)
    return FieldSpace(
        coarse, prior, grid, statics, smooth, options, sampler, False, outside, output_grid, note,
        None, *references, physics=physics,
    )  # fmt: skip


def build_target_grid(
    source: Grid, prior: Prior, target: Target | None, options: EnsembleOptions
) -> TargetGrids:
    """Return the fine grid, of a target or refined from the source, and the part to write."""
    if target is None:
        return pad_target(refine_grid(source, prior.contract.spacing), options)
    grid = read_target_grid(target, options)
    return pad_target(grid if isinstance(target, Path) else fit_grid(grid, source), options)


def read_target_grid(target: Target, options: EnsembleOptions) -> Grid:
    """Return the grid of a target."""
    if isinstance(target, Grid):
        return target
    return grid_of(open_fields(target, needed=(), missing=common_missing_codes(options.missing)))


def pad_target(grid: Grid, options: EnsembleOptions) -> TargetGrids:
    """Return the cells of the user's box with a margin, and the box; or all cells, and None.

    The fine grid has a margin around the selected box, because the network is less accurate at an
    edge; none with --consistent, where a margin would cut blocks. It begins where a cell of the
    network's lowest resolution begins, so that the network sees the box as it sees the whole.
    """
    if options.bbox is None:
        return grid, None
    margin, align = (0, 1) if options.consistent else (BOX_MARGIN_CELLS, COARSEST_CELL)
    return select_padded_box(grid, options.bbox, margin, align), select_box(grid, options.bbox)


def blank_fields(
    target: Target | FileGroup | None, prior: Prior, missing: MissingCodes = {}
) -> xr.Dataset:
    """Return missing values on the grid and at the times of a target, if it has any."""
    if target is None:
        raise DpdmError(
            "Neither coarse fields nor a target grid was given.",
            "Give --coarse COARSE.nc, --grid TARGET.nc without coarse fields, or another --prior.",
        )
    if isinstance(target, Grid):
        target_fields = xr.Dataset(coords=target.coords())
    else:
        codes = common_missing_codes(missing)
        target_fields = open_fields(paths_of(target), needed=(), missing=codes)
    grid, has_time = grid_of(target_fields), "time" in target_fields.dims
    times = target_fields[[n for n in ("time", "time_bnds") if n in target_fields.variables]]
    dims = ["time", "lat", "lon"] if has_time else ["lat", "lon"]
    shape = (target_fields.sizes["time"], *grid.shape) if has_time else grid.shape
    blank = xr.DataArray(np.broadcast_to(np.float32(np.nan), shape), dims=dims)
    attributes = ("standard_name", "long_name", "units")
    fields = {
        c.name: blank.assign_attrs(
            {k: getattr(c, k) for k in attributes} | level_attrs(c.name, c.family)
        )
        for c in prior.normaliser.channels
    }
    return xr.Dataset(fields, grid.coords()).assign_coords(times.variables)


def open_field_file(
    path: Source, prior: Prior, options: EnsembleOptions, conditioning: FieldConditioning
) -> FieldSpace:
    """Return the fields of files as states, given their block means or unconditional."""
    fields = open_prior_variables(path, prior, options)
    check_complete_state(fields, prior, path)
    if conditioning.blind:
        if options.consistent:
            raise DpdmError(
                "--consistent conserves block means, and --blind ignores them.",
                "Leave out one of them.",
            )
        factor, blank = 0, blank_fields(path, prior, options.missing)
        arrays = {n: blank[n].assign_attrs(fields[n].attrs) for n in prior.normaliser.names}
        coarse = blank.assign(arrays)
    else:
        factor = conditioning.factor or largest_factor(fields, prior)
        coarse = coarsen_fields(fields, factor)
    source = path if factor else None
    target = path if isinstance(path, Path) else grid_of(fields)
    space = make_field_space(coarse, prior, options, target, conditioning.statics, source)
    sampler = replace(space.sampler, inflation=1.0)  # the noise level determines the spread
    return replace(space, sampler=sampler, file=FieldFile(path, fields, factor))


def largest_factor(fields: xr.Dataset, prior: Prior) -> int:
    """Return the largest factor of the prior that divides a grid."""
    shape, (smallest, largest) = grid_of(fields).shape, prior.contract.factors
    for factor in range(largest, smallest - 1, -1):
        if not any(n % factor or n == factor for n in shape):
            return factor
    raise DpdmError(
        f"No factor of the prior, {smallest} to {largest}, divides a grid of "
        f"{shape[0]} by {shape[1]} cells.",
        "Select a region, or use --blind to ignore the coarse field.",
    )
