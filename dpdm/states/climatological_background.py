"""The climatology of the place as coarse fields, the background of observations alone.

The prior is then conditioned as by any coarse fields, and the coarse fields are as far from the
truth as the weather is from the climate: an error of the background (`dpdm.assimilate`) accounts
for that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from dpdm.errors import prefix_file_name
from dpdm.fields.grid import Grid
from dpdm.fields.level_names import level_attrs
from dpdm.fields.named_grids import Target, target_path
from dpdm.fields.reference_climatology import ReferenceClimatology
from dpdm.fields.time import step_intervals, time_bounds
from dpdm.prior import Prior
from dpdm.states.field_domain import TargetGrids, assemble_space
from dpdm.states.fields import FieldSpace
from dpdm.states.options import EnsembleOptions
from dpdm.states.reference import average_climatology
from dpdm.states.requirements import check_spacing, period_mismatch_note
from dpdm.states.station_domain import background_grid, known_cells

BACKGROUND = "climatology"
CHANNEL_ATTRIBUTES = ("standard_name", "long_name", "units")


@dataclass(frozen=True)
class ClimateSeries:
    """A variable of a climatology (time, lat, lon) at the steps of a time axis, lazy, for dask.

    Attributes:
        climatology: The climatology.
        name: The variable.
        time: The time axis.
        bounds: Its bounds (time, 2).
    """

    climatology: ReferenceClimatology
    name: str
    time: xr.DataArray
    bounds: xr.DataArray

    ndim = 3
    dtype = np.dtype(np.float64)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the numbers of steps, rows and columns."""
        height, width = self.climatology.fields[self.name].shape[-2:]
        return self.time.size, height, width

    def __getitem__(self, key: tuple[int | slice, ...]) -> NDArray[np.float64]:
        """Return the climate of one or several steps."""
        steps, *rest = key
        if not isinstance(steps, slice):
            return self.state(int(steps))[tuple(rest)]
        states = [self.state(at) for at in range(*steps.indices(self.shape[0]))]
        return np.stack(states)[(slice(None), *rest)]

    def state(self, step: int) -> NDArray[np.float64]:
        """Return the climate (lat, lon) of one step, whose interval is the whole axis."""
        one = replace(self.climatology, fields=self.climatology.fields[[self.name]])
        fields = one.state(self.time[[step]], self.bounds[[step]], 0)
        return np.asarray(fields[self.name].transpose("lat", "lon").values, np.float64)


def climatological_space(
    prior: Prior,
    axis: xr.Dataset | None,
    grids: TargetGrids,
    options: EnsembleOptions,
    own_statics: Path | None,
    target: Target | None = None,
) -> FieldSpace | None:
    """Return the space of fields whose coarse fields are the climatology; None without one.

    Args:
        prior: The prior.
        axis: Time and bounds of the steps; None for one step of the year's climate.
        grids: The fine grid, and the part of it that is written.
        options: Options of the ensemble.
        own_statics: File of the user's own statics, or None.
        target: The file of the target grid, for messages.
    """
    grid = grids[0]
    with prefix_file_name(target_path(target)):
        check_spacing(grid, prior)
        source, factor = background_grid(grid, prior)
    fine, coarse = average_climatology(prior, grid, source, options, (2 * factor, 2 * factor))
    if fine is None or coarse is None:
        return None
    known = known_cells(np.stack([fine.fields[n].values for n in fine.fields]))
    coarse = replace(coarse, fields=fill_gaps(coarse.fields))
    series = climate_fields(coarse, axis, prior, source)
    note = period_mismatch_note(series, prior, target_path(target), options.period)
    space = assemble_space(series, prior, options, grids, own_statics, (fine, coarse), note)
    return mask_cells(replace(space, background=BACKGROUND), ~known)


def climate_fields(
    climatology: ReferenceClimatology, axis: xr.Dataset | None, prior: Prior, source: Grid
) -> xr.Dataset:
    """Return a climatology as canonical coarse fields at the steps of an axis, lazy."""
    arrays = {}
    for channel in prior.normaliser.channels:
        if channel.name in climatology.fields:
            array = climate_array(climatology, channel.name, axis)
            attrs = {key: getattr(channel, key) for key in CHANNEL_ATTRIBUTES}
            arrays[channel.name] = array.assign_attrs(
                attrs | level_attrs(channel.name, channel.family)
            )
    fields = xr.Dataset(arrays, source.coords())
    if axis is not None:
        fields = fields.assign_coords(axis.coords)
    fields.encoding = {"source": f"{BACKGROUND} {climatology.title}"}
    return fields


def climate_array(
    climatology: ReferenceClimatology, name: str, axis: xr.Dataset | None
) -> xr.DataArray:
    """Return a variable (time, lat, lon), lazy in chunks of a step; of the year without time."""
    if axis is None:
        values = climatology.state(None, None, 0)[name].transpose("lat", "lon").values
        return xr.DataArray(values, dims=("lat", "lon"))
    time, bounds = axis["time"], time_bounds(axis)
    if bounds is None:
        ends = step_intervals(time, None, single="month")
        bounds = xr.DataArray(np.stack(ends, axis=1), dims=("time", "bnds"))
    series = ClimateSeries(climatology, name, time, bounds)
    chunks, meta = (1, *series.shape[1:]), np.empty((0, 0, 0))
    lazy = da.from_array(series, chunks, name=False, fancy=False, meta=meta)
    return xr.DataArray(lazy, dims=("time", "lat", "lon"))


def fill_gaps(fields: xr.Dataset) -> xr.Dataset:
    """Return monthly fields (month, lat, lon) whose unknown cells have the nearest known value.

    The coarse cells around the target may lie outside the climatology, or wholly at sea.
    """
    return fields.map(_fill_months, keep_attrs=True)


def _fill_months(array: xr.DataArray) -> xr.DataArray:
    values = array.transpose("month", "lat", "lon").values.copy()
    for month, field in enumerate(values):
        gaps = np.isnan(field)
        if gaps.any() and not gaps.all():
            nearest = distance_transform_edt(gaps, return_distances=False, return_indices=True)
            values[month] = field[tuple(nearest)]
    return array.transpose("month", "lat", "lon").copy(data=values)


def mask_cells(space: FieldSpace, cells: NDArray[np.bool_]) -> FieldSpace:
    """Return a space whose output is missing in some cells (H, W) of its fine grid as well."""
    shown = cells[space.shown_part]
    if not shown.any():
        return space
    return replace(space, outside=shown if space.outside is None else space.outside | shown)
