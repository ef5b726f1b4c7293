"""Cut a region out of the global file, with the coarse cells around it that its lerp needs."""

import math
from pathlib import Path

import xarray as xr

from benchmarks import common
from dpdm.fields.regrid import coarsen_fields

Box = tuple[int, int, int, int]  # west, east, south, north: the outermost centres but the last
EAST_ASIA: Box = (95, 150, 15, 55)
VALIDATION: Box = (30, 60, 20, 45)
CELLS = 4  # a degree


def cut(build: Path, folder: Path, box: Box, factor: int) -> tuple[Path, Path]:
    """Write a box's coarse fields, one block wider on each side, and its truth.

    Blocks start in the south-west corner; where they do not divide the box, they reach beyond it.
    """
    coarse, truth = folder / "coarse.nc", folder / "truth.nc"
    with xr.open_dataset(common.needed(build / "era5_climatology.nc")) as globe:
        (south, north), (west, east) = edges(box)
        around = {
            "lat": slice(south - factor, north + wider(north - south, factor)),
            "lon": slice(west - factor, east + wider(east - west, factor)),
        }
        coarsen_fields(globe.isel(around).load(), factor).to_netcdf(coarse)
        globe.isel(lat=slice(south, north), lon=slice(west, east)).to_netcdf(truth)
    return coarse, truth


def edges(box: Box) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the first row and column of the box in the global file, and the first beyond it.

    Example:
        >>> edges((95, 150, 15, 55))
        ((420, 580), (380, 600))
    """
    west, east, south, north = box
    return ((south + 90) * CELLS, (north + 90) * CELLS), (west * CELLS, east * CELLS)


def wider(count: int, factor: int) -> int:
    """Return the cells to add so that whole blocks cover ``count`` and one block more.

    Example:
        >>> wider(220, 8), wider(220, 10)
        (12, 10)
    """
    return math.ceil(count / factor) * factor - count + factor
