"""The variables that dpdm knows, and how they are recognised in files.

Inside dpdm a variable has one name and one unit, those of `SURFACE_VARIABLES` and
`LEVEL_VARIABLES`. A file may call it anything: CF standard names count first, then short names.
`identify_variable` recognises one array; `match_variables` settles a whole file, where several
arrays may claim the same variable. An array on a level, or an extreme over its interval, is never
taken for the surface variable of the same standard name. `SATELLITE_VARIABLES` are observed, and
are no variables of fields.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.level_names import Level, read_level, split_statistic, strip_level


@dataclass(frozen=True)
class Variable:
    """One physical quantity.

    Args:
        name: The name inside dpdm.
        standard_name: The CF standard name that goes with `units`.
        long_name: Label of plots.
        units: The canonical unit.
        aliases: Short names in other files, lower case.
        synonyms: Other CF standard names of the same quantity.
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
PRESSURE, TEMPERATURE = "sp", "t2m"
SURFACE_VARIABLES: dict[str, Variable] = {variable.name: variable for variable in _SURFACE_TABLE}
LEVEL_VARIABLES: dict[str, Variable] = {variable.name: variable for variable in _LEVEL_TABLE}
SATELLITE_VARIABLES: dict[str, Variable] = {
    variable.name: variable for variable in _SATELLITE_TABLE
}
OBSERVED_VARIABLES = SURFACE_VARIABLES | LEVEL_VARIABLES | SATELLITE_VARIABLES

_PRESSURE_AXIS_NAMES = frozenset(
    ("plev", "lev", "level", "pressure", "pressure_level", "isobaricinhpa", "isobaric")
)
# Only the long name shows: CLM's TG of the ground, CESM's U10 without direction, E-OBS's TX.
_OTHER_QUANTITY = re.compile(
    r"\b(maximum|minimum|max|min(?=\.? temp)|dew|soil|skin|(ground|ocean) temperature|"
    r"sea[ _]surface|sea[ _]water|wet[ _]?bulb|potential|virtual|range|uncertainty|number of)\b"
)
_SPEED = re.compile(r"\bspeed\b")
_DIRECTIONAL = re.compile(r"\b(east|north|zonal|meridional|[uv][ -])|eastward|northward")
_ANOMALY = re.compile(r"anomal(y|ies|ous)|\bdepartures?\b|_anom\b|^anom_")
_EXTREME = re.compile(r"time:\s*(maximum|minimum|range|standard_deviation|variance)")


@dataclass(frozen=True, eq=False)
class FileVariable:
    """An array of a file and its level.

    Attributes:
        array: The array.
        level: Its level, None for one on no level.
        base_name: Its name in the file, which all levels share.
    """

    array: xr.DataArray
    level: Level | None
    base_name: str

    @classmethod
    def read(cls, array: xr.DataArray) -> FileVariable:
        """Return an array with the level in its attributes."""
        level = read_level(array)
        return cls(array, level, strip_level(str(array.name), level))

    @property
    def name(self) -> str:
        """Return the array's name."""
        return str(self.array.name)


FileVariables: TypeAlias = Mapping[str, FileVariable]


def identify_variable(source: FileVariable) -> Variable | None:
    """Return the known surface variable that an array is, or None.

    Example:
        >>> identify_variable(FileVariable.read(xr.DataArray(0.0, name="T2"))).name
        't2m'
    """
    ranked = [
        (grade_match(source, variable), name) for name, variable in SURFACE_VARIABLES.items()
    ]
    best, name = max(ranked)
    return SURFACE_VARIABLES[name] if best else None


def canonical_variable(array: xr.DataArray) -> Variable | None:
    """Return the known variable of a canonical array, or None.

    Example:
        >>> attrs = Level("t", 85000.0, "Pa").attributes
        >>> canonical_variable(xr.DataArray(0.0, name="t850", attrs=attrs)).units
        'K'
    """
    return known_variable(str(array.name), read_level(array))


def known_variable(name: str, level: Level | None) -> Variable | None:
    """Return the known variable of a canonical name and level, or None."""
    if level is None or level.name != name:
        return (SURFACE_VARIABLES | SATELLITE_VARIABLES).get(name)
    return LEVEL_VARIABLES.get(level.family)


def grade_match(source: FileVariable, variable: Variable) -> int:
    """Grade a claim: 3 standard name and short name, 2 standard name, 1 short name, 0 neither."""
    array = source.array
    on_levels = variable is LEVEL_VARIABLES.get(variable.name)
    extreme = _EXTREME.search(str(array.attrs.get("cell_methods", "")))
    if _lies_on_levels(source) != on_levels or extreme or _is_other_quantity(array, variable):
        return 0
    alias = source.base_name.lower() in (variable.name, *variable.aliases)
    standard = str(array.attrs.get("standard_name", "unknown")).strip().lower()
    if standard in ("", "unknown"):
        return int(alias)
    return 2 + alias if standard in (variable.standard_name, *variable.synonyms) else 0


def _is_other_quantity(array: xr.DataArray, variable: Variable) -> bool:
    """Tell whether an array's long name is that of another quantity."""
    long_name = str(array.attrs.get("long_name", "")).lower()
    if variable.units == "m s-1":
        return bool(_SPEED.search(long_name)) and not _DIRECTIONAL.search(long_name)
    found = {match.group() for match in _OTHER_QUANTITY.finditer(long_name)}
    mean = {"maximum", "minimum"} <= found  # half of the sum of the two
    return is_anomaly(array) or (bool(found) and not mean and variable.name in ("t2m", "tp"))


