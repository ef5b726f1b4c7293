"""The columns of observation files and tables, and the user's options for them.

The same names serve the header of a CSV file and the variables of a NetCDF file. A *role* is the
meaning of a column besides a variable: time, position, error. The operator of a row maps the field
to its value; the same variable name means air at the surface, or at a pressure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from dpdm.errors import DpdmError
from dpdm.fields.level_names import Level, parse_level
from dpdm.fields.plausibility import MissingCodes
from dpdm.fields.variables import (
    LEVEL_VARIABLES,
    OBSERVED_VARIABLES,
    SATELLITE_VARIABLES,
    SURFACE_VARIABLES,
    canonical_name,
    normalise_heading,
)

COLUMN_ALIASES: dict[str, tuple[str, ...]] = {
    role: tuple(names.split())
    for role, names in {
        "time": "time valid_time datetime date_time timestamp date tm obs_time yyyymm yearmonth "
        "year_month yyyy_mm yearmon ym yyyymmdd obs_date observation_date observation_time "
        "date_utc time_utc datetime_utc utc",
        "lat": "lat latitude nav_lat station_latitude precise_latitude station_lat lat_deg "
        "latitude_deg decimal_latitude lat_dd geo_lat",
        "lon": "lon longitude long lng nav_lon station_longitude precise_longitude station_lon "
        "lon_deg longitude_deg decimal_longitude lon_dd geo_lon",
        "elevation": "elevation elev altitude alt station_elevation station_altitude height "
        "surface_altitude ele elv stelev station_height elevation_above_sea_level masl "
        "height_above_sea_level",
        "variable": "variable var parameter param element varname datatype variable_name",
        "value": "value obs observation observed obs_value",
        "error": "error std sigma uncertainty stderr standard_error obs_error stddev",
        "units": "units unit",
        "station": "station station_id stationid id wmo_id wmo stn stn_id stn_num station_number "
        "station_no stnr stations_id climate_id site_id station_code wmo_number station_name "
        "name site",
        "trajectory": "trajectory",
        "y": "y",
        "x": "x",
        "component": "component",
        "operator": "operator",
        "factor": "factor",
        "radius": "radius",
        "level": "level",
        "width": "width",
        "end": "end end_time time_end until",
        "pressure": "pressure plev pressure_level isobaric isobaricinhpa air_pressure lev",
        "channel": "channel sensor_channel channel_number",
    }.items()
}
OPERATOR_SETTINGS = ("factor", "radius", "level", "width")  # of the operator that a row names
NUMERIC_COLUMNS = (
    "value",
    "error",
    "lat",
    "lon",
    "elevation",
    "y",
    "x",
    "pressure",
    *OPERATOR_SETTINGS,
)
LENGTH_COLUMNS = ("elevation", "radius")
TIME_COLUMNS = ("time", "end")
POSITION_COLUMNS = (("lat", "lon"), ("y", "x"), ("component",))
_PRESSURE_LEVEL_NAME = re.compile(
    r"(?P<name>[a-z_]*[a-z])_?(?P<level>[1-9]\d*(\.\d+)?)(_?(hpa|mb))?"
)
# Parts of dates; without a year, a month is a date of its own.
DATE_PARTS: dict[str, tuple[str, ...]] = {
    "year": ("year", "yr", "yyyy"), "month": ("month", "mon", "mm", "mo", "mth"),
    "day": ("day", "dd", "dy"), "hour": ("hour", "hr", "hh"), "minute": ("minute", "min"),
}  # fmt: skip
STATION_SYNONYMS = {  # of variables, in tables of stations only
    variable: names.split()
    for variable, names in {
        "t2m": "tg tmk t_mean t_avg tmp_mean tmp_avg temp_mean temp_avg temperature_avg mean_temp "
        "avg_temp average_temp average_temperature meant meantemp mean_air_temperature "
        "air_temperature_mean monthly_mean_temperature",
        "tp": "rf rain_total total_rain total_rainfall rainfall_total rain_sum precip_sum "
        "prcp_total total_prcp precipitation_total precipitation_sum prcptot pptn precip_amount "
        "monthly_precipitation monthly_rainfall",
        "sp": "station_level_pressure station_pressure stp",
        "msl": "sea_level_pressure qff",
    }.items()
}
UNIT_SUFFIXES = {
    "m": "m", "meter": "m", "meters": "m", "metre": "m", "metres": "m", "ft": "ft",
    "feet": "ft", "foot": "ft", "c": "degC", "degc": "degC", "celsius": "degC", "f": "degF",
    "degf": "degF", "fahrenheit": "degF", "k": "K", "kelvin": "K", "mm": "mm",
    "mm_day": "mm/day", "mm_month": "mm/month", "cm": "cm", "in": "inch", "inch": "inch",
    "inches": "inch", "hpa": "hPa", "mbar": "mbar", "mb": "mb", "pa": "Pa",
}  # fmt: skip
ERROR_SUFFIX = re.compile(r"[_ ](error|std|sigma|uncertainty|stderr|standard_error)$")


def find_column(names: list[str], role: str) -> int | None:
    """Return the index of a role's first alias among normalised names, or None."""
    return next((names.index(word) for word in COLUMN_ALIASES[role] if word in names), None)


