"""Coarse months in files, and plans for them."""

from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from dpdm.reconstruct.series import CoarseSeries
from dpdm.reconstruct.setup import ReconstructionSetup, prepare_reconstruction
from tests.helpers.reconstruction import plan, replace, winter
from tests.helpers.small_world import Taught


def dated(first: str, months: int = 6, calendar: str = "standard", freq: str = "MS") -> xr.Dataset:
    """Return coarse fields from a date on."""
    time = xr.date_range(first, periods=months, freq=freq, calendar=calendar)
    return winter(months).assign_coords(time=time)


def put(ds: xr.Dataset, *steps: list[int]) -> None:
    """Write some steps to a file each, or all to one."""
    for number, some in enumerate(steps or (list(range(ds.sizes["time"])),)):
        replace(ds.isel(time=some), f"in_{number}.nc")


def planned(**rest: Any) -> ReconstructionSetup:
    """Return what a plan of the input there is prepares."""
    return prepare_reconstruction(plan(Path(), **rest))


def found(**rest: Any) -> CoarseSeries:
    """Return the series of a plan of the input there is."""
    return planned(**rest).series


def add(section: str, keys: str) -> None:
    """Put keys into a section of the plan, which it may not have yet."""
    text = Path("plan.toml").read_text()
    head = f"[{section}]\n"
    text = text if head in text else text + head
    Path("plan.toml").write_text(text.replace(head, f"{head}{keys}\n"))


def bare(folder: Path, taught: Taught, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with a prior and a plan for the mean alone, and no input; go there."""
    (folder / "prior.safetensors").write_bytes(taught.prior.read_bytes())
    plan(folder, members=0)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    return folder
