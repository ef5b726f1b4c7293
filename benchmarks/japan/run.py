"""Stations alone: the network of Japan, by decade from the 1890s.

In each decade some random months are analysed from the stations alone, with a fifth of them
withheld in blocks of 100 km; nothing is tuned on the months that are judged. The rivals see the
same stations, and are tuned on them by leaving each out:

- the climatology of the place, at the station's height;
- a kernel mean of the departures from it, of the best of several widths;
- regression on height and position, and kriging of the residual: of the values themselves, and
  of the departures from the climatology;
- optimal interpolation with the law that the analysis has estimated;
- the climatology plus kriged anomalies of stations' own normals (ten years or more).

Amounts are compared as log(1 + mm/day). A rival's distribution is Gaussian, with the standard
deviation of its errors where stations are left out; that of optimal interpolation is its own.

The files are the monthly values of the Japan Meteorological Agency as one table, and the list of
its stations; they are not part of dpdm.
"""

import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks import common
from benchmarks.japan.figure import draw_month, draw_series
from benchmarks.japan.rivals import RIVALS, Network, gaussian_crps, predict
from dpdm.assimilate import prepare_analysis
from dpdm.assimilate.analysis import Analysis
from dpdm.evaluate.scores import fair_crps
from dpdm.observations.status import ObsStatus, has_status
from dpdm.prior import find_prior, load_prior
from dpdm.states.fields import FieldSpace
from dpdm.states.options import AssimilationFiles, AssimilationOptions, EnsembleOptions, Request

Array = NDArray[np.float64]
BOX = (128.0, 146.0, 30.0, 46.0)
NAMES = {"t2m": "t2m [degC]", "tp": "tp [mm month-1]"}
HEAD = (
    "decade", "variable", "stations", "withheld", "climatology", "kernel", "regression",
    "departures", "same law", "normals", "dpdm", "/best", "CRPS/best", "SSR", "chi-square",
)  # fmt: skip


def main() -> None:
    """Print the table by decade, and draw the pictures."""
    parser = common.parser(__doc__)
    parser.add_argument("--monthly", type=Path, required=True, help="CSV of the monthly values")
    parser.add_argument("--stations", type=Path, required=True, help="CSV of the stations")
    parser.add_argument("--decades", default="1890,2010", help="first and last decade")
    parser.add_argument("--months", type=int, default=12, help="of each decade")
    parser.add_argument("--members", type=int, default=33)
    parser.add_argument("--guidance", default="")
    parser.add_argument("--seed", type=int, default=0, help="of months and of withheld blocks")
    parser.add_argument("--pictures", type=Path, help="folder for a month and a series")
    parser.add_argument(
        "--anomalies", action="store_true",
        help="judge anomalies of own normals at all others, from the stations of before 1900",
    )  # fmt: skip
    options = parser.parse_args()
    values = read_network(options.monthly, options.stations)
    if options.pictures:
        with tempfile.TemporaryDirectory() as folder:
            draw_month(month_analysis(values, options, Path(folder)), options.pictures)
            draw_series(series(values, options, Path(folder)), options.pictures)
        return
    if options.anomalies:
        judge_anomalies(values, options)
        return
    rows, figures = [], dict[str, Any]()
    first, last = map(int, options.decades.split(","))
    for decade in range(first, last + 1, 10):
        for row in judge_decade(values, decade, options):
            rows.append(row)
            figures[f"{row[0]} {row[1]}"] = dict(zip(HEAD[2:], row[2:], strict=True))
            print(*(common.written(entry) for entry in row), flush=True)
    print(common.table(HEAD, rows))
    common.close("japan", figures, targets(figures))


def read_network(monthly: Path, stations: Path) -> pd.DataFrame:
    """Return the monthly values with the positions of their stations."""
    places = pd.read_csv(stations).set_index("station")[["lat", "lon", "elev"]]
    table = pd.read_csv(monthly).join(places, on="station")
    return table.rename(columns={"elev": "elevation", **NAMES})


def judge_decade(
    values: pd.DataFrame, decade: int, options: Namespace
) -> Iterator[tuple[Any, ...]]:
    """Yield the row of each variable in a decade."""
    months = choose_months(values, decade, options)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stations.csv"
        write_stations(values[values["time"].isin(months)], path)
        analysis = analyse(path, options)
    for step in analysis.space.steps:
        for _ in analysis.members(step, range(options.members)):
            pass
    normals = own_normals(values, analysis)
    for name in NAMES:
        yield (f"{decade}s", name, *score(analysis, name, normals))


