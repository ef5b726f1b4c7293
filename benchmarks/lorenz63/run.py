"""Trajectories of Lorenz-63 from few observations, against a particle smoother.

The set-up is that of Rozet and Louppe (2023): 65 states, their normalised first component seen at
every 8th state with an error of .05 ("lo"), or at every state with .25 ("hi"); or the third at
every 4th with .1 ("modes"), which does not tell a trajectory from its mirror image. A prior of
windows of 9 states (``--prior``; else it is trained first, 15 minutes on one core) is composed in
time, guided by SDA, and sampled with few steps and several Langevin corrections. Judged by

- the log-prior of the 64 transitions and the log-likelihood, beside those of the smoother;
- W1, the exact earth mover's distance in physical units to 512 trajectories of the smoother, whose
  own 16 draws have about 7 (lo) and 8 (hi);
- the spread over the smoother's, and chi-square of what was observed;
- the share of trajectories that begin with a positive first component.

The first observations (``--first``) may be set aside for choosing settings: the defaults here were
chosen on numbers from 100 on, and are judged on numbers from 0 on.
"""

import math
import time
from argparse import Namespace
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from benchmarks import common
from benchmarks.lorenz63 import kalman_smoother
from dpdm.diffusion.guidance import Observation, sda
from dpdm.diffusion.noise import karras_levels
from dpdm.diffusion.sample import langevin_sampler
from dpdm.diffusion.tile import TimeWindows, tile_denoiser
from dpdm.prior import Prior, find_prior, load_prior
from dpdm.prior.model_card import SAMPLING_BY_KIND
from dpdm.prior.windows import state_scaling, window_denoiser
from dpdm.testbeds import lorenz63
from dpdm.testbeds.lorenz63 import run_smoother
from dpdm.types import Fields, Values

LENGTH, DRAWS = 65, 512
HEAD = ("case", "who", "log-prior", "log-likelihood", "W1", "spread", "chi-square", "share x > 0")
WANTED = {"lo": 15.0, "hi": 14.5}


