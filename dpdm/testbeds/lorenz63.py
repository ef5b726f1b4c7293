r"""Stochastic Lorenz-63, and a particle smoother of its posterior.

The equations of Lorenz (1963, doi:10.1175/1520-0469(1963)020<0130:DNF>2.0.CO;2) are integrated by
one Runge-Kutta step of fourth order, and noise is added to each step,

.. math:: x_{i+1} \sim N(M(x_i), \Delta t\, I), \qquad \Delta t = 0.025,

the set-up of Rozet and Louppe (2023, arXiv 2306.10574). So the log-probability of a trajectory is
known, as the sum over its transitions: 81.7 on average for 64 true transitions, and more for
trajectories that are too smooth. Without noise it is the system of Lorenz.

**Particle smoother.** Forwards, a bootstrap filter (Gordon et al. 1993) propagates N particles by
:math:`x_{i+1} \sim N(M(x_i), s^2 I)`, weights them by the likelihood of the observations, and
resamples. As few ancestral lines reach back to the first state, trajectories are then simulated
backwards (FFBSi, Godsill et al. 2004, doi:10.1198/016214504000000151): given :math:`x_{i+1}`, its
ancestor is particle n with probability

.. math:: \propto w_i^n\, N(x_{i+1};\, M(x_i^n),\, s^2 I).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Likelihood = Callable[[int, Tensor], Tensor | None]
"""Maps a step and its states (N, D) to log p(y | x), (N,), or to None without observations."""

PARTICLES = 2**16
REJECTION_TRIES = (2**5, 2**11)  # proposals of an ancestor, before exact sampling
MAX_PAIRS = 2**22  # pairs of trajectory and particle at once, in 32 MiB


@dataclass(frozen=True)
class NoisyDynamics:
    """A system with additive Gaussian noise.

    Attributes:
        start: Draws N initial states (N, D), with a generator.
        step: Maps states (N, D) to the mean of the next states.
        std: Standard deviation of the noise of a step, in each component.
    """

    start: Callable[[int, torch.Generator], Tensor]
    step: Callable[[Tensor], Tensor]
    std: float

    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Draw the next states."""
        noise = torch.randn(x.shape, dtype=x.dtype, generator=generator)
        return self.step(x) + self.std * noise


@dataclass(frozen=True)
class FilterResult:
    """The result of a particle filter.

    Attributes:
        states: Particles before resampling, (L, N, D).
        log_weights: Logarithms of their normalised weights, (L, N).
        evidence: log p(y) of all observations.
    """

    states: Tensor
    log_weights: Tensor
    evidence: float


def run_smoother(
    dynamics: NoisyDynamics,
    likelihood: Likelihood,
    length: int,
    count: int,
    particles: int = PARTICLES,
    seed: int = 0,
) -> Tensor:
    """Return trajectories (count, length, D), draws from p(x | y)."""
    generator = torch.Generator().manual_seed(seed)
    cloud = bootstrap_filter(dynamics, likelihood, length, particles, generator)
    return simulate_backward(dynamics, cloud, count, generator)


def bootstrap_filter(
    dynamics: NoisyDynamics,
    likelihood: Likelihood,
    length: int,
    particles: int,
    generator: torch.Generator,
) -> FilterResult:
    """Run a bootstrap particle filter."""
    x = dynamics.start(particles, generator)
    states, log_weights, evidence = [], [], 0.0
    for step in range(length):
        x = dynamics.forward(x, generator) if step else x
        log_p = likelihood(step, x)
        states.append(x)
        log_weights.append(
            torch.log_softmax(x.new_zeros(particles) if log_p is None else log_p, 0)
        )
        if log_p is not None:
            evidence += float(torch.logsumexp(log_p, 0)) - math.log(particles)
            x = x[systematic_resampling(log_weights[-1].exp(), generator)]
    return FilterResult(torch.stack(states), torch.stack(log_weights), evidence)


def simulate_backward(
    dynamics: NoisyDynamics, cloud: FilterResult, count: int, generator: torch.Generator
) -> Tensor:
    """Simulate trajectories (count, length, D) backwards through a filter's particles."""
    last = cloud.log_weights[-1].expand(1, -1)
    chosen = cloud.states[-1][_draw_index(last.expand(count, -1), generator)]
    path = [chosen]
    for states, log_weights in zip(
        cloud.states[:-1].flip(0), cloud.log_weights[:-1].flip(0), strict=True
    ):
        chosen = _ancestors(dynamics, states, log_weights, chosen, generator)
        path.append(chosen)
    return torch.stack(path[::-1], dim=1)


