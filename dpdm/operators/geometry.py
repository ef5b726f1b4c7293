"""Geometry of regular grids: on the sphere, or on a plane that may be periodic.

An axis has centres and a period; it is cyclic if its cells fill the period. This one rule covers
the dateline of global fields, the edge of regional fields and periodic test beds. Angles have a
period on regional fields too, so that longitudes may be given on any turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from dpdm.constants import EARTH_RADIUS
from dpdm.errors import DpdmError

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GridAxis:
    """A regular ascending axis.

    Attributes:
        name: Its name in messages.
        centres: Centres of the cells, with shape (n,), n of 2 or more.
        period: The period; 0 for none.
    """

    name: str
    centres: Array
    period: float = 0.0

    def __post_init__(self) -> None:
        """Refuse an axis that is too short, descending or irregular."""
        steps = np.diff(self.centres)
        rising = len(steps) > 0 and steps[0] > 0
        if not rising or not np.allclose(steps, steps[0], rtol=1e-3, atol=0):
            raise DpdmError(
                f"The axis {self.name} is not regular and ascending.",
                "Give two or more cell centres at equal distances.",
            )

    @property
    def step(self) -> float:
        """Give the distance between neighbours."""
        return float((self.centres[-1] - self.centres[0]) / (len(self.centres) - 1))

    @property
    def is_cyclic(self) -> bool:
        """Tell whether the cells fill the period, so that the last is next to the first."""
        gap = abs(len(self.centres) * self.step - self.period)
        return self.period > 0 and gap < 1e-3 * self.step

    @property
    def edges(self) -> Array:
        """Give the n + 1 edges of the cells."""
        outer: Array = self.centres[0] + self.step * (np.arange(len(self.centres) + 1) - 0.5)
        return outer

    def wrap_places(self, at: ArrayLike) -> Array:
        """Return coordinates on the turn nearest to the axis."""
        places = np.asarray(at, dtype=float)
        if not self.period:
            return places
        middle = (self.edges[0] + self.edges[-1]) / 2
        wrapped: Array = middle + (places - middle + self.period / 2) % self.period
        return wrapped - self.period / 2

    def require_inside(self, at: ArrayLike) -> Array:
        """Return wrapped coordinates, refusing those beyond the outer edges."""
        wrapped, slack = self.wrap_places(at), 1e-6 * self.step
        # Negated, so that NaN is outside too.
        outside = ~((wrapped >= self.edges[0] - slack) & (wrapped <= self.edges[-1] + slack))
        if outside.any():
            raise DpdmError(
                f"The {self.name} {np.ravel(at)[np.ravel(outside)][0]:g} lies outside the domain, "
                f"which extends from {self.edges[0]:g} to {self.edges[-1]:g}.",
                "Remove such points, or use a larger domain.",
            )
        return wrapped

    def bracket(self, at: ArrayLike) -> tuple[Array, Array, Array]:
        """Return the cells on both sides of some coordinates, and the weight of the second.

        On the outermost half cell both are the outermost cell. At a centre both are that cell, so
        that a missing neighbour of zero weight has no effect.
        """
        place = (self.require_inside(at) - self.centres[0]) / self.step
        place = np.where(np.abs(place - np.round(place)) < 1e-9, np.round(place), place)
        if not self.is_cyclic:
            place = place.clip(0, len(self.centres) - 1)
        left = np.floor(place)
        share = place - left
        right = left + (share > 0)
        count = len(self.centres)
        return left.astype(int) % count, right.astype(int) % count, share

    def overlap(self, low: float, high: float) -> tuple[Array, Array]:
        """Return the bounds of the overlap of each cell with an interval, equal for none."""
        below: Array = self.edges[:-1].clip(min=low)
        above: Array = self.edges[1:].clip(max=high)
        return below, np.maximum(below, above)


@dataclass(frozen=True, eq=False)
class GridLayout:
    """The cells of a field.

    Attributes:
        rows: Axis of the rows.
        columns: Axis of the columns.
        sphere: Whether they are latitudes and longitudes, in degrees.
    """

    rows: GridAxis
    columns: GridAxis
    sphere: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Count the rows and columns."""
        return len(self.rows.centres), len(self.columns.centres)

    def heights(self, bounds: Array) -> Array:
        """Return row edges in a coordinate proportional to area: sines on the sphere."""
        return np.sin(np.radians(bounds.clip(-90, 90))) if self.sphere else bounds

    @cached_property
    def areas(self) -> Tensor:
        """Give the cell area of each row, relative to their mean, with shape (H, 1)."""
        rows = np.diff(self.heights(self.rows.edges))
        return torch.as_tensor(rows / rows.mean())[:, None]

    def distance(self, row: float, column: float) -> Array:
        """Return the distance from a point to all centres (H, W), in metres on the sphere."""
        y = self.rows.centres[:, None] - row
        x = self.columns.centres - column
        if not self.sphere:
            y, x = wrap_distance(y, self.rows.period), wrap_distance(x, self.columns.period)
            return np.asarray(np.hypot(y, x))
        cosines = np.cos(np.radians(row)) * np.cos(np.radians(self.rows.centres[:, None]))
        haversine = half_sine(y) + cosines * half_sine(x)
        arc: Array = 2 * EARTH_RADIUS * np.arcsin(np.sqrt(haversine.clip(0, 1)))
        return arc


def wrap_distance(distance: Array, period: float) -> Array:
    """Return distances along the shorter arc."""
    turns: Array = np.round(distance / period) if period else np.zeros_like(distance)
    return distance - period * turns


def half_sine(degrees: Array) -> Array:
    """Return sin^2(d / 2)."""
    square: Array = np.sin(np.radians(degrees) / 2) ** 2
    return square


def globe_layout(lat: ArrayLike, lon: ArrayLike) -> GridLayout:
    """Return the layout of a regular latitude-longitude grid, both axes ascending, in degrees.

    Example:
        >>> globe_layout(np.arange(-88.75, 90, 2.5), np.arange(0, 360, 2.5)).columns.is_cyclic
        True
    """
    rows = GridAxis("latitude", np.asarray(lat, dtype=float))
    return GridLayout(
        rows, GridAxis("longitude", np.asarray(lon, dtype=float), 360.0), sphere=True
    )


def plane_layout(y: ArrayLike, x: ArrayLike, period: float = 0.0) -> GridLayout:
    """Return the layout of a plane, periodic in both directions where a period is given.

    Example:
        >>> sides = np.arange(64) * 2 * np.pi / 64
        >>> plane_layout(sides, sides, 2 * np.pi).rows.is_cyclic
        True
    """
    rows = GridAxis("y", np.asarray(y, dtype=float), period)
    return GridLayout(rows, GridAxis("x", np.asarray(x, dtype=float), period), sphere=False)
