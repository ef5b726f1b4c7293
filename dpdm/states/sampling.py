"""The one road from a space of states, and what is known of a step, to an ensemble.

A member is a pure function of prior, input, seed, member and label: its noise is one field for the
whole domain, drawn from those numbers alone, whatever the batch, the windows or the order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn

from dpdm.diffusion.guidance import Guide, Observation, mmps
from dpdm.diffusion.noise import SCHEDULES, MemberNoise
from dpdm.diffusion.sample import SAMPLERS, Sampler, langevin_sampler
from dpdm.errors import DpdmError
from dpdm.prior import Prior
from dpdm.states.ensemble import EnsembleOptions
from dpdm.system import choose_device
from dpdm.types import Denoise, Operator

Array = NDArray[np.float64]
Step = int | None  # a time step, or the number of a trajectory; none where there is but one
Numbers = NDArray[Any]
Modules = Sequence[nn.Module]
Seen = Observation | None
Completion = Callable[[Tensor, int], Array]
Background = tuple[Array, Tensor | None]  # equivalents (N, P) of rows, and what errors share
MAX_NORMALISED_VALUE = 1e4  # standard deviations, beyond any extreme


@dataclass(frozen=True)
class SamplerConfig:
    """How to sample.

    Attributes:
        sampler: Key of ``SAMPLERS``.
        steps: Noise levels.
        sigma_max: Greatest noise level.
        inflation: Factor of the members' deviation from their mean.
        block: Members at a time. One, for processors sum in another order for another number;
            on a GPU more is faster, and members agree to rounding.
        overlap: Cells that windows share.
        widest: Extent of a window over that of training, at most. A cell costs the same in any.
        device: Where to compute.
        schedule: Key of ``SCHEDULES``: how the noise levels fall.
        sigma_min: Least noise level.
        guide: What turns the prior's denoiser into the posterior's, where there are observations.
        corrections: Langevin corrections after each Euler step; 0 for the sampler as it is.
        tau: Their length.
    """

    sampler: str
    steps: int
    sigma_max: float
    inflation: float = 1.0
    block: int = 1
    overlap: int = 24
    widest: int = 4
    device: str = "cpu"
    schedule: str = "karras"
    sigma_min: float = 2e-3
    guide: Guide = mmps
    corrections: int = 0
    tau: float = 0.5

    def truncate(self, sigma: float) -> SamplerConfig:
        """Return the same way of sampling from a lower noise level."""
        return replace(self, sigma_max=sigma, sigma_min=min(self.sigma_min, sigma / 10))


def choose_sampler_config(options: EnsembleOptions, prior: Prior) -> SamplerConfig:
    """Return how to sample: the prior's own way, but for what the user asks."""
    own, device = prior.contract.sampling, choose_device(options.device)
    return SamplerConfig(
        options.sampler or own["sampler"], options.steps or own["steps"], own["most"],
        own["inflation"], 1 if device == "cpu" else 11, device=device, schedule=own["schedule"],
        sigma_min=own["least"] or prior.contract.sigma[0], corrections=own["corrections"],
        tau=own["tau"],
    )  # fmt: skip