@dataclass(frozen=True)
class Case:
    """What is seen: every so many states, with what error of which normalised component."""

    every: int
    error: float
    component: int = 0

    def normal(self, x: Tensor) -> Tensor:
        """Return the normalised component of states (..., 3)."""
        c = self.component
        return (x[..., c] - lorenz63.START_MEAN[c]) / lorenz63.COMPONENT_SCALE[c]

    def operator(self, x: Fields) -> Values:
        """Return what is seen (B, N) of physical trajectories (B, L, 3)."""
        return self.normal(x[:, :: self.every])

    def log_likelihood(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log p(y | x) of trajectories (B, L, 3)."""
        miss = (self.operator(x) - y) / self.error
        return -(miss.square() + math.log(2 * math.pi * self.error**2)).sum(1) / 2

    def at(self, y: Tensor, step: int, states: Tensor) -> Tensor | None:
        """Return log p(y | x) of one step's states (N, 3), or nothing."""
        if step % self.every:
            return None
        miss = (self.normal(states) - y[step // self.every]) / self.error
        return -miss.square() / 2


CASES = {"lo": Case(8, 0.05), "hi": Case(1, 0.25), "modes": Case(4, 0.1, 2)}


def main() -> None:
    """Print the table and the targets."""
    parser = common.parser(__doc__)
    parser.set_defaults(prior="")
    parser.add_argument("--observations", type=int, default=16)
    parser.add_argument("--first", type=int, default=0, help="number of the first observation")
    parser.add_argument("--samples", type=int, default=16)
    usual = SAMPLING_BY_KIND["components"]
    for name in ("steps", "corrections", "tau", "least"):
        kind = type(usual[name])
        parser.add_argument(f"--{name}", type=kind, default=usual[name])
    parser.add_argument("--most", type=float, default=usual["most"])
    parser.add_argument("--gamma", type=float, default=0.01)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--kalman", action="store_true", help="DAPPER's smoother beside (pip)")
    options = parser.parse_args()
    prior = load_prior(find_prior(options.prior) if options.prior else taught(options.build))
    found = {name: judged(prior, CASES[name], options) for name in options.cases}
    rows = [(name, who, *line) for name, lines in found.items() for who, line in lines.items()]
    print(common.table(HEAD, rows))
    evaluations = options.steps * (1 + options.corrections)
    common.close(
        "lorenz63",
        {"evaluations": evaluations, "settings": {k: str(v) for k, v in vars(options).items()}}
        | {name: {w: list(line) for w, line in lines.items()} for name, lines in found.items()},
        {k: v for name, lines in found.items() for k, v in targets(name, lines).items()},
    )


def taught(build: Path) -> Path:
    """Return a prior trained in the build folder, with the commands that a user has."""
    build.mkdir(parents=True, exist_ok=True)
    truth, prior = build / "lorenz63.nc", build / "lorenz63.safetensors"
    if not prior.exists():
        common.dpdm(
            "testbed", "lorenz63", truth, "--trajectories", 1024, "--length", 1024, "--seed", 0,
            "--overwrite",
        )  # fmt: skip
        common.dpdm("train", truth, "--window", 9, "--out", prior, "--minutes", 14)
    return prior


def judged(prior: Prior, case: Case, options: Namespace) -> dict[str, tuple[float, ...]]:
    """Return the mean scores of truth, smoother and analyses."""
    rows: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for number in range(options.first, options.first + options.observations):
        truth = lorenz63.simulate_lorenz(1, LENGTH, seed=1, first=number)
        noise = np.random.default_rng((2, number)).standard_normal(LENGTH)
        y = case.operator(truth)[0]
        y = y + case.error * torch.from_numpy(noise[: len(y)])
        best = run_smoother(
            lorenz63.particle_dynamics(),
            partial(case.at, y),
            LENGTH,
            DRAWS + options.samples,
            seed=number,
        )
        exact, other = best[:DRAWS], best[DRAWS:]
        began = time.perf_counter()
        mine = analyses(prior, case, y, options, number)
        took = time.perf_counter() - began
        each = {"truth": truth, "smoother": other, "dpdm": mine}
        if options.kalman:
            ensemble = kalman_smoother.smoothed(
                case.normal, case.every, case.error, y, LENGTH, number
            )
            each["Kalman smoother"] = ensemble[: options.samples]
        for who, x in each.items():
            rows[who].append(scores(case, x, y, exact))
        print(f"{number}: {rows['smoother'][-1]} {rows['dpdm'][-1]} {took:.0f} s", flush=True)
    return {who: tuple(np.nanmean(lines, axis=0).tolist()) for who, lines in rows.items()}


def analyses(prior: Prior, case: Case, y: Tensor, options: Namespace, seed: int) -> Tensor:
    """Return trajectories (M, L, 3) drawn from the composed, guided prior."""
    mean, std = (each.float() for each in state_scaling(prior))
    denoise = tile_denoiser(window_denoiser(prior), TimeWindows(LENGTH, prior.contract.states))
    variance = torch.full(y.shape, case.error**2)
    c = case.component
    scale = torch.full(y.shape, float(std[c] / lorenz63.COMPONENT_SCALE[c]) ** 2)
    seen = Observation(lambda x: case.operator(mean + std * x), y.float(), variance, scale)
    generator = torch.Generator().manual_seed(seed)

    def renew(count: int) -> Fields:
        return torch.randn(options.samples, LENGTH, 3, generator=generator)

    sampler = langevin_sampler(options.corrections, options.tau, renew)
    falling = karras_levels(options.steps, options.least, options.most)
    x = sampler(sda(denoise, seen, options.gamma), renew(-1), falling)
    return (mean + std * x).double()


def scores(case: Case, x: Tensor, y: Tensor, exact: Tensor) -> tuple[float, ...]:
    """Return the scores of trajectories (B, L, 3), in the order of the table."""
    lone = len(x) == 1
    spread = math.nan if lone else float(x.std(0).mean() / exact.std(0).mean())
    return (
        float(log_prior(x).mean()),
        float(case.log_likelihood(x, y).mean()),
        math.nan if lone else w1(x, exact),
        spread,
        float(((case.operator(x) - y) / case.error).square().mean()),
        float((x[:, 0, 0] > 0).double().mean()),
    )


def log_prior(x: Tensor) -> Tensor:
    """Return the summed log density of the transitions of trajectories (..., L, 3)."""
    error = x[..., 1:, :] - lorenz63.advance_states(x[..., :-1, :])
    return -(error.square() / lorenz63.DT + math.log(2 * math.pi * lorenz63.DT)).sum((-2, -1)) / 2


def w1(x: Tensor, exact: Tensor) -> float:
    """Return the earth mover's distance of equal weights, the larger set a multiple of the other.

    Example:
        >>> w1(torch.tensor([[[0.0]]]), torch.tensor([[[1.0]], [[3.0]]]))
        2.0
    """
    cost = torch.cdist(x.flatten(1), exact.flatten(1)).numpy()
    copies = np.repeat(cost, len(exact) // len(x), axis=0)
    rows, columns = linear_sum_assignment(copies)
    return float(copies[rows, columns].mean())


def targets(name: str, lines: dict[str, tuple[float, ...]]) -> dict[str, common.Target]:
    """Return how far the analyses may be from the smoother."""
    mine, best = lines["dpdm"], lines["smoother"]
    if name == "modes":
        rare = min(mine[5], 1 - mine[5])
        return {
            "modes: share of the rarer one": common.target(rare, least=0.25),
            "modes: chi-square": common.target(mine[4], 0.8, 1.2),
        }
    return {
        f"{name}: |log-prior - smoother's|": common.target(abs(mine[0] - best[0]), most=10.0),
        f"{name}: |log-likelihood - smoother's|": common.target(abs(mine[1] - best[1]), most=1.5),
        f"{name}: W1": common.target(mine[2], most=WANTED[name]),
        f"{name}: spread": common.target(mine[3], 1 / 1.3, 1.3),
    }


if __name__ == "__main__":
    main()
