"""Korean stations and a coarse field: what does the analysis know where no station was used?

The normals (2000-2023) of 45 stations are withheld in ten folds, whole stations at a time; the
bundled prior has never seen East Asia. In one table, at the withheld stations:

- lerp of the coarse field, and lerp brought to the station's height at 6.5 K/km;
- the nearest of the stations that were used, at its height;
- the downscaled prior, without any station;
- optimal interpolation of the used stations' innovations from the prior's mean, with a Gaussian
  covariance whose length and variance are chosen on the used stations by leaving each out;
- the analysis: the prior's ensemble, pulled by the used stations, with the coarse field taken at
  its word;
- the same with an error of the coarse field (``--coarse-error``), whose spread and length are
  chosen like those of the optimal interpolation, on the used stations alone. Errors of the
  observations and of the coarse field are then scaled alike, so that the squared left-out
  innovations of the used stations are as large as they should be;
- the same with ``--coarse-error auto``: dpdm's own estimate of that error and of the stations',
  from the used stations.

Errors of observations are dpdm's defaults (representativeness included); the spread-skill ratio
counts them.
"""

import argparse
import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray

from benchmarks import common
from benchmarks.stations.references import distances, left_out, nearest
from dpdm.assimilate import read_all_observations
from dpdm.assimilate.analysis import Analysis, screen
from dpdm.assimilate.background import BackgroundError
from dpdm.assimilate.background_error import build_background_error, set_station_errors
from dpdm.assimilate.departures import compare_departures
from dpdm.fields.regrid import interpolate_bilinear
from dpdm.observations.stations import station_names
from dpdm.observations.status import ObsStatus, has_status
from dpdm.prior import find_prior, load_prior
from dpdm.prior.normaliser import to_tensor
from dpdm.states.field_domain import fit_field_space
from dpdm.states.fields import FieldSpace
from dpdm.states.options import (
    ESTIMATED,
    PARAMETER_GUIDANCES,
    AssimilationFiles,
    AssimilationOptions,
    EnsembleOptions,
)
from dpdm.states.sampling import draw_ensemble, guide_sampler

Array = NDArray[np.float64]
STATIONS = common.SAMPLES / "korea_stations.csv"
KOREA = {"lat": slice(29, 43), "lon": slice(121, 134)}
FOLDS = 10
LENGTHS = (30.0, 60.0, 100.0, 150.0, 250.0, 400.0)  # km
SHARES = (0.1, 0.25, 0.5, 1.0, 2.0)  # of the innovations' mean square
STATED, ESTIMATE = "analysis, coarse error", "analysis, auto"
ANALYSES = ("analysis", STATED, ESTIMATE)
HEAD = ("variable", "method", "RMSE", "/lerp", "bias", "CRPS", "SSR", "chi-square of the used")


def main() -> None:
    """Print the table and the targets."""
    parser = common.parser(__doc__)
    parser.add_argument("--members", type=int, default=20)
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--folds", type=int, default=FOLDS, help="do only so many of the ten")
    guidances = set(itertools.chain.from_iterable(PARAMETER_GUIDANCES.values()))
    parser.add_argument("--guidance", default="law", choices=sorted(guidances))
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--iterations", type=int, help="of mmps")
    parser.add_argument("--gamma", type=float, help="of sda")
    parser.add_argument("--corrections", type=int, default=0)
    parser.add_argument("--odd", action="store_true", help="odd stations only: to choose settings")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        space, table = prepared(Path(folder), options)
        found = methods(space, table, options)
    rows, figures = list[tuple[object, ...]](), dict[str, Any]()
    for name in dict.fromkeys(table["variable"]):
        lines = scored(table, found, name)
        rows += lines
        figures |= {f"{name}, {line[1]}": line[2:] for line in lines}
    print(common.table(HEAD, rows))
    common.close("stations", figures, targets(rows))


def prepared(folder: Path, options: argparse.Namespace) -> tuple[FieldSpace, pd.DataFrame]:
    """Return the space around Korea, and the observations that it can use."""
    coarse = folder / "coarse.nc"
    with xr.open_dataset(common.COARSE) as whole:
        whole.sel(KOREA).isel(time=slice(options.months)).to_netcdf(coarse)
    asked = EnsembleOptions(members=options.members, steps=options.steps)
    space = fit_field_space(coarse, load_prior(find_prior(options.prior)), asked, None, None)
    said = AssimilationOptions(
        guidance=options.guidance, iterations=options.iterations, gamma=options.gamma,
        corrections=options.corrections, reject=0,
    )  # fmt: skip
    space = replace(space, sampler=guide_sampler(space.sampler, space.prior, said))
    table = screen(
        read_all_observations(AssimilationFiles([STATIONS], coarse, None, None, coarse), said),
        space,
        said,
    )
    table = table[has_status(table, ObsStatus.ASSIMILATED)].reset_index(drop=True)
    if options.odd:
        table = table[numbers(table) % 2 == 1].reset_index(drop=True)
    return space, table


