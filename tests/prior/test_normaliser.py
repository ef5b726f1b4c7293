"""The door between fields and tensors: round trips, exact expectations, seasons."""

import numpy as np
import pytest
import torch
import xarray as xr
from scipy import integrate, stats

from dpdm.fields.time import year_fractions
from dpdm.prior.normaliser import (
    TRANSFORMS,
    Normaliser,
    StaticTensors,
    expected_amount,
    make_conditioning_channels,
)
from dpdm.prior.variable_spec import VariableSpec, count_conditioning_channels

T2M = VariableSpec("t2m", "", "", "K", "identity", 285.0, 15.0, ((4.0, 0.5), (12.0, 1.1)))
TP = VariableSpec("tp", "", "", "mm day-1", "log1p", 1.1, 0.6, ((4.0, 0.06), (12.0, 0.12)))
BOTH = Normaliser((T2M, TP))


def physical() -> torch.Tensor:
    return torch.stack([torch.randn(5, 6) * 10 + 280, torch.rand(5, 6) * 20])


def test_normalising_and_back_is_exact() -> None:
    fine, lerp = physical(), physical()
    base, scale = BOTH.base_and_scale(BOTH.forward(lerp), 10.0)
    x = (BOTH.forward(fine) - base) / scale
    torch.testing.assert_close(BOTH.inverse(base + scale * x), fine, rtol=1e-12, atol=1e-12)


def test_a_shift_of_the_coarse_field_passes_undamped() -> None:
    lerp = physical()
    for warming in (0.0, 40.0):
        warmer = lerp + torch.tensor([warming, 0])[:, None, None]
        base, scale = BOTH.base_and_scale(BOTH.forward(warmer), 10.0)
        out = BOTH.inverse(base + scale * 0.3)
        torch.testing.assert_close(
            out[0], warmer[0] + 0.3 * T2M.residual_std(10), rtol=1e-12, atol=0
        )


def test_without_coarse_the_frame_is_the_field_s_own() -> None:
    lerp = BOTH.forward(physical())
    lerp[1] = torch.nan
    base, scale = BOTH.base_and_scale(lerp, 10.0)
    assert bool((base[1] == TP.mean).all())
    assert bool((scale[1] == TP.std).all())
    assert bool((scale[0] == T2M.residual_std(10.0)).all())


def test_rain_is_never_negative_nor_clamped_above() -> None:
    found = TRANSFORMS["log1p"].inverse(torch.tensor([-3.0, 0.0, 9.0]))
    assert found.tolist() == [0.0, 0.0, np.expm1(9.0)]


@pytest.mark.parametrize("mean", [-0.5, 0.0, 0.3, 2.0])
@pytest.mark.parametrize("deviation", [0.05, 0.5, 1.0])
def test_the_expectation_is_the_integral(mean: float, deviation: float) -> None:
    density = stats.norm(mean, deviation).pdf
    exact = integrate.quad(
        lambda u: np.expm1(u) * density(u), 0, mean + 12 * deviation + 1, epsabs=1e-13, limit=200,
        points=[max(mean, 0.0)],
    )[0]  # fmt: skip
    found = expected_amount(torch.tensor(mean), torch.tensor(deviation**2))
    assert float(found) == pytest.approx(exact, rel=1e-8, abs=1e-12)


def test_scales_are_interpolated_in_the_logarithm_of_the_factor() -> None:
    middle = float(np.sqrt(4 * 12))
    assert T2M.residual_std(middle) == pytest.approx(0.8, rel=1e-12)
    assert T2M.residual_std(1) == 0.5
    assert T2M.residual_std(40) == 1.1


def test_channels_say_what_is_missing() -> None:
    pair = (torch.randn(5, 6), torch.randn(5, 6))
    ground = StaticTensors(pair, pair, torch.linspace(-80, 80, 5))
    lerp = torch.randn(2, 5, 6)
    lerp[0, 0, 0] = torch.nan
    full = make_conditioning_channels(lerp, ground, (10.0, 5.0), 0.25)
    assert full.shape == (count_conditioning_channels(2), 5, 6)
    assert bool(full.isfinite().all())
    assert full[2].sum() == 29  # cells where the first variable is known
    assert full[3].sum() == 30
    none = make_conditioning_channels(torch.full((2, 5, 6), torch.nan), ground, None, None)
    assert float(none[:4].abs().sum() + none[-5:].abs().sum()) == 0.0
    assert float(none[5].abs().sum() + none[7].abs().sum()) == 0.0  # no detail without coarse


@pytest.mark.parametrize(
    ("first", "step", "count", "expected"),
    [
        ("2001-01-01", "MS", 3, [0.5 / 12, 1.5 / 12, 2.5 / 12]),
        ("2001-01-01", "YS", 3, [None, None, None]),
        ("2001-01-01", "QS", 3, [None, None, None]),
        ("2001-07-01", "MS", 1, [6.5 / 12]),
        ("2001-01-01", "D", 3, [0.5 / 365.25, 1.5 / 365.25, 2.5 / 365.25]),
    ],
)
@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
def test_seasons(first: str, step: str, count: int, expected: list[float], calendar: str) -> None:
    time = xr.date_range(first, periods=count, freq=step, calendar=calendar, use_cftime=True)
    assert year_fractions(xr.DataArray(time, dims="time")) == pytest.approx(expected)
    assert year_fractions(None) == [None]
