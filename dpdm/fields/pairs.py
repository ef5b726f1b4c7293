r"""Training pairs: a fine window, and what its coarse field would have told.

Coarsening by blocks and lerping back are both separable and linear, so a window's lerp needs only
the few cells around it: two small matrices, one per axis. Factor and position of the blocks are
drawn anew for each window, which multiplies the data and makes one prior serve a range of coarse
grids. Windows are drawn in proportion to the residual they hold, for most of the ocean has none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.ndimage import uniform_filter

from dpdm.fields.grid import Array, Grid, Matrix, overlap, spread_lerp, spread_mean, stencil

Floats = NDArray[np.float32]
Index = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis of the fine grid, cut into blocks.

    Attributes:
        edges: Edges of the cells, degrees.
        measure: Edges in the measure of area: sine of latitude, or longitude.
        cyclic: Whether the axis closes.
    """

    edges: Array
    measure: Array
    cyclic: bool

    def blocks(self, factor: int, phase: int) -> tuple[Matrix, Matrix]:
        """Return the matrices of block means and of the lerp back to the cells."""
        count = len(self.edges) - 1
        inner = np.arange(phase % factor, count + 1, factor)
        ends = np.append(inner, inner[0] + count) if self.cyclic else np.r_[0, inner, count]
        ends = np.unique(ends)
        turn = ends // (count + 1)
        edge, area = (e[ends - count * turn] + 360.0 * turn for e in (self.edges, self.measure))
        mean = overlap(self.measure, area, 360.0 if self.cyclic else 0.0)
        centres = (edge[1:] + edge[:-1]) / 2
        cells = (self.edges[1:] + self.edges[:-1]) / 2
        return mean, stencil(centres, cells, self.cyclic)


def axes_of(grid: Grid) -> tuple[Axis, Axis]:
    """Return the axes of a grid, ready to be cut into blocks."""
    rows = Axis(grid.lat_edges, np.sin(np.radians(grid.lat_edges)), False)
    return rows, Axis(grid.lon_edges, grid.lon_edges, grid.cyclic)


@lru_cache(maxsize=256)
def cut(axis: Axis, factor: int, phase: int) -> tuple[Matrix, Matrix]:
    """Return an axis's matrices, remembered."""
    return axis.blocks(factor, phase)


def local(mean: Matrix, lerp: Matrix, cells: Index) -> tuple[Array, Array, Index]:
    """Return dense means and lerp for some cells, and the cells that the means need."""
    rows = sparse.csr_array(lerp[cells])
    coarse = np.unique(rows.indices)
    means = sparse.csr_array(mean[coarse])
    needed = np.unique(means.indices)
    return means[:, needed].toarray(), rows[:, coarse].toarray(), needed


@dataclass(frozen=True)
class View:
    """How fine fields look from a coarse grid: block means, lerped back.

    Attributes:
        axes: Rows and columns of the fine grid.
        factor: Cells in a block, along rows and columns.
        phase: Where the first block starts, along rows and columns.
    """

    axes: tuple[Axis, Axis]
    factor: tuple[int, int]
    phase: tuple[int, int] = (0, 0)

    def window(self, fields: Floats, rows: Index, columns: Index) -> Array:
        """Return the lerp of the block means at some cells, for fields (..., H, W)."""
        pieces = [
            local(*cut(axis, f, p), cells)
            for axis, f, p, cells in zip(
                self.axes, self.factor, self.phase, (rows, columns), strict=True
            )
        ]
        (mean_r, lerp_r, need_r), (mean_c, lerp_c, need_c) = pieces
        around = fields[..., need_r[:, None], need_c[None, :]].astype(float)
        return spread_lerp(spread_mean(around, mean_r, mean_c), lerp_r, lerp_c)

    def whole(self, fields: Floats) -> Array:
        """Return the lerp of the block means everywhere, for fields (C, H, W)."""
        (mean_r, lerp_r), (mean_c, lerp_c) = (
            cut(axis, f, p) for axis, f, p in zip(self.axes, self.factor, self.phase, strict=True)
        )
        means = [spread_mean(field.astype(float), mean_r, mean_c) for field in fields]
        return np.stack([spread_lerp(mean, lerp_r, lerp_c) for mean in means])


@dataclass(frozen=True)
class Places:
    """Where windows may start, and how often each start is drawn.

    Attributes:
        chance: Cumulative probability of each start, with shape (H, W) flattened.
        shape: Rows and columns of starts.
    """

    chance: Array
    shape: tuple[int, int]
    size: tuple[int, int] = field(default=(64, 64))

    def draw(self, rng: np.random.Generator, width: int) -> tuple[Index, Index]:
        """Return the rows and columns of one window; columns run around the globe."""
        start = int(np.searchsorted(self.chance, rng.random(), side="right"))
        i, j = divmod(min(start, len(self.chance) - 1), self.shape[1])
        return i + np.arange(self.size[0]), (j + np.arange(self.size[1])) % width


def places(value: Array, allowed: NDArray[np.bool_], window: int, cyclic: bool) -> Places:
    """Return starts drawn in proportion to the mean value in their window, where all is allowed.

    A dimension smaller than the window gives windows of its own extent.
    """
    size = (min(window, value.shape[0]), min(window, value.shape[1]))
    mean, free = (starts(a, size, cyclic) for a in (value, allowed.astype(float)))
    chance = np.where(free > 1 - 1e-9, np.maximum(mean, 0), 0.0)
    total = chance.sum()
    return Places(np.cumsum(chance.ravel()) / (total if total > 0 else 1.0), chance.shape, size)


def starts(value: Array, size: tuple[int, int], cyclic: bool) -> Array:
    """Return the mean over each window, indexed by its first row and column."""
    mode = ["constant", "wrap" if cyclic else "constant"]
    origin = [-((s - 1) // 2) - (s % 2 == 0) for s in size]
    means: Array = uniform_filter(value, size, mode=mode, origin=origin)
    rows = value.shape[0] - size[0] + 1
    return means[:rows] if cyclic else means[:rows, : value.shape[1] - size[1] + 1]
