"""Which variable of a file is which: CF standard names first, then the usual short names.

Inside dpdm a variable has one name and one unit, those of `KNOWN`. A file may call it anything:
`identify` recognises one array, `choose` settles a whole file, where several arrays may claim the
same meaning. An array that is on a level, or that is an extreme over its interval, is never taken
for the surface variable of the same standard name; `ALOFT` says what it may be. What satellites
see of whole columns of air, `REMOTE`, is observed, and no variable of fields.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.level_names import Level, base_name, read_level, split_statistic


@dataclass(frozen=True)
class Variable:
    """Name one physical quantity as dpdm writes it, and as others do.

    Args:
        name: The name inside dpdm.
        standard_name: The CF standard name that goes with `units`.
        long_name: Words for a plot.
        units: The canonical unit.
        aliases: Short names in the wild, lower case.
        synonyms: Other CF standard names of the same quantity, mostly in other units.
    """

    name: str
    standard_name: str
    long_name: str
    units: str
    aliases: tuple[str, ...]
    synonyms: tuple[str, ...] = ()


def _split_words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_SURFACE_TABLE = (
    Variable(
        "t2m",
        "air_temperature",
        "2 metre temperature",
        "K",
        _split_words(
            "t2m 2t t2 tas tmp2m tmp_2m t_2m temp2 2m_temperature temperature_2m air_temperature "
            "air_temperature_2m air temperature temp tmp tavg tmean tave tmp_2maboveground "
            "tmp_2m_above_ground mean_temperature temperature_mean air_temp tair trefht tmp2msfc"
        ),
    ),
    Variable(
        "tp",
        "lwe_precipitation_rate",
        "precipitation",
        "mm day-1",
        _split_words(
            "tp pr precip precipitation prate rain rainfall prcp ppt pre rr apcp tot_prec mtpr "
            "total_precipitation precipitation_rate avg_tprate prectot prec pcp prect prectotcorr "
            "pratesfc apcpsfc prate_surface apcp_surface tprate total_precip precip_total "
            "precipitationcal rfe"
        ),
        (
            "precipitation_flux",
            "precipitation_amount",
            "lwe_thickness_of_precipitation_amount",
            "rainfall_rate",
            "rainfall_flux",
            "rainfall_amount",
        ),
    ),
    Variable(
        "sp",
        "surface_air_pressure",
        "surface pressure",
        "Pa",
        _split_words("sp ps psfc pressfc pres_sfc surface_pressure"),
    ),
    Variable(
        "msl",
        "air_pressure_at_mean_sea_level",
        "mean sea level pressure",
        "Pa",
        _split_words("msl psl slp mslp pmsl prmsl mean_sea_level_pressure"),
        ("air_pressure_at_sea_level",),
    ),
    Variable(
        "u10",
        "eastward_wind",
        "10 metre eastward wind",
        "m s-1",
        _split_words("u10 10u uas u10m u_10m ugrd10m 10m_u_component_of_wind uwnd"),
    ),
    Variable(
        "v10",
        "northward_wind",
        "10 metre northward wind",
        "m s-1",
        _split_words("v10 10v vas v10m v_10m vgrd10m 10m_v_component_of_wind vwnd"),
    ),
)
_LEVEL_TABLE = (
    Variable(
        "t",
        "air_temperature",
        "temperature",
        "K",
        _split_words("t ta temp temperature air air_temperature tmp tmpprs"),
    ),
    Variable(
        "u",
        "eastward_wind",
        "eastward wind",
        "m s-1",
        _split_words("u ua uwnd ugrd ugrdprs u_component_of_wind eastward_wind"),
    ),
    Variable(
        "v",
        "northward_wind",
        "northward wind",
        "m s-1",
        _split_words("v va vwnd vgrd vgrdprs v_component_of_wind northward_wind"),
    ),
    Variable(
        "q",
        "specific_humidity",
        "specific humidity",
        "kg kg-1",
        _split_words("q hus shum spfh spfhprs specific_humidity"),
    ),
    Variable(
        "r",
        "relative_humidity",
        "relative humidity",
        "%",
        _split_words("r hur rh rhum rhprs relative_humidity"),
    ),
    Variable(
        "gh",
        "geopotential_height",
        "geopotential height",
        "m",
        _split_words("gh zg hgt hgtprs geopotential_height"),
    ),
    Variable("z", "geopotential", "geopotential", "m2 s-2", _split_words("z phi geopotential")),
)
_SATELLITE_TABLE = (
    Variable(
        "tb",
        "toa_brightness_temperature",
        "brightness temperature",
        "K",
        _split_words("tb tbb bt brightness_temperature toa_brightness_temperature"),
        ("brightness_temperature",),
    ),
    Variable(
        "rlut",
        "toa_outgoing_longwave_flux",
        "outgoing longwave radiation",
        "W m-2",
        _split_words("rlut olr ulwrf_toa outgoing_longwave_radiation"),
        ("toa_outgoing_longwave_flux_assuming_clear_sky",),
    ),
)
SURFACE_VARIABLES: dict[str, Variable] = {variable.name: variable for variable in _SURFACE_TABLE}
LEVEL_VARIABLES: dict[str, Variable] = {variable.name: variable for variable in _LEVEL_TABLE}
SATELLITE_VARIABLES: dict[str, Variable] = {
    variable.name: variable for variable in _SATELLITE_TABLE
}

_PRESSURE_AXIS_NAMES = {
    "plev",
    "lev",
    "level",
    "pressure",
    "pressure_level",
    "isobaricinhpa",
    "isobaric",
}
# What only the long name tells: CLM's TG of the ground, CESM's U10 without direction, E-OBS's TX.
_OTHER_QUANTITY = re.compile(
    r"\b(maximum|minimum|max|min(?=\.? temp)|dew|soil|skin|(ground|ocean) temperature|"
    r"sea[ _]surface|sea[ _]water|wet[ _]?bulb|potential|virtual|range|uncertainty|number of)\b"
)
_SPEED = re.compile(r"\bspeed\b")
_DIRECTIONAL = re.compile(r"\b(east|north|zonal|meridional|[uv][ -])|eastward|northward")
_ANOMALY = re.compile(r"anomal(y|ies|ous)|\bdepartures?\b|_anom\b|^anom_")
_EXTREME = re.compile(r"time:\s*(maximum|minimum|range|standard_deviation|variance)")


def identify_variable(array: xr.DataArray) -> Variable | None:
    """Say which known variable an array is, or None.

    Example:
        >>> identify(xr.DataArray(0.0, attrs={"standard_name": "precipitation_flux"})).name
        'tp'
        >>> identify(xr.DataArray(0.0, name="T2")).name
        't2m'
    """
    ranked = [(grade_match(array, variable), name) for name, variable in SURFACE_VARIABLES.items()]
    best, name = max(ranked)
    return SURFACE_VARIABLES[name] if best else None


def canonical_variable(array: xr.DataArray) -> Variable | None:
    """Return what a canonical array is by its name, and on a level by its family, or None.

    Example:
        >>> stamp = Place("t", 85000.0, "Pa").stamp
        >>> variable_of(xr.DataArray(0.0, name="t850", attrs=stamp)).units
        'K'
    """
    place = read_level(array)
    if place is None or place.name != array.name:
        return (SURFACE_VARIABLES | SATELLITE_VARIABLES).get(str(array.name))
    return LEVEL_VARIABLES.get(place.family)


def grade_match(array: xr.DataArray, variable: Variable) -> int:
    """Grade a claim: 3 standard name and short name, 2 standard name, 1 short name, 0 neither."""
    aloft = variable is LEVEL_VARIABLES.get(variable.name)
    if _lies_on_levels(array) != aloft or _EXTREME.search(
        str(array.attrs.get("cell_methods", ""))
    ):
        return 0
    if _is_other_quantity(array, variable):
        return 0
    alias = base_name(array).lower() in (variable.name, *variable.aliases)
    standard = str(array.attrs.get("standard_name", "unknown")).strip().lower()
    if standard in ("", "unknown"):
        return int(alias)
    return 2 + alias if standard in (variable.standard_name, *variable.synonyms) else 0


def _is_other_quantity(array: xr.DataArray, variable: Variable) -> bool:
    """Tell whether an array's long name speaks of another quantity than the variable."""
    said = str(array.attrs.get("long_name", "")).lower()
    if variable.units == "m s-1":
        return bool(_SPEED.search(said)) and not _DIRECTIONAL.search(said)
    found = {match.group() for match in _OTHER_QUANTITY.finditer(said)}
    mean = {"maximum", "minimum"} <= found  # half of the sum of the two
    return is_anomaly(array) or (bool(found) and not mean and variable.name in ("t2m", "tp"))


