"""dpdm observe: what instruments would have seen of a known truth."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.regrid import coarsen_fields
from dpdm.observations.table import read_observations
from tests.helpers.small_world import coarse_world, done, refused, world

EXACT = "[error]\nstd = [1e-9]\n"
OBSERVE = "observe truth.nc obs.nc --config obs.toml"
SIDE = (np.arange(16) + 0.5) * np.pi / 8
WORLD = Grid(np.arange(-87.5, 90, 5.0), np.arange(2.5, 360, 5.0))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def flow() -> xr.Dataset:
    """Return two trajectories of a flow with the vorticity -2 k cos(x) cos(y), k = 1 .. 6."""
    y, x = np.meshgrid(SIDE, SIDE, indexing="ij")
    k = 1.0 + np.arange(6).reshape(2, 3, 1, 1)
    dims = ("trajectory", "time", "y", "x")
    arrays = {"u": (dims, k * np.cos(x) * np.sin(y)), "v": (dims, -k * np.sin(x) * np.cos(y))}
    axes = {"trajectory": [0, 1], "time": [0.0, 0.2, 0.4], "y": SIDE, "x": SIDE}
    return xr.Dataset(arrays, axes)


def states() -> xr.Dataset:
    state = np.arange(90.0).reshape(2, 15, 3)
    axes = {"trajectory": [0, 1], "time": np.arange(15) * 0.025, "component": ["x", "y", "z"]}
    return xr.Dataset({"state": (("trajectory", "time", "component"), state)}, axes)


def observed(truth: xr.Dataset, toml: str, *words: object) -> xr.Dataset:
    if not Path("truth.nc").exists():
        truth.to_netcdf("truth.nc")
    Path("obs.toml").write_text(toml)
    done(*OBSERVE.split(), "--overwrite", *words)
    return xr.load_dataset("obs.nc")


def test_every_cell_is_seen_if_nothing_is_said() -> None:
    truth = world(2)
    obs = observed(truth, EXACT)
    for name in ("t2m", "tp"):
        some = obs.isel(obs=np.flatnonzero(obs["variable"] == name))
        where = {k: some[k] for k in ("time", "lat", "lon")}
        assert some.sizes["obs"] == truth[name].size
        np.testing.assert_allclose(some["value"], truth[name].sel(where), rtol=0, atol=1e-7)
        assert set(some["units"].values) == {truth[name].attrs["units"]}


def test_noise_has_the_stated_error_of_each_variable_and_comes_from_the_seed() -> None:
    toml = "seed = {}\n[what]\nvariables = ['tp', 't2m']\n[error]\nstd = [0.5, 2.0]\n"
    truth = world(2)
    one, again, other = (observed(truth, toml.format(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one["value"], again["value"])
    assert not np.allclose(one["value"], other["value"])
    for name, std in (("tp", 0.5), ("t2m", 2.0)):
        some = one.isel(obs=np.flatnonzero(one["variable"] == name))
        where = {k: some[k] for k in ("time", "lat", "lon")}
        miss = (some["value"] - truth[name].sel(where)) / std
        # Four standard errors of some 3000 draws.
        assert abs(float(miss.mean())) < 4 / np.sqrt(miss.size)
        assert abs(float(miss.std()) - 1) < 4 / np.sqrt(2 * miss.size)
        assert set(some["error"].values) == {std}


def test_values_keep_the_units_of_the_file() -> None:
    truth = world(1)
    truth["t2m"] = (truth["t2m"] - 273.15).assign_attrs(
        units="degC", standard_name="air_temperature"
    )
    obs = observed(truth, "[what]\nvariables = ['t2m']\n" + EXACT)
    where = {k: obs[k] for k in ("time", "lat", "lon")}
    np.testing.assert_allclose(obs["value"], truth["t2m"].sel(where), rtol=0, atol=5e-5)
    assert set(obs["units"].values) == {"degC"}
    assert obs["value"].attrs["units"] == "degC"


def test_stations_are_bilinear_between_cells() -> None:
    lat, lon = [25.0, 30.25], [110.5, 120.75]
    truth = world(2)
    truth["t2m"] = truth["t2m"].astype(float)
    toml = f"[what]\nvariables = ['t2m']\n[where]\nlat = {lat}\nlon = {lon}\n"
    obs = observed(truth, toml + EXACT)
    place = {"lat": ("obs", lat), "lon": ("obs", lon)}
    expected = truth["t2m"].interp(place).transpose("time", "obs").values.ravel()
    np.testing.assert_allclose(obs["value"], expected, rtol=0, atol=1e-7)
    assert list(obs["lat"].values) == lat * 2


def test_coarse_values_are_the_area_means_of_blocks() -> None:
    toml = "[what]\nvariables = ['t2m']\noperator = 'coarse'\nfactor = 4\n"
    truth = world(1)
    obs, means = observed(truth, toml + EXACT), coarsen_fields(truth, 4)["t2m"]
    where = {k: obs[k] for k in ("time", "lat", "lon")}
    assert obs.sizes["obs"] == means.size
    np.testing.assert_allclose(obs["value"], means.sel(where, method="nearest"), atol=1e-4, rtol=0)
    assert set(obs["operator"].values) == {"coarse"}
    assert set(obs["factor"].values) == {4}


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("every = 4", 8 * 12),
        ("box = [100, 110, 20, 25]", 10 * 5),
        ("box = [-250, -240, 20, 25]", 10 * 5),
        ("box = [100, 110, 20, 25]\nrandom = 7", 7),
        ("random = 30", 30),
    ],
)
def test_places_are_counted(where: str, count: int) -> None:
    toml = f"[what]\nvariables = ['t2m']\n[where]\n{where}\n" + EXACT
    obs = observed(world(1), toml)
    places = set(zip(obs["lat"].values.tolist(), obs["lon"].values.tolist(), strict=True))
    assert obs.sizes["obs"] == len(places) == count
    grid = grid_of(world(1))
    assert set(obs["lat"].values) <= set(grid.lat)


def test_a_box_may_cross_greenwich_and_random_cells_are_drawn_by_area() -> None:
    truth = world(1, WORLD)
    box = "[what]\nvariables = ['t2m']\n[where]\nbox = [-10, 10, -90, 90]\n"
    assert set(observed(truth, box + EXACT)["lon"].values % 360) == {352.5, 357.5, 2.5, 7.5}
    draw = "[what]\nvariables = ['t2m']\n[where]\nrandom = 400\n"
    lat = np.radians(observed(truth, draw + EXACT)["lat"].values)
    # Over the sphere sin(lat) is even, so |sin(lat)| has the mean 1/2; over cells it has 0.64.
    assert np.abs(np.sin(lat)).mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("when", "steps"),
    [
        ("every = 4", [0, 4, 8, 12]),
        ("first = 3\nlast = 5", [3, 4, 5]),
        ("first = -2", [13, 14]),
        ("steps = [7, 2]", [2, 7]),
    ],
)
def test_steps_are_chosen(when: str, steps: list[int]) -> None:
    toml = f"[what]\ncomponents = ['x']\ntrajectories = [1]\n[when]\n{when}\n" + EXACT
    obs = observed(states(), toml)
    np.testing.assert_allclose(obs["value"], 45 + 3 * np.array(steps), rtol=0, atol=1e-7)
    np.testing.assert_allclose(obs["time"], 0.025 * np.array(steps))
    assert set(obs["component"].values) == {"x"}
    assert set(obs["trajectory"].values) == {1}


def test_components_of_all_trajectories_are_seen_in_the_order_of_the_file() -> None:
    obs = observed(states(), "[what]\ncomponents = ['z', 'x']\n" + EXACT)
    expected = states()["state"].sel(component=["z", "x"]).values.ravel()
    np.testing.assert_allclose(obs["value"], expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("operator", ["vorticity", "saturating_vorticity", "speed"])
def test_functions_of_the_flow_are_those_of_its_formula(operator: str) -> None:
    obs = observed(flow(), f"[what]\noperator = '{operator}'\n" + EXACT)
    y, x = obs["y"].values, obs["x"].values
    k = 1 + 3 * obs["trajectory"].values + np.round(obs["time"].values / 0.2)
    speed = np.hypot(np.cos(x) * np.sin(y), np.sin(x) * np.cos(y))
    # Centred differences of a wave of one have the slope sin(h) / h.
    slope = -2 * k * np.cos(x) * np.cos(y) * np.sin(np.pi / 8) / (np.pi / 8)
    expected = {
        "vorticity": slope,
        "saturating_vorticity": slope / (1 + np.abs(slope)),
        "speed": k * speed,
    }[operator]
    np.testing.assert_allclose(obs["value"], expected, rtol=0, atol=1e-7)
    assert obs.sizes["obs"] == 2 * 3 * 16 * 16


def test_missing_cells_are_not_seen() -> None:
    truth = world(1)
    truth["t2m"][:, :4] = np.nan
    obs = observed(truth, "[what]\nvariables = ['t2m']\n" + EXACT)
    assert obs.sizes["obs"] == 28 * 48
    assert bool(np.isfinite(obs["value"]).all())


def test_the_file_says_how_it_was_made_and_is_read_by_the_reader_of_observations() -> None:
    obs = observed(world(1), "seed = 3\n[where]\nrandom = 9\n[error]\nstd = [0.25]\n")
    assert obs.attrs["featureType"] == "point"
    assert obs.attrs["dpdm_seed"] == "3"
    assert obs.attrs["Conventions"] == "CF-1.11"
    table = read_observations([Path("obs.nc")], {})
    assert len(table) == obs.sizes["obs"] == 18
    assert set(table["variable"]) == {"t2m", "tp"}
    np.testing.assert_allclose(table["value"], obs["value"])
    np.testing.assert_allclose(table["error"], 0.25)
    warm = table[table["variable"] == "t2m"]
    assert set(warm["status"]) == {""}


@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
def test_dates_keep_the_calendar_of_the_file(calendar: str) -> None:
    toml = "[what]\nvariables = ['t2m']\n[where]\nrandom = 2\n" + EXACT
    truth = world(3, calendar=calendar)
    obs = observed(truth, toml)
    assert list(obs["time"].values) == list(np.repeat(truth["time"].values, 2))
    with xr.open_dataset("obs.nc", decode_times=False) as raw:
        assert raw["time"].attrs["calendar"] in (calendar, "proleptic_gregorian")


def test_an_ensemble_is_no_truth() -> None:
    coarse_world(1).expand_dims(realization=[0, 1]).to_netcdf("truth.nc")
    Path("obs.toml").write_text(EXACT)
    refused(OBSERVE, "2 members, not one truth", "ncks")


def made(name: str) -> Any:
    return {"world": lambda: world(2), "flow": flow, "states": states}[name]()


@pytest.mark.parametrize(
    ("truth", "toml", "what", "hint"),
    [
        ("world", "[wat]\n", "unknown key wat", "what"),
        ("world", "[what]\nvariabels = []\n", "unknown key variabels", "variables"),
        ("world", "[what]\nvariables = ['t3m']\n" + EXACT, "variable t3m", "t2m, tp"),
        ("world", "[what]\noperator = 'pont'\n" + EXACT, "no observation operator pont", "point"),
        ("world", "[what]\noperator = 'coarse'\n" + EXACT, "coarse needs factor", "factor"),
        ("world", "[what]\noperator = 'coarse'\nfactor = 5\n" + EXACT, "do not cut", "divides"),
        ("world", "[what]\noperator = 'threshold'\n" + EXACT, "level and width", "level"),
        ("world", "[what]\nlevel = 3.0\n" + EXACT, "was given level", ""),
        ("world", "[what]\noperator = 'speed'\n" + EXACT, "wind", ""),
        ("world", "[what]\ncomponents = ['x']\n" + EXACT, "components of fields", "variables"),
        ("world", "", "0 standard deviations", "std = "),
        ("world", "[error]\nstd = [1.0, 2.0, 3.0]\n", "3 standard deviations for 2", "std = "),
        ("world", "[error]\nstd = [0.0]\n", "error of 0", "above 0"),
        ("world", "[where]\nevery = 0\n" + EXACT, "every = 0", "1 or more"),
        ("world", "[where]\nbox = [1, 2]\n" + EXACT, "box of 2 numbers", "west"),
        ("world", "[where]\nbox = [0, 9, 0, 9]\n" + EXACT, "no cell lies", "box"),
        ("world", "[where]\nrandom = 9999\n" + EXACT, "9999 random cells", "fewer"),
        ("world", "[where]\nlat = [30]\n" + EXACT, "do not fit", "lat and lon"),
        ("world", "[where]\nlat = [80]\nlon = [110]\n" + EXACT, "80 lies outside", ""),
        ("world", "[where]\ny = [1]\nx = [1]\n" + EXACT, "do not fit", "lat and lon"),
        ("world", "[when]\nsteps = [2]\n" + EXACT, "step 2, but there are 2", "-2 to 1"),
        ("world", "[when]\nevery = 0\n" + EXACT, "every 0 steps", "1 or more"),
        ("world", "[when]\nfirst = 1\nlast = 0\n" + EXACT, "from step 1 to 0", "first"),
        ("flow", "[what]\ntrajectories = [5]\n" + EXACT, "trajectory 5", "2, from 0"),
        ("flow", "[what]\nvariables = ['u']\noperator = 'speed'\n" + EXACT, "finds the wind", ""),
        ("states", "[what]\ncomponents = ['w']\n" + EXACT, "component w", "x, y, z"),
        ("states", "[where]\nevery = 2\n" + EXACT, "without space", "components"),
    ],
)
def test_settings_that_do_not_fit_are_refused(truth: str, toml: str, what: str, hint: str) -> None:
    made(truth).to_netcdf("truth.nc")
    Path("obs.toml").write_text(toml)
    refused(OBSERVE, what, hint)


def test_the_output_is_not_the_truth() -> None:
    world(1).to_netcdf("truth.nc")
    Path("obs.toml").write_text(EXACT)
    refused(
        "observe truth.nc truth.nc --config obs.toml --overwrite", "is an input too", "another"
    )
    refused("observe truth.nc obs.nc", "Missing option '--config'", code=2)
