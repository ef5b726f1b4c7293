"""Korean stations and a coarse field: what does the analysis know where no station was used?

The normals (2000-2023) of 45 stations are withheld in ten folds, whole stations at a time; the
bundled prior has never seen East Asia. In one table, at the withheld stations:

- lerp of the coarse field, and lerp brought to the station's height at 6.5 K/km;
- the nearest of the stations that were used, at its height;
- the downscaled prior, without any station;
- optimal interpolation of the used stations' innovations from the prior's mean, with a Gaussian
  covariance whose length and variance are chosen on the used stations by leaving each out;
- the analysis: the prior's ensemble, pulled by the used stations.

Errors of observations are dpdm's defaults (representativeness included); the spread-skill ratio
counts them.
"""

import argparse
import itertools
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import common
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from dpdm.assimilate import Files, Seeing, believed, guided
from dpdm.draw import Posterior
from dpdm.evaluate.innovations import USED, WITHHELD, compare
from dpdm.fields.grid import lerp
from dpdm.fields.stations import station_names
from dpdm.fields.tensors import to_tensor
from dpdm.prior import find, load
from dpdm.seeing import Sights
from dpdm.task import Task, Wish, label_of, plan

Array = NDArray[np.float64]
STATIONS = common.SAMPLES / "korea_stations.csv"
KOREA = {"lat": slice(29, 43), "lon": slice(121, 134)}
FOLDS = 10
LENGTHS = (30.0, 60.0, 100.0, 150.0, 250.0, 400.0)  # km
HEAD = ("variable", "method", "RMSE", "/lerp", "bias", "CRPS", "SSR", "chi-square of the used")


def main() -> None:
    """Print the table and the targets."""
    parser = common.parser(__doc__)
    parser.add_argument("--members", type=int, default=20)
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--folds", type=int, default=FOLDS, help="do only so many of the ten")
    parser.add_argument("--guidance", default="mmps")
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--gamma", type=float, default=0.01)
    parser.add_argument("--corrections", type=int, default=0)
    parser.add_argument("--odd", action="store_true", help="odd stations only: to choose settings")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        task, table = prepared(Path(folder), options)
        found = methods(task, table, options)
    rows, figures = list[tuple[object, ...]](), dict[str, Any]()
    for name in dict.fromkeys(table["variable"]):
        lines = scored(table, found, name)
        rows += lines
        figures |= {f"{name}, {line[1]}": line[2:] for line in lines}
    print(common.table(HEAD, rows))
    common.close("stations", figures, targets(rows))


def prepared(folder: Path, options: argparse.Namespace) -> tuple[Task, pd.DataFrame]:
    """Return the task around Korea, and the observations that it can use."""
    coarse = folder / "coarse.nc"
    with xr.open_dataset(common.COARSE) as whole:
        whole.sel(KOREA).isel(time=slice(options.months)).to_netcdf(coarse)
    wish = Wish(members=options.members, steps=options.steps)
    task = plan(coarse, load(find(options.prior)), wish, None, None)
    seeing = Seeing(
        guidance=options.guidance, iterations=options.iterations, gamma=options.gamma,
        corrections=options.corrections, reject=0,
    )  # fmt: skip
    task = replace(task, how=guided(task.how, seeing))
    table = believed(Files([STATIONS], coarse, None, None, coarse), task, seeing)
    table = table[table["status"] == USED].reset_index(drop=True)
    if options.odd:
        table = table[numbers(table) % 2 == 1].reset_index(drop=True)
    return task, table


def numbers(table: pd.DataFrame) -> NDArray[np.int64]:
    """Return the number of each row's station, drawn in an order that no region decides."""
    names = station_names(table)
    known = np.unique(names)
    order = np.random.default_rng(0).permutation(len(known))
    return order[np.searchsorted(known, names)]


def methods(task: Task, table: pd.DataFrame, options: argparse.Namespace) -> dict[str, Array]:
    """Return each method's values at every observation (N, M), that one's station withheld."""
    prior = free(task, table)
    made = {"lerp": smooth(task, table, 0.0), "lerp + lapse rate": smooth(task, table, 1.0)}
    made |= {"prior": prior}
    for name in ("nearest", "optimal interpolation", "analysis", "analysis, used"):
        width = options.members if name.startswith("analysis") else 1
        made[name] = np.full((len(table), width), np.nan)
    folds = numbers(table) % FOLDS
    for fold in range(options.folds):
        out = folds == fold
        made["nearest"][out] = nearest(table, out)
        made["optimal interpolation"][out] = interpolated(table, prior.mean(1), out)
        sights = Sights(task, table.assign(status=np.where(out, WITHHELD, USED)), 0.0)
        for step in range(task.steps):
            for _ in sights.analyse(step):
                pass
        made["analysis"][out] = sights.analysis[out]
        if not fold:
            made["analysis, used"][~out] = sights.analysis[~out]
    return made


def free(task: Task, table: pd.DataFrame) -> Array:
    """Return the members of the prior without observations, at the stations' height."""
    sights = Sights(task, table, 0.0)
    for step in range(task.steps):
        here = sights.at(step)
        members = Posterior(task.prior, task.given(step), task.how).members(
            range(task.wish.members), task.wish.seed, label_of(task.coarse, step)
        )
        for _ in sights.noted(members, sights.operator(here), here):
            pass
    return sights.analysis


