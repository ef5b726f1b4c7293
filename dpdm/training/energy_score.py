r"""The multi-scale energy score of two members, which the fast head of a prior minimises.

The fair energy score of members x and x' and the truth y,

.. math:: \frac{|x - y| + |x' - y|}{2} - \frac{|x - x'|}{2}

has its least mean where members and truth have the same distribution (Gneiting and Raftery 2007).
That of the values of cells alone says nothing of how cells vary together, and that of whole fields
little (Pinson and Tastu 2013). So it is taken of many views of the fields: cells, means of blocks,
first and second differences of neighbours, sums and differences of variables, and small patches
of all variables together, fine detail among them.

References:
    Gneiting and Raftery (2007), https://doi.org/10.1198/016214506000001437, section 4.3.
    Pinson and Tastu (2013), Discrimination ability of the energy score.
    Shen and Meinshausen (2024), Engression, https://arxiv.org/abs/2307.00835.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from dpdm.types import Fields

BLOCKS = (2, 4, 8)  # cells along each side
PATCH, DETAIL = 2, 4  # cells along each side of patches, and of those of fine detail
TINY = 1e-8  # under the root of a norm, whose derivative at zero it limits


def energy_score(first: Fields, second: Fields, truth: Fields, centre: Fields) -> Tensor:
    """Return the mean over all views of the energy score over the error of a centre, (B,).

    Args:
        first: Members (B, C, H, W).
        second: Other members of the same fields.
        truth: The truth, NaN where missing.
        centre: The estimate whose error is the unit of each view.
    """
    each = zip(*map(views, (first, second, truth, centre)), strict=True)
    return torch.stack([view_score(*view) for view in each]).mean(0)


def view_score(first: Tensor, second: Tensor, truth: Tensor, centre: Tensor) -> Tensor:
    """Return the score of one view (B, G, D, H, W) over the error of the centre, (B,)."""
    known, truth = truth.isfinite().all(2), truth.nan_to_num()
    count = known.flatten(2).sum(2)
    with torch.no_grad():
        error = (known * norm(centre - truth)).sum((0, 2, 3)) / count.sum(0).clamp_min(1)
    fair = (norm(first - truth) + norm(second - truth) - norm(first - second)) / 2
    mean = (known * fair).flatten(2).sum(2) / count.clamp_min(1)
    return (mean / error.clamp_min(TINY)).mean(1)


def norm(vectors: Tensor) -> Tensor:
    """Return the lengths (B, G, H, W) of vectors (B, G, D, H, W)."""
    return (vectors.square().sum(2) + TINY).sqrt()


def views(x: Fields) -> Iterator[Tensor]:
    """Yield views of fields (B, C, H, W), as vectors (B, G, D, H', W') of G groups."""
    pairs = F.avg_pool2d(x, BLOCKS[0])
    first = differences(x)
    second = differences(first[0])[0], differences(first[1])[1]
    for field in (x, *block_means(x), *first, *second, *differences(pairs), *combinations(x)):
        yield field[:, :, None]
    for vectors in patches(x):
        yield vectors[:, None]


def block_means(x: Fields) -> Iterator[Fields]:
    """Yield the means over blocks of each size that the fields hold."""
    for side in BLOCKS:
        if min(x.shape[-2:]) >= side:
            yield F.avg_pool2d(x, side)


def differences(x: Fields) -> tuple[Fields, Fields]:
    """Return the differences of neighbours along columns and rows."""
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def combinations(x: Fields) -> Iterator[Fields]:
    """Yield the sums and the differences of all pairs of variables, if there are several."""
    rows, columns = torch.triu_indices(x.shape[1], x.shape[1], 1)
    if len(rows):
        yield torch.cat([x[:, rows] + x[:, columns], x[:, rows] - x[:, columns]], dim=1)


def patches(x: Fields) -> Iterator[Fields]:
    """Yield patches of cells, of fine detail and of block means, the values of one as channels."""
    coarse = F.avg_pool2d(x, DETAIL)
    rows, columns = (DETAIL * n for n in coarse.shape[-2:])
    detail = x[..., :rows, :columns] - F.interpolate(coarse, scale_factor=float(DETAIL))
    for fields, side in ((x, PATCH), (detail, DETAIL), (coarse, PATCH)):
        rows, columns = (n // side * side for n in fields.shape[-2:])
        if rows and columns:
            yield F.pixel_unshuffle(fields[..., :rows, :columns], side)
