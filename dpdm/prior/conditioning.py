"""The conditioning channels of a network: the fields that it is given beside the noisy ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class StaticTensors:
    """What lies under the fields, with shapes (H, W) and (H,).

    Attributes:
        topography: Surface altitude over 1000 m, and its detail below the coarse grid.
        land: Land fraction, and its detail.
        lat: Latitudes, degrees.
    """

    topography: tuple[Tensor, Tensor]
    land: tuple[Tensor, Tensor]
    lat: Tensor


def count_conditioning_channels(variables: int) -> int:
    """Count the conditioning channels of a prior of so many variables."""
    return 2 * variables + 10


def make_conditioning_channels(
    standard: Tensor,
    ground: StaticTensors,
    factor: tuple[float, float] | None,
    season: float | None,
) -> Tensor:
    """Return the conditioning channels, with shape (G, H, W).

    Args:
        standard: Standardised lerp of all variables (C, H, W), NaN where missing.
        ground: Statics on the same cells.
        factor: Coarse over fine spacing, along latitude and longitude; None without coarse.
        season: Fraction of the year passed; None for means over seasons or years.
    """
    known = standard.isfinite()
    angle = 2 * np.pi * (season or 0.0)
    on = 0.0 if season is None else 1.0
    detail = 0.0 if factor is None else 1.0
    logs = (0.0, 0.0) if factor is None else tuple(float(np.log2(f)) / 4 for f in factor)
    sine = torch.sin(torch.deg2rad(ground.lat))[:, None].expand(standard.shape[-2:])
    numbers = [on * np.cos(angle), on * np.sin(angle), on, *logs]
    flat = standard.new_tensor(numbers)[:, None, None].expand(-1, *standard.shape[-2:])
    relief = [
        ground.topography[0], ground.topography[1] * detail,
        ground.land[0], ground.land[1] * detail, sine,
    ]  # fmt: skip
    return torch.cat([standard.nan_to_num(), known.to(standard), torch.stack(relief), flat])


def to_tensor(fields: xr.Dataset, names: list[str], shape: tuple[int, int]) -> Tensor:
    """Return one step's variables (C, H, W) in float64, all NaN for those that are absent."""
    absent = np.full(shape, np.nan)
    arrays = [
        fields[n].transpose("lat", "lon").values.astype(float) if n in fields else absent
        for n in names
    ]
    return torch.from_numpy(np.stack(arrays))


def make_static_tensors(
    statics: NDArray[np.float64], smooth: NDArray[np.float64], lat: NDArray[np.float64]
) -> StaticTensors:
    """Return topography and land (2, H, W) with their detail over the lerp, as float32 tensors."""
    fine, lerp, rows = (
        torch.from_numpy(np.ascontiguousarray(a, dtype=np.float32)) for a in (statics, smooth, lat)
    )
    detail = fine - lerp
    return StaticTensors((fine[0] / 1000, detail[0] / 1000), (fine[1], detail[1]), rows)


def geometric_mean_factor(factor: tuple[float, float]) -> float:
    """Return the geometric mean of the factors along latitude and longitude."""
    return float(np.sqrt(factor[0] * factor[1]))
