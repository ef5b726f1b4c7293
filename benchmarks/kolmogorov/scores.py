r"""Scores of inferred trajectories, pooled over trajectories, states, components and cells.

- RMSE of the mean of the members, over the standard deviation of the flow around its mean state:
  that state has 1, and any state of the flow that knows nothing of the truth :math:`\sqrt 2`. A
  mean of M members is off by their spread over the root of M besides; the second figure is
  without: of optimal interpolation it is that of its exact mean, of members their mean square
  error less their variance over M.
- The fair CRPS, over the same standard deviation.
- The spread-skill ratio.
- Chi-square: the mean squared misfit of members to the observations over their error variance. A
  draw of the exact posterior cannot be told from the truth by what was seen, so it has 1.
- Consistency with the physics: the solver runs from the inferred first state, and is compared with
  the inferred one 4 states later, and with the last. Means over cells do not tell the small eddies
  within them, and the flow is chaotic, so the truth itself does not have 0.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dpdm.evaluate.scores import fair_crps
from dpdm.testbeds import kolmogorov

FLOW = kolmogorov.KolmogorovFlow(resolution=96)
HEAD = (
    "case", "method", "RMSE", "of many", "CRPS", "spread-skill", "chi-square",
    "solver, 4 on", "solver, last",
)  # fmt: skip
RMSE, CHI_SQUARE = 1, 4  # where the judged figures stand in a line


@dataclass(frozen=True)
class Inferred:
    """What a method says of N trajectories.

    Attributes:
        members: With shape (M, N, 2, T, Y, X).
        mean: The mean that more and more members would have, with shape (N, 2, T, Y, X), where it
            is known.
    """

    members: Tensor
    mean: Tensor | None = None


def scores(found: Inferred, truth: Tensor, std: float, chi_square: float) -> tuple[float, ...]:
    """Return a method's figures, in the order of the table."""
    errors = found.members - truth
    many = of_many(errors) if found.mean is None else rms(found.mean - truth)
    crps = float(fair_crps(errors.movedim(0, -1).numpy()).mean())
    runs = astray(found.members.flatten(0, 1), std)
    one = rms(errors.mean(0))
    return one / std, many / std, crps / std, spread_skill(errors), chi_square, *runs


def of_many(errors: Tensor) -> float:
    """Return the RMSE that the mean of many more such members has, from those of M (M, ...)."""
    square = errors.mean(0).square().mean() - errors.var(0).mean() / len(errors)
    return float(square.clamp_min(0).sqrt())


def astray(x: Tensor, std: float) -> tuple[float, ...]:
    """Return the RMSE between the solver's states and those of trajectories (B, 2, T, Y, X)."""
    states = kolmogorov.advance_flow(x[:, 0, 0], x[:, 1, 0], x.shape[2] - 1, FLOW)
    run = torch.stack(states, dim=2)  # (T - 1, B, 2, Y, X)
    return tuple(rms(run[ahead - 1] - x[:, :, ahead]) / std for ahead in (4, x.shape[2] - 1))


def spread_skill(errors: Tensor) -> float:
    """Return the spread-skill ratio of members minus truth (M, ...); 1 is calibrated."""
    count = len(errors)
    if count == 1:
        return math.nan
    spread = errors.var(0).mean() * (count + 1) / count
    return float((spread / errors.mean(0).square().mean()).sqrt())


def rms(x: Tensor) -> float:
    """Return the root of the mean square."""
    return float(x.square().mean().sqrt())
