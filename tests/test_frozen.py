"""Outputs of every task on small worlds, as they were when they were last looked at.

A restructuring must leave each number as it is. ``frozen.json`` holds, for each variable of each
output, its mean, its standard deviation and five of its values. On one machine they agree to the
last bit; between machines, sums run in another order, hence the tolerance. To freeze anew after
an intended change: ``DPDM_FREEZE=1 python -m pytest tests/test_frozen.py``.
"""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.helpers import globe_states
from tests.helpers.small_world import FACTOR, done
from tests.helpers.trajectories import TOML, spirals

FROZEN = Path(__file__).parent / "frozen.json"
TOLERANCE = 1e-4  # of a standard deviation: 12 steps of training amplify other sums' rounding
FIELDS = {
    "members.nc": "downscale coarse.nc {out} --prior prior.safetensors --members 2 --seed 3",
    "mean.nc": "downscale coarse.nc {out} --prior prior.safetensors --mean",
    "box.nc": "downscale coarse.nc {out} --prior prior.safetensors --members 2 "
    "--bbox 110,125,28,40 --keep stats",
    "consistent.nc": "downscale coarse.nc {out} --prior prior.safetensors "
    "--members 2 --consistent --steps 4",
    "analysis.nc": "assimilate stations.csv {out} --coarse coarse.nc --prior prior.safetensors "
    "--members 2 --withhold 0.3 --coarse-error t2m=1 --report report.csv",
    "pulled.nc": "assimilate stations.csv {out} --coarse coarse.nc --prior prior.safetensors "
    "--members 2 --guidance sda --gamma 1",
    "around.nc": "perturb members_0.nc {out} --prior prior.safetensors --members 2 "
    f"--factor {FACTOR} --strength 0.4",
    "features.nc": "embed fine.nc {out} --prior prior.safetensors "
    f"--factor {FACTOR} --pool mean",
    "coarsened.nc": f"coarsen fine.nc {{out}} --factor {FACTOR}",
    "bilinear.nc": f"lerp coarse.nc {{out}} --factor {FACTOR}",
}
TRAJECTORIES = {
    "smoothed.nc": "assimilate seen.nc {out} --prior spirals.safetensors --members 3 --steps 8",
    "surrogate.nc": "forecast truth.nc truth.nc {out} --prior spirals.safetensors --steps 3",
}
GLOBE = {
    "globe.nc": "assimilate sondes.csv {out} --grid days.nc --prior prior.safetensors "
    "--members 2 --steps 4",
    "globe_around.nc": "perturb days.nc {out} --prior prior.safetensors --members 2 --steps 4",
}
PLAN = """
[prior]
name = "prior.safetensors"
[input]
files = ["coarse.nc"]
[draw]
members = 3
[output]
keep = "all"
"""


def summary(path: Path) -> dict[str, list[float]]:
    """Return the mean, the standard deviation and five values of each variable of numbers."""
    found = {}
    with xr.open_dataset(path) as ds:
        for name, array in ds.variables.items():
            if array.dtype.kind in "fiu" and array.size > 1:
                values = array.values.astype(float).ravel()
                places = np.linspace(0, values.size - 1, 5).astype(int)
                numbers = [np.nanmean(values), np.nanstd(values), *values[places]]
                found[str(name)] = [float(f"{number:.9g}") for number in numbers]
    return found


def digest(path: Path) -> str:
    """Return the SHA-256 of all values of a file."""
    total = hashlib.sha256()
    with xr.open_dataset(path, decode_times=False) as ds:
        for name in sorted(map(str, ds.variables)):
            total.update(name.encode() + np.ascontiguousarray(ds[name].values).tobytes())
    return total.hexdigest()


def run(commands: dict[str, str]) -> dict[str, dict[str, list[float]]]:
    """Run commands, and return the summaries of what they write."""
    for out, command in commands.items():
        done(*command.format(out=out).split())
    if sums := os.environ.get("DPDM_FREEZE_DIGESTS"):
        with Path(sums).open("a") as lines:
            lines.writelines(f"{out} {digest(Path(out))}\n" for out in commands)
    return {out: summary(Path(out)) for out in commands}


