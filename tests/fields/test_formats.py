"""GRIB, as cdo writes it; where cfgrib and cdo are installed."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.read import open_fields
from dpdm.fields.value_checks import load_checked_fields

pytest.importorskip("cfgrib")
pytestmark = [
    pytest.mark.skipif(shutil.which("cdo") is None, reason="cdo is not here"),
    pytest.mark.filterwarnings("ignore"),  # cfgrib's own
]

PARAMETERS = {"t": "0.0.0,103,2", "u": "2.2.0,103,10", "sp": "0.3.0,1,0"}
MEANS = {"t": 280.0, "u": 5.0, "sp": 1e5}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write three variables on their own levels, two steps each, into one GRIB2 file."""
    rng = np.random.default_rng(0)
    lat, lon = np.arange(30.0, -31, -2), np.arange(0.0, 360, 2)
    parts = []
    for name, parameter in PARAMETERS.items():
        values = MEANS[name] * rng.normal(1, 0.01, (2, lat.size, lon.size))
        given, made = tmp_path / f"{name}.nc", tmp_path / f"{name}.grib2"
        xr.Dataset(
            {name: (("time", "lat", "lon"), values.astype("f4"))},
            {
                "time": np.array(["2000-01-01", "2000-01-02"], "M8[ns]"),
                "lat": ("lat", lat, {"units": "degrees_north", "standard_name": "latitude"}),
                "lon": ("lon", lon, {"units": "degrees_east", "standard_name": "longitude"}),
            },
        ).to_netcdf(given)
        code, level_type, level = parameter.split(",")
        chain = [f"-setlevel,{level}", f"-setltype,{level_type}", f"-setparam,{code}"]
        subprocess.run(["cdo", "-s", "-f", "grb2", "copy", *chain, given, made], check=True)
        parts.append(made)
    whole = tmp_path / "whole.grib2"
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    return whole


def test_fields_on_different_heights_lie_side_by_side(path):
    before = set(path.parent.iterdir())
    out = load_checked_fields(open_fields(path))
    assert set(out.data_vars) == {"t2m", "u10", "sp"}
    for name, mean in zip(("t2m", "u10", "sp"), MEANS.values(), strict=True):
        given = xr.open_dataset(path.with_name(f"{name[0] if name != 'sp' else name}.nc"))
        values = given[next(iter(given.data_vars))].isel(lat=slice(None, None, -1))
        # GRIB packs 16 or more bits over the range of a field, here a tenth of its mean.
        np.testing.assert_allclose(out[name], values, atol=1e-5 * mean)
    assert set(path.parent.iterdir()) == before


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file_is_not_read_in_part(path, share):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DpdmError, match="cannot be read"):
        open_fields(path)
