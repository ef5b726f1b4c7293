"""Writing: what is written comes back, others can read it, and a fault leaves nothing."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.metadata import add_cf_metadata
from dpdm.fields.read import open_fields
from dpdm.fields.write import Writer
from dpdm.paths import check_output
from tests.helpers.written_files import fields, finished, written

SUFFIXES = [".nc", ".nc4", ".zarr"]
needs_cdo = pytest.mark.skipif(shutil.which("cdo") is None, reason="cdo is not here")
needs_gdal = pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="gdal is not here")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
def test_round_trip(tmp_path, suffix, calendar):
    ds = fields(calendar=calendar)
    out = open_fields(written(ds, tmp_path / f"a{suffix}"))
    for name in ("t2m", "tp"):
        np.testing.assert_array_equal(out[name], ds[name])
        assert out[name].dims == ds[name].dims
    for name in ("time", "lat", "lon", "time_bnds", "realization"):
        np.testing.assert_array_equal(out[name], ds[name])
    assert out["time"].dt.calendar == ds["time"].dt.calendar
    assert [p.name for p in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dims", [("realization",), ("time",), ("realization", "time")])
def test_fewer_dimensions(tmp_path, suffix, dims):
    ds = fields().isel(dict.fromkeys(dims, 0), drop=True)
    out = open_fields(written(ds, tmp_path / f"a{suffix}"))
    np.testing.assert_array_equal(out["t2m"], ds["t2m"])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "blocks",
    [
        [{}],
        [{"realization": [0]}, {"realization": [1]}],
        [{"time": slice(1, 3)}, {"time": 0}],
        [{"lat": slice(0, 3)}, {"lat": slice(3, 8)}],
    ],
)
def test_any_contiguous_block_lands_in_its_place(tmp_path, suffix, blocks):
    ds, path = fields(), tmp_path / f"a{suffix}"
    with Writer(path, finished(ds)) as out:
        for block in blocks:
            out.write(ds.isel(block))
    np.testing.assert_array_equal(open_fields(path)["t2m"], ds["t2m"])


@pytest.mark.parametrize("where", [{"time": [0, 2]}, {"lat": slice(None, None, -1)}])
def test_a_scattered_block_is_refused(tmp_path, where):
    ds = fields()
    with (
        pytest.raises(ValueError, match="no contiguous part"),
        Writer(tmp_path / "a.nc", finished(ds)) as out,
    ):
        out.write(ds.isel(where))
    assert not list(tmp_path.iterdir())


def test_metadata(tmp_path):
    written(fields(), tmp_path / "a.nc")
    with netCDF4.Dataset(tmp_path / "a.nc") as file:
        assert file.Conventions == "CF-1.11, ACDD-1.3"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}Z: dpdm throw dice\.nc\nmade", file.history)
        assert re.fullmatch(r"dpdm [\d.]+\S*; dice", file.source)
        assert (file.title, file.dpdm_seed) == ("Dice", "0")
        rain = file["tp"]
        assert rain.dimensions == ("time", "realization", "lat", "lon")
        assert rain.chunking() == [1, 1, 8, 12]
        assert rain.filters() | {"zlib": True, "shuffle": True, "complevel": 1} == rain.filters()
        assert (rain.dtype, rain.standard_name) == (np.float32, "lwe_precipitation_rate")
        assert (rain.grid_mapping, rain.cell_methods) == ("crs", "area: mean")
        assert file["crs"].grid_mapping_name == "latitude_longitude"
        assert file["realization"].dtype == np.int32
        np.testing.assert_array_equal(file["lat_bnds"][0], [-20, -15])
        np.testing.assert_array_equal(file["lon_bnds"][-1], [22.5, 27.5])
        assert file["time"].bounds == "time_bnds"


def test_finishing_again_names_the_last_maker_only():
    again = add_cf_metadata(
        finished(fields()).set_coords("time_bnds"), "More", {"input": "x"}, "dpdm cast"
    )
    assert again.attrs["source"].count("dpdm") == 1
    assert again.attrs["history"].count("\n") == 2
    assert {key for key in again.attrs if key.startswith("dpdm_")} == {"dpdm_input"}


def test_cell_bounds_stop_at_the_poles():
    lat, lon = np.linspace(-90, 90, 19), np.arange(0.0, 360, 10)
    ds = xr.Dataset({"t2m": (("lat", "lon"), np.ones((19, 36)))}, {"lat": lat, "lon": lon})
    bounds = finished(ds)["lat_bnds"].values
    assert bounds.min() == -90
    assert bounds.max() == 90
    np.testing.assert_array_equal(bounds[1:, 0], bounds[:-1, 1])


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("time: mean", "time: mean"),
        ("area: time: mean (interval: 1 hour)", "area: time: mean (interval: 1 hour)"),
        ("time: sum", "time: mean"),
        ("latitude: longitude: mean", "area: mean"),
        ("", "area: mean"),
    ],
)
def test_cell_methods_that_still_hold_are_kept(given, kept):
    ds = fields()
    ds["tp"].attrs |= {"cell_methods": given, "standard_name": "lwe_precipitation_rate"}
    assert finished(ds)["tp"].attrs["cell_methods"] == kept


@needs_cdo
def test_cdo_reads_it(tmp_path):
    ds = fields()
    path = written(ds, tmp_path / "a.nc")
    report = subprocess.run(["cdo", "sinfo", path], capture_output=True, text=True, check=True)
    assert "Warning" not in report.stderr
    assert "mapping : latitude_longitude" in report.stdout
    assert "Bounds = true" in report.stdout
    command = ["cdo", "-s", "outputf,%.8g,1", "-fldmean", "-selname,t2m", path]
    mean = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    edges = np.sin(np.deg2rad(-20 + 5 * np.arange(9.0)))
    weights = xr.DataArray(np.diff(edges), dims="lat")
    want = ds["t2m"].transpose("time", "realization", ...).weighted(weights).mean(("lat", "lon"))
    # CDO adds single-precision numbers up.
    np.testing.assert_allclose(np.array(mean, float), want.values.ravel(), rtol=1e-6)


@needs_gdal
def test_gdal_reads_it(tmp_path):
    path = written(fields(), tmp_path / "a.nc")
    command = ["gdalinfo", f"NETCDF:{path}:t2m"]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert 'ID["EPSG",4326]' in report
    assert "Origin = (-32.5" in report
    assert report.count("Band ") == 6


def interrupted(path, template, fault, overwrite):
    with Writer(path, template, overwrite=overwrite) as out:
        out.write(fields().isel(time=0))
        raise fault("stop")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("fault", [KeyboardInterrupt, RuntimeError, DpdmError, SystemExit])
def test_a_fault_leaves_nothing_and_the_old_file_alone(tmp_path, suffix, fault):
    ds, path = fields(), tmp_path / f"a{suffix}"
    for overwrite in (False, True):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(fault):
            interrupted(path, finished(ds), fault, overwrite)
        assert sorted(tmp_path.rglob("*")) == before
        if not overwrite:
            written(ds, path)
    np.testing.assert_array_equal(open_fields(path)["t2m"], ds["t2m"])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_overwriting(tmp_path, suffix):
    ds, path = fields(), tmp_path / f"a{suffix}"
    written(ds, path)
    with pytest.raises(DpdmError, match="exists") as refusal:
        Writer(path, finished(ds))
    assert "--overwrite" in refusal.value.hint
    with Writer(path, finished(ds + 1), overwrite=True) as out:
        out.write(ds + 1)
    np.testing.assert_array_equal(open_fields(path)["t2m"], ds["t2m"] + 1)
    assert len(list(tmp_path.iterdir())) == 1


def test_an_input_is_never_the_output(tmp_path):
    path, link = tmp_path / "a.nc", tmp_path / "b.nc"
    written(fields(), path)
    link.symlink_to(path)
    for output in (path, link, tmp_path / "." / "a.nc"):
        with pytest.raises(DpdmError, match="is an input"):
            check_output(output, [path], overwrite=True)
    check_output(tmp_path / "c.nc", [path])


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("a.tif", "ends in '.tif'"),
        ("a", "ends in ''"),
        ("none/a.nc", "folder of .* does not exist"),
        ("folder.zarr", "is a directory"),
        ("folder.nc", "is a directory"),
        ("file.zarr", "is a file"),
    ],
)
def test_outputs_that_cannot_be(tmp_path, name, what):
    for folder in ("folder.zarr", "folder.nc"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "precious").touch()
    (tmp_path / "file.zarr").touch()
    with pytest.raises(DpdmError, match=what):
        check_output(tmp_path / name, overwrite=True)
    assert (tmp_path / "folder.zarr" / "precious").exists()


def test_a_folder_that_is_not_writable():
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o555)
        if not (child := os.fork()):
            if os.geteuid() == 0:  # root may write anywhere
                os.setuid(65534)
            try:
                check_output(Path(folder) / "a.nc")
            except DpdmError as fault:
                os._exit(0 if "not writable" in str(fault) else 1)
            os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
