"""The climatology as the background: its coarse means, its steps, its gaps and its grid."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.reference_climatology import bundled_climatology, open_climatology
from dpdm.fields.regrid import average_conservative
from dpdm.fields.statics import read_bundled_statics, regrid_statics
from dpdm.prior import Prior
from dpdm.states.climatological_background import (
    ClimateSeries,
    climate_array,
    climatological_space,
)
from dpdm.states.fields import FieldSpace
from dpdm.states.observed_steps import period_steps
from dpdm.states.options import EnsembleOptions
from dpdm.states.station_domain import (
    MAX_BACKGROUND_CELLS,
    background_grid,
    cover_grid,
    global_grid,
    open_target_grids,
    station_box,
)
from tests.helpers.station_tables import table
from tests.states.test_reference import FINE, climate, prior_with

BOX = (100.0, 104.0, 18.0, 22.0)


def space_around(prior: Prior, target: Path | None = None, **options: Any) -> FieldSpace:
    prior.denoiser.float()
    chosen = EnsembleOptions(members=1, **options)
    axis = period_steps(("1872-01", "1873-12"), prior.contract)
    grids = open_target_grids(prior, target, chosen)
    space = climatological_space(prior, axis, grids, chosen, None, target)
    assert space is not None
    return space


def test_the_coarse_fields_are_the_means_of_the_climatology() -> None:
    space = space_around(prior_with(), bbox=BOX)
    july = space.coarse_step(18)
    wide = Grid(np.arange(10.0, 31, 0.25), np.arange(91.0, 113, 0.25))
    whole = open_climatology("era5", wide, ["t2m", "tp"])
    assert whole is not None
    means = average_conservative(whole.fields.sel(month=7), grid_of(july))
    for name in ("t2m", "tp"):
        np.testing.assert_allclose(july[name], means[name], rtol=1e-5)
    assert space.factor == pytest.approx((4, 4))
    assert space.coarse_grid is not None
    assert space.coarse_grid.covers(space.grid)
    assert str(july["time"].values)[:10] == "1873-07-16"


def test_without_an_anomaly_the_base_is_the_climatology_itself() -> None:
    space = space_around(prior_with(), bbox=BOX)
    posterior = space.posterior(6)
    fine = posterior.conditioning.reference[0]  # type: ignore[index]
    np.testing.assert_allclose(
        space.prior.normaliser.inverse(posterior.base), fine, rtol=1e-6, atol=1e-6
    )
    assert torch.isfinite(posterior.scale).all()


def test_the_background_of_a_box_is_that_of_the_whole() -> None:
    part, whole = (space_around(prior_with(), bbox=box) for box in (BOX, (97, 108, 14, 26)))
    one, other = part.coarse_step(3), whole.coarse_step(3)
    shared = other.sel(lat=one["lat"], lon=one["lon"], method="nearest", tolerance=1e-6)
    np.testing.assert_allclose(one["t2m"], shared["t2m"], rtol=1e-7)
    assert part.label(3) == whole.label(3) == "1872-04-16T00"
    assert np.isin(part.grid.lon, bundled_climatology().grid.lon).all()


def test_notes_name_the_background() -> None:
    notes = space_around(prior_with(), bbox=BOX).notes
    assert notes["background"] == "climatology era5 (2000-01 to 2025-12)"


@pytest.mark.parametrize("freq", ["MS", "D", "QS-DEC", "YS", "6h"])
@pytest.mark.parametrize("bounded", [True, False])
def test_a_lazy_step_is_the_climate_of_that_step(freq: str, bounded: bool) -> None:
    found = open_climatology("era5", Grid(FINE.lat[:3], FINE.lon[:4]), ["t2m", "tp"])
    assert found is not None
    stamps = xr.date_range("1999-12-01", periods=10, freq=freq)
    time = xr.DataArray(stamps[:-1], dims="time", name="time")
    bounds = xr.DataArray(np.stack([stamps[:-1], stamps[1:]], 1), dims=("time", "bnds"))
    axis = xr.Dataset(coords={"time": time} | ({"time_bnds": bounds} if bounded else {}))
    lazy = climate_array(found, "tp", axis)
    assert lazy.chunks is not None
    for step in range(9):
        expected = found.state(time, bounds if bounded else None, step)["tp"]
        np.testing.assert_allclose(lazy[step], expected, rtol=1e-6)
    np.testing.assert_array_equal(lazy[2:5], np.stack([lazy[n] for n in (2, 3, 4)]))


@pytest.mark.filterwarnings("ignore:.*monthly means are not stated")
def test_gaps_at_sea_are_filled_for_the_coarse_fields_and_masked_in_the_output(
    tmp_path: Path,
) -> None:
    sea = regrid_statics(read_bundled_statics(), FINE)["land_fraction"] < 0.3
    climate().where(~sea).to_netcdf(tmp_path / "land.nc")
    climate(months=(1,)).isel(time=0, drop=True).to_netcdf(tmp_path / "target.nc")
    choice = str(tmp_path / "land.nc")
    space = space_around(prior_with(), tmp_path / "target.nc", climatology=choice)
    assert sea.any()
    assert np.isfinite(space.coarse_step(0)["t2m"]).all()
    assert bool(space.conditioning(0).lerp.isfinite().all())
    member = space.mask_unknown(np.zeros(space.shape), 0)
    for field in member:
        np.testing.assert_array_equal(np.isnan(field), sea.values)


def test_the_factor_widens_before_a_target_is_refused() -> None:
    prior = prior_with()
    contract = prior.contract
    object.__setattr__(contract, "factors", (4, 12))
    for cells, factor in ((100, 4), (300, 6), (600, 12)):
        grid = Grid(20 + 0.1 * np.arange(cells), 50 + 0.1 * np.arange(cells))
        coarse, chosen = background_grid(grid, prior)
        assert chosen == factor
        assert coarse.covers(grid)
        assert np.prod(coarse.shape) <= MAX_BACKGROUND_CELLS
    with pytest.raises(DpdmError, match="which may be 3000 at most"):
        background_grid(Grid(0.05 * np.arange(800.0), 0.05 * np.arange(800.0)), prior)


@pytest.mark.parametrize(
    "grid",
    [
        Grid(np.arange(-90, 90.1, 2.5), np.arange(0, 360, 2.5)),
        Grid(np.arange(70, 90.1, 1.0), np.arange(-20, 30, 1.0)),
        Grid(np.arange(-89.5, -70, 1.0), np.arange(170.5, 200, 1.0)),
        Grid(np.arange(33.05, 39, 0.1), np.arange(-3.95, 5, 0.1)),
    ],
)
@pytest.mark.parametrize("factor", [4, 5])
def test_blocks_cover_every_cell(grid: Grid, factor: int) -> None:
    coarse = cover_grid(grid, factor)
    assert coarse.covers(grid)
    assert coarse.cyclic == grid.cyclic
    for wide, narrow in zip(coarse.spacing, grid.spacing, strict=True):
        assert factor <= wide / narrow + 1e-6 < factor + 2


def test_cells_of_a_box_are_of_the_prior_or_the_climatology(tmp_path: Path) -> None:
    fine = open_target_grids(prior_with(), None, EnsembleOptions(bbox=BOX))
    assert fine[1] is not None
    assert fine[1].lat[0] == 18.0
    climate().to_netcdf(path := tmp_path / "own.nc")
    own = open_target_grids(prior_with(), None, EnsembleOptions(bbox=BOX, climatology=str(path)))
    assert own[1] is not None
    assert own[1].lat[0] == 18.125
    assert global_grid((0.5, 0.5)).cyclic


@pytest.mark.parametrize(
    ("lon", "box"),
    [
        ([126.2, 128.9], (126, 129)), ([-3.0, 2.5], (-3, 3)), ([178.2, -179.5], (178, -179)),
        ([10.0, 10.0], (10, 11)), ([350.0, 5.5], (-10, 6)),
    ],
)  # fmt: skip
def test_the_box_of_stations_is_the_shortest(lon: list[float], box: tuple[int, int]) -> None:
    assert station_box(table([35.0, 36.5], lon)) == (*box, 35, 37)


def test_series_are_lazy_for_dask() -> None:
    found = open_climatology("era5", FINE, ["t2m"])
    assert found is not None
    axis = period_steps(("2000-01", "2000-02"), prior_with().contract)
    series = ClimateSeries(found, "t2m", axis["time"], axis["time_bnds"])
    assert series.shape == (2, *FINE.shape)
    np.testing.assert_allclose(series[1, 3:5, :], found.fields["t2m"][1, 3:5], rtol=1e-6)
