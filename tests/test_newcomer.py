"""What a new user does on the first day, from the README alone, in processes of their own."""

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr

from dpdm.fields.grid import Grid
from tests.helpers.climate_model import model_months
from tests.helpers.reconstruction import tree

if TYPE_CHECKING:
    from tests.helpers.commands import Child, Nursery

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SAMPLE = ROOT / "sample_data"
MODEL = Grid(np.arange(21.25, 50, 2.5), np.arange(111.25, 146, 2.5))
KOREA = "124,130,33,39"
PLAN = """
[input]
files = ["tas_*.nc", "pr_*.nc"]
period = ["2001-11", "2002-02"]
[draw]
members = 2
[output]
bbox = [124, 130, 33, 39]
"""


def ran(nursery: "Nursery", line: str) -> "Child":
    """Run a command as a shell gives it, with options that the README has; it must succeed."""
    command, *words = line.split()
    assert f"dpdm {command}" in README
    assert all(word in README for word in words if word.startswith("-")), line
    child = nursery.run(command, *(path for word in words for path in globbed(word)))
    assert child.returncode == 0, child.stderr
    return child


def globbed(word: str) -> list[str]:
    """Return the files of a pattern, or the word itself."""
    return sorted(map(str, Path().glob(word))) if "*" in word else [word]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with CMIP6 files, two years of one variable in each."""
    years = model_months(2000, 4, grid=MODEL)
    for name in ("tas", "pr"):
        for first in (2000, 2002):
            part = years[[name, "time_bnds"]].sel(time=slice(str(first), str(first + 1)))
            stem = f"{name}_Amon_Made-up_historical_r1i1p1f1_gn_{first}01-{first + 1}12.nc"
            part.to_netcdf(tmp_path / stem)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    return tmp_path


def test_cmip6_files_become_a_map_and_a_geotiff(home: Path, nursery: "Nursery") -> None:
    ran(nursery, f"downscale tas_*.nc pr_*.nc fine.nc --bbox {KOREA} --mean")
    coarse = model_months(2000, 4, grid=MODEL)
    with xr.open_dataset("fine.nc") as fine:
        assert fine["time"].dt.calendar == "noleap"
        assert fine.sizes == {"time": 48, "lat": 24, "lon": 24, "bnds": 2}
        assert (fine["tas"].attrs["units"], fine["pr"].attrs["units"]) == ("K", "kg m-2 s-1")
        inside = coarse.sel(lat=slice(33, 39), lon=slice(124, 130)).mean(("lat", "lon"))
        means = fine.mean(("lat", "lon"))
        assert np.corrcoef(means["tas"], inside["tas"])[0, 1] > 0.99
        assert np.corrcoef(means["pr"], inside["pr"])[0, 1] > 0.9
        tas = fine["tas"].values
    ran(nursery, "plot fine.nc january.png --variable t2m")
    assert Path("january.png").read_bytes().startswith(b"\x89PNG")
    ran(nursery, "export fine.nc t2m.tif --variable t2m")
    with rasterio.open("t2m.tif") as raster:
        assert (raster.count, raster.crs.to_epsg()) == (48, 4326)
        assert raster.bounds == pytest.approx((124, 33, 130, 39))
        np.testing.assert_allclose(raster.read(7), tas[6, ::-1], rtol=1e-6)  # north up


def test_a_plan_that_was_killed_is_resumed_by_the_same_command(
    home: Path, nursery: "Nursery"
) -> None:
    Path("plan.toml").write_text(PLAN)
    first = nursery.start("reconstruct", "plan.toml", "series")
    ledger = Path("series/ledger.jsonl")
    while not (ledger.exists() and '"drawn"' in ledger.read_text()) and first.poll() is None:
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    assert 0 < ledger.read_text().count('"drawn"') < 4
    ran(nursery, "reconstruct plan.toml series")
    assert "4 of 4" in ran(nursery, "status series").stdout
    ran(nursery, "reconstruct plan.toml whole")
    assert tree(Path("series")) == tree(Path("whole"))
    for year in (2001, 2002):
        with xr.open_dataset(f"series/fine_{year}.nc") as made:
            assert made.sizes["time"] == 2
            assert made["tas_spread"].notnull().all()


def test_a_table_of_ones_own_is_assimilated(home: Path, nursery: "Nursery") -> None:
    lat, lon = np.meshgrid(np.arange(34.5, 38.1, 0.75), np.arange(126.75, 128.6, 0.5))
    with xr.open_dataset(SAMPLE / "east_asia_fine.nc") as year:
        points = {"lat": ("p", lat.ravel()), "lon": ("p", lon.ravel())}
        climate = year["t2m"].isel(time=6).interp(points)
    table = {"station": range(lat.size), "time": "1994-07", "lat": lat.ravel(), "lon": lon.ravel()}
    warm = climate.values - 273.15 + 3
    pd.DataFrame(table | {"t2m [degC]": warm}).to_csv("mine.csv", index=False)
    ran(
        nursery,
        f"assimilate mine.csv analysis.nc --bbox {KOREA} --members 2 --withhold 0.2 "
        "--report stations.csv",
    )
    report = pd.read_csv("stations.csv")
    rms = report[["innovation", "residual"]].pow(2).groupby(report["status"]).mean().pow(0.5)
    assert report["status"].value_counts().to_dict() == {"assimilated": 16, "withheld": 4}
    assert np.allclose(rms["innovation"], 3, atol=0.3)
    assert (rms["residual"] < 0.5).all()


def test_a_prior_of_ones_own_is_scored_in_a_report(home: Path, nursery: "Nursery") -> None:
    fine, coarse = SAMPLE / "east_asia_fine.nc", SAMPLE / "east_asia_coarse.nc"
    ran(nursery, f"train {fine} --out mine.safetensors --factor 10 --minutes 0.02")
    assert "t2m" in ran(nursery, "info mine.safetensors").stdout
    ran(
        nursery,
        f"downscale {coarse} mine.nc --prior mine.safetensors --mean --bbox {KOREA} "
        "--climatology none",
    )
    ran(nursery, f"export {fine} truth.nc --bbox {KOREA}")
    scores = ran(
        nursery,
        f"evaluate mine.nc truth.nc --coarse {coarse} --climatology none --json "
        "--report fine.html",
    )
    rows = [row for row in json.loads(scores.stdout)["rows"] if row["variable"] == "t2m"]
    rmse = {row["method"]: row["rmse"] for row in rows}
    assert rmse["forecast"] < rmse["lerp"]
    page = Path("fine.html").read_text(encoding="utf-8")
    assert f"{rmse['forecast']:.2f} K" in page
    assert not re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="http', page)
