"""Doubt: what ERA5 holds is never doubted, what a wrong unit makes of it is, and once."""

import re
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dpdm.errors import DpdmWarning
from dpdm.fields.grid import Grid
from dpdm.fields.read import open_fields
from dpdm.fields.value_checks import LIKELY_MEANS
from tests.helpers.small_world import done

SAMPLE = Path(__file__).parents[2] / "sample_data" / "east_asia_coarse.nc"
WORDS = r"averages .* is likely. If its unit is not .* --units"


def region(path: Path, size: float, rain: float, warm: float = 288.0, holes: float = 0.0) -> Path:
    """Write one field of rain (mm day-1) and temperature (K) on a square about the equator."""
    axis = np.arange(-size / 2 + 0.5, size / 2)
    grid = Grid(axis, axis)
    pattern = np.linspace(0.5, 1.5, grid.shape[1]) * np.ones(grid.shape)
    pattern[: int(holes * len(axis))] = np.nan
    data = {
        "tp": (("lat", "lon"), rain * pattern, {"units": "mm/day"}),
        "t2m": (("lat", "lon"), warm + 0 * pattern, {"units": "K"}),
    }
    xr.Dataset(data, grid.coords()).to_netcdf(path)
    return path


def test_each_month_of_the_sample_is_likely(tmp_path: Path) -> None:
    with xr.open_dataset(SAMPLE) as ds:
        for month in range(12):
            ds.isel(time=[month]).to_netcdf(tmp_path / f"{month}.nc")
            open_fields(tmp_path / f"{month}.nc")  # a warning is an error here


@pytest.mark.parametrize("unit", ["mm/month", "cm/day", "inch/day", "mm/year"])
def test_a_wrong_unit_of_the_sample_is_doubted(unit: str) -> None:
    with pytest.warns(DpdmWarning, match=rf"east_asia_coarse.nc: tp {WORDS} tp=mm/month\.$"):
        open_fields(SAMPLE, units={"tp": unit})


@pytest.mark.parametrize(
    ("size", "rain", "warm", "doubted"),
    [
        (40, 3.0, 330.0, "t2m"),
        (40, 3.0, 220.0, "t2m"),
        (40, 20.0, 288.0, "tp"),
        (40, 0.1, 288.0, "tp"),
        (20, 26.0, 288.0, "tp"),
        (20, 0.0, 288.0, None),  # a desert
        (20, 20.0, 210.0, None),
        (19, 300.0, 340.0, None),  # a storm, or a desert at noon
    ],
)
def test_the_larger_the_region_the_narrower(
    tmp_path: Path, size: float, rain: float, warm: float, doubted: str | None
) -> None:
    path = region(tmp_path / "a.nc", size, rain, warm)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        open_fields(path)
    assert [re.search(rf": (\w+) {WORDS}", str(w.message))[1] for w in said] == (
        [doubted] if doubted else []
    )


def test_the_mean_is_weighted_by_area(tmp_path: Path) -> None:
    lat, lon = np.arange(-89.5, 90), np.arange(0.5, 360)
    south, north = np.sin(np.radians(lat - 0.5)), np.sin(np.radians(lat + 0.5))
    rain = 20 * np.abs(south + north)[:, None] * np.ones(360)  # its mean is 20
    data = {"tp": (("lat", "lon"), rain, {"units": "mm/day"})}
    xr.Dataset(data, Grid(lat, lon).coords()).to_netcdf(tmp_path / "a.nc")
    with pytest.warns(DpdmWarning, match="averages 20 mm day-1 over 180 by 360 degrees"):
        open_fields(tmp_path / "a.nc")


def test_a_region_of_islands_is_not_judged(tmp_path: Path) -> None:
    open_fields(region(tmp_path / "a.nc", 40, 100.0, holes=0.4))
    with pytest.warns(DpdmWarning, match="tp averages"):
        open_fields(region(tmp_path / "b.nc", 40, 100.0, holes=0.1))


def test_bounds_narrow_as_regions_grow() -> None:
    for (large, narrow), (small, wide) in pairwise(LIKELY_MEANS):
        assert large > small
        for name, (low, high) in narrow.items():
            assert wide[name][0] < low < high < wide[name][1]


def test_a_command_warns_in_one_line_and_goes_on(here: Path) -> None:
    region(here / "wet.nc", 40, 100.0)
    region(here / "other.nc", 40, 3.0)
    said = done("evaluate", "wet.nc", "wet.nc", "--json")
    assert re.fullmatch(rf"Warning: wet\.nc: tp {WORDS} tp=mm/month\.\n", said.stderr)
    assert said.stdout.startswith("{")
    assert done("evaluate", "other.nc", "other.nc").stderr == ""