def numbers(table: pd.DataFrame) -> NDArray[np.int64]:
    """Return the number of each row's station, drawn in an order that no region decides."""
    names = station_names(table)
    known = np.unique(names)
    order = np.random.default_rng(0).permutation(len(known))
    return order[np.searchsorted(known, names)]


def methods(
    space: FieldSpace, table: pd.DataFrame, options: argparse.Namespace
) -> dict[str, Array]:
    """Return each method's values at every observation (N, M), that one's station withheld."""
    prior = free(space, table)
    made = {"lerp": smooth(space, table, 0.0), "lerp + lapse rate": smooth(space, table, 1.0)}
    made |= {"prior": prior}
    for name in ("nearest", "optimal interpolation", *ANALYSES, *map(used, ANALYSES)):
        width = options.members if "analysis" in name else 1
        made[name] = np.full((len(table), width), np.nan)
    folds = numbers(table) % FOLDS
    for fold in range(options.folds):
        out = folds == fold
        made["nearest"][out] = nearest(table, out)
        made["optimal interpolation"][out] = interpolated(table, prior.mean(1), out)
        for name in ANALYSES:
            held, law = with_error(name, space, table, prior, out)
            analysis = Analysis(space, held, 0.0, law)
            for step in space.steps:
                for _ in analysis.members(step, range(analysis.space.options.members)):
                    pass
            made[name][out] = analysis.analysis[out]
            table.loc[out, stated(name)] = held["error"][out]
            if not fold:
                made[used(name)][~out] = analysis.analysis[~out]
                table.loc[:, stated(used(name))] = held["error"]
    return made


def used(name: str) -> str:
    """Return what the values at the stations that an analysis used are called."""
    return f"{name}, used"


def stated(name: str) -> str:
    """Return the column of the errors that an analysis was told."""
    return f"error of {name}"


def with_error(
    name: str, space: FieldSpace, table: pd.DataFrame, prior: Array, out: NDArray[np.bool_]
) -> tuple[pd.DataFrame, BackgroundError | None]:
    """Return the table with its errors, and the error of the coarse field, of an analysis."""
    held = table.assign(status=np.where(out, ObsStatus.WITHHELD, ObsStatus.ASSIMILATED))
    if name == STATED:
        return state_error(space, held, prior, out)
    if name != ESTIMATE:
        return held, None
    options = AssimilationOptions(coarse_error={"": ESTIMATED})
    law = build_background_error(space, held, options)
    set_station_errors(held, space, law)
    return held, law


def state_error(
    space: FieldSpace, table: pd.DataFrame, prior: Array, out: NDArray[np.bool_]
) -> tuple[pd.DataFrame, BackgroundError | None]:
    """Return the table with the errors, and the coarse field's error, that the used imply."""
    error = np.hypot(table["error"].to_numpy(), prior.std(1, ddof=1))
    scores = {length: tuned(table, prior.mean(1), error, out, (length,)) for length in LENGTHS}
    length = min(scores, key=lambda d: sum(best.score for best in scores[d].values()))
    best = scores[length]
    std = {name: math.sqrt(b.variance * b.scale) for name, b in best.items()}
    scale = table["variable"].map({name: math.sqrt(b.scale) for name, b in best.items()})
    options = AssimilationOptions(coarse_error=std, coarse_length=length)
    law = build_background_error(space, table, options)
    return table.assign(error=table["error"] * scale), law


class Best(NamedTuple):
    """The best covariance of a variable's innovations.

    Attributes:
        score: Mean square of the left-out errors, over that of the innovations.
        length: Of the correlation, km.
        variance: Of the background.
        scale: Square of the left-out errors over what the covariance says of it.
    """

    score: float
    length: float
    variance: float
    scale: float


