"""Bad input gets a sentence that names the file, and never a guess."""

import shutil
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.formats import expected_file_size
from dpdm.fields.read import open_fields
from dpdm.fields.value_checks import check_values, load_checked_fields
from dpdm.system import sha256

LAT = np.arange(-30.0, 31.0, 10.0)
LON = np.arange(0.0, 360.0, 30.0)
DAYS = np.array(["2000-01-15", "2000-02-15", "2000-03-15"], "M8[ns]")


def fields(lat=LAT, lon=LON, time=DAYS) -> xr.Dataset:
    values = np.full((len(time), len(lat), len(lon)), 280.0, "f4")
    return xr.Dataset(
        {"tas": (("time", "lat", "lon"), values, {"units": "K"})},
        {"time": time, "lat": lat, "lon": lon},
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.nc"


GAUSSIAN = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(32)[0]))
SWAPPED = [DAYS[0], DAYS[2], DAYS[1]]


@pytest.mark.parametrize(
    ("ds", "what", "hint"),
    [
        (fields(GAUSSIAN), "latitude is not regular", "Interpolate"),
        (fields(lon=[0, 1, 2, 4]), "longitude is not regular", "Interpolate"),
        (fields([0, 1, 1, 2]), "latitude 1 is repeated", "Remove"),
        (fields(lon=[0, 1, 1, 2]), "longitude 1 is repeated", "Remove"),
        (fields([0, 2, 1, 3]), "latitude is not sorted", "Sort"),
        (fields(lon=[0, 2, 1, 3]), "longitude is not sorted", "Sort"),
        (fields([80, 85, 90, 95]), "latitude reaches 95, beyond 90", "Correct"),
        (fields([0, 1, np.nan, 3]), "latitude has missing", "Correct"),
        (fields(lon=np.arange(0, 720, 30)), "more than once round", ""),
        (fields([10]), "latitude has one cell only", "two by two"),
        (fields(lon=[10]), "longitude has one cell only", "two by two"),
        (fields().rename(lat="row"), "there is no latitude", "CF units"),
        (fields().rename(lon="column"), "there is no longitude", "CF units"),
        (fields(time=[DAYS[0], DAYS[0], DAYS[1]]), "is repeated", "Remove one"),
        (fields(time=SWAPPED), "comes after", "sorttimestamp"),
        (fields(time=[1, 2, 3]), "time holds 1, which is not a date", "settaxis"),
        (
            fields().expand_dims(lev=[1, 2]),
            "tas is on 2 levels (lev) without units",
            "Give the axis",
        ),
        (fields().expand_dims(depth=[1, 2]), "tas has a dimension depth of 2", "ncks -d depth,0"),
        (fields().assign(tas=fields()["tas"].assign_attrs(units="")), "no units", "--units t2m="),
        (
            fields().drop_vars("tas"),
            "no variable lies on a latitude by longitude",
            "and longitude",
        ),
    ],
)
def test_refusals(path, ds, what, hint):
    ds.to_netcdf(path)
    with pytest.raises(DpdmError) as refusal:
        open_fields(path)
    assert refusal.value.what.startswith(f"{path}")
    assert what in refusal.value.what
    assert hint in refusal.value.hint


def test_a_beyond_that_is_only_rounding_is_not_refused(path):
    fields([88, 89, 90 + 1e-9]).to_netcdf(path)
    assert open_fields(path)["lat"].values[-1] == 90


def test_rotated_and_curvilinear_grids(path):
    ds = fields().rename(lat="rlat", lon="rlon")
    ds["rlat"].attrs["standard_name"] = "grid_latitude"
    twisted = np.add.outer(LAT, 0 * LON), np.add.outer(0 * LAT, LON)
    ds = ds.assign_coords(lat=(("rlat", "rlon"), twisted[0]), lon=(("rlat", "rlon"), twisted[1]))
    ds.to_netcdf(path)
    with pytest.raises(DpdmError, match="rotated"):
        open_fields(path)
    other = path.with_name("b.nc")
    ds.drop_vars(["rlat", "rlon"]).to_netcdf(other)
    with pytest.raises(DpdmError, match=r"latitude \(lat\) has 2 dimensions"):
        open_fields(other)


def test_a_list_of_cells(path):
    cells = fields().stack(cell=("lat", "lon")).drop_vars(["cell", "lat", "lon"])
    place = {"lat": ("cell", np.arange(84.0)), "lon": ("cell", np.arange(84.0))}
    cells.assign_coords(place).to_netcdf(path)
    with pytest.raises(DpdmError, match="list of cells"):
        open_fields(path)


def test_missing_variable_names_those_that_are_there_nearest_first(path):
    ds = fields()
    ds["tos"] = ds["tas"].assign_attrs(standard_name="sea_surface_temperature")
    ds.to_netcdf(path)
    with pytest.raises(DpdmError, match="there is no sp; there is") as refusal:
        open_fields(path, ["sp"])
    assert "--var sp=tas." in refusal.value.hint
    with pytest.raises(DpdmError, match="no toss; there is tos, tas") as refusal:
        open_fields(path, ["t2m"], rename={"t2m": "toss"})
    assert "--var t2m=tos." in refusal.value.hint


