"""GRIB on levels, as cdo writes it; where cfgrib and cdo are installed."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dpdm.fields.levels import group_families
from dpdm.fields.read import open_fields
from dpdm.fields.value_checks import load_checked_fields

pytest.importorskip("cfgrib")
pytestmark = [
    pytest.mark.skipif(shutil.which("cdo") is None, reason="cdo is not here"),
    pytest.mark.filterwarnings("ignore"),  # cfgrib's own
]
AXIS = {"units": "Pa", "standard_name": "air_pressure", "axis": "Z", "positive": "down"}
AXES = {
    "lat": ("lat", np.arange(30.0, -31, -10), {"units": "degrees_north", "axis": "Y"}),
    "lon": ("lon", np.arange(0.0, 360, 20), {"units": "degrees_east", "axis": "X"}),
    "time": np.array(["2000-01-01", "2000-01-02"], "M8[ns]"),
}


def grib(folder: Path, code: str, mean: float, levels: list[float], *chain: str) -> xr.DataArray:
    """Add a variable to a GRIB2 file, and return what was added."""
    rng = np.random.default_rng(len(levels))
    shape = (2, len(levels), 7, 18)
    values = mean * rng.normal(1, 0.01, shape).astype("f4")
    coords = AXES | {"plev": ("plev", levels, AXIS)}
    array = xr.DataArray(values, coords, ("time", "plev", "lat", "lon"), "x")
    given = array if not chain else array.isel(plev=0, drop=True)
    given.to_netcdf(folder / "x.nc")
    words = ["cdo", "-s", "-f", "grb2", "copy", *chain, f"-setparam,{code}"]
    subprocess.run([*words, folder / "x.nc", folder / "x.grib2"], check=True)
    with (folder / "whole.grib2").open("ab") as file:
        file.write((folder / "x.grib2").read_bytes())
    return given


def test_variables_on_levels_of_their_own_and_at_the_surface(tmp_path: Path) -> None:
    t = grib(tmp_path, "0.0.0", 280.0, [1e5, 8.5e4, 5e4])
    u = grib(tmp_path, "2.2.0", 5.0, [8.5e4, 5e4])
    q = grib(tmp_path, "0.1.0", 0.01, [8.5e4])
    t2m = grib(tmp_path, "0.0.0", 281.0, [0.0], "-setlevel,2", "-setltype,103")
    out = load_checked_fields(open_fields(tmp_path / "whole.grib2"))
    assert group_families(out) == {
        "t": ["t1000", "t850", "t500"], "u": ["u850", "u500"], "q": ["q850"],
    }  # fmt: skip
    for name, given in (
        ("t850", t.sel(plev=8.5e4)),
        ("t500", t.sel(plev=5e4)),
        ("u850", u.sel(plev=8.5e4)),
        ("q850", q.sel(plev=8.5e4)),
        ("t2m", t2m),
    ):
        values = given.isel(lat=slice(None, None, -1)).transpose("time", "lat", "lon")
        np.testing.assert_allclose(out[name], values, atol=2e-5 * float(abs(values).mean()))
