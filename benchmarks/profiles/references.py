r"""Analyses of profiles without a learnt prior: interpolations, and an ensemble Kalman analysis.

The **degraded background** is what is left of the field, lerped back to the grid.

**Optimal interpolation** takes the Gaussian law of `gaussian.py`, the exact operator H and the
exact covariance of the errors. Its members are draws from that law's posterior by Matheron's rule:
each is a draw of the law plus the analysis of what perturbed observations miss in it.

The **ensemble Kalman analysis** takes windows of the training series, of the same season, as its
background ensemble, and is the local ensemble transform (LETKF) for each block of 4 by 4 cells,
with observations of all days within reach, their errors widened by distance:

.. math:: \tilde P = ((N - 1) I + Y^T R^{-1} Y)^{-1}, \quad
   \bar w = \tilde P Y^T R^{-1} (y - \bar y), \quad W = ((N - 1) \tilde P)^{1/2}

References:
    Hunt, Kostelich and Szunyogh (2007), https://doi.org/10.1016/j.physd.2006.11.008
"""

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.observed import Observed
from benchmarks.profiles.gaussian import Law
from dpdm.diffusion.guidance import linearise
from dpdm.diffusion.solvers import conjugate_gradients
from dpdm.fields.grid import Grid

Array = NDArray[np.float64]
SIDE = 4  # cells of a local analysis
REACH = 2.0  # lengths of localisation, beyond which observations do not count
RADIUS = 6371.0  # km
MOST, ENOUGH = 600, 0.01  # steps of conjugate gradients, and the residual they are to reach


def lerped(table: pd.DataFrame, names: list[str], shape: tuple[int, ...], grid: Grid) -> Tensor:
    """Return what was seen of each variable on a regular grid of places (K, T, H, W)."""
    out = np.full((len(names), *shape), np.nan)
    for number, name in enumerate(names):
        rows = table[table["variable"] == name]
        seen = rows.set_index(["step", "lat", "lon"])["value"].to_xarray().sortby(["lat", "lon"])
        ahead, behind = (seen.assign_coords(lon=seen["lon"] + turn) for turn in (360, -360))
        round_ = np.concatenate([behind, seen, ahead], -1)
        lon = np.concatenate([behind["lon"], seen["lon"], ahead["lon"]])
        out[number] = between(round_, seen["lat"].values, lon, grid)
    return torch.from_numpy(out)


def between(values: Array, lat: Array, lon: Array, grid: Grid) -> Array:
    """Return values (T, h, w) lerped to a grid; beyond the outermost rows they hold."""
    rows = np.stack([np.interp(grid.lat, lat, e) for e in np.eye(len(lat))], 1)
    columns = np.stack([np.interp(grid.lon % 360, lon, e) for e in np.eye(len(lon))], 1)
    out: Array = np.einsum("Hh,thw,Ww->tHW", rows, values, columns)
    return out


def optimal(law: Law, seen: Observed, members: int, seed: int = 0) -> Tensor:
    """Return members (M, C, T, H, W) of optimal interpolation.

    Args:
        law: Of departures from the mean of the season, around which operators are linearised.
        seen: What is seen, in units of its errors; not used where the mean does not see it.
        members: How many.
        seed: Of the draws.
    """
    x = torch.stack([law.draw(seed, member) for member in range(members)])
    there = seen.operator(law.mean[None])[0].isfinite()
    at = law.mean.float().expand(x.shape)
    values, pull, push = linearise(lambda fields: seen.operator(fields)[:, there], at)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(values.shape, generator=generator, dtype=torch.float64)

    def pulled(v: Tensor) -> Tensor:
        return law.covary(pull(v))

    def matvec(v: Tensor) -> Tensor:
        return v + push(pulled(v))

    miss = (seen.value[there] + noise).float() - values - push(x.float())
    return law.mean + x + pulled(conjugate_gradients(matvec, miss, MOST, ENOUGH))


def transformed(
    windows: Tensor, seen: Observed, where: tuple[Array, Array], grid: Grid, length: float
) -> Tensor:
    """Return the analysis members (N, C, T, H, W) of background members.

    Args:
        windows: Background members.
        seen: What is seen.
        where: Latitudes and longitudes of the observations, degrees.
        grid: The cells.
        length: Of the localisation, km.
    """
    y = torch.cat([seen.operator(x[None]) for x in windows]).numpy()
    mean, out = windows.mean(0), windows.clone()
    departures, centre = (y - y.mean(0)).T, y.mean(0)
    apart = windows - mean
    rows, columns = (grid.shape[0] // SIDE, grid.shape[1] // SIDE)
    for i in range(rows):
        for j in range(columns):
            place = (..., slice(i * SIDE, (i + 1) * SIDE), slice(j * SIDE, (j + 1) * SIDE))
            middle = grid.lat[place[1]].mean(), grid.lon[place[2]].mean()
            away = distance(*middle, *where) / length
            near = np.flatnonzero(away < REACH)
            error = seen.error.numpy()[near] * np.exp(away[near] ** 2 / 4)
            gain = weights(departures[near], seen.value.numpy()[near] - centre[near], error)
            out[place] = mean[place] + torch.einsum(
                "nm,ncthw->mcthw", torch.from_numpy(gain), apart[place]
            )
    return out


def weights(departures: Array, innovation: Array, error: Array) -> Array:
    """Return how each analysis member (columns) is made of background departures (rows)."""
    count = departures.shape[1]
    scaled = departures / error[:, None]
    size, axes = np.linalg.eigh((count - 1) * np.eye(count) + scaled.T @ scaled)
    mean = axes @ ((axes.T @ (scaled.T @ (innovation / error))) / size)
    root = axes @ (np.sqrt((count - 1) / size)[:, None] * axes.T)
    out: Array = root + mean[:, None]
    return out


def distance(lat: float, lon: float, to_lat: Array, to_lon: Array) -> Array:
    """Return great circle distances, km."""
    a, b, turn = np.radians(lat), np.radians(to_lat), np.radians(to_lon - lon)
    cosine = np.sin(a) * np.sin(b) + np.cos(a) * np.cos(b) * np.cos(turn)
    out: Array = RADIUS * np.arccos(cosine.clip(-1, 1))
    return out
