r"""Trajectories of a turbulent flow from few observations, beside interpolation.

The set-up is that of Rozet and Louppe (2023), at a size for two cores: Kolmogorov flow computed
on 96 by 96 cells and averaged to 32 by 32, trajectories of 32 states. A prior of windows of 5
states (``--prior``; else it is trained first, an hour on one core) is composed in time and guided.
The other TOML files beside this one say what is seen:

- coarse: means over 4 by 4 cells, every fourth state (case a of the paper);
- box: the middle quarter of the plane, the rest is extrapolated (b);
- saturated: vorticity by an instrument that saturates (c);
- every_2, _4, _8, _16: one cell of so many squared, at all states (d);
- ring: a ring of vorticity is demanded of the last state (f), which has no truth.

The trajectories are of another seed than those that were learnt from. Steps, corrections and the
guidance of each case were chosen on seed 2, and are judged on seed 1. Where velocities are seen on
a grid, interpolation and optimal interpolation (`references.py`) are judged beside, on all
trajectories; the other cases take the first. `scores.py` explains the scores.
"""

import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

from benchmarks import common
from benchmarks.kolmogorov import references, scores
from benchmarks.kolmogorov.gaussian import Climate, climate
from benchmarks.kolmogorov.scores import Inferred
from benchmarks.observed import Observed
from dpdm.observations.observation_operator import observation_operator
from dpdm.observations.table import read_observations
from dpdm.operators.geometry import plane_layout
from dpdm.operators.registry import ObsLocations

SETTINGS = Path(__file__).parent
STATES, SIZE, WINDOW = 32, 32, 5
GRIDDED = ("coarse", "every_2", "every_4", "every_8", "every_16")
SDA, MMPS = ("--guidance", "sda"), ("--guidance", "mmps", "--iterations")
GUIDANCE: dict[str, tuple[str | int, ...]] = {
    "coarse": SDA, "box": (*MMPS, 1), "saturated": (*MMPS, 5), "every_2": (*MMPS, 1),
    "every_4": (*MMPS, 1), "every_8": (*MMPS, 1), "every_16": (*MMPS, 1), "ring": (*MMPS, 3),
}  # fmt: skip
DRAWN = ("coarse", "box", "saturated", "ring")
RING = (1.9, 2.5, 6.0)  # inner and outer radius, and vorticity


def main() -> None:
    """Print the table and the targets."""
    options = arguments()
    options.build.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    bench = prepared(options)
    found = {name: judged(bench, name, options) for name in options.cases}
    rows = [(name, who, *line) for name, lines in found.items() for who, line in lines.items()]
    floor = scores.astray(bench.fields, bench.law.std)
    print(common.table(scores.HEAD, rows))
    print(f"\nThe solver from the truth's own first state: {floor[0]:.3f} and {floor[1]:.3f}.")
    common.close(
        "kolmogorov",
        {"minutes": (time.perf_counter() - began) / 60, "truth, solver": floor}
        | {"settings": {k: str(v) for k, v in vars(options).items()}, "guidance": GUIDANCE}
        | {name: {w: list(line) for w, line in lines.items()} for name, lines in found.items()},
        {k: v for name, lines in found.items() for k, v in targets(name, lines).items()},
    )


def arguments() -> Namespace:
    """Return what was asked for."""
    parser = common.parser(__doc__)
    parser.set_defaults(prior="")
    parser.add_argument("--trajectories", type=int, default=2)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1, help="of the truth")
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--corrections", type=int, default=1)
    parser.add_argument("--tau", type=float, default=0.5)
    parser.add_argument("--cases", nargs="+", default=list(GUIDANCE), choices=GUIDANCE)
    parser.add_argument("--learnt", type=int, default=192, help="trajectories to learn from")
    parser.add_argument("--minutes", type=float, default=55, help="of training")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="draw them there")
    return parser.parse_args()


@dataclass(frozen=True)
class Bench:
    """What all cases share.

    Attributes:
        prior: The prior's file.
        path: The truth's file.
        truth: Its trajectories.
        law: What is known of the flow before anything is seen.
    """

    prior: Path | str
    path: Path
    truth: xr.Dataset
    law: Climate

    @property
    def fields(self) -> Tensor:
        """Give the truth, with shape (N, 2, T, Y, X)."""
        return stacked(self.truth)


def prepared(options: Namespace) -> Bench:
    """Return the prior and the truth, made with the commands that a user has."""
    learnt = made(options.build, options.learnt, 2 * STATES, 0)
    path = made(options.build, options.trajectories, STATES, options.seed)
    with xr.open_dataset(path) as truth:
        truth.load()
    prior = options.prior or taught(options.build, learnt, options.minutes)
    return Bench(prior, path, truth, climate(learnt, STATES))


def taught(build: Path, learnt: Path, minutes: float) -> Path:
    """Return a prior trained in the build folder; training that was stopped goes on."""
    prior = build / "kolmogorov.safetensors"
    if not prior.exists() or prior.with_name(prior.name + ".resume").exists():
        common.dpdm(
            "train", learnt, "--window", WINDOW, "--out", prior, "--minutes", minutes,
            "--config", SETTINGS / "prior.toml",
        )  # fmt: skip
    return prior


def made(build: Path, count: int, length: int, seed: int) -> Path:
    """Return a file of trajectories in the build folder, computed if there is none."""
    path = build / f"kolmogorov_{count}_of_seed_{seed}.nc"
    if not path.exists():
        common.dpdm(
            "testbed", "kolmogorov", path, "--trajectories", count, "--length", length,
            "--seed", seed, "--size", SIZE, "--resolution", scores.FLOW.resolution,
        )  # fmt: skip
    return path


