"""Downscale real months by four, with and without a climatology of the place.

The truth is any series of fine months, as ERA5 at 0.25 degree from the Climate Data Store; its
block means are the input. Three ensembles are drawn: with the bundled climatology, with that of
other years of the same files (``--fit``), and with none. The strongest ordinary rival is the delta
method with the same climatology, added, and for amounts also as a ratio of 1 + mm/day.

The bundled climatology is of 2000 to 2025, so it has seen the years that are judged: the delta
method and dpdm alike. The climatology of other years shows how much that is.

``--train 20`` trains a prior of the region on the years ``--fit`` first, and judges it too.
"""

import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from benchmarks import common
from benchmarks.months.figure import draw_month
from dpdm.evaluate import evaluate_files
from dpdm.evaluate.baselines import smooth_to_coarse
from dpdm.fields.grid import grid_of
from dpdm.fields.read import open_fields
from dpdm.fields.reference_climatology import open_climatology
from dpdm.fields.regrid import coarsen_fields, interpolate_bilinear

Figures = dict[str, float]
TARGETS = {
    "t2m": {"rmse": 0.19, "delta": 0.97, "crps": 0.15},
    "tp": {"rmse": 0.62, "delta": 0.90, "crps": 0.45},
}
TRAINED = {"t2m": 0.95, "tp": 0.88}


def main() -> None:
    """Judge the prior with each climatology."""
    parser = common.parser(__doc__)
    parser.add_argument(
        "--fine", type=Path, nargs="+", required=True, help="monthly series of t2m, tp or both"
    )
    parser.add_argument("--judge", default="2012,2014", help="first and last year that is judged")
    parser.add_argument("--fit", default="2005,2011", help="years of the other climatology")
    parser.add_argument("--members", type=int, default=33)
    parser.add_argument("--factor", type=int, default=4)
    parser.add_argument(
        "--picture", type=Path, help="a PNG of one month, with the bundled climate"
    )
    parser.add_argument("--month", default="2013-07", help="the month of the picture")
    parser.add_argument("--train", type=float, default=0.0, help="minutes of training; 0 for none")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        judge(options, Path(folder))


def judge(options: Namespace, folder: Path) -> None:
    """Run the whole benchmark in a scratch folder."""
    late, early, coarse = write_files(options, folder)
    found: dict[str, dict[str, Figures]] = {}
    for label, choice in (("bundled", "era5"), ("fit", str(early)), ("none", "none")):
        found[label] = score(options, folder, options.prior, choice, (late, coarse, early))
        if options.picture and label == "bundled":
            members = folder / "members.nc"
            draw_month(members, late, coarse, options.month, options.picture)
    if options.train:
        prior = train(options, folder, early)
        found["trained"] = score(options, folder, str(prior), "", (late, coarse, early))
    common.close("months", {"members": options.members, **found}, targets(found))


def write_files(options: Namespace, folder: Path) -> tuple[Path, Path, Path]:
    """Write the years to judge, the other years, and the block means of the former."""
    fields = join_variables(options.fine, options.factor)
    paths = folder / "late.nc", folder / "early.nc", folder / "coarse.nc"
    late, early = (
        fields.sel(time=slice(*years.split(","))) for years in (options.judge, options.fit)
    )
    for path, part in zip(paths, (late, early, coarsen_fields(late, options.factor)), strict=True):
        part.to_netcdf(path)
    return paths


