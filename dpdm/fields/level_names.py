"""What a variable is called by its level and its statistic.

Inside dpdm a variable on levels is one variable a level: ``t850`` is the temperature at 850 hPa,
``t100m`` that at 100 m above the ground. The attributes of each hold its *family*, the name that
all levels share in files, and its level. ``t2m_mean`` and ``t2m_p10`` are statistics of ``t2m``.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import xarray as xr

PA_PER_HPA = 100.0  # Pa
LEVEL_ATTR_NAMES = ("family", "level", "level_units")
RESERVED_NAMES = ("u10", "v10")  # the winds at 10 m, which those at 10 hPa must not be taken for
_STATISTIC_SUFFIX = re.compile(r"_(mean|spread|p\d+)$")
_TOKEN = re.compile(r"(?P<number>\d+(\.\d+)?(e[+-]?\d+)?)(?P<unit>hPa|m|)")


class Level(NamedTuple):
    """The level of a variable.

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
        """Return the variable's name.

        Example:
            >>> Level("t", 85000.0, "Pa").name, Level("t", 100.0, "m").name
            ('t850', 't100m')
            >>> Level("u", 1000.0, "Pa").name
            'u10hPa'
        """
        if self.units == "m":
            return f"{self.family}{self.level:g}m"
        name = f"{self.family}{self.level / PA_PER_HPA:g}"
        return f"{name}hPa" if name in RESERVED_NAMES else name

    @property
    def label(self) -> str:
        """Return the level as a label of tables and figures.

        Example:
            >>> Level("t", 85000.0, "Pa").label, Level("t", 100.0, "m").label
            ('850 hPa', '100 m')
        """
        return f"{self.level:g} m" if self.units == "m" else f"{self.level / PA_PER_HPA:g} hPa"

    @property
    def attributes(self) -> dict[str, Any]:
        """Return the attributes of a variable on this level."""
        return dict(zip(LEVEL_ATTR_NAMES, self, strict=True))

    @property
    def height_order(self) -> float:
        """Return a number that rises with height."""
        return self.level if self.units == "m" else -self.level


def read_level(array: xr.DataArray) -> Level | None:
    """Return the level in a variable's attributes, None where it has none."""
    if not set(LEVEL_ATTR_NAMES) <= array.attrs.keys():
        return None
    family, level, units = (array.attrs[key] for key in LEVEL_ATTR_NAMES)
    return Level(str(family), float(level), str(units))


def parse_level(name: str, family: str) -> Level | None:
    """Return the level in a variable's name, None where it has none.

    Example:
        >>> parse_level("t850", "t"), parse_level("t100m", "t").level, parse_level("t2m", "")
        (Level(family='t', level=85000.0, units='Pa'), 100.0, None)
    """
    token = _TOKEN.fullmatch(name.removeprefix(family)) if family else None
    if token is None:
        return None
    number = float(token["number"])
    if token["unit"] == "m":
        return Level(family, number, "m")
    return Level(family, round_level(PA_PER_HPA * number), "Pa")


def level_attrs(name: str, family: str) -> dict[str, Any]:
    """Return the attributes that hold the level in a variable's name."""
    level = parse_level(name, family)
    return {} if level is None else level.attributes


def base_name(array: xr.DataArray) -> str:
    """Return a variable's name in files, which all its levels share.

    Example:
        >>> level = Level("t", 85000.0, "Pa")
        >>> base_name(xr.DataArray(0.0, name="t850_mean", attrs=level.attributes))
        't_mean'
    """
    return strip_level(str(array.name), read_level(array))


def strip_level(name: str, level: Level | None) -> str:
    """Return a variable's name without its level.

    Example:
        >>> strip_level("t850_mean", Level("t", 85000.0, "Pa")), strip_level("t2m", None)
        ('t_mean', 't2m')
    """
    if level is None or not name.startswith(level.name):
        return name
    return level.family + name.removeprefix(level.name)


def rename_level(level: Level | None, old: str, new: str) -> Level | None:
    """Return the level of a renamed variable, None where the new name ends in another level.

    Example:
        >>> level = Level("ta", 85000.0, "Pa")
        >>> rename_level(level, "ta850", "t850"), rename_level(level, "ta850", "t2m")
        (Level(family='t', level=85000.0, units='Pa'), None)
    """
    if level is None:
        return None
    stem = new.removesuffix(old.removeprefix(level.name))
    token = re.escape(level._replace(family="").name)
    found = re.fullmatch(rf"(.+?){token}(hPa)?", stem)
    return level._replace(family=found[1]) if found else None


def round_level(level: float) -> float:
    """Round a level to six digits, so that pressures agree whatever their unit was."""
    return float(f"{level:.6g}")


def statistic_name(variable: str, statistic: str) -> str:
    """Return the name of a stored statistic; that of the variable without one.

    Example:
        >>> statistic_name("t2m", "p10"), statistic_name("t2m", "")
        ('t2m_p10', 't2m')
    """
    return f"{variable}_{statistic}" if statistic else variable


def split_statistic(name: object) -> tuple[str, str]:
    """Split the name of a stored statistic into its variable and the statistic.

    Example:
        >>> split_statistic("t2m_p10"), split_statistic("t2m")
        (('t2m', 'p10'), ('t2m', ''))
    """
    found = _STATISTIC_SUFFIX.search(str(name))
    return (str(name)[: found.start()], found[1]) if found else (str(name), "")
