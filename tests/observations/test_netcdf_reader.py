"""Observations in NetCDF files: our own lists, stations by time, points and grids."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.observations.layout import FileLayout
from dpdm.observations.table import read_observations

EXACT = 1e-12  # a scale and an offset in float64


def netcdf(folder: Path, ds: xr.Dataset, **said) -> pd.DataFrame:
    ds.to_netcdf(folder / "obs.nc")
    return read_observations([folder / "obs.nc"], **said)


def test_our_own_files_of_test_beds(tmp_path):
    obs = {
        "value": ("obs", [1.5, -2.5, 3.0]),
        "error": ("obs", [0.05, 0.05, 0.25]),
        "variable": ("obs", ["state"] * 3),
        "component": ("obs", ["x", "x", "z"]),
        "time": ("obs", [0.0, 0.2, 0.2]),
        "trajectory": ("obs", [0, 0, 1]),
    }
    table = netcdf(tmp_path, xr.Dataset(obs))
    for name, (_, values) in obs.items():
        assert list(table[name]) == values
    assert list(table["row"]) == [1, 2, 3]
    assert (table["status"] == "").all()


def test_our_own_files_of_places_and_cells(tmp_path):
    obs = xr.Dataset(
        {
            "value": ("obs", [10.0, 2.0], {}),
            "error": ("obs", [0.5, 0.1]),
            "variable": ("obs", ["t2m", "vorticity"]),
            "units": ("obs", ["degC", "s-1"]),
            "operator": ("obs", ["", "saturating"]),
            "y": ("obs", [0.5, 1.5]),
            "x": ("obs", [2.5, 3.5]),
        }
    )
    table = netcdf(tmp_path, obs)
    assert list(table["value"]) == [283.15, 2.0]
    assert list(table["units"]) == ["K", "s-1"]
    assert list(table["operator"]) == ["", "saturating"]


STATIONS = xr.Dataset(
    {
        "temperature": (
            ("station", "time"),
            [[10.0, 11.0, np.nan], [-5.0, -4.0, -3.0]],
            {
                "standard_name": "air_temperature",
                "units": "degC",
                "ancillary_variables": "doubt",
                "_FillValue": -99.0,
            },
        ),
        "doubt": (
            ("station",),
            [0.5, 0.25],
            {"standard_name": "air_temperature standard_error", "units": "K"},
        ),
        "name": (("station",), ["Alpha", "Beta"], {"cf_role": "timeseries_id"}),
    },
    {
        "time": pd.date_range("2000-01-15", periods=3, freq="D"),
        "where": ("station", [10.0, 20.0], {"standard_name": "latitude"}),
        "across": ("station", [100.0, 110.0], {"standard_name": "longitude"}),
        "alt": ("station", [1.0, 2.0], {"standard_name": "altitude", "units": "km"}),
    },
    {"featureType": "timeSeries", "Conventions": "CF-1.11"},
)


def test_stations_by_time(tmp_path):
    table = netcdf(tmp_path, STATIONS)
    np.testing.assert_allclose(
        table["value"], [283.15, 284.15, np.nan, 268.15, 269.15, 270.15], rtol=EXACT
    )
    assert list(table["status"]) == ["", "", "missing", "", "", ""]
    assert list(table["error"][[0, 1, 3, 4, 5]]) == [0.5, 0.5, 0.25, 0.25, 0.25]
    assert list(table["station"]) == ["Alpha"] * 3 + ["Beta"] * 3
    assert list(table["elevation"]) == [1000.0] * 3 + [2000.0] * 3
    assert list(table["time"].dt.day) == [15, 16, 17] * 2


def test_points_are_the_same_observations(tmp_path):
    points = STATIONS.stack(obs=("station", "time"), create_index=False)
    rows = netcdf(
        tmp_path,
        points.drop_vars("doubt")
        .assign(t2m_error=("obs", [0.5] * 3 + [0.25] * 3), temperature=points["temperature"])
        .rename(temperature="t2m"),
    )
    pd.testing.assert_frame_equal(rows, netcdf(tmp_path, STATIONS))


def test_every_finite_cell_of_a_grid_is_an_observation(tmp_path):
    rain = np.arange(24.0).reshape(2, 3, 4)
    rain[1, 2, 3] = np.nan
    grid = xr.Dataset(
        {"pr": (("time", "lat", "lon"), rain, {"units": "mm/day"}), "other": ("time", [1.0, 2.0])},
        {"time": pd.date_range("2000-01-01", periods=2), "lat": [30.0, 20, 10], "lon": range(4)},
    )
    table = netcdf(tmp_path, grid)
    assert list(table["value"]) == list(range(23))
    assert set(table["variable"]) == {"tp"}
    for row in table.itertuples():
        assert grid["pr"].sel(time=row.time, lat=row.lat, lon=row.lon) == row.value


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda ds: ds.expand_dims(draw=[1, 2]), "dimension draw of 2"),
        (lambda ds: ds.drop_vars(["where", "across"]), "no latitude and longitude"),
        (lambda ds: ds.drop_vars("temperature"), "no variable is known"),
        (
            lambda ds: ds.assign(temperature=ds["temperature"].isel(station=0)),
            "does not lie along",
        ),
        (lambda ds: ds.assign(value=("obs", [1.0, 2.0])), "the variable of each value is missing"),
    ],
)
def test_netcdf_that_cannot_be_read_is_refused(tmp_path, change, what):
    with pytest.raises(DpdmError, match=what) as fault:
        netcdf(tmp_path, change(STATIONS))
    assert "obs.nc" in fault.value.what


def test_several_files_are_one_table(tmp_path):
    STATIONS.to_netcdf(tmp_path / "a.nc")
    (tmp_path / "b.csv").write_text("lat,lon,t2m [K],tp [mm/day]\n1,2,280,3\n1,3,281,4\n")
    table = read_observations([tmp_path / "a.nc", tmp_path / "b.csv"])
    assert list(table["source"].value_counts().items()) == [("a.nc", 6), ("b.csv", 4)]
    assert list(table.index) == list(range(10))


def test_a_truncated_file_is_refused(tmp_path):
    STATIONS.to_netcdf(tmp_path / "whole.nc")
    data = (tmp_path / "whole.nc").read_bytes()
    (tmp_path / "obs.nc").write_bytes(data[: len(data) // 2])
    with pytest.raises(DpdmError, match="cannot be read") as fault:
        read_observations([tmp_path / "obs.nc"])
    assert fault.value.what.startswith(f"{tmp_path / 'obs.nc'} cannot be read")


def layout_lines(folder: Path, ds: xr.Dataset, **said) -> list[str]:
    layouts: list[FileLayout] = []
    netcdf(folder, ds, on_layout=layouts.append, **said)
    return [" ".join(line.split()) for line in layouts[0].lines()]


def test_what_the_variables_of_a_file_were_taken_for_is_described(tmp_path):
    ds = STATIONS.assign(remark=("station", ["x", "y"]))
    assert layout_lines(tmp_path, ds) == [
        "obs.nc: 6 rows", "time -> time", "where -> lat", "across -> lon",
        "alt -> elevation [km]", "name -> station", "temperature -> t2m [degC]",
        "doubt -> error [K]", "not used: remark",
    ]  # fmt: skip


def test_heights_without_a_unit_are_assumed_to_be_in_metres(tmp_path):
    ds = STATIONS.copy()
    ds["alt"] = ds["alt"].drop_attrs().assign_attrs(standard_name="altitude")
    lines = layout_lines(tmp_path, ds)
    assert "alt -> elevation [m]" in lines
    assert lines[-1] == "alt has no unit; heights in metres are assumed."


def test_a_list_of_values_and_variables_on_levels_are_described(tmp_path):
    listed = xr.Dataset(
        {
            "value": ("obs", [10.0], {"units": "degC"}),
            "variable": ("obs", ["t2m"]),
            "latitude": ("obs", [10.0]),
            "longitude": ("obs", [10.0]),
            "quality": ("obs", [1]),
        }
    )
    assert layout_lines(tmp_path, listed) == [
        "obs.nc: 1 row", "latitude -> lat", "longitude -> lon", "variable -> variable",
        "value -> value [degC]", "not used: quality",
    ]  # fmt: skip
    sonde = xr.Dataset(
        {"t": (("plev",), [271.0, 260.0], {"units": "K"})},
        {"plev": ("plev", [700.0, 500.0], {"units": "hPa"}), "lat": 47.0, "lon": 8.0},
    )
    assert layout_lines(tmp_path, sonde) == [
        "obs.nc: 2 rows", "lat -> lat", "lon -> lon", "plev -> pressure [hPa]", "t -> t [K]",
    ]  # fmt: skip
