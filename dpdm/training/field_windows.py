"""The training series of fine fields, and windows of it with their coarse counterparts.

Block means and bilinear interpolation are separable and linear, so the interpolated coarse field
(``lerp``) of a window needs only the cells around it: two small matrices, one per axis. Factor and
position of the blocks are drawn at random for each window, which makes one prior serve a range of
coarse grids. Windows are drawn in proportion to their residual, which is small over most oceans.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.ndimage import uniform_filter
from torch import Tensor

from dpdm.fields.grid import Array, Grid, Matrix
from dpdm.fields.regrid import apply_bilinear, apply_mean, linear_matrix, overlap_matrix
from dpdm.prior.normaliser import (
    Normaliser,
    ReferenceState,
    geometric_mean_factor,
    make_conditioning_channels,
    make_reference_channels,
    make_static_tensors,
)
from dpdm.training.reference import (
    CellValues,
    Floats,
    Index,
    MonthlySums,
    PseudoYears,
    SeriesClimatology,
)


@dataclass(frozen=True, eq=False)
class BlockAxis:
    """One axis of the fine grid, divided into blocks.

    Attributes:
        edges: Edges of the cells, degrees.
        area_coordinate: Edges as sine of latitude or as longitude, to which area is proportional.
        cyclic: Whether the axis is cyclic.
    """

    edges: Array
    area_coordinate: Array
    cyclic: bool

    def make_block_matrices(self, factor: int, phase: int) -> tuple[Matrix, Matrix]:
        """Return the matrices of block means and of their interpolation to the cells."""
        count = len(self.edges) - 1
        inner = np.arange(phase % factor, count + 1, factor)
        ends = np.append(inner, inner[0] + count) if self.cyclic else np.r_[0, inner, count]
        ends = np.unique(ends)
        turn = ends // (count + 1)
        edge, area = (
            e[ends - count * turn] + 360.0 * turn for e in (self.edges, self.area_coordinate)
        )
        mean = overlap_matrix(self.area_coordinate, area, 360.0 if self.cyclic else 0.0)
        centres = (edge[1:] + edge[:-1]) / 2
        cells = (self.edges[1:] + self.edges[:-1]) / 2
        return mean, linear_matrix(centres, cells, self.cyclic)


def block_axes(grid: Grid) -> tuple[BlockAxis, BlockAxis]:
    """Return the axes of a grid, for division into blocks."""
    rows = BlockAxis(grid.lat_edges, np.sin(np.radians(grid.lat_edges)), False)
    return rows, BlockAxis(grid.lon_edges, grid.lon_edges, grid.cyclic)


@lru_cache(maxsize=256)
def block_matrices(axis: BlockAxis, factor: int, phase: int) -> tuple[Matrix, Matrix]:
    """Return the matrices of an axis, cached."""
    return axis.make_block_matrices(factor, phase)


def local_matrices(mean: Matrix, lerp: Matrix, cells: Index) -> tuple[Array, Array, Index]:
    """Return dense matrices of means and interpolation to some cells, and their input cells."""
    rows = sparse.csr_array(lerp[cells])
    coarse = np.unique(rows.indices)
    means = sparse.csr_array(mean[coarse])
    needed = np.unique(means.indices)
    return means[:, needed].toarray(), rows[:, coarse].toarray(), needed


@dataclass(frozen=True)
class CoarseView:
    """Block means of fine fields, interpolated bilinearly to the fine grid.

    Attributes:
        axes: Rows and columns of the fine grid.
        factor: Cells in a block, along rows and columns.
        block_offset: First cell of the first block, along rows and columns.
    """

    axes: tuple[BlockAxis, BlockAxis]
    factor: tuple[int, int]
    block_offset: tuple[int, int] = (0, 0)

    def interpolate_window(self, fields: CellValues, rows: Index, columns: Index) -> Array:
        """Return the interpolated block means (..., h, w) at some cells of fields."""
        pieces = [
            local_matrices(*block_matrices(axis, f, p), cells)
            for axis, f, p, cells in zip(
                self.axes, self.factor, self.block_offset, (rows, columns), strict=True
            )
        ]
        (mean_r, lerp_r, need_r), (mean_c, lerp_c, need_c) = pieces
        around = fields(need_r, need_c)
        return apply_bilinear(apply_mean(around, mean_r, mean_c), lerp_r, lerp_c)

    def interpolate_everywhere(self, fields: Floats) -> Array:
        """Return the interpolated block means at all cells, for fields (C, H, W)."""
        (mean_r, lerp_r), (mean_c, lerp_c) = (
            block_matrices(axis, f, p)
            for axis, f, p in zip(self.axes, self.factor, self.block_offset, strict=True)
        )
        means = [apply_mean(field.astype(float), mean_r, mean_c) for field in fields]
        return np.stack([apply_bilinear(mean, lerp_r, lerp_c) for mean in means])


@dataclass(frozen=True)
class WindowSampler:
    """Draw the positions of windows.

    Attributes:
        cumulative_probability: Cumulative probability of each start, with shape (H, W) flattened.
        shape: Rows and columns of starts.
        size: Rows and columns of a window.
    """

    cumulative_probability: Array
    shape: tuple[int, int]
    size: tuple[int, int] = field(default=(64, 64))

    def draw_window(self, rng: np.random.Generator, width: int) -> tuple[Index, Index]:
        """Draw the rows and columns of one window; columns are taken modulo ``width``."""
        start = int(np.searchsorted(self.cumulative_probability, rng.random(), side="right"))
        i, j = divmod(min(start, len(self.cumulative_probability) - 1), self.shape[1])
        return i + np.arange(self.size[0]), (j + np.arange(self.size[1])) % width


def make_window_sampler(
    value: Array, allowed: NDArray[np.bool_], window: int, cyclic: bool
) -> WindowSampler:
    """Return a sampler of windows without excluded cells, in proportion to their mean value.

    A window is cut to the extent of the grid.
    """
    size = (min(window, value.shape[0]), min(window, value.shape[1]))
    mean, free = (window_means(a, size, cyclic) for a in (value, allowed.astype(float)))
    chance = np.where(free > 1 - 1e-9, np.maximum(mean, 0), 0.0)
    total = chance.sum()
    return WindowSampler(
        np.cumsum(chance.ravel()) / (total if total > 0 else 1.0), chance.shape, size
    )


def window_means(value: Array, size: tuple[int, int], cyclic: bool) -> Array:
    """Return the mean over each window, indexed by its first row and column."""
    mode = ["constant", "wrap" if cyclic else "constant"]
    origin = [-((s - 1) // 2) - (s % 2 == 0) for s in size]
    means: Array = uniform_filter(value, size, mode=mode, origin=origin)
    rows = value.shape[0] - size[0] + 1
    return means[:rows] if cyclic else means[:rows, : value.shape[1] - size[1] + 1]


@dataclass(frozen=True)
class PhysicalWindow:
    """One window of the training series, in physical units.

    Attributes:
        fine: Fine fields (C, h, w).
        lerp: Interpolated coarse fields (C, h, w).
        statics: Topography and land fraction (2, h, w).
        coarse_statics: The same, coarsened and interpolated (2, h, w).
        lat: Latitudes (h,), degrees.
        season: Fraction of the year passed, None where no season applies.
        reference: The reference state and its lerp, (C, h, w) each, or nothing.
    """

    fine: Tensor
    lerp: Tensor
    statics: Array
    coarse_statics: Array
    lat: Array
    season: float | None
    reference: tuple[Tensor, Tensor] | None = None

    def reference_state(self, normaliser: Normaliser) -> ReferenceState | None:
        """Return the reference state in transformed values."""
        if self.reference is None:
            return None
        return ReferenceState(*(normaliser.forward(each) for each in self.reference))

    def mirror(self, signs: Tensor) -> PhysicalWindow:
        """Return the window mirrored at the equator, half a year later.

        Args:
            signs: -1 for variables that change sign (northward wind), with shape (C, 1, 1).
        """
        fine, lerp = self.fine.flip(-2) * signs, self.lerp.flip(-2) * signs
        season = None if self.season is None else (self.season + 0.5) % 1.0
        reference = self.reference
        if reference is not None:
            reference = reference[0].flip(-2) * signs, reference[1].flip(-2) * signs
        return PhysicalWindow(
            fine, lerp, self.statics[:, ::-1], self.coarse_statics[:, ::-1], -self.lat[::-1],
            season, reference,
        )  # fmt: skip


@dataclass(frozen=True)
class TrainingSeries:
    """Fine fields in physical units, and their coarse grids.

    Attributes:
        fine: Fine fields, with shape (T, C, H, W), NaN where missing.
        statics: Topography (m) and land fraction, with shape (2, H, W).
        grid: The fine grid.
        season: Fraction of the year at each step, None where no season applies.
        factors: Least and greatest factor of the block means, without ``coarse``.
        coarse: The user's coarse fields and coarsened statics, interpolated (T, C + 2, H, W).
        fixed_blocks: Whether all blocks have one factor and start at the first cell.
        climatology: The climatology to which steps are referred, or nothing.
        pseudo: Draws the fields of pseudo-years in place of those of the steps, or nothing.
    """

    fine: Floats
    statics: Floats
    grid: Grid
    season: list[float | None]
    factors: tuple[int, int]
    coarse: Floats | None = None
    fixed_blocks: bool = False
    climatology: SeriesClimatology | None = None
    pseudo: PseudoYears | None = None

    @cached_property
    def axes(self) -> tuple[BlockAxis, BlockAxis]:
        """Give the axes, for division into blocks; always the same objects."""
        return block_axes(self.grid)

    def view(self, rng: np.random.Generator) -> CoarseView:
        """Draw a coarse grid: factor and position of its blocks."""
        least, most = self.factors
        one = int(rng.integers(least, most + 1))
        near = int(np.clip(rng.integers(one // 2, one * 2 + 1), least, most))
        factor = (one, one if rng.random() < 0.8 else near)
        if self.fixed_blocks:
            return CoarseView(self.axes, (one, one))
        return CoarseView(
            self.axes, factor, (int(rng.integers(factor[0])), int(rng.integers(factor[1])))
        )

    def cut_window(
        self, steps: slice, season: float | None, view: CoarseView, rows: Index, columns: Index,
        rng: np.random.Generator | None = None,
    ) -> PhysicalWindow:  # fmt: skip
        """Return a window of the mean of some steps, for one coarse grid, in float64.

        With a generator, fields of pseudo-years are drawn, if the series has them.
        """
        fields = self.step_fields(steps, rows, columns, rng)
        window = fields(rows, columns)
        if self.coarse is None:
            lerp = view.interpolate_window(fields, rows, columns)
        else:
            lerp = self.own_lerp(steps, rows, columns)
        count = self.fine.shape[1]
        both = [torch.from_numpy(each) for each in (window, lerp)]
        fine, coarse = (each[:count] for each in both)
        reference = tuple(each[count:-2] for each in both)
        return PhysicalWindow(
            fine, coarse, window[-2:], lerp[-2:], self.grid.lat[rows], season,
            (reference[0], reference[1]) if self.has_reference else None,
        )  # fmt: skip

    @cached_property
    def sums(self) -> MonthlySums:
        """Give the sums of the fine fields over the months of the climatology."""
        assert self.climatology is not None
        return self.climatology.sums(self.fine)

    @cached_property
    def coarse_sums(self) -> MonthlySums:
        """Give those of the user's coarse fields."""
        assert self.climatology is not None
        assert self.coarse is not None
        return self.climatology.sums(self.coarse[:, :-2])

    @property
    def has_reference(self) -> bool:
        """Tell whether windows have a reference state."""
        return self.climatology is not None or self.pseudo is not None

    def step_fields(
        self, steps: slice, rows: Index, columns: Index, rng: np.random.Generator | None
    ) -> CellValues:
        """Return the fields of a window: mean of some steps, reference if any, and statics."""
        pseudo = None if rng is None else self.pseudo
        drawn = None if pseudo is None or rng is None else pseudo.draw(rows, columns, rng)

        def fields(rows: Index, columns: Index) -> Array:
            at = (..., rows[:, None], columns[None, :])
            fine = self.fine[steps][at].astype(float).mean(0)
            parts = [fine if drawn is None else drawn(fine, rows, columns)]
            if self.climatology is not None:
                parts.append(self.climatology.reference(self.fine, self.sums, steps, at))
            elif self.pseudo is not None:
                parts.append(fine)
            return np.concatenate([*parts, self.statics[at]])

        return fields

    def own_lerp(self, steps: slice, rows: Index, columns: Index) -> Array:
        """Return the user's interpolated coarse fields, their reference, and the statics."""
        assert self.coarse is not None
        at = (..., rows[:, None], columns[None, :])
        window = self.coarse[steps][at].astype(float).mean(0)
        parts = [window[:-2]]
        if self.climatology is not None:
            parts.append(
                self.climatology.reference(self.coarse[:, :-2], self.coarse_sums, steps, at)
            )
        return np.concatenate([*parts, window[-2:]])


