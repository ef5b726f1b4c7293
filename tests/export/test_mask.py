"""Masks keep the cells whose centre is inside, wherever the longitudes begin."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from dpdm.fields.grid import Grid
from dpdm.fields.subset import cells_in_polygons
from tests.helpers.labelled_fields import GRIDS, field, offline, west, written  # noqa: F401
from tests.helpers.small_world import GRID, Taught, coarse_world, done, refused

features = pytest.importorskip("rasterio.features")
shapely = pytest.importorskip("shapely")
pytestmark = pytest.mark.usefixtures("offline")

LAKE = [[4.2, 44.3], [9.1, 45.2], [7.7, 49.6], [4.2, 44.3]]
RING = [[-7.3, 36.2], [18.4, 38.9], [21.33, 55.7], [2.9, 58.4], [-7.3, 36.2]]
ISLES = [[[24.1, 33.2], [27.9, 34.8], [25.3, 39.4], [24.1, 33.2]]]
LAND = {"type": "MultiPolygon", "coordinates": [[RING, LAKE], ISLES]}
FIJI = {"type": "MultiPolygon", "coordinates": [
    [[[175.2, -18.8], [180, -18.8], [180, 4.3], [175.2, -3.1], [175.2, -18.8]]],
    [[[-180, -18.8], [-172.3, -15.9], [-180, 4.3], [-180, -18.8]]],
]}  # fmt: skip
BOX = {"type": "Polygon", "coordinates": [
    [[101.2, 21.2], [123.4, 23.1], [119.9, 38.3], [101.2, 21.2]]
]}  # fmt: skip


def saved(geometry: dict[str, Any], path: Path = Path("area.geojson"), **more: Any) -> Path:
    feature = {"type": "Feature", "properties": {"name": "A"}, "geometry": geometry}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]} | more))
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def burnt(geometry: dict[str, Any], grid: Grid) -> np.ndarray:
    """Rasterise as GDAL does, by centres, on a globe of -180 to 180, and look cells up there."""
    step = grid.spacing[0]
    rows, columns = round(180 / step), round(360 / step)
    transform = features.rasterio.Affine(step, 0, -180, 0, -step, 90)
    globe = features.geometry_mask([geometry], (rows, columns), transform, invert=True)[::-1]
    i = np.floor((grid.lat + 90) / step).astype(int)
    j = np.floor((west(grid.lon) + 180) / step).astype(int)
    found: np.ndarray = globe[np.ix_(i, j)]
    return found


@pytest.mark.parametrize("first", [-180.0, 0.0, 180.0, -360.0])
@pytest.mark.parametrize("geometry", [LAND, FIJI], ids=["holes and parts", "dateline"])
def test_masks_are_gdal_s(here: Path, first: float, geometry: dict[str, Any]) -> None:
    grid = Grid(np.arange(-89.5, 90), np.arange(first + 0.5, first + 360))
    kept = cells_in_polygons(grid, saved(geometry))
    assert kept.sum() > 100
    np.testing.assert_array_equal(kept, burnt(geometry, grid))


def test_a_region_across_the_dateline_is_masked_in_one_piece(here: Path) -> None:
    grid = Grid(np.arange(-19.5, 10), np.arange(170.5, 190))
    kept = cells_in_polygons(grid, saved(FIJI))
    np.testing.assert_array_equal(kept, burnt(FIJI, grid))
    assert kept[:, 8:10].any()
    assert kept[:, 10:12].any()


def test_a_centre_on_the_border_is_inside(here: Path) -> None:
    square = {"type": "Polygon", "coordinates": [[[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]]}
    kept = cells_in_polygons(Grid(np.arange(-1.0, 4), np.arange(-1.0, 4)), saved(square))
    assert kept.sum() == 9


@pytest.mark.parametrize("to", ["out.tif", "out.nc", "out.csv"])
def test_export_writes_nothing_outside(here: Path, to: str) -> None:
    grid = Grid(np.arange(30.5, 60), np.arange(-9.5, 30))
    written(Path("field.nc"), field(grid))
    saved(LAND)
    Path("stations.csv").write_text("name,lat,lon\nin,50,5\nlake,46.5,7\nout,31,20\n")
    more = ["--points", "stations.csv"] if to == "out.csv" else []
    done("export", "field.nc", to, "--mask", "area.geojson", *more)
    kept = cells_in_polygons(grid, Path("area.geojson"))
    if to == "out.csv":
        lines = Path(to).read_text().splitlines()[1:4]
        assert [line.endswith(",") for line in lines] == [False, True, True]
    elif to == "out.nc":
        with xr.open_dataset(to) as out:
            np.testing.assert_array_equal(np.isfinite(out["t2m"].values[1]), kept)
    else:
        with features.rasterio.open(to) as file:
            np.testing.assert_array_equal(np.isfinite(file.read(2)[::-1]), kept)
            assert file.tags()["dpdm_mask"] == "area.geojson"


@pytest.mark.parametrize("words", [["--members", 2], ["--mean"]], ids=["members", "mean"])
def test_downscale_draws_the_same_inside_and_nothing_outside(
    here: Path, taught: Taught, words: list[object]
) -> None:
    coarse_world(months=1).to_netcdf("coarse.nc")
    saved(BOX)
    common = ["--prior", taught.prior, "--steps", 2, *words]
    done("downscale", "coarse.nc", "all.nc", *common)
    done("downscale", "coarse.nc", "masked.nc", *common, "--mask", "area.geojson")
    kept = cells_in_polygons(GRID, Path("area.geojson"))
    assert 0 < kept.sum() < kept.size
    with xr.open_dataset("all.nc") as whole, xr.open_dataset("masked.nc") as masked:
        assert masked.attrs["dpdm_mask"] == "area.geojson"
        for name in (n for n in whole.data_vars if {"lat", "lon"} <= set(whole[n].dims)):
            expected = np.where(kept, whole[name].values, np.nan)
            np.testing.assert_array_equal(masked[name].values, expected)


BAD = {
    "elsewhere": (json.dumps(FIJI), "hold no cell of the field", "meets"),
    "no polygon": (json.dumps({"type": "Point", "coordinates": [1, 2]}), "no polygon", "areas"),
    "no feature": (json.dumps({"type": "FeatureCollection", "features": []}), "no poly", "areas"),
    "no geometry": (json.dumps({"type": "Feature", "geometry": None}), "no polygon", "areas"),
    "metres": (
        json.dumps({"type": "Polygon", "coordinates": [[[0, 0], [9e5, 0], [9e5, 9e5], [0, 0]]]}),
        "is not in degrees", "-t_srs EPSG:4326",
    ),
    "another crs": (
        json.dumps(LAND | {"crs": {"type": "name", "properties": {"name": "EPSG:3035"}}}),
        "system is EPSG:3035", "-t_srs EPSG:4326",
    ),
    "text": ("Polygon", "is not GeoJSON", "ogr2ogr"),
    "other JSON": ("[1, 2]", "is not GeoJSON: it has no type", "ogr2ogr"),
    "TopoJSON": (json.dumps({"type": "Topology", "arcs": []}), "is not GeoJSON", "ogr2ogr"),
    "broken": (json.dumps({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}), "", "ogr2ogr"),
    "features lost": (json.dumps({"type": "FeatureCollection"}), "is not GeoJSON", "ogr2ogr"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("command", ["export", "downscale"])
def test_bad_masks_are_refused(here: Path, taught: Taught, command: str, case: str) -> None:
    text, what, hint = BAD[case]
    Path("area.geojson").write_text(text)
    coarse_world(months=1).to_netcdf("coarse.nc")
    prior = f"--prior {taught.prior}" if command == "downscale" else ""
    refused(f"{command} coarse.nc out.nc --mask area.geojson {prior}", what, hint)


def test_a_mask_that_is_not_there(here: Path) -> None:
    written(Path("field.nc"), field(GRIDS["across Greenwich"]))
    refused(
        "export field.nc out.nc --mask none.geojson",
        "none.geojson does not exist",
        "Check the name",
    )
