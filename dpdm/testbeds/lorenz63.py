r"""Stochastic Lorenz-63, where the probability of a trajectory is known in closed form.

The three equations of Lorenz (1963, doi:10.1175/1520-0469(1963)020<0130:DNF>2.0.CO;2) are stepped
by one Runge-Kutta step of fourth order, and each step is shaken,

.. math:: x_{i+1} \sim N(M(x_i), \Delta t\, I), \qquad \Delta t = 0.025,

which is the set-up of Rozet and Louppe (2023, arXiv 2306.10574). So a trajectory has a log-prior,
the sum over its transitions, and a posterior's trajectories can be judged by it: 64 true
transitions have 81.7 on average, smoother ones more, which is *worse*. Unshaken, and with steps of
any length, it is the system of Lorenz.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from dpdm.testbeds.particle_smoother import NoisyDynamics

SIGMA, RHO, BETA = 10.0, 28.0, 8 / 3
DT = 0.025
LORENZ_COMPONENTS = ("x", "y", "z")
START_MEAN = (0.0, 0.0, 25.0)
START_COVARIANCE = ((64.0, 50.0, 0.0), (50.0, 81.0, 0.0), (0.0, 0.0, 75.0))
COMPONENT_SCALE = (8.0, 9.0, 8.6)  # with START_MEAN, what normalises a state
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
    """Return first states, before burn-in, from standard normal noise (..., 3)."""
    root: Tensor = torch.linalg.cholesky(noise.new_tensor(START_COVARIANCE))
    # Not a matrix product, whose rounding depends on how many states there are.
    return noise.new_tensor(START_MEAN) + (root * noise[..., None, :]).sum(-1)


def simulate_lorenz(
    count: int,
    length: int,
    seed: int,
    burn_in: int = BURN_IN,
    first: int = 0,
    dt: float = DT,
    shaken: bool = True,
) -> Tensor:
    """Return trajectories (count, length, 3), in double precision.

    Each is decided by seed and its number alone; ``first`` is the number of the first one.
    """
    steps = burn_in + length
    numbers = range(first, first + count)
    shape = (steps if shaken else 1, 3)
    drawn = [np.random.default_rng((seed, n)).standard_normal(shape) for n in numbers]
    noise = torch.from_numpy(np.stack(drawn, axis=1))
    x = initial_states(noise[0])
    states = [x]
    for i in range(1, steps):
        x = advance_states(x, dt) + math.sqrt(dt) * noise[i] if shaken else advance_states(x, dt)
        states.append(x)
    return torch.stack(states[burn_in:], dim=1)


def particle_dynamics(burn_in: int = BURN_IN) -> NoisyDynamics:
    """Return what a particle smoother needs: states after burn-in, and the transition."""

    def settled(count: int, generator: torch.Generator) -> Tensor:
        def noise() -> Tensor:
            return torch.randn(count, 3, dtype=torch.float64, generator=generator)

        x = initial_states(noise())
        for _ in range(burn_in):
            x = advance_states(x) + math.sqrt(DT) * noise()
        return x

    return NoisyDynamics(settled, advance_states, math.sqrt(DT))
