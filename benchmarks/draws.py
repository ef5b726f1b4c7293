"""Draw members in ways that no user is offered, to compare with the way that every user gets.

The members of ``dpdm.states.sampling`` come from one sampler, one schedule and fused windows. The
benchmarks
also need other schedules, windows that merely touch, and one window over the whole domain, all
with the same network, the same conditions and the same noise.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from dpdm.diffusion.noise import cosine_levels, karras_levels
from dpdm.diffusion.sample import SAMPLERS
from dpdm.fields.grid import Grid
from dpdm.prior import Prior, find_prior, load_prior
from dpdm.prior.normaliser import geometric_mean_factor
from dpdm.states.field_domain import fit_field_space
from dpdm.states.field_posterior import Conditioning, Posterior
from dpdm.states.fields import FieldSpace
from dpdm.states.options import EnsembleOptions, SamplerConfig
from dpdm.types import Denoise, Fields, Sigma

Array = NDArray[np.floating]


def task_of(coarse: Path, prior: str, sampler: str = "") -> FieldSpace:
    """Return the space of a coarse file, as ``dpdm downscale --climatology none`` would plan it.

    Without a sampler, members are drawn by the prior's denoiser, not by its fast head. The truth
    of these benchmarks is the bundled climatology itself.
    """
    options = EnsembleOptions(climatology="none", sampler=sampler)
    return fit_field_space(coarse, load_prior(find_prior(prior)), options, None, None)


def schedule(space: FieldSpace, sampler: str, steps: int) -> Tensor:
    """Return falling noise levels: the published cosine ones for DDIM, else dpdm's own."""
    if sampler == "ddim":
        return cosine_levels(steps, space.sampler.sigma_max)
    return karras_levels(steps, space.prior.contract.sigma[0], space.sampler.sigma_max)


def noises(space: FieldSpace, step: int, members: Sequence[int], seed: int = 0) -> Tensor:
    """Return the noise (M, C, H, W) of some members, the same that every user gets."""
    return space.noise(step, seed)(members)


def physical(prior: Prior, given: Conditioning, x: Tensor) -> Array:
    """Return physical values (M, C, H, W), float32, of normalised fields."""
    known = prior.normaliser.forward(given.lerp)
    factor = geometric_mean_factor(given.factor) if given.factor else prior.contract.factors[1]
    reference = given.reference_state(prior.normaliser)
    base, scale = prior.normaliser.base_and_scale(known, factor, reference)
    values: Array = prior.normaliser.inverse(base + scale * x.cpu().double()).numpy()
    return values.astype(np.float32)


@torch.no_grad()
def draw(
    space: FieldSpace,
    step: int,
    denoise: Denoise,
    members: Sequence[int],
    sampler: str,
    steps: int,
) -> Array:
    """Draw physical members (M, C, H, W) of a step, with any denoiser and sampler."""
    drawn = noises(space, step, members).to(space.sampler.device)
    falling = schedule(space, sampler, steps)
    x = [
        SAMPLERS[sampler](denoise, some, falling)
        for some in torch.split(drawn, space.sampler.block)
    ]
    return physical(space.prior, space.conditioning(step), torch.cat(x))


def evaluations(sampler: str, falling: Tensor) -> int:
    """Count the evaluations of a sampler, by running it on nothing.

    Example:
        >>> evaluations("heun", levels(8)), evaluations("multistep", levels(8))
        (15, 8)
    """
    asked: list[float] = []

    def nothing(x_t: Fields, sigma: Sigma) -> Fields:
        asked.append(float(sigma[0]))
        return torch.zeros_like(x_t)

    SAMPLERS[sampler](nothing, torch.zeros(1, 1, 1, 1), falling)
    return len(asked)


def one_window(space: FieldSpace) -> Prior:
    """Return the prior, made to see the whole domain at once: no borders."""
    contract = replace(space.prior.contract, window=max(space.grid.shape))
    return replace(space.prior, contract=contract)


def blocks(shape: tuple[int, int], side: int) -> list[tuple[slice, slice]]:
    """List windows that touch and do not overlap; the last ones are smaller.

    Example:
        >>> blocks((3, 2), 2)
        [(slice(0, 2, None), slice(0, 2, None)), (slice(2, 3, None), slice(0, 2, None))]
    """
    rows, columns = (
        [slice(start, min(start + side, count)) for start in range(0, count, side)]
        for count in shape
    )
    return [(r, c) for r in rows for c in columns]


def part(given: Conditioning, rows: slice, columns: slice) -> Conditioning:
    """Return what is known of one window, as if it were the whole domain."""
    at = (slice(None), rows, columns)
    reference = given.reference
    if reference is not None:
        reference = reference[0][at], reference[1][at]
    grid = Grid(given.grid.lat[rows], given.grid.lon[columns])
    return replace(
        given, lerp=given.lerp[at], statics=given.statics[at], smooth=given.smooth[at],
        grid=grid, reference=reference,
    )  # fmt: skip


def touching(prior: Prior, given: Conditioning, sampler: SamplerConfig) -> Denoise:
    """Return a denoiser whose windows never meet, so that each is finished on its own.

    Samplers act on each cell alone but for the denoiser, so this equals sampling window by window
    and laying the results side by side, with the same noise.
    """
    places = blocks(given.grid.shape, prior.contract.window)
    each = [Posterior(prior, part(given, *place), sampler).denoise(sampler) for place in places]

    def whole(x_t: Fields, sigma: Sigma) -> Fields:
        out = torch.empty_like(x_t)
        for local, place in zip(each, places, strict=True):
            out[..., *place] = local(x_t[..., *place], sigma)
        return out

    return whole


def labelled(space: FieldSpace, steps: Sequence[int], values: Sequence[Array]) -> xr.Dataset:
    """Return members (M, C, H, W) of some steps as canonical fields."""
    stacked = np.stack(values)
    coords: dict[str, Any] = dict(space.grid.coords())
    if "time" in space.coarse.dims:
        coords["time"] = space.coarse["time"].values[list(steps)]
    dims = ("time", "realization", "lat", "lon")
    names = space.prior.normaliser.names
    arrays = {n: (dims, stacked[:, :, i]) for i, n in enumerate(names) if n in space.coarse}
    return xr.Dataset(arrays, coords)
