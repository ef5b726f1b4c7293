"""Derived observations: winds, their derivatives and their limits; saturation and thresholds."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from dpdm.constants import EARTH_RADIUS
from dpdm.errors import DpdmError
from dpdm.operators import linear, winds
from dpdm.operators.geometry import GridLayout, globe_layout, plane_layout
from dpdm.operators.interpolation import correct_pressure, point_operator
from dpdm.operators.linear import apply_adjoint, apply_per_channel

REGION = globe_layout(np.arange(20.5, 32), np.arange(100.5, 117))
AT = point_operator(REGION, [21.2, 27.7, 31.9], [101.1, 113.2, 116.4])
NONLINEAR = {
    "speed": linear.compose_maps(apply_per_channel(AT), winds.wind_speed(), linear.flatten_values),
    "heading": linear.compose_maps(
        apply_per_channel(AT), winds.wind_heading(), linear.flatten_values
    ),
    "direction": linear.compose_maps(
        apply_per_channel(AT), winds.wind_direction(), linear.flatten_values
    ),
    "pressure": linear.compose_maps(
        apply_per_channel(AT), correct_pressure(0, torch.tensor([900.0, -50, 0]), 1)
    ),
    "saturating": linear.compose_maps(AT, linear.saturate),
    "log1p": linear.compose_maps(AT, linear.signed_log1p),
    "threshold": linear.compose_maps(AT, linear.smooth_threshold(3.0, 2.0)),
    "exceedance": linear.compose_maps(AT, linear.exceedance(3.0, 2.0)),
    "saturating vorticity": linear.compose_maps(winds.wind_vorticity(REGION), linear.saturate, AT),
}


def winds_of(layout: GridLayout, u: Callable[..., Tensor], v: Callable[..., Tensor]) -> Tensor:
    """Return a wind (1, 2, H, W) out of functions of the axes, in radians on the sphere."""
    unit = np.pi / 180 if layout.sphere else 1.0
    y, x = (torch.as_tensor(a.centres * unit) for a in (layout.rows, layout.columns))
    return torch.stack(
        [f(y[:, None], x[None]) + torch.zeros(layout.shape) for f in (u, v)], 0
    )[None]  # fmt: skip


@pytest.mark.parametrize("name", list(NONLINEAR))
def test_derivatives_agree_forwards_backwards_and_with_differences(name: str) -> None:
    operator = NONLINEAR[name]
    x = 4 + torch.randn(2, 2, *REGION.shape)
    x = x + torch.tensor([0.0, 280.0])[:, None, None] if name == "pressure" else x
    dx = torch.randn_like(x)
    size = 1e-4
    change = (operator(x + size * dx) - operator(x - size * dx)) / (2 * size)
    v = torch.randn_like(change)
    back = float((dx * apply_adjoint(operator, x, v)).sum())
    # Differences are of second order: 1e-8 times a third derivative of order 1, and rounding.
    assert float((change * v).sum()) == pytest.approx(back, rel=1e-6, abs=1e-10)


@pytest.mark.parametrize("name", list(NONLINEAR))
def test_members_do_not_know_of_each_other(name: str) -> None:
    x = 4 + torch.randn(3, 2, *REGION.shape)
    assert torch.equal(NONLINEAR[name](x)[1:2], NONLINEAR[name](x[1:2]))


def test_winds_of_all_quarters_are_what_a_vane_shows() -> None:
    """A southerly of 3 m/s, a westerly of 4, and a 3-4-5 wind from the third quadrant."""
    wind = torch.tensor([[[0.0, 4.0, 3.0], [3.0, 0.0, 4.0]]])
    torch.testing.assert_close(winds.wind_speed()(wind), torch.tensor([[[3.0, 4.0, 5.0]]]))
    expected = torch.tensor([180.0, 270.0, 180 + np.degrees(np.arctan2(3, 4))])
    degrees = winds.wind_direction()(wind)[0, 0]
    torch.testing.assert_close(degrees, expected)
    angle = torch.deg2rad(degrees)
    towards = torch.stack([-torch.sin(angle), -torch.cos(angle)])
    torch.testing.assert_close(towards, winds.wind_heading()(wind)[0])


def test_a_calm_has_no_heading_and_no_wild_gradient() -> None:
    calm = torch.zeros(1, 2, 4)
    for operator in (winds.wind_speed(), winds.wind_heading(), winds.wind_direction()):
        assert torch.equal(operator(calm), torch.zeros_like(operator(calm)))
        pulled = apply_adjoint(operator, calm, torch.ones_like(operator(calm)))
        assert float(pulled.abs().max()) <= 180 / np.pi
    assert float(winds.wind_heading()(calm + 0.01).abs().max()) == pytest.approx(0.02)


def slope_error(layout: GridLayout, rows: slice = slice(None), spectral: bool = False) -> float:
    """Return the greatest error of the divergence and vorticity of a wind known in closed form."""
    if layout.sphere:
        # The sum of f = sin(lat) + cos(lat) cos(lon) as potential and as streamfunction, with
        # Laplacian -2 f; it blows over the poles.
        wind = winds_of(layout, lambda y, x: y.cos() - y.sin() * x.cos() - x.sin(),
                        lambda y, x: y.cos() - y.sin() * x.cos() + x.sin())  # fmt: skip
        lat, lon = (torch.as_tensor(np.radians(a.centres)) for a in (layout.rows, layout.columns))
        f = 2 * (lat.sin()[:, None] + lat.cos()[:, None] * lon.cos()) / EARTH_RADIUS
        exact = [-f, f]
    else:
        wind = winds_of(layout, lambda y, x: (2 * y).sin() * x.cos(),
                        lambda y, x: y.sin() * (3 * x).sin())  # fmt: skip
        y, x = (torch.as_tensor(a.centres) for a in (layout.rows, layout.columns))
        y = y[:, None]
        exact = [
            -(2 * y).sin() * x.sin() + y.cos() * (3 * x).sin(),
            3 * y.sin() * (3 * x).cos() - 2 * (2 * y).cos() * x.cos(),
        ]
    found = [
        f(layout, spectral=spectral)(wind)[0, 0]
        for f in (winds.wind_divergence, winds.wind_vorticity)
    ]
    pairs = zip(found, exact, strict=True)
    return max(float((a - b)[rows].abs().max() / b.abs().max()) for a, b in pairs)


def world(n: int, poles: bool = False) -> GridLayout:
    """Return a global layout of n rows, or n + 1 with one on each pole."""
    step = 180 / n
    lat = np.arange(n + poles) * step - 90 + (0 if poles else step / 2)
    return globe_layout(lat, np.arange(2 * n) * step)


def torus(n: int) -> GridLayout:
    """Return a periodic plane of n by n cells."""
    sides = np.arange(n) * 2 * np.pi / n
    return plane_layout(sides, sides, 2 * np.pi)


@pytest.mark.parametrize("kind", ["torus", "rim", "world", "region", "poles"])
def test_centred_differences_converge_at_second_order(kind: str) -> None:
    def error(n: int) -> float:
        if kind == "torus":
            return slope_error(torus(n))
        if kind == "rim":
            return slope_error(plane_layout(np.linspace(0, 2, n), np.linspace(1, 3, n)))
        if kind == "region":
            return slope_error(globe_layout(np.linspace(10, 60, n), np.linspace(100, 150, n)))
        return slope_error(world(n, kind == "poles"), slice(n // 6, -n // 6))

    assert np.log2(error(64) / error(128)) == pytest.approx(2, abs=0.1)


def test_rows_at_the_poles_are_finite_and_converge() -> None:
    errors = [slope_error(world(n, poles=True)) for n in (32, 64, 128)]
    assert errors[0] > 1.7 * errors[1] > 2.9 * errors[2]


def test_spectral_derivatives_of_waves_are_exact() -> None:
    assert slope_error(torus(16), spectral=True) < 1e-14
    assert slope_error(torus(17), spectral=True) < 1e-14


def test_a_rotation_of_the_globe_has_its_vorticity_and_no_divergence() -> None:
    """The wind u = omega a cos(lat) has vorticity 2 omega sin(lat): that of the earth."""
    layout = world(90)
    wind = winds_of(layout, lambda y, x: y.cos(), lambda y, x: 0 * y) * 100
    turn = winds.wind_vorticity(layout)(wind)[0, 0] * EARTH_RADIUS / 100
    exact = 2 * torch.as_tensor(np.sin(np.radians(layout.rows.centres)))[:, None]
    # h^2 / 6 of the third derivative, 8 sin(lat) cos(lat); the outermost rows are one-sided.
    assert float((turn - exact)[1:-1].abs().max()) < 8 * np.radians(2) ** 2 / 6 * 1.01
    assert float(winds.wind_divergence(layout)(wind).abs().max()) < 1e-19


def test_derivatives_leave_a_time_axis_alone() -> None:
    x = torch.randn(2, 2, 5, *REGION.shape)
    for function in (
        winds.wind_divergence(REGION),
        winds.wind_vorticity(REGION),
        winds.wind_speed(),
    ):
        found = function(x)
        assert found.shape == (2, 1, 5, *REGION.shape)
        assert torch.equal(found[:, :, 3], function(x[:, :, 3]))


def test_derivatives_that_cannot_be_are_refused() -> None:
    narrow = globe_layout([10.0, 11.0], [100.0, 101.0, 102.0])
    with pytest.raises(DpdmError, match="2 cells, too few"):
        winds.wind_divergence(narrow)(torch.zeros(1, 2, 2, 3))
    with pytest.raises(DpdmError, match="needs a periodic axis"):
        winds.wind_vorticity(REGION, spectral=True)(torch.zeros(1, 2, *REGION.shape))


def test_shapes_have_their_limits_and_slopes() -> None:
    w = torch.linspace(-50, 50, 101)
    step, above = linear.smooth_threshold(2.0, 1.5), linear.exceedance(2.0, 1.5)
    assert bool((linear.saturate(w).diff() > 0).all())
    torch.testing.assert_close(linear.saturate(w), -linear.saturate(-w))
    torch.testing.assert_close(linear.signed_log1p(w.abs()), torch.log1p(w.abs()))
    torch.testing.assert_close(apply_adjoint(above, w, torch.ones_like(w)), step(w))
    torch.testing.assert_close(above(w)[w > 40], w[w > 40] - 2)
    assert float(step(torch.tensor(2.0))) == 0.5
    for shape in (linear.saturate, linear.signed_log1p, step):
        assert bool(apply_adjoint(shape, torch.zeros(3), torch.ones(3)).isfinite().all())


def test_log1p_pulls_at_zero_and_at_slight_negatives() -> None:
    pulled = apply_adjoint(linear.signed_log1p, torch.tensor([-0.01, 0.0, 0.01]), torch.ones(3))
    torch.testing.assert_close(pulled, torch.tensor([1 / 1.01, 1.0, 1 / 1.01]))
