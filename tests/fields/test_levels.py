"""Variables on levels: how files say them, and what dpdm makes of that."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.levels import group_families, join_levels, split_levels
from dpdm.fields.read import open_fields
from dpdm.fields.value_checks import load_checked_fields

PRESSURES = [1000.0, 850.0, 500.0]  # hPa
TIME = np.array(["2000-01-01", "2000-01-02"], "M8[ns]")


def column(**attrs: str) -> xr.DataArray:
    """Return a temperature in K on three levels, from the surface upwards, in hPa."""
    rng = np.random.default_rng(0)
    values = rng.normal(0, 3, (2, 3, 4, 6)) + np.array([288.0, 280.0, 255.0])[:, None, None]
    level = xr.Variable("plev", PRESSURES, {"units": "hPa", "standard_name": "air_pressure"})
    coords = {"time": TIME, "plev": level, "lat": np.arange(10.0, 50, 10), "lon": np.arange(6.0)}
    named = {"units": "K", "standard_name": "air_temperature"} | attrs
    array = xr.DataArray(values, coords, ("time", "plev", "lat", "lon"), "ta", named)
    return array.astype("f4")


def surface() -> xr.DataArray:
    """Return a temperature at 2 m on the same grid."""
    return column().isel(plev=0, drop=True).rename("tas") + np.float32(1)


def opened(tmp_path: Path, ds: xr.Dataset, **how: object) -> xr.Dataset:
    """Open what a file of these fields holds."""
    path = tmp_path / f"in{len(list(tmp_path.iterdir()))}.nc"
    ds.to_netcdf(path)
    return open_fields(path, **how)


def test_a_level_is_a_variable_from_the_surface_upwards(tmp_path):
    ds = opened(tmp_path, xr.Dataset({"ta": column(), "tas": surface().assign_attrs(units="K")}))
    assert sorted(ds) == ["t1000", "t2m", "t500", "t850"]
    assert group_families(ds) == {"t": ["t1000", "t850", "t500"]}
    assert ds["t850"].dims == ("time", "lat", "lon")
    assert ds["t850"].attrs["level"] == 85000.0
    assert ds["t850"].attrs["units"] == "K"
    np.testing.assert_array_equal(ds["t850"], column().sel(plev=850.0))
    np.testing.assert_array_equal(ds["t2m"], surface())


AXES = {
    "Pa": lambda a: a.assign_coords(plev=("plev", a.plev.values * 100, {"units": "Pa"})),
    "mb": lambda a: a.assign_coords(plev=a.plev.assign_attrs(units="mb")),
    "top-down": lambda a: a.isel(plev=slice(None, None, -1)),
    "shuffled": lambda a: a.isel(plev=[1, 2, 0]),
    "single precision": lambda a: a.assign_coords(plev=a.plev.astype("f4")),
    "integers": lambda a: a.assign_coords(plev=a.plev.astype("i4")),
    "level": lambda a: a.rename(plev="level"),
    "pressure_level": lambda a: a.rename(plev="pressure_level"),
    "last": lambda a: a.transpose("time", "lat", "lon", "plev"),
    "GRIB": lambda a: a.rename(plev="isobaricInhPa").assign_coords(
        isobaricInhPa=("isobaricInhPa", PRESSURES)
    ),
    "no coordinate of its own": lambda a: a.swap_dims(plev="k"),
}


@pytest.mark.parametrize("axis", AXES)
def test_unit_order_and_name_of_the_axis_change_nothing(tmp_path, axis):
    plain = opened(tmp_path, xr.Dataset({"ta": column()}))
    other = opened(tmp_path, xr.Dataset({"ta": AXES[axis](column())}))
    xr.testing.assert_identical(load_checked_fields(other), load_checked_fields(plain))


def test_joined_is_the_inverse_of_split(tmp_path):
    ds = opened(tmp_path, xr.Dataset({"ta": column(), "tas": surface().assign_attrs(units="K")}))
    whole = join_levels(ds)
    assert whole["t"].dims == ("time", "level", "lat", "lon")
    assert whole["level"].values.tolist() == [100000.0, 85000.0, 50000.0]
    assert whole["level"].attrs["positive"] == "down"
    xr.testing.assert_identical(split_levels(whole)[list(ds)].compute(), ds.compute())
    xr.testing.assert_identical(join_levels(split_levels(whole)).compute(), whole.compute())


def test_families_of_other_levels_get_an_axis_of_their_own(tmp_path):
    wind = column(units="m s-1", standard_name="eastward_wind").isel(plev=[0, 2])
    wind = (wind - 270).rename("ua", plev="lev").assign_attrs(column().attrs)
    wind.attrs = {"units": "m s-1", "standard_name": "eastward_wind"}
    ds = opened(tmp_path, xr.Dataset({"ta": column(), "ua": wind}))
    assert group_families(ds) == {"t": ["t1000", "t850", "t500"], "u": ["u1000", "u500"]}
    whole = join_levels(ds)
    assert whole["t"].dims[1] == "level"
    assert whole["u"].dims[1] == "level_2"
    xr.testing.assert_identical(split_levels(whole)[list(ds)].compute(), ds.compute())


def test_the_wind_at_10_hpa_is_not_that_at_10_m(tmp_path):
    high = column().assign_coords(plev=("plev", [30.0, 20.0, 10.0], {"units": "hPa"})) - 270
    high.attrs = {"units": "m s-1", "standard_name": "eastward_wind"}
    near = high.isel(plev=0, drop=True).assign_attrs(standard_name="eastward_wind")
    ds = opened(tmp_path, xr.Dataset({"ua": high, "uas": near}))
    assert sorted(ds) == ["u10", "u10hPa", "u20", "u30"]
    np.testing.assert_array_equal(ds["u10hPa"], high.sel(plev=10.0))
    np.testing.assert_array_equal(ds["u10"], near)
    assert join_levels(ds)["u"].sizes["level"] == 3


def test_heights_are_levels_too(tmp_path):
    metres = {"units": "m", "standard_name": "height", "positive": "up"}
    high = (
        column().rename(plev="height").assign_coords(height=("height", [200.0, 50, 100], metres))
    )
    ds = opened(tmp_path, xr.Dataset({"ta": high}))
    assert list(ds) == ["t50m", "t100m", "t200m"]
    assert join_levels(ds)["level"].values.tolist() == [50.0, 100.0, 200.0]
    assert join_levels(ds)["level"].attrs["standard_name"] == "height"
    lone = opened(tmp_path, join_levels(ds[["t100m"]]))
    assert list(lone) == ["t100m"]


def test_one_height_goes_without_saying(tmp_path):
    metres = {"units": "m", "standard_name": "height", "positive": "up"}
    low = surface().assign_attrs(column().attrs).assign_coords(height=((), 2.0, metres))
    assert list(opened(tmp_path, xr.Dataset({"tas": low}))) == ["t2m"]
    assert list(opened(tmp_path, xr.Dataset({"tas": low.expand_dims("height", 1)}))) == ["t2m"]


def test_one_pressure_is_a_level(tmp_path):
    ds = opened(tmp_path, xr.Dataset({"ta": column().isel(plev=[1])}))
    assert list(ds) == ["t850"]
    ds = opened(tmp_path, xr.Dataset({"ta850": column().isel(plev=[1]).rename("ta850")}))
    assert list(ds) == ["t850"]


def test_files_of_a_level_each_are_one_family(tmp_path):
    paths = [tmp_path / f"{k}.nc" for k in range(3)]
    for k, path in enumerate(paths):
        column().isel(plev=[k]).to_netcdf(path)
    whole = open_fields(paths)
    assert group_families(whole) == {"t": ["t1000", "t850", "t500"]}


def test_the_user_speaks_of_families_or_of_levels(tmp_path):
    celsius = (column() - 273.15).assign_attrs(units="").rename("x")
    ds = xr.Dataset({"x": celsius})
    for word in ("t", "x", "t850"):
        if word == "t850":
            with pytest.raises(DpdmError, match="t has no units"):
                opened(tmp_path, ds, rename={"t": "x"}, units={word: "degC"})
        else:
            found = opened(tmp_path, ds, rename={"t": "x"}, units={word: "degC"})
            np.testing.assert_allclose(found["t850"], column().sel(plev=850.0), rtol=1e-6)
    assert list(opened(tmp_path, xr.Dataset({"ta": column()}), variables=["t500"])) == ["t500"]
    both = xr.Dataset({"ta": column(), "tas": surface().assign_attrs(units="K")})
    assert list(opened(tmp_path, both, variables=["t"])) == ["t1000", "t850", "t500"]
    assert list(opened(tmp_path, both, variables=["t2m"])) == ["t2m"]


def test_statistics_of_a_family_keep_their_words(tmp_path):
    ds = xr.Dataset({"t": column(), "t_mean": column(), "t_spread": column() - 250})
    ds["t_spread"].attrs = {"units": "K", "standard_name": "air_temperature"}
    found = opened(tmp_path, ds)
    assert {"t850", "t850_mean", "t850_spread"} <= set(found)
    assert set(join_levels(found)) == {"t", "t_mean", "t_spread"}
    only = opened(tmp_path, ds.drop_vars("t"))
    assert {"t850", "t850_spread"} <= set(only)


def test_what_is_missing_below_ground_stays_missing(tmp_path):
    hidden = column().where((column().plev < 900) | (column().lon > 2))
    ds = load_checked_fields(opened(tmp_path, xr.Dataset({"ta": hidden})))
    assert np.isnan(ds["t1000"].values[..., :3]).all()
    assert np.isfinite(ds["t1000"].values[..., 3:]).all()
    assert np.isfinite(ds["t850"].values).all()


@pytest.mark.parametrize(
    ("change", "what", "hint"),
    [
        (lambda a: a.assign_coords(plev=[1.0, 2.0, 3.0]), "3 levels (plev) without units", "hPa"),
        (lambda a: axis(a, units="1"), "3 model levels (plev)", "pressure levels first"),
        (
            lambda a: axis(a, standard_name="atmosphere_hybrid_sigma_pressure_coordinate"),
            "3 model levels (plev)",
            "pressure levels first",
        ),
        (lambda a: a.assign_coords(plev=("plev", [9.0, 5, 5], {"units": "hPa"})), "500 Pa twice",
         "Remove one"),
        (lambda a: a.assign_coords(plev=("plev", [9.0, np.nan, 5], {"units": "hPa"})),
         "a missing level", "Correct"),
        (lambda a: axis(a, units="bar"), "beyond the levels", "units"),
        (lambda a: a.assign_attrs(units=""), "t has no units", "--units t=K"),
        (lambda a: a.assign_attrs(units="degC"), "outside 120 to 340", "--units t=K"),
    ],
)  # fmt: skip
def test_refusals(tmp_path, change, what, hint):
    with pytest.raises(DpdmError) as refusal:
        opened(tmp_path, xr.Dataset({"ta": change(column())}))
    assert refusal.value.what.startswith(str(tmp_path / "in0.nc"))
    assert what in refusal.value.what
    assert hint in refusal.value.hint


def axis(array: xr.DataArray, **attrs: str) -> xr.DataArray:
    """Return an array whose levels say something else."""
    return array.assign_coords(plev=array.plev.assign_attrs(attrs))


def test_a_surface_variable_is_not_taken_from_levels(tmp_path):
    with pytest.raises(DpdmError, match="t2m lies at the surface, and ta on 3 levels"):
        opened(tmp_path, xr.Dataset({"ta": column()}), rename={"t2m": "ta"})
    twice = xr.Dataset({"ta": column(), "ta850": column().isel(plev=0, drop=True)})
    with pytest.raises(DpdmError, match="ta on levels and another variable are both ta850"):
        opened(tmp_path, twice)


def test_a_level_may_be_named_as_the_surface(tmp_path):
    found = opened(tmp_path, xr.Dataset({"ta": column()}), rename={"t2m": "ta1000"})
    assert sorted(found) == ["t2m", "t500", "t850"]
    assert "family" not in found["t2m"].attrs
    np.testing.assert_array_equal(found["t2m"], column().sel(plev=1000.0))