def test_two_claims_to_one_variable(path):
    ds = fields().rename(tas="a")
    ds["a"].attrs["standard_name"] = "air_temperature"
    ds.assign(b=ds["a"]).to_netcdf(path)
    with pytest.raises(DpdmError, match="a and b may each be t2m") as refusal:
        open_fields(path)
    assert "--var t2m=" in refusal.value.hint
    assert open_fields(path, ["t2m"], rename={"t2m": "b"})["t2m"].shape == (3, 7, 12)


@pytest.mark.parametrize(
    ("content", "what"),
    [(None, "does not exist"), (b"", "is not NetCDF"), (b"lat,lon\n1,2\n", "is not NetCDF")],
)
def test_files_that_are_no_files(path, content, what):
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DpdmError, match=what):
        open_fields(path)


def test_a_directory_is_no_store(tmp_path):
    with pytest.raises(DpdmError, match="directory, but not a Zarr store"):
        open_fields(tmp_path)


def test_grib_asks_for_cfgrib(path, monkeypatch):
    monkeypatch.setattr("dpdm.fields.formats.find_spec", lambda name: None)
    path.write_bytes(b"GRIB" + bytes(100))
    with pytest.raises(DpdmError, match="needs cfgrib") as refusal:
        open_fields(path)
    assert "pip install cfgrib" in refusal.value.hint


@pytest.mark.parametrize("kind", ["NETCDF3_CLASSIC", "NETCDF3_64BIT", "NETCDF4"])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
@pytest.mark.parametrize("unlimited", [[], ["time"]])
def test_a_truncated_file(path, kind, share, unlimited):
    ds = fields(time=np.arange(50).astype("M8[D]").astype("M8[ns]"))
    ds.to_netcdf(path, format=kind, unlimited_dims=unlimited)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DpdmError, match="cannot be read") as refusal:
        open_fields(path)
    assert "truncated" in refusal.value.hint


@pytest.mark.parametrize("kind", ["NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA"])
@pytest.mark.parametrize("unlimited", [True, False])
@pytest.mark.parametrize("types", ["b", "h", "bh", "fd", "hbd"])
def test_a_classic_header_says_how_long_the_file_is(path, kind, unlimited, types):
    with netCDF4.Dataset(path, "w", format=kind) as file:
        file.createDimension("t", None if unlimited else 5)
        file.createDimension("x", 3)
        file.setncattr("name", "odd")
        for number, code in enumerate(types):
            kind_of = {"b": "i1", "h": "i2", "f": "f4", "d": "f8"}[code]
            variable = file.createVariable(f"v{number}", kind_of, ("t", "x"))
            variable.long_name = "seven b"
            variable[:5] = np.ones((5, 3))
        file.createVariable("fixed", "f4", ("x",))[:] = 1
    size = path.stat().st_size
    assert (
        size - 4 < expected_file_size(path) <= size
    )  # the last variable's padding carries no data


def test_damage_inside_the_data_is_found_on_reading(path):
    rng = np.random.default_rng(0)
    ds = fields()
    ds["tas"] = ds["tas"] + rng.normal(size=ds["tas"].shape).astype("f4")
    ds["tas"].attrs["units"] = "K"
    ds.to_netcdf(path, encoding={"tas": {"zlib": True, "chunksizes": (1, 7, 12)}})
    content = path.read_bytes()
    with netCDF4.Dataset(path) as file:
        assert file["tas"].chunking() == [1, 7, 12]
    spots = [i for i in range(len(content) - 1) if content[i : i + 2] == b"\x78\x5e"]
    spots = spots or [i for i in range(len(content) - 1) if content[i : i + 2] == b"\x78\x01"]
    last = spots[-1]
    path.write_bytes(content[: last + 20] + b"\xff" * 60 + content[last + 80 :])
    with pytest.raises(DpdmError, match=r"a\.nc cannot be read"):
        load_checked_fields(open_fields(path))


@pytest.mark.parametrize(("bad", "what"), [(np.inf, "infinite"), (np.nan, "without a single")])
def test_values_are_checked_when_they_are_read(path, bad, what):
    ds = fields()
    ds["tas"][1] = bad
    ds.to_netcdf(path)
    out = open_fields(path)
    load_checked_fields(out.isel(time=0))
    with pytest.raises(DpdmError, match=what):
        load_checked_fields(out.isel(time=1))
    with pytest.raises(DpdmError, match=what):
        check_values(out.compute(), path)


def test_units_that_go_wrong_later_in_the_file(path):
    ds = fields()
    ds["tas"][2] -= 273.15
    ds.to_netcdf(path)
    with pytest.raises(DpdmError, match=r"median of 6\.85 K"):
        load_checked_fields(open_fields(path).isel(time=2), path)


def test_digest_of_a_file_and_of_a_store(tmp_path):
    file = tmp_path / "a.nc"
    file.write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    assert sha256(file) == known
    one, two = tmp_path / "a.zarr", tmp_path / "b.zarr"
    fields().to_zarr(one, zarr_format=2)
    shutil.copytree(one, two)
    assert sha256(one) == sha256(two)
    (two / "tas" / "0.0.0").rename(two / "tas" / "0.0.1")
    assert sha256(one) != sha256(two)
