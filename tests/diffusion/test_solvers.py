"""Solvers of guidance, against direct solutions; and what a network's Jacobian does to them."""

import torch
from torch import Tensor

from dpdm.diffusion.solvers import conjugate_gradients, solve_in_krylov_space, solve_positive_part


def positive(members: int, count: int) -> Tensor:
    """Return symmetric positive definite matrices."""
    root = torch.randn(members, count, count)
    return root @ root.mT + torch.eye(count)


def apply(matrix: Tensor, v: Tensor) -> Tensor:
    return torch.einsum("bij,bj->bi", matrix, v)


def krylov(h: Tensor, b: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Return H w and its image for (I + H) w = b, with values as fields."""
    return solve_in_krylov_space(lambda v: apply(h, v), lambda dx: dx, b, iterations)


def test_conjugate_gradients_solve_in_as_many_steps_as_there_are_values() -> None:
    a, x = positive(3, 6), torch.randn(3, 6)
    found = conjugate_gradients(lambda v: apply(a, v), apply(a, x), 6)
    torch.testing.assert_close(found, x, rtol=1e-8, atol=1e-8)


def test_conjugate_gradients_stop_where_they_are_good_enough() -> None:
    a, b = torch.diag(torch.tensor([1.0, 2.0, 30.0, 900.0])), torch.ones(1, 4)
    steps: list[int] = []

    def matvec(v: Tensor) -> Tensor:
        steps.append(1)
        return v @ a

    found = conjugate_gradients(matvec, b, 50, tolerance=0.5)
    assert (b - found @ a).norm() <= 0.5 * b.norm()
    assert len(steps) < 4


def test_an_exact_preconditioner_needs_one_step() -> None:
    """The eigenvalues extend over six orders of magnitude."""
    axes = torch.linalg.qr(torch.randn(40, 40))[0]
    a = axes * torch.logspace(0, 6, 40) @ axes.T
    x = torch.randn(2, 40)
    found = conjugate_gradients(
        lambda v: v @ a, x @ a, 1, 0, lambda v: torch.linalg.solve(a, v.T).T
    )
    torch.testing.assert_close(found, x, rtol=1e-6, atol=1e-6)


def test_the_krylov_space_gives_what_conjugate_gradients_give() -> None:
    h = positive(3, 6) - torch.eye(6)
    b = torch.randn(3, 6)
    for iterations in (1, 3, 6):
        weights = conjugate_gradients(lambda v: v + apply(h, v), b, iterations)
        for part in krylov(h, b, iterations):
            torch.testing.assert_close(part, apply(h, weights), rtol=1e-8, atol=1e-8)


def test_an_exhausted_krylov_space_is_no_fault() -> None:
    b = torch.randn(2, 5)
    found, _ = krylov(3 * torch.eye(5).expand(2, 5, 5), b, 5)
    torch.testing.assert_close(found, 0.75 * b, rtol=1e-12, atol=1e-12)
    assert not krylov(torch.eye(5).expand(2, 5, 5), 0 * b, 5)[0].any()


def test_conjugate_gradients_amplify_where_a_jacobian_is_not_positive() -> None:
    """The cause of divergence: weights of a curvature near zero are as long as they like.

    With an eigenvalue of -0.99 besides 1, the change of two values that differ by one is 99.
    """
    h = torch.diag(torch.tensor([1.0, -0.99]))[None]
    b = torch.ones(1, 2)
    old = apply(h, conjugate_gradients(lambda v: v + apply(h, v), b, 2))
    assert float(old.abs().max()) > 90
    assert float(krylov(h, b, 2)[1].abs().max()) <= 1


def test_changes_stay_bounded_for_any_jacobian() -> None:
    """The weights of the projected equation are never longer than the miss."""
    h, b = 5 * torch.randn(200, 8, 8), torch.randn(200, 8)
    assert bool((solve_positive_part(h, b).norm(dim=1) <= b.norm(dim=1) + 1e-12).all())
    assert bool(krylov(h, b, 4)[1].isfinite().all())
