"""Next month's wind anomalies: regression on a denoiser's features against that on the raw winds.

Monthly winds at 10 m of 1982-92 (``make.py``) with the prior that ``time_split`` trained on
1982-89 (``--prior``). What is forecast is the anomaly of u and v a month later in every other
cell, by ridge regressions whose weights are the same everywhere: on the anomalies in the cell, on
those in the 3 by 3 and in the 7 by 7 cells around it, on the features of the cell that `dpdm
embed` writes, and on both. Fitted on 1982-87; penalties, and who stands for raw winds and for
features, are those that do best on 1988-89; judged on 1990-92. Anomalies are to the months' means
of 1982-89.
"""

from argparse import Namespace
from pathlib import Path

import numpy as np
import xarray as xr

from benchmarks import common

PENALTIES = tuple(10.0**n for n in range(-5, 3))
FIT, CHOOSE, TEST = slice("1982", "1987"), slice("1988", "1989"), slice("1990", "1992")
HEAD = ("regression on", "predictors", "1988-89", "1990-92", "u10", "v10")
Array = np.ndarray


def main() -> None:
    """Print the table and the targets."""
    parser = common.parser(__doc__)
    parser.set_defaults(prior="build/time_split.safetensors")
    parser.add_argument("--layer", default="last")
    parser.add_argument("--sigmas", default=["0.4", "2"], nargs="+", help="noise levels to try")
    options = parser.parse_args()
    winds = common.needed(options.build / "navy_winds.nc")
    with xr.open_dataset(winds) as ds:
        time = ds["time"].load()
        raw = anomalies(np.stack([ds[n].values for n in ("u10", "v10")], 1), time)
    truth, near = raw[:, :, ::2, ::2], around(raw, 1)
    plain = {"the cell": truth, "3 x 3 cells": near, "7 x 7 cells": around(raw, 3)}
    told = {f"features at {s}": anomalies(deep(winds, options, s), time) for s in options.sigmas}
    both = {f"{who}, and 3 x 3 cells": np.hstack([x, near]) for who, x in told.items()}
    kinds = [
        [(who, x.shape[1], *judged(x, truth, time)) for who, x in some.items()]
        for some in (plain, told, both)
    ]
    rows = [row for kind in kinds for row in kind]
    print("RMSE over that of no anomaly\n" + common.table(HEAD, rows))
    base, alone, beside = (min(kind, key=lambda row: row[2])[3] for kind in kinds)
    wanted = {
        "features over raw winds": common.target(alone / base, most=1.0),
        "both over raw winds": common.target(beside / base, most=1.0),
    }
    common.close(
        "wind_features", {"rows": [dict(zip(HEAD, r, strict=True)) for r in rows]}, wanted
    )


def anomalies(values: Array, time: xr.DataArray) -> Array:
    """Return what fields (T, C, H, W) depart from the means of the months of 1982-89."""
    month = time.dt.month.values
    before = time.dt.year.values < 1990
    out = np.empty(values.shape, np.float32)
    for m in range(1, 13):
        out[month == m] = values[month == m] - values[(month == m) & before].mean(0)
    return out


def deep(winds: Path, options: Namespace, sigma: str) -> Array:
    """Return the features of every other cell (T, F, h, w)."""
    out = options.build / "wind_features.nc"
    common.dpdm(
        "embed", winds, out, "--prior", options.prior, "--layer", options.layer, "--sigma", sigma,
        "--blind", "--overwrite",
    )  # fmt: skip
    with xr.open_dataset(out) as ds:
        return ds["features"].values[:, :, ::2, ::2]


def around(raw: Array, reach: int) -> Array:
    """Return the values of the cells around every other cell (T, C n n, h, w)."""
    tall = np.pad(raw, [(0, 0), (0, 0), (reach, reach), (0, 0)], mode="edge")
    steps = range(-reach, reach + 1)
    height = raw.shape[2]
    parts = [
        np.roll(tall[:, :, reach + i : reach + i + height], -j, axis=3)[:, :, ::2, ::2]
        for i in steps
        for j in steps
    ]
    return np.concatenate(parts, axis=1)


def judged(x: Array, y: Array, time: xr.DataArray) -> tuple[float, float, float, float]:
    """Return the RMSE a month ahead over that of no anomaly: held out, judged, of u and of v."""
    index = xr.DataArray(np.arange(time.size - 1), {"time": time[:-1]}, dims="time")
    fit, choose, test = (index.sel(time=part).values for part in (FIT, CHOOSE, TEST))
    size = x[fit].std((0, 2, 3), keepdims=True) + 1e-9

    def lines(steps: Array) -> tuple[Array, Array]:
        now, then = x[steps] / size, y[steps + 1]
        return tuple(a.swapaxes(0, 1).reshape(a.shape[1], -1).T.astype(float) for a in (now, then))

    phi, target = lines(fit)
    gram, moment = phi.T @ phi / len(phi), phi.T @ target / len(phi)
    weights = [np.linalg.solve(gram + p * np.eye(len(gram)), moment) for p in PENALTIES]
    held, seen = lines(choose), lines(test)
    best = min(weights, key=lambda weight: ratio(weight, *held))
    each = [ratio(best[:, [k]], seen[0], seen[1][:, [k]]) for k in range(2)]
    return ratio(best, *held), ratio(best, *seen), each[0], each[1]


def ratio(weight: Array, now: Array, then: Array) -> float:
    """Return the RMSE of a regression over that of no anomaly."""
    return float(np.sqrt(np.square(now @ weight - then).sum() / np.square(then).sum()))


if __name__ == "__main__":
    main()
