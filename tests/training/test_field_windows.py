"""Training windows: what they see is what the coarse file would hold."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from dpdm.fields.grid import Grid
from dpdm.fields.regrid import coarsen_fields, interpolate_bilinear
from dpdm.prior.normaliser import Normaliser
from dpdm.prior.variable_spec import VariableSpec, count_conditioning_channels
from dpdm.training.field_statistics import (
    compute_residual,
    fit_normaliser,
    fit_reference,
    reference_scale,
)
from dpdm.training.field_windows import (
    WITHOUT_REFERENCE,
    CoarseView,
    ConditionDropout,
    TrainingSeries,
    block_axes,
    make_example,
    make_window_sampler,
    window_means,
)
from dpdm.training.reference import PseudoYears, SeriesClimatology

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
    found = view.interpolate_window(lambda r, c: field[:, r[:, None], c], rows, columns)
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


def test_a_step_is_referred_to_the_climatology_of_the_other_years() -> None:
    steps = np.arange(36)
    months = np.arange(48) % 12
    one = replace(archive(REGION, 48, fixed=True), climatology=SeriesClimatology(months, steps))
    rows, columns = np.arange(8, 24), np.arange(3, 30)
    view, at = CoarseView(one.axes, (4, 4)), (..., rows[:, None], columns)
    for step, others in ((14, [2, 26]), (38, [2, 14, 26])):  # the last year is held out
        window = one.cut_window(slice(step, step + 1), 0.2, view, rows, columns)
        mean = one.fine[others].astype(float).mean(0)
        assert window.reference is not None
        fine, lerp = window.reference
        np.testing.assert_allclose(fine, mean[at], rtol=0, atol=1e-12)
        np.testing.assert_allclose(lerp, view.interpolate_everywhere(mean)[at], rtol=0, atol=1e-12)


def test_the_scale_around_a_reference_state_is_found_again() -> None:
    """Residuals of a known law: alpha^2 + (beta a / gamma)^2 times the variance of lerp's."""
    rng = np.random.default_rng(0)
    anomaly = 2.0 * rng.standard_normal(200_000)
    residual = 0.5 * np.hypot(0.3, 0.4 * anomaly / 2) * rng.standard_normal(anomaly.size)
    alpha, beta, gamma = reference_scale(anomaly + residual, anomaly, residual, 0.5)
    assert gamma == pytest.approx(2.0, rel=0.02)  # with the residual's own variance
    assert (alpha, beta) == (pytest.approx(0.3, rel=0.03), pytest.approx(0.4, rel=0.03))


def pseudo_series() -> tuple[TrainingSeries, Normaliser]:
    one = archive(GLOBE, 12)
    rain = replace(RAW.channels[0], name="tp", transform="log1p")
    both = Normaliser((RAW.channels[0], rain))
    fine = np.concatenate([280 + one.fine, np.exp(one.fine)], axis=1)
    fine[:, 1, :20] = 0.0  # dry
    modelled = both.forward(torch.from_numpy(fine)).numpy()
    return replace(one, fine=fine, pseudo=PseudoYears(modelled, both, True)), both


def test_pseudo_years_are_coarsened_as_they_are_drawn() -> None:
    """The lerp of a window is that of the drawn field, whose part it is; dry places stay dry."""
    one, _ = pseudo_series()
    view = CoarseView(one.axes, (4, 4))
    rows, columns = np.arange(12, 28), np.arange(-8, 20) % GLOBE.shape[1]
    fields = one.step_fields(slice(3, 4), rows, columns, np.random.default_rng(5))
    everywhere = fields(*map(np.arange, GLOBE.shape))
    window = one.cut_window(slice(3, 4), 0.3, view, rows, columns, np.random.default_rng(5))
    at = (..., rows[:, None], columns)
    np.testing.assert_allclose(window.fine, everywhere[:2][at], rtol=1e-12)
    np.testing.assert_allclose(
        window.lerp, view.interpolate_everywhere(everywhere[:2])[at], rtol=1e-10, atol=1e-12
    )
    assert window.reference is not None
    np.testing.assert_array_equal(window.reference[0], one.fine[3].astype(float)[at])
    assert not torch.equal(window.fine[0], window.reference[0][0])
    # month 3 is dry there, and the seasonal differences of other months are dry as well
    assert float(window.fine[1, :8].abs().max()) == 0.0


def test_without_an_anomaly_the_delta_method_is_the_reference() -> None:
    one, raw = pseudo_series()
    fitted = fit_normaliser(one, raw, np.ones(GLOBE.shape, bool), np.arange(12))
    places = make_window_sampler(np.ones(GLOBE.shape), np.ones(GLOBE.shape, bool), 16, True)
    fitted = fit_reference(one, fitted, places, np.arange(12))
    where = (np.arange(20, 36), np.arange(16))
    view, rng = CoarseView(one.axes, (4, 4)), np.random.default_rng(0)
    window = one.cut_window(slice(3, 4), 0.3, view, *where)
    reference = window.reference_state(fitted)
    base, scale = fitted.base_and_scale(fitted.forward(window.lerp), 4.0, reference)
    torch.testing.assert_close(fitted.inverse(base), window.fine)
    alpha, residual = fitted.channels[0].reference[0], fitted.channels[0].residual_std(4)
    torch.testing.assert_close(scale[0], torch.full_like(scale[0], alpha * residual))
    example = make_example(one, fitted, where, 3, view, rng)
    assert example.conditioning.shape[0] == count_conditioning_channels(2, reference=True)
    assert float(example.conditioning[-2:].min()) == 1.0  # the flags
    plain = make_example(one, fitted, where, 3, view, rng, WITHOUT_REFERENCE)
    assert float(plain.conditioning[-8:].abs().max()) == 0.0


def test_a_mirrored_window_is_the_window_of_the_mirrored_world() -> None:
    """Southern July is northern January: fields, relief, latitude, season and wind turn round."""
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
