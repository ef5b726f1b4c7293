"""Learn eight years of winds, and judge the three that follow.

The data are the navy's monthly winds of 1982 to 1992, global at 2.5 degrees, seen from block means
over 10 degrees. A prior is trained on 1982-89 by the public command, with ``prior.toml`` as its
settings, and judged on 1990-92, which nothing else has looked at: the settings were chosen with
``--validation``, which trains on 1982-88 and judges 1989.

The baseline to beat is the delta method: lerp, plus what it missed on average in each calendar
month of the training years. RMSE in m/s over all cells, weighted by area. ``one evaluation`` is
``dpdm downscale --mean``.
"""

import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import xarray as xr

from benchmarks import common
from dpdm.evaluate import evaluate_files
from dpdm.fields.regrid import coarsen_fields

SETTINGS = Path(__file__).with_name("prior.toml")
FACTOR = 4
WANTED = {"u10": 1.00, "v10": 0.89}  # m/s
METHODS = {"lerp": "lerp", "delta method": "climatology"}


def main() -> None:
    """Train, downscale the later years, print their scores."""
    parser = common.parser(__doc__)
    parser.set_defaults(prior=None)
    parser.add_argument("--minutes", type=float, default=15, help="of training")
    parser.add_argument("--members", type=int, default=33)
    parser.add_argument("--config", type=Path, default=SETTINGS, help="settings of the training")
    parser.add_argument("--validation", action="store_true", help="train on 1982-88, judge 1989")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        judge(options, Path(folder))


def judge(options: Namespace, folder: Path) -> None:
    """Run the whole benchmark in a scratch folder."""
    early, late, coarse = split(options, folder)
    took, prior = trained(options, early)
    members, mean = folder / "members.nc", folder / "mean.nc"
    common.dpdm(
        "downscale", coarse, members, "--prior", prior, "--members", options.members,
        "--keep", "members",
    )  # fmt: skip
    common.dpdm("downscale", coarse, mean, "--prior", prior, "--mean")
    scores = evaluate_files(members, late, coarse, str(early), {"one evaluation": mean})
    print(scores.text())
    found = figures(scores.rows, options.members)
    done = {} if options.validation else targets(found, took)
    common.close("time_split", {"training_minutes": took / 60, **found}, done)


def split(options: Namespace, folder: Path) -> tuple[Path, Path, Path]:
    """Write the years to learn, the years to judge, and the block means of the latter."""
    year = 1989 if options.validation else 1990
    last = 1989 if options.validation else 1992
    paths = (folder / "early.nc", folder / "late.nc", folder / "coarse.nc")
    with xr.open_dataset(common.needed(options.build / "navy_winds.nc")) as file:
        early = file.sel(time=slice(None, str(year - 1)))
        late = file.sel(time=slice(str(year), str(last))).load()
        for fields, path in zip((early, late, coarsen_fields(late, FACTOR)), paths, strict=True):
            fields.to_netcdf(path)
    return paths


def trained(options: Namespace, early: Path) -> tuple[float, Path]:
    """Return the seconds that training took, and the prior; one that is given takes none."""
    if options.prior:
        return 0.0, Path(options.prior)
    prior = options.build / "time_split.safetensors"
    ran = common.dpdm(
        "train", early, "--out", prior, "--factor", FACTOR, "--config", options.config,
        "--minutes", options.minutes, "--overwrite",
    )  # fmt: skip
    return ran.seconds, prior


def figures(rows: list[dict[str, Any]], members: int) -> dict[str, float]:
    """Return the numbers that count, by variable and method."""
    by = {(row["variable"], row["method"]): row for row in rows}
    mean, ensemble = f"mean of {members}", f"ensemble of {members}"
    named = {**METHODS, "one evaluation": "one_evaluation", mean: "mean", "one member": "member"}
    found = {f"{v}_rmse_{short}": by[v, m]["rmse"] for v in WANTED for m, short in named.items()}
    for v in WANTED:
        found |= {f"{v}_crps": by[v, ensemble]["crps"], f"{v}_ssr": by[v, ensemble]["ssr"]}
        found[f"{v}_mae_climatology"] = by[v, "delta method"]["crps"]
    return found


def targets(found: dict[str, float], took: float) -> dict[str, common.Target]:
    """Return what was wanted of the mean of the members, and of the training."""
    wanted = {
        f"{v} RMSE (m/s)": common.target(found[f"{v}_rmse_mean"], most=most)
        for v, most in WANTED.items()
    }
    return wanted | {"training (minutes)": common.target(took / 60, most=20)}


if __name__ == "__main__":
    main()
