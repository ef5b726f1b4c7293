import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.helpers.pressure_world import GRID
from tests.helpers.small_world import dpdm
from tests.helpers.wind_world import coarse_winds, fine_winds, statics

FIVE = ("u10", "v10", "t2m", "sp", "tp")


@pytest.fixture
def folder(tmp_path):
    """Return a folder with the surface, and the winds above it."""
    statics().to_netcdf(tmp_path / "relief.nc")
    fine_winds().to_netcdf(tmp_path / "fine.nc")
    return tmp_path


def downscale(folder, coarse, *words, name="out.nc", members=2):
    """Return the members of coarse fields, over the surface."""
    coarse.to_netcdf(folder / "coarse.nc")
    done = dpdm(
        "downscale", folder / "coarse.nc", folder / name, "--overwrite",
        "--statics", folder / "relief.nc", "--members", members, *words,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return xr.load_dataset(folder / name)


def error(out, folder, name="u10"):
    """Return the RMS difference of the ensemble mean from the truth."""
    truth = xr.load_dataset(folder / "fine.nc")[name].values
    return float(np.sqrt(((out[f"{name}_mean"].values - truth) ** 2).mean()))


def test_winds_alone_need_no_network_and_know_the_islands(folder):
    out = downscale(folder, coarse_winds("u10", "v10"), members=8)
    dpdm("lerp", folder / "coarse.nc", folder / "lerp.nc", "--factor", 4)
    lerp = xr.load_dataset(folder / "lerp.nc")["u10"].values
    truth = xr.load_dataset(folder / "fine.nc")["u10"].values
    assert error(out, folder) < 0.5 * float(np.sqrt(((lerp - truth) ** 2).mean()))
    assert "t2m" not in out
    assert "over land of 0.5 times" in out.attrs["dpdm_surface_winds"]
    assert "land" in out["v10"].attrs["comment"]


def test_one_command_draws_five_variables(folder):
    out = downscale(folder, coarse_winds(*FIVE))
    assert {f"{name}_mean" for name in FIVE} < {*out.data_vars}
    part = downscale(folder, coarse_winds("t2m", "tp"), name="two.nc")
    assert float(abs(out["t2m"] - part["t2m"]).max()) < 1e-3  # the others change nothing


def test_a_component_alone_is_as_with_the_other_but_for_its_spread(folder):
    both = downscale(folder, coarse_winds("u10", "v10"), members=0)
    alone = downscale(folder, coarse_winds("u10"), name="u.nc", members=0)
    np.testing.assert_allclose(alone["u10"], both["u10"], atol=1e-5)


def test_a_box_has_the_winds_of_the_whole(folder):
    whole = downscale(folder, coarse_winds("u10", "v10"))["u10"]
    box = downscale(folder, coarse_winds("u10", "v10"), "--bbox", "102,105,42,44", name="b.nc")
    part = whole.sel(lat=box.lat, lon=box.lon, method="nearest")
    spread = float(whole.std("realization").mean())
    assert float(np.sqrt(((box["u10"].values - part.values) ** 2).mean())) < 0.1 * spread


def test_block_means_are_the_input_with_consistent(folder):
    coarse = coarse_winds("u10", "t2m")
    out = downscale(folder, coarse, "--consistent")
    weights = GRID.weights
    sums = [
        (a * weights).reshape(*a.shape[:-2], 6, 4, 7, 4).sum((-3, -1))
        for a in (out["u10"].values, np.ones((1, 1, *GRID.shape)))
    ]
    known = np.broadcast_to(coarse["u10"].values[:, None], sums[0].shape)
    np.testing.assert_allclose(sums[0] / sums[1], known, atol=1e-4)


def test_a_climatology_of_winds_is_returned_by_its_own_months(folder):
    climate = fine_winds(12)[["u10", "v10"]]
    climate.to_netcdf(folder / "climate.nc")
    out = downscale(folder, coarse_winds("u10", "v10"), "--climatology", folder / "climate.nc")
    assert error(out, folder) < 0.05  # no anomaly, and the least spread
    assert "climate.nc" in out.attrs["dpdm_climatology"]


def test_missing_winds_stay_missing(folder):
    coarse = coarse_winds("u10", "v10")
    coarse["u10"][:, 2, 3] = np.nan
    out = downscale(folder, coarse, members=0)
    assert np.isnan(out["u10"].values[0, 8:12, 12:16]).all()
    assert np.isfinite(out["u10"].values[0, :4, :4]).all()
    assert np.isfinite(out["v10"].values).all()


def test_stations_draw_the_members_towards_them(folder):
    coarse = coarse_winds("u10", "v10", months=1)
    coarse.to_netcdf(folder / "coarse.nc")
    rows, columns = np.array([6, 13, 18]), np.array([5, 14, 22])
    value = fine_winds(1)["u10"].values[0][rows, columns] + 0.5
    pd.DataFrame(
        {
            "lat": GRID.lat[rows], "lon": GRID.lon[columns], "time": "2001-01",
            "station": ["a", "b", "c"], "variable": "u10", "value": value, "units": "m s-1",
            "error": 0.05,
        }
    ).to_csv(folder / "obs.csv", index=False)  # fmt: skip
    done = dpdm(
        "assimilate", folder / "obs.csv", folder / "a.nc", "--coarse", folder / "coarse.nc",
        "--statics", folder / "relief.nc", "--members", 4, "--reject", 0,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = xr.load_dataset(folder / "a.nc")["u10_mean"].values[0][rows, columns]
    np.testing.assert_allclose(found, value, atol=0.25)


def test_hours_of_winds_are_taken_as_they_are(folder):
    hours = coarse_winds("u10", "v10").assign_coords(
        time=pd.date_range("2020-01-01", periods=2, freq="h")
    )
    assert downscale(folder, hours)["u10"].sizes["time"] == 2
