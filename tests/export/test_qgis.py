"""Rasters for GIS: legible units and statistics, pixels, and the style that QGIS applies."""

import functools
import json
import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_hex
from matplotlib.image import imread

from dpdm.colours import find_colour_map
from dpdm.fields.grid import Grid
from tests.export.test_raster import exported, needs_gdal, ran
from tests.helpers.labelled_fields import field, offline  # noqa: F401
from tests.helpers.small_world import refused

rasterio = pytest.importorskip("rasterio")
pytestmark = pytest.mark.usefixtures("offline")
KOREA = Grid(np.arange(33.125, 39, 0.25), np.arange(124.125, 131, 0.25))
QGIS_PYTHON = "/usr/bin/python3"  # that of the system, which Debian's QGIS extends
RENDER = Path(__file__).parents[1] / "helpers" / "qgis_render.py"


def flux(members: int = 0) -> xr.Dataset:
    """Return precipitation of 4 to 7 mm day-1 in kg m-2 s-1."""
    ds = field(KOREA, 2, members)
    rain = ((ds["t2m"] - 287) / 86400).astype("f4")
    attrs = {"units": "kg m-2 s-1", "standard_name": "precipitation_flux"}
    return rain.assign_attrs(attrs).to_dataset(name="pr")


@needs_gdal
def test_statistics_are_legible_where_those_of_the_file_are_not(tmp_path: Path) -> None:
    ds = flux()
    said = ran("gdalinfo", exported(tmp_path, ds))
    low, high = (86400 * float(end) for end in (ds["pr"][0].min(), ds["pr"][0].max()))
    assert low > 3
    assert f"Minimum={low:.3f}, Maximum={high:.3f}" in said
    assert "Unit Type: mm day-1" in said
    assert "standard_name=lwe_precipitation_rate" in said
    with rasterio.open(tmp_path / "out.tif") as file:
        np.testing.assert_allclose(file.read(2)[::-1], 86400 * ds["pr"][1], rtol=1e-6)


def test_stored_spreads_are_converted_and_thresholds_are_those_of_the_file(tmp_path: Path) -> None:
    ds = flux(members=4)
    names = {"long_name": "spread", "units": "kg m-2 s-1"}
    ds = ds.rename(pr="tp").assign(
        tp_spread=ds["pr"].std("realization", ddof=1).assign_attrs(names)
    )
    spread = exported(tmp_path, ds, "--stat", "spread", "--variable", "tp")
    with rasterio.open(spread) as file:
        np.testing.assert_allclose(file.read(1)[::-1], 86400 * ds["tp_spread"][0], rtol=1e-6)
        assert file.units[0] == "mm day-1"
    asked = ("--variable", "tp", "--stat", "spread", "--out-units", "tp=kg m-2 s-1")
    with rasterio.open(exported(tmp_path, ds, *asked, to="flux.tif")) as file:
        assert file.units[0] == "kg m-2 s-1"  # what the user asks for
    threshold = float(ds["tp"].median())
    share = exported(
        tmp_path, ds, "--variable", "tp", "--stat", f"probability>{threshold!r}", to="share.tif"
    )
    with rasterio.open(share) as file:
        wanted = (ds["tp"][:, 0].astype(float) > threshold).mean("realization")
        np.testing.assert_allclose(file.read(1)[::-1], wanted, atol=1e-6)
        assert file.units[0] == "1"


@pytest.mark.parametrize("rows", [0.25, 0.5])
def test_pixels_are_square_or_the_reason_is_in_the_file(tmp_path: Path, rows: float) -> None:
    grid = Grid(np.arange(30.125, 40, rows), KOREA.lon)
    with rasterio.open(exported(tmp_path, field(grid))) as file:
        width, height = file.transform.a, -file.transform.e
        assert file.tags().get("pixels", "")[:20] == (
            "" if width == height else "0.25 by 0.5 degrees:"[:20]
        )
    with rasterio.open(exported(tmp_path, field(grid), "--crs", "EPSG:3857", to="m.tif")) as file:
        assert file.transform.a == pytest.approx(-file.transform.e)
        assert "pixels" not in file.tags()


def items(path: Path) -> list[dict[str, str]]:
    return [each.attrib for each in ElementTree.parse(path).iter("item")]


def test_styles_of_all_steps_have_one_ramp_with_units(tmp_path: Path) -> None:
    exported(tmp_path, field(KOREA, 2), "--qml", "--split", "time")
    first, second = (items(tmp_path / f"out_2012-0{i}-16.qml") for i in (1, 2))
    assert first == second
    values = np.array([float(each["value"]) for each in first])
    whole = field(KOREA, 2)["t2m"].values
    assert (values[0] <= whole.min() + 0.1, values[-1] >= whole.max() - 0.1) == (True, True)
    thermal = find_colour_map("thermal")
    shares = (values - values[0]) / (values[-1] - values[0])
    assert [each["color"] for each in first] == [to_hex(c) for c in thermal(shares)]
    assert [float(each["label"].removesuffix(" K")) for each in first] == pytest.approx(values)
    source = f"export {tmp_path}/field.nc {tmp_path}"
    refused(f"{source}/out.nc --qml", "--qml requires GeoTIFF", "Write a .tif.")
    (tmp_path / "own.qml").write_text("mine")
    refused(f"{source}/own.tif --qml", "own.qml exists", "--overwrite")
    assert (tmp_path / "own.qml").read_text() == "mine"


@functools.cache
def qgis_is_here() -> bool:
    words = [QGIS_PYTHON, "-c", "import qgis.core"]
    return (
        Path(QGIS_PYTHON).exists()
        and subprocess.run(words, capture_output=True, check=False).returncode == 0
    )


def test_qgis_draws_the_raster_with_its_style(tmp_path: Path) -> None:
    if not qgis_is_here():
        pytest.skip("no QGIS is here")
    path = exported(tmp_path, flux(), "--qml")
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "QT_QPA_PLATFORM": "offscreen"}
    run = subprocess.run(
        [QGIS_PYTHON, RENDER, path, tmp_path / "out.png"],
        env=home, check=True, capture_output=True, text=True,
    )  # fmt: skip
    said = json.loads(run.stdout)
    assert said["valid"] is True
    assert said["style"] == ["", True]
    assert said["renderer"] == "singlebandpseudocolor"
    assert said["crs"] == "EPSG:4326"
    assert said["pixel"] == [0.25, 0.25]
    assert said["bands"] == ["Band 1: 2012-01-16", "Band 2: 2012-02-16"]
    rain = 86400 * flux()["pr"][0].astype(float)
    assert said["range"] == pytest.approx([float(rain.min()), float(rain.max())], rel=1e-5)
    assert said["items"] == [
        [float(each["value"]), each["color"], each["label"]]
        for each in items(tmp_path / "out.qml")
    ]
    assert all(label.endswith(" mm day-1") for _, _, label in said["items"])
    picture = imread(tmp_path / "out.png")[..., :3]
    map_of_picture = picture[:, : int(0.66 * picture.shape[1])]
    assert (map_of_picture.min(-1) < 0.9).mean() > 0.5  # of the map, not of the white page
