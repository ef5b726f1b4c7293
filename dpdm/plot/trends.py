r"""The straight line through a series, and whether it is more than weather.

Of annual means, so that the season is gone; only years count that have the usual months. The slope
is that of least squares. Residuals that remember the year before hold less than they count, so

.. math:: n_e = n \frac{1 - r_1}{1 + r_1}, \qquad
          t = b \Big/ \sqrt{\frac{\sum e^2}{(n_e - 2) \sum (x - \bar x)^2}},

with their lag-1 correlation :math:`r_1`, and t is compared with Student's distribution of
:math:`n_e - 2` degrees of freedom (Santer et al. 2000, doi:10.1029/1999JD901105).
"""

from collections import Counter
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy import stats

from dpdm.errors import DpdmError
from dpdm.fields.grid import Array

FEWEST = 4  # years
LEVEL = 0.05


class Trend(NamedTuple):
    """A trend, cell by cell.

    Attributes:
        slope: Per decade.
        p: The probability of as steep a slope without any, two-sided.
        first: The first year.
        last: The last.
    """

    slope: xr.DataArray
    p: xr.DataArray
    first: int
    last: int


def annual(field: xr.DataArray, path: Any) -> xr.DataArray:
    """Return the means of the years that have the usual steps, read step by step."""
    years, usual = field["time"].dt.year.values, _usual(field["time"])
    kept = [y for y in np.unique(years) if np.sum(years == y) == usual]
    if len(kept) < FEWEST:
        raise DpdmError(
            f"{path} has {len(kept)} whole year{'s' * (len(kept) != 1)}, too few for a trend.",
            f"Give {FEWEST} years or more.",
        )
    means = [_mean(field, np.flatnonzero(years == year)) for year in kept]
    return xr.concat(means, xr.DataArray(np.array(kept, float), dims="year", name="year"))


def _usual(time: xr.DataArray) -> int:
    """Return how many steps most years have; of equals, the more."""
    counts = Counter(Counter(time.dt.year.values.tolist()).values())
    return max(counts, key=lambda steps: (counts[steps], steps))


def _mean(field: xr.DataArray, steps: Any) -> xr.DataArray:
    """Return the mean of some steps with one of them in memory at a time."""
    each = (field.isel(time=int(i), drop=True).compute().astype(float) for i in steps)
    mean: xr.DataArray = reduce(add, each) / len(steps)
    return mean


def trend(years: xr.DataArray) -> Trend:
    """Return the trend of annual fields (year, lat, lon)."""
    x = years["year"].values
    slope, p = line(x, years.transpose("year", ...).values)
    like = years.isel(year=0, drop=True)
    return Trend(like.copy(data=10 * slope), like.copy(data=p), int(x[0]), int(x[-1]))


def line(x: Array, y: Array) -> tuple[Array, Array]:
    """Return the slope of y (N, ...) along x (N,), and the probability p that it is chance."""
    across = (x - x.mean()).reshape(-1, *(1,) * (y.ndim - 1))
    square = float((across**2).sum())
    slope = (across * y).sum(0) / square
    left = y - y.mean(0) - slope * across
    power = (left**2).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        memory = np.clip((left[1:] * left[:-1]).sum(0) / power, 0.0, None)
        count = len(x) * (1 - memory) / (1 + memory)
        t = np.abs(slope) / np.sqrt(power / (count - 2) / square)
        p: Array = np.where(count > 2, 2 * stats.t.sf(t, np.maximum(count - 2, 1e-9)), 1.0)
    return slope, np.where(np.isfinite(slope), p, np.nan)
