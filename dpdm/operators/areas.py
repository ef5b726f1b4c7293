"""Means over areas and over time: what a gauge of a catchment or a satellite's footprint sees.

Each cell counts by the area that it shares with the mean: on the sphere longitude times the sine
of latitude. Boxes share parts of cells exactly; a footprint holds the cells whose centres lie
within its radius.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from dpdm.errors import DpdmError
from dpdm.operators.layout import Array, Axis, Layout
from dpdm.operators.linear import Links

Part: TypeAlias = tuple[NDArray[np.intp], Array]  # numbers of cells, and their areas


def boxes(
    layout: Layout, south: ArrayLike, north: ArrayLike, west: ArrayLike, east: ArrayLike
) -> Links:
    """Return the operator of the means over N boxes, each argument of shape (N,).

    Args:
        layout: The cells of the field.
        south: Lower edges of the boxes' rows: latitude, or y.
        north: Their upper edges.
        west: Lower edges of the boxes' columns: longitude, or x; with a period, on any turn.
        east: Their upper edges, to the east of the lower ones.
    """
    sides = np.broadcast_arrays(*(np.atleast_1d(e) for e in (south, north, west, east)))
    return gathered(layout, [box(layout, *each) for each in zip(*sides, strict=True)])


def box(layout: Layout, south: float, north: float, west: float, east: float) -> Part:
    """Return the cells of one box, and the areas that they share with it."""
    up = shared(layout.rows, south, north, layout.heights)
    along = shared(layout.columns, west, east, lambda bounds: bounds)
    rows, columns = np.flatnonzero(up), np.flatnonzero(along)
    cells = rows[:, None] * layout.shape[1] + columns
    return cells.ravel(), np.outer(up[rows], along[columns]).ravel()


def shared(axis: Axis, low: float, high: float, measure: Callable[[Array], Array]) -> Array:
    """Return how much of each cell of an axis lies between two edges, with shape (n,)."""
    begin, end = span(axis, low, high)
    turns = (-axis.period, 0.0, axis.period) if axis.closed else (0.0,)
    bounds = [axis.overlap(begin + turn, end + turn) for turn in turns]
    inside = np.sum([above - below for below, above in bounds], axis=0)
    if inside.sum() < end - begin - 1e-6 * axis.step:
        raise DpdmError(
            f"A box from {axis.name} {low:g} to {high:g} reaches beyond the domain, which runs "
            f"from {axis.edges[0]:g} to {axis.edges[-1]:g}.",
            "Leave such boxes out, or use a larger domain.",
        )
    parts = np.sum([measure(above) - measure(below) for below, above in bounds], axis=0)
    return np.where(inside > 1e-9 * axis.step, parts, 0.0)


def span(axis: Axis, low: float, high: float) -> tuple[float, float]:
    """Return an interval's ends in rising order, its lower one on the axis's own turn."""
    length = high - low
    if axis.period and length < 0:
        length %= axis.period
    if not 0 < length <= (axis.period or np.inf) * (1 + 1e-9):
        raise DpdmError(
            f"A box runs from {axis.name} {low:g} to {high:g}.", "Give the lower edge first."
        )
    middle = float(axis.turned(low + length / 2))
    return middle - length / 2, middle + length / 2


def blocks(layout: Layout, rows: ArrayLike, columns: ArrayLike, factor: float) -> Links:
    """Return the operator of the means over N blocks of so many cells along both axes.

    Args:
        layout: The cells of the field.
        rows: Latitudes, or y, of the blocks' middles, with shape (N,).
        columns: Longitudes, or x.
        factor: Cells along a side; those that a block shares in part count in part.
    """
    if not factor >= 1:
        raise DpdmError(
            f"The factor of a mean over a block is {factor:g}.", "Give the cells along a side."
        )
    sides = [
        np.asarray(middle, dtype=float) + end * factor * axis.step / 2
        for middle, axis in ((rows, layout.rows), (columns, layout.columns))
        for end in (-1, 1)
    ]
    return boxes(layout, *sides)


def footprints(layout: Layout, rows: ArrayLike, columns: ArrayLike, radius: ArrayLike) -> Links:
    """Return the operator of the means over N discs.

    A disc that holds no centre is the nearest cell. Beyond the domain's edge nothing is
    known, and the part inside stands for the whole.

    Args:
        layout: The cells of the field.
        rows: Latitudes, or y, of the discs' centres, with shape (N,).
        columns: Longitudes, or x.
        radius: Radii, in m on the sphere, else in the unit of the axes; one or (N,).
    """
    if not np.all(np.asarray(radius) >= 0):
        raise DpdmError("The radius of a mean is below 0, or no number.", "Give one in metres.")
    inside = layout.rows.inside(np.atleast_1d(rows)), layout.columns.inside(columns)
    places = np.broadcast_arrays(*inside, radius)
    return gathered(layout, [disc(layout, *each) for each in zip(*places, strict=True)])


def disc(layout: Layout, row: float, column: float, radius: float) -> Part:
    """Return the cells of one disc, and their areas."""
    away = layout.distance(row, column)
    cells = np.flatnonzero(away <= max(radius, away.min()))
    return cells, layout.areas.numpy().ravel()[cells // layout.shape[1]]


def gathered(layout: Layout, means: list[Part]) -> Links:
    """Return the operator of the weighted means of lists of cells."""
    counts = torch.tensor([len(cells) for cells, _ in means])
    weights = [areas / areas.sum() for _, areas in means]
    return Links(
        layout.shape,
        len(means),
        torch.arange(len(means)).repeat_interleave(counts),
        torch.as_tensor(np.concatenate([cells for cells, _ in means])),
        torch.as_tensor(np.concatenate(weights)),
    )
