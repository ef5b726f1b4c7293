"""What a denoiser of single states of Lorenz-63 has learnt: its samples, and its features.

After Finn et al. (2024, npg-31-409-2024), with a prior of window 1 (``--one``; else it is trained
first, as ``cycling`` does):

- the Hellinger distance of unconditional samples to the data, in boxes of the standardised state,
  beside the data's own: that of as many other states to the same;
- the RMSE of forecasts 0.1 time units ahead, by a linear head on frozen features, on features that
  were tuned, on polynomials and on as many random Fourier features, and by a dense network of the
  same size that learns from nothing, from an eighth of the pairs to all of them
  (``forecasts.py``): of exact states, and of states that are seen with an error of ``--error``
  standard deviations, where what is forecast from one that is seen so is judged by the truth;
- by lead time, the RMSE of each that is iterated from exact states, the time until it exceeds 0.4
  standard deviations, and the Hellinger distance of a long free run: whether it stays on the
  attractor.

Pairs to learn from, to choose by and to judge on are of different trajectories. ``--picture``
draws the learning curves.
"""

from argparse import Namespace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks import common
from benchmarks.cycling.priors import taught
from benchmarks.cycling.references import DT, EVERY
from benchmarks.lorenz63_features.forecasts import WAYS, Ahead, of_dense
from dpdm.diffusion.noise import karras_levels
from dpdm.diffusion.sample import heun
from dpdm.forecast import LeadPairs, pair_rmse, valid_lead
from dpdm.prior import Prior, find_prior, load_prior
from dpdm.prior.windows import state_scaling, window_denoiser
from dpdm.testbeds import lorenz63

SHARES = (8, 4, 2, 1)
REACH = 60  # steps of iterated forecasts
HELD, TEST = 1024, 4096
Curves = dict[str, list[float]]


def main() -> None:
    """Print the tables and the targets."""
    parser = common.parser(__doc__)
    parser.add_argument("--one", default="", help="prior of single states, 0.01 apart")
    parser.add_argument("--minutes", type=float, default=10, help="its training, where none")
    parser.add_argument("--samples", type=int, default=20000)
    parser.add_argument("--pairs", type=int, default=2048, help="to learn forecasts from, at most")
    parser.add_argument("--error", type=float, default=0.1, help="in standard deviations")
    parser.add_argument("--steps", type=int, default=1000, help="of Adam, for every net")
    parser.add_argument("--picture", type=Path, help="the learning curves, as a .png")
    options = parser.parse_args()
    prior = load_prior(
        find_prior(options.one or str(taught(options.build, "one", options.minutes)))
    )
    floor, distance = hellinger_of_samples(prior, options.samples)
    print(
        f"Hellinger distance to data: samples {distance:.4f}, other data {floor:.4f}\n", flush=True
    )
    curves, free, wanted = {}, {}, {}
    for name, error in (
        ("exact", 0.0),
        (f"seen with an error of {options.error:g}", options.error),
    ):
        curves[name], best = learning(prior, options, error, name)
        free[name] = {who: ahead(step, prior) for who, step in best.items()}
        head = (f"RMSE at lead, {name}", *(f"{0.1 * n:g}" for n in (1, 2, 5, 10, 20)))
        rows = [(who, *line) for who, line in free[name].items()]
        print(common.table((*head, "valid", "free run"), rows) + "\n", flush=True)
        wanted |= aims(curves[name], name)
    if options.picture:
        drawn(curves, options)
    own = {"Hellinger distance over the data's own": common.target(distance / floor, most=1.05)}
    figures = {"samples": distance, "data": floor, "curves": curves, "ahead": free}
    common.close("lorenz63_features", figures, own | wanted)


def aims(curves: Curves, name: str) -> dict[str, common.Target]:
    """Return what is wanted of features: less error, and as little from fewer pairs."""
    ours, dense = curves["features, frozen"], curves["dense net"][-1]
    ratios = {
        "features over random Fourier features": ours[-1] / curves["random Fourier features"][-1],
        "features over the dense net": ours[-1] / dense,
        "features of half the pairs over the dense net of all": ours[-2] / dense,
        "tuned features of half over the dense net of all": curves["features, tuned"][-2] / dense,
    }
    return {f"{what}, {name}": common.target(value, most=1.0) for what, value in ratios.items()}


