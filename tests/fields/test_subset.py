"""Boxes cut a grid wherever its turn of longitudes begins."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid
from dpdm.fields.subset import Box, locate_subgrid, select_box, select_padded_box
from tests.helpers.small_world import done, refused

LAT = np.arange(-88.75, 90, 2.5)
EAST, WEST = Grid(LAT, np.arange(0, 360, 2.5)), Grid(LAT, np.arange(-180, 180, 2.5))


@pytest.mark.parametrize("grid", [EAST, WEST], ids=["0 to 360", "-180 to 180"])
@pytest.mark.parametrize("box", [(-10, 10, 0, 20), (350, 10, 0, 20), (170, -170, -60, -40)])
def test_a_box_is_the_same_cells_on_any_turn(grid: Grid, box: Box) -> None:
    found = select_box(grid, box)
    assert np.allclose(np.diff(found.lon), 2.5)
    assert len(found.lon) == 9
    inside = (found.lon - box[0]) % 360 <= (box[1] - box[0]) % 360
    assert inside.all()
    assert np.isin(found.lon % 360, EAST.lon).all()
    assert found.lat.min() >= box[2]
    assert found.lat.max() <= box[3]


def test_the_whole_circle_is_a_box() -> None:
    found = select_box(EAST, (-180, 180, -90, 90))
    assert found.shape == EAST.shape
    assert found.cyclic


@pytest.mark.parametrize("box", [(0, 10, 20, 10), (95, 15, 150, 55), (0, 1, 0, 20), (5, 5, 0, 20)])
def test_what_is_no_box_is_refused(box: Box) -> None:
    with pytest.raises(DpdmError, match="box"):
        select_box(EAST, box)


@pytest.mark.parametrize("grid", [EAST, WEST], ids=["0 to 360", "-180 to 180"])
@pytest.mark.parametrize(
    "box", [(-10, 10, 0, 20), (170, -170, -60, -40), (10, 355, 0, 20), (-180, 180, -90, 90)]
)
@pytest.mark.parametrize("align", [1, 4])
def test_a_padded_box_holds_the_box_and_begins_at_a_multiple(
    grid: Grid, box: Box, align: int
) -> None:
    inner, outer = select_box(grid, box), select_padded_box(grid, box, 6, align)
    part = locate_subgrid(inner, outer)
    np.testing.assert_allclose(outer.lat[part[0]], inner.lat, rtol=0, atol=1e-9)
    np.testing.assert_allclose(outer.lon[part[1]], inner.lon, rtol=0, atol=1e-9)
    assert np.flatnonzero(grid.lat == outer.lat[0]) % align == 0
    assert len(outer.lon) <= len(grid.lon)
    if len(inner.lon) < 100:
        assert np.flatnonzero(grid.lon % 360 == outer.lon[0] % 360) % align == 0
        assert len(outer.lon) - len(inner.lon) >= 12


def test_a_margin_ends_where_the_grid_ends() -> None:
    grid = Grid(np.arange(20.5, 52, 1.0), np.arange(100.5, 148, 1.0))
    outer = select_padded_box(grid, (103, 140, 22, 45), 6, 4)
    assert (outer.lat[0], outer.lat[-1], outer.lon[0], outer.lon[-1]) == (20.5, 50.5, 100.5, 145.5)


def test_downscaling_writes_the_box_alone(here: Path) -> None:
    command = "downscale coarse.nc out.nc --prior prior.safetensors --mean --bbox"
    done(*command.split(), "110,120,30,42")
    with xr.open_dataset("out.nc") as ds:
        assert (float(ds.lon.min()), float(ds.lon.max())) == (110.5, 119.5)
        assert (float(ds.lat.min()), float(ds.lat.max())) == (30.5, 41.5)
    refused(f"{command} 0,20,30,42 --overwrite", "not within the grid, which has longitudes")
    refused(f"{command} 0,20,30 --overwrite", "not four numbers", code=2)
    refused(f"{command} 110,119,30,42 --consistent --overwrite", "this target cuts some")


def test_the_edge_of_a_box_is_no_edge_of_knowledge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundled prior's mean within a box is that of the whole, to 0.05 degrees."""
    monkeypatch.chdir(tmp_path)
    sample = Path(__file__).parents[2] / "sample_data" / "east_asia_coarse.nc"
    with xr.open_dataset(sample) as ds:
        ds.isel(time=[0]).to_netcdf("january.nc")
    done("downscale", "january.nc", "whole.nc", "--mean")
    done("downscale", "january.nc", "box.nc", "--mean", "--bbox", "123,131,33,43")
    with xr.open_dataset("whole.nc") as whole, xr.open_dataset("box.nc") as box:
        gap = np.abs(whole["t2m"].sel(lat=box["lat"], lon=box["lon"]) - box["t2m"])[0]
        edge = np.ones(gap.shape, bool)
        edge[2:-2, 2:-2] = False
        assert float(gap.where(xr.DataArray(edge, gap.coords)).mean()) < 0.05  # 0.17 without
