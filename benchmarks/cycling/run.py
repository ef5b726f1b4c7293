"""Cycled analyses of Lorenz-63: what a denoiser's ensembles are worth beside a Kalman filter's.

All three components are observed every 0.1 time units with an error of 2, as in Finn et al. (2024,
npg-31-409-2024); the truth is the unshaken model in steps of 0.01. Judged by the RMSE of the
analysis (mean square over cycles and components, then over runs), with 95% intervals over runs:

- the observations themselves;
- optimal interpolation with a static covariance, times a tuned factor: that of the climate, as
  published, and that of its own forecast errors, found by iteration;
- optimal interpolation with the covariance of 50 members of partial noising and denoising: around
  the forecast, with a prior of single states (``--one``), alone, or added to the static one; and
  around the path of the last 20 analyses and the forecast, with a prior of windows (``--many``).
  Of the model they need the one forecast that the static covariance needs too;
- members around the analysis that the model carries to the next observation: 50 more forecasts;
- the ensemble transform Kalman filter with 3 and 12 members;
- without the model: the last state of the posterior of the prior of windows, given the
  observations of the last 2 time units: members by the sampler, and their mean in one evaluation.
  Noise in all values is what a denoiser takes away, so neither needs a gradient.

Levels of noise (in standard deviations), factors and inflations are tuned on a seed of their own.
Without ``--one`` and ``--many`` the priors are trained first, for ``--minutes`` each.
"""

import math
from argparse import Namespace
from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from benchmarks import common
from benchmarks.cycling.ensembles import (
    at_once,
    cloud,
    of_carried,
    of_forecast,
    of_path,
    smoothed,
    windows,
)
from benchmarks.cycling.priors import taught
from benchmarks.cycling.references import (
    World,
    climate,
    etkf,
    fixed,
    interpolated,
    of_errors,
    world,
)
from benchmarks.cycling.report import (
    ALONE,
    CARRIED,
    DRAWN,
    LARGE,
    MIXED,
    ONCE,
    PATH,
    SMALL,
    SPIN_UP,
    STATIC,
    errors,
    score,
    shown,
)
from dpdm.prior import Prior, find_prior, load_prior

Way = Callable[..., Tensor]
"""Analyses (B, T, 3) of a world, with some settings."""

GRIDS: dict[str, tuple[tuple[float, ...], ...]] = {
    "OI, static, of the climate": ((0.02, 0.03, 0.04, 0.05, 0.06, 0.08),),
    STATIC: ((0.6, 0.8, 1.0, 1.25, 1.5, 2.0),),
    ALONE: ((0.18, 0.24, 0.32), (1.0, 1.4, 2.0)),
    MIXED: ((0.24,), (0.3, 0.6, 1.0), (0.2, 0.45, 0.7)),
    PATH: ((0.5, 0.75, 1.1), (0.5, 0.75, 1.1)),
    CARRIED: ((0.05, 0.08, 0.13), (0.8, 1.2, 1.8)),
    SMALL: ((1.0, 1.05, 1.08, 1.1, 1.13, 1.16, 1.2, 1.34),),
    LARGE: ((0.99, 1.0, 1.01, 1.02, 1.03, 1.05, 1.07, 1.12),),
}


def main() -> None:
    """Print the settings, the table and the targets."""
    parser = common.parser(__doc__)
    parser.add_argument("--one", default="", help="prior of single states, 0.01 apart")
    parser.add_argument("--many", default="", help="prior of windows of states 0.1 apart")
    parser.add_argument("--minutes", type=float, default=10, help="training of each, where none")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=16, help="runs of a seed")
    parser.add_argument("--cycles", type=int, default=105)
    parser.add_argument("--tuning", type=int, default=75, help="cycles to tune by")
    options = parser.parse_args()
    one, many = (
        load_prior(
            find_prior(getattr(options, name) or str(taught(options.build, name, options.minutes)))
        )
        for name in ("one", "many")
    )
    ways = analyses(one, many)
    short, long = world(options.runs, options.tuning, seed=100), world(32, 200, seed=100)
    settings = settled(short, long, ways)
    shown([measured(options, seed, ways, settings, many) for seed in range(options.seeds)])


def analyses(one: Prior, many: Prior) -> dict[str, Way]:
    """Return the ways to an analysis that have settings."""
    base = of_errors(world(32, 200, seed=100), SPIN_UP)
    states = climate()
    width, none = many.contract.states, torch.zeros(3, 3, dtype=torch.float64)

    def dice() -> torch.Generator:
        return torch.Generator().manual_seed(0)

    def alone(here: World, level: float, wider: float, share: float = 0.0) -> Tensor:
        rest = share * base if share else none
        return interpolated(here, of_forecast(cloud(one, level, dice()), wider, rest))

    def along(here: World, level: float, wider: float) -> Tensor:
        some = cloud(many, level, dice())
        return interpolated(here, of_path(some, wider, width, base))

    def carried(here: World, level: float, wider: float) -> Tensor:
        return interpolated(here, of_carried(cloud(one, level, dice()), wider))

    return {
        "OI, static, of the climate": lambda w, f: interpolated(w, fixed(f * states)),
        STATIC: lambda w, f: interpolated(w, fixed(f * base)),
        ALONE: alone,
        MIXED: alone,
        PATH: along,
        CARRIED: carried,
        SMALL: lambda w, f: etkf(w, 3, f),
        LARGE: lambda w, f: etkf(w, 12, f),
    }


def settled(short: World, long: World, ways: dict[str, Way]) -> dict[str, tuple[float, ...]]:
    """Return the settings of each analysis that are best: on more cycles where those are cheap."""
    best, rows = {}, []
    for who, way in ways.items():
        tuning = short if who in (ALONE, MIXED, PATH, CARRIED) else long
        scores = {key: score(way(tuning, *key), tuning) for key in product(*GRIDS[who])}
        best[who] = min(scores, key=lambda key: scores[key])
        rows.append((who, " ".join(f"{v:g}" for v in best[who]), scores[best[who]]))
        tried = (f"{' '.join(f'{v:g}' for v in k)}: {s:.3f}" for k, s in scores.items())
        print(f"{who} | {', '.join(tried)}", flush=True)
    print("\n" + common.table(("tuned", "settings", "RMSE there"), rows) + "\n", flush=True)
    return best


def measured(
    options: Namespace,
    seed: int,
    ways: dict[str, Way],
    settings: dict[str, tuple[float, ...]],
    many: Prior,
) -> dict[str, Tensor]:
    """Return the mean square errors of the runs of one seed, by analysis."""
    here = world(options.runs, options.cycles, seed)
    found = {"observations": errors(here.seen, here)}
    found |= {who: errors(way(here, *settings[who]), here) for who, way in ways.items()}
    return found | without_model(many, here, options.runs, seed)


def without_model(many: Prior, here: World, runs: int, seed: int) -> dict[str, Tensor]:
    """Return the mean square errors of the posterior of windows at their last state, by run."""
    width = many.contract.states
    y, true = windows(here, width, 1)
    mean = (at_once(many, y)[:, -1] - true).square().reshape(runs, -1)
    y, true = windows(here, width, 8)
    drawn = smoothed(many, y, 8, seed)[:, :, -1]
    off = (drawn.mean(0) - true).square().reshape(runs, -1)
    fair = drawn.var(0).mean().sqrt() / off.mean().sqrt() * math.sqrt(9 / 8)
    print(f"posterior, seed {seed}: spread over error {float(fair):.2f}", flush=True)
    return {DRAWN: off.mean(1), ONCE: mean.mean(1)}


if __name__ == "__main__":
    main()
