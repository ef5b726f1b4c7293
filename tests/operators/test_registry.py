"""Operators from installed packages, and by name."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dpdm.errors import DpdmError
from dpdm.operators import registry
from dpdm.operators.geometry import globe_layout
from dpdm.operators.interpolation import (
    box_mean_operator,
    correct_pressure,
    correct_temperature,
    disc_mean_operator,
    point_operator,
)
from dpdm.operators.linear import apply_per_channel
from dpdm.operators.registry import (
    VARIABLE_OPERATORS,
    WIND_OPERATORS,
    ObsLocations,
    build_operator,
)
from dpdm.operators.winds import wind_vorticity
from tests.helpers.packages import install

REGION = globe_layout(np.arange(20.5, 32), np.arange(100.5, 117))
MODULE = """
import numpy, torch
def mean(fields): return fields.mean((-2, -1))[:, :1]
def nan(fields): return mean(fields) / 0
def long(fields): return fields.flatten(1)
def numeric(fields): return mean(fields).detach()
def array(fields): return fields.detach().numpy()
def broken(fields): return fields.no_such_thing
number = 3
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package that announces operators."""
    install(tmp_path, "snowpack", "snowpack", MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("snowpack", None)


def sites(names: tuple[str, ...] = ("t2m", "sp", "u10", "v10"), **rest: object) -> ObsLocations:
    return ObsLocations(REGION, names, np.array([21.2, 27.7]), np.array([101.1, 113.2]), **rest)  # type: ignore[arg-type]


def test_an_installed_packages_function_is_an_operator(installed: Path) -> None:
    operator = build_operator("area_mean", sites(), "t2m")
    assert operator is registry.check_plugin(operator, "area_mean", (4, *REGION.shape), 1)
    x = torch.randn(3, 4, *REGION.shape)
    torch.testing.assert_close(operator(x), x[:, :1].mean((-2, -1)))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("nan", "gives a value that is not finite"),
        ("long", r"gives the shape \(2, 816\) instead of \(2, 1\)"),
        ("numeric", "has no derivative"),
        ("array", "gives a ndarray instead of a tensor"),
        ("broken", "fails on a field of zeros.*AttributeError"),
    ],
)
def test_a_function_that_makes_no_sense_is_refused(installed: Path, name: str, what: str) -> None:
    operator = registry.find_plugin(f"area_{name}")
    with pytest.raises(DpdmError, match=f"The operator area_{name} .*{what}"):
        registry.check_plugin(operator, f"area_{name}", (4, *REGION.shape), 1)


def test_a_name_that_leads_nowhere_is_refused(installed: Path) -> None:
    for name, what in (
        ("area_number", "is not a function"),
        ("area_gone", r"snowpack:gone\) cannot be imported"),
        ("area_meen", "No installed package .* Did you mean area_mean"),
    ):
        with pytest.raises(DpdmError, match=what):
            registry.find_plugin(name)
    install(installed, "other", "other", MODULE)
    importlib.invalidate_caches()
    with pytest.raises(DpdmError, match="Several packages announce the operator area_mean"):
        registry.find_plugin("area_mean")


SIGNS = torch.tensor([1, 1, 1, -1.0])


def expected(name: str, x: Tensor) -> Tensor:
    """Return the named values by the shortest way that numpy knows."""
    at = point_operator(REGION, [21.2, 27.7], [101.1, 113.2])
    warm, east, north = (at.for_channel(c)(x) for c in (0, 2, 3))
    turning = wind_vorticity(REGION, 2, 3)
    speed = (east**2 + north**2).sqrt()
    return {
        "point": warm,
        "mean": disc_mean_operator(REGION, [21.2, 27.7], [101.1, 113.2], 2e5)(x),
        "coarse": box_mean_operator(
            REGION, [20.2, 26.7], [22.2, 28.7], [100.1, 112.2], [102.1, 114.2]
        )(x),
        "log1p": warm.log1p(),
        "saturating": warm / (1 + warm),
        "threshold": 1 / (1 + torch.exp(-(warm - 280) / 4)),
        "exceedance": 4 * torch.log1p(torch.exp((warm - 280) / 4)),
        "speed": speed,
        "direction": torch.rad2deg(torch.atan2(east, north) + torch.pi) % 360,
        "heading_east": east / speed,
        "heading_north": north / speed,
        "divergence": at(wind_vorticity(REGION, 3, 2)(x * SIGNS[:, None, None])),
        "vorticity": at(turning(x)),
        "saturating_vorticity": at(turning(x) / (1 + turning(x).abs())),
    }[name]  # fmt: skip


STEP = {"level": 280.0, "width": 4.0}
SETTINGS = {
    "mean": {"radius": 2e5}, "coarse": {"factor": 2.0}, "threshold": STEP, "exceedance": STEP,
}  # fmt: skip


@pytest.mark.parametrize("name", [*VARIABLE_OPERATORS, *WIND_OPERATORS])
def test_every_name_is_the_operator_that_it_names(name: str) -> None:
    x = torch.randn(3, 4, *REGION.shape) + torch.tensor([280.0, 1e5, 3, 4])[:, None, None]
    operator = build_operator(name, sites(), "t2m", **SETTINGS.get(name, {}))
    torch.testing.assert_close(operator(x), expected(name, x), rtol=1e-10, atol=1e-16)
    series = torch.stack([torch.zeros_like(x), x], 2)
    later = build_operator(
        name, sites(first=torch.tensor([1, 1])), "t2m", **SETTINGS.get(name, {})
    )
    assert torch.equal(later(series), operator(x))
    assert registry.check_plugin(operator, name, (4, *REGION.shape), 2) is operator


def test_named_points_stand_at_the_height_of_their_stations() -> None:
    x = torch.randn(3, 4, *REGION.shape) + torch.tensor([280.0, 1e5, 3, 4])[:, None, None]
    up = torch.tensor([300.0, 0.0])
    local = apply_per_channel(point_operator(REGION, [21.2, 27.7], [101.1, 113.2]))(x)
    high = sites(height_offset=up)
    for name, exact in (
        ("t2m", correct_temperature(0, up)(local)),
        ("sp", correct_pressure(1, up, 0)(local)),
    ):
        torch.testing.assert_close(build_operator("point", high, name)(x), exact[:, 0])
        assert float((exact[:, 0] - local[:, high.channel(name)])[:, 0].abs().min()) > 1
    assert torch.equal(build_operator("point", high, "u10")(x), local[:, 2])


def test_named_time_means_are_means_over_their_steps() -> None:
    x = torch.randn(2, 4, 6, *REGION.shape)
    found = build_operator("point", sites(first=1, last=torch.tensor([4, 2])), "t2m")(x)
    each = point_operator(REGION, [21.2, 27.7], [101.1, 113.2])(x.transpose(1, 2).flatten(0, 1))
    one, two = each.reshape(2, 6, 2).unbind(-1)
    torch.testing.assert_close(found, torch.stack([one[:, 1:5].mean(1), two[:, 1:3].mean(1)], 1))


@pytest.mark.parametrize(
    ("ask", "what"),
    [
        (lambda: build_operator("vortcity", sites(), "u10"),
            "no observation operator vortcity.*vorticity"),
        (lambda: build_operator("point", sites(), "tp"),
            "tp is observed, but the fields hold t2m, sp"),
        (lambda: build_operator("speed", sites(("t2m", "tp")), ""), "A wind is observed.*t2m, tp"),
        (lambda: build_operator("mean", sites(), "t2m"),
            "mean needs radius, but was given no settings"),
        (lambda: build_operator("coarse", sites(), "t2m", factor=0.0), "block mean is 0"),
        (lambda: build_operator("threshold", sites(), "t2m", levle=1.0), "needs level and width"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_refused(ask: Callable[[], object], what: str) -> None:
    with pytest.raises(DpdmError, match=what):
        ask()
