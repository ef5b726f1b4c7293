"""Several input files, laid out as CMIP6 does, give one output under their own names."""

import shutil
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.helpers.climate_model import model_months
from tests.helpers.small_world import Taught, done, refused

needs_cdo = pytest.mark.skipif(shutil.which("cdo") is None, reason="cdo is not here")
FILES = [f"{name}_{year}.nc" for name in ("tas", "pr") for year in (1982, 1981)]
ATTRS = {
    "tas": {"long_name": "Near-Surface Air Temperature", "cell_methods": "area: time: mean"},
    "pr": {"long_name": "Precipitation", "cell_methods": "area: time: mean"},
}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> xr.Dataset:
    """Two years of a model, a file for each variable and year; pr is stamped on first days."""
    monkeypatch.chdir(tmp_path)
    whole = model_months(years=2)
    whole["lat"].attrs["units"], whole["lon"].attrs["units"] = "degrees_north", "degrees_east"
    for name, attrs in ATTRS.items():
        whole[name].attrs |= attrs
        for year in (1981, 1982):
            part = whole[[name, "time_bnds"]].sel(time=str(year))
            if name == "pr":
                part = part.drop_vars("height")
                part = part.assign_coords(time=("time", part["time_bnds"].values[:, 0]))
                part["time"].attrs["bounds"] = "time_bnds"
                part["time"].encoding["units"] = "days since 1850-01-01"
            part.to_netcdf(f"{name}_{year}.nc")
    whole.to_netcdf("whole.nc")
    return whole


def test_split_files_are_as_one_and_keep_names_and_attributes(
    model: xr.Dataset, taught: Taught
) -> None:
    words = ("--prior", taught.prior, "--members", 2, "--steps", 2, "--period", "any")
    result = done("downscale", *FILES, "-o", "parts.nc", *words)
    assert "; tas -> t2m, pr -> tp" in result.stderr
    done("downscale", "whole.nc", "one.nc", *words)
    with xr.open_dataset("parts.nc") as parts, xr.open_dataset("one.nc") as one:
        assert {"tas", "pr", "tas_mean", "pr_p90"} <= set(parts)
        for name in ("tas", "pr", "tas_spread"):
            np.testing.assert_array_equal(parts[name], one[name])
        np.testing.assert_array_equal(parts["time"], one["time"])
        for name, attrs in ATTRS.items():
            known = dict(model[name].attrs)
            assert {k: parts[name].attrs[k] for k in known} == known | attrs
    done("lerp", *FILES, "truth.nc", "--factor", 4)
    done("evaluate", "parts.nc", "truth.nc", "--coarse", "tas_*.nc", "--coarse", "pr_*.nc")
    done("export", "parts.nc", "points.csv", "--variable", "tas", "--points", points())
    assert "tas_p90 [K]" in Path("points.csv").read_text().splitlines()[0]
    done("export", "parts.nc", "spread.nc", "--variable", "tas", "--stat", "spread")
    done("plot", "parts.nc", "map.png", "--variable", "tas", "--time", "1981-07")
    assert "names: tas -> t2m, pr -> tp" in done("info", "parts.nc").stdout


def points() -> Path:
    """Return a table of one station."""
    Path("stations.csv").write_text("name,lat,lon\nA,35,120\n")
    return Path("stations.csv")


@needs_cdo
def test_cdo_sees_variables_and_grid_of_the_input(model: xr.Dataset) -> None:
    done("lerp", "tas_1981.nc", "pr_1981.nc", "fine.nc", "--res", "2")
    done("lerp", "tas_1981.nc", "named.nc", "--grid", "global_2")
    cdo = partial(subprocess.run, check=True, capture_output=True, text=True)
    assert cdo(["cdo", "-s", "showname", "fine.nc"]).stdout.split() == ["tas", "pr"]
    cdo(["cdo", "-s", "remapbil,fine.nc", "tas_1981.nc", "cdo.nc"])
    with xr.open_dataset("fine.nc") as ours, xr.open_dataset("cdo.nc") as theirs:
        with xr.open_dataset("named.nc") as named:
            np.testing.assert_array_equal(named["tas"], ours["tas"])
        inner = ours["tas"][:, 2:-2, 2:-2]
        np.testing.assert_allclose(inner, theirs["tas"][:, 2:-2, 2:-2], atol=1e-3)


def test_a_box_by_sides_is_the_box_and_the_message_names_it(model: xr.Dataset) -> None:
    one = done("export", "tas_1981.nc", "a.nc", "--lon", "110,130", "--lat", "25,40")
    assert one.stderr == "Wrote a.nc\n"
    done("export", "tas_1981.nc", "-o", "b.nc", "-q", "--bbox", "110,130,25,40")
    with xr.open_dataset("a.nc") as a, xr.open_dataset("b.nc") as b:
        np.testing.assert_array_equal(a["tas"], b["tas"])


def test_an_input_is_not_taken_for_the_output(model: xr.Dataset) -> None:
    for files in ("tas_1981.nc pr_1981.nc", "tas_1981.nc tas_1982.nc pr_1981.nc"):
        refused(f"lerp -O {files} --factor 2", "pr_1981.nc exists.*may be an input", "-o", 2)
    done("lerp", "tas_1981.nc", "tas_1982.nc", "out.nc", "--factor", 2)
    done("lerp", "-O", "tas_1981.nc", "tas_1982.nc", "out.nc", "--factor", 2)
    done("lerp", "pr_1981.nc", "other.nc", "--factor", 2)
    refused("lerp -O out.nc pr_1981.nc other.nc --factor 2 --var tp=pr", "different grids")
    refused("lerp -O tas_1981.nc out.nc other.nc --factor 2", "other.nc exists", "-o", 2)
    refused("lerp https://host/a.nc out.nc --factor 2", "is a URL", "Download", 2)
    refused("lerp s3://bucket/a.zarr out.nc --factor 2", "is a URL", "Download", 2)


def test_home_is_expanded_in_quotes(model: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path.cwd()))
    done("lerp", "~/tas_1981.nc", "-o", "~/out.nc", "--factor", 2)
    assert Path("out.nc").exists()


def test_options_in_short(model: xr.Dataset) -> None:
    assert "dpdm, version" in done("-V").stdout
    told = done("lerp", "-v", "tas_1981.nc", "out.nc", "--factor", 2).stderr
    assert "Read tas_1981.nc: tas -> t2m [K]; 12 steps" in told
    assert done("lerp", "-O", "-q", "tas_1981.nc", "out.nc", "--factor", 2).stderr == ""