def join_variables(paths: list[Path], factor: int) -> xr.Dataset:
    """Return the variables of files of the same months, cut to whole blocks."""
    opened = [open_fields(path, None)[names_of(path)].load() for path in paths]
    same = [one.assign_coords(time=opened[0]["time"]) for one in opened]
    fields = xr.merge([one.drop_vars("time_bnds", errors="ignore") for one in same])
    whole = {side: slice(fields.sizes[side] // factor * factor) for side in ("lat", "lon")}
    return fields.isel(whole)


def names_of(path: Path) -> list[str]:
    """Return the variables of a file that are judged."""
    return [name for name in TARGETS if name in open_fields(path, None)]


def train(options: Namespace, folder: Path, early: Path) -> Path:
    """Train a prior of the region, by the public command."""
    prior = folder / "region.safetensors"
    common.dpdm(
        "train", early, "--out", prior, "--factor", options.factor, "--minutes", options.train
    )
    return prior


def score(
    options: Namespace, folder: Path, prior: str, choice: str, files: tuple[Path, Path, Path]
) -> dict[str, Figures]:
    """Downscale with one climatology by the public command, print the table and return scores."""
    late, coarse, early = files
    members = folder / "members.nc"
    common.dpdm(
        "downscale", coarse, members, "--grid", late, "--prior", prior, "--members",
        options.members, "--keep", "members", "--overwrite", "--climatology", choice or str(early),
    )  # fmt: skip
    rival = "era5" if choice == "none" else choice or str(early)
    table = evaluate_files(members, late, coarse, rival)
    print(f"\n{Path(prior).stem}, climatology {Path(choice).name or 'of its own'}")
    print(table.text())
    rows = {(row["variable"], row["method"]): row for row in table.rows}
    ratio = ratio_rmse(late, coarse, rival)
    return {
        name: figures(rows, name, options.members) | {"ratio_method_rmse": ratio[name]}
        for name in TARGETS
        if (name, "lerp") in rows
    }


def figures(rows: dict[Any, dict[str, Any]], name: str, members: int) -> Figures:
    """Return the numbers of one variable that count."""
    mean, ensemble = rows[name, f"mean of {members}"], rows[name, f"ensemble of {members}"]
    delta, lerp = rows[name, "delta method"], rows[name, "lerp"]
    return {
        "lerp_rmse": lerp["rmse"],
        "delta_rmse": delta["rmse"],
        "rmse": mean["rmse"],
        "over_lerp": mean["rmse"] / lerp["rmse"],
        "over_delta": mean["rmse"] / delta["rmse"],
        "crps_ratio": ensemble["crps_ratio"],
        "ssr": ensemble["ssr"],
        "member_power": rows[name, "one member"]["spectrum_small"],
        "delta_power": delta["spectrum_small"],
        "bias": mean["bias"],
    }


def ratio_rmse(late: Path, coarse: Path, choice: str) -> Figures:
    """Return the RMSE of the delta method as a ratio: added logarithms of 1 + mm/day for rain."""
    truth, blocks = open_fields(late, None), open_fields(coarse, None)
    grid, names = grid_of(truth), [str(n) for n in truth.data_vars]
    known = open_climatology(choice, grid, names)
    assert known is not None
    squares: dict[str, list[float]] = {name: [] for name in names}
    for step in range(truth.sizes["time"]):
        state = known.state(truth["time"], truth.get("time_bnds"), step)
        smooth = smooth_to_coarse(state, grid_of(blocks))
        lerp = interpolate_bilinear(blocks.isel(time=step).load(), grid)
        for name in names:
            log, back = (np.log1p, np.expm1) if name == "tp" else (np.array, np.array)
            guess = back(log(lerp[name]) + log(state[name]) - log(smooth[name]))
            error = np.asarray(guess - truth[name].isel(time=step).values)
            squares[name].append(float(np.average(error**2, weights=grid.weights)))
    return {name: float(np.sqrt(np.mean(values))) for name, values in squares.items()}


def targets(found: dict[str, dict[str, Figures]]) -> dict[str, common.Target]:
    """Return what was wanted with the bundled climatology, and of a prior of the region."""
    wanted: dict[str, common.Target] = {}
    for name, here in found["bundled"].items():
        most = TARGETS[name]
        wanted |= {
            f"{name} RMSE over lerp": common.target(here["over_lerp"], most=most["rmse"]),
            f"{name} RMSE over delta": common.target(here["over_delta"], most=most["delta"]),
            f"{name} CRPS over lerp's MAE": common.target(here["crps_ratio"], most=most["crps"]),
            f"{name} SSR": common.target(here["ssr"], 0.9, 1.1),
            f"{name} fine power of a member": common.target(here["member_power"], 0.85, 1.2),
        }
    for name, here in found.get("trained", {}).items():
        over = common.target(here["over_delta"], most=TRAINED[name])
        wanted[f"{name} trained, RMSE over delta"] = over
        wanted[f"{name} trained, SSR"] = common.target(here["ssr"], 0.9, 1.1)
    return wanted


if __name__ == "__main__":
    main()
