"""The training series: fine fields, statics and coarse counterparts, served as windows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpdm.fields.climate import mean_seen
from dpdm.fields.grid import Array, Grid
from dpdm.fields.pairs import Axis, Floats, Index, View, axes_of
from dpdm.fields.tensors import Normaliser, conditioning, geometric, ground_tensors


@dataclass(frozen=True)
class Scene:
    """One window as it lies in the archive.

    Attributes:
        fine: Physical truth (C, h, w).
        lerp: Physical lerp (C, h, w).
        statics: Topography and land fraction (2, h, w).
        smooth: Their lerp (2, h, w).
        lat: Latitudes (h,), degrees.
        monthly: Residual climatology (C, h, w), or nothing.
        season: Fraction of the year passed, None where no season applies.
    """

    fine: Tensor
    lerp: Tensor
    statics: Array
    smooth: Array
    lat: Array
    monthly: Tensor | None
    season: float | None

    def mirrored(self, signs: Tensor) -> Scene:
        """Return the window of a world mirrored at the equator, half a year later.

        Args:
            signs: -1 for what changes its sign, as the northward wind, with shape (C, 1, 1).
        """
        return Scene(
            self.fine.flip(-2) * signs, self.lerp.flip(-2) * signs,
            self.statics[:, ::-1], self.smooth[:, ::-1], -self.lat[::-1],
            None if self.monthly is None else self.monthly.flip(-2) * signs,
            None if self.season is None else (self.season + 0.5) % 1.0,
        )  # fmt: skip


@dataclass(frozen=True)
class Archive:
    """Fine fields in physical units, and how they are seen from a coarse grid.

    Attributes:
        fine: Fine fields, with shape (T, C, H, W), NaN where missing.
        statics: Topography (m) and land fraction, with shape (2, H, W).
        grid: The fine grid.
        season: Fraction of the year at each step, None where no season applies.
        factors: Least and greatest factor of the block means, where there is no ``coarse``.
        coarse: The user's own coarse fields and coarsened statics, lerped: (T, C + 2, H, W).
        fixed: Whether blocks keep to one factor and start at the first cell.
        climatology: Residual climatology of the modelled values (12, C, H, W), or nothing.
        leave_out: n / (n - 1) for a climatology of n years: residuals to that of the other years
            are this much larger than to one that includes their own.
    """

    fine: Floats
    statics: Floats
    grid: Grid
    season: list[float | None]
    factors: tuple[int, int]
    coarse: Floats | None = None
    fixed: bool = False
    climatology: Tensor | None = None
    leave_out: float = 1.0

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """Give the axes, ready to be cut into blocks; the same objects each time."""
        found: tuple[Axis, Axis] | None = self.__dict__.get("_axes")
        if found is None:
            found = self.__dict__["_axes"] = axes_of(self.grid)
        return found

    def view(self, rng: np.random.Generator) -> View:
        """Draw a coarse grid: factor and position of its blocks."""
        least, most = self.factors
        one = int(rng.integers(least, most + 1))
        near = int(np.clip(rng.integers(one // 2, one * 2 + 1), least, most))
        factor = (one, one if rng.random() < 0.8 else near)
        if self.fixed:
            return View(self.axes, (one, one))
        return View(
            self.axes, factor, (int(rng.integers(factor[0])), int(rng.integers(factor[1])))
        )

    def scene(
        self, steps: slice, season: float | None, view: View, rows: Index, columns: Index
    ) -> Scene:
        """Return a window of some steps' mean, seen from one coarse grid, in float64."""
        fine = self.fine[steps].mean(0) if steps.stop - steps.start > 1 else self.fine[steps.start]
        both = np.concatenate([fine, self.statics])
        at = (slice(None), rows[:, None], columns[None, :])
        if self.coarse is None:
            lerp = view.window(both, rows, columns)
        else:
            lerp = self.coarse[steps][(slice(None), *at)].mean(0).astype(float)
        here = both[at].astype(float)
        return Scene(
            torch.from_numpy(here[:-2]), torch.from_numpy(lerp[:-2]), here[-2:], lerp[-2:],
            self.grid.lat[rows], self.monthly(season, rows, columns), season,
        )  # fmt: skip

    def monthly(self, season: float | None, rows: Index, columns: Index) -> Tensor | None:
        """Return the residual climatology of a window, the annual mean of it without a season."""
        if self.climatology is None:
            return None
        at = (torch.from_numpy(rows)[:, None], torch.from_numpy(columns)[None, :])
        window = self.climatology[:, :, *at].double()
        return window.mean(0) if season is None else window[int(season * 12)]


@dataclass(frozen=True)
class Drops:
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


