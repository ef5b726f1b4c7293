"""The ensemble Kalman smoother of DAPPER on Lorenz-63: what a user of the true model would run.

DAPPER's analysis updates an ensemble of whole trajectories up to now, each time that something is
observed. It knows the equations, which a prior must learn, and takes all laws for Gaussian.
``pip install dapper`` brings it; it is a dependency of this benchmark alone.

References:
    Raanes et al. (2024), DAPPER, https://doi.org/10.21105/joss.05150.
    Evensen and van Leeuwen (2000), https://doi.org/10.1175/1520-0493(2000)128<1852:AEKSFN>2.0.CO;2.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dpdm.testbeds import lorenz63

MEMBERS = 1000


def smoothed(
    seen: Callable[[Tensor], Tensor], every: int, error: float, y: Tensor, length: int, seed: int
) -> Tensor:
    """Return an ensemble of trajectories (M, L, 3).

    Args:
        seen: What is observed of states (M, 3), with shape (M,).
        every: States between observations.
        error: Their standard deviation.
        y: Observations, from the first state on.
        length: States L of a trajectory.
        seed: Decides the ensemble.
    """
    analyse, law = dapper(error)
    generator = torch.Generator().manual_seed(seed)
    state = lorenz63.particle_dynamics().start(MEMBERS, generator)
    path = state[:, None]
    for step in range(length):
        if step:
            shake = torch.randn(MEMBERS, 3, dtype=torch.float64, generator=generator)
            state = lorenz63.advance_states(path[:, -1]) + math.sqrt(lorenz63.DT) * shake
            path = torch.cat([path, state[:, None]], dim=1)
        if step % every == 0:
            observed, now = seen(path[:, -1])[:, None].numpy(), y[step // every][None].numpy()
            moved = analyse(path.flatten(1).numpy(), observed, law, now, "Sqrt")
            path = torch.from_numpy(moved).reshape(path.shape)
    return path


def dapper(error: float) -> tuple[Callable[..., Any], Any]:
    """Return DAPPER's analysis and the law of one observation's error."""
    from dapper.da_methods.ensemble import EnKF_analysis
    from dapper.tools.randvars import GaussRV

    return EnKF_analysis, GaussRV(C=error**2, M=1)
