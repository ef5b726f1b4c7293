"""Reconstruct two real series: the winds of 1982 to 1992, and a scenario from 1860 to 2099.

- ``winds``: all 132 months of the navy's winds, seen from means over 10 degrees, with a prior that
  learnt 1982-89 by the public command (``time_split`` trains it). Scored on 1990-92, which it
  has not seen: RMSE in m/s over all cells, weighted by area.
- ``scenario``: the 240 annual temperatures of A1B over North America (Met Office,
  iris-sample-data, 360-day calendar) with the bundled prior. What should happen: the trend of the
  regional mean passes through, within the standard error of the input's own trend (least squares,
  with the degrees of freedom that the residuals' lag-1 correlation leaves).
"""

import tempfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmarks import common
from benchmarks.common import Target, target
from benchmarks.time_split import run as time_split
from dpdm.fields.grid import grid_of
from dpdm.fields.read import open_fields
from dpdm.fields.regrid import coarsen_fields

PLAN = """
[input]
files = ["{file}"]
[prior]
name = "{prior}"
[draw]
members = {members}
[run]
member_block = 33
"""
PER = 100.0  # years of a trend


def main() -> None:
    """Reconstruct both, and print what came out."""
    parser = common.parser(__doc__)
    parser.set_defaults(prior=None)
    parser.add_argument("--winds", type=Path, help="a prior that learnt 1982-89")
    parser.add_argument("--minutes", type=float, default=15, help="of training it, if not given")
    parser.add_argument("--members", type=int, default=33, help="of the winds")
    parser.add_argument("--scenario-members", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        winds, wanted = of_winds(options, Path(folder))
        scenario, trend = of_scenario(options, Path(folder))
    common.close("long_series", winds | scenario, wanted | trend)


def reconstructed(folder: Path, file: Path, prior: object, members: int) -> xr.Dataset:
    """Reconstruct a series by the command, verify it, and open what came out."""
    plan, out = folder / f"{file.stem}.toml", folder / file.stem
    plan.write_text(PLAN.format(file=file.resolve(), prior=prior, members=members))
    common.dpdm("reconstruct", plan, out)
    common.dpdm("reconstruct", "--verify", plan, out)
    how = {"data_vars": "minimal", "coords": "minimal", "compat": "override"}
    return xr.open_mfdataset(sorted(out.glob("fine_*.nc")), **how)


def of_winds(options: Namespace, folder: Path) -> tuple[dict[str, float], dict[str, Target]]:
    """Return the scores of the winds."""
    options.validation, options.config = False, time_split.SETTINGS
    early, late, _ = time_split.split(options, folder)
    options.prior = options.winds
    prior = Path(time_split.trained(options, early)[1]).resolve()
    with xr.open_dataset(common.needed(options.build / "navy_winds.nc")) as file:
        coarsen_fields(file.load(), time_split.FACTOR).to_netcdf(folder / "winds.nc")
    fine = reconstructed(folder, folder / "winds.nc", prior, options.members)
    truth, weights = open_fields(late), grid_of(fine).weights
    found = {}
    for name in time_split.WANTED:
        miss = fine[f"{name}_mean"].sel(time=truth["time"]) - truth[name]
        found[f"{name} RMSE, mean (m/s)"] = float(np.sqrt(miss.pipe(square).weighted(
            xr.DataArray(weights, dims=("lat", "lon"))).mean()))  # fmt: skip
    months = {"months": float(fine.sizes["time"])}
    return months | found, {
        f"{n} RMSE, mean (m/s)": target(found[f"{n} RMSE, mean (m/s)"], most=most)
        for n, most in time_split.WANTED.items()
    }


def square(values: xr.DataArray) -> xr.DataArray:
    """Return squares."""
    return values**2


def of_scenario(options: Namespace, folder: Path) -> tuple[dict[str, float], dict[str, Target]]:
    """Return the trends of the scenario."""
    file = common.needed(options.build / "A1B_north_america.nc")
    fine = reconstructed(folder, file, "default", options.scenario_members)
    coarse = open_fields(file)
    name = next(n for n in ("t2m_mean", "t2m") if n in fine)
    (before, error), (after, _) = (trend(regional(f)) for f in (coarse["t2m"], fine[name]))
    print(f"trend: input {before:.3f} +- {error:.3f}, output {after:.3f} K a century")
    return {"years": float(fine.sizes["time"]), "trend in": before, "trend out": after}, {
        "trend moved, in its standard errors": target(abs(after - before) / error, most=1.0)
    }


def regional(field: xr.DataArray) -> NDArray[np.float64]:
    """Return the mean over the area, year by year."""
    weights = xr.DataArray(grid_of(field.to_dataset(name="x")).weights, dims=("lat", "lon"))
    return np.asarray(field.weighted(weights).mean(("lat", "lon")).values, float)


def trend(series: NDArray[np.float64]) -> tuple[float, float]:
    """Return a trend a century and its standard error, with persistent residuals allowed for."""
    years = np.arange(len(series)) - (len(series) - 1) / 2
    slope = (years @ (series - series.mean())) / (years @ years)
    rest = series - series.mean() - slope * years
    r = float(np.corrcoef(rest[:-1], rest[1:])[0, 1])
    free = max(3.0, len(series) * (1 - r) / (1 + r))
    error = np.sqrt((rest @ rest) / (free - 2) / (years @ years))
    return PER * float(slope), PER * float(error)


if __name__ == "__main__":
    main()
