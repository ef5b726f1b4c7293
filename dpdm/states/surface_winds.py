"""Winds of coarse fields, interpolated over land and sea, for a prior with them by physics.

A wind depends on the coarse cells around it. So the coarse fields are taken with a margin around
the target, as far as any of them matters: the winds of a box are those of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.fields.climatology_grid import cells_around, extend_within
from dpdm.fields.grid import Grid, Matrix, extend_grid, grid_of
from dpdm.fields.regrid import bilinear_matrices, mean_matrices
from dpdm.fields.statics import make_statics, read_bundled_statics
from dpdm.fields.subset import locate_subgrid
from dpdm.prior import Prior
from dpdm.prior.physics import PhysicalNormaliser
from dpdm.prior.winds import (
    LAND_SPEED,
    REACH,
    WINDS,
    coarse_variance,
    solve_coarse_winds,
    speed_ratio,
    wind_spread,
)
from dpdm.states.surface_pressure import fill_nearest

Array = NDArray[np.float64]
Matrices = tuple[Matrix, Matrix]


@dataclass(frozen=True)
class WindInterpolation:
    """The interpolation of winds from coarse cells to a fine grid.

    Attributes:
        rows: Rows of the coarse fields that matter.
        columns: Their columns.
        cyclic: Whether these columns close the circle.
        ratio: Ratio of the speed over the ground to that above water (H', W'), on the fine grid
            with a margin.
        means: Matrices of block means of the margin's cells.
        lerps: Matrices of bilinear interpolation to them.
        part: Rows and columns of the fine grid among them.
        factor: Coarse over fine spacing.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    cyclic: bool
    ratio: Array
    means: Matrices
    lerps: Matrices
    part: tuple[slice, slice]
    factor: float

    @property
    def note(self) -> str:
        """Describe how winds are made."""
        return (
            "interpolation that conserves block means, with a speed over land of "
            f"{LAND_SPEED:g} times that over water"
        )

    def mean(self, values: Array) -> Array:
        """Return block means (..., h, w); a cell that no fine cell meets is as its neighbour."""
        rows, columns = self.means
        met = np.outer(rows.sum(axis=1), columns.sum(axis=1)) > 0
        found = np.where(met, _apply(values, rows, columns), np.nan)
        return found if met.all() else _fill_each(found)

    def lerp(self, values: Array) -> Array:
        """Return the bilinear interpolation (..., H', W')."""
        return _apply(values, *self.lerps)

    def interpolate(
        self,
        fields: xr.Dataset,
        names: Sequence[str],
        climate: Array | None,
        coarse_climate: xr.Dataset | None,
    ) -> tuple[Array, Array]:
        """Return winds (C, H, W) and their standard deviations (C, H, W), m s-1.

        Of a component whose climatology is known on the whole fine grid, anomalies are
        interpolated, and added to it.

        Args:
            fields: Coarse fields of one step.
            names: The components.
            climate: Their climatology (C, H, W), NaN where unknown, or None.
            coarse_climate: The same on the coarse cells, or None.
        """
        winds = self.select(fields, names)
        if climate is None or coarse_climate is None:
            return self.from_known(_fill_each(winds))
        normal = self.select(coarse_climate, names)
        known = np.isfinite(climate).all((1, 2), keepdims=True)
        known &= np.isfinite(normal).any((1, 2), keepdims=True)
        fine, spread = self.from_known(_fill_each(np.where(known, winds - normal, winds)))
        return fine + np.where(known, climate, 0.0), spread

    def from_known(self, known: Array) -> tuple[Array, Array]:
        """Return winds (C, H, W) and their standard deviations, from block means (C, h, w)."""
        coarse = solve_coarse_winds(known, self.ratio, self.mean, self.lerp)
        variance = coarse_variance(known, self.ratio, self.mean, self.lerp, self.cyclic)
        part = (..., *self.part)
        fine = (self.ratio * self.lerp(coarse))[part]
        return fine, wind_spread(self.lerp(variance)[part].clip(0), self.factor)

    def select(self, fields: xr.Dataset, names: Sequence[str]) -> Array:
        """Return the coarse cells that matter of some variables (C, h, w), NaN if absent."""
        shape = (len(self.rows), len(self.columns))
        found = [
            fields[name].transpose("lat", "lon").values[np.ix_(self.rows, self.columns)]
            if name in fields
            else np.full(shape, np.nan)
            for name in names
        ]
        return np.stack(found).astype(float)


def _apply(values: Array, rows: Matrix, columns: Matrix) -> Array:
    """Return a pair of matrices applied to fields (..., h, w)."""
    flat = values.reshape(-1, *values.shape[-2:])
    out = np.stack([rows @ (columns @ each.T).T for each in flat])
    return out.reshape(*values.shape[:-2], *out.shape[-2:])


def _fill_each(values: Array) -> Array:
    """Return fields (..., h, w) whose unknown cells have the nearest known value."""
    flat = values.reshape(-1, *values.shape[-2:])
    return np.stack([fill_nearest(each) for each in flat]).reshape(values.shape)


def fit_winds(
    prior: Prior, coarse: xr.Dataset, grid: Grid, own: xr.Dataset | None
) -> WindInterpolation | None:
    """Return the interpolation of winds to a fine grid, None for a prior without them by physics.

    Args:
        prior: A prior of fields.
        coarse: Coarse fields.
        grid: The fine grid.
        own: The user's own statics, or None.
    """
    normaliser = prior.normaliser
    if not isinstance(normaliser, PhysicalNormaliser) or not {*WINDS} & {*normaliser.physical}:
        return None
    source = grid_of(coarse)
    ratios = [c / f for c, f in zip(source.spacing, grid.spacing, strict=True)]
    steps = [math.ceil(ratio) for ratio in ratios]
    rows, columns, lon = cells_around(source, extend_grid(grid, *(REACH * s for s in steps)))
    near = Grid(source.lat[rows], lon)
    around = grid_of(read_bundled_statics() if own is None else own)
    margin = [(REACH + 2) * s for s in steps]
    wide = extend_within(around, grid, (margin[0], margin[1]))
    land = make_statics(wide, own)["land_fraction"].values.astype(float)
    return WindInterpolation(
        rows, columns, near.cyclic, speed_ratio(land), mean_matrices(wide, near),
        bilinear_matrices(near, wide), locate_subgrid(grid, wide), math.sqrt(math.prod(ratios)),
    )  # fmt: skip
