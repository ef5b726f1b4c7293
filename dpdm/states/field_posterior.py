"""A prior of fields bound to what is known of one step: block means, relief, season."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpdm.diffusion.block_means import BlockMeanConstraint, BlockMeans
from dpdm.diffusion.denoise import inflate
from dpdm.diffusion.guidance import Observation, operator_variance
from dpdm.diffusion.tile import SpatialWindows, fit_window_size, tile_denoiser
from dpdm.fields.grid import Grid
from dpdm.prior import CLIMATE_STATES, Prior
from dpdm.prior.normaliser import (
    geometric_mean_factor,
    make_conditioning_channels,
    make_static_tensors,
)
from dpdm.states.sampling import SamplerConfig
from dpdm.types import Denoise, Fields, Operator, Sigma, Values

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Conditioning:
    """What is known of one step, on the fine grid.

    Attributes:
        lerp: Physical lerp of the coarse fields (C, H, W), float64, NaN where missing.
        statics: Topography (m) and land fraction (2, H, W).
        smooth: The same, averaged to the coarse grid and lerped back.
        grid: The fine grid.
        factor: Coarse over fine spacing, along latitude and longitude; None without coarse.
        season: Fraction of the year passed, None where no season applies.
        climatology: Residual climatology of this step (C, H, W), or nothing.
        blocks: Block means to honour, or nothing.
    """

    lerp: Tensor
    statics: Array
    smooth: Array
    grid: Grid
    factor: tuple[float, float] | None
    season: float | None
    climatology: Tensor | None = None
    blocks: BlockMeans | None = None


def choose_windows(grid: Grid, most: int, overlap: int) -> SpatialWindows:
    """Return windows of up to ``most`` cells a side, no larger than they need to be.

    They may exceed those of training, for what the network says of a cell does not depend on the
    extent around it; fewer borders cost less.
    """
    height, width = grid.shape
    across = min(most, width) if grid.cyclic else fit_window_size(width, most, overlap)
    size = (fit_window_size(height, most, overlap), across)
    return SpatialWindows(grid.shape, size, overlap, grid.cyclic)


class Posterior:
    """A prior of fields bound to what is known: the windows' features are computed once."""

    def __init__(self, prior: Prior, known: Conditioning, sampler: SamplerConfig) -> None:
        self.prior, self.known, self.sampler = prior, known, sampler
        coarse = prior.normaliser.forward(known.lerp)
        factor = geometric_mean_factor(known.factor) if known.factor else prior.contract.factors[1]
        self.base, self.scale = prior.normaliser.base_and_scale(coarse, factor, known.climatology)
        ground = make_static_tensors(known.statics, known.smooth, known.grid.lat)
        standard = prior.normaliser.standardise(coarse).float()
        fields = make_conditioning_channels(standard, ground, known.factor, known.season).to(
            sampler.device
        )
        most = sampler.widest * prior.contract.window
        self.windows = choose_windows(known.grid, most, sampler.overlap)
        with torch.no_grad():
            self.features = [
                prior.denoiser.features(fields[None][place])
                for place in self.windows.window_slices()
            ]

    def tiled(self, which: int) -> Denoise:
        """Return the mean (0) or the variance (1) of the whole domain."""

        def one(features: list[Tensor]) -> Denoise:
            def local(x_t: Fields, sigma: Sigma) -> Fields:
                return self.prior.denoiser.moments(x_t, sigma, features)[which]

            return local

        return tile_denoiser([one(f) for f in self.features], self.windows)

    @torch.no_grad()
    def moments(self) -> tuple[Tensor, Tensor]:
        """Return mean and variance of modelled values (C, H, W), in one evaluation each."""
        mean, variance = (self.first(which)[0].cpu().double() for which in (0, 1))
        return self.base + self.scale * mean, self.scale**2 * variance

    @torch.no_grad()
    def first(self, which: int) -> Fields:
        """Return the mean (0) or variance (1) of x where noise hides all, (1, C, H, W)."""
        zero = torch.zeros(1, *self.base.shape, device=self.sampler.device)
        sigma = torch.full((1,), self.prior.contract.sigma[1], device=self.sampler.device)
        return self.tiled(which)(zero, sigma)

    def denoise(self, sampler: SamplerConfig, seen: Observation | None = None) -> Denoise:
        """Return the denoiser to sample from: tiled, as wide as it should be, and honouring.

        Args:
            sampler: By how much it is widened, and how observations pull.
            seen: Observations of x, or nothing.
        """
        wide = inflate(self.tiled(0), self.first(0), sampler.inflation)
        if seen is not None:
            wide = sampler.guide(wide, seen)
        return wide if self.match is None else self.match.constrain_denoiser(wide)

    @cached_property
    def match(self) -> BlockMeanConstraint | None:
        """Give what makes members honour the block means, if there are any."""
        if self.known.blocks is None:
            return None
        transforms = tuple(c.transform for c in self.prior.normaliser.channels)
        return BlockMeanConstraint(
            self.known.blocks, transforms, self.base, self.scale, self.moments()[1]
        )

    def normalise(self, values: Array) -> Tensor:
        """Return x of physical fields (C, H, W)."""
        forward = self.prior.normaliser.forward(torch.from_numpy(values))
        return ((forward - self.base) / self.scale).float()

    def physical(self, x: Fields) -> Fields:
        """Return physical fields (B, C, H, W), differentiable in x."""
        return self.prior.normaliser.inverse(self.base.to(x) + self.scale.to(x) * x)

    def member(self, x: Tensor) -> Array:
        """Return the physical member (C, H, W), which honours block means exactly."""
        u = self.base + self.scale * x.double()
        u = u if self.match is None else self.match.solve_means(u[None])[0]
        out: Array = self.prior.normaliser.inverse(u[None])[0].numpy()
        return out

    def modelled(self, seen: Observation) -> Observation:
        """Return observations of physical fields as observations of x."""

        def operator(x: Fields) -> Values:
            return seen.operator(self.physical(x))

        return replace(seen, operator=operator, scale=operator_variance(operator, self.first(0)))

    def expectation(self) -> Array:
        """Return the physical mean (C, H, W) in one evaluation: the infinite ensemble's."""
        normaliser = self.prior.normaliser
        physical = normaliser.expectation(*self.moments())
        if self.match is not None:
            honoured = self.match.solve_means(normaliser.forward(physical)[None])[0]
            physical = normaliser.inverse(honoured)
        out: Array = physical.numpy()
        return out

    def equivalents(self, operator: Operator, of_wind: NDArray[np.bool_]) -> Array:
        """Return quantiles of the prior at observations (N, Q), from one evaluation.

        Modelled values are taken as Gaussian, with the mean and the variance that the network
        gives, as wide as the members' are made. In each of the fields drawn from that, all cells
        have the same rank: so every value at a point runs through its quantiles. Functions of the
        wind are the exception, for there components and neighbours would cancel: each cell has a
        rank of its own. How cells go together is not asked, so means over areas, and slopes, come
        out too wide rather than too narrow, and nothing is turned away that should not be.

        Args:
            operator: From physical fields to values.
            of_wind: Which of the values are functions of both components of the wind, (N,).
        """
        mean, variance = self.moments()
        deviation = self.sampler.inflation * variance.sqrt()
        normal = torch.special.ndtri(
            (torch.arange(CLIMATE_STATES).double() + 0.5) / CLIMATE_STATES
        )

        def seen(ranks: Tensor) -> Array:
            physical = self.prior.normaliser.inverse(mean + deviation * ranks)
            values: Array = operator(physical).T.numpy()
            return values

        out = seen(normal.reshape(-1, *[1] * mean.ndim))
        if of_wind.any():
            generator = torch.Generator().manual_seed(0)
            order = torch.rand(CLIMATE_STATES, *mean.shape, generator=generator).argsort(0)
            out[of_wind] = seen(normal[order])[of_wind]
        return out
