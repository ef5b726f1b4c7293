"""Opening files: every honest way to write a grid gives the same fields, all else a sentence."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.axes import snap_to_regular
from dpdm.fields.read import open_fields
from dpdm.fields.value_checks import load_checked_fields
from tests.helpers.odd_files import DAYS, LAT, LON, fields, temperature


def opened(ds: xr.Dataset, path: Path, **options) -> xr.Dataset:
    ds.to_netcdf(path)
    return open_fields(path, **options)


def refused(ds: xr.Dataset, path: Path, **options) -> DpdmError:
    with pytest.raises(DpdmError) as refusal:
        opened(ds, path, **options)
    assert str(path) in refusal.value.what
    return refusal.value


def same_places(out: xr.Dataset) -> None:
    """Check that each value sits where it belongs, the axes ascending and regular."""
    for axis in (out["lat"].values, out["lon"].values):
        assert axis.dtype == np.float64
        np.testing.assert_allclose(np.diff(axis), axis[1] - axis[0], rtol=1e-10)
        assert axis[1] > axis[0]
    want = temperature(out["lat"].values, out["lon"].values)
    # Single-precision coordinates move the field by less than 1e-5 K; so does its rounding.
    np.testing.assert_allclose(out["t2m"].isel(time=0), want, atol=5e-5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.nc"


def turned(lon: np.ndarray) -> np.ndarray:
    return (lon + 180) % 360 - 180


REGION = np.arange(-40.0, 41.0, 10.0)  # crosses Greenwich
PACIFIC = np.arange(150.0, 211.0, 10.0)  # crosses the date line


@pytest.mark.parametrize(
    ("lat", "lon", "west", "east"),
    [
        (LAT, LON, 0, 330),
        (LAT[::-1], LON, 0, 330),
        (LAT, LON - 180, -180, 150),
        (LAT, LON[::-1], 0, 330),
        (LAT, np.roll(LON, 6), -180, 150),
        (LAT, np.append(LON, 360), 0, 330),
        (LAT, np.append(LON - 180, 180), -180, 150),
        (LAT, LON[2:8], 60, 210),
        (LAT, turned(LON[7:11]), -150, -60),
        (LAT, REGION, -40, 40),
        (LAT, REGION % 360, -40, 40),
        (LAT, np.sort(REGION % 360), -40, 40),
        (LAT, np.sort(REGION % 360)[::-1], -40, 40),
        (LAT, REGION + 360, -40, 40),
        (LAT, PACIFIC, 150, 210),
        (LAT, turned(PACIFIC), 150, 210),
        (LAT, np.sort(turned(PACIFIC)), 150, 210),
        (np.linspace(-90, 90, 19), LON, 0, 330),
    ],
)
def test_any_layout_comes_out_ascending(path, lat, lon, west, east):
    out = opened(fields(lat, lon), path)
    same_places(out)
    assert (out["lon"].values[0], out["lon"].values[-1]) == (west, east)
    assert out["lat"].values[0] == np.min(lat)


@pytest.mark.parametrize("step", [0.1, 0.25, 1 / 12, 0.05, 1.875, 0.7])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_uneven_coordinates_snap_to_the_exact_grid(path, step, dtype):
    lat = (-20 + step / 2 + step * np.arange(40)).astype(dtype)
    lon = (95 + step / 2 + step * np.arange(120)).astype(dtype)
    out = opened(fields(lat, lon), path)
    same_places(out)
    exact = 95 + step / 2 + step * np.arange(120)
    np.testing.assert_allclose(out["lon"], exact, rtol=0, atol=1e-12)


def test_truncated_decimals_snap_and_exact_doubles_stay():
    thirds = np.trunc((20 + 1 / 6 + np.arange(1080) / 3) * 1e4) / 1e4
    np.testing.assert_array_equal(
        snap_to_regular(thirds, "longitude")[[0, 1, -1]], [121 / 6, 20.5, 2279 / 6]
    )
    odd = 1 + 0.12345678901 * np.arange(9)
    np.testing.assert_allclose(snap_to_regular(odd, "longitude"), odd, rtol=1e-15)


@pytest.mark.parametrize(
    "names",
    [
        ("time", "latitude", "longitude"),
        ("t", "y", "x"),
        ("valid_time", "nav_lat", "nav_lon"),
        ("TIME", "LAT", "LON"),
        ("wann", "hoehe", "breite"),
    ],
)
def test_axes_are_found_by_cf_and_by_name(path, names):
    ds = fields(names=names)
    ds[names[0]].attrs["standard_name"] = "time"
    same_places(opened(ds, path))


@pytest.mark.parametrize("names", [("time", "y", "x"), ("time", "lat", "lon")])
def test_axes_are_found_without_any_attribute(path, names):
    ds = fields(names=names)
    for name in names[1:]:
        ds[name].attrs = {}
    same_places(opened(ds, path))


def test_axis_under_another_name_than_its_dimension(path):
    ds = fields(names=("time", "y", "x"))
    ds = ds.rename_vars(y="latitude", x="longitude")
    same_places(opened(ds, path))


@pytest.mark.parametrize(
    ("dtype", "expected"), [("f4", "f4"), ("f8", "f8"), ("i2", "f4"), ("i4", "f4")]
)
def test_precision_and_packing(path, dtype, expected):
    ds = fields(dtype="f8")
    ds["tas"][1, 0, 0] = np.nan
    packed = {"dtype": dtype, "_FillValue": -32767}
    if dtype.startswith("i"):
        packed |= {"scale_factor": 1e-3, "add_offset": 285.0}
    ds["tas"].encoding = packed
    out = opened(ds, path)["t2m"]
    assert out.dtype == np.dtype(expected)
    np.testing.assert_allclose(out, ds["tas"], atol=6e-4)  # half of scale_factor
    assert int(out.isnull().sum()) == 1


@pytest.mark.parametrize(
    "calendar", ["standard", "proleptic_gregorian", "noleap", "360_day", "julian"]
)
@pytest.mark.parametrize("year", [1850, 1582, 2000])
def test_calendars_and_time_bounds(path, calendar, year):
    edges = xr.date_range(
        f"{year}-01-01", periods=4, freq="MS", calendar=calendar, use_cftime=True
    )
    middle = edges[:-1] + (edges[1:] - edges[:-1]) / 2
    ds = fields(time=middle)
    ds["time"].attrs["bounds"] = "t_b"
    ds["t_b"] = (("time", "nv"), np.stack([edges[:-1], edges[1:]], 1))
    ds["time"].encoding = {"units": f"days since {year}-01-01", "calendar": calendar}
    out = opened(ds, path)
    assert out["time"].dt.calendar in (calendar, "proleptic_gregorian", "gregorian")
    assert set(out.data_vars) == {"t2m"}
    assert out["time_bnds"].dims == ("time", "bnds")
    span = (out["time_bnds"][:, 1] - out["time_bnds"][:, 0]) / np.timedelta64(1, "D")
    np.testing.assert_array_equal(span, edges.days_in_month[:-1])


def test_amounts_over_time_bounds(path):
    ds = fields(time=DAYS)
    ds["time"].encoding = {"units": "hours since 2000-01-01"}
    edges = np.array(["2000-01-01", "2000-02-01", "2000-03-01", "2000-04-01"], "M8[ns]")
    ds["time"].attrs["bounds"] = "time_bnds"
    ds["time_bnds"] = (("time", "bnds"), np.stack([edges[:-1], edges[1:]], 1))
    ds["pr"] = xr.full_like(ds["tas"], 62.0).assign_attrs(
        units="kg m-2", standard_name="precipitation_amount"
    )
    out = opened(ds, path)
    np.testing.assert_allclose(out["tp"][:, 0, 0], 62 / np.array([31, 29, 31]), rtol=1e-6)


def test_no_time_and_one_time(path):
    ds = fields().isel(time=0)
    assert opened(ds.drop_vars("time"), path)["t2m"].dims == ("lat", "lon")
    out = opened(ds, path.with_name("b.nc"))
    assert out["t2m"].dims == ("time", "lat", "lon")
    assert out["time"].values[0] == DAYS[0]


@pytest.mark.parametrize("dim", ["realization", "member", "number", "ensemble"])
def test_members_are_kept(path, dim):
    ds = fields().expand_dims({dim: [3, 5]}, axis=1)
    out = opened(ds, path)
    assert out["t2m"].dims == ("realization", "time", "lat", "lon")
    assert list(out["realization"].values) == [3, 5]
    assert out["t2m"].chunksizes["realization"] == (1, 1)


def test_singletons_are_squeezed_and_the_rest_is_left_out(path):
    ds = fields().expand_dims(height=[2.0], expver=[1]).assign_coords(number=0)
    ds["crs"] = ((), 0, {"grid_mapping_name": "latitude_longitude"})
    ds["lat_bnds"] = (("lat", "bnds"), np.stack([LAT - 5, LAT + 5], 1))
    ds["lat"].attrs["bounds"] = "lat_bnds"
    ds["index"] = ("time", [1, 2, 3])
    ds["frost"] = (("lat", "lon"), np.ones((7, 12), "f4"), {"units": "days"})
    ds["orog"] = (("lat", "lon"), np.ones((7, 12), "f4"), {"units": "m"})
    out = opened(ds, path)
    assert set(out.data_vars) == {"t2m", "orog", "frost"}
    assert set(out.coords) == {"time", "lat", "lon"}
    assert out["t2m"].dims == ("time", "lat", "lon")
    assert out["orog"].attrs["units"] == "m"
    assert out.attrs["institute"] == "none"


def test_fields_are_lazy_in_steps(path):
    out = opened(fields(), path)
    assert out["t2m"].chunksizes == {"time": (1, 1, 1), "lat": (7,), "lon": (12,)}
    assert load_checked_fields(out.isel(time=[1]))["t2m"].chunks is None


def test_variables_by_either_name_and_renamed(path):
    ds = fields()
    ds["ts"] = ds["tas"].assign_attrs(standard_name="surface_temperature")
    assert set(opened(ds, path).data_vars) == {"t2m", "ts"}
    assert set(open_fields(path, ["t2m"]).data_vars) == {"t2m"}
    assert set(open_fields(path, ["tas"]).data_vars) == {"tas"}
    out = open_fields(path, ["t2m"], rename={"t2m": "ts"}, units={"ts": "K"})
    assert out["t2m"].attrs["standard_name"] == "air_temperature"


def test_declared_units_go_before_the_attribute(path):
    ds = fields()
    ds["tas"] = (ds["tas"] - 273.15).assign_attrs(ds["tas"].attrs)
    fault = refused(ds, path)
    assert "median" in fault.what
    assert "--units t2m=degC" in fault.hint
    same_places(open_fields(path, units={"t2m": "degC"}))
    same_places(open_fields(path, units={"tas": "degC"}))
    with pytest.raises(DpdmError, match="declared for t2n") as refusal:
        open_fields(path, units={"t2m": "degC", "t2n": "degC"})
    assert "tas" in refusal.value.hint


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr(tmp_path, zarr_format):
    store = tmp_path / "a.zarr"
    fields(LAT[::-1]).to_zarr(store, zarr_format=zarr_format, consolidated=False)
    same_places(open_fields(store))


def test_precise_places_beside_nominal_ones_are_left_aside(path):
    ds = fields().rename(lat="LATITUDE", lon="LONGITUDE")
    ds["PRECISE_LATITUDE"] = ("LATITUDE", LAT + 0.01, {"units": "degrees_north"})
    assert opened(ds, path)["lat"].values[0] == -30


def test_precise_places_alone_are_the_axes(path):
    ds = fields().rename(lat="PRECISE_LATITUDE", lon="PRECISE_LONGITUDE")
    for axis in ("PRECISE_LATITUDE", "PRECISE_LONGITUDE"):
        ds[axis].attrs = {}
    same_places(opened(ds, path))
