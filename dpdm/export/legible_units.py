"""Convert rasters to units whose values GIS programs show with three decimals.

`gdalinfo` prints minimum, maximum and mean with three decimals, so that precipitation in
kg m-2 s-1 reads 0.000 to 0.000. Such values are written in mm day-1, those in metres in mm, and
mass fractions in g kg-1. All conversions are factors, which hold for spreads too.
"""

from __future__ import annotations

from functools import cache

import xarray as xr

from dpdm.fields.level_names import split_statistic
from dpdm.fields.units import parse_unit

# Unit of the file, unit of the raster, factor.
PRECIPITATION_UNITS = (
    ("kg m-2 s-1", "mm day-1", 86400.0),
    ("m s-1", "mm day-1", 86400e3),
    ("m day-1", "mm day-1", 1000.0),
    ("m", "mm", 1000.0),
)
MASS_FRACTIONS = ("kg kg-1", "kg/kg", "kg kg**-1", "kg kg^-1")


def convert_to_legible(array: xr.DataArray) -> xr.DataArray:
    """Return values of one step in a legible unit, unchanged if theirs is one."""
    unit, factor = legible_unit(split_statistic(array.name)[0], str(array.attrs.get("units", "")))
    if factor == 1.0:
        return array
    attrs = array.attrs | {"units": unit}
    if attrs.get("standard_name") == "precipitation_flux":
        attrs["standard_name"] = "lwe_precipitation_rate"
    return (array * factor).astype(array.dtype).assign_attrs(attrs)


@cache
def legible_unit(name: str, unit: str) -> tuple[str, float]:
    """Return the unit of a variable in a raster, and the factor to it.

    Example:
        >>> legible_unit("tp", "kg m**-2 s**-1"), legible_unit("q850", "kg/kg")
        (('mm day-1', 86400.0), ('g kg-1', 1000.0))
        >>> legible_unit("tp_probability", "1"), legible_unit("u10", "m s-1")
        (('1', 1.0), ('m s-1', 1.0))
    """
    if unit.strip() in MASS_FRACTIONS:
        return "g kg-1", 1000.0
    if name == "tp" and unit not in ("", "1", "mm day-1"):
        for known, wanted, factor in PRECIPITATION_UNITS:
            if parse_unit(unit) == parse_unit(known):
                return wanted, factor
    return unit, 1.0
