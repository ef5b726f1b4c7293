"""Several files: they follow each other in time or lie side by side, or are refused."""

import cftime
import numpy as np
import pytest
import xarray as xr

from dpdm.errors import DpdmError, DpdmWarning
from dpdm.fields.read import open_fields

LAT = np.arange(-30.0, 31.0, 10.0)
LON = np.arange(0.0, 360.0, 30.0)
DAYS = np.array(["2000-01-15", "2000-02-15", "2000-03-15"], "M8[ns]")


def fields(lat=LAT, time=DAYS) -> xr.Dataset:
    values = np.random.default_rng(0).normal(280, 5, (len(time), lat.size, LON.size)).astype("f4")
    return xr.Dataset(
        {"tas": (("time", "lat", "lon"), values, {"units": "K"})},
        {"time": time, "lat": lat, "lon": LON},
    )


def test_files_follow_each_other_in_time(tmp_path):
    paths = [tmp_path / "a.nc", tmp_path / "b.nc"]
    whole = fields()
    whole.isel(time=[0]).to_netcdf(paths[0])
    whole.isel(time=[1, 2]).to_netcdf(paths[1])
    out = open_fields(paths)
    np.testing.assert_array_equal(out["t2m"], whole["tas"])
    assert out["t2m"].chunksizes["time"] == (1, 1, 1)
    np.testing.assert_array_equal(open_fields(paths[::-1])["t2m"], whole["tas"])


def test_gaps_and_repeated_steps_are_said_and_contradictions_refused(tmp_path):
    time = np.array(["2000-01-15", "2000-02-15", "2001-04-15"], "M8[ns]")
    whole = fields(time=time)
    names = {"early.nc": [0, 1], "late.nc": [2], "again.nc": [1]}
    paths = {name: tmp_path / name for name in names}
    for name, steps in names.items():
        whole.isel(time=steps).to_netcdf(paths[name])
    with pytest.warns(DpdmWarning, match=r"gap after 2000-02-15.*late\.nc starts at 2001-04-15"):
        open_fields([paths["early.nc"], paths["late.nc"]])
    with pytest.warns(DpdmWarning, match=r"Steps that are in several files.*2000-02-15"):
        twice = open_fields([paths["early.nc"], paths["again.nc"]])
    np.testing.assert_array_equal(twice["t2m"], whole["tas"][:2])
    other = whole.isel(time=[1]) + 1
    other["tas"].attrs["units"] = "K"
    other.to_netcdf(tmp_path / "other.nc")
    with pytest.raises(DpdmError, match=r"both hold t2m of 2000-02-15.*differ"):
        open_fields([paths["early.nc"], tmp_path / "other.nc"])
    whole.isel(time=[0, 2]).to_netcdf(tmp_path / "around.nc")
    with pytest.raises(DpdmError, match=r"again\.nc starts at .*not after"):
        open_fields([tmp_path / "around.nc", paths["again.nc"]])


def test_files_of_other_variables_lie_side_by_side(tmp_path):
    paths = [tmp_path / name for name in ("a.nc", "b.nc", "c.nc")]
    winds = fields().rename(tas="uas")
    winds["uas"] = (winds["uas"] - 280).assign_attrs(units="m/s", standard_name="eastward_wind")
    for path, ds in zip(paths, [fields(), winds, winds.isel(time=[0])], strict=True):
        ds.to_netcdf(path)
    assert set(open_fields(paths[:2]).data_vars) == {"t2m", "u10"}
    assert set(open_fields(paths[:2], ["t2m", "u10"], {"u10": "uas"})) == {"t2m", "u10"}
    with pytest.raises(DpdmError, match=r"no tp in .*a\.nc, .*b\.nc"):
        open_fields(paths[:2], ["t2m", "u10", "tp"])
    with pytest.raises(DpdmError, match=r"b\.nc: there is no t2m; there is uas"):
        open_fields(paths[:2], ["t2m"])
    with pytest.raises(DpdmError, match="do not hold the same times"):
        open_fields([paths[0], paths[2]])


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (fields(LAT + 1), "different grids"),
        (fields(time=[cftime.Datetime360Day(2001, 1, 1)]), "calendars"),
        (fields().isel(time=0, drop=True), "without time"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, other, what):
    paths = [tmp_path / "a.nc", tmp_path / "b.nc"]
    fields().to_netcdf(paths[0])
    other.to_netcdf(paths[1])
    with pytest.raises(DpdmError, match=what):
        open_fields(paths)
