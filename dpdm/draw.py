"""The one road from a prior, and what is known, to an ensemble.

A member is a pure function of prior, input, seed, member and label: its noise is one field for the
whole domain, drawn from those numbers alone, whatever the batch, the windows or the order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpdm.diffusion.condition import BlockMeans, Match
from dpdm.diffusion.guide import Guide, mmps
from dpdm.diffusion.inflate import inflate
from dpdm.diffusion.observe import Observation, gain
from dpdm.diffusion.sample import SAMPLERS, SCHEDULES, Sampler, corrected
from dpdm.diffusion.tile import Windows, fitted, tile
from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid
from dpdm.fields.tensors import conditioning, geometric, ground_tensors
from dpdm.prior import Prior
from dpdm.types import Denoise, Fields, Sigma, Values

FARTHEST = 1e4  # standard deviations, beyond any extreme


@dataclass(frozen=True)
class Given:
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
        seen: Observations of physical fields (B, C, H, W), or nothing.
    """

    lerp: Tensor
    statics: NDArray[np.float64]
    smooth: NDArray[np.float64]
    grid: Grid
    factor: tuple[float, float] | None
    season: float | None
    climatology: Tensor | None = None
    blocks: BlockMeans | None = None
    seen: Observation | None = None


@dataclass(frozen=True)
class How:
    """How to sample.

    Attributes:
        sampler: Key of ``SAMPLERS``.
        steps: Noise levels.
        most: Greatest noise level.
        inflation: Factor of the members' deviation from their mean.
        block: Members at a time. One, for processors sum in another order for another number;
            on a GPU more is faster, and members agree to rounding.
        overlap: Cells that windows share.
        widest: Extent of a window over that of training, at most. A cell costs the same in any.
        device: Where to compute.
        schedule: Key of ``SCHEDULES``: how the noise levels fall.
        least: Least noise level.
        guide: What turns the prior's denoiser into the posterior's, where there are observations.
        corrections: Langevin corrections after each Euler step; 0 for the sampler as it is.
        tau: Their length.
    """

    sampler: str
    steps: int
    most: float
    inflation: float = 1.0
    block: int = 1
    overlap: int = 24
    widest: int = 4
    device: str = "cpu"
    schedule: str = "karras"
    least: float = 2e-3
    guide: Guide = mmps
    corrections: int = 0
    tau: float = 0.5


def noise(shape: tuple[int, ...], seed: int, member: int, label: str) -> Tensor:
    """Return standard normal noise that only seed, member and label decide.

    Example:
        >>> torch.equal(noise((2, 3), 0, 5, "1862-07"), noise((2, 3), 0, 5, "1862-07"))
        True
    """
    digest = hashlib.sha256(f"{seed}/{member}/{label}".encode()).digest()
    key = np.frombuffer(digest[:16], dtype=np.uint64)
    drawn = np.random.Generator(np.random.Philox(key=key)).standard_normal(shape, np.float32)
    return torch.from_numpy(drawn)


@dataclass(frozen=True)
class Dice:
    """The noise of an ensemble: its shape, seed and label decide that of every member."""

    shape: tuple[int, ...]
    seed: int
    label: str

    def __call__(self, numbers: Sequence[int], beside: str = "") -> Tensor:
        """Return the noise of some members (B, ...), or another that goes beside it."""
        label = self.label + beside
        return torch.stack([noise(self.shape, self.seed, m, label) for m in numbers])


def samples(
    denoise: Denoise, dice: Dice, numbers: Sequence[int], how: How, origin: Tensor | None = None
) -> Iterator[Tensor]:
    """Yield what the sampler makes of each member's noise, in order, on the processor.

    Args:
        denoise: Denoiser of the prior or the posterior.
        dice: The members' noise.
        numbers: The members.
        how: How to sample.
        origin: Where the noise is added, shaped as one member; nothing for noise that hides all.

    Raises:
        DpdmError: When a member leaves all bounds, which strong guidance may bring about.
    """
    falling = SCHEDULES[how.schedule](how.steps, how.least, how.most)
    begin = None if origin is None else origin.to(how.device)[None]
    for start in range(0, len(numbers), how.block):
        some = numbers[start : start + how.block]
        noise = dice(some).to(how.device)
        x = sampler_of(how, dice, some)(denoise, noise, falling, begin).cpu()
        if not bool((x.abs() < FARTHEST).all()):
            raise DpdmError(
                f"Sampling diverged: member {some[0]} lies more than {FARTHEST:g} standard "
                "deviations from the mean.",
                "Take another --guidance, more --steps, or a smaller --tau or --zeta.",
            )
        yield from x


def sampler_of(how: How, dice: Dice, numbers: Sequence[int]) -> Sampler:
    """Return the sampler, with corrections whose noise each member has for itself."""
    if not how.corrections:
        return SAMPLERS[how.sampler]
    return corrected(how.corrections, how.tau, lambda count: dice(numbers, f"/{count}"))


def up_to(how: How, sigma: float) -> How:
    """Return the same way of sampling from a lower noise level."""
    return replace(how, most=sigma, least=min(how.least, sigma / 10))


def windows_of(grid: Grid, most: int, overlap: int) -> Windows:
    """Return windows of up to ``most`` cells a side, no larger than they need to be.

    They may exceed those of training, for what the network says of a cell does not depend on the
    extent around it; fewer borders cost less.
    """
    height, width = grid.shape
    across = min(most, width) if grid.cyclic else fitted(width, most, overlap)
    size = (fitted(height, most, overlap), across)
    return Windows(grid.shape, size, overlap, grid.cyclic)


