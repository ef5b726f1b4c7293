r"""Anomalies of coarse fields from their own climate, added to a reference climatology.

A climate model or a reanalysis of another century has a climate of its own. Of a field of the
calendar month m, the difference from the mean of that month over a reference period is taken for
true, and the climate itself is replaced:

.. math:: x' = \bar r_m + x - \bar x_m, \qquad x' = x \, \bar r_m / \bar x_m

for a variable and for an amount, where the mean of the reference period is :math:`\bar x_m` and
the climatology :math:`\bar r_m`, averaged over each coarse cell. So over the reference period the
means of x' are those of the climatology, and trends are those of the coarse fields.

The climate is compared on the coarse cells between which the fine grid is interpolated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.climatology import MONTHS_PER_YEAR, Climate
from dpdm.fields.grid import Array, Grid, Matrix, grid_of
from dpdm.fields.reference_period import Indices
from dpdm.fields.regrid import bilinear_matrices, mean_matrices
from dpdm.fields.subset import as_slice
from dpdm.fields.value_checks import load_checked_fields

BLOCK_STEPS = 12  # read at a time
COVERAGE_HINT = (
    "Give a smaller --bbox, or a --climatology without gaps that covers the coarse cells around "
    "the output."
)


@dataclass(frozen=True)
class DriverClimate:
    """The climate of a coarse series over a reference period, and the one that replaces it.

    Attributes:
        climate: The climatology on the coarse grid.
        own: Mean of the series (12, C, h, w) over the reference period.
        months: Calendar month of each step of the series (T,), 0 to 11.
        notes: Provenance.
    """

    climate: Climate
    own: Array
    months: Indices
    notes: Mapping[str, object]

    def adjust(self, fields: xr.Dataset, step: int) -> xr.Dataset:
        """Return the fields of a step with the climatology in place of their own climate."""
        month = int(self.months[step])
        change = self.climate.compute_change(self.own[month], self.climate.mean[month])
        adjusted = self.climate.adjust(fields, change)
        old, new = self.climate.values(fields), self.climate.values(adjusted)
        check_both_known(self.climate.names, old, new)
        return adjusted


def check_both_known(names: Sequence[str], values: Array, adjusted: Array) -> None:
    """Refuse values (C, h, w) in cells where one of the two climates is missing."""
    for name, old, new in zip(names, values, adjusted, strict=True):
        lost = np.isfinite(old) & ~np.isfinite(new)
        if lost.any():
            raise DpdmError(
                f"{name} has values in {lost.sum()} of {lost.size} coarse cells where the "
                "climatology, or the reference period, has none.",
                COVERAGE_HINT,
            )


def average_own_climate(
    fields: xr.Dataset, names: Sequence[str], steps: Indices, months: Indices
) -> Array:
    """Return the means (12, C, h, w) of some steps of a lazy series, NaN where there are none.

    Args:
        fields: The series.
        names: The variables.
        steps: The steps, of which a few are read at a time.
        months: Calendar month of each step of the series (T,), 0 to 11.
    """
    shape = (MONTHS_PER_YEAR, len(names), *grid_of(fields).shape)
    total, count = np.zeros(shape), np.zeros(shape)
    ordered = np.sort(steps)
    for start in range(0, len(ordered), BLOCK_STEPS):
        block = ordered[start : start + BLOCK_STEPS]
        some = load_checked_fields(fields[list(names)].isel(time=as_slice(block)))
        values = [some[n].transpose("time", "lat", "lon").values for n in names]
        for month, one in zip(months[block], np.stack(values, axis=1), strict=True):
            known = np.isfinite(one)
            total[month] += np.where(known, one, 0.0)
            count[month] += known
    means: Array = np.divide(total, count, out=np.full(shape, np.nan), where=count > 0)
    return means


def climate_of_cells(
    fields: xr.Dataset, names: Sequence[str], amounts: NDArray[np.bool_]
) -> Climate:
    """Return a climatology (month, lat, lon) as a climate on its own cells.

    Args:
        fields: The climatology.
        names: Its variables.
        amounts: Which of them (C,) are amounts.
    """
    cells = grid_of(fields)
    arrays = [fields[name].transpose("month", "lat", "lon").values for name in names]
    same = mean_matrices(cells, cells), bilinear_matrices(cells, cells)
    mean = np.stack(arrays, axis=1).astype(float) if names else np.empty((12, 0, *cells.shape))
    return Climate(list(names), amounts[:, None, None], cells, *same, mean)


def select_stencil(fields: xr.Dataset, grid: Grid) -> xr.Dataset:
    """Return the coarse cells between which a fine grid is interpolated.

    Of a globe they have the longitudes of the fine grid, so that they lie beside each other.
    """
    source = grid_of(fields)
    rows, columns = (used_places(matrix) for matrix in bilinear_matrices(source, grid))
    lon = source.lon[columns]
    if source.cyclic and len(columns) < len(source.lon):
        lon = lon + 360.0 * np.round((grid.lon.mean() - lon) / 360.0)
    order = np.argsort(lon)
    part = fields.isel(lat=as_slice(rows), lon=as_slice(columns[order]))
    return part.assign_coords(lon=part["lon"].copy(data=lon[order]))


def used_places(matrix: Matrix) -> NDArray[np.intp]:
    """Return the columns of a sparse matrix that are not empty, two at least."""
    used: NDArray[np.intp] = np.unique(matrix.indices)
    if len(used) > 1:
        return used
    last = matrix.shape[1] - 1
    first = int(used[0]) - (used[0] == last)
    return np.array([first, first + 1])
