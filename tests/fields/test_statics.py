"""The ground: known places of the bundled fields, laws of regridding, users' own files."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dpdm.constants import GRAVITY
from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.read import open_fields
from dpdm.fields.regrid import average_conservative, coarsen_fields, interpolate_bilinear
from dpdm.fields.statics import make_statics, read_bundled_statics

SAMPLES = Path(__file__).parents[2] / "sample_data"
HOME = Grid(np.arange(36.0, 56.1, 0.25), np.arange(0.0, 20.1, 0.25))  # central Europe


def height(lat: float, lon: float) -> float:
    return float(read_bundled_statics()["topography"].sel(lat=lat, lon=lon))


def land(lat: float, lon: float) -> float:
    return float(read_bundled_statics()["land_fraction"].sel(lat=lat, lon=lon))


@pytest.mark.parametrize(
    ("lat", "lon", "low", "high"),
    [
        (33.0, 88.0, 4700, 5200),  # Changtang, Tibet
        (-19.5, 293.0, 3600, 3900),  # Altiplano
        (39.75, 255.25, 1500, 1800),  # Denver, 1609 m
        (-90.0, 0.0, 2700, 2900),  # South Pole station, 2835 m
        (72.5, 321.5, 3100, 3300),  # Summit station on Greenland's ice, 3216 m
        (-78.5, 106.75, 3400, 3550),  # Vostok, 3488 m
        (42.0, 50.75, -30, -25),  # Caspian Sea, -28 m
        (47.5, 272.25, 160, 200),  # Lake Superior, 183 m
        (-1.0, 33.0, 1110, 1170),  # Lake Victoria, 1134 m
        (-3.0, 300.0, 0, 60),  # Amazon lowland
    ],
)
def test_known_altitudes(lat, lon, low, high):
    assert low <= height(lat, lon) <= high


def test_mountains_are_cell_means_not_summits():
    assert (
        7000 > float(read_bundled_statics()["topography"].max()) > 5400
    )  # Karakoram; Everest's summit: 8849
    alps = read_bundled_statics()["topography"].sel(lat=slice(44, 48), lon=slice(5, 14))
    assert 2000 < float(alps.max()) < 3000


@pytest.mark.parametrize(("lat", "lon"), [(0, 200), (-50, 30), (45, 330), (20, 65), (90, 0)])
def test_the_open_sea_is_flat_and_wet(lat, lon):
    assert (height(lat, lon), land(lat, lon)) == (0, 0)


@pytest.mark.parametrize(
    ("lat", "lon", "share"),
    [
        (42, 51, 0),  # Caspian Sea
        (47.75, 272, 0),  # Lake Superior
        (-1, 33, 0),  # Lake Victoria
        (-80, 185, 1),  # Ross Ice Shelf
        (-90, 0, 1),
        (23, 10, 1),  # Sahara
    ],
)
def test_lakes_are_water_and_ice_shelves_are_land(lat, lon, share):
    assert land(lat, lon) == pytest.approx(share, abs=0.03)  # lakes leave a few small islands


def test_land_covers_what_the_earth_has():
    fields = read_bundled_statics()
    weights = xr.DataArray(grid_of(fields).weights, dims=("lat", "lon"))
    mean = fields.weighted(weights).mean()
    assert float(mean["land_fraction"]) == pytest.approx(0.292, abs=0.006)  # textbooks: 29.2 %
    assert float(mean["topography"]) == pytest.approx(0.292 * 800, abs=15)  # land: 797 to 840 m


def test_ranges_and_poles():
    fields = read_bundled_statics()
    assert bool(fields.notnull().all().to_array().all())
    assert 0 <= float(fields["land_fraction"].min()) <= float(fields["land_fraction"].max()) == 1
    for pole in (-90, 90):
        row = fields["topography"].sel(lat=pole)
        assert float(row.max() - row.min()) <= 1  # one point; 1 m is the packing's step


@pytest.mark.parametrize("seam", [0, 720])
def test_no_step_at_greenwich_or_the_dateline(seam):
    height = read_bundled_statics()["topography"].values
    jumps = np.abs(height - np.roll(height, 1, axis=1)).mean(0)
    beside = np.delete(jumps[np.arange(seam - 40, seam + 41) % 1440], 40)
    assert beside.min() < jumps[seam] < 1.2 * beside.max()


def test_registration_against_the_fine_temperature():
    """Moved by one cell in any direction, the elevation explains the temperature less well."""
    truth = xr.open_dataset(SAMPLES / "east_asia_fine.nc")
    cold = -detail(truth[["t2m"]].mean("time"))["t2m"].values
    grid = Grid(truth["lat"].values, truth["lon"].values)
    places = {
        (y, x): Grid(grid.lat + y / 4, grid.lon + x / 4) for y in (-1, 0, 1) for x in (-1, 0, 1)
    }
    match = {
        move: np.corrcoef(cold.ravel(), elevation(grid, place).ravel())[0, 1]
        for move, place in places.items()
    }
    assert max(match, key=match.__getitem__) == (0, 0)
    assert match[0, 0] > 0.85


def detail(fields: xr.Dataset) -> xr.Dataset:
    return fields - interpolate_bilinear(coarsen_fields(fields.astype(float), 10), grid_of(fields))


def elevation(grid: Grid, place: Grid) -> np.ndarray:
    field = make_statics(place)[["topography"]].assign_coords(lat=grid.lat, lon=grid.lon)
    return detail(field)["topography"].values


def test_equal_cells_are_copied():
    got = make_statics(HOME)
    xr.testing.assert_equal(got, read_bundled_statics().sel(lat=HOME.lat, lon=HOME.lon))
    assert got["topography"].attrs["units"] == "m"
    assert got["land_fraction"].attrs["standard_name"] == "land_area_fraction"


def test_larger_cells_are_block_means():
    """One degree cells cut like four by four cells of the file hold their area means."""
    rows, columns = slice(400, 440), slice(100, 180)
    fine = read_bundled_statics().isel(lat=rows, lon=columns)
    want = coarsen_fields(fine, 4)
    got = make_statics(Grid(want["lat"].values, want["lon"].values))
    xr.testing.assert_allclose(got, want, rtol=1e-12)


def test_means_keep_the_global_mean():
    grid = Grid(np.arange(-88.75, 90, 2.5), np.arange(0.0, 360, 2.5))
    got, fields = make_statics(grid), read_bundled_statics()
    for name in got:
        want = np.average(fields[name].values, weights=grid_of(fields).weights)
        assert np.average(got[name].values, weights=grid.weights) == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("spacing", [0.25, 0.3, 1.0])
def test_longitude_has_no_origin(spacing):
    lat, lon = np.arange(30.0, 50, spacing), np.arange(-180.0, 179.9, spacing)
    west, east = make_statics(Grid(lat, lon)), make_statics(Grid(lat, lon + 360))
    for name in west:
        np.testing.assert_allclose(west[name].values, east[name].values, rtol=1e-9, atol=1e-9)


def test_about_equal_cells_are_lerped():
    grid = Grid(np.array([46.0, 46.24]), np.array([8.0, 8.24]))
    want = read_bundled_statics()["topography"].interp(lat=grid.lat, lon=grid.lon)
    np.testing.assert_allclose(make_statics(grid)["topography"].values, want.values, rtol=1e-9)


def test_finer_cells_need_the_users_own():
    with pytest.raises(DpdmError, match=r"0\.1 degrees") as refusal:
        make_statics(Grid(np.arange(40.0, 42, 0.1), np.arange(5.0, 7, 0.1)))
    assert "--statics" in refusal.value.hint


# The user's own file.


def own(**changes: xr.DataArray) -> xr.Dataset:
    """Make a 0.1 degree file that only a formula could have made, so that each cell is known."""
    lat, lon = np.arange(44.0, 48.05, 0.1), np.arange(4.0, 9.05, 0.1)
    hills = 500 + 20 * (lat[:, None] - 46) + 30 * (lon - 6)
    units = {"orog": "m", "sftlf": "1"}
    values = {"orog": hills, "sftlf": np.ones_like(hills)}
    fields = {n: (("lat", "lon"), v, {"units": units[n]}) for n, v in values.items()}
    places = {
        "lat": ("lat", lat, {"units": "degrees_north"}),
        "lon": ("lon", lon, {"units": "degrees_east"}),
    }
    return xr.Dataset(fields, places).assign(changes)


TARGET = Grid(np.arange(45.0, 47, 0.1), np.arange(5.0, 8, 0.1))


def written(ds: xr.Dataset, folder: Path) -> Path:
    path = folder / f"own{len(list(folder.iterdir()))}.nc"
    ds.to_netcdf(path)
    return path


def used(ds: xr.Dataset, folder: Path, grid: Grid = TARGET) -> xr.Dataset:
    return make_statics(grid, open_fields(written(ds, folder)))


def refused(ds: xr.Dataset, folder: Path, grid: Grid = TARGET) -> DpdmError:
    with pytest.raises(DpdmError) as refusal:
        used(ds, folder, grid)
    assert str(folder) in refusal.value.what
    return refusal.value


def test_own_file_as_it_is(tmp_path):
    got = used(own(), tmp_path)
    want = 500 + 20 * (TARGET.lat[:, None] - 46) + 30 * (TARGET.lon - 6)
    np.testing.assert_allclose(got["topography"].values, want, rtol=1e-9)
    assert float(got["land_fraction"].min()) == 1


@pytest.mark.parametrize(
    ("rename", "units", "scale"),
    [
        ("z", "m**2 s**-2", GRAVITY),
        ("phis", "m2/s2", GRAVITY),
        ("topo", "km", 1e-3),
        ("elevation", "metres", 1.0),
    ],
)
def test_heights_in_other_names_and_units(tmp_path, rename, units, scale):
    ds = own()
    ds[rename] = (ds["orog"] * scale).assign_attrs(units=units)
    ds = ds.drop_vars("orog")
    want = used(own(), tmp_path)["topography"].values
    np.testing.assert_allclose(used(ds, tmp_path)["topography"].values, want, rtol=1e-9)


def test_standard_names_go_before_short_names(tmp_path):
    ds = own()
    ds["h"] = (ds["orog"] * 2).assign_attrs(units="m", standard_name="surface_altitude")
    want = 2 * used(own(), tmp_path)["topography"].values
    np.testing.assert_allclose(used(ds, tmp_path)["topography"].values, want, rtol=1e-9)


def test_percent_westward_north_first_and_one_time(tmp_path):
    ds = own()
    ds["sftlf"] = (ds["sftlf"] * 100).assign_attrs(units="%")
    ds = ds.expand_dims(time=[np.datetime64("2000-01-01", "ns")])
    ds = ds.isel(lat=slice(None, None, -1)).assign_coords(lon=ds["lon"] - 360)
    ds["lon"].attrs["units"] = "degrees_east"
    got, want = used(ds, tmp_path), used(own(), tmp_path)
    for name in want:
        np.testing.assert_allclose(got[name].values, want[name].values, rtol=1e-9)


def test_sea_is_at_zero_without_gaps_or_floor(tmp_path):
    ds = own()
    sea, deep = ds["lon"] < 6.45, ds["lat"] < 46  # deep: a sea floor; elsewhere: missing
    ds["sftlf"] = ds["sftlf"].where(~sea, 0)
    ds["orog"] = ds["orog"].where(~(sea & deep), -4000.0).where(~sea | deep)
    got = used(ds, tmp_path)
    height, wet = got["topography"], got["land_fraction"] == 0
    assert 0 < int(wet.sum()) < wet.size
    assert bool((height.where(wet, 0) == 0).all())
    assert bool((height.where(~wet, 500) > 400).all())


def test_larger_target_takes_means_of_own(tmp_path):
    grid = Grid(np.arange(45.0, 47, 0.5), np.arange(5.0, 8, 0.5))
    wide = open_fields(written(own(), tmp_path)).rename(orog="topography", sftlf="land_fraction")
    want = average_conservative(wide.astype(float), grid)
    got = make_statics(grid, open_fields(written(own(), tmp_path)))
    np.testing.assert_allclose(got["topography"].values, want["topography"].values, rtol=1e-12)


def test_refusals_name_the_file_and_the_fault(tmp_path):
    ds = own()
    assert "no land_fraction" in refused(ds.drop_vars("sftlf"), tmp_path).what
    assert "no topography" in refused(ds.drop_vars("orog"), tmp_path).what
    ds["orog"].attrs["units"] = "K"
    assert "'K'" in refused(ds, tmp_path).what
    del ds["orog"].attrs["units"]
    assert "no units" in refused(ds, tmp_path).what
    assert "300" in refused(own(sftlf=(own()["sftlf"] * 300)), tmp_path).what


def test_gaps_over_land_are_refused(tmp_path):
    hole = (own()["lat"] > 46) & (own()["lon"] > 6)
    assert "land" in refused(own(orog=own()["orog"].where(~hole)), tmp_path).what
    assert "land_fraction" in refused(own(sftlf=own()["sftlf"].where(~hole)), tmp_path).what


def test_own_must_be_fine_and_wide_enough(tmp_path):
    finer = Grid(np.arange(45.0, 46, 0.05), np.arange(5.0, 6, 0.05))
    assert "0.05 degrees" in refused(own(), tmp_path, finer).what
    wider = Grid(np.arange(45.0, 49, 0.1), np.arange(5.0, 8, 0.1))
    assert "latitude" in refused(own(), tmp_path, wider).what
    elsewhere = Grid(np.arange(45.0, 47, 0.1), np.arange(25.0, 28, 0.1))
    assert "longitude" in refused(own(), tmp_path, elsewhere).what
