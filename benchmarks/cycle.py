"""Cycled analyses of Lorenz-63: what a denoiser's ensembles are worth beside a Kalman filter's.

All three components are observed every 0.1 time units with an error of 2, as in Finn et al. (2024,
npg-31-409-2024); the truth is the unshaken model in steps of 0.01. Judged by the RMSE of the
analysis (mean square over cycles and components, then over runs), with 95% intervals over runs:

- the observations themselves;
- optimal interpolation with a static covariance: that of its own forecast errors, found by
  iteration, times a tuned factor;
- optimal interpolation with the covariance of 50 members around the forecast, by partial noising
  and denoising with a prior of single states (``--one``; tuned: strength, inflation);
- the same with members around the analysis, which the model carries to the next observation;
- the ensemble transform Kalman filter with 3 and 12 members (tuned: inflation);
- without the model: the last state of the posterior of a prior of windows (``--many``), given the
  observations of the last 2 time units: members by the sampler, and their mean in one evaluation.
  Noise in all values is what a denoiser takes away, so neither needs a gradient.

Tuning uses its own seed. Without ``--one`` and ``--many`` the priors are trained first, for
``--minutes`` each.
"""

import math
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import common
import numpy as np
import torch
import xarray as xr
from torch import Tensor

from dpdm.bound import scaling, windowed
from dpdm.diffusion.sample import SAMPLERS, level, levels
from dpdm.prior import Prior, find, load
from dpdm.testbeds import lorenz63
from dpdm.types import Denoise

DT, EVERY, ERROR, SPIN_UP = 0.01, 10, 2.0, 20
MEMBERS = 50
TOML = "[net]\nhidden = {}\nlayers = {}\n[train]\nbatch = {}\nlog_sigma = {}\nsteps = 200000\n"
ONE, MANY = (256, 3, 512, [-1.5, 1.7]), (384, 4, 256, [-1.6, 1.3])
STRENGTHS, WIDER = (0.3, 0.4, 0.46, 0.52, 0.6), (1.0, 1.6)


@dataclass(frozen=True)
class World:
    """Runs side by side: truth (B, T, 3) at the cycles, what was observed, and their dice."""

    truth: Tensor
    seen: Tensor
    dice: torch.Generator

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normal numbers."""
        return torch.randn(*shape, generator=self.dice, dtype=torch.float64)


def world(runs: int, cycles: int, seed: int) -> World:
    """Return runs of the model, and observations of them."""
    path = lorenz63.simulate(runs, EVERY * (cycles - 1) + 1, seed, dt=DT, shaken=False)
    dice = torch.Generator().manual_seed(seed)
    truth = path[:, ::EVERY]
    noise = torch.randn(truth.shape, generator=dice, dtype=torch.float64)
    return World(truth, truth + ERROR * noise, dice)


def model(x: Tensor) -> Tensor:
    """Return states (..., 3) at the next observation."""
    for _ in range(EVERY):
        x = lorenz63.step(x, DT)
    return x


def analysed(forecast: Tensor, y: Tensor, covariance: Tensor) -> Tensor:
    """Return the optimal interpolation of forecast and observation (B, 3)."""
    total = covariance + ERROR**2 * torch.eye(3, dtype=y.dtype)
    weight = torch.linalg.solve(total, (y - forecast)[..., None])
    return forecast + (covariance @ weight)[..., 0]


Cloud = Callable[[Tensor], Tensor]
"""Members (M, B, 3) around states (B, 3)."""


def interpolated(here: World, covariance: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Return analyses and forecasts (B, T, 3), for the covariance (..., 3, 3) of forecasts."""
    x = here.seen[:, 0]
    found, ahead = [x], [x]
    for y in here.seen.unbind(1)[1:]:
        forecast = model(x)
        x = analysed(forecast, y, covariance(forecast))
        found.append(x)
        ahead.append(forecast)
    return torch.stack(found, 1), torch.stack(ahead, 1)


def carried(here: World, cloud: Cloud, wider: float) -> Tensor:
    """Return analyses (B, T, 3) with the covariance of members that the model has carried."""
    x = here.seen[:, 0]
    found = [x]
    for y in here.seen.unbind(1)[1:]:
        x = analysed(model(x), y, wider * spread(model(cloud(x))))
        found.append(x)
    return torch.stack(found, 1)


