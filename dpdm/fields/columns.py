"""What the columns of an observation file are called, and what the user said about them.

The same words serve the header of a table and the variables of a NetCDF file. A *role* is what
dpdm needs to know of an observation besides its variable: when, where, how sure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from dpdm.errors import DpdmError
from dpdm.fields.aloft import Place, placed
from dpdm.fields.checks import Missing
from dpdm.fields.variables import ALOFT, KNOWN, REMOTE, Variable

ROLES: dict[str, tuple[str, ...]] = {
    role: tuple(words.split())
    for role, words in {
        "time": "time valid_time datetime date_time timestamp date tm obs_time",
        "lat": "lat latitude nav_lat station_latitude precise_latitude",
        "lon": "lon longitude long lng nav_lon station_longitude precise_longitude",
        "elevation": "elevation elev altitude alt station_elevation station_altitude height "
        "surface_altitude",
        "variable": "variable var parameter param element varname",
        "value": "value obs observation observed obs_value",
        "error": "error std sigma uncertainty stderr standard_error obs_error stddev",
        "units": "units unit",
        "station": "station station_id stationid id wmo_id wmo stn stn_id stn_num station_name "
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
SETTINGS = ("factor", "radius", "level", "width")  # of the operator that a row names
NUMBERS = ("value", "error", "lat", "lon", "elevation", "y", "x", "pressure", *SETTINGS)
LENGTHS = ("elevation", "radius")
TIMES = ("time", "end")
POSITIONS = (("lat", "lon"), ("y", "x"), ("component",))
_LEVELLED = re.compile(r"(?P<name>[a-z_]*[a-z])_?(?P<level>[1-9]\d*(\.\d+)?)(_?(hpa|mb))?")
ERROR_SUFFIX = re.compile(r"[_ ](error|std|sigma|uncertainty|stderr|standard_error)$")


def plain(text: str) -> str:
    """Return a name as it is compared: lower case, words joined by underscores.

    Example:
        >>> plain(" Valid Time"), plain("station-id")
        ('valid_time', 'station_id')
    """
    return re.sub(r"[\s\-]+", "_", text.strip().lower())


def place(names: list[str], role: str) -> int | None:
    """Return where a role's best name stands among names that are `plain`, if anywhere."""
    return next((names.index(word) for word in ROLES[role] if word in names), None)


def places(names: list[str]) -> dict[str, int]:
    """Return where each role's best name stands.

    Settings are those of an operator, and a radius may be that of a channel's footprint. Without
    an operator, a level is a pressure.
    """
    found = {role: at for role in ROLES if (at := place(names, role)) is not None}
    if "level" in found and "operator" not in found:
        found.setdefault("pressure", found["level"])
    if "channel" in found and "radius" in found:
        return {r: at for r, at in found.items() if r == "radius" or _told(r, found)}
    return {r: at for r, at in found.items() if _told(r, found)}


def _told(role: str, found: Mapping[str, int]) -> bool:
    return role not in SETTINGS or "operator" in found


def canonical(text: str, among: Mapping[str, Variable] = KNOWN | REMOTE) -> str | None:
    """Return the canonical name of a variable that is known, by any of its names.

    Example:
        >>> canonical("Air Temperature"), canonical("pr"), canonical("state")
        ('t2m', 'tp', None)
        >>> canonical("Air Temperature", ALOFT)
        't'
    """
    for name, known in among.items():
        if plain(text) in (name, known.standard_name, *known.aliases, *known.synonyms):
            return name
    return None


def levelled(text: str) -> Place | None:
    """Return the place that the name of a variable on one level of pressure speaks of.

    Example:
        >>> levelled("ta_850").name, levelled("T50hPa").name, levelled("t2m"), levelled("u10")
        ('t850', 't50', None, None)
    """
    found = _LEVELLED.fullmatch(plain(text))
    family = canonical(found["name"], ALOFT) if found and not canonical(text) else None
    return None if found is None or family is None else placed(family + found["level"], family)


def _surely_levelled(text: str) -> bool:
    """Tell whether a heading can mean nothing but a level: t850 and t50hPa, not t1."""
    place = levelled(text)
    return place is not None and (place.level >= 1e4 or not plain(text)[-1].isdigit())


@dataclass(frozen=True)
class Asked:
    """What the user said about variables.

    Attributes:
        rename: Canonical name to name in the file.
        units: Units by either name; they go before the file's.
        errors: Standard deviations by canonical name, in canonical units.
        missing: Numbers that stand for missing values, by either name; of all under "".
    """

    rename: Mapping[str, str]
    units: Mapping[str, str]
    errors: Mapping[str, float]
    missing: Missing = field(default_factory=dict)

    def name(self, old: str, aloft: bool = False) -> str:
        """Return what a variable of a file is called inside dpdm, beside a pressure or without."""
        chosen = [new for new, name in self.rename.items() if name == old]
        if chosen:
            return chosen[0]
        known = (canonical(old, ALOFT) if aloft else None) or canonical(old)
        place = levelled(old)
        return known or (place.name if place else old)

    def wants(self, old: str, aloft: bool = False) -> bool:
        """Tell whether a column is to be read: known to dpdm, or named by the user."""
        name = self.name(old, aloft)
        taken = self.rename.get(name, old) != old
        known = name in KNOWN | REMOTE or (aloft and name in ALOFT) or _surely_levelled(old)
        return not taken and (known or bool({name, old} & self.spoken()))

    def spoken(self) -> set[str]:
        """Return every variable that the user names."""
        return {*self.rename, *self.units, *self.errors, *self.missing} - {""}

    def chosen(self) -> set[str]:
        """Return the names in files that the user chose."""
        return set(self.rename.values())

    def unit(self, old: str, written: str = "") -> str:
        """Return the unit of a variable, the user's word before what is written."""
        names = (self.name(old), self.name(old, aloft=True), old)
        return next((self.units[n] for n in names if n in self.units), written).strip()


def only_once(names: list[str], asked: Asked) -> None:
    """Refuse two columns that claim to be one variable."""
    for i, name in enumerate(names):
        twins = [other for other in names[:i] if asked.name(other) == asked.name(name)]
        if twins:
            raise DpdmError(
                f"{twins[0]} and {name} may each be {asked.name(name)}.",
                f"Say which: --obs-var {asked.name(name)}={name}.",
            )