def candidate_variables(array: xr.DataArray) -> set[str]:
    """Return what an array may be by its name, wherever it lies."""
    name = base_name(array).lower()
    every = [*SURFACE_VARIABLES.values(), *LEVEL_VARIABLES.values()]
    return {v.name for v in every if name in (v.name, *v.aliases)}


def is_anomaly(array: xr.DataArray) -> bool:
    """Tell whether an array holds departures from a mean, not the quantity itself."""
    words = (array.name, *(array.attrs.get(k, "") for k in ("long_name", "standard_name")))
    return any(_ANOMALY.search(str(word).lower()) for word in words)


def match_variables(
    arrays: Mapping[str, xr.DataArray],
    asked: Mapping[str, str],
    among: Mapping[str, Variable] = SURFACE_VARIABLES,
) -> dict[str, str]:
    """Map canonical names to the names in a file.

    Args:
        arrays: What the file holds on its grid.
        asked: The user's own choice, canonical name to name in the file; it goes before all.
        among: The variables to look for.
    """
    for name, old in asked.items():
        if name in SURFACE_VARIABLES and old in arrays and is_anomaly(arrays[old]):
            raise DpdmError(
                f"{old} ({arrays[old].attrs.get('long_name', 'anomalies')}) holds anomalies, and "
                f"{name} is the {SURFACE_VARIABLES[name].long_name} itself.",
                "Add the climatology that they are departures from.",
            )
    free = {name: array for name, array in arrays.items() if name not in asked.values()}
    found = dict(asked)
    for name, variable in among.items():
        ranks = {key: grade_match(array, variable) for key, array in free.items()}
        best = max(ranks.values(), default=0)
        claims = _prefer_ensemble_mean(
            sorted(key for key, grade in ranks.items() if grade == best)
        )
        if name in found or not best:
            continue
        if len(claims) > 1:
            raise DpdmError(
                f"{' and '.join(claims)} may each be {name} ({variable.long_name}).",
                f"Say which: --var {name}={claims[0]}.",
            )
        found[name] = claims[0]
    return found