def check(found: dict[str, dict[str, list[float]]]) -> None:
    """Compare summaries with the frozen ones, or freeze them."""
    frozen = json.loads(FROZEN.read_text()) if FROZEN.exists() else {}
    if os.environ.get("DPDM_FREEZE"):
        FROZEN.write_text(json.dumps(dict(sorted((frozen | found).items())), indent=1) + "\n")
        return
    for out, variables in found.items():
        assert variables.keys() == frozen[out].keys(), out
        for name, numbers in variables.items():
            expected = np.array(frozen[out][name])
            scale = max(expected[1], 1e-6 * abs(expected[0]), 1e-12)
            close = np.allclose(numbers, expected, rtol=0, atol=TOLERANCE * scale, equal_nan=True)
            assert close, (out, name, numbers, expected.tolist())


def stations(fine: xr.Dataset) -> pd.DataFrame:
    """Return twelve stations on land and sea that report both variables of every month."""
    rng = np.random.default_rng(5)
    rows = []
    for number in range(12):
        lat, lon = rng.uniform(24, 48), rng.uniform(104, 144)
        near = fine.sel(lat=lat, lon=lon, method="nearest")
        for month in range(fine.sizes["time"]):
            at = near.isel(time=month)
            rows.append({
                "station": f"S{number}", "lat": lat, "lon": lon,
                "time": str(at["time"].values)[:10], "t2m [K]": float(at["t2m"]) + rng.normal(),
                "t2m_error": 3.0, "tp [mm/day]": max(0.0, float(at["tp"])), "tp_error": 2.0,
            })  # fmt: skip
    return pd.DataFrame(rows)


def test_fields_are_as_they_were(here: Path) -> None:
    with xr.open_dataset("fine.nc") as fine:
        stations(fine).to_csv("stations.csv", index=False)
    found = run({"members.nc": FIELDS["members.nc"]})
    with xr.open_dataset("members.nc") as ds:
        ds.isel(realization=0, drop=True)[["t2m", "tp"]].to_netcdf("members_0.nc")
    found |= run({out: command for out, command in FIELDS.items() if out != "members.nc"})
    Path("plan.toml").write_text(PLAN)
    done("reconstruct", "plan.toml", "series")
    found |= {f"series/{path.name}": summary(path) for path in sorted(Path("series").glob("*.nc"))}
    check(found)


def test_trajectories_are_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spirals(20, 24).assign_coords(trajectory=np.arange(20)).to_netcdf("truth.nc")
    Path("train.toml").write_text(TOML.replace("150", "60").replace("75", "30"))
    Path("obs.toml").write_text(
        '[what]\ncomponents = ["a"]\ntrajectories = [0, 3]\n[when]\nevery = 4\n'
        "[error]\nstd = [0.2]\n"
    )
    done("train", "truth.nc", "--window", 5, "--out", "spirals.safetensors", "--config",
         "train.toml")  # fmt: skip
    done("observe", "truth.nc", "seen.nc", "--config", "obs.toml")
    check(run(TRAJECTORIES))


def test_states_of_the_globe_are_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    globe_states.taught(tmp_path)
    days = globe_states.weather(5, "2001-07-01")
    days.to_netcdf("days.nc")
    rows = [
        {"lat": lat, "lon": lon, "time": str(time)[:10], "pressure [Pa]": 85000.0, "error": 0.5,
         "variable": "t", "units": "K", "value": float(
             days["t"].sel(lat=lat, lon=lon, method="nearest").sel(level=85000.0, time=time))}
        for lat, lon in ((40.0, 10.0), (-20.0, 120.0), (5.0, 250.0))
        for time in days["time"].values
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv("sondes.csv", index=False)
    check(run(GLOBE))