NOTHING = Drops(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Example:
    """One window, ready for the denoiser, and the way back to physical values.

    Attributes:
        x: Clean normalised fields (C, h, w), NaN where missing.
        given: Conditioning channels (G, h, w).
        base: Modelled values at x = 0, with shape (C, h, w).
        scale: Modelled values per unit of x, with shape (C, h, w).
        fine: Physical truth (C, h, w).
        lerp: Physical lerp (C, h, w).
    """

    x: Tensor
    given: Tensor
    base: Tensor
    scale: Tensor
    fine: Tensor
    lerp: Tensor


def example(
    archive: Archive,
    normaliser: Normaliser,
    where: tuple[Index, Index],
    step: int,
    view: View,
    rng: np.random.Generator,
    drops: Drops = NOTHING,
) -> Example:
    """Return one window of one step, seen from one coarse grid, with some conditions withheld."""
    steps, season = span(archive, rng, drops, step)
    scene = archive.scene(steps, season, view, *where)
    if drops.mirror and rng.random() < drops.mirror:
        scene = scene.mirrored(normaliser.signs)
    known = withhold(normaliser.forward(scene.lerp), rng, drops)
    factor = (float(view.factor[0]), float(view.factor[1]))
    base, scale = normaliser.frame(known, geometric(factor), scene.monthly)
    x = (normaliser.forward(scene.fine) - base) / scale
    ground = ground_tensors(scene.statics, scene.smooth, scene.lat)
    seen = None if bool(known.isnan().all()) else factor
    given = conditioning(normaliser.standard(known).float(), ground, seen, scene.season)
    return Example(x.float(), given, base, scale, scene.fine, scene.lerp)


def span(
    archive: Archive, rng: np.random.Generator, drops: Drops, step: int
) -> tuple[slice, float | None]:
    """Return a step with its season, or now and then a mean of several steps without one."""
    if rng.random() >= drops.season:
        return slice(step, step + 1), archive.season[step]
    length = min(int(rng.choice([1, 1, 3, 12])), len(archive.fine))
    start = min(step, len(archive.fine) - length)
    return slice(start, start + length), None


def withhold(lerp: Tensor, rng: np.random.Generator, drops: Drops) -> Tensor:
    """Return the lerp with some variables missing."""
    lost = rng.random(len(lerp)) < drops.variable
    lost |= rng.random() < drops.everything
    return torch.where(torch.from_numpy(lost)[:, None, None], torch.nan, lerp)


def residual(archive: Archive, normaliser: Normaliser, step: int, factor: int) -> Array:
    """Return T(fine) - T(lerp), less the residual climatology, of a whole step (C, H, W)."""
    fine = archive.fine[step]
    view = View(archive.axes, (factor, factor))
    lerp = view.whole(fine) if archive.coarse is None else archive.coarse[step, : len(fine)]
    both = (normaliser.forward(torch.from_numpy(each.astype(float))) for each in (fine, lerp))
    modelled, base = both
    everywhere = tuple(np.arange(n) for n in archive.grid.shape)
    monthly = archive.monthly(archive.season[step], *everywhere)
    return (modelled - base - (0.0 if monthly is None else monthly)).numpy()


def fit(
    archive: Archive, normaliser: Normaliser, allowed: NDArray[np.bool_], steps: Index
) -> Normaliser:
    """Return the scaling of the training series, from at most 24 of its steps.

    Cells outside ``allowed`` (H, W) are left out; the rest is weighted by area.
    """
    some = thin(steps, 24)
    weights = np.where(allowed, archive.grid.weights, 0.0)
    fields = [normaliser.forward(torch.from_numpy(archive.fine[s].astype(float))) for s in some]
    centre, deviation = moments([f.numpy() for f in fields], weights)
    tried = sorted({round(f) for f in np.geomspace(*archive.factors, 5)})
    by_factor = {
        f: moments([residual(archive, normaliser, s, f) for s in some], weights, 0.0)[1]
        for f in tried
    }
    return Normaliser(tuple(
        replace(
            c, mean=float(centre[i]), std=float(deviation[i]),
            residual=tuple(
                (float(f), float(r[i]) * archive.leave_out) for f, r in by_factor.items()
            ),
        )
        for i, c in enumerate(normaliser.channels)
    ))  # fmt: skip


def thin(steps: Index, most: int) -> Index:
    """Return at most so many steps, evenly spread."""
    some: Index = steps[np.unique(np.linspace(0, len(steps) - 1, most).astype(int))]
    return some


def moments(fields: list[Array], weights: Array, mean: float | None = None) -> tuple[Array, Array]:
    """Return weighted mean (unless given) and deviation of each variable, NaN-safe."""
    seen = [np.where(np.isfinite(f), weights, 0.0) for f in fields]
    clean = [np.nan_to_num(f) for f in fields]
    share = sum(s.sum((1, 2)) for s in seen)
    first = sum((s * f).sum((1, 2)) for s, f in zip(seen, clean, strict=True)) / share
    second = sum((s * f**2).sum((1, 2)) for s, f in zip(seen, clean, strict=True)) / share
    centre = first if mean is None else np.full_like(first, mean)
    return centre, np.sqrt(np.maximum(second - centre**2, 0.0))


def importance(archive: Archive, normaliser: Normaliser, steps: Index) -> Array:
    """Return how much residual each cell holds, with shape (H, W): 0.1 plus its normalised RMS.

    What is missing, below ground for example, says nothing either way.
    """
    factor = round(np.sqrt(archive.factors[0] * archive.factors[1]))
    scale = np.array([c.scale(factor) for c in normaliser.channels])[:, None, None]
    squares = [(residual(archive, normaliser, s, factor) / scale) ** 2 for s in thin(steps, 12)]
    held: Array = 0.1 + np.sqrt(np.nan_to_num(mean_seen(mean_seen(np.stack(squares)))))
    return held


def climatology(archive: Archive, normaliser: Normaliser, steps: Index) -> Tensor:
    """Return the mean residual of each calendar month, with shape (12, C, H, W)."""
    months = np.array([int((archive.season[s] or 0.0) * 12) for s in steps])
    means = [
        mean_seen(
            np.stack(
                [residual(archive, normaliser, s, archive.factors[0]) for s in steps[months == m]]
            )
        )
        for m in range(12)
    ]
    return torch.from_numpy(np.stack(means).astype(np.float32))
