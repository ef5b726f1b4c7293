"""The training series: fine fields, statics and coarse counterparts, served as windows.

Training pairs: a fine window, and what its coarse field would have told.

Coarsening by blocks and lerping back are both separable and linear, so a window's lerp needs only
the few cells around it: two small matrices, one per axis. Factor and position of the blocks are
drawn anew for each window, which multiplies the data and makes one prior serve a range of coarse
grids. Windows are drawn in proportion to the residual they hold, for most of the ocean has none.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.ndimage import uniform_filter
from torch import Tensor

from dpdm.fields.climatology import mean_ignoring_missing
from dpdm.fields.grid import Array, Grid, Matrix
from dpdm.fields.regrid import apply_bilinear, apply_mean, linear_matrix, overlap_matrix
from dpdm.prior.normaliser import (
    Normaliser,
    geometric_mean_factor,
    make_conditioning_channels,
    make_static_tensors,
)

Floats = NDArray[np.float32]
Index = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class BlockAxis:
    """One axis of the fine grid, cut into blocks.

    Attributes:
        edges: Edges of the cells, degrees.
        area_coordinate: Edges in the measure of area: sine of latitude, or longitude.
        cyclic: Whether the axis closes.
    """

    edges: Array
    area_coordinate: Array
    cyclic: bool

    def make_block_matrices(self, factor: int, phase: int) -> tuple[Matrix, Matrix]:
        """Return the matrices of block means and of the lerp back to the cells."""
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
    """Return the axes of a grid, ready to be cut into blocks."""
    rows = BlockAxis(grid.lat_edges, np.sin(np.radians(grid.lat_edges)), False)
    return rows, BlockAxis(grid.lon_edges, grid.lon_edges, grid.cyclic)


@lru_cache(maxsize=256)
def block_matrices(axis: BlockAxis, factor: int, phase: int) -> tuple[Matrix, Matrix]:
    """Return an axis's matrices, remembered."""
    return axis.make_block_matrices(factor, phase)


def local_matrices(mean: Matrix, lerp: Matrix, cells: Index) -> tuple[Array, Array, Index]:
    """Return dense means and lerp for some cells, and the cells that the means need."""
    rows = sparse.csr_array(lerp[cells])
    coarse = np.unique(rows.indices)
    means = sparse.csr_array(mean[coarse])
    needed = np.unique(means.indices)
    return means[:, needed].toarray(), rows[:, coarse].toarray(), needed


@dataclass(frozen=True)
class CoarseView:
    """How fine fields look from a coarse grid: block means, lerped back.

    Attributes:
        axes: Rows and columns of the fine grid.
        factor: Cells in a block, along rows and columns.
        block_offset: Where the first block starts, along rows and columns.
    """

    axes: tuple[BlockAxis, BlockAxis]
    factor: tuple[int, int]
    block_offset: tuple[int, int] = (0, 0)

    def interpolate_window(self, fields: Floats, rows: Index, columns: Index) -> Array:
        """Return the lerp of the block means at some cells, for fields (..., H, W)."""
        pieces = [
            local_matrices(*block_matrices(axis, f, p), cells)
            for axis, f, p, cells in zip(
                self.axes, self.factor, self.block_offset, (rows, columns), strict=True
            )
        ]
        (mean_r, lerp_r, need_r), (mean_c, lerp_c, need_c) = pieces
        around = fields[..., need_r[:, None], need_c[None, :]].astype(float)
        return apply_bilinear(apply_mean(around, mean_r, mean_c), lerp_r, lerp_c)

    def interpolate_everywhere(self, fields: Floats) -> Array:
        """Return the lerp of the block means everywhere, for fields (C, H, W)."""
        (mean_r, lerp_r), (mean_c, lerp_c) = (
            block_matrices(axis, f, p)
            for axis, f, p in zip(self.axes, self.factor, self.block_offset, strict=True)
        )
        means = [apply_mean(field.astype(float), mean_r, mean_c) for field in fields]
        return np.stack([apply_bilinear(mean, lerp_r, lerp_c) for mean in means])


