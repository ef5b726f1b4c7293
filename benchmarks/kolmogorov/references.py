"""Analyses without a learnt prior: interpolation, and optimal interpolation.

Interpolation is bilinear on the periodic plane and linear in time; what lies after the last
observation is as that was.

Optimal interpolation is the best linear analysis under the Gaussian law of `gaussian`, with
the exact observation operator H and the observations' own errors R: it solves
:math:`(H P H^T + R) w = y - H m` by conjugate gradients and adds :math:`P H^T w`. Its members are
draws from that law's posterior by Matheron's rule: each is a draw of the prior plus the analysis
of what a perturbed observation misses in it.
"""

import numpy as np
import pandas as pd
import torch
import xarray as xr
from scipy.sparse.linalg import LinearOperator, cg
from torch import Tensor

from benchmarks.kolmogorov.gaussian import Climate
from benchmarks.observed import Observed
from dpdm.operators.linear import apply_adjoint


def interpolated(table: pd.DataFrame, truth: xr.Dataset) -> Tensor:
    """Return one trajectory (2, T, Y, X) from velocities that were seen on a regular grid."""
    keys = ["variable", "time", "y", "x"]
    seen = table.set_index(keys)["value"].to_xarray().sortby(["y", "x"])
    turn = 2 * np.pi
    for name in ("y", "x"):
        ahead, behind = (seen.assign_coords({name: seen[name] + t}) for t in (turn, -turn))
        seen = xr.concat([behind, seen, ahead], name)
    time = truth["time"].clip(max=float(seen["time"][-1]))
    fields = seen.interp(time=time, y=truth["y"], x=truth["x"])
    return torch.from_numpy(fields.transpose(*keys).values)


def optimal(law: Climate, seen: Observed, members: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the members (M, 2, T, Y, X) and the mean (2, T, Y, X) of optimal interpolation."""
    rng = np.random.default_rng((seed, 3))
    shape = law.covary(law.draw(seed, 0)).shape
    mean = law.mean.expand(shape)
    centre = mean + gained(law, seen, seen.value - seen.operator(mean[None])[0], shape)
    drawn = []
    for member in range(members):
        x = mean + law.draw(seed, member)
        noise = torch.from_numpy(rng.standard_normal(len(seen.value)))
        miss = seen.value + seen.error * noise - seen.operator(x[None])[0]
        drawn.append(x + gained(law, seen, miss, shape))
    return torch.stack(drawn), centre


def gained(law: Climate, seen: Observed, miss: Tensor, shape: torch.Size) -> Tensor:
    """Return what a misfit (N,) moves the trajectory by: P H^T (H P H^T + R)^-1 miss."""
    origin = torch.zeros(shape, dtype=torch.float64)[None]
    level = seen.operator(origin)[0]

    def pulled(w: np.ndarray) -> Tensor:
        v = torch.from_numpy(np.ascontiguousarray(w))
        return law.covary(apply_adjoint(seen.operator, origin, v[None])[0])

    def spread(w: np.ndarray) -> np.ndarray:
        back = seen.operator(pulled(w)[None])[0] - level
        return (back + seen.error**2 * torch.from_numpy(w)).numpy()

    count = len(miss)
    whole = LinearOperator((count, count), matvec=spread, dtype=float)
    w, failed = cg(whole, miss.numpy(), rtol=1e-4, maxiter=2000)
    if failed:
        raise SystemExit("The conjugate gradients of optimal interpolation did not converge.")
    return pulled(w)