def find_columns(names: list[str]) -> dict[str, int]:
    """Return the index of each role's column.

    Settings need an operator, but a radius may be that of a channel's footprint. Without an
    operator, a level is a pressure.
    """
    found = {role: at for role in COLUMN_ALIASES if (at := find_column(names, role)) is not None}
    if "level" in found and "operator" not in found:
        found.setdefault("pressure", found["level"])
    if "channel" in found and "radius" in found:
        return {r: at for r, at in found.items() if r == "radius" or _role_applies(r, found)}
    return {r: at for r, at in found.items() if _role_applies(r, found)}


def find_text_columns(names: list[str], chosen: Mapping[str, str]) -> dict[str, int]:
    """Return the index of each role's column of a table; refuse two columns of one role.

    Args:
        names: Normalised headings.
        chosen: The user's choice of columns, by variable or role.
    """
    picked = {r: names.index(n) for r, n in chosen.items() if r in COLUMN_ALIASES and n in names}
    others = {n for r, n in chosen.items() if r not in picked}
    free = [name if name not in others else "" for name in names]
    found = find_columns(free) | picked
    for role in found.keys() - picked.keys() - {"station"}:  # of ids and names, the id counts
        twins = [name for name in free if name in COLUMN_ALIASES[role]]
        if len(twins) > 1 and not (role == "time" and {"date", "time"} <= {*twins}):
            raise DpdmError(
                f"{' and '.join(twins)} may each be the {role}.",
                f"Choose one: --obs-var {role}={twins[0]}.",
            )
    return found


def find_date_parts(names: list[str]) -> dict[str, int]:
    """Return the index of the columns of year, month and so on."""
    pairs = (
        (part, [names.index(w) for w in words if w in names]) for part, words in DATE_PARTS.items()
    )
    return {part: at[0] for part, at in pairs if at}


def split_unit_suffix(name: str) -> tuple[str, str]:
    """Split a normalised heading that is a known one with a unit behind.

    Example:
        >>> split_unit_suffix("elevation_ft"), split_unit_suffix("tmp_2m")
        (('elevation', 'ft'), ('tmp_2m', ''))
    """
    if canonical_station_name(name) is None:
        for suffix, unit in UNIT_SUFFIXES.items():
            base = name.removesuffix(f"_{suffix}")
            if base != name and (
                base in COLUMN_ALIASES["elevation"] or canonical_station_name(base)
            ):
                return base, unit
    return name, ""


def canonical_station_name(text: str) -> str | None:
    """Return the canonical name of a surface variable from any of its names in tables.

    Example:
        >>> canonical_station_name("Mean Temp"), canonical_station_name("tavg")
        ('t2m', 't2m')
    """
    plain = normalise_heading(text)
    extra = (name for name, words in STATION_SYNONYMS.items() if plain in words)
    return canonical_name(text) or next(extra, None)


def _role_applies(role: str, found: Mapping[str, int]) -> bool:
    return role not in OPERATOR_SETTINGS or "operator" in found


def parse_pressure_level(text: str) -> Level | None:
    """Return the level in a name on one pressure level, or None.

    Example:
        >>> parse_pressure_level("ta_850").name, parse_pressure_level("T50hPa").name
        ('t850', 't50')
        >>> parse_pressure_level("t2m"), parse_pressure_level("u10")
        (None, None)
    """
    found = _PRESSURE_LEVEL_NAME.fullmatch(normalise_heading(text))
    family = (
        canonical_name(found["name"], LEVEL_VARIABLES)
        if found and not canonical_name(text)
        else None
    )
    return (
        None if found is None or family is None else parse_level(family + found["level"], family)
    )


