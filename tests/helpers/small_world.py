"""A small made-up world, and a prior that the command itself trained on it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from click.testing import CliRunner, Result
from xarray.backends.file_manager import FILE_CACHE

from dpdm.fields.grid import Grid
from dpdm.fields.regrid import coarsen_fields
from dpdm_cli.main import main

GRID = Grid(np.arange(20.5, 52, 1.0), np.arange(100.5, 148, 1.0))
FACTOR = 4
TOML = """
[data]
climatology = "no"
[net]
window = 32
read = [8, 8, 8]
widths = [8, 8]
depth = 1
[train]
steps = 12
batch = 4
draws = 2
warmup = 4
validate = 6
precision = "float32"
"""


def world(months: int = 3, grid: Grid = GRID, calendar: str = "standard") -> xr.Dataset:
    """Return monthly temperature (K) and rain (mm day-1), a third of the land of it dry."""
    rng = np.random.default_rng(0)
    time = xr.date_range("2000-01-01", periods=months, freq="MS", calendar=calendar)
    lat, lon = np.radians(grid.lat)[:, None], np.radians(grid.lon)
    waves = np.sin(9 * lat + 7 * lon) + np.cos(11 * lon - np.arange(months)[:, None, None])
    shape = (months, *grid.shape)
    warm = 300 - 30 * lat**2 + 4 * waves + rng.standard_normal(shape)
    rain = (3 * waves + rng.standard_normal(shape)).clip(0)
    rain[:, :8, :8] = 0.0
    dims = ("time", "lat", "lon")
    arrays = {
        "t2m": (dims, warm.astype("f4"), {"units": "K", "standard_name": "air_temperature"}),
        "tp": (dims, rain.astype("f4"), {"units": "mm day-1"}),
    }
    return xr.Dataset(arrays, grid.coords() | {"time": time})


def coarse_world(months: int = 3, **rest: Any) -> xr.Dataset:
    """Return the same world's means over blocks of 4 by 4 degrees."""
    return coarsen_fields(world(months, **rest), FACTOR)


def summed(ds: xr.Dataset) -> xr.Dataset:
    """Return months of rain as amounts (mm), with bounds that say over which time they fell."""
    first = ds.indexes["time"]
    last = first.shift(1, "MS")
    bounds = xr.DataArray(np.stack([first, last], 1), dims=("time", "bnds"))
    days = np.array([(b - a).days for a, b in zip(first, last, strict=True)])
    rain = ds["tp"] * xr.DataArray(days.astype("f4"), dims="time")
    out = ds.assign(tp=rain.assign_attrs(units="mm"), time_bnds=bounds)
    out["time"].attrs["bounds"] = "time_bnds"
    out["time"].encoding["units"] = "days since 1990-01-01"
    return out


def dpdm(*words: object) -> Result:
    """Run a command in this process, in single precision as users do."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        return CliRunner().invoke(main, [str(word) for word in words])
    finally:
        torch.set_default_dtype(before)
        close_files()


def close_files() -> None:
    """Close what a command has left open, as the end of its process would.

    The error of a refused command keeps its files; collected while the next command opens one of
    them, their closing breaks the HDF5 library.
    """
    while FILE_CACHE:
        FILE_CACHE.popitem()[1].close()


def done(*words: object) -> Result:
    """Run a command that must succeed."""
    result = dpdm(*words)
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result


def refused(command: str, what: str, hint: str = "", code: int = 1) -> Result:
    """Run a command that must be refused, in a folder that must not change."""
    before = {p: p.stat().st_mtime_ns for p in Path().rglob("*")}
    result = dpdm(*command.split())
    lines = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    assert isinstance(result.exception, SystemExit)
    if code == 1:
        assert len(lines) == 2, result.stderr
        assert lines[0].startswith("Error: ")
        assert lines[1].startswith("Hint: ")
    assert re.search(what, result.stderr), result.stderr
    assert hint in lines[-1], result.stderr
    assert {p: p.stat().st_mtime_ns for p in Path().rglob("*")} == before
    return result


@dataclass(frozen=True)
class Taught:
    """Files of the small world.

    Attributes:
        fine: Two years of fine fields.
        config: The settings of the training.
        prior: What was learnt from them.
    """

    fine: Path
    config: Path
    prior: Path


def teach(folder: Path) -> Taught:
    """Train a prior on the small world, in a few seconds."""
    taught = Taught(folder / "fine.nc", folder / "small.toml", folder / "small.safetensors")
    world(24).to_netcdf(taught.fine)
    taught.config.write_text(TOML)
    done(
        "train", taught.fine, "--out", taught.prior, "--factor", FACTOR, "--config", taught.config
    )
    return taught
