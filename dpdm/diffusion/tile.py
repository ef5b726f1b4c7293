r"""Compose denoisers of windows to a denoiser of a domain of any extent.

In space the windows overlap, and their outputs are blended **at every noise level** with weights
that decrease linearly towards the edges of the window; the noise is one field of the domain. So
there are no seams:

.. math:: D(x_t) = \sum_k w_k D_k(x_t^{(k)}) / \sum_k w_k

In time nothing is blended. A state of a Markov chain depends on its neighbours alone, so the score
of a long trajectory at one state is that of a window around it: each state is taken from the
window of which it is the centre, the first and the last from those at the ends. An average of
windows would not be a score.

References:
    Rozet and Louppe (2023), SDA, https://arxiv.org/abs/2306.10574, algorithm 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dpdm.types import Denoise, Fields, Sigma

COARSEST_CELL = 4  # cells of the domain in a cell of the networks' lowest resolution
CHECKPOINT_WINDOWS = 16  # windows whose activations are stored for gradients, at most
WindowSlices: TypeAlias = tuple[Any, ...]
"""The index of a window in the fields, ``x_t[index]``."""


class WindowCover(Protocol):
    """Windows that cover a domain."""

    def window_slices(self) -> list[WindowSlices]:
        """List the indices of the windows."""

    def join(self, outputs: Iterable[Fields], x_t: Fields) -> Fields:
        """Compose the outputs of the windows, in order, to fields shaped as ``x_t``."""


@dataclass(frozen=True)
class SpatialWindows:
    """Overlapping windows that cover a domain in space, the last two axes.

    Attributes:
        shape: Rows and columns of the domain.
        size: Rows and columns of a window; one that exceeds the domain is cut to it.
        overlap: Cells shared by neighbours, at least.
        cyclic: Whether the columns are cyclic.
        align: Windows start at multiples of this number of cells where their size allows, so a
            network of several resolutions has the same view of a cell in each window.
        power: Power of the weights. A higher one leaves less of the cells at the edges of windows,
            for fields that no further evaluation smooths.
    """

    shape: tuple[int, int]
    size: tuple[int, int]
    overlap: int
    cyclic: bool = False
    align: int = 1
    power: int = 1

    @property
    def extent(self) -> tuple[int, int]:
        """Give the rows and columns of every window."""
        return min(self.size[0], self.shape[0]), min(self.size[1], self.shape[1])

    def window_slices(self) -> list[WindowSlices]:
        """List the rows and columns of the windows; cyclic columns continue across the edge."""
        height, width = self.extent
        around = self.cyclic and width < self.shape[1]
        rows = [
            top + torch.arange(height)
            for top in window_starts(self.shape[0], height, self.overlap, self.align)
        ]
        starts = cyclic_window_starts if around else window_starts
        lefts = starts(self.shape[1], width, self.overlap, self.align)
        columns = [(left + torch.arange(width)) % self.shape[1] for left in lefts]
        return [(..., r[:, None], c) for r in rows for c in columns]

    def weights(self) -> Tensor:
        """Return the blending weights of one window, with its rows and columns."""
        return torch.outer(*(blending_weights(n, self.overlap) for n in self.extent)) ** self.power

    @cached_property
    def weight_sum(self) -> Tensor:
        """Give the sum of the weights of all windows in each cell."""
        total = torch.zeros(self.shape, dtype=torch.float64)
        for index in self.window_slices():
            total[index] += self.weights()
        return total

    def join(self, outputs: Iterable[Fields], x_t: Fields) -> Fields:
        """Return the weighted mean of the outputs of the windows."""
        share, sums = self.weights().to(x_t), torch.zeros_like(x_t)
        for index, x_hat in zip(self.window_slices(), outputs, strict=True):
            sums[index] += share * x_hat
        return sums / self.weight_sum.to(x_t)


@dataclass(frozen=True)
class TimeWindows:
    """Windows of successive states that cover a trajectory (B, T, ...), one at each state.

    Attributes:
        count: States T of the trajectory, at least ``width``.
        width: States w = 2 k + 1 of a window.
    """

    count: int
    width: int

    def window_slices(self) -> list[WindowSlices]:
        """List the states of the windows."""
        starts = range(self.count - self.width + 1)
        return [(slice(None), slice(first, first + self.width)) for first in starts]

    def join(self, outputs: Iterable[Fields], x_t: Fields) -> Fields:
        """Return the centres of all windows, the start of the first and the end of the last."""
        centre, last = self.width // 2, self.count - self.width
        return torch.cat(
            [
                x_hat[:, 0 if first == 0 else centre : self.width if first == last else centre + 1]
                for first, x_hat in enumerate(outputs)
            ],
            dim=1,
        )


def window_starts(count: int, width: int, overlap: int, align: int = 1) -> list[int]:
    """Return evenly spaced starts of windows that cover ``count`` cells, multiples of ``align``.

    The last window ends with the domain; `fit_window_size` gives widths with which it is aligned.

    Example:
        >>> window_starts(160, 64, 16), window_starts(50, 50, 16)
        ([0, 48, 96], [0])
        >>> window_starts(181, 77, 24, align=4)
        [0, 52, 104]
    """
    stride, free = max(align, (width - overlap) // align * align), count - width
    number = 1 + math.ceil(free / stride)
    starts = [align * round(k * free / align / max(1, number - 1)) for k in range(number - 1)]
    return [*starts, free]


def fit_window_size(count: int, most: int, overlap: int, align: int = COARSEST_CELL) -> int:
    """Return the smallest size of windows that cover ``count`` cells in the least number.

    All of them, also the last, start at multiples of ``align``.

    Example:
        >>> fit_window_size(180, 128, 16), fit_window_size(181, 128, 16)
        (100, 101)
        >>> len(window_starts(180, 100, 16, 4)), len(window_starts(180, 128, 16, 4))
        (2, 2)
    """
    if count <= most:
        return count
    most -= (most - count) % align
    overlap += (count - overlap) % align
    number = 1 + math.ceil((count - most) / max(align, most - overlap))
    least = math.ceil((count + (number - 1) * overlap) / number)
    return min(most, least + (count - least) % align)


def cyclic_window_starts(count: int, width: int, overlap: int, align: int = 1) -> list[int]:
    """Return evenly spaced starts of windows that cover a circle of ``count`` cells.

    They are multiples of ``align`` if the circle is.
    """
    align = math.gcd(align, count)
    number = math.ceil(count / max(align, (width - overlap) // align * align))
    return [align * round(k * count / align / number) for k in range(number)]


def fit_cyclic_size(count: int, most: int, overlap: int, align: int = COARSEST_CELL) -> int:
    """Return the smallest size of windows that cover a circle in the least number.

    Example:
        >>> fit_cyclic_size(1440, 256, 24), fit_cyclic_size(144, 256, 24)
        (232, 144)
        >>> [len(cyclic_window_starts(1440, size, 24, 4)) for size in (232, 256)]
        [7, 7]
    """
    if count <= most:
        return count
    starts = cyclic_window_starts(count, most, overlap, align)
    gaps = [right - left for left, right in pairwise([*starts, count])]
    return min(most, align * math.ceil((max(gaps) + overlap) / align))


def blending_weights(count: int, overlap: int) -> Tensor:
    """Return trapezoidal weights with ramps of ``overlap`` cells; none is zero.

    Example:
        >>> blending_weights(6, 2).tolist()
        [0.333..., 0.666..., 1.0, 1.0, 0.666..., 0.333...]
    """
    rise = torch.arange(1, count + 1, dtype=torch.float64) / (overlap + 1)
    return torch.minimum(rise, rise.flip(0)).clamp_max(1.0)


def tile_denoiser(
    denoise: Denoise | Sequence[Denoise], cover: WindowCover, most: int = 1 << 19
) -> Denoise:
    """Return the denoiser of a domain.

    Args:
        denoise: Denoiser of any window, or one for each window if each is bound to its own
            conditioning fields.
        cover: The windows.
        most: Values (of windows and members) that one denoiser of all windows takes at a time.
            Gradients of more values are computed block by block, in bounded memory.
    """
    indices = cover.window_slices()
    if len(indices) == 1:
        return denoise if callable(denoise) else denoise[0]
    local = denoise_in_batches(denoise, most) if callable(denoise) else denoise_separately(denoise)

    def domain(x_t: Fields, sigma: Sigma) -> Fields:
        return cover.join(local(x_t, sigma, indices), x_t)

    return domain


WindowDenoiser: TypeAlias = Callable[[Fields, Sigma, list[WindowSlices]], Iterator[Fields]]


def denoise_separately(denoise: Sequence[Denoise]) -> WindowDenoiser:
    """Return a function that applies to each window its own denoiser."""

    def local(x_t: Fields, sigma: Sigma, indices: list[WindowSlices]) -> Iterator[Fields]:
        for one, index in zip(denoise, indices, strict=True):
            yield (
                denoise_with_checkpoint(one, x_t[index], sigma)
                if len(indices) > CHECKPOINT_WINDOWS
                else one(x_t[index], sigma)
            )

    return local


def denoise_with_checkpoint(denoise: Denoise, x_t: Fields, sigma: Sigma) -> Fields:
    """Denoise with gradient checkpointing: recompute activations instead of storing them."""
    if not torch.is_grad_enabled():
        return denoise(x_t, sigma)
    out: Fields = checkpoint(denoise, x_t, sigma, use_reentrant=False, preserve_rng_state=False)
    return out


def denoise_in_batches(denoise: Denoise, most: int) -> WindowDenoiser:
    """Return a function that applies one denoiser to blocks of windows."""

    def local(x_t: Fields, sigma: Sigma, indices: list[WindowSlices]) -> Iterator[Fields]:
        stride = max(1, most // x_t[indices[0]].numel())
        forget = len(indices) > stride
        for first in range(0, len(indices), stride):
            some = indices[first : first + stride]
            batch = torch.cat([x_t[index] for index in some])
            levels = sigma.repeat(len(some))
            x_hat = (
                denoise_with_checkpoint(denoise, batch, levels)
                if forget
                else denoise(batch, levels)
            )
            yield from torch.split(x_hat, len(x_t))

    return local


def flatten_states_denoiser(denoise: Denoise) -> Denoise:
    """Return the denoiser of windows of states (B, w, C, ...) from one of channels (B, w C, ...).

    Example:
        >>> identity = flatten_states_denoiser(lambda x_t, sigma: x_t)
        >>> identity(torch.zeros(2, 5, 3, 8, 8), torch.ones(2)).shape
        torch.Size([2, 5, 3, 8, 8])
    """

    def states(x_t: Fields, sigma: Sigma) -> Fields:
        return denoise(x_t.flatten(1, 2), sigma).reshape(x_t.shape)

    return states
