"""STAC items say where a raster is, in longitude and latitude whatever its reference system."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpdm.fields.grid import Grid
from tests.helpers.labelled_fields import GRIDS, field, offline, written  # noqa: F401
from tests.helpers.small_world import done

rasterio = pytest.importorskip("rasterio")
shapely = pytest.importorskip("shapely")
pytestmark = pytest.mark.usefixtures("offline")
EUROPE = Grid(np.arange(35.25, 70, 0.5), np.arange(-9.75, 40, 0.5))
CAP = Grid(np.arange(60.5, 90), np.arange(0.5, 360))
WARPED = {
    "equal areas": (EUROPE, "EPSG:3035"),
    "Mercator about the dateline": (GRIDS["across the dateline"], "EPSG:3832"),
    "zone at the dateline": (GRIDS["across the dateline"], "EPSG:32601"),
    "over the pole": (CAP, "EPSG:3995"),
    "below the pole": (Grid(-CAP.lat[::-1], CAP.lon), "EPSG:3031"),
    "Mercator of the globe": (GRIDS["globe of 0 to 360"], "EPSG:3857"),
}


def catalogued(folder: Path, grid: Grid, *words: str) -> tuple[Path, dict[str, Any]]:
    source, path = written(folder / "field.nc", field(grid)), folder / "out.tif"
    done("export", source, path, "--stac", *words)
    item: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    return path, item


def rings(item: dict[str, Any]) -> list[Any]:
    place = item["geometry"]["coordinates"]
    return [part[0] for part in place] if item["geometry"]["type"] == "MultiPolygon" else place


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_items_have_what_the_specification_requires(tmp_path: Path, grid: Grid) -> None:
    path, item = catalogued(tmp_path, grid)
    assert (item["type"], item["stac_version"], item["id"]) == ("Feature", "1.1.0", "out")
    assert item["links"] == []
    assert item["properties"]["datetime"] is None
    assert item["properties"]["start_datetime"] == "2012-01-16T00:00:00Z"
    assert item["properties"]["end_datetime"] == "2012-02-16T00:00:00Z"
    asset = item["assets"]["data"]
    assert (path.parent / asset["href"]).samefile(path)
    with rasterio.open(path) as file:
        assert item["properties"]["proj:transform"] == list(file.transform)[:6]
        assert item["properties"]["proj:shape"] == list(file.shape)
        assert len(asset["bands"]) == file.count
    left, south, right, north = item["bbox"]
    assert (left > right) is (grid is GRIDS["across the dateline"])
    assert -90 <= south < north <= 90
    assert {abs(left) <= 180, abs(right) <= 180} == {True}
    width = (right - left) % 360 or 360
    assert sum(np.ptp([x for x, _ in ring]) for ring in rings(item)) == pytest.approx(width)
    assert all(ring[0] == ring[-1] and len(ring) == 5 for ring in rings(item))


@pytest.mark.parametrize(("grid", "crs"), WARPED.values(), ids=WARPED)
def test_a_warped_raster_is_where_its_pixels_are(tmp_path: Path, grid: Grid, crs: str) -> None:
    """Oracle: PROJ's bounds, and every pixel sent back to longitude and latitude."""
    path, item = catalogued(tmp_path, grid, "--crs", crs)
    with rasterio.open(path) as file:
        bounds = rasterio.warp.transform_bounds(file.crs, "EPSG:4326", *file.bounds)
        x, y = file.xy(*(axis.ravel() for axis in np.mgrid[: file.height : 3, : file.width : 3]))
        lon, lat = map(np.array, rasterio.warp.transform(file.crs, "EPSG:4326", x, y))
    # an arc between 21 points to a side, as PROJ has it, sags by less
    assert item["bbox"] == pytest.approx(bounds, abs=0.05)
    place = shapely.geometry.shape(item["geometry"])
    assert place.is_valid
    assert all(shapely.LinearRing(ring).is_ccw for ring in rings(item))
    assert np.abs(np.array(place.bounds)[[0, 2]]).max() <= 180
    assert shapely.contains_xy(place.buffer(0.05), lon, lat).all()
    assert item["properties"]["proj:code"] == crs


@pytest.mark.parametrize("crs", ["", "EPSG:3035", "+proj=laea +lat_0=50 +lon_0=10"])
def test_items_hold_to_the_schema_of_the_specification(tmp_path: Path, crs: str) -> None:
    """Peer: the schemas that pystac carries."""
    local = pytest.importorskip("pystac.validation.local_validator")
    referencing = pytest.importorskip("referencing")
    validate = pytest.importorskip("jsonschema").Draft7Validator
    known = local.get_local_schema_cache()
    shelf = [(uri, referencing.Resource.from_contents(said)) for uri, said in known.items()]
    (whole,) = (said for uri, said in known.items() if uri.endswith("item.json"))
    judge = validate(whole, registry=referencing.Registry().with_resources(shelf))
    _, item = catalogued(tmp_path, EUROPE, *(("--crs", crs) if crs else ()))
    assert list(judge.iter_errors(item)) == []
    assert list(judge.iter_errors(item | {"bbox": [1, 2, 3]}))