def describe_file_names(ds: xr.Dataset) -> list[str]:
    """Return the names of variables that dpdm knows by another one, as ``tas -> t2m``."""
    found: dict[str, str] = {}
    for array in ds.data_vars.values():
        known = identify_variable(FileVariable.read(array))
        stem = split_statistic(array.name)[0]
        if known is not None and stem != known.name:
            found.setdefault(stem, known.name)
    return [f"{old} -> {new}" for old, new in found.items()]


def candidate_variables(source: FileVariable) -> set[str]:
    """Return the known variables that an array may be by its short name, on any level."""
    name = source.base_name.lower()
    variables = [*SURFACE_VARIABLES.values(), *LEVEL_VARIABLES.values()]
    return {v.name for v in variables if name in (v.name, *v.aliases)}


def is_anomaly(array: xr.DataArray) -> bool:
    """Tell whether an array holds anomalies, not the quantity itself."""
    texts = (array.name, *(array.attrs.get(k, "") for k in ("long_name", "standard_name")))
    return any(_ANOMALY.search(str(text).lower()) for text in texts)


def match_variables(
    sources: FileVariables,
    chosen: Mapping[str, str],
    among: Mapping[str, Variable] = SURFACE_VARIABLES,
) -> dict[str, str]:
    """Map canonical names to the names in a file.

    Args:
        sources: The arrays of the file that lie on the grid.
        chosen: The user's choice, canonical name to name in the file, which takes precedence.
        among: The variables to look for.
    """
    _check_no_anomalies(sources, chosen)
    free = {name: source for name, source in sources.items() if name not in chosen.values()}
    found = dict(chosen)
    for name, variable in among.items():
        grades = {key: grade_match(source, variable) for key, source in free.items()}
        best = max(grades.values(), default=0)
        if name in found or not best:
            continue
        claims = _prefer_ensemble_mean(sorted(k for k, grade in grades.items() if grade == best))
        if len(claims) > 1:
            raise DpdmError(
                f"{' and '.join(claims)} may each be {name} ({variable.long_name}).",
                f"Choose one: --var {name}={claims[0]}.",
            )
        found[name] = claims[0]
    return found


def _check_no_anomalies(sources: FileVariables, chosen: Mapping[str, str]) -> None:
    """Refuse anomalies that the user chose for a variable."""
    for name, old in chosen.items():
        if name in SURFACE_VARIABLES and old in sources and is_anomaly(sources[old].array):
            raise DpdmError(
                f"{old} ({sources[old].array.attrs.get('long_name', 'anomalies')}) holds "
                f"anomalies, and {name} is the {SURFACE_VARIABLES[name].long_name} itself.",
                "Add the climatology to the anomalies first.",
            )


def match_level_variables(sources: FileVariables) -> dict[str, str]:
    """Map canonical names on levels to the names in a file, level by level."""
    levels: dict[tuple[float, str], dict[str, FileVariable]] = {}
    for name, source in sources.items():
        if source.level:
            levels.setdefault(source.level[1:], {})[name] = source
    return {
        Level(family, *level).name: name
        for level, group in levels.items()
        for family, name in match_variables(group, {}, LEVEL_VARIABLES).items()
    }


def _prefer_ensemble_mean(claims: list[str]) -> list[str]:
    """Prefer an ensemble's mean to its spread and percentiles.

    Example:
        >>> _prefer_ensemble_mean(["t2m_mean", "t2m_p10", "t2m_spread"])
        ['t2m_mean']
        >>> _prefer_ensemble_mean(["t2m_mean", "tas"])
        ['t2m_mean', 'tas']
    """
    stems, kinds = zip(*map(split_statistic, claims), strict=True)
    one_ensemble = "mean" in kinds and all(kinds) and len(set(stems)) == 1
    return [claims[kinds.index("mean")]] if one_ensemble else claims


def _lies_on_levels(source: FileVariable) -> bool:
    """Tell whether an array lies on a level, or on pressure levels."""
    return source.level is not None or any(
        str(name).lower() in _PRESSURE_AXIS_NAMES
        or axis.attrs.get("standard_name") == "air_pressure"
        for name, axis in source.array.coords.items()
    )


def normalise_heading(text: str) -> str:
    """Return a name for comparison: lower case, words joined by underscores.

    Example:
        >>> normalise_heading(" Valid Time"), normalise_heading("station-id")
        ('valid_time', 'station_id')
    """
    return re.sub(r"[\s\-_]+", "_", text.strip().lower())


def canonical_name(
    text: str, among: Mapping[str, Variable] = SURFACE_VARIABLES | SATELLITE_VARIABLES
) -> str | None:
    """Return the canonical name of a known variable from any of its names, or None.

    Example:
        >>> canonical_name("Air Temperature"), canonical_name("pr"), canonical_name("state")
        ('t2m', 'tp', None)
        >>> canonical_name("Air Temperature", LEVEL_VARIABLES)
        't'
    """
    for name, known in among.items():
        if normalise_heading(text) in (name, known.standard_name, *known.aliases, *known.synonyms):
            return name
    return None
