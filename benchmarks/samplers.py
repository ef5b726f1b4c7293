"""Compare samplers and step counts on the validation box: ``skill.py --samplers``."""

import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import common
from draws import Array, draw, evaluations, labelled, schedule, task_of
from region import VALIDATION, cut

from dpdm.draw import Posterior
from dpdm.evaluate import evaluate
from dpdm.fields.store import open_fields

Way = tuple[str, int]
WAYS: tuple[Way, ...] = (
    ("heun", 4), ("heun", 6), ("heun", 8), ("heun", 14),
    ("multistep", 6), ("multistep", 8), ("multistep", 10), ("multistep", 14), ("multistep", 20),
    ("ddim", 10), ("ddim", 25), ("ddim", 50),
)  # fmt: skip
MEMBERS = 11  # the fair CRPS does not depend on it
HEAD = ("sampler", "steps", "evaluations", "seconds", "variable", "CRPS/lerp", "SSR", "one member")


def compare(options: Namespace, folder: Path) -> None:
    """Print each way's scores, with the evaluations and the seconds of a member-month."""
    coarse, truth = cut(options.build, folder, VALIDATION, 10)
    task = task_of(coarse, options.prior)
    steps = range(min(options.months, task.steps))
    members = min(options.members, MEMBERS)
    drawn: dict[Way, list[Array]] = {way: [] for way in WAYS}
    took = dict.fromkeys(WAYS, 0.0)
    for step in steps:
        posterior = Posterior(task.prior, task.given(step), task.how)
        for way in WAYS:
            began = time.perf_counter()
            drawn[way].append(draw(task, step, posterior.denoise(None), range(members), *way))
            took[way] += time.perf_counter() - began
    true, seen = (open_fields(p).compute() for p in (truth, coarse))
    found = []
    for way in WAYS:
        scores = evaluate(labelled(task, steps, drawn.pop(way)), true, seen)
        cost = (evaluations(way[0], schedule(task, *way)), took[way] / len(steps) / members)
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
