r"""One denoiser of a domain of any extent, out of denoisers of windows.

The windows overlap, and their answers are blended **at every noise level** with weights that fall
linearly towards each window's edge; the noise is one field, drawn for the whole domain. So no
window is ever finished on its own, and none leaves a seam:

.. math:: D(x_t) = \sum_k w_k D_k(x_t^{(k)}) / \sum_k w_k
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpdm.types import Denoise, Fields, Sigma


@dataclass(frozen=True)
class Windows:
    """Overlapping windows that cover a domain.

    Attributes:
        shape: Rows and columns of the domain.
        size: Rows and columns of a window; one that exceeds the domain is cut to it.
        overlap: Cells that neighbours share, at least.
        cyclic: Whether the columns close the circle.
    """

    shape: tuple[int, int]
    size: tuple[int, int]
    overlap: int
    cyclic: bool = False

    @property
    def extent(self) -> tuple[int, int]:
        """Give the rows and columns of every window."""
        return min(self.size[0], self.shape[0]), min(self.size[1], self.shape[1])

    def places(self) -> list[tuple[Tensor, Tensor]]:
        """List each window's rows and columns; columns run around the globe where it is cyclic."""
        height, width = self.extent
        around = self.cyclic and width < self.shape[1]
        rows = [top + torch.arange(height) for top in spread(self.shape[0], height, self.overlap)]
        lefts = (
            circle(self.shape[1], width, self.overlap)
            if around
            else spread(self.shape[1], width, self.overlap)
        )
        columns = [(left + torch.arange(width)) % self.shape[1] for left in lefts]
        return [(r, c) for r in rows for c in columns]

    def weights(self) -> Tensor:
        """Return the blending weights of one window, with its rows and columns."""
        return torch.outer(*(ramp(n, self.overlap) for n in self.extent))


def spread(count: int, width: int, overlap: int) -> list[int]:
    """Return evenly spread starts of windows that cover ``count`` cells.

    Example:
        >>> spread(160, 64, 16), spread(50, 50, 16)
        ([0, 48, 96], [0])
    """
    stride = max(1, width - overlap)
    number = 1 + math.ceil((count - width) / stride)
    return [round(k * (count - width) / max(1, number - 1)) for k in range(number)]


def fitted(count: int, most: int, overlap: int, multiple: int = 4) -> int:
    """Return the least extent of windows that cover ``count`` cells with no more of them.

    Example:
        >>> fitted(180, 128, 16), len(spread(180, 100, 16)), len(spread(180, 128, 16))
        (100, 2, 2)
    """
    if count <= most:
        return count
    number = 1 + math.ceil((count - most) / max(1, most - overlap))
    least = math.ceil((count + (number - 1) * overlap) / number)
    return min(most, least + -least % multiple)


def circle(count: int, width: int, overlap: int) -> list[int]:
    """Return evenly spread starts of windows that cover a circle of ``count`` cells."""
    number = math.ceil(count / max(1, width - overlap))
    return [round(k * count / number) for k in range(number)]


def ramp(count: int, overlap: int) -> Tensor:
    """Return weights that rise over ``overlap`` cells, stay, and fall; none is zero.

    Example:
        >>> ramp(6, 2).tolist()
        [0.333..., 0.666..., 1.0, 1.0, 0.666..., 0.333...]
    """
    rise = torch.arange(1, count + 1, dtype=torch.float64) / (overlap + 1)
    return torch.minimum(rise, rise.flip(0)).clamp_max(1.0)


def tile(denoise: Denoise | Sequence[Denoise], windows: Windows) -> Denoise:
    """Return the denoiser of the whole domain.

    Args:
        denoise: Denoiser of any window, or one for each of ``windows.places()`` where each is
            bound to its own conditioning fields.
        windows: How they lie.
    """
    places = windows.places()
    each = [denoise] * len(places) if callable(denoise) else list(denoise)
    if len(places) == 1:
        return each[0]
    weights = windows.weights()
    total = torch.zeros(windows.shape, dtype=torch.float64)
    for rows, columns in places:
        total[rows[:, None], columns] += weights

    def whole(x_t: Fields, sigma: Sigma) -> Fields:
        share, sums = weights.to(x_t), torch.zeros_like(x_t)
        for local, (rows, columns) in zip(each, places, strict=True):
            sums[..., rows[:, None], columns] += share * local(
                x_t[..., rows[:, None], columns], sigma
            )
        return sums / total.to(x_t)

    return whole