class Posterior:
    """A prior bound to what is known of one step: the windows' features are computed once."""

    def __init__(self, prior: Prior, given: Given, how: How) -> None:
        self.prior, self.given, self.how = prior, given, how
        known = prior.normaliser.forward(given.lerp)
        factor = geometric(given.factor) if given.factor else prior.contract.factors[1]
        self.base, self.scale = prior.normaliser.frame(known, factor, given.climatology)
        ground = ground_tensors(given.statics, given.smooth, given.grid.lat)
        standard = prior.normaliser.standard(known).float()
        fields = conditioning(standard, ground, given.factor, given.season).to(how.device)
        self.windows = windows_of(given.grid, how.widest * prior.contract.window, how.overlap)
        with torch.no_grad():
            self.features = [
                prior.denoiser.features(fields[None][place]) for place in self.windows.places()
            ]

    def seeing(self, seen: Observation | None) -> Posterior:
        """Return the same with observations; the features are shared."""
        other = copy(self)
        other.given = replace(self.given, seen=seen)
        return other

    def tiled(self, which: int) -> Denoise:
        """Return the mean (0) or the variance (1) of the whole domain."""

        def one(features: list[Tensor]) -> Denoise:
            def local(x_t: Fields, sigma: Sigma) -> Fields:
                return self.prior.denoiser.moments(x_t, sigma, features)[which]

            return local

        return tile([one(f) for f in self.features], self.windows)

    @torch.no_grad()
    def moments(self) -> tuple[Tensor, Tensor]:
        """Return mean and variance of modelled values (C, H, W), in one evaluation each."""
        mean, variance = (self.first(which)[0].cpu().double() for which in (0, 1))
        return self.base + self.scale * mean, self.scale**2 * variance

    @torch.no_grad()
    def first(self, which: int) -> Fields:
        """Return the mean (0) or variance (1) of x where noise hides all, (1, C, H, W)."""
        zero = torch.zeros(1, *self.base.shape, device=self.how.device)
        sigma = torch.full((1,), self.prior.contract.sigma[1], device=self.how.device)
        return self.tiled(which)(zero, sigma)

    def denoise(self, match: Match | None) -> Denoise:
        """Return the denoiser to sample from: tiled, as wide as it should be, and honouring."""
        wide = inflate(self.tiled(0), self.first(0), self.how.inflation)
        if self.given.seen is not None:
            wide = self.how.guide(wide, self.modelled(self.given.seen))
        return wide if match is None else match.denoise(wide)

    def physical(self, x: Fields) -> Fields:
        """Return physical fields (B, C, H, W), differentiable in x."""
        return self.prior.normaliser.inverse(self.base.to(x) + self.scale.to(x) * x)

    def modelled(self, seen: Observation) -> Observation:
        """Return the observations as observations of x."""

        def operator(x: Fields) -> Values:
            return seen.operator(self.physical(x))

        return replace(seen, operator=operator, scale=gain(operator, self.first(0)))

    def match(self) -> Match | None:
        """Return what makes members honour the block means, if there are any."""
        if self.given.blocks is None:
            return None
        transforms = tuple(c.transform for c in self.prior.normaliser.channels)
        return Match(self.given.blocks, transforms, self.base, self.scale, self.moments()[1])

    def expectation(self) -> NDArray[np.float64]:
        """Return the physical mean (C, H, W) in one evaluation: the infinite ensemble's."""
        normaliser, match = self.prior.normaliser, self.match()
        physical = normaliser.expectation(*self.moments())
        if match is not None:
            honoured = match.modelled(normaliser.forward(physical)[None])[0]
            physical = normaliser.inverse(honoured)
        out: NDArray[np.float64] = physical.numpy()
        return out

    def members(
        self, numbers: Sequence[int], seed: int, label: str
    ) -> Iterator[NDArray[np.float64]]:
        """Yield physical members (C, H, W), in order."""
        yield from self.drawn(numbers, Dice(tuple(self.base.shape), seed, label), self.how)

    def around(
        self, state: Tensor, sigma: float, numbers: Sequence[int], seed: int, label: str
    ) -> Iterator[NDArray[np.float64]]:
        """Yield physical members around a state (C, H, W): noise up to sigma, and none again."""
        x = (self.prior.normaliser.forward(state) - self.base) / self.scale
        dice, how = Dice(tuple(x.shape), seed, label), up_to(self.how, sigma)
        yield from self.drawn(numbers, dice, how, x.float())

    def drawn(
        self, numbers: Sequence[int], dice: Dice, how: How, origin: Tensor | None = None
    ) -> Iterator[NDArray[np.float64]]:
        """Yield physical members (C, H, W), from noise alone or from around an origin."""
        match = self.match()
        for x in samples(self.denoise(match), dice, numbers, how, origin):
            u = self.base + self.scale * x.double()
            u = u if match is None else match.modelled(u[None])[0]
            yield self.prior.normaliser.inverse(u[None])[0].numpy()


def draw(
    prior: Prior, given: Given, members: Sequence[int], seed: int, label: str, how: How
) -> Iterator[NDArray[np.float64]]:
    """Yield physical members (C, H, W) of one step, the same whichever are asked for."""
    yield from Posterior(prior, given, how).members(members, seed, label)
