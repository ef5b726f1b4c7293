"""Who learns to forecast Lorenz-63 from pairs: regressions on functions of a state, and nets.

Every regression is solved in double precision on standardised functions, with the same penalties;
penalty, width, degree, layers and noise levels are those that are best on held-out pairs. Every
net is taught by the same number of Adam's steps of 256 pairs, its rate falling as a cosine, and
keeps the weights that were best on held-out pairs on the way.
"""

import math
from argparse import Namespace
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from itertools import combinations_with_replacement

import torch
from torch import Tensor, nn

from dpdm.forecast import LeadPairs, Surrogate, fit_head, pair_rmse
from dpdm.nets.mlp import MLP
from dpdm.prior import Prior
from dpdm.prior.networks import new_denoiser
from dpdm.states.features import FeatureOptions, window_features

Ahead = Callable[[Tensor], Tensor]
"""States (B, 3) a lead later."""
Basis = Callable[[Tensor], Tensor]
"""Functions (B, F) of states (B, 3), in double precision."""

PENALTIES = tuple(10.0**n for n in range(-14, 2))
DEGREES = range(2, 8)
WIDTHS = (0.1, 0.2, 0.3, 0.6, 1.0, 1.5)
LOOKS = (  # noise levels and layers: as many features each
    ((0.1,), ("1", "2", "3")),
    ((0.3,), ("1", "2", "3")),
    ((1.0,), ("1", "2", "3")),
    ((0.03, 0.1, 0.3), ("1",)),
    ((0.1, 0.3, 1.0), ("2",)),
    ((0.1, 0.3, 1.0), ("3",)),
)
BEGUN = FeatureOptions(0.3, ("1", "2", "3"))  # the features that are tuned
RATES = {"tuned": (1e-4, 1e-3), "dense": (1e-3, 4e-3)}
BATCH, CHECKS = 256, 20


def ridge(basis: Basis, some: LeadPairs, held: LeadPairs) -> tuple[float, Ahead]:
    """Return the RMSE on held pairs, and the regression of increments on functions of a state."""
    phi, increment = basis(some.inputs), (some.targets - some.inputs).double()
    mean, size, centre = phi.mean(0), phi.std(0).clamp_min(1e-9), increment.mean(0)
    phi = (phi - mean) / size
    values, modes = torch.linalg.eigh(phi.T @ phi / len(phi))
    moment = modes.T @ (phi.T @ (increment - centre)) / len(phi)
    seen = (basis(held.inputs) - mean) / size @ modes

    def error(penalty: float) -> float:
        weight = moment / (values.clamp_min(0) + penalty)[:, None]
        return pair_rmse(held.inputs + seen @ weight + centre, held.targets)

    best = min(PENALTIES, key=error)
    weight = modes @ (moment / (values.clamp_min(0) + best)[:, None])

    def ahead(x: Tensor) -> Tensor:
        return x + ((basis(x) - mean) / size @ weight + centre).to(x)

    return error(best), ahead


def of_all(bases: list[Basis], some: LeadPairs, held: LeadPairs) -> Ahead:
    """Return the regression on the functions that do best on held pairs."""
    return min((ridge(basis, some, held) for basis in bases), key=lambda pair: pair[0])[1]


def polynomial(degree: int) -> Basis:
    """Return all monomials of states up to a degree."""
    terms = [c for n in range(1, degree + 1) for c in combinations_with_replacement(range(3), n)]
    return lambda x: torch.stack([x.double()[:, list(c)].prod(1) for c in terms], dim=1)


def fourier(count: int, width: float) -> Basis:
    """Return states, and random Fourier features of them."""
    dice = torch.Generator().manual_seed(0)
    waves = torch.randn(3, count, generator=dice, dtype=torch.float64) * width
    phase = torch.rand(count, generator=dice, dtype=torch.float64)
    return lambda x: torch.cat([x, (x.double() @ waves + 2 * math.pi * phase).cos()], dim=1)