def static(tuning: World) -> tuple[Tensor, float]:
    """Return the covariance of an interpolation's own forecast errors, with the best factor."""
    base = torch.eye(3, dtype=torch.float64) * 2
    for _ in range(8):
        _, ahead = interpolated(tuning, lambda _, b=base: b)
        miss = (ahead - tuning.truth)[:, SPIN_UP:].flatten(0, 1)
        base = (base + miss.T @ miss / len(miss)) / 2
    factors = (0.6, 0.8, 1.0, 1.25, 1.6, 2.0)
    scores = [score(interpolated(tuning, lambda _, f=f: f * base)[0], tuning) for f in factors]
    best = factors[int(np.argmin(scores))]
    return best * base, best


def spread(members: Tensor) -> Tensor:
    """Return the covariance (B, 3, 3) of members (M, B, 3)."""
    off = members - members.mean(0)
    return torch.einsum("mbi,mbj->bij", off, off) / (len(members) - 1)


def around(prior: Prior, strength: float, dice: torch.Generator, steps: int = 4) -> Cloud:
    """Return what draws members by partial noising and denoising, as dpdm perturb does."""
    (mean, std), denoise = scaling(prior), windowed(prior)
    own = prior.contract.sampling
    sigma = level("karras", strength, own["least"] or prior.contract.sigma[0], own["most"])
    falling = levels(steps, sigma / 10, sigma)

    def cloud(x: Tensor) -> Tensor:
        origin = ((x - mean) / std).float().repeat(MEMBERS, 1)[:, None]
        noise = torch.randn(origin.shape, generator=dice)
        drawn = SAMPLERS["multistep"](denoise, noise, falling, origin)
        return (mean + std * drawn[:, 0].double()).reshape(MEMBERS, *x.shape)

    return cloud


def etkf(here: World, members: int, inflation: float) -> Tensor:
    """Return analyses (B, T, 3) of the ensemble transform Kalman filter, symmetric square root.

    References:
        Hunt et al. (2007), https://doi.org/10.1016/j.physd.2006.11.008.
    """
    x = here.seen[:, 0, None] + ERROR * here.normal(len(here.truth), members, 3)
    found, one = [here.seen[:, 0]], torch.eye(members, dtype=torch.float64)
    for y in here.seen.unbind(1)[1:]:
        x = model(x)
        mean = x.mean(1, keepdim=True)
        off = inflation * (x - mean)
        values, modes = torch.linalg.eigh((members - 1) * one + off @ off.mT / ERROR**2)
        inner = (modes / values[:, None]) @ modes.mT
        weight = inner @ (off @ (y[:, None] - mean).mT) / ERROR**2
        root = (modes * ((members - 1) / values).sqrt()[:, None]) @ modes.mT
        x = mean + (weight + root).mT @ off
        found.append(x.mean(1))
    return torch.stack(found, 1)


def windows(here: World, width: int, stride: int) -> tuple[Tensor, Tensor]:
    """Return observed windows (B', w, 3), and the true last state of each (B', 3)."""
    seen = here.seen.unfold(1, width, 1).movedim(-1, 2)[:, ::stride]
    true = here.truth[:, width - 1 :: stride]
    return seen.flatten(0, 1), true.flatten(0, 1)


def told(denoise: Denoise, y: Tensor, error: float) -> Denoise:
    """Return the denoiser of the posterior, where all values were observed with one error.

    Noisy states and observations of them are then one observation of less error, and the prior's
    own denoiser takes that away: exactly, without gradients.
    """

    def posterior(x_t: Tensor, sigma: Tensor) -> Tensor:
        square = sigma[:, None, None] ** 2
        share = square / (square + error**2)
        return denoise(x_t + share * (y - x_t), sigma * error / (sigma**2 + error**2).sqrt())

    return posterior


def smoothed(prior: Prior, y: Tensor, members: int, seed: int, steps: int = 24) -> Tensor:
    """Return states (M, B', w, 3) of the posterior of windows."""
    (mean, std), count = scaling(prior), len(y)
    value = ((y - mean) / std).float().repeat(members, 1, 1)
    denoise = told(windowed(prior), value, float((ERROR / std).mean()))
    noise = torch.randn(value.shape, generator=torch.Generator().manual_seed(seed))
    x = SAMPLERS["multistep"](denoise, noise, levels(steps, 0.005, 4.0))
    return (mean + std * x.double()).reshape(members, count, *y.shape[1:])


