"""Windows of trajectories: the denoiser, the conditioning and the scaling of their states."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from dpdm.diffusion.denoise import expand_sigma
from dpdm.diffusion.guidance import CovarianceDenoiser
from dpdm.diffusion.tile import flatten_states_denoiser
from dpdm.fields.climatology import harmonic_basis
from dpdm.nets.autoencoder import CODE_FACTOR
from dpdm.nets.wiener import WienerFilter
from dpdm.prior import Prior
from dpdm.types import Denoise, Fields, Sigma


def plane_coordinates(plane: tuple[int, ...]) -> Tensor:
    """Return the coordinates of a plane (4, H, W): sine and cosine of each axis; else nothing.

    Example:
        >>> plane_coordinates((8, 16)).shape, plane_coordinates(()).shape
        (torch.Size([4, 8, 16]), torch.Size([0]))
    """
    angles = [2 * math.pi * (torch.arange(n) + 0.5) / n for n in plane]
    grids = torch.meshgrid(*angles, indexing="ij") if angles else ()
    waves = [wave for grid in grids for wave in (grid.sin(), grid.cos())]
    return torch.stack(waves).float() if waves else torch.zeros(0)


def window_denoiser(prior: Prior, device: str = "cpu", season: float | None = None) -> Denoise:
    """Return a trajectory prior's denoiser of windows of normalised states (B, w, C, ...).

    Args:
        prior: A prior of trajectories.
        device: Where to compute.
        season: Fraction of the year passed at the window's centre, for states on the globe.
    """
    given = window_conditioning(prior, season)
    return flatten_states_denoiser(prior.denoiser.to(device).bind(given[None].to(device)))


def add_covariance(denoise: Denoise, prior: Prior, states: int) -> Denoise:
    """Return a denoiser of trajectories with the covariance of the prior's Wiener filter."""
    if prior.denoiser.law is None:
        return denoise
    law = cast(WienerFilter, prior.denoiser.law).with_length(states)

    def cover(x: Fields, sigma: Sigma) -> Fields:
        filtered: Fields = law(x.flatten(1, 2), sigma)
        return expand_sigma(sigma, x) ** 2 * filtered.reshape(x.shape)

    return CovarianceDenoiser(denoise, cover)


def seasonal_conditioning(ground: Tensor, seasons: Sequence[float | None]) -> Tensor:
    """Return static fields (G, H, W) and seasonal harmonics as conditioning (B, G + 4, H, W)."""
    cycle = torch.from_numpy(harmonic_basis(seasons))[:, 1:].to(ground)[..., None, None]
    fields = cycle.expand(-1, -1, *ground.shape[-2:])
    return torch.cat([ground.expand(len(fields), -1, -1, -1), fields], dim=1)


def state_scaling(prior: Prior, seasons: Sequence[float | None] = ()) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of the states of a trajectory prior, (C,) or (C, 1, 1).

    For global states the mean is the seasonal climatology, with the shape (T, C, H, W).
    """
    shape = (-1, *(1,) * len(prior.contract.plane))
    pairs = torch.tensor([(c.mean, c.std) for c in prior.normaliser.channels]).double()
    mean, std = pairs[:, 0].reshape(shape), pairs[:, 1].reshape(shape)
    if prior.contract.globe:
        cycle = prior.climatology["harmonics"].double()
        basis = torch.from_numpy(harmonic_basis(seasons))
        mean = mean + torch.einsum("tk,kchw->tchw", basis, cycle)
    return mean, std


def window_conditioning(prior: Prior, season: float | None) -> Tensor:
    """Return the conditioning fields of a window (G, H, W), nothing for components."""
    ground = prior.climatology.get("ground")
    if ground is None:
        return plane_coordinates(tuple(prior.contract.plane))
    ground = ground.float() if prior.coder is None else average_code_cells(ground.float())
    return seasonal_conditioning(ground, [season])[0]


def average_code_cells(ground: Tensor) -> Tensor:
    """Return means over the cells of each cell of the code, (..., H, W)."""
    *lead, height, width = ground.shape
    columns = min(CODE_FACTOR, width)
    return ground.reshape(*lead, height // CODE_FACTOR, CODE_FACTOR, -1, columns).mean((-3, -1))