def deep(prior: Prior, sigmas: tuple[float, ...], layers: tuple[str, ...]) -> Basis:
    """Return states, and the denoiser's features of them."""
    exact = replace(prior, denoiser=deepcopy(prior.denoiser).double())

    @torch.no_grad()
    def told(x: Tensor) -> Tensor:
        windows = x.double()[:, None]
        found = [
            window_features(exact, windows, FeatureOptions(sigma, layers)) for sigma in sigmas
        ]
        return torch.cat([x.double(), *found], dim=1)

    return told


def of_polynomials(prior: Prior, some: LeadPairs, held: LeadPairs, options: Namespace) -> Ahead:
    """Return the best of the degrees."""
    return of_all([polynomial(n) for n in DEGREES], some, held)


def of_fourier(prior: Prior, some: LeadPairs, held: LeadPairs, options: Namespace) -> Ahead:
    """Return the best width of random Fourier features, as many as the denoiser's."""
    count = 3 * prior.contract.net["hidden"]
    return of_all([fourier(count, w) for w in WIDTHS], some, held)


def of_features(prior: Prior, some: LeadPairs, held: LeadPairs, options: Namespace) -> Ahead:
    """Return the best of the denoiser's features."""
    return of_all([deep(prior, *look) for look in LOOKS], some, held)


def of_tuned(prior: Prior, some: LeadPairs, held: LeadPairs, options: Namespace) -> Ahead:
    """Return the linear head on features, tuned with the layers below."""
    begun = Surrogate(prior, BEGUN, 3)
    fit_head(begun, some, held)
    return best_of(begun, some, held, options.steps, RATES["tuned"])


def of_dense(prior: Prior, some: LeadPairs, held: LeadPairs, options: Namespace) -> Ahead:
    """Return a net of the same size that has learnt from these pairs alone."""
    return best_of(untaught(prior, some), some, held, options.steps, RATES["dense"])


def untaught(prior: Prior, some: LeadPairs) -> Surrogate:
    """Return the same network with random weights, its output in units of the increments."""
    torch.manual_seed(0)
    fresh = new_denoiser(3, prior.contract.net)
    assert isinstance(fresh.backbone, MLP)
    for layer in fresh.backbone.layers:
        nn.init.kaiming_uniform_(layer.second.weight, 1.0)
    net = Surrogate(Prior(fresh, prior.normaliser, prior.contract), BEGUN, 3)
    with torch.no_grad():
        net.size.copy_((some.targets - some.inputs).std(0))
        net.mean.copy_(net.predictors(some.inputs).mean(0))
    return net


def best_of(
    begun: Surrogate, some: LeadPairs, held: LeadPairs, steps: int, rates: tuple[float, ...]
) -> Surrogate:
    """Return the net taught at the rate that does best on held pairs in a tenth of the steps."""
    firsts = {r: taught(deepcopy(begun), some, held, steps // 10, r)[0] for r in rates}
    return taught(begun, some, held, steps, min(firsts, key=lambda r: firsts[r]))[1]


def taught(
    net: Surrogate, some: LeadPairs, held: LeadPairs, steps: int, rate: float
) -> tuple[float, Surrogate]:
    """Return a net after so many steps, as it was best on held pairs, and its RMSE there."""
    optimiser = torch.optim.Adam(net.parameters(), rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    dice, best = torch.Generator().manual_seed(0), (error(net, held), deepcopy(net))
    for step in range(1, steps + 1):
        rows = torch.randint(len(some.inputs), (BATCH,), generator=dice)
        miss = (net(some.inputs[rows]) - some.targets[rows]) / net.size
        optimiser.zero_grad()
        miss.square().mean().backward()
        optimiser.step()
        falling.step()
        if step % max(1, steps // CHECKS) == 0 and (now := error(net, held)) < best[0]:
            best = now, deepcopy(net)
    return best


@torch.no_grad()
def error(net: Surrogate, held: LeadPairs) -> float:
    """Return the RMSE of a net on pairs."""
    return pair_rmse(net(held.inputs), held.targets)


WAYS: dict[str, Callable[[Prior, LeadPairs, LeadPairs, Namespace], Ahead]] = {
    "polynomials": of_polynomials,
    "random Fourier features": of_fourier,
    "dense net": of_dense,
    "features, frozen": of_features,
    "features, tuned": of_tuned,
}
