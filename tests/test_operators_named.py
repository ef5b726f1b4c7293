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
from dpdm.operators import plugins
from dpdm.operators.areas import boxes, footprints
from dpdm.operators.layout import globe
from dpdm.operators.linear import profile
from dpdm.operators.points import hypsometric, lapse, points
from dpdm.operators.registry import OF_VARIABLE, OF_WIND, Sites, build
from dpdm.operators.winds import vorticity

REGION = globe(np.arange(20.5, 32), np.arange(100.5, 117))
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
NAMES = ("mean", "nan", "long", "numeric", "array", "broken", "number", "gone")


def install(folder: Path, name: str, module: str, text: str) -> None:
    """Lay a distribution out as an installer does."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (folder / f"{module}.py").write_text(text)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"area_{n} = {module}:{n}" for n in NAMES]
    (info / "entry_points.txt").write_text("\n".join(["[dpdm.operators]", *lines]) + "\n")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package that announces operators."""
    install(tmp_path, "snowpack", "snowpack", MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("snowpack", None)


def sites(names: tuple[str, ...] = ("t2m", "sp", "u10", "v10"), **rest: object) -> Sites:
    return Sites(REGION, names, np.array([21.2, 27.7]), np.array([101.1, 113.2]), **rest)  # type: ignore[arg-type]


def test_an_installed_packages_function_is_an_operator(installed: Path) -> None:
    operator = build("area_mean", sites(), "t2m")
    assert operator is plugins.tried(operator, "area_mean", (4, *REGION.shape), 1)
    x = torch.randn(3, 4, *REGION.shape)
    torch.testing.assert_close(operator(x), x[:, :1].mean((-2, -1)))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("nan", "gives a value that is not finite"),
        ("long", r"gives the shape \(2, 816\) and not \(2, 1\)"),
        ("numeric", "has no derivative"),
        ("array", "gives a ndarray and no tensor"),
        ("broken", "fails on a field of zeros.*AttributeError"),
    ],
)
def test_a_function_that_makes_no_sense_is_refused(installed: Path, name: str, what: str) -> None:
    operator = plugins.find(f"area_{name}")
    with pytest.raises(DpdmError, match=f"The operator area_{name} .*{what}"):
        plugins.tried(operator, f"area_{name}", (4, *REGION.shape), 1)


def test_a_name_that_leads_nowhere_is_refused(installed: Path) -> None:
    for name, what in (
        ("area_number", "is not a function"),
        ("area_gone", r"snowpack:gone\) cannot be imported"),
        ("area_meen", "No installed package .* Did you mean area_mean"),
    ):
        with pytest.raises(DpdmError, match=what):
            plugins.find(name)
    install(installed, "other", "other", MODULE)
    importlib.invalidate_caches()
    with pytest.raises(DpdmError, match="Several packages announce the operator area_mean"):
        plugins.find("area_mean")


SIGNS = torch.tensor([1, 1, 1, -1.0])


def expected(name: str, x: Tensor) -> Tensor:
    """Return the named values by the shortest way that numpy knows."""
    at = points(REGION, [21.2, 27.7], [101.1, 113.2])
    warm, east, north = (at.of(c)(x) for c in (0, 2, 3))
    turning = vorticity(REGION, 2, 3)
    speed = (east**2 + north**2).sqrt()
    return {
        "point": warm,
        "mean": footprints(REGION, [21.2, 27.7], [101.1, 113.2], 2e5)(x),
        "coarse": boxes(REGION, [20.2, 26.7], [22.2, 28.7], [100.1, 112.2], [102.1, 114.2])(x),
        "log1p": warm.log1p(),
        "saturating": warm / (1 + warm),
        "threshold": 1 / (1 + torch.exp(-(warm - 280) / 4)),
        "exceedance": 4 * torch.log1p(torch.exp((warm - 280) / 4)),
        "speed": speed,
        "direction": torch.rad2deg(torch.atan2(east, north) + torch.pi) % 360,
        "heading_east": east / speed,
        "heading_north": north / speed,
        "divergence": at(vorticity(REGION, 3, 2)(x * SIGNS[:, None, None])),
        "vorticity": at(turning(x)),
        "saturating_vorticity": at(turning(x) / (1 + turning(x).abs())),
    }[name]  # fmt: skip


STEP = {"level": 280.0, "width": 4.0}
SETTINGS = {
    "mean": {"radius": 2e5}, "coarse": {"factor": 2.0}, "threshold": STEP, "exceedance": STEP,
}  # fmt: skip


@pytest.mark.parametrize("name", [*OF_VARIABLE, *OF_WIND])
def test_every_name_is_the_operator_that_it_names(name: str) -> None:
    x = torch.randn(3, 4, *REGION.shape) + torch.tensor([280.0, 1e5, 3, 4])[:, None, None]
    operator = build(name, sites(), "t2m", **SETTINGS.get(name, {}))
    torch.testing.assert_close(operator(x), expected(name, x), rtol=1e-10, atol=1e-16)
    series = torch.stack([torch.zeros_like(x), x], 2)
    later = build(name, sites(first=torch.tensor([1, 1])), "t2m", **SETTINGS.get(name, {}))
    assert torch.equal(later(series), operator(x))
    assert plugins.tried(operator, name, (4, *REGION.shape), 2) is operator


def test_named_points_stand_at_the_height_of_their_stations() -> None:
    x = torch.randn(3, 4, *REGION.shape) + torch.tensor([280.0, 1e5, 3, 4])[:, None, None]
    up = torch.tensor([300.0, 0.0])
    local = profile(points(REGION, [21.2, 27.7], [101.1, 113.2]))(x)
    high = sites(climb=up)
    for name, exact in (("t2m", lapse(0, up)(local)), ("sp", hypsometric(1, up, 0)(local))):
        torch.testing.assert_close(build("point", high, name)(x), exact[:, 0])
        assert float((exact[:, 0] - local[:, high.channel(name)])[:, 0].abs().min()) > 1
    assert torch.equal(build("point", high, "u10")(x), local[:, 2])


def test_named_time_means_are_means_over_their_steps() -> None:
    x = torch.randn(2, 4, 6, *REGION.shape)
    found = build("point", sites(first=1, last=torch.tensor([4, 2])), "t2m")(x)
    each = points(REGION, [21.2, 27.7], [101.1, 113.2])(x.transpose(1, 2).flatten(0, 1))
    one, two = each.reshape(2, 6, 2).unbind(-1)
    torch.testing.assert_close(found, torch.stack([one[:, 1:5].mean(1), two[:, 1:3].mean(1)], 1))


@pytest.mark.parametrize(
    ("ask", "what"),
    [
        (lambda: build("vortcity", sites(), "u10"), "no observation operator vortcity.*vorticity"),
        (lambda: build("point", sites(), "tp"), "tp is observed, but the fields hold t2m, sp"),
        (lambda: build("speed", sites(("t2m", "tp")), ""), "A wind is observed.*t2m, tp"),
        (lambda: build("mean", sites(), "t2m"), "mean needs radius, and was given no settings"),
        (lambda: build("coarse", sites(), "t2m", factor=0.0), "mean over a block is 0"),
        (lambda: build("threshold", sites(), "t2m", levle=1.0), "needs level and width"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_refused(ask: Callable[[], object], what: str) -> None:
    with pytest.raises(DpdmError, match=what):
        ask()