def _is_unambiguous_level(text: str) -> bool:
    """Tell whether a heading is certainly a level: t850 and t50hPa, not t1."""
    level = parse_pressure_level(text)
    return level is not None and (level.level >= 1e4 or not normalise_heading(text)[-1].isdigit())


@dataclass(frozen=True)
class ObservationOptions:
    """The user's options for the variables of observation files.

    Attributes:
        rename: Canonical name to name in the file.
        units: Units by either name, which take precedence over the file's.
        errors: Standard deviations by canonical name, in canonical units.
        missing: Missing-value codes, by either name; those of all under "".
    """

    rename: Mapping[str, str]
    units: Mapping[str, str]
    errors: Mapping[str, float]
    missing: MissingCodes = field(default_factory=dict)

    def name(self, old: str, has_pressure: bool = False) -> str:
        """Return the canonical name of a variable in a file, with a pressure or without."""
        chosen = [new for new, name in self.rename.items() if name == old]
        if chosen:
            return chosen[0]
        on_level = canonical_name(old, LEVEL_VARIABLES) if has_pressure else None
        known = on_level or canonical_station_name(old)
        level = parse_pressure_level(old)
        return known or (level.name if level else old)

    def includes(self, old: str, has_pressure: bool = False) -> bool:
        """Tell whether a column is read: known to dpdm, or named by the user."""
        name = self.name(old, has_pressure)
        taken = self.rename.get(name, old) != old
        known = (
            name in SURFACE_VARIABLES | SATELLITE_VARIABLES
            or (has_pressure and name in LEVEL_VARIABLES)
            or _is_unambiguous_level(old)
        )
        return not taken and (known or bool({name, old} & self.named_variables()))

    def named_variables(self) -> set[str]:
        """Return every variable that the user names."""
        return {*self.rename, *self.units, *self.errors, *self.missing} - {""}

    def chosen_file_names(self) -> set[str]:
        """Return the names in files that the user chose for variables."""
        return set(self.rename.values())

    def unit(self, old: str, written: str = "") -> str:
        """Return the unit of a variable: the user's, else that of the file."""
        names = (self.name(old), self.name(old, has_pressure=True), old)
        return next((self.units[n] for n in names if n in self.units), written).strip()


def check_unique_columns(names: list[str], options: ObservationOptions) -> None:
    """Refuse two columns of the same variable."""
    for i, name in enumerate(names):
        twins = [other for other in names[:i] if options.name(other) == options.name(name)]
        if twins:
            raise DpdmError(
                f"{twins[0]} and {name} may each be {options.name(name)}.",
                f"Choose one: --obs-var {options.name(name)}={name}.",
            )


IDENTITY_OPERATORS = (
    "",
    "point",
    "mean",
    "coarse",
)  # operators whose values are those of the variable

SAME_UNIT_OPERATORS = (
    "speed",
    "exceedance",
)  # those in the variable's unit, but counted from zero

OPERATOR_UNITS = {
    "log1p": "1", "saturating": "1", "threshold": "1", "direction": "degree",
    "heading_east": "1", "heading_north": "1", "divergence": "s-1", "vorticity": "s-1",
    "saturating_vorticity": "1",
}  # fmt: skip


def row_variables(table: pd.DataFrame) -> pd.Series:
    """Return the known variable of each row, the family of a level; empty where unknown."""
    has_pressure = (
        table["pressure"].notna() if "pressure" in table else pd.Series(False, table.index)
    )
    names = {name: _observed_variable_name(name) for name in table["variable"].unique()}
    known = table["variable"].map(names)
    return known.where(
        ~known.isin(LEVEL_VARIABLES) | ~table["variable"].isin(LEVEL_VARIABLES) | has_pressure, ""
    )


def _observed_variable_name(name: str) -> str:
    """Return the known variable of a name, the family of a level; empty where unknown."""
    level = parse_pressure_level(name)
    return name if name in OBSERVED_VARIABLES else level.family if level else ""


def row_operators(table: pd.DataFrame) -> pd.Series:
    """Return the operator of each row, empty for values of the variable itself."""
    named = table["operator"] if "operator" in table else pd.Series("", table.index)
    return named.fillna("")


OPERATOR_VARIABLES = {
    "brightness": "tb",
    "olr": "rlut",
}  # operators, and the variables that stand for them


def swapped_coordinates_error(evidence: str, what: str = "the two columns' names") -> DpdmError:
    """Return the error for swapped latitude and longitude."""
    return DpdmError(f"{evidence}: latitude and longitude look swapped.", f"Exchange {what}.")
