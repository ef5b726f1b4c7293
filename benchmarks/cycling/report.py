"""Errors of cycled analyses over runs, their intervals, the table and the targets."""

import math

import numpy as np
import torch
from torch import Tensor

from benchmarks import common
from benchmarks.cycling.references import World

SPIN_UP = 25  # cycles that are not judged: a window of the prior is 21 long
STATIC, ALONE, MIXED, PATH, CARRIED, SMALL, LARGE, DRAWN, ONCE = (
    "OI, static, of its own errors",
    "OI, members around the forecast",
    "OI, the same and the static",
    "OI, members around the path",
    "OI, members carried by the model",
    "ETKF, 3 members",
    "ETKF, 12 members",
    "posterior of windows: 8 members",
    "posterior of windows: one evaluation",
)


def errors(found: Tensor, here: World) -> Tensor:
    """Return the mean square error of each run (B,)."""
    return (found - here.truth)[:, SPIN_UP:].square().mean((1, 2))


def score(found: Tensor, here: World) -> float:
    """Return the RMSE over runs; infinite where one diverged."""
    return float(errors(found, here).mean().sqrt().nan_to_num(math.inf))


def resampled(count: int) -> Tensor:
    """Return runs drawn with replacement, 2000 times (2000, count)."""
    return torch.from_numpy(np.random.default_rng(0).integers(0, count, (2000, count)))


def interval(squares: Tensor) -> tuple[float, float, float]:
    """Return the RMSE and its 95% interval, by resampling runs."""
    roots = squares[resampled(len(squares))].mean(1).sqrt()
    ends = np.quantile(roots.numpy(), (0.025, 0.975))
    return float(squares.mean().sqrt()), float(ends[0]), float(ends[1])


def ratio(one: Tensor, other: Tensor) -> tuple[float, float, float]:
    """Return the ratio of two RMSEs over the same runs, and its 95% interval."""
    rows = resampled(len(one))
    ends = np.quantile((one[rows].mean(1) / other[rows].mean(1)).sqrt().numpy(), (0.025, 0.975))
    return float((one.mean() / other.mean()).sqrt()), float(ends[0]), float(ends[1])


def shown(seeds: list[dict[str, Tensor]]) -> None:
    """Print the table, the targets and the last line, from the mean square errors of runs."""
    joint = {who: torch.cat([s[who] for s in seeds]) for who in seeds[0]}
    each = {w: " ".join(f"{float(s[w].mean().sqrt()):.2f}" for s in seeds) for w in joint}
    rows = [
        (w, *interval(squares), *ratio(squares, joint[STATIC]), each[w])
        for w, squares in joint.items()
    ]
    head = ("analysis", "RMSE", "from", "to", "over static", "least", "most", "by seed")
    print(common.table(head, rows))
    common.close("cycling", {"rows": [dict(zip(head, r, strict=True)) for r in rows]}, aims(joint))


def aims(joint: dict[str, Tensor]) -> dict[str, common.Target]:
    """Return what is wanted of the analyses."""
    wanted = {}
    for who in (ALONE, MIXED, PATH, CARRIED):
        value, _, most = ratio(joint[who], joint[STATIC])
        wanted[f"{who}, over static"] = common.target(value, most=0.95)
        wanted[f"{who}, over static, 97.5%"] = common.target(most, most=1.0)
    for who in (DRAWN, ONCE):
        wanted[f"{who}, over ETKF of 12"] = common.target(
            ratio(joint[who], joint[LARGE])[0], most=1.1
        )
    return wanted
