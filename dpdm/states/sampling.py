"""Draw an ensemble of any space of states.

A member is a pure function of prior, input, seed, member and label: its noise is drawn from those
numbers and, for fields on the Earth, from the places of the cells, independent of batch, windows,
order and domain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn

from dpdm.choices import FAST
from dpdm.diffusion.guidance import Observation, StepCount
from dpdm.diffusion.noise import SCHEDULES, Noise
from dpdm.diffusion.sample import SAMPLERS, Sampler, langevin_sampler
from dpdm.errors import DpdmError
from dpdm.fields.statistics import ensemble_blocks
from dpdm.prior import Prior
from dpdm.states.options import AssimilationOptions, EnsembleOptions, SamplerConfig
from dpdm.system import choose_device
from dpdm.types import Denoise, Operator

Array = NDArray[np.float64]
Step = int | None  # a time step, or the number of a trajectory; None for the only one
Numbers = NDArray[Any]
Modules = Sequence[nn.Module]

Completion = Callable[[Tensor, int], Array]
Background = tuple[Array, Tensor | None]  # prior equivalents (N, P), and covariance of the errors
MAX_NORMALISED_VALUE = 1e4  # standard deviations, above any extreme


def choose_sampler_config(options: EnsembleOptions, prior: Prior) -> SamplerConfig:
    """Return the settings of the options, else those of the prior."""
    default, device = prior.contract.sampling, choose_device(options.device)
    if options.sampler == FAST:
        check_fast_sampler(options, prior)
        level = float(prior.contract.net["fast"])
        fast = SamplerConfig(FAST, 1, level, block=1 if device == "cpu" else 11, device=device)
        return choose_inflation(fast, prior, "inflation")
    return SamplerConfig(
        options.sampler or default["sampler"], options.steps or default["steps"], default["most"],
        default["inflation"], 1 if device == "cpu" else 11, device=device,
        schedule=default["schedule"],
        sigma_min=default["least"] or prior.contract.sigma[0], corrections=default["corrections"],
        tau=default["tau"],
    )  # fmt: skip


def choose_inflation(sampler: SamplerConfig, prior: Prior, key: str) -> SamplerConfig:
    """Return the settings with the spread inflations of the prior, "inflation" or of a reference.

    The fast sampler has one of fine and one of coarse scales, if the prior has them.
    """
    sampling = prior.contract.sampling
    pair = sampling[f"fast_{key}"] if sampler.sampler == FAST else ()
    fine, coarse = pair or (sampling[key], sampling[key])
    return replace(sampler, inflation=coarse, fine_inflation=fine)


def choose_unguided_sampler(options: EnsembleOptions, prior: Prior) -> EnsembleOptions:
    """Return the options where nothing guides: with the fast sampler, unless more is asked for."""
    asked = options.sampler or options.steps or options.consistent
    return options if asked or not prior.contract.fast else replace(options, sampler=FAST)


def check_fast_sampler(options: EnsembleOptions, prior: Prior) -> None:
    """Refuse the fast sampler for a prior without its head, and with options of the others."""
    if not prior.contract.fast:
        raise DpdmError(
            "The prior has no fast head, which the sampler fast needs.",
            "Leave out --sampler, or add a head to your own prior: dpdm train --fast-minutes.",
        )
    if options.steps:
        raise DpdmError(
            f"The sampler fast takes one step, not {options.steps}.",
            "Leave out --steps, or choose another --sampler.",
        )
    if options.consistent:
        raise DpdmError(
            "--consistent constrains the steps of a denoiser, and the sampler fast has none.",
            "Leave out one of them.",
        )


def guide_sampler(
    sampler: SamplerConfig, prior: Prior, options: AssimilationOptions
) -> SamplerConfig:
    """Return a sampler with the guidance and corrections of the options, else the prior's."""
    if sampler.sampler == FAST:
        raise DpdmError(
            "Observations guide the steps of a denoiser, and the sampler fast has none.",
            "Choose another sampler, or leave it to the prior.",
        )
    count = sampler.corrections if options.corrections is None else options.corrections
    if options.tau and not count:
        raise DpdmError(
            "--tau is the length of corrections, and there are none.",
            "Use --corrections too, or leave it out.",
        )
    guide = options.guide(options.guidance or prior.contract.sampling["guidance"])
    tau = options.tau or sampler.tau
    return replace(sampler, guide=guide, corrections=count, tau=tau, steps_taken=StepCount())


def short_step_warning(sampler: SamplerConfig) -> Iterator[str]:
    """Yield a warning if corrections by observations had to be shortened."""
    steps = sampler.steps_taken
    if steps.short:
        yield (
            f"{steps.short} of {steps.total} steps of guidance would have overshot, and were "
            "shortened to less than half. Use --guidance law, more --iterations, or a smaller "
            "--zeta."
        )


