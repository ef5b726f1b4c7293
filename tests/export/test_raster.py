"""GeoTIFFs say the same to GDAL, rasterio, rio-cogeo and CDO as the fields say to us."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from dpdm.fields.grid import Grid
from dpdm.fields.read import open_fields
from tests.helpers.labelled_fields import GRIDS, field, offline, told, west, written  # noqa: F401
from tests.helpers.small_world import done

rasterio = pytest.importorskip("rasterio")
cogeo = pytest.importorskip("rio_cogeo")
needs_gdal = pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="gdal-bin is not here")
needs_cdo = pytest.mark.skipif(shutil.which("cdo") is None, reason="cdo is not here")
pytestmark = pytest.mark.usefixtures("offline")
FINE = Grid(np.arange(-89.75, 90, 0.5), np.arange(0.25, 360, 0.5))
EUROPE = Grid(np.arange(35.25, 70, 0.5), np.arange(-9.75, 40, 0.5))


def ran(*words: object) -> str:
    return subprocess.run(
        [str(word) for word in words], check=True, capture_output=True, text=True
    ).stdout


def gdalinfo(path: Path | str, *words: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(ran("gdalinfo", "-json", *words, path))
    return said


@pytest.fixture(params=GRIDS)
def grid(request: pytest.FixtureRequest) -> Grid:
    return GRIDS[request.param]


def exported(folder: Path, ds: xr.Dataset, *words: object, to: str = "out.tif") -> Path:
    source = folder / "field.nc"
    if not source.exists():
        written(source, ds)
    done("export", source, folder / to, *words)
    return folder / to


def test_every_pixel_is_where_its_cell_is(tmp_path: Path, grid: Grid) -> None:
    path = exported(tmp_path, field(grid))
    with rasterio.open(path) as file:
        assert file.crs.to_epsg() == 4326
        rows, columns = np.mgrid[: file.height, : file.width]
        x, y = (np.reshape(c, rows.shape) for c in file.xy(rows.ravel(), columns.ravel()))
        # float32 of 300 K is good to 1.5e-5, a cell's neighbour differs by 2.5e-4 or more
        np.testing.assert_allclose(file.read(2), told(y, x) + 1, atol=4e-5, rtol=0)
        assert file.shape == grid.shape
        assert -180 - grid.spacing[1] < file.bounds.left < 180
        assert file.transform.e < 0


def test_transform_is_that_of_the_edges(tmp_path: Path, grid: Grid) -> None:
    with rasterio.open(exported(tmp_path, field(grid))) as file:
        a, b, left, d, e, top = list(file.transform)[:6]
    (rows, columns), (height, width) = grid.spacing, grid.shape
    first = -180 + grid.lon_edges[0] % columns if grid.cyclic else west(grid.lon[0]) - columns / 2
    first = -180 - columns / 2 if grid is GRIDS["globe with poles"] else first
    north = grid.lat[-1] + rows / 2
    np.testing.assert_allclose(
        [a, b, left, d, e, top], [columns, 0, first, 0, -rows, north], rtol=0, atol=1e-9
    )
    assert (height, width) == grid.shape


@pytest.mark.parametrize("place", [(51.6, -0.4), (-41.2, 174.9), (-41.2, -179.9), (64.1, -21.9)])
def test_sampled_values_are_those_of_the_nearest_cell(
    tmp_path: Path, place: tuple[float, float]
) -> None:
    ds = field(GRIDS["globe of 0 to 360"])
    with rasterio.open(exported(tmp_path, ds)) as file:
        (found,) = file.sample([place[::-1]])
    nearest = ds["t2m"].sel(lat=place[0], lon=place[1] % 360, method="nearest")
    np.testing.assert_array_equal(found, nearest)


@needs_gdal
def test_gdal_reads_what_is_said(tmp_path: Path) -> None:
    ds = field(EUROPE).assign_attrs(dpdm_prior="default", title="Fields of a test")
    ds["t2m"][1, 3, 4] = np.nan
    said = gdalinfo(exported(tmp_path, ds))
    first, second = said["bands"]
    assert said["cornerCoordinates"]["upperLeft"] == [-10.0, 70.0]
    assert said["cornerCoordinates"]["lowerRight"] == [40.0, 35.0]
    assert [band["description"] for band in (first, second)] == ["2012-01-16", "2012-02-16"]
    assert (first["unit"], first["type"], first["noDataValue"]) == ("K", "Float32", "NaN")
    assert first["metadata"][""]["standard_name"] == "air_temperature"
    tags = said["metadata"][""]
    assert (tags["dpdm_prior"], tags["title"]) == ("default", "Fields of a test")
    assert tags["dpdm_exported"] == "field.nc"
    assert "dpdm" in tags["history"]
    assert said["metadata"]["IMAGE_STRUCTURE"]["COMPRESSION"] == "DEFLATE"
    assert said["metadata"]["IMAGE_STRUCTURE"].get("PREDICTOR", "3") == "3"
    there = ds["t2m"].values[1][np.isfinite(ds["t2m"].values[1])].astype(float)
    stored = {k: float(v) for k, v in second["metadata"][""].items() if k.startswith("STAT")}
    assert stored["STATISTICS_MEAN"] == pytest.approx(there.mean(), rel=1e-12)
    assert stored["STATISTICS_VALID_PERCENT"] == pytest.approx(100 * (1 - 1 / 7000), abs=1e-4)
    computed = gdal_statistics(tmp_path / "out.tif", 2)
    for name, value in computed.items():
        assert stored[name] == pytest.approx(value, rel=1e-6)


def gdal_statistics(path: Path, band: int) -> dict[str, float]:
    """Have GDAL itself go through a band, in a copy."""
    copy = path.with_name("copy.tif")
    ran("gdal_translate", "-q", "-stats", "-b", band, path, copy)
    found = gdalinfo(copy)["bands"][0]["metadata"][""]
    return {k: float(found[k]) for k in stored_names(found)}


def stored_names(tags: dict[str, str]) -> list[str]:
    return [name for name in tags if name.startswith("STATISTICS_") and "PERCENT" not in name]


def test_files_are_cloud_optimised(tmp_path: Path) -> None:
    path = exported(tmp_path, field(FINE))
    valid, errors, warnings = cogeo.cog_validate(path, strict=True, quiet=True)
    assert (valid, errors, warnings) == (True, [], [])
    with rasterio.open(path) as file:
        assert file.overviews(1) == [2, 4]
        assert file.block_shapes == [(256, 256)] * 2
        assert file.profile["interleave"] == "band"
        assert file.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "3"
        whole = file.read(1).astype(float)
    with rasterio.open(path, overview_level=0) as file:
        half = file.read(1)
    means = whole.reshape(180, 2, 360, 2).mean((1, 3))
    np.testing.assert_allclose(half, means, rtol=0, atol=4e-5)  # float32 of 300 K


@needs_gdal
@pytest.mark.parametrize("crs", ["EPSG:3035", "EPSG:3857", "+proj=laea +lat_0=90"])
def test_warping_is_gdalwarp_s(tmp_path: Path, crs: str) -> None:
    ds = field(EUROPE)
    ds["t2m"][:, 20:24, 30:40] = np.nan
    plain = exported(tmp_path, ds)
    ours = exported(tmp_path, ds, "--crs", crs, to="ours.tif")
    ran("gdalwarp", "-q", "-t_srs", crs, "-r", "bilinear", plain, tmp_path / "theirs.tif")
    with rasterio.open(ours) as a, rasterio.open(tmp_path / "theirs.tif") as b:
        assert a.crs == b.crs
        np.testing.assert_allclose(a.transform, b.transform, rtol=1e-9)
        mine, other = a.read(1), b.read(1)
        assert np.isnan(a.nodata)
    # two versions of GDAL, which interpolate the transformation to an eighth of a pixel
    lost = np.isnan(mine) != np.isnan(other)
    assert lost.mean() < 2e-3
    assert np.nanmax(np.abs(mine - other)) < 0.03
    assert np.isnan(mine).any()


def test_warping_works_across_the_dateline(tmp_path: Path) -> None:
    path = exported(tmp_path, field(GRIDS["across the dateline"]), "--crs", "EPSG:3832")
    with rasterio.open(path) as file:
        for lat, lon in ((0.3, 179.2), (-12.6, -175.7), (7.4, 171.3)):
            x, y = rasterio.warp.transform("EPSG:4326", file.crs, [lon], [lat])
            (found,) = file.sample([(x[0], y[0])])
            assert found[0] == pytest.approx(told(lat, lon), abs=0.2)  # half a cell of 1/3 K


@needs_gdal
@needs_cdo
def test_the_mean_over_the_field_is_that_of_the_source(tmp_path: Path) -> None:
    path = exported(tmp_path, field(GRIDS["globe of 0 to 360"]))
    ran("gdal_translate", "-q", "-of", "netCDF", "-b", 1, path, tmp_path / "back.nc")
    means = [
        float(ran("cdo", "-s", "outputf,%.9g", "-fldmean", "-seltimestep,1", name).split()[0])
        for name in (tmp_path / "back.nc", tmp_path / "field.nc")
    ]
    assert means[0] == pytest.approx(means[1], rel=1e-6)


def test_a_file_a_step(tmp_path: Path) -> None:
    exported(tmp_path, field(EUROPE, steps=3), "--split", "time", to="out.tif")
    names = sorted(path.name for path in tmp_path.glob("*.tif"))
    assert names == [f"out_{day}.tif" for day in ("2012-01-16", "2012-02-16", "2012-03-18")]
    with rasterio.open(tmp_path / names[2]) as file:
        assert (file.count, file.descriptions) == (1, ("2012-03-18",))
        y, x = file.xy(0, 0)[::-1]
        assert file.read(1)[0, 0] == pytest.approx(told(y, x) + 2, abs=4e-5)


@pytest.mark.parametrize(
    ("calendar", "freq", "names"),
    [("360_day", "15D", ("2012-01-30", "2012-02-15", "2012-02-30")),
     ("standard", "6h", ("2012-01-30T0000", "2012-01-30T0600", "2012-01-30T1200"))],
)  # fmt: skip
def test_names_of_odd_dates(
    tmp_path: Path, calendar: str, freq: str, names: tuple[str, ...]
) -> None:
    time = xr.date_range("2012-01-30", periods=3, freq=freq, calendar=calendar)
    exported(tmp_path, field(EUROPE, 3).assign_coords(time=time), "--split", "time", "--stac")
    assert sorted(path.stem for path in tmp_path.glob("*.tif")) == [f"out_{n}" for n in names]
    stamps = [json.loads(p.read_text())["properties"]["datetime"] for p in tmp_path.glob("*.json")]
    last = "2012-02-29T00:00:00Z" if calendar == "360_day" else "2012-01-30T12:00:00Z"
    assert max(stamps) == last


@needs_gdal
@pytest.mark.parametrize("to", ["out.nc", "out.zarr"])
def test_gdal_places_netcdf_and_dpdm_reads_it_again(tmp_path: Path, grid: Grid, to: str) -> None:
    ds = field(grid, members=2)
    path = exported(tmp_path, ds, to=to)
    if to == "out.nc":
        said = gdalinfo(f"NETCDF:{path}:t2m")
        (left, top), (right, bottom) = (
            said["cornerCoordinates"][k] for k in ("upperLeft", "lowerRight")
        )
        rows, columns = grid.spacing
        assert [top, bottom] == pytest.approx([grid.lat[-1] + rows / 2, grid.lat[0] - rows / 2])
        assert right - left == pytest.approx(columns * grid.shape[1])
        assert -180 - columns < left < 180
        assert '"EPSG",4326' in said["coordinateSystem"]["wkt"]
    back = open_fields(path)["t2m"].compute()
    there = ds["t2m"].assign_coords(lon=west(ds["lon"] + 1e-9) - 1e-9).sortby("lon")
    lon = xr.DataArray(west(back["lon"].values + 1e-9) - 1e-9, dims="lon")
    same = there.sel(lat=back["lat"].drop_vars("lat"), lon=lon, method="nearest")
    np.testing.assert_array_equal(back.values, same.transpose(*back.dims).values)


@needs_cdo
def test_cdo_reads_netcdf_of_a_statistic(tmp_path: Path) -> None:
    path = exported(tmp_path, field(EUROPE, members=5), "--stat", "mean", to="out.nc")
    source = tmp_path / "field.nc"
    said = ran("cdo", "-s", "sinfon", path)
    assert "t2m_mean" in said
    assert "lonlat" in said
    mean = float(ran("cdo", "-s", "outputf,%.9g", "-fldmean", "-seltimestep,2", path).split()[0])
    ds = xr.open_dataset(source)["t2m"].isel(time=1).mean("realization")
    weights = np.cos(np.radians(ds["lat"]))
    assert mean == pytest.approx(float(ds.weighted(weights).mean()), rel=1e-6)


@pytest.mark.parametrize(
    ("crs", "places"),
    [("EPSG:3857", [(51.3, -0.6), (-33.4, 151.1), (-17.2, 179.0), (-17.2, -179.8)]),
     ("EPSG:3995", [(88.9, 10.0), (71.0, 179.9), (71.0, -179.9), (64.0, -50.0)])],
)  # fmt: skip
def test_a_globe_is_warped_no_further_than_its_reference_system(
    tmp_path: Path, crs: str, places: list[tuple[float, float]]
) -> None:
    path = exported(tmp_path, field(FINE, steps=1), "--crs", crs)
    with rasterio.open(path) as file:
        assert max(file.shape) < 1500
        for lat, lon in places:
            x, y = rasterio.warp.transform("EPSG:4326", file.crs, [lon], [lat])
            (found,) = file.sample([(x[0], y[0])])
            # within a pixel, of less than half a degree, and 360 / 1000 K across the seam
            assert found[0] == pytest.approx(told(lat, lon), abs=0.2 + 0.36 * (abs(lon) >= 179))