@torch.no_grad()
def at_once(prior: Prior, y: Tensor) -> Tensor:
    """Return the means of the windows' posteriors (B', w, 3) in one evaluation."""
    mean, std = scaling(prior)
    sigma = torch.full((len(y),), float((ERROR / std).mean()))
    x = windowed(prior)(((y - mean) / std).float(), sigma)
    return mean + std * x.double()


def errors(found: Tensor, here: World) -> Tensor:
    """Return the mean square error of each run (B,)."""
    return (found - here.truth)[:, SPIN_UP:].square().mean((1, 2))


def score(found: Tensor, here: World) -> float:
    """Return the RMSE over runs; infinite where one diverged."""
    return float(errors(found, here).mean().sqrt().nan_to_num(math.inf))


def interval(squares: Tensor) -> tuple[float, float, float]:
    """Return the RMSE and its 95% interval, by resampling runs."""
    rows = np.random.default_rng(0).integers(0, len(squares), (2000, len(squares)))
    roots = squares[torch.from_numpy(rows)].mean(1).sqrt()
    ends = np.quantile(roots.numpy(), (0.025, 0.975))
    return float(squares.mean().sqrt()), float(ends[0]), float(ends[1])


def tuned(scores: dict[tuple[float, ...], float]) -> tuple[float, ...]:
    """Return the settings of the least score."""
    return min(scores, key=lambda key: scores[key])


def main() -> None:
    """Print the table and the targets."""
    parser = common.parser(__doc__)
    parser.add_argument("--one", default="", help="prior of single states, 0.01 apart")
    parser.add_argument("--many", default="", help="prior of windows of states 0.1 apart")
    parser.add_argument("--minutes", type=float, default=10, help="training of each, where none")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=16, help="runs of a seed")
    parser.add_argument("--cycles", type=int, default=120)
    parser.add_argument("--tuning", type=int, default=60, help="cycles to tune by")
    options = parser.parse_args()
    one, many = priors(options)
    tuning = world(options.runs, options.tuning + SPIN_UP, seed=100)
    settings = settled(tuning, one)
    print("tuned:", settings, flush=True)
    squares = [measured(options, seed, one, many, settings) for seed in range(options.seeds)]
    joint = {who: torch.cat([s[who] for s in squares]) for who in squares[0]}
    rows = {who: interval(values) for who, values in joint.items()}
    each = {w: [float(s[w].mean().sqrt()) for s in squares] for w in joint}
    shown = [(w, *r, " ".join(f"{v:.2f}" for v in each[w])) for w, r in rows.items()]
    print(common.table(("analysis", "RMSE", "from", "to", "by seed"), shown))
    common.close("cycle", {"rows": rows, "by seed": each, "tuned": settings}, targets(rows, joint))


def settled(tuning: World, one: Prior) -> dict[str, tuple[float, ...]]:
    """Return the settings of each analysis that are best on the seed of tuning."""
    grid = list(product(STRENGTHS, WIDER))

    def dice() -> torch.Generator:
        return torch.Generator().manual_seed(0)

    def there(strength: float, wider: float) -> float:
        cloud = around(one, strength, dice())
        found, _ = interpolated(tuning, lambda forecast: wider * spread(cloud(forecast)))
        return score(found, tuning)

    def along(strength: float, wider: float) -> float:
        return score(carried(tuning, around(one, strength, dice()), wider), tuning)

    inflations = {3: (1.02, 1.05, 1.1, 1.2), 12: (1.0, 1.03, 1.07, 1.12)}
    return {
        "denoiser": tuned({key: there(*key) for key in grid}),
        "carried": tuned({key: along(*key) for key in grid}),
    } | {
        f"ETKF {n}": tuned({(f,): score(etkf(tuning, n, f), tuning) for f in some})
        for n, some in inflations.items()
    }


def measured(
    options: Namespace, seed: int, one: Prior, many: Prior, settings: dict[str, tuple[float, ...]]
) -> dict[str, Tensor]:
    """Return the mean square errors of the runs of one seed, by analysis."""
    here, other = world(options.runs, options.cycles, seed), world(options.runs, 200, seed=100)
    base, _ = static(other)
    dice = torch.Generator().manual_seed(seed)
    (s, wide), (s2, wide2) = settings["denoiser"], settings["carried"]
    cloud = around(one, s, dice)
    there, _ = interpolated(here, lambda forecast: wide * spread(cloud(forecast)))
    found = {
        "observations": here.seen,
        "OI, static": interpolated(here, lambda forecast: base)[0],
        "OI, denoiser's ensemble": there,
        "OI, the same, carried": carried(here, around(one, s2, dice), wide2),
        "ETKF, 3 members": etkf(here, 3, *settings["ETKF 3"]),
        "ETKF, 12 members": etkf(here, 12, *settings["ETKF 12"]),
    }
    out = {who: errors(x, here) for who, x in found.items()}
    return out | without_model(many, here, options.runs, seed)


