"""The reference climatology of a space of fields: the prior's own, the bundled one, or a file.

It is needed twice: on the fine grid, and averaged to the coarse one, whose outer cells reach
beyond the fine grid. So it is read with a margin, as far as it is known there.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.climatology_grid import (
    average_covered,
    extend_within,
    regrid_months,
    select_around,
    select_cells,
)
from dpdm.fields.grid import Grid
from dpdm.fields.reference_climatology import (
    DEFAULT,
    NONE,
    ReferenceClimatology,
    check_climatology_period,
    open_climatology,
)
from dpdm.prior import Prior, training_period
from dpdm.states.options import EnsembleOptions

OWN = "prior's own"


def open_reference(
    prior: Prior, grid: Grid, source: Grid | None, options: EnsembleOptions
) -> tuple[ReferenceClimatology | None, ReferenceClimatology | None]:
    """Return the climatology on a fine grid, and on that of the coarse fields, if there are any.

    Each is None where prior, grid or user have no climatology.
    """
    check_climatology_period(options.climatology, options.climatology_period)
    if not prior.takes_reference:
        refuse_climatology(prior, options)
        return None, None
    wide = choose_climatology(prior, grid, margin_cells(grid, source), options)
    if wide is None:
        return None, None
    check_units(prior, wide)
    fine = replace(wide, fields=select_cells(wide.fields, grid))
    if source is None:
        return fine, None
    if wide.name == OWN and "lerp" in prior.reference:
        lerp = own_fields(prior, "lerp")
        return fine, replace(wide, fields=regrid_months(select_around(lerp, grid), grid))
    return fine, replace(wide, fields=average_covered(wide.fields, source))


def open_coarse_climatology(
    prior: Prior, grid: Grid, source: Grid, options: EnsembleOptions
) -> ReferenceClimatology | None:
    """Return the climatology around a fine grid on coarse cells, for any prior."""
    return average_climatology(prior, grid, source, options, margin_cells(grid, source))[1]


def average_climatology(
    prior: Prior, grid: Grid, source: Grid, options: EnsembleOptions, margin: tuple[int, int]
) -> tuple[ReferenceClimatology | None, ReferenceClimatology | None]:
    """Return the climatology on a fine grid, and its own means over coarse cells around that.

    Each is None where prior, grid or user have no climatology; ``margin`` counts the rows and
    columns around the grid that the coarse cells cover.
    """
    check_climatology_period(options.climatology, options.climatology_period)
    wide = choose_climatology(prior, grid, margin, options)
    if wide is None:
        return None, None
    check_units(prior, wide)
    fine = replace(wide, fields=select_cells(wide.fields, grid))
    return fine, replace(wide, fields=average_covered(wide.fields, source))


def refuse_climatology(prior: Prior, options: EnsembleOptions) -> None:
    """Refuse a climatology for a prior that does not use one."""
    if options.climatology not in (DEFAULT, NONE) and options.reference_period is None:
        raise DpdmError(
            f"--climatology {options.climatology} is for a prior that was trained with a "
            "reference climatology, and this one was not.",
            "Leave it out, or choose another --prior.",
        )


def margin_cells(grid: Grid, source: Grid | None) -> tuple[int, int]:
    """Return the rows and columns around a grid that its coarse cells and their neighbours have.

    Example:
        >>> grid = Grid(np.array([0.5, 1.5]), np.array([0.5, 1.5]))
        >>> margin_cells(grid, Grid(np.array([1.0, 3.0]), np.array([2.0, 6.0])))
        (4, 7)
    """
    if source is None:
        return 0, 0
    rows, columns = (
        ceil(1.5 * coarse / fine) + 1
        for coarse, fine in zip(source.spacing, grid.spacing, strict=True)
    )
    return rows, columns


def choose_climatology(
    prior: Prior, grid: Grid, margin: tuple[int, int], options: EnsembleOptions
) -> ReferenceClimatology | None:
    """Return the climatology of the user's choice; by default the prior's own, if it covers."""
    if options.climatology == DEFAULT and (own := fit_own_climatology(prior, grid, margin)):
        return own
    return open_climatology(
        options.climatology,
        grid,
        prior.normaliser.names,
        period=options.climatology_period,
        rename=options.rename,
        units=options.units,
        missing=options.missing,
        margin=margin,
    )


def fit_own_climatology(
    prior: Prior, grid: Grid, margin: tuple[int, int]
) -> ReferenceClimatology | None:
    """Return the prior's own climatology on a grid, None if it has none or does not cover it."""
    if not prior.reference:
        return None
    own = own_grid(prior)
    if not own.covers(grid):
        return None
    fields, wide = own_fields(prior, "fields"), extend_within(own, grid, margin)
    period = training_period(prior.contract)
    return ReferenceClimatology(OWN, period, regrid_months(select_around(fields, wide), wide))


def own_grid(prior: Prior) -> Grid:
    """Return the grid of a prior's own climatology."""
    return Grid(*(prior.reference[axis].double().numpy() for axis in ("lat", "lon")))


def own_fields(prior: Prior, key: str) -> xr.Dataset:
    """Return a prior's own climatology: its ``fields``, or the ``lerp`` of its coarse fields."""
    own = own_grid(prior)
    values = prior.reference[key].numpy()
    arrays = {
        channel.name: (("month", "lat", "lon"), values[:, number], {"units": channel.units})
        for number, channel in enumerate(prior.normaliser.network.channels)
    }
    return xr.Dataset(arrays, {"month": np.arange(1, 13), **own.coords()})


def check_units(prior: Prior, climatology: ReferenceClimatology) -> None:
    """Refuse a climatology in another unit than the prior's, of a variable without a known one."""
    for channel in prior.normaliser.channels:
        array = climatology.fields.get(channel.name)
        units = channel.units if array is None else array.attrs.get("units")
        if units != channel.units:
            raise DpdmError(
                f"{climatology.name}: {channel.name} is in {units!r}, the prior's in "
                f"{channel.units!r}.",
                f"Convert it, or declare it: --units {channel.name}='{channel.units}'.",
            )
