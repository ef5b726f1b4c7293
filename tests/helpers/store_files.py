"""Small files in the layout in which the Climate Data Store gives monthly ERA5 and ERA5-Land."""

from pathlib import Path

import numpy as np
import xarray as xr

from dpdm.fields.grid import Grid

GRID = Grid(20 + 0.25 * np.arange(35), 100 + 0.25 * np.arange(19))
GRAVITY = 9.80665
UNITS = {"t2m": "K", "u10": "m s**-1", "v10": "m s**-1", "sp": "Pa", "tp": "m"}
SCALARS = "number valid_time latitude longitude expver"


def relief(grid: Grid = GRID) -> np.ndarray:
    """Return a rough relief, m."""
    rng = np.random.default_rng(1)
    return 900 * rng.random(grid.shape) ** 2


def fields(months: int, grid: Grid = GRID) -> dict[str, np.ndarray]:
    """Return five variables (T, H, W) in the units of the store, ascending in latitude."""
    rng, height = np.random.default_rng(2), relief(grid)
    weather, noise = rng.standard_normal((5, months, 1, 1)), rng.standard_normal
    season = 8 * np.cos(2 * np.pi * (np.arange(months) - 6) / 12)[:, None, None]
    shape = (months, *grid.shape)
    return {
        "t2m": 293 + season + 2 * weather[0] - 0.0065 * height + 0.1 * noise(shape),
        "u10": 2 * weather[1] - 0.001 * height + 0.1 * noise(shape),
        "v10": 2 * weather[2] + 0.1 * noise(shape),
        "sp": 101300 + 300 * weather[3] - 11.5 * height + 10 * noise(shape),
        "tp": 0.003 * np.exp(0.5 * weather[4] + 0.0005 * height + 0.1 * noise(shape)),
    }


def store_layout(arrays: dict[str, np.ndarray], hour: int, grid: Grid = GRID) -> xr.Dataset:
    """Return fields as one request gives them: valid_time, number, expver, north first."""
    months = len(next(iter(arrays.values())))
    time = xr.date_range("2000-01-01", periods=months, freq="MS") + np.timedelta64(hour, "h")
    dims = ("valid_time", "latitude", "longitude")
    out = xr.Dataset(
        {
            name: (dims, values[:, ::-1].astype("f4"), {
                "units": UNITS.get(name, "m**2 s**-2" if name == "z" else "(0 - 1)"),
                "standard_name": "unknown", "GRIB_stepType": "avgad" if name == "tp" else "avgua",
            })
            for name, values in arrays.items()
        },
        {"valid_time": time, "latitude": grid.lat[::-1], "longitude": grid.lon},
    )  # fmt: skip
    out["valid_time"].attrs["standard_name"] = "time"
    return out.assign_coords(number=0, expver=("valid_time", ["0001"] * months))


def write_store_files(folder: Path, months: int = 36, names: str = "t2m u10 v10 sp") -> list[Path]:
    """Write the means, the accumulations six hours later, and the static fields in three files."""
    known, lsm = fields(months), np.ones((1, *GRID.shape))
    parts = {
        "cds_avgua.nc": store_layout({n: known[n] for n in names.split()}, 0),
        "cds_avgad.nc": store_layout({"tp": known["tp"]}, 6),
        "z_lsm.nc": store_layout({"z": GRAVITY * relief()[None], "lsm": lsm, "slt": lsm}, 0),
    }
    for name, ds in parts.items():
        ds.to_netcdf(folder / name)
    return [folder / name for name in parts]


def land_cells(grid: Grid = GRID) -> np.ndarray:
    """Return a land of half the cells: the west, and an island."""
    land = np.zeros(grid.shape, bool)
    land[:, : grid.shape[1] // 2] = True
    land[3:6, -4:-1] = True
    return land


def write_land_files(folder: Path, months: int = 36) -> list[Path]:
    """Write 0.1 degree fields of land alone, NaN at sea, and their static fields in two files."""
    grid = Grid(20 + 0.1 * np.arange(40), 100 + 0.1 * np.arange(40))
    known, land = fields(months, grid), land_cells(grid)
    series = {name: np.where(land, known[name], np.nan) for name in ("t2m", "tp")}
    parts = {
        "land.nc": store_layout(series, 0, grid),
        "geo.nc": store_layout({"z": GRAVITY * relief(grid)[None] * land}, 0, grid),
        "lsm.nc": store_layout({"lsm": land[None].astype(float)}, 0, grid),
    }
    for name, ds in parts.items():
        ds.to_netcdf(folder / name)
    return [folder / name for name in parts]