@dataclass(frozen=True)
class WindowSampler:
    """Where windows may start, and how often each start is drawn.

    Attributes:
        cumulative_probability: Cumulative probability of each start, with shape (H, W) flattened.
        shape: Rows and columns of starts.
    """

    cumulative_probability: Array
    shape: tuple[int, int]
    size: tuple[int, int] = field(default=(64, 64))

    def draw_window(self, rng: np.random.Generator, width: int) -> tuple[Index, Index]:
        """Return the rows and columns of one window; columns run around the globe."""
        start = int(np.searchsorted(self.cumulative_probability, rng.random(), side="right"))
        i, j = divmod(min(start, len(self.cumulative_probability) - 1), self.shape[1])
        return i + np.arange(self.size[0]), (j + np.arange(self.size[1])) % width


def make_window_sampler(
    value: Array, allowed: NDArray[np.bool_], window: int, cyclic: bool
) -> WindowSampler:
    """Return starts drawn in proportion to the mean value in their window, where all is allowed.

    A dimension smaller than the window gives windows of its own extent.
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
    """One window as it lies in the archive.

    Attributes:
        fine: Physical truth (C, h, w).
        lerp: Physical lerp (C, h, w).
        statics: Topography and land fraction (2, h, w).
        coarse_statics: Their lerp (2, h, w).
        lat: Latitudes (h,), degrees.
        month_climatology: Residual climatology (C, h, w), or nothing.
        season: Fraction of the year passed, None where no season applies.
    """

    fine: Tensor
    lerp: Tensor
    statics: Array
    coarse_statics: Array
    lat: Array
    month_climatology: Tensor | None
    season: float | None

    def mirror(self, signs: Tensor) -> PhysicalWindow:
        """Return the window of a world mirrored at the equator, half a year later.

        Args:
            signs: -1 for what changes its sign, as the northward wind, with shape (C, 1, 1).
        """
        return PhysicalWindow(
            self.fine.flip(-2) * signs, self.lerp.flip(-2) * signs,
            self.statics[:, ::-1], self.coarse_statics[:, ::-1], -self.lat[::-1],
            None if self.month_climatology is None else self.month_climatology.flip(-2) * signs,
            None if self.season is None else (self.season + 0.5) % 1.0,
        )  # fmt: skip


@dataclass(frozen=True)
class TrainingSeries:
    """Fine fields in physical units, and how they are seen from a coarse grid.

    Attributes:
        fine: Fine fields, with shape (T, C, H, W), NaN where missing.
        statics: Topography (m) and land fraction, with shape (2, H, W).
        grid: The fine grid.
        season: Fraction of the year at each step, None where no season applies.
        factors: Least and greatest factor of the block means, where there is no ``coarse``.
        coarse: The user's own coarse fields and coarsened statics, lerped: (T, C + 2, H, W).
        fixed_blocks: Whether blocks keep to one factor and start at the first cell.
        climatology: Residual climatology of the modelled values (12, C, H, W), or nothing.
        leave_out_factor: n / (n - 1) for a climatology of n years: residuals to that of the other
            years
            are this much larger than to one that includes their own.
    """

    fine: Floats
    statics: Floats
    grid: Grid
    season: list[float | None]
    factors: tuple[int, int]
    coarse: Floats | None = None
    fixed_blocks: bool = False
    climatology: Tensor | None = None
    leave_out_factor: float = 1.0

    @property
    def axes(self) -> tuple[BlockAxis, BlockAxis]:
        """Give the axes, ready to be cut into blocks; the same objects each time."""
        found: tuple[BlockAxis, BlockAxis] | None = self.__dict__.get("_axes")
        if found is None:
            found = self.__dict__["_axes"] = block_axes(self.grid)
        return found

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
        self, steps: slice, season: float | None, view: CoarseView, rows: Index, columns: Index
    ) -> PhysicalWindow:
        """Return a window of some steps' mean, seen from one coarse grid, in float64."""
        fine = self.fine[steps].mean(0) if steps.stop - steps.start > 1 else self.fine[steps.start]
        both = np.concatenate([fine, self.statics])
        at = (slice(None), rows[:, None], columns[None, :])
        if self.coarse is None:
            lerp = view.interpolate_window(both, rows, columns)
        else:
            lerp = self.coarse[steps][(slice(None), *at)].mean(0).astype(float)
        here = both[at].astype(float)
        return PhysicalWindow(
            torch.from_numpy(here[:-2]), torch.from_numpy(lerp[:-2]), here[-2:], lerp[-2:],
            self.grid.lat[rows], self.window_climatology(season, rows, columns), season,
        )  # fmt: skip

    def window_climatology(
        self, season: float | None, rows: Index, columns: Index
    ) -> Tensor | None:
        """Return the residual climatology of a window, the annual mean of it without a season."""
        if self.climatology is None:
            return None
        at = (torch.from_numpy(rows)[:, None], torch.from_numpy(columns)[None, :])
        window = self.climatology[:, :, *at].double()
        return window.mean(0) if season is None else window[int(season * 12)]


