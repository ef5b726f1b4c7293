import json

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from dpdm.operators.interpolation import pressure_log_ratio
from dpdm.states.surface_pressure import CoarseRelief, extend_axis, fill_nearest
from tests.helpers.pressure_world import GRID, atmosphere, coarse_atmosphere, hills, statics
from tests.helpers.small_world import dpdm


@pytest.fixture
def folder(tmp_path):
    """Return a folder with a relief, and the atmosphere above it."""
    statics(hills()).to_netcdf(tmp_path / "relief.nc")
    atmosphere(hills()).to_netcdf(tmp_path / "fine.nc")
    return tmp_path


def downscale(folder, *names, words=(), months=2):
    """Return the members of the coarse variables of some names, over the relief."""
    coarse_atmosphere(hills(), *names, months=months).to_netcdf(folder / "coarse.nc")
    done = dpdm(
        "downscale", folder / "coarse.nc", folder / "out.nc", "--overwrite",
        "--statics", folder / "relief.nc", "--members", 2, *words,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return xr.load_dataset(folder / "out.nc")


def rmse(values, truth):
    """Return the root mean square difference."""
    return float(np.sqrt(((values - truth) ** 2).mean()))


def test_pressure_alone_needs_no_network_and_has_a_tenth_of_the_error_of_interpolation(folder):
    out = downscale(folder, "sp")
    truth = xr.load_dataset(folder / "fine.nc")["sp"]
    assert set(out.data_vars) >= {"sp", "sp_mean", "sp_spread"}
    assert "t2m" not in out
    dpdm("lerp", folder / "coarse.nc", folder / "lerp.nc", "--factor", 4)
    lerp = rmse(xr.load_dataset(folder / "lerp.nc")["sp"].values, truth.values)
    assert rmse(out["sp_mean"].values, truth.values) < 0.1 * lerp  # its temperature is a guess
    assert "hypsometric equation from sp" in out.attrs["dpdm_surface_pressure"]
    assert "relief of --statics" in out["sp"].attrs["comment"]


def test_pressure_is_drawn_with_the_other_variables(folder):
    out = downscale(folder, "t2m", "tp", "sp")
    alone = downscale(folder, "t2m", "tp")
    truth = xr.load_dataset(folder / "fine.nc")["sp"]
    assert rmse(out["sp_mean"].values, truth.values) < 60  # of 1700 Pa by interpolation
    assert float(abs(out["t2m"] - alone["t2m"]).max()) < 1e-3  # pressure changes nothing else


def test_mean_sea_level_pressure_gives_surface_pressure(folder):
    out = downscale(folder, "msl", "t2m")
    truth = xr.load_dataset(folder / "fine.nc")["sp"]
    assert "from msl" in out.attrs["dpdm_surface_pressure"]
    assert rmse(out["sp_mean"].values, truth.values) < 60


def test_block_means_of_pressure_are_the_input_with_consistent(folder):
    out = downscale(folder, "sp", "t2m", words=("--consistent",))
    coarse = xr.load_dataset(folder / "coarse.nc")["sp"].values
    weights = GRID.weights
    sums = [
        (a * weights).reshape(*a.shape[:-2], 6, 4, 7, 4).sum((-3, -1))
        for a in (out["sp"].values, np.ones((1, 1, *GRID.shape)))
    ]
    blocks = sums[0] / sums[1]
    np.testing.assert_allclose(blocks, np.broadcast_to(coarse[:, None], blocks.shape), atol=0.1)


def test_a_box_has_the_pressure_of_the_whole(folder):
    whole = downscale(folder, "sp")["sp"]
    box = downscale(folder, "sp", words=("--bbox", "103,105,42,44"))["sp"]
    part = whole.sel(lat=box.lat, lon=box.lon, method="nearest")
    spread = downscale(folder, "sp")["sp_spread"].mean()
    assert rmse(box.values, part.values) < 0.1 * float(spread)


def test_hours_of_pressure_are_no_other_period_for_physics(folder):
    hours = coarse_atmosphere(hills(), "sp")
    hours = hours.assign_coords(time=pd.date_range("2020-01-01", periods=2, freq="h"))
    hours.to_netcdf(folder / "hours.nc")
    done = dpdm("downscale", folder / "hours.nc", folder / "out.nc", "--members", 1)
    assert done.exit_code == 0, done.output


def test_a_relief_that_is_not_that_of_the_coarse_fields_widens_the_spread(folder):
    own = downscale(folder, "sp")["sp_spread"]
    done = dpdm("downscale", folder / "coarse.nc", folder / "b.nc", "--members", 2)
    assert done.exit_code == 0, done.output
    bundled = xr.load_dataset(folder / "b.nc")
    assert float(bundled["sp_spread"].mean()) > 2 * float(own.median())
    assert "bundled relief" in bundled.attrs["dpdm_surface_pressure"]


def test_missing_pressure_stays_missing(folder):
    coarse = coarse_atmosphere(hills(), "sp")
    coarse["sp"][:, 2, 3] = np.nan
    coarse.to_netcdf(folder / "gap.nc")
    done = dpdm("downscale", folder / "gap.nc", folder / "out.nc", "--mean")
    assert done.exit_code == 0, done.output
    found = xr.load_dataset(folder / "out.nc")["sp"].values[0]
    assert np.isnan(found[8:12, 12:16]).all()
    assert np.isfinite(found[:4, :4]).all()


def test_station_pressures_draw_the_members_towards_them(folder):
    coarse_atmosphere(hills(), "sp", "t2m", months=1).to_netcdf(folder / "coarse.nc")
    rows, columns = np.array([6, 13, 18]), np.array([5, 14, 22])
    truth, height = atmosphere(hills(), 1)["sp"].values[0], hills()
    up = torch.full((3,), 20.0)
    t2m = torch.from_numpy(atmosphere(hills(), 1)["t2m"].values[0][rows, columns]).double()
    # 40 Pa above the truth, at stations 20 m above their cells
    value = (truth[rows, columns] + 40) * pressure_log_ratio(up, t2m).exp().numpy()
    table = pd.DataFrame(
        {
            "lat": GRID.lat[rows], "lon": GRID.lon[columns], "time": "2001-01",
            "station": ["a", "b", "c"], "elevation": height[rows, columns] + 20,
            "variable": "sp", "value": value, "units": "Pa", "error": 5.0,
        }
    )  # fmt: skip
    table.to_csv(folder / "obs.csv", index=False)
    done = dpdm(
        "assimilate", folder / "obs.csv", folder / "out.nc", "--coarse", folder / "coarse.nc",
        "--statics", folder / "relief.nc", "--members", 3, "--report", folder / "report.csv",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = xr.load_dataset(folder / "out.nc")["sp_mean"].values[0][rows, columns]
    np.testing.assert_allclose(found, truth[rows, columns] + 40, atol=15)


def test_an_error_of_the_coarse_fields_is_for_the_variables_of_the_network(folder):
    coarse_atmosphere(hills(), "sp", "t2m", months=1).to_netcdf(folder / "coarse.nc")
    (folder / "obs.csv").write_text("lat,lon,time,t2m\n43.1,103.1,2001-01,285\n")
    done = dpdm(
        "assimilate", folder / "obs.csv", folder / "out.nc", "--coarse", folder / "coarse.nc",
        "--members", 2, "--coarse-error", "t2m=1", "--units", "t2m=K", "--obs-units", "t2m=K",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "Left out: surface pressure" in done.stderr
    assert "sp_mean" not in xr.load_dataset(folder / "out.nc")


def test_info_tells_network_from_physics():
    done = dpdm("info", "default", "--json")
    found = json.loads(done.stdout)
    assert found["by_network"] == ["t2m", "tp"]
    assert "hypsometric" in found["by_physics"]["sp"]


def test_an_unreached_cell_is_as_its_neighbour():
    found = fill_nearest(np.array([[np.nan, 1.0], [np.nan, 2.0]]))
    assert found.tolist() == [[1.0, 1.0], [2.0, 2.0]]


def test_a_ring_beyond_a_gap_is_as_its_edge():
    found = extend_axis(np.array([3.0, np.nan, 1.0, 2.0]), (1, 1), 0)
    assert found[0] == 3.0
    assert found[-1] == 3.0


def test_the_ring_of_a_circle_lies_beyond_the_rows_alone():
    from dpdm.fields.grid import Grid

    globe = Grid(np.arange(-87.5, 90, 5.0), np.arange(2.5, 360, 5.0))
    relief = xr.Dataset({"topography": (("lat", "lon"), np.zeros(globe.shape))}, globe.coords())
    cells = CoarseRelief.average(relief, globe)
    assert cells.grid.shape == globe.shape
    assert cells.extend(np.full(globe.shape, np.log(1e5))).shape == globe.shape
