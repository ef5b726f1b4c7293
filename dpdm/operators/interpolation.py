r"""Observation operators of points and means: interpolation and height correction.

Values at points are bilinear between the four nearest cell centres. With the height difference
:math:`\Delta z = z_{station} - z_{field}`, temperature follows a lapse rate, and pressure the
hypsometric equation with the mean temperature of the layer between:

.. math:: T + \Gamma \Delta z, \qquad
   p \exp\!\Big(-\frac{g \Delta z}{R\,(T + \Gamma \Delta z / 2)}\Big)

Means over areas (catchments, satellite footprints) weight each cell by the overlapping area: on
the sphere, longitude times the sine of latitude. Boxes include parts of cells exactly; a footprint
consists of the cells whose centres lie within its radius.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from dpdm.constants import GAS_CONSTANT, GRAVITY, LAPSE_RATE, STANDARD_TEMPERATURE
from dpdm.errors import DpdmError
from dpdm.operators.geometry import Array, GridAxis, GridLayout
from dpdm.operators.linear import SparseOperator


def point_operator(layout: GridLayout, rows: ArrayLike, columns: ArrayLike) -> SparseOperator:
    """Return the operator of the values at N points.

    Values are constant in the outermost half cell.

    Args:
        layout: The cells of the field.
        rows: Latitudes, or y, with shape (N,).
        columns: Longitudes on any turn, or x, with shape (N,).

    Example:
        >>> from dpdm.operators.geometry import globe_layout
        >>> halfway = point_operator(globe_layout([10, 11], [358, 359]), [10.5], [-1.5])
        >>> halfway(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], dtype=torch.float64))
        tensor([[2.5000]], dtype=torch.float64)
    """
    below, above, up = layout.rows.bracket(np.atleast_1d(rows))
    left, right, along = layout.columns.bracket(np.atleast_1d(columns))
    width, count = layout.shape[1], len(up)
    corners = [(r * width + c) for r in (below, above) for c in (left, right)]
    weights = [v * h for v in (1 - up, up) for h in (1 - along, along)]
    return SparseOperator(
        layout.shape,
        count,
        torch.arange(count).repeat_interleave(4),
        torch.as_tensor(np.stack(corners, axis=1).ravel()),
        torch.as_tensor(np.stack(weights, axis=1).ravel()),
    )


def height_above_relief(links: SparseOperator, relief: ArrayLike, elevation: ArrayLike) -> Tensor:
    """Return the height of stations above the topography of the grid, in m, with shape (N,).

    Args:
        links: The operator of the stations, for the first channel and step.
        relief: Surface altitude of the cells, with shape (H, W), m.
        elevation: Altitude of the stations, with shape (N,), m; NaN if unknown, for height 0.
    """
    surface = links(torch.as_tensor(np.asarray(relief, dtype=float))[None, None])[0]
    known = torch.as_tensor(np.asarray(elevation, dtype=float))
    return (known - surface).nan_to_num(nan=0.0)


def correct_temperature(
    channel: int, height: Tensor, rate: float = -LAPSE_RATE
) -> Callable[[Tensor], Tensor]:
    """Return temperature at the stations' height, from a ``profile`` (B, C, N) as (B, 1, N).

    Args:
        channel: Channel of the temperature.
        height: Height of the stations above the topography, with shape (N,), m.
        rate: Change with height, K m-1.
    """
    return lambda local: local[:, channel, None] + rate * height.to(local)


def pressure_log_ratio(height: Tensor, temperature: Tensor | float) -> Tensor:
    """Return ln p(z + height) / p(z), by the hypsometric equation.

    Args:
        height: Difference of height, m.
        temperature: Temperature at z, K; it changes with height by the standard lapse rate.

    Example:
        >>> at_1000_m = 101325 * pressure_log_ratio(torch.tensor(1000.0), 288.15).exp()
        >>> round(float(at_1000_m))  # the table of the standard atmosphere has 89875
        89875
    """
    layer = temperature - LAPSE_RATE * height / 2
    return -GRAVITY * height / (GAS_CONSTANT * layer)


def correct_pressure(
    channel: int, height: Tensor, temperature: int | None = None
) -> Callable[[Tensor], Tensor]:
    """Return surface pressure at the stations' height, from a ``profile`` (B, C, N) as (B, 1, N).

    Args:
        channel: Channel of the pressure.
        height: Height of the stations above the topography, with shape (N,), m.
        temperature: Channel of the temperature (K), or None for the standard atmosphere's 288 K.
    """

    def correct(local: Tensor) -> Tensor:
        surface = STANDARD_TEMPERATURE if temperature is None else local[:, temperature, None]
        return local[:, channel, None] * pressure_log_ratio(height.to(local), surface).exp()

    return correct


WeightedCells: TypeAlias = tuple[NDArray[np.intp], Array]  # numbers of cells, and their weights


def box_mean_operator(
    layout: GridLayout, south: ArrayLike, north: ArrayLike, west: ArrayLike, east: ArrayLike
) -> SparseOperator:
    """Return the operator of the means over N boxes, each argument of shape (N,).

    Args:
        layout: The cells of the field.
        south: Lower edges of the rows: latitude, or y.
        north: Upper edges of the rows.
        west: Lower edges of the columns: longitude, or x; with a period, on any turn.
        east: Upper edges of the columns, to the east of the lower ones.
    """
    sides = np.broadcast_arrays(*(np.atleast_1d(e) for e in (south, north, west, east)))
    return weighted_mean_operator(
        layout, [box_cells(layout, *each) for each in zip(*sides, strict=True)]
    )


def box_cells(
    layout: GridLayout, south: float, north: float, west: float, east: float
) -> WeightedCells:
    """Return the cells of one box, and their overlapping areas."""
    up = overlap_sizes(layout.rows, south, north, layout.heights)
    along = overlap_sizes(layout.columns, west, east, lambda bounds: bounds)
    rows, columns = np.flatnonzero(up), np.flatnonzero(along)
    cells = rows[:, None] * layout.shape[1] + columns
    return cells.ravel(), np.outer(up[rows], along[columns]).ravel()


def overlap_sizes(
    axis: GridAxis, low: float, high: float, measure: Callable[[Array], Array]
) -> Array:
    """Return the overlap of each cell of an axis with an interval, with shape (n,)."""
    begin, end = normalise_interval(axis, low, high)
    turns = (-axis.period, 0.0, axis.period) if axis.is_cyclic else (0.0,)
    bounds = [axis.overlap(begin + turn, end + turn) for turn in turns]
    inside = np.sum([above - below for below, above in bounds], axis=0)
    if inside.sum() < end - begin - 1e-6 * axis.step:
        raise DpdmError(
            f"A box from {axis.name} {low:g} to {high:g} exceeds the domain, which extends "
            f"from {axis.edges[0]:g} to {axis.edges[-1]:g}.",
            "Remove such boxes, or use a larger domain.",
        )
    parts = np.sum([measure(above) - measure(below) for below, above in bounds], axis=0)
    return np.where(inside > 1e-9 * axis.step, parts, 0.0)


def normalise_interval(axis: GridAxis, low: float, high: float) -> tuple[float, float]:
    """Return the ends of an interval in ascending order, wrapped to the axis."""
    length = high - low
    if axis.period and length < 0:
        length %= axis.period
    if not 0 < length <= (axis.period or np.inf) * (1 + 1e-9):
        raise DpdmError(
            f"A box extends from {axis.name} {low:g} to {high:g}.", "Give the lower edge first."
        )
    middle = float(axis.wrap_places(low + length / 2))
    return middle - length / 2, middle + length / 2


def block_mean_operator(
    layout: GridLayout, rows: ArrayLike, columns: ArrayLike, factor: float
) -> SparseOperator:
    """Return the operator of the means over N blocks of ``factor`` x ``factor`` cells.

    Args:
        layout: The cells of the field.
        rows: Latitudes, or y, of the centres of the blocks, with shape (N,).
        columns: Longitudes, or x.
        factor: Cells along a side; overlapping parts of cells are weighted by area.
    """
    if not factor >= 1:
        raise DpdmError(
            f"The factor of a block mean is {factor:g}.", "Give the number of cells along a side."
        )
    sides = [
        np.asarray(middle, dtype=float) + end * factor * axis.step / 2
        for middle, axis in ((rows, layout.rows), (columns, layout.columns))
        for end in (-1, 1)
    ]
    return box_mean_operator(layout, *sides)


def disc_mean_operator(
    layout: GridLayout, rows: ArrayLike, columns: ArrayLike, radius: ArrayLike
) -> SparseOperator:
    """Return the operator of the means over N discs.

    A disc without any centre is the nearest cell. A disc across the edge of the domain is cut.

    Args:
        layout: The cells of the field.
        rows: Latitudes, or y, of the centres of the discs, with shape (N,).
        columns: Longitudes, or x.
        radius: Radii, in m on the sphere, else in the units of the axes; one or (N,).
    """
    if not np.all(np.asarray(radius) >= 0):
        raise DpdmError("The radius of a mean is negative or not a number.", "Give it in metres.")
    y, x = layout.rows.require_inside(np.atleast_1d(rows)), layout.columns.require_inside(columns)
    places = np.broadcast_arrays(y, x, radius)
    return weighted_mean_operator(
        layout, [disc_cells(layout, *each) for each in zip(*places, strict=True)]
    )


def disc_cells(layout: GridLayout, row: float, column: float, radius: float) -> WeightedCells:
    """Return the cells of one disc, and their areas."""
    away = layout.distance(row, column)
    cells = np.flatnonzero(away <= max(radius, away.min()))
    return cells, layout.areas.numpy().ravel()[cells // layout.shape[1]]


def weighted_mean_operator(layout: GridLayout, means: list[WeightedCells]) -> SparseOperator:
    """Return the operator of the weighted means of lists of cells."""
    counts = torch.tensor([len(cells) for cells, _ in means])
    weights = [areas / areas.sum() for _, areas in means]
    return SparseOperator(
        layout.shape,
        len(means),
        torch.arange(len(means)).repeat_interleave(counts),
        torch.as_tensor(np.concatenate([cells for cells, _ in means])),
        torch.as_tensor(np.concatenate(weights)),
    )