@dataclass(frozen=True)
class ConditionDropout:
    """How often a condition is withheld in training.

    Attributes:
        variable: Each variable's coarse field.
        everything: All coarse fields at once.
        season: The season; half of these windows are means over several steps.
        mirror: No condition, but the side of the equator: chance of a mirrored window.
    """

    variable: float = 0.08
    everything: float = 0.04
    season: float = 0.08
    mirror: float = 0.0


NO_DROPOUT = ConditionDropout(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class TrainingExample:
    """One window, ready for the denoiser, and the way back to physical values.

    Attributes:
        x: Clean normalised fields (C, h, w), NaN where missing.
        conditioning: Conditioning channels (G, h, w).
        base: Modelled values at x = 0, with shape (C, h, w).
        scale: Modelled values per unit of x, with shape (C, h, w).
        fine: Physical truth (C, h, w).
        lerp: Physical lerp (C, h, w).
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
    """Return one window of one step, seen from one coarse grid, with some conditions withheld."""
    steps, season = draw_time_steps(archive, rng, drops, step)
    scene = archive.cut_window(steps, season, view, *where)
    if drops.mirror and rng.random() < drops.mirror:
        scene = scene.mirror(normaliser.mirror_signs)
    known = drop_variables(normaliser.forward(scene.lerp), rng, drops)
    factor = (float(view.factor[0]), float(view.factor[1]))
    base, scale = normaliser.base_and_scale(
        known, geometric_mean_factor(factor), scene.month_climatology
    )
    x = (normaliser.forward(scene.fine) - base) / scale
    ground = make_static_tensors(scene.statics, scene.coarse_statics, scene.lat)
    seen = None if bool(known.isnan().all()) else factor
    given = make_conditioning_channels(
        normaliser.standardise(known).float(), ground, seen, scene.season
    )
    return TrainingExample(x.float(), given, base, scale, scene.fine, scene.lerp)


def draw_time_steps(
    archive: TrainingSeries, rng: np.random.Generator, drops: ConditionDropout, step: int
) -> tuple[slice, float | None]:
    """Return a step with its season, or now and then a mean of several steps without one."""
    if rng.random() >= drops.season:
        return slice(step, step + 1), archive.season[step]
    length = min(int(rng.choice([1, 1, 3, 12])), len(archive.fine))
    start = min(step, len(archive.fine) - length)
    return slice(start, start + length), None


def drop_variables(lerp: Tensor, rng: np.random.Generator, drops: ConditionDropout) -> Tensor:
    """Return the lerp with some variables missing."""
    lost = rng.random(len(lerp)) < drops.variable
    lost |= rng.random() < drops.everything
    return torch.where(torch.from_numpy(lost)[:, None, None], torch.nan, lerp)


def compute_residual(
    archive: TrainingSeries, normaliser: Normaliser, step: int, factor: int
) -> Array:
    """Return T(fine) - T(lerp), less the residual climatology, of a whole step (C, H, W)."""
    fine = archive.fine[step]
    view = CoarseView(archive.axes, (factor, factor))
    lerp = (
        view.interpolate_everywhere(fine)
        if archive.coarse is None
        else archive.coarse[step, : len(fine)]
    )
    both = (normaliser.forward(torch.from_numpy(each.astype(float))) for each in (fine, lerp))
    modelled, base = both
    everywhere = tuple(np.arange(n) for n in archive.grid.shape)
    monthly = archive.window_climatology(archive.season[step], *everywhere)
    return (modelled - base - (0.0 if monthly is None else monthly)).numpy()


def fit_normaliser(
    archive: TrainingSeries, normaliser: Normaliser, allowed: NDArray[np.bool_], steps: Index
) -> Normaliser:
    """Return the scaling of the training series, from at most 24 of its steps.

    Cells outside ``allowed`` (H, W) are left out; the rest is weighted by area.
    """
    some = subsample_steps(steps, 24)
    weights = np.where(allowed, archive.grid.weights, 0.0)
    fields = [normaliser.forward(torch.from_numpy(archive.fine[s].astype(float))) for s in some]
    centre, deviation = weighted_moments([f.numpy() for f in fields], weights)
    tried = sorted({round(f) for f in np.geomspace(*archive.factors, 5)})
    by_factor = {
        f: weighted_moments(
            [compute_residual(archive, normaliser, s, f) for s in some], weights, 0.0
        )[1]
        for f in tried
    }
    return Normaliser(tuple(
        replace(
            c, mean=float(centre[i]), std=float(deviation[i]),
            residual=tuple(
                (float(f), float(r[i]) * archive.leave_out_factor) for f, r in by_factor.items()
            ),
        )
        for i, c in enumerate(normaliser.channels)
    ))  # fmt: skip


def subsample_steps(steps: Index, most: int) -> Index:
    """Return at most so many steps, evenly spread."""
    some: Index = steps[np.unique(np.linspace(0, len(steps) - 1, most).astype(int))]
    return some


def weighted_moments(
    fields: list[Array], weights: Array, mean: float | None = None
) -> tuple[Array, Array]:
    """Return weighted mean (unless given) and deviation of each variable, NaN-safe."""
    seen = [np.where(np.isfinite(f), weights, 0.0) for f in fields]
    clean = [np.nan_to_num(f) for f in fields]
    share = sum(s.sum((1, 2)) for s in seen)
    first = sum((s * f).sum((1, 2)) for s, f in zip(seen, clean, strict=True)) / share
    second = sum((s * f**2).sum((1, 2)) for s, f in zip(seen, clean, strict=True)) / share
    centre = first if mean is None else np.full_like(first, mean)
    return centre, np.sqrt(np.maximum(second - centre**2, 0.0))


def residual_importance(archive: TrainingSeries, normaliser: Normaliser, steps: Index) -> Array:
    """Return how much residual each cell holds, with shape (H, W): 0.1 plus its normalised RMS.

    What is missing, below ground for example, says nothing either way.
    """
    factor = round(np.sqrt(archive.factors[0] * archive.factors[1]))
    scale = np.array([c.residual_std(factor) for c in normaliser.channels])[:, None, None]
    squares = [
        (compute_residual(archive, normaliser, s, factor) / scale) ** 2
        for s in subsample_steps(steps, 12)
    ]
    held: Array = 0.1 + np.sqrt(
        np.nan_to_num(mean_ignoring_missing(mean_ignoring_missing(np.stack(squares))))
    )
    return held


def residual_climatology(archive: TrainingSeries, normaliser: Normaliser, steps: Index) -> Tensor:
    """Return the mean residual of each calendar month, with shape (12, C, H, W)."""
    months = np.array([int((archive.season[s] or 0.0) * 12) for s in steps])
    means = [
        mean_ignoring_missing(
            np.stack(
                [
                    compute_residual(archive, normaliser, s, archive.factors[0])
                    for s in steps[months == m]
                ]
            )
        )
        for m in range(12)
    ]
    return torch.from_numpy(np.stack(means).astype(np.float32))