def choose_months(values: pd.DataFrame, decade: int, options: Namespace) -> list[str]:
    """Return random months of a decade that have stations."""
    known = np.unique(values["time"][values["time"].str[:3] == str(decade)[:3]])
    rng = np.random.default_rng([options.seed, decade])
    return sorted(rng.choice(known, min(options.months, len(known)), replace=False))


def write_stations(values: pd.DataFrame, path: Path) -> None:
    """Write values as a user's table of stations."""
    columns = ["station", "lat", "lon", "elevation", "time", *NAMES.values()]
    values.rename(columns={"elevation": "elevation [m]"}).to_csv(
        path, index=False, columns=[c.replace("elevation", "elevation [m]") for c in columns]
    )


def analyse(
    path: Path, options: Namespace, withhold: float = 0.2, verify: Path | None = None
) -> Analysis:
    """Return the analysis of a table of stations, as ``dpdm assimilate`` makes it."""
    prior, judged = find_prior(options.prior), [verify] if verify else []
    target = path.with_suffix(".nc")
    files = AssimilationFiles([path], None, None, None, target, verification=judged)
    ensemble = EnsembleOptions(members=options.members, seed=options.seed, bbox=BOX)
    observations = AssimilationOptions(
        withhold=withhold, withhold_blocks=100.0 * (withhold > 0), guidance=options.guidance
    )
    return prepare_analysis(load_prior(prior), Request(files, prior.stem, ensemble, observations))


def own_normals(
    values: pd.DataFrame, analysis: Analysis, base: tuple[str, str] = ("0", "9")
) -> pd.DataFrame:
    """Return each station's normal of each month (station, month), NaN below ten years.

    All are of 1981 to 2010 for anomalies, whose base must be the same; else of the whole record.
    """
    held = analysis.table.loc[has_status(analysis.table, ObsStatus.WITHHELD), "station"].unique()
    record = values[~values["station"].isin(held) & values["time"].between(*base)]
    amounts = record[NAMES["tp"]] / pd.to_datetime(record["time"]).dt.days_in_month
    record = record.assign(
        t2m=record[NAMES["t2m"]] + 273.15, tp=np.log1p(amounts), month=record["time"].str[5:7]
    )
    groups = record.groupby(["station", "month"])[["t2m", "tp"]]
    return groups.mean().where(groups.count() >= 10)


def score(analysis: Analysis, name: str, normals: pd.DataFrame) -> tuple[Any, ...]:
    """Return counts, RMSE of all methods, and the scores of the analysis over the best rival's."""
    errors: dict[str, list[Array]] = {}
    crps: dict[str, list[Array]] = {}
    spread, counts, chi = [], [], []
    for step in analysis.space.steps:
        network = Network.at(analysis, int(step or 0), name, normals)
        if not network.held.any():
            continue
        counts.append([(~network.held).sum(), network.held.sum()])
        truth, members = network.value[network.held], network.members[network.held]
        for rival in RIVALS:
            mean, std = predict(rival, network)
            errors.setdefault(rival, []).append(mean - truth)
            crps.setdefault(rival, []).append(gaussian_crps(mean - truth, std))
        noise = network.error[network.held]
        drawn = members + noise[:, None] * network.noise[network.held]
        errors.setdefault("dpdm", []).append(members.mean(1) - truth)
        crps.setdefault("dpdm", []).append(fair_crps(drawn - truth[:, None]))
        count = members.shape[1]
        spread.append(members.var(1, ddof=1) * (count + 1) / count + noise**2)
        fit = network.members[~network.held] - network.value[~network.held, None]
        chi.append(((fit / network.error[~network.held, None]) ** 2).mean(1))
    rmse = {key: float(np.sqrt(np.mean(np.concatenate(v) ** 2))) for key, v in errors.items()}
    mean_crps = {key: float(np.mean(np.concatenate(v))) for key, v in crps.items()}
    best, sharpest = (min(each[rival] for rival in RIVALS) for each in (rmse, mean_crps))
    ssr = float(np.sqrt(np.mean(np.concatenate(spread)))) / rmse["dpdm"]
    stations, held = np.mean(counts, axis=0)
    return (
        float(stations), float(held), *(rmse[key] for key in (*RIVALS, "dpdm")),
        rmse["dpdm"] / best, mean_crps["dpdm"] / sharpest, ssr,
        float(np.mean(np.concatenate(chi))),
    )  # fmt: skip


def month_analysis(values: pd.DataFrame, options: Namespace, folder: Path) -> Analysis:
    """Return the analysis of the cold July of 1993, whose members are kept."""
    write_stations(values[values["time"] == "1993-07"], folder / "july.csv")
    return analyse(folder / "july.csv", options, withhold=0.0)


