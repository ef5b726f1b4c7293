"""What the keys of a plan ask for: the same as options of other commands, and adjustment."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dpdm.reconstruct.setup import prepare_reconstruction
from tests.helpers.monthly_files import add, bare, put
from tests.helpers.reconstruction import opened, plan, tree, winter
from tests.helpers.small_world import Taught, coarse_world, done, refused, world

RUN = "reconstruct plan.toml out"


@pytest.fixture
def site(tmp_path: Path, taught: Taught, monkeypatch: pytest.MonkeyPatch) -> Path:
    return bare(tmp_path, taught, monkeypatch)


KEYS = {  # of a plan, by the options that say the same
    "--consistent": {"draw": "consistent = true"},
    "--bbox 108,130,25,45 --statics own.nc": {
        "output": 'bbox = [108, 130, 25, 45]\nstatics = "own.nc"'
    },
    "--grid grid.nc": {"output": 'grid = "grid.nc"'},
}


@pytest.mark.parametrize("words", KEYS)
def test_the_keys_of_a_plan_are_the_options_of_downscaling(site: Path, words: str) -> None:
    put(winter(2))
    like = world(1).isel(time=0, drop=True)
    like.isel(lat=slice(4, 28), lon=slice(4, 40)).to_netcdf("grid.nc")
    land = xr.zeros_like(like["t2m"]).assign_attrs(units="1", standard_name="land_area_fraction")
    high = (like["t2m"] * 2).assign_attrs(units="m", standard_name="surface_altitude")
    xr.Dataset({"topography": high, "land_fraction": land}).to_netcdf("own.nc")
    plan(site, members=2, keep="all")
    for section, said in KEYS[words].items():
        add(section, said)
    done(*RUN.split())
    usual = "--prior prior.safetensors --members 2 --steps 2"
    done("downscale", "in_0.nc", "fine.nc", *usual.split(), *words.split())
    with opened(Path("out")) as ours, xr.open_dataset("fine.nc") as its:
        xr.testing.assert_equal(ours, its)


def test_quantiles_are_those_of_the_plan(site: Path) -> None:
    put(winter(1))
    plan(site, members=3, keep="all")
    add("output", "quantiles = [0, 25]")
    done(*RUN.split())
    with opened(Path("out")) as ds:
        percentiles = {n for n in ds if "_p" in n}
        assert percentiles == {"t2m_p0", "t2m_p25", "tp_p0", "tp_p25"}
        wanted = ds["t2m"].quantile(0.25, "realization", method="linear").values
        np.testing.assert_allclose(ds["t2m_p25"], wanted, rtol=1e-6)  # single precision


def test_the_climate_of_the_reference_becomes_that_of_the_prior(site: Path) -> None:
    put(coarse_world(36))
    plan(site, members=0, input='period = ["2002-11", "2002-12"]')
    add("adjust", 'method = "mean"\nreference = ["2000-01", "2001-12"]')
    setting = prepare_reconstruction(Path("plan.toml"))
    climate, plain = setting.space.prior.coarse["mean"].numpy(), setting.series.complete
    for unit, month in zip(setting.units, (10, 11), strict=True):
        coarse, past = (
            setting.read_unit_input(unit).coarse,
            plain.isel(time=[month, 12 + month]).mean("time"),
        )
        now = plain.sel(time=coarse["time"])
        warmer = climate[month, 0] - past["t2m"]
        np.testing.assert_allclose(coarse["t2m"], now["t2m"] + warmer, atol=1e-4)  # of 300 K
        wet = past["tp"].values > 0.5  # mm day-1; drier cells have no sure factor
        ones, others = coarse["tp"] * past["tp"], now["tp"] * climate[month, 1]
        np.testing.assert_allclose(ones.values[:, wet], others.values[:, wet], rtol=1e-5)
    done(*RUN.split())
    with opened(Path("out")) as ds:
        assert "2000-01 to 2001-12" in ds.attrs["dpdm_adjustment"]


def test_quantiles_need_a_prior_that_stores_them(site: Path) -> None:
    put(coarse_world(24))
    plan(site)
    add("adjust", 'method = "quantile"\nreference = ["2000-01", "2001-12"]')
    refused(RUN, "stores no quantiles of its training data", "longer series")


def test_names_in_a_plan_start_from_its_folder(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(winter())
    done("reconstruct", "plan.toml", "whole")
    (site / "elsewhere").mkdir()
    monkeypatch.chdir(site / "elsewhere")
    done("reconstruct", "../plan.toml", "out")
    assert tree(Path("out")) == tree(site / "whole")