def match_level_variables(arrays: Mapping[str, xr.DataArray]) -> dict[str, str]:
    """Map canonical names on levels to the names in a file, one level after the other."""
    levels: dict[tuple[float, str], dict[str, xr.DataArray]] = {}
    for name, array in arrays.items():
        if place := read_level(array):
            levels.setdefault(place[1:], {})[name] = array
    return {
        Level(family, *level).name: name
        for level, there in levels.items()
        for family, name in match_variables(there, {}, LEVEL_VARIABLES).items()
    }


def _prefer_ensemble_mean(claims: list[str]) -> list[str]:
    """Let an ensemble's mean speak for its spread and percentiles.

    Example:
        >>> _leading(["t2m_mean", "t2m_p10", "t2m_spread"]), _leading(["t2m_mean", "tas"])
        (['t2m_mean'], ['t2m_mean', 'tas'])
    """
    stems, kinds = zip(*map(split_statistic, claims), strict=True) if claims else ((), ())
    alone = "mean" in kinds and all(kinds) and len(set(stems)) == 1
    return [claims[kinds.index("mean")]] if alone else claims


def _lies_on_levels(array: xr.DataArray) -> bool:
    """Say whether an array lies on a level, or on pressure levels."""
    return read_level(array) is not None or any(
        _is_pressure(name, axis) for name, axis in array.coords.items()
    )


def _is_pressure(name: Hashable, axis: xr.DataArray) -> bool:
    return (
        str(name).lower() in _PRESSURE_AXIS_NAMES
        or axis.attrs.get("standard_name") == "air_pressure"
    )


def normalise_heading(text: str) -> str:
    """Return a name as it is compared: lower case, words joined by underscores.

    Example:
        >>> plain(" Valid Time"), plain("station-id")
        ('valid_time', 'station_id')
    """
    return re.sub(r"[\s\-]+", "_", text.strip().lower())


def canonical_name(
    text: str, among: Mapping[str, Variable] = SURFACE_VARIABLES | SATELLITE_VARIABLES
) -> str | None:
    """Return the canonical name of a variable that is known, by any of its names.

    Example:
        >>> canonical("Air Temperature"), canonical("pr"), canonical("state")
        ('t2m', 'tp', None)
        >>> canonical("Air Temperature", ALOFT)
        't'
    """
    for name, known in among.items():
        if normalise_heading(text) in (name, known.standard_name, *known.aliases, *known.synonyms):
            return name
    return None


OBSERVED_VARIABLES = SURFACE_VARIABLES | LEVEL_VARIABLES | SATELLITE_VARIABLES
