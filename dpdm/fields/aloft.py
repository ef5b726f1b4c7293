"""Where a variable lies in the vertical, and what it is called by that.

Inside dpdm a variable on levels is one variable a level: ``t850`` is the temperature at 850 hPa,
``t100m`` that at 100 m above the ground. Each says in its attributes which *family* it belongs to,
the name that all levels share in files, and at which level it lies.
"""

import re
from typing import Any, NamedTuple

import xarray as xr

HPA = 100.0  # Pa
STAMP = ("family", "level", "level_units")
TAKEN = ("u10", "v10")  # the winds at 10 m, which those at 10 hPa must not be taken for
_TOKEN = re.compile(r"(?P<number>\d+(\.\d+)?(e[+-]?\d+)?)(?P<unit>hPa|m|)")


class Place(NamedTuple):
    """Where a variable lies in the vertical.

    Attributes:
        family: The name that all levels of the variable share.
        level: Pressure or height.
        units: Pa or m.
    """

    family: str
    level: float
    units: str

    @property
    def name(self) -> str:
        """Give the variable's name.

        Example:
            >>> Place("t", 85000.0, "Pa").name, Place("t", 100.0, "m").name
            ('t850', 't100m')
            >>> Place("u", 1000.0, "Pa").name
            'u10hPa'
        """
        if self.units == "m":
            return f"{self.family}{self.level:g}m"
        name = f"{self.family}{self.level / HPA:g}"
        return f"{name}hPa" if name in TAKEN else name

    @property
    def words(self) -> str:
        """Give the level for people.

        Example:
            >>> Place("t", 85000.0, "Pa").words, Place("t", 100.0, "m").words
            ('850 hPa', '100 m')
        """
        return f"{self.level:g} m" if self.units == "m" else f"{self.level / HPA:g} hPa"

    @property
    def stamp(self) -> dict[str, Any]:
        """Give the attributes that say so."""
        return dict(zip(STAMP, self, strict=True))

    @property
    def upwards(self) -> float:
        """Give a number that rises with height."""
        return self.level if self.units == "m" else -self.level


def place_of(array: xr.DataArray) -> Place | None:
    """Return where a variable lies, or nothing for one that is on no level."""
    if not set(STAMP) <= array.attrs.keys():
        return None
    family, level, units = (array.attrs[key] for key in STAMP)
    return Place(str(family), float(level), str(units))


def placed(name: str, family: str) -> Place | None:
    """Return the place that a name speaks of.

    Example:
        >>> placed("t850", "t"), placed("t100m", "t").level, placed("t2m", "")
        (Place(family='t', level=85000.0, units='Pa'), 100.0, None)
    """
    token = _TOKEN.fullmatch(name.removeprefix(family)) if family else None
    if token is None:
        return None
    number, height = float(token["number"]), token["unit"] == "m"
    return Place(family, number if height else short(HPA * number), "m" if height else "Pa")


def stamp(name: str, family: str) -> dict[str, Any]:
    """Return the attributes that say a variable's place, none for one that is on no level."""
    place = placed(name, family)
    return {} if place is None else place.stamp


def home(array: xr.DataArray) -> str:
    """Return a variable's name in files: its family's, with what a statistic adds to it.

    Example:
        >>> home(xr.DataArray(0.0, name="t850_mean", attrs=Place("t", 85000.0, "Pa").stamp))
        't_mean'
    """
    place, name = place_of(array), str(array.name)
    if place is None or not name.startswith(place.name):
        return name
    return place.family + name.removeprefix(place.name)


def renamed(array: xr.DataArray, name: str) -> xr.DataArray:
    """Return a variable under another name, whose family that is if it ends in the same level.

    Example:
        >>> old = xr.DataArray(0.0, name="ta850", attrs=Place("ta", 85000.0, "Pa").stamp)
        >>> place_of(renamed(old, "t850")), place_of(renamed(old, "t2m"))
        (Place(family='t', level=85000.0, units='Pa'), None)
    """
    place, out = place_of(array), array.copy(deep=False).rename(name)
    if place is None:
        return out
    stem = name.removesuffix(str(array.name).removeprefix(place.name))
    token = re.escape(place._replace(family="").name)
    found = re.fullmatch(rf"(.+?){token}(hPa)?", stem)
    others = {key: value for key, value in array.attrs.items() if key not in STAMP}
    out.attrs = others | (place._replace(family=found[1]).stamp if found else {})
    return out


def short(level: float) -> float:
    """Return a level in six digits, in which pressures agree whatever unit they came in."""
    return float(f"{level:.6g}")