@dataclass(frozen=True)
class ConditionDropout:
    """Probabilities of conditioning dropout in training.

    Attributes:
        variable: Of the coarse field of each variable.
        everything: Of all coarse fields at once.
        season: Of the season; half of these windows are means over several steps.
        reference: Of the reference state.
        mirror: Of mirroring the window at the equator.
        pseudo: Of drawing a pseudo-year where the reference state is dropped, for training on a
            climatology.
    """

    variable: float = 0.08
    everything: float = 0.04
    season: float = 0.08
    reference: float = 0.1
    mirror: float = 0.0
    pseudo: float = 0.5


NO_DROPOUT = ConditionDropout(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
WITHOUT_REFERENCE = replace(NO_DROPOUT, reference=1.0)


@dataclass(frozen=True)
class TrainingExample:
    """One window for the denoiser, with its scaling to physical values.

    Attributes:
        x: Clean normalised fields (C, h, w), NaN where missing.
        conditioning: Conditioning channels (G, h, w).
        base: Modelled values at x = 0, with shape (C, h, w).
        scale: Modelled values per unit of x, with shape (C, h, w).
        fine: Fine fields (C, h, w).
        lerp: Interpolated coarse fields (C, h, w).
    """

    x: Tensor
    conditioning: Tensor
    base: Tensor
    scale: Tensor
    fine: Tensor
    lerp: Tensor


def make_example(
    archive: TrainingSeries,
    normaliser: Normaliser,
    where: tuple[Index, Index],
    step: int,
    view: CoarseView,
    rng: np.random.Generator,
    drops: ConditionDropout = NO_DROPOUT,
) -> TrainingExample:
    """Return one window of one step, for one coarse grid, with conditioning dropout."""
    steps, season = draw_time_steps(archive, rng, drops, step)
    referred = archive.has_reference and rng.random() >= drops.reference
    pseudo = referred or rng.random() < drops.pseudo
    window = archive.cut_window(steps, season, view, *where, rng if pseudo else None)
    if drops.mirror and rng.random() < drops.mirror:
        window = window.mirror(normaliser.mirror_signs)
    known = drop_variables(normaliser.forward(window.lerp), rng, drops)
    factor = (float(view.factor[0]), float(view.factor[1]))
    size = geometric_mean_factor(factor)
    reference = window.reference_state(normaliser) if referred else None
    base, scale = normaliser.base_and_scale(known, size, reference)
    x = (normaliser.forward(window.fine) - base) / scale
    ground = make_static_tensors(window.statics, window.coarse_statics, window.lat)
    known_factor = None if bool(known.isnan().all()) else factor
    given = make_conditioning_channels(
        normaliser.standardise(known).float(), ground, known_factor, window.season
    )
    if normaliser.takes_reference:
        around = make_reference_channels(normaliser, known, size, reference)
        given = torch.cat([given, around.float()])
    return TrainingExample(x.float(), given, base, scale, window.fine, window.lerp)


def draw_time_steps(
    archive: TrainingSeries, rng: np.random.Generator, drops: ConditionDropout, step: int
) -> tuple[slice, float | None]:
    """Return a step with its season, or by dropout a mean of several steps without one."""
    if rng.random() >= drops.season:
        return slice(step, step + 1), archive.season[step]
    length = min(int(rng.choice([1, 1, 3, 12])), len(archive.fine))
    start = min(step, len(archive.fine) - length)
    return slice(start, start + length), None


def drop_variables(lerp: Tensor, rng: np.random.Generator, drops: ConditionDropout) -> Tensor:
    """Return the interpolated coarse fields with some variables set missing."""
    dropped = rng.random(len(lerp)) < drops.variable
    dropped |= rng.random() < drops.everything
    return torch.where(torch.from_numpy(dropped)[:, None, None], torch.nan, lerp)
