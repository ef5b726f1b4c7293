"""Stations of a small region whose only background is the climatology, and a prior for them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from dpdm.fields.grid import Grid
from dpdm.fields.reference_climatology import open_climatology
from dpdm.prior import save_prior
from tests.states.test_reference import prior_with

BOX = "101,103,19,21"
WORDS = f"--prior prior.safetensors --members 2 --steps 2 --bbox {BOX}"
SITES = {"Ban": (19.3, 101.4, 350.0), "Nam": (20.1, 102.6, 500.0), "Phu": (20.7, 101.9, 900.0)}


def untrained_prior(path: str = "prior.safetensors", **rest: Any) -> None:
    """Write an untrained prior that takes a climatology, with the scores of a good one."""
    prior = prior_with(**rest)
    prior.denoiser.float()
    scores = dict.fromkeys(prior.normaliser.names, 0.5)
    save_prior(replace(prior, contract=replace(prior.contract, scores=scores)), Path(path))


def target(path: str = "target.nc") -> None:
    """Write the cells of the box as a target without times."""
    cells = {"lat": np.arange(19.0, 21.1, 0.25), "lon": np.arange(101.0, 103.1, 0.25)}
    ground = np.zeros((len(cells["lat"]), len(cells["lon"])), "f4")
    xr.Dataset({"z": (("lat", "lon"), ground)}, cells).to_netcdf(path)


def network(months: list[str], stations: int = 3, rain: bool = True) -> pd.DataFrame:
    """Return monthly means that are the climatology plus an anomaly, in K and mm/day."""
    rng, rows = np.random.default_rng(4), []
    for month in months:
        for name in list(SITES)[:stations]:
            lat, lon, height = SITES[name]
            means = climate_at(lat, lon, int(month[5:7]))
            rows.append([name, month, lat, lon, height, "t2m", means["t2m"] + rng.normal(), "K"])
            if rain:
                wet = means["tp"] * np.exp(0.3 * rng.normal())
                rows.append([name, month, lat, lon, height, "tp", wet, "mm/day"])
    names = ["station", "time", "lat", "lon", "elevation [m]", "variable", "value", "units"]
    return pd.DataFrame(rows, columns=names)


def climate_at(lat: float, lon: float, month: int) -> dict[str, float]:
    """Return the bundled climatology of a month in the cell of a place."""
    cell = Grid(*(np.round(at * 4) / 4 + np.array([0.0, 0.25]) for at in (lat, lon)))
    found = open_climatology("era5", cell, ["t2m", "tp"])
    assert found is not None
    fields = found.fields.sel(month=month).isel(lat=0, lon=0)
    return {name: float(fields[name]) for name in ("t2m", "tp")}


def write(table: pd.DataFrame, path: str = "stations.csv") -> None:
    """Write a network as dpdm reads it."""
    table.to_csv(path, index=False)
