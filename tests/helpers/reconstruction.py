"""A small reconstruction: a plan over coarse files of a few months each."""

from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from tests.helpers.small_world import Taught, coarse_world

PLAN = """
[input]
files = [{files}]
{input}
[prior]
name = "prior.safetensors"
[draw]
members = {members}
steps = 2
[output]
layout = "{layout}"
keep = "{keep}"
[run]
member_block = {block}
workers = {workers}
"""


def winter(months: int = 6, **rest: Any) -> xr.Dataset:
    """Return coarse months of the small world from October 2000 on."""
    return coarse_world(9 + months, **rest).isel(time=slice(9, None))


def series(folder: Path, months: int = 6, files: int = 2, **rest: Any) -> list[Path]:
    """Write the small world's coarse months, so many to a file."""
    whole = winter(months, **rest)
    each = -(-months // files)
    paths = [folder / f"in_{n}.nc" for n in range(files)]
    for n, path in enumerate(paths):
        whole.isel(time=slice(n * each, (n + 1) * each)).to_netcdf(path)
    return paths


def replace(ds: xr.Dataset, name: str) -> None:
    """Put another file in the place of one that may be open still."""
    ds.to_netcdf("other.nc")
    Path("other.nc").replace(name)


def plan(folder: Path, name: str = "plan.toml", files: str = '"in_*.nc"', **rest: Any) -> Path:
    """Write a plan."""
    usual = {"members": 3, "layout": "netcdf-yearly", "keep": "stats", "block": 2, "workers": 1}
    words = usual | {"files": files, "input": ""} | rest
    (folder / name).write_text(PLAN.format(**words))
    return folder / name


def settle(folder: Path, taught: Taught, monkeypatch: pytest.MonkeyPatch, **rest: Any) -> Path:
    """Make a folder ready, with prior, input and plan, and go there."""
    (folder / "prior.safetensors").write_bytes(taught.prior.read_bytes())
    series(folder, **rest)
    plan(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    """Return all files but ledger and lock, which tell of times and processes."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in files
        if p.name not in ("ledger.jsonl", ".lock")
    }


def opened(folder: Path) -> xr.Dataset:
    """Open the products as one series."""
    paths = sorted(folder.glob("fine_*.nc"))
    return xr.open_mfdataset(paths, data_vars="minimal", coords="minimal", compat="override")