def smooth(task: Task, table: pd.DataFrame, climb: float) -> Array:
    """Return the lerp of the coarse field, brought to the stations' height or not."""
    import torch

    from dpdm.seeing import operator_of

    out = np.full((len(table), 1), np.nan)
    names = task.prior.normaliser.names
    for step in range(task.steps):
        here = np.flatnonzero(table["step"] == step)
        rows = table.iloc[here] if climb else table.iloc[here].assign(elevation=np.nan)
        fields = to_tensor(lerp(task.at(step), task.grid), names, task.grid.shape)
        operator = operator_of(rows, names, task.grid, task.smooth[0])
        out[here] = operator(torch.as_tensor(fields)[None]).T.numpy()
    return out


def distances(table: pd.DataFrame) -> Array:
    """Return distances between all observations, km."""
    lat, lon = (np.radians(table[n].to_numpy(float)) for n in ("lat", "lon"))
    cosine = np.cos(lat[:, None]) * np.cos(lat) * np.cos(lon[:, None] - lon)
    return 6371.0 * np.arccos((cosine + np.sin(lat[:, None]) * np.sin(lat)).clip(-1, 1))


def nearest(table: pd.DataFrame, out: NDArray[np.bool_]) -> Array:
    """Return what the nearest used station says, a temperature brought to the height."""
    found = np.full((out.sum(), 1), np.nan)
    for _, rows in table.groupby(["variable", "step"]):
        target, source = (np.array([i for i in rows.index if out[i] == o]) for o in (True, False))
        if target.size:
            best = distances(table.loc[[*target, *source]])[: len(target), len(target) :].argmin(1)
            value, height = (table[n].to_numpy(float) for n in ("value", "elevation"))
            rate = -6.5e-3 if rows["variable"].iloc[0] == "t2m" else 0.0
            said = value[source[best]] + rate * (height[target] - height[source[best]])
            found[np.searchsorted(np.flatnonzero(out), target), 0] = said
    return found


def interpolated(table: pd.DataFrame, background: Array, out: NDArray[np.bool_]) -> Array:
    """Return the optimal interpolation of innovations, tuned on the used stations alone."""
    found = background.copy()
    innovation, error = table["value"].to_numpy() - background, table["error"].to_numpy()
    for _, whole in table.groupby("variable"):
        groups = [rows.index.to_numpy() for _, rows in whole.groupby("step")]
        near = {id(g): distances(table.loc[g]) for g in groups}
        scale = max(np.var(innovation[whole.index[~out[whole.index]]]), 1e-6)
        tried = [
            (sum(left_out(innovation[g][~out[g]], error[g][~out[g]],
                          near[id(g)][np.ix_(~out[g], ~out[g])], length, share * scale)
                 for g in groups), length, share)
            for length, share in itertools.product(LENGTHS, (0.25, 0.5, 1.0, 2.0))
        ]  # fmt: skip
        _, length, share = min(tried)
        for g in groups:
            cover = share * scale * np.exp(-((near[id(g)] / length) ** 2) / 2)
            used = ~out[g]
            gain = np.linalg.solve(
                cover[np.ix_(used, used)] + np.diag(error[g][used] ** 2), innovation[g][used]
            )
            found[g] = background[g] + cover[:, used] @ gain
    return found[out][:, None]


def left_out(innovation: Array, error: Array, near: Array, length: float, scale: float) -> float:
    """Return the squared error of each innovation from the others, by the closed form."""
    cover = scale * np.exp(-((near / length) ** 2) / 2) + np.diag(error**2)
    inverse = np.linalg.inv(cover)
    return float(np.sum((inverse @ innovation / np.diag(inverse)) ** 2))


def scored(table: pd.DataFrame, found: dict[str, Array], name: str) -> list[tuple[object, ...]]:
    """Return a line for each method."""
    used = compare_at(table, found["analysis, used"], name)["chi_square"]
    rows = {m: compare_at(table, v, name) for m, v in found.items() if m != "analysis, used"}
    return [
        (name, m, r["rmse"], r["rmse"] / rows["lerp"]["rmse"], r["bias"], r["crps"], r["ssr"],
         used if m == "analysis" else float("nan"))
        for m, r in rows.items()
    ]  # fmt: skip


def compare_at(table: pd.DataFrame, values: Array, name: str) -> dict[str, Any]:
    """Return scores at the observations of a variable that a method has."""
    chosen = (table["variable"] == name).to_numpy() & np.isfinite(values).all(1)
    return compare(table[chosen], values[chosen], values[chosen])


def targets(rows: list[tuple[object, ...]]) -> dict[str, common.Target]:
    """Return the analysis' RMSE over each rival's, and its spread-skill ratio."""
    by = {(row[0], row[1]): row for row in rows}
    wanted = {}
    for name in dict.fromkeys(row[0] for row in rows):
        mine = by[name, "analysis"]
        for rival in ("prior", "lerp", "optimal interpolation"):
            ratio = float(mine[2]) / float(by[name, rival][2])
            wanted[f"{name}: RMSE over that of {rival}"] = common.target(ratio, most=1.0)
        wanted[f"{name}: spread-skill ratio"] = common.target(float(mine[6]), 0.8, 1.2)
    return wanted


if __name__ == "__main__":
    main()
