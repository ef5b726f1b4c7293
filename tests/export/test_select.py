"""What dpdm export chooses of a file, what it makes of members, and what it refuses."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid
from dpdm.fields.statistics import parse_statistic
from dpdm.system import import_extra
from tests.helpers.labelled_fields import GRIDS, field, offline, written  # noqa: F401
from tests.helpers.small_world import done, dpdm, refused

rasterio = pytest.importorskip("rasterio")
pytestmark = pytest.mark.usefixtures("offline")
EUROPE = Grid(np.arange(30.5, 60), np.arange(-9.5, 30))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with fields of two variables: one.nc, members.nc, and two.nc with both."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "one.nc", field(EUROPE, steps=3))
    written(tmp_path / "members.nc", field(EUROPE, steps=3, members=6))
    rain = xr.full_like(field(EUROPE, steps=3)["t2m"], 93.0)
    rain.attrs = {"units": "mm/month", "standard_name": "lwe_precipitation_rate"}
    written(tmp_path / "two.nc", field(EUROPE, steps=3, members=6).assign(tp=rain))
    (tmp_path / "stations.csv").write_text("name,lat,lon\nA,51.5,0.2\n")
    return tmp_path


def band(path: str = "out.tif", number: int = 1) -> np.ndarray:
    with rasterio.open(path) as file:
        values: np.ndarray = file.read(number)
    return values[::-1].astype(float)


def members() -> np.ndarray:
    with xr.open_dataset("members.nc") as ds:
        values: np.ndarray = ds["t2m"].values[:, 0].astype(float)
    return values


EXPECTED = {
    "mean": lambda x: x.mean(0),
    "spread": lambda x: x.std(0, ddof=1),
    "p10": lambda x: np.quantile(x, 0.1, axis=0),
    "p50": lambda x: np.median(x, axis=0),
    "p95": lambda x: np.quantile(x, 0.95, axis=0),
    "member=3": lambda x: x[3],
    "probability>297": lambda x: (x > 297).mean(0),
    "probability <= 296.5": lambda x: (x <= 296.5).mean(0),
}


@pytest.mark.parametrize("stat", EXPECTED)
def test_statistics_are_those_of_numpy(here: Path, stat: str) -> None:
    done("export", "members.nc", "out.tif", "--stat", stat)
    # single precision of 300 K in the file
    np.testing.assert_allclose(band(), EXPECTED[stat](members()), rtol=0, atol=4e-5)
    with rasterio.open("out.tif") as file:
        assert file.units[0] == ("1" if "probability" in stat else "K")
        words = file.tags(1)["long_name"]
    assert words.endswith("2 metre temperature") or "probability that 2 metre" in words


def test_a_raster_of_an_ensemble_is_its_mean(here: Path) -> None:
    done("export", "members.nc", "out.tif")
    np.testing.assert_allclose(band(), members().mean(0), rtol=0, atol=4e-5)


def test_statistics_that_are_stored_are_taken(here: Path) -> None:
    stored = xr.open_dataset("members.nc").load()
    written(Path("stored.nc"), stored.assign(t2m_p90=stored["t2m"].isel(realization=0) + 7))
    done("export", "stored.nc", "out.tif", "--stat", "p90")
    np.testing.assert_allclose(band(), members()[0] + 7, rtol=0, atol=4e-5)
    done("export", "stored.nc", "other.tif", "--stat", "p80")
    assert np.abs(band("other.tif") - members()[0]).max() < 7


def test_a_missing_member_makes_a_missing_statistic(here: Path) -> None:
    ds = field(EUROPE, steps=1, members=3)
    ds["t2m"][1, 0, 4, 5] = np.nan
    written(Path("gap.nc"), ds)
    for number, stat in enumerate(("mean", "spread", "p50", "probability>0")):
        done("export", "gap.nc", f"out{number}.tif", "--stat", stat)
        assert np.argwhere(np.isnan(band(f"out{number}.tif"))).tolist() == [[4, 5]]


def test_values_are_in_the_units_of_the_file(here: Path) -> None:
    done("export", "two.nc", "out.tif", "--variable", "tp")
    np.testing.assert_allclose(band(), 93.0, rtol=1e-6)
    celsius = field(EUROPE)
    celsius["t2m"] = (celsius["t2m"] - 273.15).assign_attrs(celsius["t2m"].attrs, units="degC")
    written(Path("celsius.nc"), celsius)
    done("export", "celsius.nc", "warm.tif")
    np.testing.assert_allclose(band("warm.tif"), celsius["t2m"][0], rtol=0, atol=4e-5)
    done("export", "celsius.nc", "again.nc")
    with xr.open_dataset("again.nc") as again:
        assert again["t2m"].attrs["units"] == "degC"
        np.testing.assert_allclose(again["t2m"], celsius["t2m"], rtol=0, atol=4e-5)


@pytest.mark.parametrize(
    ("when", "days"),
    [("2012-02", ["2012-02-16"]), ("2012-02..2012-03", ["2012-02-16", "2012-03-18"]),
     ("2012-02-16", ["2012-02-16"]), ("..2012-02", ["2012-01-16", "2012-02-16"]),
     ("2012", ["2012-01-16", "2012-02-16", "2012-03-18"])],
)  # fmt: skip
@pytest.mark.parametrize("calendar", ["standard", "noleap"])
def test_times(here: Path, when: str, days: list[str], calendar: str) -> None:
    written(Path("dated.nc"), field(EUROPE, steps=3, calendar=calendar))
    done("export", "dated.nc", "out.tif", "--time", when)
    leap = {"2012-03-18": "2012-03-19"} if calendar == "noleap" else {}
    with rasterio.open("out.tif") as file:
        assert list(file.descriptions) == [leap.get(day, day) for day in days]


def test_a_box_across_the_dateline(here: Path) -> None:
    written(Path("globe.nc"), field(GRIDS["globe of 0 to 360"]))
    done("export", "globe.nc", "out.tif", "--bbox", "170,-170,-20,0")
    with rasterio.open("out.tif") as file:
        assert tuple(file.bounds) == (170.0, -20.0, 190.0, 0.0)
    done("export", "globe.nc", "whole.tif")
    whole = band("whole.tif")
    np.testing.assert_array_equal(band()[:, :4], whole[28:36, 140:])
    np.testing.assert_array_equal(band()[:, 4:], whole[28:36, :4])


def test_everything_of_a_file_fits_into_netcdf(here: Path) -> None:
    done("export", "two.nc", "out.nc", "--time", "2012-02")
    with xr.open_dataset("out.nc") as out, xr.open_dataset("two.nc") as two:
        assert set(out.data_vars) >= {"t2m", "tp"}
        assert out["t2m"].dims == ("time", "realization", "lat", "lon")
        assert out["tp"].dims == ("time", "lat", "lon")
        one = two["t2m"].isel(time=[1]).transpose("time", ...)
        np.testing.assert_allclose(out["t2m"], one, rtol=0, atol=4e-5)
        assert out.attrs["dpdm_exported"] == "two.nc"


def test_the_same_field_is_the_same_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    monkeypatch.setattr(sys, "argv", ["dpdm", "export"])
    for name in ("a", "b"):
        done("export", "one.nc", f"{name}.tif", "--stac")
    assert Path("a.tif").read_bytes() == Path("b.tif").read_bytes()


REFUSED = {
    "several variables": ("two.nc out.tif", "there are 2: t2m, tp", "--variable t2m"),
    "unknown variable": ("two.nc out.tif --variable t2n", "no variable t2n; there is t2m", "t2m"),
    "no members": ("one.nc out.tif --stat mean", "no members, and no mean is stored", "--keep"),
    "no statistic": ("members.nc out.tif --stat mode", "'mode' is not a statistic", "p90"),
    "percentile": ("members.nc out.tif --stat p101", "'p101' is not a statistic", "p90"),
    "no member": ("members.nc out.tif --stat member=9", "no member 9; there are 0 to 5", "those"),
    "threshold": ("members.nc out.tif --stat probability", "has no threshold", "Quote it"),
    "no number": ("members.nc out.tif --stat probability>x", "has no threshold", "Quote it"),
    "another year": ("one.nc out.tif --time 2013", "no step of 2013; there are 3 from", "between"),
    "backwards": ("one.nc out.tif --time 2012-03..2012-01", "no step of 2012-03..2012-01", "date"),
    "no time": ("one.nc out.tif --time May", "'May' is not a valid date", "2012-01"),
    "no month": ("one.nc out.tif --time 2012-13", "'2012-13' is not a valid date", "date"),
    "box": ("one.nc out.tif --bbox 90,100,0,10", "not within the grid", "within"),
    "crs": ("one.nc out.tif --crs EPSG:0", "'EPSG:0' is not a readable coordinate", "EPSG:3035"),
    "nonsense": ("one.nc out.tif --crs moon", "'moon' is not a readable coordinate", "EPSG:3035"),
    "web page": (
        "one.nc out.tif --crs http://localhost:9/x",
        "not a readable coordinate",
        "EPSG:3035",
    ),
    "file": (
        "one.nc out.tif --crs /etc/passwd",
        "'/etc/passwd' is not a readable coordinate",
        "EPSG:3035",
    ),
    "suffix": ("one.nc out.png", "ends in '.png'", ".tif"),
    "split table": ("one.nc out.csv --split time", "--split requires GeoTIFF", ".tif"),
    "warped cube": ("one.nc out.nc --crs EPSG:3035", "--crs requires GeoTIFF", ".tif"),
    "catalogued table": ("one.nc out.zarr --stac", "--stac requires GeoTIFF", ".tif"),
    "points of raster": ("one.nc out.tif --points stations.csv", "requires a table", ".csv"),
    "field as table": ("one.nc out.csv", "A field cannot be written", "--points STATIONS.csv"),
    "no file": ("none.nc out.tif", "none.nc does not exist", "name"),
    "itself": ("one.nc one.nc --overwrite", "is an input too", "another"),
    "there": ("one.nc there.tif", "there.tif exists", "--overwrite"),
    "a part is there": ("one.nc part.tif --split time", "part_2012-02-16.tif exists", "--overw"),
    "an item is there": ("one.nc there2.tif --stac", "there2.json exists", "--overwrite"),
    "no stations": ("one.nc out.csv --points none.csv", "none.csv", "Check the name"),
    "infinite later": ("late.nc out.tif", "t2m holds infinite values", "missing"),
    "infinite part": (
        "late.nc out.tif --split time --stac",
        "t2m holds infinite values",
        "missing",
    ),
    "infinite cube": ("late.nc out.nc", "t2m holds infinite values", "missing"),
    "infinite table": (
        "late.nc out.csv --points stations.csv",
        "holds infinite values",
        "missing",
    ),
    "timeless": ("timeless.nc out.tif --stac", "has no time", "--stac"),
    "timeless split": ("timeless.nc out.tif --split time", "no time axis to split", "--split"),
    "one member": ("lone.nc out.tif --stat spread", "one member; a spread needs two", "members"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_leaves_nothing(here: Path, case: str) -> None:
    for name in ("there.tif", "part_2012-02-16.tif", "there2.json"):
        Path(name).write_text("mine")
    if case.startswith(("infinite", "timeless", "one member")):
        late = field(EUROPE, steps=3)
        late["t2m"][2, 0, 0] = np.inf
        written(Path("late.nc"), late)
        written(Path("timeless.nc"), field(EUROPE).isel(time=0, drop=True))
        written(Path("lone.nc"), field(EUROPE, members=1))
    words, what, hint = REFUSED[case]
    refused(f"export {words}", what, hint)


@pytest.mark.parametrize("words", ["one.nc", "one.nc out.tif --method best", "a b --split day"])
def test_misspelt_commands(here: Path, words: str) -> None:
    assert dpdm("export", *words.split()).exit_code == 2


@pytest.mark.parametrize(
    ("library", "words", "what"),
    [("rasterio", "one.nc out.tif", "GeoTIFFs need rasterio"),
     ("shapely", "one.nc out.nc --mask area.geojson", "Masks need shapely")],
)  # fmt: skip
def test_a_library_that_lacks(
    here: Path, monkeypatch: pytest.MonkeyPatch, library: str, words: str, what: str
) -> None:
    Path("area.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": []}))
    monkeypatch.setitem(sys.modules, library, None)
    refused(f"export {words}", f"{what}, which is not installed", "pip install 'dpdm[gis]'")


def test_netcdf_and_tables_need_no_library_of_gis(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in ("rasterio", "rio_cogeo", "shapely"):
        monkeypatch.setitem(sys.modules, library, None)
    done("export", "one.nc", "out.nc")
    done("export", "one.nc", "out.csv", "--points", "stations.csv")


def test_an_ensemble_of_one_has_no_spread_in_a_table(here: Path) -> None:
    written(Path("lone.nc"), field(EUROPE, members=1))
    done("export", "lone.nc", "out.csv", "--points", "stations.csv")
    assert ",," in Path("out.csv").read_text().splitlines()[1]


def test_parse_says_what_it_reads() -> None:
    kinds: dict[str, Any] = {
        text: parse_statistic(text) for text in ("mean", "p05", "member=r1i1")
    }
    assert (kinds["p05"].text, kinds["p05"].value) == ("p5", 5)
    assert kinds["member=r1i1"].value == "r1i1"
    with pytest.raises(DpdmError, match="Vegetables need parsnip"):
        import_extra("parsnip", "Vegetables")