def states(prior: Prior, runs: int, length: int, seed: int, stride: int = 1) -> Tensor:
    """Return normalised trajectories (N, T, 3) of the model."""
    mean, std = state_scaling(prior)
    path = lorenz63.simulate_lorenz(runs, (length - 1) * stride + 1, seed, dt=DT, noisy=False)
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
    drawn = heun(window_denoiser(prior), noise, karras_levels(20, 0.005, 20.0))[:, 0]
    return hellinger(data, other), hellinger(data, drawn)


def pairs(prior: Prior, count: int, seed: int) -> LeadPairs:
    """Return states, and those 0.1 time units later, from short trajectories."""
    x = states(prior, count // 16, 2 * 16 * 3, seed, EVERY)
    return LeadPairs(x[:, 0:-1:6].flatten(0, 1)[:count], x[:, 1::6].flatten(0, 1)[:count])


def noisy(exact: LeadPairs, error: float, seed: int, judged: bool = False) -> LeadPairs:
    """Return pairs as they are seen; of those to judge by, what is forecast stays the truth."""
    dice = torch.Generator().manual_seed(seed)
    now, then = (error * torch.randn(exact.inputs.shape, generator=dice) for _ in range(2))
    return LeadPairs(exact.inputs + now, exact.targets + (0 if judged else then))


def learning(
    prior: Prior, options: Namespace, error: float, name: str
) -> tuple[Curves, dict[str, Ahead]]:
    """Return each one's RMSE on pairs that it has not seen by its share of them, and the last."""
    everything, held = (
        noisy(pairs(prior, n, seed), error, seed) for n, seed in ((options.pairs, 21), (HELD, 22))
    )
    test = noisy(pairs(prior, TEST, 23), error, 23, judged=True)
    curves: Curves = {who: [] for who in WAYS}
    best: dict[str, Ahead] = {}
    for share in SHARES:
        count = options.pairs // share
        some = LeadPairs(everything.inputs[:count], everything.targets[:count])
        for who, way in WAYS.items():
            best[who] = way(prior, some, held, options)
            with torch.no_grad():
                curves[who].append(pair_rmse(best[who](test.inputs), test.targets))
    still = pair_rmse(test.inputs, test.targets)
    head = (f"RMSE, {name}, from pairs", *(str(options.pairs // s) for s in SHARES))
    rows = [("persistence", *[still] * len(SHARES)), *((w, *c) for w, c in curves.items())]
    print(common.table(head, rows), flush=True)
    longer = of_dense(prior, everything, held, Namespace(steps=2 * options.steps))
    with torch.no_grad():
        error = pair_rmse(longer(test.inputs), test.targets)
    print(f"dense net after twice the steps: {error:.4g}\n")
    return curves, best


@torch.no_grad()
def ahead(step: Ahead, prior: Prior) -> tuple[float, ...]:
    """Return RMSE at some leads, the valid time, and the Hellinger distance of a free run."""
    x = states(prior, 300, REACH + 1, 24, EVERY)
    found, now = [], x[:, 0]
    for n in range(REACH):
        now = step(now).clamp(-50, 50)
        found.append((0.1 * (n + 1), pair_rmse(now, x[:, n + 1]), 1.0))
    run = []
    for _ in range(100):
        now = step(now).clamp(-50, 50)
        run.append(now)
    data = states(prior, 750, 40, 25, 25).flatten(0, 1)
    shown = [found[n - 1][1] for n in (1, 2, 5, 10, 20)]
    return (*shown, valid_lead(found), hellinger(torch.cat(run), data))


def drawn(curves: dict[str, Curves], options: Namespace) -> None:
    """Draw the learning curves."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    counts = [options.pairs // share for share in SHARES]
    figure, axes = plt.subplots(1, len(curves), figsize=(9, 3.8), layout="constrained")
    for axis, (name, some) in zip(axes, curves.items(), strict=True):
        for (who, errors), mark in zip(some.items(), "sv^oD", strict=True):
            axis.semilogx(counts, errors, marker=mark, label=who)
        axis.set(title=f"states {name}", xlabel="pairs to learn from")
        axis.set_xticks(counts, [str(n) for n in counts])
        axis.minorticks_off()
        if max(map(max, some.values())) > 10 * min(map(min, some.values())):
            axis.set_yscale("log")
    axes[0].set_ylabel("RMSE 0.1 time units ahead, standard deviations")
    axes[-1].legend(frameon=False)
    figure.savefig(options.picture, dpi=120)


if __name__ == "__main__":
    main()
