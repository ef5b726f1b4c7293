"""The plausible values of each variable, and codes for missing values.

*Limits* hold for every value of any observation or model, monthly, daily or hourly. The *usual*
range is that of nearly all values, and of every median: a median outside it has a wrong unit, and
a common missing-value code outside it is such a code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class PlausibleRange(NamedTuple):
    """The plausible values of a variable, in its canonical unit.

    Attributes:
        limits: Least and greatest of a single value.
        usual: Least and greatest of nearly all values, and of every median.
        units: Units in which the variable often comes.
    """

    limits: tuple[float, float]
    usual: tuple[float, float]
    units: tuple[str, ...] = ()


TEMPERATURE_UNITS = ("K", "degC", "degF")
MIN_PRECIPITATION = -1e-3  # mm day-1; the rounding of packed data and of spectral models
PLAUSIBLE_RANGES = {
    "t2m": PlausibleRange((150.0, 350.0), (180.0, 340.0), TEMPERATURE_UNITS),
    # The wettest hour on record fell at 7,300 mm day-1, the wettest day at 1,825.
    "tp": PlausibleRange((MIN_PRECIPITATION, 2e4), (MIN_PRECIPITATION, 2e3)),
    "sp": PlausibleRange((3e4, 1.2e5), (3e4, 1.15e5), ("Pa", "hPa")),
    "msl": PlausibleRange((7e4, 1.2e5), (8e4, 1.15e5), ("Pa", "hPa")),
    "u10": PlausibleRange((-150.0, 150.0), (-95.0, 95.0), ("m s-1",)),
    "v10": PlausibleRange((-150.0, 150.0), (-95.0, 95.0), ("m s-1",)),
    "t": PlausibleRange((90.0, 400.0), (120.0, 340.0), TEMPERATURE_UNITS),
    "u": PlausibleRange((-300.0, 300.0), (-200.0, 200.0), ("m s-1",)),
    "v": PlausibleRange((-300.0, 300.0), (-200.0, 200.0), ("m s-1",)),
    "q": PlausibleRange((-0.01, 0.2), (-1e-3, 0.1), ("kg kg-1", "g kg-1")),
    "r": PlausibleRange((-50.0, 300.0), (-5.0, 150.0), ("%", "1")),
    "gh": PlausibleRange((-5e3, 2e5), (-2e3, 9e4), ("m", "km")),
    "z": PlausibleRange((-5e4, 2e6), (-2e4, 9e5), ("m2 s-2",)),
    "tb": PlausibleRange((20.0, 400.0), (50.0, 350.0), ("K", "degC")),
    "rlut": PlausibleRange((0.0, 700.0), (20.0, 500.0), ("W m-2",)),
}
# Codes for missing values: those that are hardly ever a value, and those that may be one.
MISSING_VALUE_CODES = (
    -999.0,
    -999.9,
    -999.99,
    -9999.0,
    -9999.9,
    -99999.0,
    -32767.0,
    -32768.0,
    9999.0,
)
DOUBTFUL_CODES = (-99.0, -99.9, 99.9, 999.0, 999.9, 9999.9, 99999.0, 32767.0)
MIN_FILL_VALUE = (
    1e19  # the fill values of NetCDF, CMIP and GRIB begin here; no quantity reaches it
)


MissingCodes = Mapping[str, tuple[float, ...]]  # codes by variable; those of all under ""
