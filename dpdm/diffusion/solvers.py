"""Solve the equations of guidance, of each member, by products with a map alone.

Values have the shape (B, N): members by observations, in units of their errors, so that the error
covariance is the identity.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dpdm.types import Fields, Values

ValueMap = Callable[[Values], Values]
EXHAUSTED = 1e-10  # relative norm of a new direction that is rounding error


def conjugate_gradients(
    matvec: ValueMap,
    b: Values,
    iterations: int,
    tolerance: float = 0.0,
    precondition: ValueMap | None = None,
) -> Values:
    """Solve ``matvec(x) = b`` for a symmetric positive definite map of each member (B, N).

    Args:
        matvec: The map.
        b: The right-hand side.
        iterations: Steps at most.
        tolerance: Norm of the residual, relative to that of b, at which a member has converged,
            in the norm of the preconditioner.
        precondition: An approximate inverse of the map, symmetric and positive definite.
    """
    tiny = torch.finfo(b.dtype).tiny
    x, r = torch.zeros_like(b), b
    z = r if precondition is None else precondition(r)
    p, rz = z, (r * z).sum(1, keepdim=True)
    enough = tolerance**2 * rz
    for _ in range(iterations):
        q = matvec(p)
        curvature = (p * q).sum(1, keepdim=True)
        going = (curvature > 0) & (rz > enough)
        step = torch.where(going, rz / curvature.clamp_min(tiny), 0.0)
        x, r = x + step * p, r - step * q
        z = r if precondition is None else precondition(r)
        rz, before = (r * z).sum(1, keepdim=True), rz
        p = z + rz / before.clamp_min(tiny) * p
        if not (rz > enough).any():
            break
    return x


def solve_in_krylov_space(
    spread: Callable[[Values], Fields],
    observe: Callable[[Fields], Values],
    miss: Values,
    iterations: int,
) -> tuple[Fields, Values]:
    r"""Return the correction V A^T w of fields, and A V A^T w, for (I + A V A^T) w = miss.

    The matrix is projected to the Krylov space of the miss, where its symmetric part without its
    negative eigenvalues replaces it. For symmetric positive V that is the method of conjugate
    gradients; the V of a network is neither, and conjugate gradients then take steps of any
    length, in any direction.

    Args:
        spread: From values to fields, V A^T.
        observe: From fields to values, A.
        miss: The right-hand side (B, N).
        iterations: Dimensions of the space.
    """
    norm = miss.norm(dim=1, keepdim=True)
    q = miss / norm.clamp_min(torch.finfo(miss.dtype).tiny)
    basis, fields, images = [q], list[Fields](), list[Values]()
    while True:
        fields.append(spread(basis[-1]))
        images.append(observe(fields[-1]).to(miss))
        if len(fields) == min(iterations, miss.shape[1]):
            break
        basis.append(orthogonal_direction(images[-1], basis))
    q, image = torch.stack(basis, 2), torch.stack(images, 2)
    weights = solve_positive_part(q.mT @ image, (q.mT @ miss[..., None])[..., 0])
    correction: Fields = sum(
        w.to(f).reshape(-1, *(1,) * (f.ndim - 1)) * f
        for w, f in zip(weights.unbind(1), fields, strict=True)
    )  # type: ignore[assignment]
    return correction, (image @ weights[..., None])[..., 0]


def orthogonal_direction(v: Values, basis: list[Values]) -> Values:
    """Return the part of v orthogonal to a basis, of norm 1; 0 where nothing is left."""
    size = v.norm(dim=1, keepdim=True)
    for _ in range(2):  # the second pass removes the rounding errors of the first
        for q in basis:
            v = v - (v * q).sum(1, keepdim=True) * q
    norm = v.norm(dim=1, keepdim=True)
    return torch.where(norm > EXHAUSTED * size, v / norm, 0.0)


def solve_positive_part(h: Tensor, b: Tensor) -> Tensor:
    """Solve (I + H) c = b for the positive part H of the symmetric part of h (B, k, k)."""
    sizes, axes = torch.linalg.eigh((h + h.mT) / 2)
    local = (axes.mT @ b[..., None])[..., 0] / (1 + sizes.clamp_min(0))
    solution: Tensor = (axes @ local[..., None])[..., 0]
    return solution
