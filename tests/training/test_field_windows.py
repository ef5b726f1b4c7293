"""Training windows: what they see is what the coarse file would hold."""

import numpy as np
import pytest
import torch
import xarray as xr

from dpdm.fields.grid import Grid
from dpdm.fields.regrid import coarsen_fields, interpolate_bilinear
from dpdm.prior.normaliser import Normaliser, VariableSpec
from dpdm.training.field_statistics import compute_residual, fit_normaliser, residual_climatology
from dpdm.training.field_windows import (
    CoarseView,
    ConditionDropout,
    TrainingSeries,
    block_axes,
    make_example,
    make_window_sampler,
    window_means,
)

GLOBE = Grid(np.arange(-88.75, 90, 2.5), np.arange(0, 360, 2.5))
REGION = Grid(np.arange(20.5, 60, 1.0), np.arange(100.5, 140, 1.0))
RAW = Normaliser((VariableSpec("a", "", "", "K", "identity", 0.0, 1.0, ()),))


def archive(grid: Grid, times: int = 24, fixed: bool = False) -> TrainingSeries:
    rng = np.random.default_rng(0)
    fine = rng.standard_normal((times, 1, *grid.shape)).astype(np.float32)
    statics = rng.random((2, *grid.shape)).astype(np.float32)
    season = [((t % 12) + 0.5) / 12 for t in range(times)]
    return TrainingSeries(fine, statics, grid, season, (4, 4), fixed_blocks=fixed)


@pytest.mark.parametrize("grid", [GLOBE, REGION], ids=["globe", "region"])
def test_a_view_is_coarsening_and_lerp(grid: Grid) -> None:
    field = np.random.default_rng(0).standard_normal((1, *grid.shape))
    ds = xr.Dataset({"a": (("lat", "lon"), field[0])}, grid.coords())
    expected = interpolate_bilinear(coarsen_fields(ds, 4), grid)["a"].values
    found = CoarseView(block_axes(grid), (4, 4)).interpolate_everywhere(field)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("factor", [(4, 4), (5, 7), (3, 11)])
@pytest.mark.parametrize("phase", [(0, 0), (2, 3)])
@pytest.mark.parametrize("grid", [GLOBE, REGION], ids=["globe", "region"])
def test_a_window_is_cut_from_the_whole(
    grid: Grid, factor: tuple[int, int], phase: tuple[int, int]
) -> None:
    field = np.random.default_rng(0).standard_normal((2, *grid.shape))
    field[0, 12, 17] = np.nan
    view = CoarseView(block_axes(grid), factor, phase)
    rows, columns = np.arange(5, 20), (np.arange(-9 if grid.cyclic else 3, 15)) % grid.shape[1]
    found = view.interpolate_window(field, rows, columns)
    np.testing.assert_allclose(
        found,
        view.interpolate_everywhere(field)[:, rows[:, None], columns],
        rtol=1e-10,
        atol=1e-12,
    )


@pytest.mark.parametrize("cyclic", [False, True])
@pytest.mark.parametrize("size", [(4, 6), (5, 7), (5, 6), (20, 30)])
def test_starts_are_means_over_windows(size: tuple[int, int], cyclic: bool) -> None:
    value = np.random.default_rng(0).random((20, 30))
    found = window_means(value, size, cyclic)
    around = np.concatenate([value, value], axis=1)
    for i in range(found.shape[0]):
        for j in range(found.shape[1]):
            window = around[i : i + size[0], j : j + size[1]]
            assert found[i, j] == pytest.approx(window.mean(), rel=1e-9)


def test_no_window_touches_what_is_excluded() -> None:
    allowed = np.ones(GLOBE.shape, bool)
    allowed[30:40, 50:70] = False
    found = make_window_sampler(np.ones(GLOBE.shape), allowed, 16, cyclic=True)
    rng = np.random.default_rng(0)
    seen = np.zeros(GLOBE.shape, bool)
    for _ in range(3000):
        rows, columns = found.draw_window(rng, GLOBE.shape[1])
        seen[rows[:, None], columns] = True
    assert not seen[30:40, 50:70].any()
    assert seen[:, :30].all()


def test_scaling_makes_residuals_of_unit_variance() -> None:
    one = archive(GLOBE)
    fitted = fit_normaliser(one, RAW, np.ones(GLOBE.shape, bool), np.arange(24))
    scaled = compute_residual(one, RAW, 3, 4) / fitted.channels[0].residual_std(4)
    assert np.sqrt((scaled**2 * GLOBE.weights).mean()) == pytest.approx(1.0, abs=0.02)


def test_conditions_are_withheld_as_often_as_said() -> None:
    one = archive(REGION)
    fitted = fit_normaliser(one, RAW, np.ones(REGION.shape, bool), np.arange(24))
    rng = np.random.default_rng(0)
    where = (np.arange(16), np.arange(16))
    drops = ConditionDropout(0.3, 0.0, 0.5)
    given = [
        make_example(one, fitted, where, 3, one.view(rng), rng, drops).conditioning
        for _ in range(400)
    ]
    lost = np.mean([float(g[1].sum()) == 0 for g in given])
    timeless = np.mean([float(g[-3].sum()) == 0 for g in given])
    assert lost == pytest.approx(0.3, abs=0.08)  # three standard errors of 400 draws
    assert timeless == pytest.approx(0.5, abs=0.08)


def test_a_climatology_that_leaves_out_its_own_year_is_unbiased() -> None:
    """n / (n - 1) times the residual to all n years is the residual to the other n - 1."""
    from dataclasses import replace

    one = archive(REGION, 48, fixed=True)
    steps = np.arange(48)
    whole = replace(one, climatology=residual_climatology(one, RAW, steps), leave_out_factor=4 / 3)
    others = replace(one, climatology=residual_climatology(one, RAW, np.delete(steps, 5)))
    scaled = compute_residual(whole, RAW, 5, 4) * whole.leave_out_factor
    np.testing.assert_allclose(
        scaled, compute_residual(others, RAW, 5, 4), rtol=0, atol=1e-5
    )  # float32
    assert torch.isfinite(whole.climatology).all()


def test_a_mirrored_window_is_the_window_of_the_mirrored_world() -> None:
    """Southern July is northern January: fields, relief, latitude, season and wind turn round."""
    from dataclasses import replace

    one = archive(GLOBE, 12)
    wind = Normaliser((replace(RAW.channels[0], standard_name="northward_wind"),))
    fitted = fit_normaliser(one, wind, np.ones(GLOBE.shape, bool), np.arange(12))
    turned = replace(
        one, fine=-np.roll(one.fine, 6, axis=0)[:, :, ::-1], statics=one.statics[:, ::-1]
    )
    rows, columns = np.arange(8, 24), np.arange(30, 50)
    south = (GLOBE.shape[0] - 1 - rows)[::-1].copy()
    view = CoarseView(one.axes, (4, 4))
    rng = np.random.default_rng(0)
    seen = make_example(
        one, fitted, (rows, columns), 2, view, rng, ConditionDropout(0, 0, 0, mirror=1.0)
    )
    other = make_example(turned, fitted, (south, columns), 8, view, rng)
    torch.testing.assert_close(seen.x, other.x)
    torch.testing.assert_close(seen.conditioning, other.conditioning)
    assert not torch.allclose(
        seen.conditioning, make_example(one, fitted, (rows, columns), 2, view, rng).conditioning
    )
