"""Surface pressure of coarse fields: reduced to a smooth height, for a prior with it by physics.

The pressure of a coarse cell is the mean over the cell. So its logarithm at the cell's mean height
is that of the mean, less that of the mean of p(z) / p(mean z) over the relief within. Mean sea
level pressure, where a file has no surface pressure, is taken up to the same height.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from dpdm.constants import EARTH_RADIUS, LAPSE_RATE, STANDARD_TEMPERATURE
from dpdm.fields.climatology_grid import average_covered, extend_within
from dpdm.fields.grid import Grid, extend_grid, grid_of
from dpdm.fields.regrid import interpolate_bilinear
from dpdm.fields.statics import make_statics, read_bundled_statics
from dpdm.fields.subset import locate_subgrid
from dpdm.fields.variables import PRESSURE, TEMPERATURE
from dpdm.operators.interpolation import pressure_log_ratio
from dpdm.prior import Prior
from dpdm.prior.normaliser import to_tensor
from dpdm.prior.physics import PhysicalNormaliser
from dpdm.prior.pressure import bundled_relief_error, pressure_spread
from dpdm.states.reference import margin_cells

Array = NDArray[np.float64]
SEA_LEVEL = "msl"
SOURCE = "pressure_source"  # attribute of the coarse variable


@dataclass(frozen=True)
class CoarseRelief:
    """The relief of coarse cells and of a ring of cells around them.

    Attributes:
        grid: The coarse cells with the ring, without one at a pole or along a circle.
        height: Mean height of the cells, m.
        excess: Logarithm of the mean over each cell of p(z) / p(mean z).
        inner: Rows and columns of the coarse cells.
    """

    grid: Grid
    height: Array
    excess: Array
    inner: tuple[slice, slice]

    @classmethod
    def average(cls, relief: xr.Dataset, source: Grid) -> CoarseRelief:
        """Return the means of a fine relief; a cell that it does not reach is as its neighbour."""
        wide = extend_grid(source, 1, 1)
        both = average_covered(relief.assign(squares=relief["topography"] ** 2), wide)
        height, squares = (fill_nearest(both[n].values) for n in ("topography", "squares"))
        return cls(
            wide, height, second_order_excess(height, squares), locate_subgrid(source, wide)
        )

    def extend(self, pressure: Array) -> Array:
        """Return ln of the pressure at the mean height, also in the ring.

        There pressure reduced to sea level continues linearly.
        """
        to_sea = standard_log_ratio(self.height)
        low = pressure - self.excess[self.inner] + to_sea[self.inner]
        for axis, (part, length) in enumerate(zip(self.inner, self.grid.shape, strict=True)):
            low = extend_axis(low, (part.start, length - part.stop), axis)
        out: Array = low - to_sea
        return out


def standard_log_ratio(height: Array) -> Array:
    """Return ln of pressure at sea level over that at a height, of the standard atmosphere."""
    temperature = torch.from_numpy(STANDARD_TEMPERATURE - LAPSE_RATE * height)
    ratio: Array = pressure_log_ratio(-torch.from_numpy(height), temperature).numpy()
    return ratio


def extend_axis(values: Array, counts: tuple[int, int], axis: int) -> Array:
    """Return values with a linear continuation by one cell, or none, at both ends of an axis.

    Example:
        >>> extend_axis(np.array([1.0, 2.0, 4.0]), (1, 1), 0).tolist()
        [0.0, 1.0, 2.0, 4.0, 6.0]
    """
    parts = [values]
    for end, count in zip((0, -1), counts, strict=True):
        if count:
            edge, next_edge = (np.take(values, [n], axis) for n in (end, 1 if end == 0 else -2))
            ring = np.where(np.isfinite(next_edge), 2 * edge - next_edge, edge)
            parts = [ring, *parts] if end == 0 else [*parts, ring]
    return np.concatenate(parts, axis)


def fill_nearest(values: Array) -> Array:
    """Return values whose unknown cells have the nearest known value."""
    gaps = np.isnan(values)
    if not gaps.any() or gaps.all():
        return np.nan_to_num(values)
    nearest = distance_transform_edt(gaps, return_distances=False, return_indices=True)
    filled: Array = values[tuple(nearest)]
    return filled


@dataclass(frozen=True)
class PressureReduction:
    """Surface pressure of coarse fields at the interpolated height of their cells.

    Attributes:
        cells: The relief of the coarse cells.
        smooth: Their height, interpolated (H, W), m.
        spread: Standard deviation of the transformed pressure (H, W).
        source: "sp", or "msl" for mean sea level pressure.
        relief: The relief, for the attributes of the output.
        typical: Median standard deviation of surface pressure, Pa.
    """

    cells: CoarseRelief
    smooth: Array
    spread: Array
    source: str
    relief: str
    typical: float

    @property
    def note(self) -> str:
        """Describe how surface pressure is made."""
        return (
            f"the hypsometric equation from {self.source}, height from the {self.relief}, "
            f"median spread {self.typical:.3g} Pa"
        )

    def replace_pressure(
        self,
        lerp: Tensor,
        fields: xr.Dataset,
        grid: Grid,
        names: Sequence[str],
        reference: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        """Return interpolated fields (C, H, W) with the pressure at the interpolated height, Pa.

        Args:
            lerp: Interpolated fields, surface pressure last.
            fields: Coarse fields of one step.
            grid: The fine grid.
            names: The variables.
            reference: The climatology, and its interpolated coarse means, or None.
        """
        if self.source == SEA_LEVEL:
            climate = None if reference is None else reference[1][names.index(TEMPERATURE)]
            pressure = lerp[-1] / self.log_ratio_to_sea(fields, grid, climate).exp()
        else:
            pressure = self.at_smooth_height(fields, grid)
        return torch.cat([lerp[:-1], pressure[None]])

    def at_smooth_height(self, fields: xr.Dataset, grid: Grid) -> Tensor:
        """Return the pressure of coarse fields at the interpolated height (H, W), Pa."""
        pressure = np.log(fields[PRESSURE].transpose("lat", "lon").values.astype(float))
        wide = xr.Dataset(
            {"u": (("lat", "lon"), self.cells.extend(pressure))}, self.cells.grid.coords()
        )
        return torch.from_numpy(interpolate_bilinear(wide, grid)["u"].values).exp()

    def without_sea_level(self, fields: xr.Dataset) -> xr.Dataset:
        """Return coarse fields without sea level pressure under the name of surface pressure."""
        return fields.drop_vars(PRESSURE) if self.source == SEA_LEVEL else fields

    def log_ratio_to_sea(self, fields: xr.Dataset, grid: Grid, climate: Tensor | None) -> Tensor:
        """Return ln of pressure at sea level over that at the interpolated height (H, W)."""
        height = torch.from_numpy(self.smooth)
        temperature = STANDARD_TEMPERATURE - LAPSE_RATE * height
        known = () if climate is None else (climate,)
        if TEMPERATURE in fields:
            lerp = interpolate_bilinear(fields[[TEMPERATURE]], grid)
            known = (*known, to_tensor(lerp, [TEMPERATURE], grid.shape)[0])
        for better in known:
            temperature = torch.where(better.isfinite(), better, temperature)
        return pressure_log_ratio(-height, temperature)


def fit_pressure(
    prior: Prior, coarse: xr.Dataset, grid: Grid, own: xr.Dataset | None
) -> tuple[Prior, PressureReduction | None]:
    """Return a prior whose surface pressure knows the relief, and the reduction of the coarse one.

    Args:
        prior: A prior, of which surface pressure may be drawn by physics.
        coarse: Coarse fields.
        grid: The fine grid.
        own: The user's own statics, or None.
    """
    if not (isinstance(prior.normaliser, PhysicalNormaliser) and prior.normaliser.has_pressure):
        return prior, None
    source = grid_of(coarse)
    around = grid_of(read_bundled_statics() if own is None else own)
    rows, columns = margin_cells(grid, source)
    wide = extend_within(around, grid, (rows + 1, columns + 1))
    relief = make_statics(wide, own)[["topography"]]
    cells = CoarseRelief.average(relief, source)
    means = xr.Dataset({"z": (("lat", "lon"), cells.height)}, cells.grid.coords())
    smooth = interpolate_bilinear(means, grid)["z"].values
    factor = spacing_km(source) / spacing_km(grid)
    part = Relief.cut(relief, grid, factor if own is None else None)
    spread = pressure_spread(part.height, part.height - smooth, spacing_km(source), part.error)
    normaliser = replace(
        prior.normaliser,
        height=torch.from_numpy(part.height),
        offset=torch.from_numpy(part.height - smooth),
    )
    reduction = PressureReduction(
        cells,
        smooth,
        spread,
        str(coarse[PRESSURE].attrs.get(SOURCE, PRESSURE)),
        "bundled relief" if own is None else "relief of --statics",
        float(np.median(spread * standard_pressure(part.height))),
    )
    return replace(prior, normaliser=normaliser), reduction


@dataclass(frozen=True)
class Relief:
    """The relief of a fine grid.

    Attributes:
        height: Height of the cells (H, W), m.
        error: Standard deviation of its detail (H, W), m.
    """

    height: Array
    error: Array

    @classmethod
    def cut(cls, relief: xr.Dataset, grid: Grid, factor: float | None) -> Relief:
        """Return the part of a wider relief on a grid.

        Only the bundled one has an error, by the factor of the coarse cells; None for others.
        """
        wide, height = grid_of(relief), relief["topography"].values
        error = np.zeros_like(height)
        if factor is not None:
            error = bundled_relief_error(height, factor, wide.cyclic)
        cut = interpolate_bilinear(relief.assign(error=(("lat", "lon"), error)), grid)
        return cls(cut["topography"].values, cut["error"].values)


def second_order_excess(mean: Array, squares: Array) -> Array:
    """Return ln of the mean of p(z) / p(mean z), from the means of z and of its square, m2.

    Example:
        >>> second_order_excess(np.zeros(1), np.full(1, 300.0**2)).round(5).tolist()
        [0.00063]
    """
    temperature = torch.from_numpy(STANDARD_TEMPERATURE - LAPSE_RATE * mean)
    rate = -pressure_log_ratio(torch.ones(()).double(), temperature).numpy()
    variance = (squares - mean**2).clip(0)
    excess: Array = np.log1p(rate**2 * variance / 2)
    return excess


def standard_pressure(height: Array) -> Array:
    """Return the pressure of the standard atmosphere, Pa."""
    pressure: Array = 101325 * np.exp(-standard_log_ratio(height))
    return pressure


def spacing_km(grid: Grid) -> float:
    """Return the geometric mean of the distances of cells along both axes, km."""
    rows, columns = np.radians(grid.spacing)
    middle = np.cos(np.radians(grid.lat.mean()))
    return float(np.sqrt(rows * columns * middle) * EARTH_RADIUS / 1e3)