class StateSpace(Protocol):
    """What a state is: fields on the Earth, a trajectory, or states of the globe.

    A step is what is drawn at once: a time step of fields, or a whole trajectory. Members are
    physical arrays, the variables in front, as operators see them: (C, H, W) or (C, T, H, W).
    Normalised states x are as the prior's denoiser knows them.
    """

    @property
    def prior(self) -> Prior:
        """Give the prior of such states."""

    @property
    def options(self) -> EnsembleOptions:
        """Give what the user asks of an ensemble."""

    @property
    def sampler(self) -> SamplerConfig:
        """Give how to sample."""

    @property
    def steps(self) -> Sequence[Step]:
        """List what is drawn, one by one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Give the shape of x, of one member."""

    @property
    def names(self) -> list[str]:
        """Name the variables, or the components of the one there is."""

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Give what the file of the states says of itself."""

    @property
    def notes(self) -> dict[str, object]:
        """Give what provenance must tell of the input, beside its name."""

    @property
    def weights(self) -> Array:
        """Give the share of each cell in a mean over cells, 1 on average."""

    def label(self, step: Step) -> str:
        """Return the text that, with the seed, decides the noise of a step."""

    def denoiser(self, step: Step, sampler: SamplerConfig, seen: Seen = None) -> Denoise:
        """Return the denoiser of a whole step, given what is known and seen of it."""

    def normalise(self, values: Array, step: Step) -> Tensor:
        """Return x of one physical state."""

    def completion(
        self, step: Step, noise: MemberNoise, around: Array | None, origin: Tensor | None
    ) -> Completion:
        """Return the function from x of a member, and its number, to the physical member.

        Args:
            step: The step.
            noise: The members' noise.
            around: The physical state around which members are drawn, if there is one.
            origin: The same, normalised.
        """

    def mask_unknown(self, member: Array, step: Step) -> Array:
        """Return the part of a member that is written, missing where nothing is known."""

    def check_analysis(self, count: int) -> None:
        """Refuse an analysis of so many observations that does not fit into memory."""

    def screen(self, table: pd.DataFrame, coverage: float = 0.0) -> pd.DataFrame:
        """Return observations with the status and the step of each."""

    def rows(self, table: pd.DataFrame, step: Step) -> NDArray[np.bool_]:
        """Return which observations are of a step."""

    def operator(self, rows: pd.DataFrame, tried: bool = False) -> Operator:
        """Return the operator from physical states (B, C, ...) to the values of rows (B, N)."""

    def background_equivalents(
        self, step: Step, operator: Operator, named: NDArray[np.object_]
    ) -> Array:
        """Return what the prior expects at observations of known operators (N, P)."""

    def observation(
        self, step: Step, rows: pd.DataFrame, operator: Operator, background: Background
    ) -> Observation:
        """Return rows as observations of x."""

    def values(self, step: Step) -> Array:
        """Return a physical state of the file, without a missing value."""

    def centre(self, members: Array, step: Step) -> Array:
        """Return members (M, C, ...), moved so that their mean is the file's state."""

    def features(self, x: Tensor, step: Step, modules: Modules, sigma: float) -> Tensor:
        """Return the outputs of layers at noisy x: (F, H, W) of fields, else (T, F, ...)."""

    def axes(self, step: Step = None) -> dict[str, xr.DataArray]:
        """Return the axes of one step or, without one, of all, in order."""

    def add_times(self, laid_out: xr.Dataset) -> xr.Dataset:
        """Return a layout with what else is known of its times."""

    def label_values(
        self, values: Numbers, member: int | None = None, statistic: str = "", step: Step = None
    ) -> xr.Dataset:
        """Return physical values of one step, labelled."""

    def template(self) -> xr.Dataset:
        """Return the layout of the file of an ensemble."""


def draw_ensemble(
    space: StateSpace,
    step: Step,
    sampler: SamplerConfig,
    members: Sequence[int],
    seed: int,
    seen: Observation | None = None,
    around: Array | None = None,
) -> Iterator[Array]:
    """Yield physical members of one step, in order, the same whichever are asked for.

    Args:
        space: What the states are, and what is known of them.
        step: The step.
        sampler: How to sample.
        members: The members' numbers.
        seed: Seed of the ensemble.
        seen: Observations of x, or nothing.
        around: A physical state: noise is added to it, and taken away again; or nothing.
    """
    own = MemberNoise(space.shape, seed, space.label(step))
    origin = None if around is None else space.normalise(around, step)
    complete = space.completion(step, own, around, origin)
    denoise = space.denoiser(step, sampler, seen)
    drawn = draw_samples(denoise, own, members, sampler, origin)
    for number, x in zip(members, drawn, strict=True):
        yield complete(x, number)


def draw_samples(
    denoise: Denoise,
    own: MemberNoise,
    numbers: Sequence[int],
    sampler: SamplerConfig,
    origin: Tensor | None = None,
) -> Iterator[Tensor]:
    """Yield what the sampler makes of each member's noise, in order, on the processor.

    Args:
        denoise: Denoiser of the prior or the posterior.
        own: The members' noise.
        numbers: The members.
        sampler: How to sample.
        origin: Where the noise is added, shaped as one member; nothing for noise that hides all.
    """
    falling = SCHEDULES[sampler.schedule](sampler.steps, sampler.sigma_min, sampler.sigma_max)
    begin = None if origin is None else origin.to(sampler.device)[None]
    for start in range(0, len(numbers), sampler.block):
        some = numbers[start : start + sampler.block]
        z = own(some).to(sampler.device)
        x = make_member_sampler(sampler, own, some)(denoise, z, falling, begin).cpu()
        if not bool((x.abs() < MAX_NORMALISED_VALUE).all()):
            raise DpdmError(
                f"Sampling diverged: member {some[0]} lies more than {MAX_NORMALISED_VALUE:g} "
                f"standard "
                "deviations from the mean.",
                "Take another --guidance, more --steps, or a smaller --tau or --zeta.",
            )
        yield from x


def make_member_sampler(
    sampler: SamplerConfig, own: MemberNoise, numbers: Sequence[int]
) -> Sampler:
    """Return the sampler, with corrections whose noise each member has for itself."""
    if not sampler.corrections:
        return SAMPLERS[sampler.sampler]
    count, tau = sampler.corrections, sampler.tau
    return langevin_sampler(count, tau, lambda correction: own(numbers, f"/{correction}"))
