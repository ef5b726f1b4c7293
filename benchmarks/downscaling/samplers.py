"""Compare samplers and inflations on the validation box: ``--samplers``, ``--inflation``."""

import math
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import common
from benchmarks.downscaling.region import VALIDATION, cut
from benchmarks.draws import Array, draw, evaluations, labelled, schedule, task_of
from dpdm.choices import FAST
from dpdm.evaluate import evaluate
from dpdm.fields.read import open_fields
from dpdm.states.fields import FieldSpace
from dpdm.states.sampling import draw_ensemble

Way = tuple[str, int]
WAYS: tuple[Way, ...] = (
    ("heun", 4), ("heun", 6), ("heun", 8), ("heun", 14),
    ("multistep", 6), ("multistep", 8), ("multistep", 10), ("multistep", 14), ("multistep", 20),
    ("ddim", 10), ("ddim", 25), ("ddim", 50),
)  # fmt: skip
MEMBERS = 11  # the fair CRPS does not depend on it
INFLATIONS = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
HEAD = ("sampler", "steps", "evaluations", "seconds", "variable", "CRPS/lerp", "SSR", "one member")


def compare(options: Namespace, folder: Path) -> None:
    """Print each way's scores, with the evaluations and the seconds of a member-month."""
    coarse, truth = cut(options.build, folder, VALIDATION, 10)
    space = task_of(coarse, options.prior)
    ways = (*WAYS, (FAST, 1)) if space.prior.contract.fast else WAYS
    fast = task_of(coarse, options.prior, FAST) if FAST in dict(ways) else space
    steps = range(min(options.months, len(space.steps)))
    members = min(options.members, MEMBERS)
    drawn: dict[Way, list[Array]] = {way: [] for way in ways}
    took = dict.fromkeys(ways, 0.0)
    for step in steps:
        for way in ways:
            began, own = time.perf_counter(), fast if way[0] == FAST else space
            denoise = own.posterior(step).denoise(own.sampler)
            drawn[way].append(draw(own, step, denoise, range(members), *way))
            took[way] += time.perf_counter() - began
    true, seen = (open_fields(p).compute() for p in (truth, coarse))
    found = []
    for way in ways:
        scores = evaluate(labelled(space, steps, drawn.pop(way)), true, seen)
        cost = (evaluations(way[0], schedule(space, *way)), took[way] / len(steps) / members)
        found += [(*way, *cost, *line) for line in lines(scores.rows, members)]
    print(common.table(HEAD, found))
    common.close("samplers", {"rows": [dict(zip(HEAD, r, strict=True)) for r in found]}, {})


def lines(rows: list[dict[str, Any]], members: int) -> list[tuple[object, ...]]:
    """Return variable, CRPS ratio, spread-skill ratio and one member's RMSE ratio."""
    by = {(row["variable"], row["method"]): row for row in rows}
    return [
        (
            name,
            by[name, f"ensemble of {members}"]["crps_ratio"],
            by[name, f"ensemble of {members}"]["ssr"],
            by[name, "one member"]["rmse_ratio"],
        )
        for name in dict.fromkeys(row["variable"] for row in rows)
    ]


def inflate(options: Namespace, folder: Path) -> None:
    """Print the scores at each inflation, and the one that calibrates the ensemble.

    It is the one, to a tenth, at which the geometric mean of the variables' spread-skill ratios
    is 1, by interpolation in the logarithm: a rule that was laid down before it was applied.
    """
    coarse, truth = cut(options.build, folder, VALIDATION, 10)
    space = task_of(coarse, options.prior)
    steps = range(min(options.months, len(space.steps)))
    members = min(options.members, MEMBERS)
    true, seen = (open_fields(p).compute() for p in (truth, coarse))
    found, means = list[tuple[object, ...]](), list[float]()
    for factor in INFLATIONS:
        wide = replace(space, sampler=replace(space.sampler, inflation=factor))
        drawn = [members_of(wide, step, members) for step in steps]
        scored = lines(evaluate(labelled(space, steps, drawn), true, seen).rows, members)
        means.append(math.prod(float(str(line[2])) for line in scored) ** (1 / len(scored)))
        found += [(factor, *line) for line in scored]
    print(common.table(("inflation", *HEAD[4:]), found))
    best = round(calibrated(INFLATIONS, means), 1)
    print(f"\nGeometric mean of the spread-skill ratios is 1 at an inflation of {best}.")
    common.close(
        "inflation", {"means": dict(zip(INFLATIONS, means, strict=True)), "best": best}, {}
    )


def members_of(space: FieldSpace, step: int, members: int) -> Array:
    """Return members (M, C, H, W) of a step, as every user gets them."""
    drawn = draw_ensemble(space, step, space.sampler, range(members), 0)
    return np.stack([*drawn]).astype(np.float32)


def calibrated(factors: Sequence[float], ratios: Sequence[float]) -> float:
    """Return the factor at which rising ratios reach 1, the nearest end where they do not.

    Example:
        >>> calibrated([1.0, 2.0], [0.5, 2.0])
        1.5
    """
    return float(np.interp(0.0, np.log(ratios), factors))
