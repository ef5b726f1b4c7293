"""Noise levels of a sampler, and the noise of each member.

The noise of a member depends only on the seed, the number of the member and the label of its time
step, so that each member can be reproduced separately. For fields on the Earth, that of a cell
also depends on its place, and on nothing else of the domain (`dpdm.diffusion.place_noise`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


def karras_levels(steps: int, least: float = 2e-3, most: float = 80.0, rho: float = 7.0) -> Tensor:
    """Return ``steps + 1`` decreasing noise levels, from ``most`` through ``least`` to zero.

    Example:
        >>> karras_levels(2, 0.002, 80.0).tolist()
        [80.0, 0.002, 0.0]
    """
    ends = torch.tensor([most, least], dtype=torch.float64) ** (1 / rho)
    ramp = torch.lerp(ends[0], ends[1], torch.linspace(0, 1, steps, dtype=torch.float64)) ** rho
    ramp[0], ramp[-1] = most, least if steps > 1 else most
    return torch.cat([ramp, ramp.new_zeros(1)])


def cosine_levels(steps: int, most: float = 80.0) -> Tensor:
    """Return the levels of a variance-preserving cosine schedule, tan(pi t / 2), from ``most``.

    References:
        Nichol and Dhariwal (2021), https://arxiv.org/abs/2102.09672, equation 17 without offset.
    """
    start = 2 / math.pi * math.atan(most)
    return torch.tan(math.pi / 2 * torch.linspace(start, 0, steps + 1, dtype=torch.float64))


SCHEDULES: dict[str, Callable[[int, float, float], Tensor]] = {
    "karras": karras_levels,
    "cosine": lambda steps, least, most: cosine_levels(steps, most),
}


def level_at_share(schedule: str, share: float, least: float, most: float) -> float:
    """Return the noise level at which a share of a schedule remains.

    Example:
        >>> level_at_share("karras", 1.0, 0.002, 80.0), level_at_share("karras", 0.0, 0.002, 80.0)
        (80.0, 0.0)
        >>> level_at_share("cosine", 0.13, 0.0, 1e4)
        0.207
    """
    levels = SCHEDULES[schedule](1000, least, most)
    shares = torch.linspace(1, 0, len(levels), dtype=torch.float64)
    return float(np.interp(share, shares.flip(0).numpy(), levels.flip(0).numpy()))


def draw_noise(shape: tuple[int, ...], seed: int, member: int, label: str) -> Tensor:
    """Return standard normal noise, a function of seed, member and label.

    Example:
        >>> torch.equal(draw_noise((2, 3), 0, 5, "1862-07"), draw_noise((2, 3), 0, 5, "1862-07"))
        True
    """
    digest = hashlib.sha256(f"{seed}/{member}/{label}".encode()).digest()
    key = np.frombuffer(digest[:16], dtype=np.uint64)
    drawn = np.random.Generator(np.random.Philox(key=key)).standard_normal(shape, np.float32)
    return torch.from_numpy(drawn)


class Noise(Protocol):
    """The noise of an ensemble at one step, a function of seed and label."""

    @property
    def seed(self) -> int:
        """Return the seed of the ensemble."""

    @property
    def label(self) -> str:
        """Return the label of the step."""

    def __call__(self, numbers: Sequence[int], suffix: str = "") -> Tensor:
        """Return the noise of some members (B, ...), independent for each label suffix."""


@dataclass(frozen=True)
class MemberNoise:
    """The noise of states without places, a function of shape, seed and label."""

    shape: tuple[int, ...]
    seed: int
    label: str

    def __call__(self, numbers: Sequence[int], suffix: str = "") -> Tensor:
        """Return the noise of some members (B, ...), independent for each label suffix."""
        label = self.label + suffix
        return torch.stack([draw_noise(self.shape, self.seed, m, label) for m in numbers])
