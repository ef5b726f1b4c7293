"""The table of ``profiles``, and how its analyses are to stand to their rivals."""

from argparse import Namespace

import numpy as np
import pandas as pd

from benchmarks import common
from benchmarks.profiles.scores import HEAD


def report(rows: list[list[float | str]], options: Namespace, minutes: float) -> None:
    """Print the means over windows, and the targets."""
    frame = pd.DataFrame(rows, columns=["window", "case", "seen", "who", *HEAD, "s/member"])
    mean = frame.groupby(["case", "seen", "who"], sort=False)[[*HEAD, "s/member"]].mean()
    pairs = list(zip(mean.index, mean.to_numpy().tolist(), strict=True))
    print(common.table(("case", "seen", "who", *mean), [(*i, *line) for i, line in pairs]))
    figures = {"/".join(i): dict(zip(mean, line, strict=True)) for i, line in pairs}
    settings = {k: str(v) for k, v in vars(options).items()}
    common.close("profiles", {"minutes": minutes, "settings": settings} | figures, targets(mean))


def targets(mean: pd.DataFrame) -> dict[str, common.Target]:
    """Return how the analyses are to stand to their rivals, and more observations to fewer."""
    wanted = {}
    for (case, seen), rows in mean.groupby(level=[0, 1], sort=False):
        crps = rows.droplevel([0, 1])["CRPS"]
        best = min(crps.get(who, np.inf) for who in ("states", "codes"))
        others = [float(crps[w]) for w in ("background", "optimal", "kalman") if w in crps]
        if others and np.isfinite(best):
            what = f"{case}, {seen}: CRPS over the best rival's"
            wanted[what] = common.target(float(best / min(others)), most=1.0)
    return wanted | gains(mean)


def gains(mean: pd.DataFrame) -> dict[str, common.Target]:
    """Return what each kind of observation adds, and whether the spread is that of the errors."""
    wanted = {}
    for (case, who), rows in mean.groupby(level=[0, 2], sort=False):
        crps = rows.droplevel([0, 2])["CRPS"]
        if who in ("states", "codes"):
            for fewer, more in (("none", "stations"), ("stations", "all")):
                if {fewer, more} <= set(crps.index):
                    ratio = float(crps[more] / crps[fewer])
                    wanted[f"{case}, {who}: CRPS of {more} over {fewer}"] = common.target(
                        ratio, most=1
                    )
            wanted[f"{case}, {who}: least SSR"] = common.target(
                float(rows["SSR least"].min()), least=0.8
            )
            wanted[f"{case}, {who}: most SSR"] = common.target(
                float(rows["SSR most"].max()), most=1.2
            )
    return wanted