def systematic_resampling(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Return N indices, with frequencies by weight."""
    count = len(weights)
    offset = torch.rand(1, dtype=weights.dtype, generator=generator)
    marks = (torch.arange(count, dtype=weights.dtype) + offset) / count
    return torch.searchsorted(weights.cumsum(0), marks).clamp(max=count - 1)


def _ancestors(
    dynamics: NoisyDynamics,
    states: Tensor,
    log_weights: Tensor,
    later: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Draw an ancestor (D,) for each of the later states (count, D).

    Most are found by rejection (Douc et al. 2011, doi:10.1214/10-AAP735), the rest by weighting
    all particles; both sample the same distribution.
    """
    mean = dynamics.step(states)
    picked = torch.full((len(later),), -1)
    for guesses in REJECTION_TRIES:
        for part in _missing_ancestors(picked, guesses):
            picked[part] = _rejection_ancestors(
                mean, log_weights, later[part], dynamics.std, guesses, generator
            )
    for part in _missing_ancestors(picked, len(states)):
        picked[part] = _exact_ancestors(mean, log_weights, later[part], dynamics.std, generator)
    return states[picked]


def _missing_ancestors(picked: Tensor, candidates: int) -> tuple[Tensor, ...]:
    """Return the states without an ancestor, in parts that fit into memory."""
    missing = torch.nonzero(picked < 0)[:, 0]
    return torch.split(missing, max(1, MAX_PAIRS // candidates)) if len(missing) else ()


def _rejection_ancestors(
    mean: Tensor,
    log_weights: Tensor,
    later: Tensor,
    std: float,
    guesses: int,
    generator: torch.Generator,
) -> Tensor:
    """Draw ancestors, accepted with probability exp(-|x - m|^2 / 2 s^2); else -1."""
    shape = (len(later), guesses)
    sums = log_weights.exp().cumsum(0)
    marks = torch.rand(shape, dtype=mean.dtype, generator=generator) * sums[-1]
    guess = torch.searchsorted(sums, marks, right=True).clamp(max=len(sums) - 1)
    distance = (later[:, None] - mean[guess]).square().sum(-1)
    chance = torch.rand(shape, dtype=mean.dtype, generator=generator)
    accepted = chance < torch.exp(-distance / (2 * std**2))
    first = accepted.int().argmax(1, keepdim=True)
    return torch.where(accepted.any(1), guess.gather(1, first)[:, 0], -1)


def _exact_ancestors(
    mean: Tensor, log_weights: Tensor, later: Tensor, std: float, generator: torch.Generator
) -> Tensor:
    """Draw ancestors by the weights of all particles."""
    # |x - m|^2 = |x|^2 - 2 x m + |m|^2, where |x|^2 is the same for all particles.
    bias = log_weights - mean.square().sum(-1) / (2 * std**2)
    return _draw_index(torch.addmm(bias, later / std**2, mean.T), generator)


def _draw_index(log_weights: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one index (rows,) from each row of unnormalised log weights (rows, N)."""
    sums = (log_weights - log_weights.amax(1, keepdim=True)).exp_().cumsum(1)
    marks = torch.rand(len(sums), 1, dtype=sums.dtype, generator=generator) * sums[:, -1:]
    return torch.searchsorted(sums, marks, right=True)[:, 0].clamp(max=sums.shape[1] - 1)


SIGMA, RHO, BETA = 10.0, 28.0, 8 / 3
DT = 0.025
LORENZ_COMPONENTS = ("x", "y", "z")
START_MEAN = (0.0, 0.0, 25.0)
START_COVARIANCE = ((64.0, 50.0, 0.0), (50.0, 81.0, 0.0), (0.0, 0.0, 75.0))
COMPONENT_SCALE = (8.0, 9.0, 8.6)  # for normalisation, with START_MEAN
BURN_IN = 1024


def lorenz_tendency(x: Tensor) -> Tensor:
    """Return the time derivative of states (..., 3)."""
    x, y, z = x.unbind(-1)
    return torch.stack([SIGMA * (y - x), x * (RHO - z) - y, x * y - BETA * z], dim=-1)


def advance_states(x: Tensor, dt: float = DT) -> Tensor:
    """Return M(x), the mean of the next states, for states (..., 3)."""
    k1 = lorenz_tendency(x)
    k2 = lorenz_tendency(x + dt / 2 * k1)
    k3 = lorenz_tendency(x + dt / 2 * k2)
    k4 = lorenz_tendency(x + dt * k3)
    return x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def initial_states(noise: Tensor) -> Tensor:
    """Return initial states, before burn-in, from standard normal noise (..., 3)."""
    root: Tensor = torch.linalg.cholesky(noise.new_tensor(START_COVARIANCE))
    # Not a matrix product, whose rounding errors depend on the number of states.
    return noise.new_tensor(START_MEAN) + (root * noise[..., None, :]).sum(-1)


def simulate_lorenz(
    count: int,
    length: int,
    seed: int,
    burn_in: int = BURN_IN,
    first: int = 0,
    dt: float = DT,
    noisy: bool = True,
) -> Tensor:
    """Return trajectories (count, length, 3), in double precision.

    Each depends on seed and its number alone; ``first`` is the number of the first one.
    """
    steps = burn_in + length
    numbers = range(first, first + count)
    shape = (steps if noisy else 1, 3)
    drawn = [np.random.default_rng((seed, n)).standard_normal(shape) for n in numbers]
    noise = torch.from_numpy(np.stack(drawn, axis=1))
    x = initial_states(noise[0])
    states = [x]
    for i in range(1, steps):
        x = advance_states(x, dt) + math.sqrt(dt) * noise[i] if noisy else advance_states(x, dt)
        states.append(x)
    return torch.stack(states[burn_in:], dim=1)


def particle_dynamics(burn_in: int = BURN_IN) -> NoisyDynamics:
    """Return the dynamics for a particle smoother: states after burn-in, and the transition."""

    def start(count: int, generator: torch.Generator) -> Tensor:
        def noise() -> Tensor:
            return torch.randn(count, 3, dtype=torch.float64, generator=generator)

        x = initial_states(noise())
        for _ in range(burn_in):
            x = advance_states(x) + math.sqrt(DT) * noise()
        return x

    return NoisyDynamics(start, advance_states, math.sqrt(DT))
