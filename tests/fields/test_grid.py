"""Grids: areas, block means and lerp, against closed forms and against CDO."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid, grid_of, refine_grid
from dpdm.fields.regrid import (
    average_conservative,
    coarsen_fields,
    coarsen_grid,
    interpolate_bilinear,
    is_nested,
)

GLOBE = Grid(np.arange(-89, 90, 2.0), np.arange(0, 360, 2.0))
POLES = Grid(np.arange(-90, 90.1, 2.5), np.arange(0, 360, 2.5))
REGION = Grid(np.arange(20, 40, 1.0), np.arange(100, 130, 1.0))
GRIDS = {"globe": GLOBE, "globe with poles": POLES, "region": REGION}
each_grid = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)


def fields(grid: Grid, times: int = 2) -> xr.Dataset:
    values = np.random.default_rng(0).standard_normal((times, *grid.shape))
    return xr.Dataset({"a": (("time", "lat", "lon"), values)}, grid.coords())


def area_mean(ds: xr.Dataset) -> np.ndarray:
    grid = grid_of(ds)
    return (ds["a"] * grid.weights).mean(("lat", "lon")).values


@each_grid
def test_cells_tile_the_sphere(grid: Grid) -> None:
    rows = np.diff(np.sin(np.radians(grid.lat_edges)))
    assert np.isclose(grid.weights.mean(), 1, rtol=1e-12)
    expected = 2.0 if grid.cyclic else np.sin(np.radians(39.5)) - np.sin(np.radians(19.5))
    assert np.isclose(rows.sum(), expected, rtol=1e-12)


@pytest.mark.parametrize("factor", [2, 3, 5, 10])
def test_block_means_keep_the_area_mean(factor: int) -> None:
    fine = fields(GLOBE)
    np.testing.assert_allclose(
        area_mean(coarsen_fields(fine, factor)), area_mean(fine), rtol=1e-11
    )


def test_the_mean_over_any_coarser_grid_keeps_the_area_mean() -> None:
    found = average_conservative(
        fields(GLOBE), Grid(np.arange(-88.5, 90, 3.0), np.arange(0.7, 360, 7.2))
    )
    np.testing.assert_allclose(area_mean(found), area_mean(fields(GLOBE)), rtol=1e-11)


def test_coarsening_twice_is_coarsening_once() -> None:
    fine = fields(GLOBE)
    twice = coarsen_fields(coarsen_fields(fine, 3), 2)
    np.testing.assert_allclose(twice["a"], coarsen_fields(fine, 6)["a"], rtol=1e-11, atol=1e-13)


@each_grid
def test_lerp_is_exact_for_what_is_bilinear(grid: Grid) -> None:
    inner = Grid(grid.lat[1:-1:2] + 0.3, grid.lon[1:-1:2] + 0.3)
    lat = grid.lat[:, None]
    values = 2 * lat + 3 * grid.lon + lat * grid.lon
    plane = xr.Dataset({"a": (("lat", "lon"), values)}, grid.coords())
    found = interpolate_bilinear(plane, inner)["a"]
    expected = 2 * inner.lat[:, None] + 3 * inner.lon + inner.lat[:, None] * inner.lon
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_lerp_closes_the_circle() -> None:
    source = xr.Dataset({"a": (("lat", "lon"), np.cos(np.radians(POLES.lon)) * np.ones((73, 1)))},
                        POLES.coords())  # fmt: skip
    found = interpolate_bilinear(
        source, Grid(np.array([-1.0, 1.0]), np.array([-1.25, 358.75 - 357.5]))
    )["a"]
    expected = (1 + np.cos(np.radians(2.5))) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("shift", [-360.0, 0.0, 360.0])
def test_longitudes_may_turn(shift: float) -> None:
    target = Grid(REGION.lat[2:8] + 0.4, REGION.lon[3:9] + 0.2)
    turned = Grid(target.lat, target.lon + shift)
    found, straight = (
        interpolate_bilinear(fields(REGION), turned),
        interpolate_bilinear(fields(REGION), target),
    )
    np.testing.assert_allclose(found["a"].values, straight["a"].values, rtol=1e-10)


def test_a_missing_value_spreads_no_further_than_its_stencil() -> None:
    source = fields(REGION, 1)
    source["a"][0, 10, 15] = np.nan
    fine = refine_grid(REGION, (0.25, 0.25))
    lost = interpolate_bilinear(source, fine)["a"][0].isnull()
    rows, columns = np.abs(fine.lat - REGION.lat[10]) < 1, np.abs(fine.lon - REGION.lon[15]) < 1
    near = np.outer(rows, columns)
    assert np.array_equal(lost.values, near)
    means = coarsen_fields(source, 2)["a"]
    assert not bool(means.isnull().any())
    block = source["a"][0, 10:12, 14:16].values
    weights = REGION.weights[10:12, 14:16]
    expected = np.nansum(block * weights) / weights[~np.isnan(block)].sum()
    np.testing.assert_allclose(means[0, 5, 7], expected, rtol=1e-12)


def test_refined_cells_nest_in_the_coarse_ones() -> None:
    for grid in GRIDS.values():
        fine = refine_grid(grid, (0.25, 0.25))
        assert is_nested(fine, grid)
        assert min(fine.spacing) >= 0.25 * 0.95
    assert not is_nested(Grid(REGION.lat + 0.5, REGION.lon + 0.5), REGION)


@pytest.mark.parametrize("factor", [0, -1, 7, 20])
def test_factors_that_do_not_cut_whole_blocks_are_refused(factor: int) -> None:
    with pytest.raises(DpdmError, match=str(factor)):
        coarsen_grid(REGION, factor)


def cdo(*arguments: str) -> None:
    assert shutil.which("cdo"), "install cdo: the suite compares with it"
    subprocess.run(["cdo", "-s", *arguments], check=True, capture_output=True)


def on_disk(ds: xr.Dataset, path: Path) -> str:
    ds["lat"].attrs |= {"units": "degrees_north", "standard_name": "latitude"}
    ds["lon"].attrs |= {"units": "degrees_east", "standard_name": "longitude"}
    ds.to_netcdf(path)
    return str(path)


@pytest.mark.parametrize("name", ["globe", "globe with poles", "region"])
def test_lerp_equals_cdo_remapbil(name: str, tmp_path: Path) -> None:
    source = fields(GRIDS[name])
    target = Grid(np.arange(22, 38, 0.7), np.arange(102, 127, 0.9))
    if name != "region":  # across Greenwich, between the outermost rows
        target = Grid(np.arange(-80, 80, 3.7), np.arange(-3, 357, 4.5))
    both = (("in", source), ("to", fields(target, 1)))
    files = [on_disk(ds, tmp_path / f"{n}.nc") for n, ds in both]
    cdo(f"remapbil,{files[1]}", files[0], str(tmp_path / "out.nc"))
    theirs = xr.open_dataset(tmp_path / "out.nc")["a"].values
    np.testing.assert_allclose(
        interpolate_bilinear(source, target)["a"].values, theirs, rtol=0, atol=1e-6
    )


def test_coarsen_equals_cdo_remapcon(tmp_path: Path) -> None:
    source = fields(GLOBE)
    coarse = coarsen_fields(source, 5)
    files = [on_disk(ds, tmp_path / f"{n}.nc") for n, ds in (("in", source), ("to", coarse))]
    cdo(f"remapcon,{files[1]}", files[0], str(tmp_path / "out.nc"))
    theirs = xr.open_dataset(tmp_path / "out.nc")["a"].values
    # CDO's cells have great-circle sides, ours follow the parallels: they differ by curvature.
    np.testing.assert_allclose(coarse["a"].values, theirs, rtol=0, atol=2e-3)
