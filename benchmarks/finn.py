"""What a denoiser of single states of Lorenz-63 has learnt: its samples, and its features.

After Finn et al. (2024, npg-31-409-2024), with a prior of window 1 (``--one``; else it is trained
first, as ``cycle.py`` does):

- the Hellinger distance of unconditional samples to the data, in boxes of the standardised state,
  beside the data's own: that of as many other states to the same;
- the RMSE of forecasts 0.1 time units ahead, by a linear head on frozen features, on features that
  were tuned, on polynomials and on as many random Fourier features, and by a dense network of the
  same size that learns from nothing, from an eighth of the pairs to all of them;
- by lead time, the RMSE of each that is iterated, the time until it exceeds 0.4 standard
  deviations, and the Hellinger distance of a long free run: whether it stays on the attractor.

Pairs to learn from, to choose penalties by and to judge on are of different trajectories.
"""

from argparse import Namespace
from collections.abc import Callable
from itertools import combinations_with_replacement

import common
import numpy as np
import torch
from cycle import DT, EVERY, taught
from torch import Tensor, nn

from dpdm.bound import scaling, windowed
from dpdm.diffusion.sample import heun, levels
from dpdm.forecast import valid
from dpdm.nets.mlp import MLP
from dpdm.prior import Prior, find, load, new_denoiser
from dpdm.states.inner import Look
from dpdm.surrogate import PENALTIES, Pairs, Surrogate, fitted, rmse, tuned
from dpdm.testbeds import lorenz63

Ahead = Callable[[Tensor], Tensor]
SHARES = (8, 4, 2, 1)
REACH = 60  # steps of iterated forecasts


def main() -> None:
    """Print the tables and the targets."""
    parser = common.parser(__doc__)
    parser.add_argument("--one", default="", help="prior of single states, 0.01 apart")
    parser.add_argument("--minutes", type=float, default=10, help="its training, where none")
    parser.add_argument("--samples", type=int, default=20000)
    parser.add_argument("--pairs", type=int, default=8192, help="to learn forecasts from, at most")
    parser.add_argument("--layers", default="1,2,3")
    parser.add_argument("--sigma", type=float, default=0.1)
    parser.add_argument("--steps", type=int, default=3000, help="of tuning and of dense nets")
    options = parser.parse_args()
    prior = load(find(options.one or str(taught(options.build, "one", options.minutes))))
    floor, distance = hellinger_of_samples(prior, options.samples)
    print(
        f"Hellinger distance to data: samples {distance:.4f}, other data {floor:.4f}", flush=True
    )
    curves, best = learning(prior, options)
    found = {who: ahead(step, prior) for who, step in best.items()}
    head = ("RMSE at lead", *(f"{0.1 * n:g}" for n in (1, 2, 5, 10, 20)), "valid", "free run")
    print(common.table(head, [(who, *line) for who, line in found.items()]))
    wanted = {
        "Hellinger distance over the data's own": common.target(distance / floor, most=1.05),
        "features over random Fourier features": common.target(
            curves["features, frozen"][-1] / curves["random Fourier features"][-1], most=1.0
        ),
        "features over the dense net": common.target(
            curves["features, frozen"][-1] / curves["dense net"][-1], most=1.0
        ),
        "features of half the pairs over the dense net of all": common.target(
            curves["features, frozen"][-2] / curves["dense net"][-1], most=1.0
        ),
    }
    figures = {"samples": distance, "data": floor, "curves": curves, "ahead": found}
    common.close("finn", figures, wanted)


def states(prior: Prior, runs: int, length: int, seed: int, stride: int = 1) -> Tensor:
    """Return normalised trajectories (N, T, 3) of the model."""
    mean, std = scaling(prior)
    path = lorenz63.simulate(runs, (length - 1) * stride + 1, seed, dt=DT, shaken=False)
    return ((path[:, ::stride] - mean) / std).float()


def hellinger(one: Tensor, other: Tensor, boxes: int = 16) -> float:
    """Return the Hellinger distance of states (N, 3), in boxes of a quarter of a deviation.

    Example:
        >>> zero = torch.zeros(5, 3)
        >>> hellinger(zero, zero), hellinger(zero, zero + 1)
        (0.0, 1.0)
    """
    edges = [np.linspace(-4, 4, 2 * boxes + 1)] * 3
    p, q = (np.histogramdd(x.numpy(), edges)[0] / len(x) for x in (one, other))
    return float(np.sqrt(max(0.0, 1 - np.sqrt(p * q).sum())))