def without_model(many: Prior, here: World, runs: int, seed: int) -> dict[str, Tensor]:
    """Return the mean square errors of the posterior of windows at their last state, by run."""
    width = many.contract.states
    y, true = windows(here, width, 1)
    mean = (at_once(many, y)[:, -1] - true).square().reshape(runs, -1)
    y, true = windows(here, width, 8)
    drawn = smoothed(many, y, 8, seed)[:, :, -1]
    off = (drawn.mean(0) - true).square().reshape(runs, -1)
    fair = drawn.var(0).mean().sqrt() / off.mean().sqrt() * math.sqrt(9 / 8)
    print(f"smoother, seed {seed}: spread over error {float(fair):.2f}", flush=True)
    return {
        "smoother, no model: 8 members": off.mean(1),
        "smoother, no model: one evaluation": mean.mean(1),
    }


def targets(
    rows: dict[str, tuple[float, float, float]], joint: dict[str, Tensor]
) -> dict[str, common.Target]:
    """Return what is wanted of the analyses."""
    static, ensemble = joint["OI, static"], joint["OI, denoiser's ensemble"]
    rows_ = np.random.default_rng(0).integers(0, len(static), (2000, len(static)))
    ratio = [
        float((ensemble[r].mean() / static[r].mean()).sqrt()) for r in map(torch.from_numpy, rows_)
    ]
    best = rows["ETKF, 12 members"][0]
    return {
        "denoiser's ensemble over static OI": common.target(float(np.mean(ratio)), most=0.95),
        "the same, 97.5%": common.target(float(np.quantile(ratio, 0.975)), most=1.0),
        "the same, carried, over static OI": common.target(
            rows["OI, the same, carried"][0] / rows["OI, static"][0], most=0.95
        ),
        "smoother over ETKF of 12": common.target(
            rows["smoother, no model: 8 members"][0] / best, most=1.1
        ),
        "its mean in one evaluation": common.target(
            rows["smoother, no model: one evaluation"][0] / best, most=1.1
        ),
    }


def priors(options: Namespace) -> Sequence[Prior]:
    """Return the priors of single states and of windows, trained where they are not given."""
    names = ("one", "many")
    files = [getattr(options, n) or str(taught(options.build, n, options.minutes)) for n in names]
    return [load(find(file)) for file in files]


def taught(build: Path, name: str, minutes: float) -> Path:
    """Return a prior trained in the build folder, with the commands that a user has."""
    build.mkdir(parents=True, exist_ok=True)
    fine, prior = build / "lorenz63_fine.nc", build / f"lorenz63_{name}.safetensors"
    if not fine.exists():
        common.dpdm(
            "testbed", "lorenz63", fine, "--trajectories", 160, "--length", 20000,
            "--interval", DT, "--deterministic",
        )  # fmt: skip
    if not prior.exists():
        truth = fine if name == "one" else interleaved(fine, build / "lorenz63_tenth.nc")
        config = build / f"lorenz63_{name}.toml"
        config.write_text(TOML.format(*(ONE if name == "one" else MANY)))
        window = 1 if name == "one" else 21
        common.dpdm(
            "train", truth, "--window", window, "--out", prior, "--config", config,
            "--minutes", minutes,
        )  # fmt: skip
    return prior


def interleaved(fine: Path, out: Path) -> Path:
    """Write every tenth state of each trajectory, from each of the first ten on."""
    with xr.open_dataset(fine) as ds:
        count, length = ds.sizes["trajectory"], ds.sizes["time"] // EVERY
        values = ds["state"].values[:, : length * EVERY].reshape(count, length, EVERY, 3)
        flat = values.swapaxes(1, 2).reshape(count * EVERY, length, 3)
        arrays = {"state": (("trajectory", "time", "component"), flat, ds["state"].attrs)}
        coords = {"time": np.arange(length) * DT * EVERY, "component": ds["component"].values}
        xr.Dataset(arrays, coords, {"title": ds.attrs["title"]}).to_netcdf(out)
    return out


if __name__ == "__main__":
    main()
