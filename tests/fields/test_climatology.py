"""The climate of a series: what is stored, and what quantile delta mapping makes of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dpdm.fields.climatology import (
    coarse_climate_grid,
    compute_climate,
    empirical_probability,
    empirical_quantile,
    quantile_probabilities,
)
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.regrid import coarsen_fields, coarsen_grid
from dpdm.prior import Prior, load_prior, save_prior
from dpdm.prior.networks import new_denoiser
from dpdm.states.bias_adjustment import fit_bias_adjustment
from tests.helpers.monthly_climate import NAMES, NET, normal, prior_of, series
from tests.helpers.small_world import FACTOR, Taught, done, world

TINY = Grid(np.arange(2.0), np.arange(2.0))


@pytest.fixture(scope="module")
def trained() -> Prior:
    return prior_of(series("1985-01", 12, seed=1))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.837, 0.99, 1.0])
def test_quantiles_are_numpys_of_hazen(share: float) -> None:
    sample = np.random.default_rng(0).standard_normal((23, 4))
    wanted = np.quantile(sample, share, axis=0, method="hazen")
    np.testing.assert_allclose(empirical_quantile(sample, np.full(4, share)), wanted, rtol=1e-12)


def test_a_rank_is_undone_by_its_quantile() -> None:
    sample = np.random.default_rng(0).integers(0, 5, (17, 50)).astype(float)  # with many ties
    sample[3, ::2] = np.nan
    for value in sample[np.isfinite(sample).all(1)]:
        np.testing.assert_allclose(
            empirical_quantile(sample, empirical_probability(sample, value)), value, atol=1e-12
        )


def test_the_stored_climate_is_that_of_xarray(trained: Prior) -> None:
    fields = series("1985-01", 12, seed=1)
    levels = trained.coarse["probabilities"].numpy()
    for i, name in enumerate(NAMES):
        months = fields[name].groupby("time.month")
        found = months.quantile(levels.astype(float), dim="time", method="hazen")
        for key, each in {"mean": months.mean("time"), "quantiles": found}.items():
            wanted = each.transpose("month", ..., "lat", "lon").values
            kept = trained.coarse[key].select(-3, i).numpy()
            np.testing.assert_allclose(kept, wanted, rtol=1e-5)  # single precision


def test_quantile_delta_mapping_by_hand() -> None:
    """1 to 10 in the reference, 10 to 19 later, and training data of ten times the reference."""
    value = np.repeat(np.r_[1.0:11, 10.0:20], 12)[:, None, None] * np.ones((1, 2, 2))
    time = xr.date_range("1991-01", periods=240, freq="MS")

    def both(t2m: np.ndarray, tp: np.ndarray) -> xr.Dataset:
        arrays = {"t2m": (("time", "lat", "lon"), 200 + t2m), "tp": (("time", "lat", "lon"), tp)}
        return xr.Dataset(arrays, TINY.coords() | {"time": time[: len(t2m)]})

    trained = prior_of(both(10 * value[:120], 10 * value[:120]))
    adjust = fit_bias_adjustment(both(value, value), trained, "quantile", ["1991", "2000"])

    def found(year: int) -> list[float]:
        step = adjust.step(12 * (year - 1991))
        return [float(step["t2m"][0, 1]) - 200, float(step["tp"][0, 1])]

    # 2010 is ranked among 2001 to 2010: 19 is the greatest of 10 to 19, as 10 and 100 are.
    assert found(2010) == pytest.approx([100 + 19 - 10, 100 * 19 / 10])
    # 2005 is ranked among 1996 to 2005: 14 is the greatest of 6 to 10 and 10 to 14.
    assert found(2005) == pytest.approx([100 + 14 - 10, 100 * 14 / 10])
    # 2001 is ranked among 1992 to 2001: two tens share the place of 9.5, and 95.
    assert found(2001) == pytest.approx([95 + 10 - 9.5, 95 * 10 / 9.5])
    # Within the reference it is plain quantile mapping.
    assert found(1994) == pytest.approx([40, 40])


def test_quantile_delta_mapping_of_gaussians() -> None:
    """N(m, s) to N(M, S), after a change c: x becomes M + S (x - m - c) / s + c."""
    years, wide = 50, Grid(np.arange(20.0), np.arange(20.0))
    model = series("1801-01", 2 * years, seed=10, warm=5, spread=2, grid=wide)
    warmer = 3.0 * (np.arange(24 * years) >= 12 * years)[:, None, None]
    model = model.assign(t2m=model["t2m"] + warmer)
    prior = prior_of(series("1801-01", years, seed=11, spread=0.5, grid=wide))
    adjust = fit_bias_adjustment(model, prior, "quantile", ["1801", "1850"])
    out = adjust.step(24 * years - 6)["t2m"].values  # a July whose window is all warm
    x = model["t2m"].values[-6] - normal(6) - 5 - 3
    error = out - (normal(6) + 0.5 * x / 2 + 3)
    # x less its quantile is s times the difference of two sampling errors, each of
    # sqrt(p (1 - p) / n) / density: 1.25 / sqrt(n) at the median, 1.71 at the tenth percentile.
    inner = np.abs(x) < 2 * 1.28
    assert np.sqrt(np.mean(error[inner] ** 2)) < 2 * np.sqrt(2) * 1.71 / np.sqrt(years)
    assert abs(error.mean()) < 4 * 2 * np.sqrt(2) * 1.71 / np.sqrt(years * 20)  # of 400 cells


def test_blocks_that_divide_the_grid_are_those_of_coarsen() -> None:
    grid = Grid(np.arange(-59.5, 60), np.arange(0.5, 360))
    assert coarse_climate_grid(grid, 10).is_same(coarsen_grid(grid, 10))
    odd = coarse_climate_grid(Grid(np.arange(-90, 90.1, 0.25), np.arange(0, 360, 0.25)), 11)
    assert odd.cyclic
    assert np.diff(odd.lat_edges).sum() == pytest.approx(180)


def test_of_many_years_21_quantiles_reach_from_the_least_to_the_greatest() -> None:
    fields = np.random.default_rng(0).standard_normal((65 * 12, 1, 2, 2))
    months = np.tile(np.arange(1, 13), 65)
    found = compute_climate(fields, months, TINY, TINY, np.zeros((2, 2), bool))["quantiles"]
    assert found.shape == (12, 21, 1, 2, 2)
    ends = [fields[3::12].min(0), fields[3::12].max(0)]
    np.testing.assert_allclose(found[3, [0, -1]], ends)


def test_fewer_than_two_years_have_a_mean_only_and_fewer_than_one_nothing() -> None:
    assert len(quantile_probabilities(2)) == 2
    fields, shown = np.zeros((23, 1, 2, 2)), np.zeros((2, 2), bool)
    months = np.arange(23) % 12 + 1
    assert compute_climate(fields, months, TINY, TINY, shown).keys() == {"mean"}
    assert compute_climate(fields[:11], months[:11], TINY, TINY, shown) == {}


def test_what_is_excluded_is_not_told(trained: Prior) -> None:
    told = prior_of(series("1985-01", 12, seed=1), exclude=(115, 125, 15, 25)).coarse
    hidden = told["mean"].isnan()
    assert hidden[..., 1, 2].all()
    assert int(hidden.sum()) == 12 * 2
    assert torch.equal(told["mean"][~hidden], trained.coarse["mean"][~hidden])
    assert told["quantiles"][..., 1, 2].isnan().all()


# Promises


def test_a_trained_prior_stores_its_climate_and_says_so(taught: Taught) -> None:
    prior = load_prior(taught.prior)
    whole = coarsen_fields(world(24).isel(time=slice(0, 22)), FACTOR)  # the last tenth is held out
    wanted = np.stack([whole[n].groupby("time.month").mean().values for n in NAMES], 1)
    np.testing.assert_allclose(prior.coarse["mean"].numpy(), wanted, rtol=1e-5, atol=1e-6)
    assert grid_of(whole).is_same(Grid(prior.coarse["lat"].numpy(), prior.coarse["lon"].numpy()))
    assert "quantiles" not in prior.coarse  # November and December are there once
    said = done("info", taught.prior).stdout
    assert "training climatology: mean of each month on 4 x 4 degrees" in said


def test_a_climate_comes_back_from_its_file(trained: Prior, tmp_path: Path) -> None:
    torch.set_default_dtype(torch.float32)
    path = tmp_path / "a.safetensors"
    save_prior(replace(trained, denoiser=new_denoiser(2, NET)), path)
    again = load_prior(path).coarse
    assert again.keys() == trained.coarse.keys()
    assert all(torch.equal(again[k], trained.coarse[k]) for k in again)
    said = done("info", path).stdout
    assert "climatology: mean and 12 quantiles of each month on 10 x 10 degrees" in said


def test_a_prior_without_a_climate_loads_as_before(taught: Taught, tmp_path: Path) -> None:
    old = tmp_path / "old.safetensors"
    kept = {k: v for k, v in load_file(taught.prior).items() if not k.startswith("coarse.")}
    with safe_open(taught.prior, "pt") as file:
        save_file(kept, old, file.metadata())
    assert load_prior(old).coarse == {}
    assert "training climatology: none" in done("info", old).stdout