def series(values: pd.DataFrame, options: Namespace, folder: Path) -> pd.DataFrame:
    """Return the area mean of temperature in each July from 1880: 5, 50 and 95%, and count."""
    julys = values[(values["time"].str[5:] == "07") & (values["time"] >= "1880")]
    write_stations(julys[julys[NAMES["t2m"]].notna()].assign(**{NAMES["tp"]: np.nan}),
                   folder / "julys.csv")  # fmt: skip
    analysis = analyse(folder / "julys.csv", options, withhold=0.0)
    space = analysis.space
    assert isinstance(space, FieldSpace)
    land = (space.statics[1][space.shown_part] > 0.5) * space.shown.weights
    rows = []
    for step in space.steps:
        members = analysis.members(step, range(options.members))
        means = [float((member[0] * land).sum() / land.sum()) for member in members]
        count = int(analysis.rows_in_use(step).size)
        rows.append((int(space.label(step)[:4]), *np.quantile(means, (0.05, 0.5, 0.95)), count))
    return pd.DataFrame(rows, columns=["year", "low", "middle", "high", "stations"])


def judge_anomalies(values: pd.DataFrame, options: Namespace) -> None:
    """Judge anomalies of stations' own normals, from the stations of before 1900 alone.

    A station's values are its anomalies added to the climatology of its place, so that no
    persistent difference of a station from its cell counts, for any method.
    """
    old = set(values.loc[values["time"] < "1900", "station"])
    rows = []
    for decade in range(1980, 2020, 10):
        months = choose_months(values, decade, options)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "stations.csv"
            write_stations(values[values["time"].isin(months)], path)
            normal = anomalies_of(analyse(path, options, 0.0), values)
            for name, table in (("used.csv", normal["station"].isin(old)),
                                ("judged.csv", ~normal["station"].isin(old))):  # fmt: skip
                normal[table].to_csv(Path(folder) / name, index=False)
            analysis = analyse(
                Path(folder) / "used.csv", options, 0.0, Path(folder) / "judged.csv"
            )
        for step in analysis.space.steps:
            for _ in analysis.members(step, range(options.members)):
                pass
        for name in ("t2m", "tp"):
            rows.append(
                (f"{decade}s", name, *score(analysis, name, own_normals(values, analysis)))
            )
    print(common.table(HEAD, rows))
    figures = {f"{row[0]} {row[1]}": dict(zip(HEAD[2:], row[2:], strict=True)) for row in rows}
    mean = {
        n: float(np.mean([r[HEAD.index("dpdm")] for r in rows if r[1] == n]))
        for n in ("t2m", "tp")
    }
    common.close(
        "japan", figures | mean,
        {"t2m (kernel .379)": common.target(mean["t2m"], most=0.379),
         "log1p tp (kernel .393)": common.target(mean["tp"], most=0.393)},
    )  # fmt: skip


def anomalies_of(analysis: Analysis, values: pd.DataFrame) -> pd.DataFrame:
    """Return all rows with their station's normal exchanged for the climatology of its place."""
    normals, parts = own_normals(values, analysis, ("1981", "2010-13")), []
    space = analysis.space
    assert isinstance(space, FieldSpace)
    for step in space.steps:
        for name in ("t2m", "tp"):
            network = Network.at(analysis, int(step or 0), name, normals)
            rows = network.rows.assign(
                value=network.value - network.normal + network.climate, time=space.label(step)[:7]
            )
            parts.append(rows[np.isfinite(rows["value"].to_numpy())])
    table = pd.concat(parts)
    amount = (table["variable"] == "tp").to_numpy()
    table["value"] = np.where(amount, np.expm1(table["value"].clip(lower=0)), table["value"])
    columns = ["station", "lat", "lon", "elevation", "time", "variable", "value", "units"]
    return table.rename(columns={"elevation": "elevation"})[columns]


def targets(figures: dict[str, Any]) -> dict[str, common.Target]:
    """Return the targets of all decades."""
    out = {}
    for key, row in figures.items():
        out[f"{key} RMSE / best"] = common.target(row["/best"], most=0.95)
        out[f"{key} CRPS / best"] = common.target(row["CRPS/best"], most=0.95)
        out[f"{key} SSR"] = common.target(row["SSR"], 0.9, 1.1)
        out[f"{key} chi-square"] = common.target(row["chi-square"], 0.8, 1.2)
    return out


if __name__ == "__main__":
    main()
