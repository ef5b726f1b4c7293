"""Warn of a mean that no region of that size has, as a wrong unit gives it.

A unit off by ten or thirty leaves values that fall somewhere on Earth, so they cannot be refused.
But the larger a region, the less its mean varies: the calendar-month means of ERA5, 2000 to 2025,
over all boxes of three sizes lie between

    ==================  ======================  ==============
    latitude x longitude  precipitation, mm day-1  temperature, K
    ==================  ======================  ==============
    20 x 20 degrees     0.004 to 12.5           218 to 308
    40 x 40 degrees     0.35 to 8.3             244 to 303
    60 x 120 degrees    0.90 to 6.3             260 to 300
    ==================  ======================  ==============

Single months, days and other climates go further: a mean is doubted beyond twice the most or half
the least rain, or 15 K outside. A desert of 20 degrees is never too dry.
"""

import warnings
from pathlib import Path

import numpy as np
import xarray as xr

from dpdm.errors import DpdmWarning
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.units import first_step

LIKELY = (
    ((60.0, 120.0), {"tp": (0.45, 12.6), "t2m": (245.0, 315.0)}),
    ((40.0, 40.0), {"tp": (0.17, 16.6), "t2m": (229.0, 318.0)}),
    ((20.0, 20.0), {"tp": (0.0, 25.0), "t2m": (203.0, 323.0)}),
)
EXAMPLES = {"tp": "mm/month", "t2m": "degF"}
COVERED = 0.75  # of the region, for a mean over the islands of an ocean says nothing


def doubt(fields: xr.Dataset, path: Path) -> None:
    """Issue a `DpdmWarning` for each variable whose first step has an unlikely mean."""
    grid = grid_of(fields)
    extent = tuple(float(edges[-1] - edges[0]) for edges in (grid.lat_edges, grid.lon_edges))
    for name, (low, high) in _likely(extent[0], extent[1]).items():
        mean = _mean(fields[name], grid) if name in fields else np.nan
        if mean < low or mean > high:
            array = fields[name]
            warnings.warn(_words(array, mean, (low, high), extent, path), DpdmWarning, 2)


def _likely(height: float, width: float) -> dict[str, tuple[float, float]]:
    """Give the likely means of a region, by the largest box that fits into it."""
    fits = [bounds for (lat, lon), bounds in LIKELY if height >= lat and width >= lon]
    return fits[0] if fits else {}


def _mean(array: xr.DataArray, grid: Grid) -> float:
    """Average the first step over the area, or give NaN where much is missing."""
    values = np.asarray(first_step(array).values, dtype=np.float64)
    weights = np.where(np.isfinite(values), grid.weights, 0.0)
    if weights.sum() < COVERED * grid.weights.sum():
        return float("nan")
    return float(np.average(np.where(weights > 0, values, 0.0), weights=weights))


def _words(
    array: xr.DataArray,
    mean: float,
    likely: tuple[float, float],
    extent: tuple[float, ...],
    path: Path,
) -> str:
    name, unit = str(array.name), array.attrs["units"]
    return (
        f"{path}: {name} averages {mean:.3g} {unit} over {extent[0]:.0f} by {extent[1]:.0f} "
        f"degrees; {likely[0]:g} to {likely[1]:g} is likely. If its unit is not "
        f"'{array.attrs['source_units']}', say which, as in --units {name}={EXAMPLES[name]}."
    )