def stacked(ds: xr.Dataset) -> Tensor:
    """Return u and v (..., 2, time, y, x) in double precision."""
    fields = ds[["u", "v"]].to_array().transpose(..., "trajectory", "variable", "time", "y", "x")
    return torch.from_numpy(fields.values).double()


def judged(bench: Bench, name: str, options: Namespace) -> dict[str, tuple[float, ...]]:
    """Return the scores of each method in one case."""
    table, analysis = assimilated(bench, name, options)
    parts = [rows.reset_index(drop=True) for _, rows in table.groupby("trajectory")]
    seen = [sight(rows, bench.truth) for rows in parts]
    methods = {"dpdm": Inferred(stacked(analysis))}
    if name in GRIDDED:
        methods |= rivals(bench, parts, seen, options.members)
    if options.pictures and name in DRAWN:
        pictured(options.pictures, bench, name, parts[0], analysis)
    found = {who: scored(bench, name, seen, each) for who, each in methods.items()}
    for who, line in found.items():
        print(name, who, *(f"{number:.3f}" for number in line), flush=True)
    return found


def assimilated(bench: Bench, name: str, options: Namespace) -> tuple[pd.DataFrame, xr.Dataset]:
    """Return what was seen, and the members that the command infers from it."""
    seen, target = (options.build / f"kolmogorov_{n}.nc" for n in (f"{name}_seen", name))
    config = SETTINGS / f"{name}.toml"
    common.dpdm("observe", bench.path, seen, "--config", config, "--overwrite")
    if name == "ring":
        demand(seen)
    common.dpdm(
        "assimilate", seen, target, "--grid", bench.path, "--prior", bench.prior,
        "--members", options.members, "--seed", options.seed, "--steps", options.steps,
        "--corrections", options.corrections, "--tau", options.tau, *GUIDANCE[name],
        "--reject", 0, "--keep", "members", "--overwrite",
    )  # fmt: skip
    with xr.open_dataset(target) as analysis:
        return read_observations([seen]), analysis.load()


def demand(path: Path) -> None:
    """Keep a ring of what was seen, and replace its vorticity by what is demanded."""
    inner, outer, strength = RING
    with xr.open_dataset(path) as ds:
        seen = ds.load()
    radius = np.hypot(seen["y"] - np.pi, seen["x"] - np.pi)
    ring = seen.isel(obs=np.flatnonzero((radius > inner) & (radius < outer)))
    ring.assign(value=xr.full_like(ring["value"], strength)).to_netcdf(path)


def sight(rows: pd.DataFrame, truth: xr.Dataset) -> Observed:
    """Return what is seen of one trajectory."""
    layout = plane_layout(truth["y"].values, truth["x"].values, 2 * np.pi)
    times = truth["time"].values

    def place(some: pd.DataFrame) -> ObsLocations:
        step = np.abs(some["time"].to_numpy(float)[:, None] - times).argmin(1)
        return ObsLocations(layout, ("u", "v"), some["y"], some["x"], torch.from_numpy(step))

    value, error = (torch.from_numpy(rows[n].to_numpy(float).copy()) for n in ("value", "error"))
    return Observed(observation_operator(rows, place), value, error)


def rivals(
    bench: Bench, parts: list[pd.DataFrame], seen: list[Observed], members: int
) -> dict[str, Inferred]:
    """Return what interpolation and optimal interpolation infer."""
    lines = torch.stack([references.interpolated(rows, bench.truth) for rows in parts])
    best = [references.optimal(bench.law, s, members, number) for number, s in enumerate(seen)]
    drawn, centre = (torch.stack(each) for each in zip(*best, strict=True))
    return {
        "interpolation": Inferred(lines[None], lines),
        "optimal interpolation": Inferred(drawn.movedim(1, 0), centre),
    }


def scored(bench: Bench, name: str, seen: list[Observed], found: Inferred) -> tuple[float, ...]:
    """Return a method's figures; against the truth only where there is one."""
    misses = [
        (each.operator(found.members[:, number]) - each.value) / each.error
        for number, each in enumerate(seen)
    ]
    chi_square = float(torch.cat(misses, dim=1).square().mean())
    line = scores.scores(found, bench.fields[: len(seen)], bench.law.std, chi_square)
    known = scores.CHI_SQUARE if name == "ring" else 0
    return (*known * (float("nan"),), *line[known:])


def pictured(
    folder: Path, bench: Bench, name: str, rows: pd.DataFrame, analysis: xr.Dataset
) -> None:
    """Draw the first trajectory of a case."""
    from benchmarks.kolmogorov import figures

    members = [f"member {m}" for m in range(min(2, analysis.sizes["realization"]))]
    lines = ["demanded", *members] if name == "ring" else ["truth", "seen", *members]
    truth, inferred = (ds.isel(trajectory=0) for ds in (bench.truth, analysis))
    figures.draw(folder / f"kolmogorov_{name}.png", truth, inferred, rows, lines)


def targets(name: str, lines: dict[str, tuple[float, ...]]) -> dict[str, common.Target]:
    """Return how the analyses are to stand to their rivals and to what was seen."""
    if name == "ring":
        return {}
    rmse, chi_square = scores.RMSE, scores.CHI_SQUARE
    mine = lines["dpdm"]
    wanted = {
        f"{name}: RMSE over that of {who}": common.target(mine[rmse] / line[rmse], most=1.0)
        for who, line in lines.items()
        if who != "dpdm"
    }
    return wanted | {f"{name}: chi-square": common.target(mine[chi_square], 0.8, 1.2)}


if __name__ == "__main__":
    main()
