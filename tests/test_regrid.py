"""Files to files: values, units and bounds go together."""

from pathlib import Path

import numpy as np
import xarray as xr

from dpdm.fields.read import open_fields
from dpdm.regrid import coarsen_file, interpolate_file


def world(path: Path) -> xr.Dataset:
    """Write degrees and monthly amounts, with time bounds."""
    rng = np.random.default_rng(0)
    lat, lon = np.arange(30.5, 42), np.arange(100.5, 118)
    time = xr.date_range("1999-12-01", periods=3, freq="MS")
    ends = xr.date_range("1999-12-01", periods=4, freq="MS")
    shape = (3, len(lat), len(lon))
    ds = xr.Dataset(
        {
            "tas": (("time", "lat", "lon"), rng.normal(10, 5, shape), {"units": "degC"}),
            "pr": (("time", "lat", "lon"), rng.random(shape) * 100, {"units": "kg m-2"}),
            "time_bnds": (("time", "bnds"), np.stack([ends[:-1], ends[1:]], axis=1)),
        },
        {"time": ("time", time, {"bounds": "time_bnds"}), "lat": lat, "lon": lon},
    )
    ds.to_netcdf(path, encoding={"time": {"units": "days since 1999-01-01"}})
    return ds


def test_values_stay_in_the_units_and_under_the_names_of_the_file(tmp_path: Path) -> None:
    before = world(tmp_path / "in.nc")
    coarsen_file(tmp_path / "in.nc", tmp_path / "out.nc", 1)
    after = xr.open_dataset(tmp_path / "out.nc")
    assert after["tas"].attrs["units"] == "degC"
    assert after["pr"].attrs["units"] == "kg m-2"
    # Single precision: 6e-8 of 300 K, and of 100 kg m-2.
    np.testing.assert_allclose(after["tas"], before["tas"], rtol=0, atol=5e-5)
    np.testing.assert_allclose(after["pr"], before["pr"], rtol=0, atol=2e-5)
    np.testing.assert_array_equal(after["time_bnds"], before["time_bnds"])


def test_a_chain_of_commands_reads_the_same_fields(tmp_path: Path) -> None:
    world(tmp_path / "in.nc")
    coarsen_file(tmp_path / "in.nc", tmp_path / "coarse.nc", 3)
    interpolate_file(tmp_path / "coarse.nc", tmp_path / "fine.nc", tmp_path / "in.nc", None)
    source, found = (open_fields(tmp_path / n) for n in ("in.nc", "fine.nc"))
    assert found["tp"].attrs["units"] == source["tp"].attrs["units"] == "mm day-1"
    for name in ("t2m", "tp"):
        assert float(found[name].mean()) == float(np.float32(found[name].mean()))
        assert abs(float(found[name].mean() - source[name].mean())) < 0.3