def hellinger_of_samples(prior: Prior, count: int) -> tuple[float, float]:
    """Return the distances of other data and of samples to data, as many of each."""
    data, other = (states(prior, count // 40, 40, seed, 25).flatten(0, 1) for seed in (11, 12))
    noise = torch.randn(count, 1, 3, generator=torch.Generator().manual_seed(0))
    drawn = heun(windowed(prior), noise, levels(20, 0.005, 20.0))[:, 0]
    return hellinger(data, other), hellinger(data, drawn)


def pairs(prior: Prior, count: int, seed: int) -> Pairs:
    """Return states, and those 0.1 time units later, from short trajectories."""
    x = states(prior, count // 16, 2 * 16 * 3, seed, EVERY)
    return Pairs(x[:, 0:-1:6].flatten(0, 1)[:count], x[:, 1::6].flatten(0, 1)[:count])


def learning(prior: Prior, options: Namespace) -> tuple[dict[str, list[float]], dict[str, Ahead]]:
    """Return each one's RMSE on pairs that it has not seen by its share of them, and the last."""
    everything, held, test = (
        pairs(prior, n, seed) for n, seed in ((options.pairs, 21), (2048, 22), (4096, 23))
    )
    curves: dict[str, list[float]] = {who: [] for who in WAYS}
    best: dict[str, Ahead] = {}
    for share in SHARES:
        count = options.pairs // share
        some = Pairs(everything.now[:count], everything.then[:count])
        for who, way in WAYS.items():
            best[who] = way(prior, some, held, options)
            with torch.no_grad():
                curves[who].append(rmse(best[who](test.now), test.then))
    still = rmse(test.now, test.then)
    head = ("RMSE, learnt from", *(str(options.pairs // s) for s in SHARES))
    rows = [("persistence", *[still] * len(SHARES)), *((w, *c) for w, c in curves.items())]
    print(common.table(head, rows), flush=True)
    return curves, best


def frozen(prior: Prior, some: Pairs, held: Pairs, options: Namespace) -> Surrogate:
    """Return the linear head on the denoiser's features."""
    look = Look(options.sigma, tuple(options.layers.split(",")))
    surrogate = Surrogate(prior, look, 3).requires_grad_(False)
    fitted(surrogate, some, held)
    return surrogate


def tuned_features(prior: Prior, some: Pairs, held: Pairs, options: Namespace) -> Surrogate:
    """Return the same, and the layers tuned."""
    begun = frozen(prior, some, held, options)
    return tuned(begun, some, held, prior, steps=options.steps)


def dense(prior: Prior, some: Pairs, held: Pairs, options: Namespace) -> Surrogate:
    """Return a network of the same size that has learnt from these pairs alone."""
    torch.manual_seed(0)
    fresh = new_denoiser(3, prior.contract.net)
    assert isinstance(fresh.backbone, MLP)
    for layer in fresh.backbone.layers:
        nn.init.kaiming_uniform_(layer.second.weight, 1.0)
    begun = frozen(Prior(fresh, prior.normaliser, prior.contract), some, held, options)
    return tuned(begun, some, held, prior, steps=options.steps, rate=1e-3)


def ridge(basis: Callable[[Tensor], Tensor], some: Pairs, held: Pairs) -> Ahead:
    """Return the ridge regression of increments on functions of the state."""
    phi, increment = basis(some.now).double(), (some.then - some.now).double()
    mean, size = phi.mean(0), phi.std(0).clamp_min(1e-9)
    phi = (phi - mean) / size
    centre = increment.mean(0)
    gram, moment = phi.T @ phi / len(phi), phi.T @ (increment - centre) / len(phi)
    eye = torch.eye(len(gram), dtype=gram.dtype)

    def step(weight: Tensor) -> Ahead:
        def on(x: Tensor) -> Tensor:
            seen = (basis(x).double() - mean) / size
            return x + (seen @ weight + centre).to(x)

        return on

    steps = [step(torch.linalg.solve(gram + p * eye, moment)) for p in PENALTIES]
    return min(steps, key=lambda on: rmse(on(held.now), held.then))


def polynomial(degree: int) -> Callable[[Tensor], Tensor]:
    """Return all monomials of states up to a degree."""
    terms = [c for n in range(1, degree + 1) for c in combinations_with_replacement(range(3), n)]
    return lambda x: torch.stack([x[:, list(c)].prod(1) for c in terms], dim=1)


def fourier(count: int, width: float) -> Callable[[Tensor], Tensor]:
    """Return random Fourier features of states, and the states."""
    dice = torch.Generator().manual_seed(0)
    waves, phase = torch.randn(3, count, generator=dice) * width, torch.rand(count, generator=dice)
    return lambda x: torch.cat([x, (x @ waves + 2 * torch.pi * phase).cos()], dim=1)


def of_polynomials(prior: Prior, some: Pairs, held: Pairs, options: Namespace) -> Ahead:
    """Return the best of polynomials of degree 2 to 5."""
    steps = [ridge(polynomial(n), some, held) for n in range(2, 6)]
    return min(steps, key=lambda on: rmse(on(held.now), held.then))


def of_fourier(prior: Prior, some: Pairs, held: Pairs, options: Namespace) -> Ahead:
    """Return the best width of random Fourier features, as many as the denoiser's."""
    count = prior.contract.net["hidden"] * len(options.layers.split(","))
    steps = [ridge(fourier(count, w), some, held) for w in (0.3, 0.6, 1.0, 1.5)]
    return min(steps, key=lambda on: rmse(on(held.now), held.then))


WAYS: dict[str, Callable[[Prior, Pairs, Pairs, Namespace], Ahead]] = {
    "polynomial": of_polynomials,
    "random Fourier features": of_fourier,
    "dense net": dense,
    "features, frozen": frozen,
    "features, tuned": tuned_features,
}


@torch.no_grad()
def ahead(step: Ahead, prior: Prior) -> tuple[float, ...]:
    """Return RMSE at some leads, the valid time, and the Hellinger distance of a free run."""
    x = states(prior, 300, REACH + 1, 24, EVERY)
    found, now = [], x[:, 0]
    for n in range(REACH):
        now = step(now).clamp(-50, 50)
        found.append((0.1 * (n + 1), rmse(now, x[:, n + 1]), 1.0))
    run = []
    for _ in range(100):
        now = step(now).clamp(-50, 50)
        run.append(now)
    data = states(prior, 750, 40, 25, 25).flatten(0, 1)
    shown = [found[n - 1][1] for n in (1, 2, 5, 10, 20)]
    return (*shown, valid(found), hellinger(torch.cat(run), data))


if __name__ == "__main__":
    main()
