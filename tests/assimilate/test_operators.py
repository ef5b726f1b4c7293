"""Observations that are no values at points, from file to analysis."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from dpdm.constants import EARTH_RADIUS
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.regrid import coarsen_fields
from dpdm.observations.observation_operator import observation_operator
from dpdm.observations.table import read_observations
from dpdm.operators.geometry import globe_layout
from dpdm.operators.registry import ObsLocations
from tests.helpers.small_world import FACTOR, TOML, done, world

OBSERVE = "observe fine.nc obs.nc --config obs.toml --overwrite"
ASSIMILATE = "assimilate obs.nc out.nc --prior prior.safetensors --coarse coarse.nc --reject 0"


def toml(what: str, where: str = "", error: float = 0.05) -> None:
    """Write what to see of the first month's temperature."""
    said = f"[what]\nvariables = ['t2m']\n{what}\n[where]\n{where}\n[when]\nsteps = [0]\n"
    Path("obs.toml").write_text(f"{said}[error]\nstd = [{error}]\n")


def fields() -> xr.Dataset:
    return xr.load_dataset("fine.nc").isel(time=0)


def test_block_means_seen_through_a_file_are_those_of_coarsen(here: Path) -> None:
    toml("operator = 'coarse'\nfactor = 4", error=1e-9)
    done(*OBSERVE.split())
    done("coarsen", "fine.nc", "means.nc", "--factor", 4)
    rows, truth = read_observations([Path("obs.nc")]), fields()
    grid = grid_of(truth)

    x = torch.from_numpy(truth["t2m"].values.astype(float))[None, None]
    means = xr.load_dataset("means.nc")["t2m"].isel(time=0).values.ravel()
    # Files hold single precision: 280 K to 3e-5.
    np.testing.assert_allclose(
        observation_operator(rows, on(grid))(x)[0], means, rtol=0, atol=5e-5
    )
    np.testing.assert_allclose(rows["value"], means, rtol=0, atol=5e-5)


@pytest.mark.parametrize(
    ("what", "count"),
    [
        ("operator = 'coarse'\nfactor = 2", 40),
        ("operator = 'mean'\nradius = 2e5", 40),
    ],
)
def test_areas_that_were_seen_are_drawn_towards(here: Path, what: str, count: int) -> None:
    toml(what, f"random = {count}\nbox = [103, 145, 23, 49]", error=0.2)
    done(*OBSERVE.split())
    # Blocks of two cells lie within the prior's reach, where those of the coarse field do not.
    done(*f"{ASSIMILATE} --members 4 --report report.csv --guidance mmps --iterations 6".split())
    report = pd.read_csv("report.csv")
    assert set(report["status"]) == {"assimilated"}
    assert len(report) == count
    before, after = (np.sqrt((report[n] ** 2).mean()) for n in ("innovation", "residual"))
    assert after < 0.6 * before
    chi = (
        (report["residual"] ** 2 + report["analysis_spread"] ** 2) / report["error"] ** 2
    ).mean()
    assert 0.25 < chi < 2
    # What the report says of the analysis is true of the file that was written.
    out = xr.load_dataset("out.nc")["t2m"].isel(time=0).mean("realization")
    seen = observation_operator(report.assign(value=0.0), on(grid_of(out)))(
        torch.from_numpy(out.values.astype(float))[None, None]
    )
    np.testing.assert_allclose(seen[0], report["analysis"], rtol=0, atol=1e-4)


def on(grid: Grid) -> Callable[[pd.DataFrame], ObsLocations]:
    """Return where rows lie on a grid of temperature."""
    layout = globe_layout(grid.lat, grid.lon)
    return lambda rows: ObsLocations(
        layout, ("t2m",), rows["lat"].to_numpy(), rows["lon"].to_numpy()
    )


def test_footprints_beyond_the_edge_are_set_aside(here: Path) -> None:
    toml("operator = 'mean'\nradius = 3e5", "every = 4")
    done(*OBSERVE.split())
    done(*f"{ASSIMILATE} --members 2 --report report.csv".split())
    report = pd.read_csv("report.csv")
    degrees = np.degrees(3e5 / EARTH_RADIUS)
    north = (report["lat"] - degrees < 20) | (report["lat"] + degrees > 52)
    assert set(report["status"]) == {"assimilated", "outside the domain"}
    assert (report["status"][north] == "outside the domain").all()


@pytest.fixture(scope="module")
def windy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small world of winds, and a prior that was trained on it."""
    folder = tmp_path_factory.mktemp("windy")
    waves = world(12, Grid(np.arange(20.5, 52), np.arange(100.5, 132)))["t2m"]
    east = waves - waves.mean(("lat", "lon"))
    parts = {"u10": ("eastward_wind", east), "v10": ("northward_wind", east.roll(lat=5))}
    winds = xr.Dataset(
        {n: a.assign_attrs(units="m s-1", standard_name=s) for n, (s, a) in parts.items()}
    )
    winds.astype("f4").to_netcdf(folder / "fine.nc")
    coarsen_fields(winds.isel(time=[0]), FACTOR).to_netcdf(folder / "coarse.nc")
    (folder / "small.toml").write_text(TOML)
    train = ("--factor", FACTOR, "--config", folder / "small.toml")
    done("train", folder / "fine.nc", "--out", folder / "prior.safetensors", *train)
    return folder


@pytest.mark.parametrize(("operator", "error"), [("direction", 10.0), ("vorticity", 2e-6)])
def test_winds_that_were_seen_are_drawn_towards(
    windy: Path, monkeypatch: pytest.MonkeyPatch, operator: str, error: float
) -> None:
    """With the background check: what is known of the prior's winds turns none of them away."""
    monkeypatch.chdir(windy)
    said = f"operator = '{operator}'\n[where]\nevery = 4\n[when]\nsteps = [0]\n"
    Path("obs.toml").write_text(f"[what]\n{said}[error]\nstd = [{error}]\n")
    done(*OBSERVE.split())
    command = f"{ASSIMILATE} --members 3 --report report.csv --overwrite"
    done(*command.replace("--reject 0", "--reject 5").split())
    report = pd.read_csv("report.csv")
    assert set(report["status"]) == {"assimilated"}
    assert (report["residual"] ** 2).mean() < 0.4 * (report["innovation"] ** 2).mean()
    assert report["innovation"].abs().max() <= 180