class StateSpace(Protocol):
    """States of one kind: fields on the Earth, trajectories, or states of the globe.

    A step is drawn at once: a time step of fields, or a trajectory. Members are physical arrays as
    operators take them: (C, H, W) or (C, T, H, W). Normalised states x are as the prior's denoiser
    takes them.
    """

    @property
    def prior(self) -> Prior:
        """Return the prior."""

    @property
    def options(self) -> EnsembleOptions:
        """Return the options of the ensemble."""

    @property
    def sampler(self) -> SamplerConfig:
        """Return the settings of the sampler."""

    @property
    def steps(self) -> Sequence[Step]:
        """Return the steps, which are drawn one by one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of x of one member."""

    @property
    def names(self) -> list[str]:
        """Return the names of the variables or components."""

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Return the global attributes of the file of states."""

    @property
    def notes(self) -> dict[str, object]:
        """Return the provenance of the input other than its name."""

    @property
    def weights(self) -> Array:
        """Return the weight of each cell in a mean over cells, 1 on average."""

    def label(self, step: Step) -> str:
        """Return the label that, with the seed, determines the noise of a step."""

    def noise(self, step: Step, seed: int) -> Noise:
        """Return the noise of the members of a step."""

    def denoiser(
        self, step: Step, sampler: SamplerConfig, observation: Observation | None = None
    ) -> Denoise:
        """Return the denoiser of a step, given conditioning and observations."""

    def normalise(self, values: Array, step: Step) -> Tensor:
        """Return the normalised x of a physical state."""

    def completion(
        self, step: Step, noise: Noise, around: Array | None, origin: Tensor | None
    ) -> Completion:
        """Return the function from x of a member, and its number, to the physical member.

        Members are drawn around a physical state, with normalised ``origin``, if there is one.
        """

    def mask_unknown(self, member: Array, step: Step) -> Array:
        """Return the part of a member that is written, NaN where the input is missing."""

    def check_analysis(self, count: int) -> None:
        """Refuse an analysis of more observations than fit into memory."""

    def screen(self, table: pd.DataFrame, coverage: float = 0.0) -> pd.DataFrame:
        """Return observations with the status and the step of each."""

    def rows(self, table: pd.DataFrame, step: Step) -> NDArray[np.bool_]:
        """Return a mask of the observations of a step."""

    def operator(self, rows: pd.DataFrame, tried: bool = False) -> Operator:
        """Return the operator from physical states (B, C, ...) to the values of rows (B, N)."""

    def background_equivalents(
        self, step: Step, operator: Operator, named: NDArray[np.object_]
    ) -> Array:
        """Return the prior equivalents of observations (N, P), whose operators have names."""

    def observation(
        self, step: Step, rows: pd.DataFrame, operator: Operator, background: Background
    ) -> Observation:
        """Return the observation of x from some rows."""

    def values(self, step: Step) -> Array:
        """Return a physical state of the file, without missing values."""

    def centre(self, members: Array, step: Step) -> Array:
        """Return members (M, C, ...), shifted so that their mean is the state of the file."""

    def features(self, x: Tensor, step: Step, modules: Modules, sigma: float) -> Tensor:
        """Return the outputs of layers at noisy x: (F, H, W) of fields, else (T, F, ...)."""

    def axes(self, step: Step = None) -> dict[str, xr.DataArray]:
        """Return the axes of one step, or of all steps, in order."""

    def add_times(self, layout: xr.Dataset) -> xr.Dataset:
        """Return a layout with the bounds of its times, if there are any."""

    def label_values(
        self, values: Numbers, member: int | None = None, statistic: str = "", step: Step = None
    ) -> xr.Dataset:
        """Return physical values of one step with axes and metadata."""

    def template(self) -> xr.Dataset:
        """Return the layout of an ensemble file."""


def draw_ensemble(
    space: StateSpace,
    step: Step,
    sampler: SamplerConfig,
    members: Sequence[int],
    seed: int,
    observation: Observation | None = None,
    around: Array | None = None,
) -> Iterator[Array]:
    """Yield physical members of one step, in order; a member does not depend on the others.

    If members are drawn around a physical state, noise is added to it and removed again.
    """
    noise = space.noise(step, seed)
    origin = None if around is None else space.normalise(around, step)
    complete = space.completion(step, noise, around, origin)
    denoise = space.denoiser(step, sampler, observation)
    drawn = draw_samples(denoise, noise, members, sampler, origin)
    for number, x in zip(members, drawn, strict=True):
        yield complete(x, number)


def step_blocks(
    space: StateSpace, step: Step, members: Iterable[NDArray[Any]]
) -> Iterator[xr.Dataset]:
    """Yield the labelled members of one step, then their statistics."""
    options, label = space.options, partial(space.label_values, step=step)
    keep = options.keep if options.members else "mean"
    yield from ensemble_blocks(members, label, keep, options.quantiles)


def draw_samples(
    denoise: Denoise,
    noise: Noise,
    numbers: Sequence[int],
    sampler: SamplerConfig,
    origin: Tensor | None = None,
) -> Iterator[Tensor]:
    """Yield the sampled x of each member, in order, on the CPU.

    Noise is added to the normalised ``origin`` if there is one.
    """
    levels = SCHEDULES[sampler.schedule](sampler.steps, sampler.sigma_min, sampler.sigma_max)
    start_state = None if origin is None else origin.to(sampler.device)[None]
    for start in range(0, len(numbers), sampler.block):
        some = numbers[start : start + sampler.block]
        z = noise(some).to(sampler.device)
        x = make_member_sampler(sampler, noise, some)(denoise, z, levels, start_state).cpu()
        if not bool((x.abs() < MAX_NORMALISED_VALUE).all()):
            raise DpdmError(
                f"Sampling diverged: member {some[0]} lies more than {MAX_NORMALISED_VALUE:g} "
                "standard deviations from the mean.",
                "Use another --guidance, more --steps, or a smaller --tau or --zeta.",
            )
        yield from x


def make_member_sampler(sampler: SamplerConfig, noise: Noise, numbers: Sequence[int]) -> Sampler:
    """Return the sampler, with corrections whose noise is each member's own."""
    if not sampler.corrections:
        return SAMPLERS[sampler.sampler]
    count, tau = sampler.corrections, sampler.tau
    return langevin_sampler(count, tau, lambda correction: noise(numbers, f"/{correction}"))