def tuned(
    table: pd.DataFrame, background: Array, error: Array, out: NDArray[np.bool_],
    lengths: Sequence[float],
) -> dict[str, Best]:  # fmt: skip
    """Return each variable's best covariance, by leaving out each used station."""
    found = {}
    innovation = table["value"].to_numpy() - background
    for name, whole in table[~out].groupby("variable"):
        groups = [rows.index.to_numpy() for _, rows in whole.groupby("step")]
        near = [distances(table.loc[g]) for g in groups]
        size = max(float(np.mean(innovation[whole.index] ** 2)), 1e-6)
        tried = []
        for length, share in itertools.product(lengths, SHARES):
            pairs = [
                left_out(innovation[g], error[g], d, length, share * size)
                for g, d in zip(groups, near, strict=True)
            ]
            left, said = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
            score = float(np.mean(left**2)) / size
            tried.append(Best(score, length, share * size, float(np.mean(left**2 / said))))
        found[str(name)] = min(tried)
    return found


def free(space: FieldSpace, table: pd.DataFrame) -> Array:
    """Return the members of the prior without observations, at the stations' height."""
    out = np.full((len(table), space.options.members), np.nan)
    for step in space.steps:
        here = np.flatnonzero(space.rows(table, step))
        operator = space.operator(table.iloc[here])
        numbers = range(space.options.members)
        drawn = draw_ensemble(space, step, space.sampler, numbers, space.options.seed)
        for number, member in enumerate(drawn):
            out[here, number] = operator(torch.from_numpy(member)[None])[0].numpy()
    return out


def smooth(space: FieldSpace, table: pd.DataFrame, climb: float) -> Array:
    """Return the lerp of the coarse field, brought to the stations' height or not."""
    out = np.full((len(table), 1), np.nan)
    names = space.prior.normaliser.names
    for step in space.steps:
        here = np.flatnonzero(table["step"] == step)
        rows = table.iloc[here] if climb else table.iloc[here].assign(elevation=np.nan)
        fields = to_tensor(
            interpolate_bilinear(space.coarse_step(step), space.grid), names, space.grid.shape
        )
        operator = replace(space, statics=space.smooth).operator(rows)
        out[here] = operator(torch.as_tensor(fields)[None]).T.numpy()
    return out


def interpolated(table: pd.DataFrame, background: Array, out: NDArray[np.bool_]) -> Array:
    """Return the optimal interpolation of innovations, tuned on the used stations alone."""
    found = background.copy()
    innovation, error = table["value"].to_numpy() - background, table["error"].to_numpy()
    best = tuned(table, background, error, out, LENGTHS)
    for (name, _), rows in table.groupby(["variable", "step"]):
        g, seen = rows.index.to_numpy(), ~out[rows.index]
        law = best[str(name)]
        cover = law.variance * np.exp(-((distances(rows) / law.length) ** 2) / 2)
        whole = cover[np.ix_(seen, seen)] + np.diag(error[g][seen] ** 2)
        found[g] = background[g] + cover[:, seen] @ np.linalg.solve(whole, innovation[g][seen])
    return found[out][:, None]


def scored(table: pd.DataFrame, found: dict[str, Array], name: str) -> list[tuple[object, ...]]:
    """Return a line for each method."""
    fit = {m: compare_at(table, found[used(m)], name, used(m))["chi_square"] for m in ANALYSES}
    rows = {m: compare_at(table, v, name, m) for m, v in found.items() if not m.endswith("used")}
    return [
        (name, m, r["rmse"], r["rmse"] / rows["lerp"]["rmse"], r["bias"], r["crps"], r["ssr"],
         fit.get(m, float("nan")))
        for m, r in rows.items()
    ]  # fmt: skip


def compare_at(table: pd.DataFrame, values: Array, name: str, method: str) -> dict[str, Any]:
    """Return scores at the observations of a variable that a method has."""
    chosen = (table["variable"] == name).to_numpy() & np.isfinite(values).all(1)
    own = table.assign(error=table.get(stated(method), table["error"]))[chosen]
    return compare_departures(own, values[chosen], values[chosen])


def targets(rows: list[tuple[object, ...]]) -> dict[str, common.Target]:
    """Return the analysis' RMSE over each rival's, and its spread-skill ratio."""
    by = {(row[0], row[1]): row for row in rows}
    wanted = {}
    for name in dict.fromkeys(row[0] for row in rows):
        mine = by[name, ESTIMATE]
        for rival in ("prior", "lerp", "optimal interpolation"):
            ratio = float(mine[2]) / float(by[name, rival][2])
            wanted[f"{name}: RMSE over that of {rival}"] = common.target(ratio, most=1.0)
        wanted[f"{name}: spread-skill ratio"] = common.target(float(mine[6]), 0.8, 1.2)
    return wanted


if __name__ == "__main__":
    main()
