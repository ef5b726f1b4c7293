"""Where a variable lies in the vertical, and what it is called by that.

Inside dpdm a variable on levels is one variable a level: ``t850`` is the temperature at 850 hPa,
``t100m`` that at 100 m above the ground. Each says in its attributes which *family* it belongs to,
the name that all levels share in files, and at which level it lies.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import xarray as xr

PA_PER_HPA = 100.0  # Pa
LEVEL_ATTR_NAMES = ("family", "level", "level_units")
RESERVED_NAMES = ("u10", "v10")  # the winds at 10 m, which those at 10 hPa must not be taken for
_TOKEN = re.compile(r"(?P<number>\d+(\.\d+)?(e[+-]?\d+)?)(?P<unit>hPa|m|)")


class Level(NamedTuple):
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
        name = f"{self.family}{self.level / PA_PER_HPA:g}"
        return f"{name}hPa" if name in RESERVED_NAMES else name

    @property
    def label(self) -> str:
        """Give the level for people.

        Example:
            >>> Place("t", 85000.0, "Pa").words, Place("t", 100.0, "m").words
            ('850 hPa', '100 m')
        """
        return f"{self.level:g} m" if self.units == "m" else f"{self.level / PA_PER_HPA:g} hPa"

    @property
    def attributes(self) -> dict[str, Any]:
        """Give the attributes that say so."""
        return dict(zip(LEVEL_ATTR_NAMES, self, strict=True))

    @property
    def height_order(self) -> float:
        """Give a number that rises with height."""
        return self.level if self.units == "m" else -self.level


def read_level(array: xr.DataArray) -> Level | None:
    """Return where a variable lies, or nothing for one that is on no level."""
    if not set(LEVEL_ATTR_NAMES) <= array.attrs.keys():
        return None
    family, level, units = (array.attrs[key] for key in LEVEL_ATTR_NAMES)
    return Level(str(family), float(level), str(units))


def parse_level(name: str, family: str) -> Level | None:
    """Return the place that a name speaks of.

    Example:
        >>> placed("t850", "t"), placed("t100m", "t").level, placed("t2m", "")
        (Place(family='t', level=85000.0, units='Pa'), 100.0, None)
    """
    token = _TOKEN.fullmatch(name.removeprefix(family)) if family else None
    if token is None:
        return None
    number, height = float(token["number"]), token["unit"] == "m"
    return Level(
        family, number if height else round_level(PA_PER_HPA * number), "m" if height else "Pa"
    )


def level_attrs(name: str, family: str) -> dict[str, Any]:
    """Return the attributes that say a variable's place, none for one that is on no level."""
    place = parse_level(name, family)
    return {} if place is None else place.attributes


def base_name(array: xr.DataArray) -> str:
    """Return a variable's name in files: its family's, with what a statistic adds to it.

    Example:
        >>> home(xr.DataArray(0.0, name="t850_mean", attrs=Place("t", 85000.0, "Pa").stamp))
        't_mean'
    """
    place, name = read_level(array), str(array.name)
    if place is None or not name.startswith(place.name):
        return name
    return place.family + name.removeprefix(place.name)


def rename_variable(array: xr.DataArray, name: str) -> xr.DataArray:
    """Return a variable under another name, whose family that is if it ends in the same level.

    Example:
        >>> old = xr.DataArray(0.0, name="ta850", attrs=Place("ta", 85000.0, "Pa").stamp)
        >>> place_of(renamed(old, "t850")), place_of(renamed(old, "t2m"))
        (Place(family='t', level=85000.0, units='Pa'), None)
    """
    place, out = read_level(array), array.copy(deep=False).rename(name)
    if place is None:
        return out
    stem = name.removesuffix(str(array.name).removeprefix(place.name))
    token = re.escape(place._replace(family="").name)
    found = re.fullmatch(rf"(.+?){token}(hPa)?", stem)
    others = {key: value for key, value in array.attrs.items() if key not in LEVEL_ATTR_NAMES}
    out.attrs = others | (place._replace(family=found[1]).attributes if found else {})
    return out


def round_level(level: float) -> float:
    """Return a level in six digits, in which pressures agree whatever unit they came in."""
    return float(f"{level:.6g}")


_STATISTIC_SUFFIX = re.compile(r"_(mean|spread|p\d+)$")


def statistic_name(variable: str, statistic: str) -> str:
    """Return the name of a stored statistic; that of the variable without one.

    Example:
        >>> name_of("t2m", "p10"), name_of("t2m", "")
        ('t2m_p10', 't2m')
    """
    return f"{variable}_{statistic}" if statistic else variable


def split_statistic(name: object) -> tuple[str, str]:
    """Split the name of a stored statistic into its variable and the statistic.

    Example:
        >>> split_name("t2m_p10"), split_name("t2m")
        (('t2m', 'p10'), ('t2m', ''))
    """
    found = _STATISTIC_SUFFIX.search(str(name))
    return (str(name)[: found.start()], found[1]) if found else (str(name), "")
