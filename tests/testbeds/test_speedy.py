"""dpdm testbed speedy: states of the atmosphere on levels."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dpdm.fields.grid import grid_of
from dpdm.testbed import write_weather
from dpdm.testbeds import speedy
from tests.helpers.small_world import done, refused

SIGMA = np.array([0.025, 0.095, 0.2, 0.34, 0.51, 0.685, 0.835, 0.95])
INSTALLED = find_spec("jcm") is not None


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_temperature_that_is_linear_in_log_pressure_stays_so() -> None:
    sp = np.random.default_rng(0).uniform(95000, 105000, (3, 4, 5))
    p = sp[:, None] * SIGMA[:, None, None]
    found = speedy.interpolate_to_levels(300 + 20 * np.log(p / 1e5), sp, SIGMA)
    known = 300 + 20 * np.log(speedy.PRESSURE_LEVELS / 1e5)
    # 925 hPa lies below the lowest level where the pressure is below 97.4 kPa.
    np.testing.assert_allclose(found[:, 1:], np.broadcast_to(known[1:, None, None], (3, 7, 4, 5)))
    above = sp * SIGMA[-1] > speedy.PRESSURE_LEVELS[0]
    np.testing.assert_allclose(found[:, 0][above], known[0])


def test_below_ground_temperature_follows_the_standard_atmosphere() -> None:
    # In the US Standard Atmosphere 1976 at 850 hPa and 925 hPa: T = 288.15 (p / p0) ** 0.190263.
    sp = np.full((1, 1, 1), 80000.0)
    standard = 288.15 * (np.append(SIGMA * 80000, [85000, 92500]) / 101325) ** 0.190263
    found = speedy.interpolate_to_levels(standard[None, :8, None, None], sp, SIGMA)
    np.testing.assert_allclose(found[0, :2, 0, 0], [standard[9], standard[8]], rtol=2e-6)


def test_latitudes_are_lerped_over_the_poles() -> None:
    lat = np.array([-87.0, -50.0, 0.0, 50.0, 87.0])
    # A field that is linear across the pole: the component along a meridian of the distance.
    lon = np.radians(np.arange(0, 360, 30))
    plane = np.where(lat > 0, 90 - lat, lat + 90)[:, None] * np.cos(lon)
    to = np.array([-88.5, -60.0, 50.0, 89.9])
    found = speedy.interpolate_latitudes(plane, lat, to)
    known = np.where(to > 0, 90 - to, to + 90)[:, None] * np.cos(lon)
    np.testing.assert_allclose(found[[0, 2, 3]], known[[0, 2, 3]], atol=1e-12)
    np.testing.assert_allclose(speedy.interpolate_latitudes(plane, lat, lat), plane)


def test_the_grid_is_regular_and_closed() -> None:
    axes = {"lat": speedy.LAT, "lon": speedy.LON}
    grid = grid_of(xr.Dataset(coords=axes))
    assert grid.cyclic
    assert (grid.lat[0], grid.lat[-1]) == (-88.125, 88.125)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("speedy a.nc", "speedy needs --years"),
        ("speedy a.nc --years 1 --length 3", "--length is for lorenz63 and kolmogorov"),
        ("speedy a.nc --years 1 --size 3", "--size is for kolmogorov"),
        ("speedy a.nc --years 0", "--years"),
        ("lorenz63 a.nc --length 3", "lorenz63 needs --trajectories"),
        ("lorenz63 a.nc --length 3 --trajectories 2 --years 1", "--years is for speedy"),
    ],
)
def test_options_that_do_not_fit_the_system_are_refused(words: str, what: str) -> None:
    refused(f"testbed {words}", what, code=2)


def test_impossible_numbers_are_refused() -> None:
    refused("testbed speedy a.nc --years 1 --seed -1", "seed is -1", "0 or more")
    refused("testbed speedy a.nc --years 1 --burn-in 0", "burn_in is 0", "1 or more")
    refused("testbed speedy a.txt --years 1", "ends in '.txt'", "End it in")


@pytest.mark.skipif(INSTALLED, reason="jcm is installed")
def test_the_lack_of_jcm_is_told() -> None:
    refused("testbed speedy a.nc --years 1", "need jcm", "pip install 'dpdm[speedy]'")
    assert not list(Path().iterdir())


@pytest.mark.skipif(not INSTALLED, reason="needs jcm: pip install 'dpdm[speedy]'")
def test_two_days_of_the_atmosphere() -> None:
    steps: list[tuple[int, int]] = []
    write_weather(Path("a.nc"), 2, burn_in=1, report=lambda *step: steps.append(step))
    ds = xr.load_dataset("a.nc")
    assert ds["t"].dims == ("time", "level", "lat", "lon")
    assert list(ds["level"] / 100) == [925, 850, 700, 500, 300, 200, 100, 30]
    assert list(ds["time"].values.astype("datetime64[D]").astype(str)) == [
        "2000-01-01",
        "2000-01-02",
    ]
    assert steps == [(2, 2)]
    assert not any(array.isnull().any() for array in ds.data_vars.values())
    weights = np.cos(np.radians(ds["lat"]))
    # The start is isothermal, at 288 K, under the standard pressure at sea level.
    assert 250 < float(ds["t2m"].weighted(weights).mean()) < 300
    assert 9e4 < float(ds["sp"].weighted(weights).mean()) < 1.05e5
    assert float(ds["sp"].min()) < 6.5e4
    assert (ds.attrs["dpdm_system"], ds.attrs["dpdm_burn_in"]) == ("speedy", "1")
    assert "levels" in done("info", "a.nc").stdout
