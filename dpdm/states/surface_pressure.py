"""Surface pressure of coarse fields: reduced to a smooth height, for a prior with it by physics.

The pressure of a coarse cell is the mean over the cell. So its logarithm at the cell's mean height
is that of the mean, less that of the mean of p(z) / p(mean z) over the relief within. Mean sea
level pressure, where a file has no surface pressure, is taken up to the same height.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from dpdm.constants import EARTH_RADIUS, LAPSE_RATE, STANDARD_TEMPERATURE
from dpdm.errors import DpdmWarning
from dpdm.fields.climatology_grid import average_covered, extend_within
from dpdm.fields.file_names import NAME_ATTR
from dpdm.fields.grid import Grid, extend_grid, grid_of
from dpdm.fields.regrid import interpolate_bilinear
from dpdm.fields.statics import make_statics, read_bundled_statics
from dpdm.fields.subset import locate_subgrid
from dpdm.fields.time import period_of, time_bounds
from dpdm.fields.variables import SURFACE_VARIABLES
from dpdm.operators.interpolation import pressure_log_ratio
from dpdm.prior import Prior
from dpdm.prior.normaliser import to_tensor
from dpdm.prior.pressure import (
    PRESSURE,
    TEMPERATURE,
    PressureNormaliser,
    add_pressure,
    bundled_relief_error,
    pressure_spread,
)
from dpdm.states.reference import margin_cells

Array = NDArray[np.float64]
SEA_LEVEL = "msl"
PRESSURE_NAMES = (PRESSURE, SEA_LEVEL)  # surface pressure is got from the first that a file has
SOURCE = "pressure_source"  # attribute of the coarse variable


def physical_names(prior: Prior) -> tuple[str, ...]:
    """Return the variables of a file that a prior needs no network for."""
    return () if PRESSURE in prior.normaliser.names else PRESSURE_NAMES


def take_pressure(fields: xr.Dataset, prior: Prior) -> xr.Dataset:
    """Return fields with the source of surface pressure under its name, if there is one."""
    source = next((name for name in physical_names(prior) if name in fields), None)
    if source is None:
        return fields
    known = SURFACE_VARIABLES[PRESSURE]
    names = {"standard_name": known.standard_name, "long_name": known.long_name}
    array = fields[source].assign_attrs(names | {SOURCE: source})
    if source != PRESSURE:
        array.attrs.pop(NAME_ATTR, None)  # of another quantity
    return fields.assign({PRESSURE: array})


def describe_pressure(coarse: xr.Dataset, note: str) -> xr.Dataset:
    """Return coarse fields with the method of their surface pressure as a comment."""
    return coarse.assign({PRESSURE: coarse[PRESSURE].assign_attrs(comment=f"By {note}.")})


def is_physical(coarse: xr.Dataset, prior: Prior) -> bool:
    """Tell whether coarse fields have surface pressure that no network draws."""
    return PRESSURE in coarse and PRESSURE not in prior.normaliser.names


def warn_of_omission(fields: xr.Dataset, prior: Prior) -> None:
    """Warn that surface pressure of a file is not drawn."""
    if is_physical(take_pressure(fields, prior), prior):
        warnings.warn(
            "Surface pressure is left out: an error of the coarse fields is for variables that "
            "the network draws. For surface pressure, state none.",
            DpdmWarning,
            stacklevel=2,
        )


def draws_network(coarse: xr.Dataset, prior: Prior) -> bool:
    """Tell whether the network draws a variable of coarse fields."""
    channels = prior.normaliser.network.channels
    return any(c.name in coarse for c in channels)


def add_physics(coarse: xr.Dataset, prior: Prior) -> Prior:
    """Return a prior with the variables of coarse fields that need no network."""
    if not is_physical(coarse, prior):
        return prior
    period = period_of(coarse.get("time"), time_bounds(coarse))
    return add_pressure(prior, draws_network(coarse, prior), period)


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
        source: "sp", or "msl" for mean sea level pressure.
        relief: The relief, for the attributes of the output.
        spread: Median standard deviation of surface pressure, Pa.
    """

    cells: CoarseRelief
    smooth: Array
    source: str
    relief: str
    spread: float

    @property
    def note(self) -> str:
        """Describe how surface pressure is made."""
        return (
            f"the hypsometric equation from {self.source}, height from the {self.relief}, "
            f"median spread {self.spread:.3g} Pa"
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
    if not isinstance(prior.normaliser, PressureNormaliser):
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
        spread=torch.from_numpy(spread),
    )
    reduction = PressureReduction(
        cells,
        smooth,
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
