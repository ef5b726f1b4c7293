"""Values at points: of the right cell, of the right statistic, in a table that others read."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dpdm.errors import DpdmWarning
from dpdm.export.points import find_points
from dpdm.fields.grid import Grid
from dpdm.observations.table import read_observations
from tests.helpers.labelled_fields import GRIDS, field, offline, west, written  # noqa: F401
from tests.helpers.small_world import done, refused

pytestmark = pytest.mark.usefixtures("offline")
STATIONS = """name;lat;lon
Reykjavik;64,13;-21,9
Wellington;-41,29;174,78
Apia;-13,83;-171,76
Greenwich;51,48;0
Quito;-0,22;281,49
Suva;-18,14;178,44
"""
EUROPE = Grid(np.arange(30.5, 60), np.arange(-9.5, 30))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stations.csv").write_text(STATIONS)
    return tmp_path


def table(ds: xr.Dataset, *words: object) -> pd.DataFrame:
    if not Path("field.nc").exists():
        written(Path("field.nc"), ds)
    done("export", "field.nc", "out.csv", "--points", "stations.csv", *words)
    return pd.read_csv("out.csv", keep_default_na=False, na_values=[""])


def wrapped(ds: xr.Dataset) -> xr.DataArray:
    """Return a globe with a column more on each side, for xarray knows no circle."""
    ds = ds.assign_coords(lon=west(ds["lon"])).sortby("lon")
    sides = [
        ds.isel(lon=[end]).assign_coords(lon=ds["lon"][[end]] - turn)
        for end, turn in ((-1, 360), (0, -360))
    ]
    return xr.concat([sides[0], ds, sides[1]], "lon")["t2m"].astype(float)


@pytest.mark.parametrize("name", ["globe of 0 to 360", "globe of -180 to 180", "globe with poles"])
@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_values_are_those_that_xarray_finds(here: Path, name: str, method: str) -> None:
    ds = field(GRIDS[name])
    found = table(ds, "--method", method)
    assert list(found) == ["station", "time", "lat", "lon", "t2m [K]"]
    assert len(found) == 6 * 2
    lat, lon = (xr.DataArray(found[c].values, dims="row") for c in ("lat", "lon"))
    whole = wrapped(ds)
    at = {"lat": lat, "lon": west(lon)}
    near = whole.sel(lat=lat, lon=xr.DataArray(west(lon), dims="row"), method="nearest")
    even = whole.interp(lat=lat, lon=xr.DataArray(at["lon"], dims="row"))
    expected = (near if method == "nearest" else even).sel(
        time=xr.DataArray(found["time"].values.astype("M8[ns]"), dims="row")
    )
    # single precision of 300 K, in the file and in the table
    np.testing.assert_allclose(found["t2m [K]"], expected, rtol=0, atol=4e-5)


def test_a_table_can_be_read_as_observations(here: Path) -> None:
    written(Path("field.nc"), field(GRIDS["globe of 0 to 360"]))
    done("export", "field.nc", "out.csv", "--points", "stations.csv")
    seen = read_observations([Path("out.csv")])
    assert (seen["variable"] == "t2m").all()
    assert (seen["status"] == "").all()
    assert list(seen["station"][:2]) == ["Reykjavik", "Wellington"]
    np.testing.assert_allclose(seen["value"], pd.read_csv("out.csv")["t2m [K]"], rtol=1e-7)


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_statistics_are_of_the_members_at_the_station(here: Path, method: str) -> None:
    ds = field(EUROPE, steps=1, members=7)
    (here / "stations.csv").write_text("name,lat,lon\nA,51.48,0.2\nB,40.0,29.9\n")
    found = table(ds, "--method", method)
    lat, lon = xr.DataArray([51.48, 40.0], dims="s"), xr.DataArray([0.2, 29.9], dims="s")
    values = ds["t2m"].isel(time=0).astype(float)
    inner = {"lat": lat, "lon": lon.clip(max=29.5)}  # beyond the last centre its value holds
    members = (
        values.sel(lat=lat, lon=lon, method="nearest")
        if method == "nearest"
        else values.interp(inner)
    )
    expected = {"mean": members.mean("realization"), "spread": members.std("realization", ddof=1)}
    expected |= {f"p{q}": members.quantile(q / 100, "realization") for q in (10, 50, 90)}
    for kind, value in expected.items():
        np.testing.assert_allclose(found[f"t2m_{kind} [K]"], value, rtol=0, atol=4e-5)
    share = table(ds, "--method", method, "--stat", "probability>297", "--overwrite")
    np.testing.assert_allclose(
        share["t2m_probability [1]"], (members > 297).mean("realization"), atol=1e-6
    )


def test_stored_statistics_are_looked_up(here: Path) -> None:
    ds = field(EUROPE)
    ds = ds.rename(t2m="t2m_mean").assign(t2m_spread=ds["t2m"] * 0 + 2, t2m_p10=ds["t2m"] - 3)
    ds["t2m_mean"].attrs["cell_methods"] = "realization: mean"
    ds["t2m_spread"].attrs = {"units": "K"}
    ds["t2m_p10"].attrs = {"units": "K"}
    (here / "stations.csv").write_text("lat,lon\n51.48,0.2\n")
    found = table(ds)
    assert list(found)[4:] == ["t2m_mean [K]", "t2m_spread [K]", "t2m_p10 [K]"]
    assert list(found["station"]) == [1, 1]
    np.testing.assert_allclose(found["t2m_mean [K]"] - found["t2m_p10 [K]"], 3, atol=1e-4)
    assert list(table(ds, "--stat", "spread", "--overwrite")["t2m_spread [K]"]) == [2, 2]


def test_geojson_has_a_point_a_row_and_null_where_nothing_is(here: Path) -> None:
    ds = field(GRIDS["globe of 0 to 360"])
    ds["t2m"][0, 50:58, 130:140] = np.nan  # Reykjavik: row 61; take its surroundings
    ds["t2m"][0, 58:64, 130:140] = np.nan
    written(Path("field.nc"), ds)
    done("export", "field.nc", "out.geojson", "--points", "stations.csv")
    said = json.loads(Path("out.geojson").read_text())
    assert said["type"] == "FeatureCollection"
    assert len(said["features"]) == 12
    first, quito = said["features"][0], said["features"][4]
    assert first["geometry"] == {"type": "Point", "coordinates": [-21.9, 64.13]}
    assert quito["geometry"]["coordinates"] == [-78.51, -0.22]
    assert first["properties"] == {"station": "Reykjavik", "time": "2012-01-16", "t2m [K]": None}
    assert said["features"][6]["properties"]["t2m [K]"] > 270


def test_repeated_places_are_one_and_those_outside_are_named(here: Path) -> None:
    (here / "stations.csv").write_text(
        "name,time,lat,lon\nA,2012-01,51,0\nA,2012-02,51,0\nFar,2012-01,10,0\n"
    )
    with pytest.warns(DpdmWarning, match=r"1 of 2 stations .* left out: Far"):
        found = find_points(Path("stations.csv"), EUROPE, "nearest")
    assert list(found.table["station"]) == ["A"]


@pytest.mark.parametrize(
    ("rows", "what", "hint"),
    [
        ("name,lat\nA,5\n", "no column lon", "name, lat and lon"),
        ("name,lat,lon\nA,5,\n", "line 2: there is no position", "remove the row"),
        ("name,lat,lon\nA,north,5\n", "line 2: lat is 'north'", "number"),
        ("name,lat,lon\nA,127,37\n", "latitude and longitude look swapped", "Exchange"),
        ("name,lat,lon\nA,-95,180\n", "A lies at latitude -95", "degrees"),
        ("name,lat,lon\nA,-45,180\n", "No station of stations.csv lies within", "--bbox"),
        ("", "it is empty", "first line"),
    ],
)
def test_bad_stations(here: Path, rows: str, what: str, hint: str) -> None:
    written(here / "field.nc", field(EUROPE))
    (here / "stations.csv").write_text(rows)
    refused("export field.nc out.csv --points stations.csv", what, hint)


def test_no_name_of_a_station_is_a_formula_and_all_come_back(here: Path) -> None:
    names = ["=1+1", "+SUM(A1)", "-5", "@x", "Ulm", "'tHooft", "- 2+3"]
    rows = [f"{name},{lat},10" for lat, name in enumerate(names)]
    Path("stations.csv").write_text("\n".join(["station,lat,lon", *rows]) + "\n")
    found = table(field(GRIDS["globe of -180 to 180"], steps=1))
    wanted = ["'=1+1", "'+SUM(A1)", "-5", "'@x", "Ulm", "'tHooft", "'- 2+3"]
    assert list(found["station"]) == wanted
    assert found["t2m [K]"].dtype.kind == "f"
    again = read_observations([Path("out.csv")])
    assert list(again["station"]) == names
