"""Operators that installed packages announce, assimilated; and those that are refused."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.helpers.packages import install
from tests.helpers.small_world import done, refused

ASSIMILATE = "assimilate obs.csv out.nc --prior prior.safetensors --coarse coarse.nc"
PLUGIN = """
import torch
def mean(fields):
    return torch.stack([fields[:, 0, 9:12, j : j + 3].mean((-2, -1)) for j in (9, 33)], 1)
def nan(fields): return mean(fields) / 0
def long(fields): return fields.flatten(1)
def numeric(fields): return mean(fields).detach()
array = broken = mean
number = 3
"""


def patches(field: np.ndarray) -> list[float]:
    return [float(field[9:12, j : j + 3].mean()) for j in (9, 33)]


@pytest.fixture
def seen(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pd.DataFrame]:
    """A package that sees the means over two patches, and what it says it saw."""
    install(here, "patches", "patches", PLUGIN)
    monkeypatch.syspath_prepend(here)
    importlib.invalidate_caches()
    west, east = patches(xr.load_dataset("fine.nc")["t2m"].values[0])
    rows = pd.DataFrame({"value": [west + 1, east - 1], "lat": 30.5, "lon": [110.5, 134.5]})
    rows = rows.assign(time="2000-01-16", variable="t2m", units="K", error=0.05)
    rows.assign(operator="area_mean").to_csv("obs.csv", index=False)
    yield rows
    sys.modules.pop("patches", None)


def test_an_operator_of_another_package_is_one_like_any_other(seen: pd.DataFrame) -> None:
    done(*f"{ASSIMILATE} --members 4 --reject 0 --report report.csv".split())
    report = pd.read_csv("report.csv")
    out = xr.load_dataset("out.nc")["t2m"].isel(time=0).mean("realization").values
    np.testing.assert_allclose(report["analysis"], patches(out), rtol=0, atol=1e-4)
    assert (report["residual"].abs() < 0.5 * report["innovation"].abs()).all()


def test_what_is_not_believed_keeps_its_place_among_a_packages_values(
    seen: pd.DataFrame,
) -> None:
    seen.loc[0, "value"] += 90
    seen.assign(operator="area_mean").to_csv("obs.csv", index=False)
    done(*f"{ASSIMILATE} --members 4 --reject 9 --report report.csv".split())
    report = pd.read_csv("report.csv")
    assert report["status"][0].startswith("rejected")
    assert abs(report["residual"][1]) < 0.5 * abs(report["innovation"][1])


@pytest.mark.parametrize(
    ("operator", "what", "tail"),
    [
        ("area_nan", "area_nan gives a value that is not finite", ""),
        ("area_long", r"area_long gives the shape \(2, 3072\) instead of \(2, 2\)", ""),
        ("area_numeric", "area_numeric has no derivative", ""),
        ("area_meen", "no observation operator area_meen", ""),
        ("mean", "mean needs radius", ""),
        ("speed", "2 not a variable of the prior", ""),
    ],
)  # fmt: skip
def test_operators_are_refused_before_anything_is_computed(
    seen: pd.DataFrame, operator: str, what: str, tail: str
) -> None:
    unit = {"units": "m/s", "variable": "u10"} if operator == "speed" else {}
    rows = seen.assign(operator=operator, **unit)
    rows.to_csv("obs.csv", index=False)
    refused(f"{ASSIMILATE} --members 2 {tail}", what)
