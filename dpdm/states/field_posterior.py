"""The conditional prior of fields of one step, given coarse fields, statics and season."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from dpdm.choices import FAST
from dpdm.diffusion.block_means import BlockMeanConstraint, BlockMeans
from dpdm.diffusion.denoise import inflate, inflate_scales
from dpdm.diffusion.gaussian_fields import (
    GaussianFields,
    join_variables,
    make_gaussian_fields,
)
from dpdm.diffusion.guidance import CovarianceDenoiser, Observation, operator_variance
from dpdm.diffusion.lattice_covariance import (
    FieldCovariance,
    LatticeCorrelation,
    LevelCovariance,
    correlation_length,
)
from dpdm.diffusion.noise import SCHEDULES
from dpdm.diffusion.place_noise import PlaceNoise
from dpdm.diffusion.sample import SAMPLERS
from dpdm.diffusion.tile import (
    COARSEST_CELL,
    SpatialWindows,
    fit_cyclic_size,
    fit_window_size,
    tile_denoiser,
)
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.regrid import mean_matrices
from dpdm.prior import CLIMATE_STATES, Prior
from dpdm.prior.normaliser import (
    Normaliser,
    ReferenceState,
    geometric_mean_factor,
    make_conditioning_channels,
    make_reference_channels,
    make_static_tensors,
    to_tensor,
)
from dpdm.prior.physics import PhysicalNormaliser
from dpdm.states.options import SamplerConfig
from dpdm.types import Denoise, Fields, Operator, Sigma, Values

Array = NDArray[np.float64]
BLENDING_POWER = 3  # of the weights of windows, for the fast head


@dataclass(frozen=True)
class Conditioning:
    """Conditioning of one step, on the fine grid.

    Attributes:
        lerp: Bilinear interpolation of the coarse fields (C, H, W), float64, NaN where missing.
        statics: Topography (m) and land fraction (2, H, W).
        smooth: The same, averaged to the coarse grid and interpolated back.
        grid: The fine grid.
        factor: Coarse over fine spacing, along latitude and longitude; None without coarse
            fields.
        season: Fraction of the year, None where no season applies.
        reference: The reference state (C, H, W), and the same averaged to the coarse grid and
            interpolated back, in physical units, NaN where unknown; or None.
        blocks: Block means that members must equal, or None.
        spread: Standard deviation of transformed values (C, H, W), NaN where the scaling of the
            prior has it; or None.
    """

    lerp: Tensor
    statics: Array
    smooth: Array
    grid: Grid
    factor: tuple[float, float] | None
    season: float | None
    reference: tuple[Tensor, Tensor] | None = None
    blocks: BlockMeans | None = None
    spread: Tensor | None = None

    def mean_factor(self, prior: Prior) -> float:
        """Return coarse over fine spacing, the largest of the prior without coarse fields."""
        if self.factor is None:
            return prior.contract.factors[1]
        return geometric_mean_factor(self.factor)

    def reference_state(self, normaliser: Normaliser) -> ReferenceState | None:
        """Return the reference state in transformed values."""
        if self.reference is None:
            return None
        return ReferenceState(*(normaliser.forward_smooth(each) for each in self.reference))


def block_means(fields: xr.Dataset, names: list[str], grid: Grid) -> BlockMeans:
    """Return the means of coarse fields over blocks of a fine grid."""
    coarse = grid_of(fields)
    rows, columns = (torch.from_numpy(m.toarray()) for m in mean_matrices(grid, coarse))
    return BlockMeans(rows, columns, to_tensor(fields, names, coarse.shape))


def conditional_base(prior: Prior, conditioning: Conditioning) -> tuple[Tensor, Tensor]:
    """Return base and scale of x (C, H, W), in transformed values."""
    coarse = prior.normaliser.forward_smooth(conditioning.lerp)
    reference = conditioning.reference_state(prior.normaliser)
    base, scale = prior.normaliser.base_and_scale(
        coarse, conditioning.mean_factor(prior), reference
    )
    if conditioning.spread is not None:
        scale = torch.where(conditioning.spread.isfinite(), conditioning.spread, scale)
    return base, scale


def network_conditioning(prior: Prior, conditioning: Conditioning) -> Tensor:
    """Return the conditioning channels of the network (G, H, W)."""
    normaliser = prior.normaliser.network
    count = len(normaliser.channels)
    coarse = prior.normaliser.forward_smooth(conditioning.lerp)[:count]
    ground = make_static_tensors(conditioning.statics, conditioning.smooth, conditioning.grid.lat)
    standard = normaliser.standardise(coarse).float()
    fields = make_conditioning_channels(standard, ground, conditioning.factor, conditioning.season)
    if not prior.takes_reference:
        return fields
    reference = conditioning.reference_state(prior.normaliser)
    part = None if reference is None else reference.first(count)
    around = make_reference_channels(normaliser, coarse, conditioning.mean_factor(prior), part)
    return torch.cat([fields, around.float()])


def choose_windows(grid: Grid, limit: int, overlap: int) -> SpatialWindows:
    """Return windows of up to ``limit`` cells a side.

    They may exceed those of training, because the network's output for a cell does not depend on
    the extent of the window; fewer borders cost less.
    """
    height, width = grid.shape
    fit_columns = fit_cyclic_size if grid.cyclic else fit_window_size
    size = fit_window_size(height, limit, overlap), fit_columns(width, limit, overlap)
    return SpatialWindows(grid.shape, size, overlap, grid.cyclic, COARSEST_CELL)


class Posterior:
    """A prior of fields with its conditioning; the features of the windows are computed once."""

    def __init__(self, prior: Prior, conditioning: Conditioning, sampler: SamplerConfig) -> None:
        self.prior, self.conditioning, self.sampler = prior, conditioning, sampler
        self.drawn = len(prior.normaliser.network.channels)
        self.base, self.scale = conditional_base(prior, conditioning)
        self.scale = self.scale / self.sampled_deviations()
        limit = sampler.widest * prior.contract.window
        self.windows = choose_windows(conditioning.grid, limit, sampler.overlap)
        self.features = self.window_features() if self.drawn else []

    @torch.no_grad()
    def window_features(self) -> list[list[Tensor]]:
        """Return the network's features of the conditioning in each window."""
        fields = network_conditioning(self.prior, self.conditioning).to(self.sampler.device)
        return [
            self.prior.denoiser.features(fields[None][place])
            for place in self.windows.window_slices()
        ]

    @cached_property
    def physics(self) -> GaussianFields | None:
        """Return the variables that no network draws, if there are any."""
        normaliser, grid = self.prior.normaliser, self.conditioning.grid
        if not isinstance(normaliser, PhysicalNormaliser):
            return None
        lengths = normaliser.lengths(self.conditioning.mean_factor(self.prior))
        return make_gaussian_fields(grid.shape, lengths, grid.cyclic)

    def sampled_deviations(self) -> Tensor:
        """Return the deviation that the sampler draws of x (C, 1, 1), 1 for the network's."""
        out = torch.ones(len(self.base), 1, 1, dtype=torch.float64)
        sampler = self.sampler
        if self.physics is not None and not sampler.corrections and sampler.sampler != FAST:
            levels = SCHEDULES[sampler.schedule](
                sampler.steps, sampler.sigma_min, sampler.sigma_max
            )
            sample = partial(SAMPLERS[sampler.sampler], levels=levels)
            out[self.drawn :, 0, 0] = self.physics.sampled_deviation(sample)
        return out

    def domain_moment(self, order: int) -> Denoise:
        """Return the mean (0) or the variance (1) on the domain, of all variables."""
        return self.join_physics(self.network_moment(order) if self.drawn else None, order)

    def join_physics(self, network: Denoise | None, order: int = 0) -> Denoise:
        """Return a moment of all variables from that of the network's."""
        if self.physics is None:
            assert network is not None
            return network
        moment = self.physics.variance if order else self.physics
        return join_variables(network, moment, self.drawn)

    def network_moment(self, order: int) -> Denoise:
        """Return the mean (0) or the variance (1) of the network, tiled from windows."""

        def window_moment(features: list[Tensor]) -> Denoise:
            def local(x_t: Fields, sigma: Sigma) -> Fields:
                return self.prior.denoiser.moments(x_t, sigma, features)[order]

            return local

        return tile_denoiser([window_moment(f) for f in self.features], self.windows)

    @torch.no_grad()
    def moments(self) -> tuple[Tensor, Tensor]:
        """Return mean and variance of transformed values (C, H, W), in one evaluation each."""
        mean, variance = (self.prior_moment(order)[0].cpu().double() for order in (0, 1))
        return self.base + self.scale * mean, self.scale**2 * variance

    @torch.no_grad()
    def prior_moment(self, order: int) -> Fields:
        """Return the mean (0) or variance (1) of x at the highest noise level, (1, C, H, W)."""
        zero = torch.zeros(1, *self.base.shape, device=self.sampler.device)
        sigma = torch.full((1,), self.prior.contract.sigma[1], device=self.sampler.device)
        return self.domain_moment(order)(zero, sigma)

    def denoise(self, sampler: SamplerConfig, observation: Observation | None = None) -> Denoise:
        """Return the denoiser with inflation, guidance by observations, and block means.

        For the fast sampler, return the map of its head instead, from noise to members.
        """
        if sampler.sampler == FAST:
            return self.fast(sampler.inflation, sampler.fine_inflation)
        denoise = self.inflated(sampler.inflation)
        if observation is not None:
            cover = self.error_covariance(sampler.inflation)
            covered = CovarianceDenoiser(denoise, cover, self.prior_moment(0))
            denoise = sampler.guide(covered, observation)
        constraint = self.constraint
        return denoise if constraint is None else constraint.constrain_denoiser(denoise)

    def inflated(self, inflation: float) -> Denoise:
        """Return the denoiser, the spread of whose network is inflated."""
        if not self.drawn:
            return self.domain_moment(0)
        mean = self.prior_moment(0)[:, : self.drawn]
        return self.join_physics(inflate(self.network_moment(0), mean, inflation))

    def fast(self, coarse: float, fine: float) -> Denoise:
        """Return the map from noise of the level of the fast head to members, with inflation."""
        if self.physics is not None and not self.drawn:
            return self.physics.draw
        mean = self.prior_moment(0)[:, : self.drawn]
        cyclic = self.conditioning.grid.cyclic
        windows = replace(self.windows, power=BLENDING_POWER)
        head = tile_denoiser([self.window_head(f) for f in self.features], windows)

        def network(x_t: Fields, sigma: Sigma) -> Fields:
            deviation = head(mean + x_t, sigma) - mean
            return mean + inflate_scales(deviation, coarse, fine, cyclic)

        if self.physics is None:
            return network
        return join_variables(network, self.physics.draw, self.drawn)

    def window_head(self, features: list[Tensor]) -> Denoise:
        """Return the fast head of one window."""
        return lambda x_t, sigma: self.prior.denoiser.fast_member(x_t, sigma, features)

    def inflations(self, inflation: float) -> Tensor:
        """Return the spread inflation of each variable (C, 1, 1), 1 where no network draws it."""
        factors = torch.ones(len(self.base), 1, 1, dtype=torch.float64)
        factors[: self.drawn] = inflation
        return factors

    def error_covariance(self, inflation: float) -> FieldCovariance:
        """Return the static covariance of x given x_t, for guidance without gradients."""
        return FieldCovariance(
            self.variance_at, self.length, self.conditioning.grid.cyclic, inflation
        )

    @torch.no_grad()
    def variance_at(self, sigma: float) -> Tensor:
        """Return the network's variance of x given x_t (C, H, W), for a typical x_t."""
        if math.isinf(sigma):
            return self.prior_moment(1)[0]
        x_t = self.example_of_x + sigma * self.example_noise(1)
        level = torch.full((1,), sigma, device=self.sampler.device)
        return self.domain_moment(1)(x_t, level)[0]

    @property
    def length(self) -> float:
        """Return the correlation length of x, cells."""
        factor = self.conditioning.factor
        return correlation_length(geometric_mean_factor(factor) if factor else None)

    @cached_property
    def example_of_x(self) -> Fields:
        """Return a smooth draw of x (1, C, H, W)."""
        grid = self.conditioning.grid
        correlation = LatticeCorrelation(grid.shape, self.length, grid.cyclic)
        covariance = LevelCovariance(self.variance_at(math.inf), correlation)
        return self.prior_moment(0) + covariance.draw(self.example_noise(0))

    def example_noise(self, number: int) -> Fields:
        """Return standard normal noise (1, C, H, W) that depends on the places alone."""
        grid = self.conditioning.grid
        noise = PlaceNoise(grid.lat, grid.lon, len(self.base), 0, "law")
        return noise([number]).to(self.sampler.device)

    @cached_property
    def constraint(self) -> BlockMeanConstraint | None:
        """Return the constraint of members to block means, if there are any."""
        if self.conditioning.blocks is None:
            return None
        normaliser, blocks = self.prior.normaliser, self.conditioning.blocks
        transforms = tuple(c.transform for c in normaliser.network.channels)
        variance, solve = self.moments()[1], None
        if isinstance(normaliser, PhysicalNormaliser):
            solve = partial(normaliser.solve_block_means, variance=variance, blocks=blocks)
        return BlockMeanConstraint(blocks, transforms, self.base, self.scale, variance, solve)

    def normalise(self, values: Array) -> Tensor:
        """Return the normalised x of physical fields (C, H, W)."""
        forward = self.prior.normaliser.forward(torch.from_numpy(values))
        return ((forward - self.base) / self.scale).float()

    def physical(self, x: Fields) -> Fields:
        """Return physical fields (B, C, H, W), differentiable in x.

        Where there is none of an amount, the derivative is that of a little of it, so that
        guidance can make it rain.
        """
        normaliser = self.prior.normaliser
        u = self.base.to(x) + self.scale.to(x) * x
        with torch.no_grad():
            shift = normaliser.forward(normaliser.inverse(u)) - u
        return normaliser.inverse(u + shift)

    def member(self, x: Tensor) -> Array:
        """Return the physical member (C, H, W), with exact block means."""
        u = self.base + self.scale * x.double()
        u = u if self.constraint is None else self.constraint.solve_means(u[None])[0]
        out: Array = self.prior.normaliser.inverse(u[None])[0].numpy()
        return out

    def observation_of_x(self, observation: Observation) -> Observation:
        """Return observations of physical fields as observations of x."""

        def operator(x: Fields) -> Values:
            return observation.operator(self.physical(x))

        return replace(
            observation, operator=operator, scale=operator_variance(operator, self.prior_moment(0))
        )

    def expectation(self) -> Array:
        """Return the physical ensemble mean (C, H, W), in one evaluation."""
        normaliser = self.prior.normaliser
        physical = normaliser.expectation(*self.moments())
        if self.constraint is not None:
            u = self.constraint.solve_means(normaliser.forward(physical)[None])[0]
            physical = normaliser.inverse(u)
        out: Array = physical.numpy()
        return out

    def equivalents(self, operator: Operator, wind: NDArray[np.bool_]) -> Array:
        """Return quantiles of the prior at observations (N, Q), from one evaluation.

        Transformed values are taken as Gaussian, with the mean and the variance of the network,
        inflated as members are. In each field drawn from that, all cells have the same rank, so a
        value at a point runs through its quantiles. For functions of the wind, whose components
        would cancel, each cell has its own rank. Correlations between cells are ignored, so the
        spread of area means and gradients is overestimated, and none is rejected wrongly.

        Args:
            operator: From physical fields to values.
            wind: Which values are functions of both wind components, (N,).
        """
        mean, variance = self.moments()
        deviation = self.inflations(self.sampler.inflation) * variance.sqrt()
        normal = torch.special.ndtri(
            (torch.arange(CLIMATE_STATES).double() + 0.5) / CLIMATE_STATES
        )

        def quantiles(ranks: Tensor) -> Array:
            physical = self.prior.normaliser.inverse(mean + deviation * ranks)
            values: Array = operator(physical).T.numpy()
            return values

        out = quantiles(normal.reshape(-1, *[1] * mean.ndim))
        if wind.any():
            generator = torch.Generator().manual_seed(0)
            order = torch.rand(CLIMATE_STATES, *mean.shape, generator=generator).argsort(0)
            out[wind] = quantiles(normal[order])[wind]
        return out
