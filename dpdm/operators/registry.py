"""Observation operators by name: what the ``operator`` of an observation may say.

A builder makes an operator of N values out of the places where they were measured, the name of the
variable, and the settings that the name needs.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from dpdm.errors import DpdmError, did_you_mean
from dpdm.operators import plugins, shapes, soundings, winds
from dpdm.operators.areas import blocks, footprints
from dpdm.operators.layout import Layout
from dpdm.operators.linear import Links, profile
from dpdm.operators.points import hypsometric, lapse, points
from dpdm.types import Operator

WINDS = (("u10", "v10"), ("u", "v"))


@dataclass(frozen=True)
class Sites:
    """Where and when N values were measured, of which fields.

    Attributes:
        layout: The cells of the fields.
        names: The variables of the fields' channels, in order.
        rows: Latitudes, or y, with shape (N,).
        columns: Longitudes, or x, with shape (N,).
        first: First step that a value is a mean over, with shape (N,) or ().
        last: Last step, with shape (N,) or (); None for the first alone.
        climb: Height above the fields' relief, with shape (N,), m; None for no correction.
        pressure: Where the variable lies between levels, with shape (N,), Pa; NaN where it is on
            none; None for all.
        levels: Pressures of the fields' channels, Pa, 0 for those on none.
        weights: What each channel of a sounder sees: the weights of the levels of temperature,
            from the highest down, and of the surface, by the channel's name.
    """

    layout: Layout
    names: tuple[str, ...]
    rows: ArrayLike
    columns: ArrayLike
    first: int | Tensor = 0
    last: int | Tensor | None = None
    climb: Tensor | None = None
    pressure: ArrayLike | None = None
    levels: tuple[float, ...] = ()
    weights: Mapping[str, ArrayLike] = field(default_factory=dict)

    def when(self, links: Links) -> Links:
        """Return the links at the steps of these sites."""
        return links.at(self.first) if self.last is None else links.during(self.first, self.last)

    def points(self) -> Links:
        """Return the operator of the first channel's values at the sites."""
        return self.when(points(self.layout, self.rows, self.columns))

    def channel(self, name: str) -> int:
        """Return the number of a variable's channel."""
        if name not in self.names:
            raise DpdmError(
                f"The variable {name} is observed, but the fields hold {', '.join(self.names)}.",
                "Leave these observations out, or use a prior that was trained for it.",
            )
        return self.names.index(name)

    def column(self, variable: str = "t") -> soundings.Column:
        """Return the levels of a variable."""
        return soundings.column(self.names, self.levels or (0.0,) * len(self.names), variable)

    def footprints(self, radius: float) -> Links:
        """Return the operator of means over discs around the sites; of 0, points."""
        if not radius:
            return self.points()
        return self.when(footprints(self.layout, self.rows, self.columns, radius))

    def surface(self) -> int:
        """Return the channel of the air at the surface, the lowest level for want of a better."""
        return self.channel("t2m") if "t2m" in self.names else self.column().channel[-1]

    def wind(self) -> tuple[int, int]:
        """Return the channels of the eastward and the northward wind."""
        for u, v in WINDS:
            if u in self.names and v in self.names:
                return self.channel(u), self.channel(v)
        raise DpdmError(
            f"A wind is observed, but the fields hold {', '.join(self.names)}.",
            "Leave these observations out, or use a prior that was trained for u10 and v10.",
        )


Build: TypeAlias = Callable[..., Operator]


def point(sites: Sites, variable: str) -> Operator:
    """Return values at points, at the height of the stations where it matters."""
    channel, local = sites.channel(variable), profile(sites.points())
    if sites.climb is not None and variable == "t2m":
        return shapes.compose(local, lapse(channel, sites.climb), shapes.flat)
    if sites.climb is not None and variable == "sp":
        warmth = sites.names.index("t2m") if "t2m" in sites.names else None
        return shapes.compose(local, hypsometric(channel, sites.climb, warmth), shapes.flat)
    return sites.points().of(channel)


def mean(sites: Sites, variable: str, radius: float) -> Operator:
    """Return means over discs; the radius is in m on the sphere."""
    return sites.footprints(radius).of(sites.channel(variable))


def coarse(sites: Sites, variable: str, factor: float) -> Operator:
    """Return means over blocks of ``factor`` x ``factor`` cells around the sites."""
    links = blocks(sites.layout, sites.rows, sites.columns, factor)
    return sites.when(links).of(sites.channel(variable))


def seen(shape: Callable[..., shapes.Map]) -> Build:
    """Return the builder of a function of point values, which takes the function's settings."""

    def build(sites: Sites, variable: str, level: float, width: float) -> Operator:
        return shapes.compose(point(sites, variable), shape(level, width))

    return build


def saturating(sites: Sites, variable: str) -> Operator:
    """Return saturated point values."""
    return shapes.compose(point(sites, variable), shapes.saturating)


def log1p(sites: Sites, variable: str) -> Operator:
    """Return logarithms of point values."""
    return shapes.compose(point(sites, variable), shapes.log1p)


def local_wind(of: Callable[[int, int], winds.Map]) -> Build:
    """Return the builder of a function of the wind at points."""

    def build(sites: Sites, variable: str = "") -> Operator:
        return shapes.compose(profile(sites.points()), of(*sites.wind()), shapes.flat)

    return build


def sloping(of: Callable[..., winds.Map], *then: shapes.Map) -> Build:
    """Return the builder of point values of a derivative of the wind."""

    def build(sites: Sites, variable: str = "") -> Operator:
        return shapes.compose(of(sites.layout, *sites.wind()), *then, sites.points())

    return build


def component(number: int) -> Callable[[int, int], winds.Map]:
    """Return the function of one component of the unit vector along the wind."""
    return lambda u, v: shapes.compose(winds.heading(u, v), shapes.select(number))


def level(sites: Sites, variable: str) -> Operator:
    """Return values of a variable at points and pressures between its levels."""
    if sites.pressure is None:
        raise DpdmError(f"{variable} is on levels, and no pressure is said.", "Say which.")
    return soundings.at_level(sites.points(), sites.column(variable), sites.pressure)


def brightness(sites: Sites, variable: str, channel: str, radius: float = 0.0) -> Operator:
    """Return brightness temperatures of a sounder's channel, means over discs or at points."""
    if channel not in sites.weights:
        raise DpdmError(
            f"The brightness temperature of channel {channel or '(without a name)'} is observed, "
            "and nothing says what it sees.",
            "Name a file with its weighting function: --channels FILE.",
        )
    *air, ground = np.asarray(sites.weights[channel], dtype=float)
    return soundings.brightness(
        sites.footprints(radius), sites.column(), air, (sites.surface(), ground)
    )


def olr(sites: Sites, variable: str, radius: float = 0.0) -> Operator:
    """Return the outgoing longwave radiation, of means over discs or at points."""
    links = sites.footprints(radius)
    return soundings.olr(links, sites.column(), sites.rows, sites.surface())


OF_VARIABLE: dict[str, Build] = {
    "point": point,
    "mean": mean,
    "coarse": coarse,
    "log1p": log1p,
    "saturating": saturating,
    "threshold": seen(shapes.threshold),
    "exceedance": seen(shapes.exceedance),
}
OF_AIR: dict[str, Build] = {"level": level, "brightness": brightness, "olr": olr}
OF_WIND: dict[str, Build] = {
    "speed": local_wind(winds.speed),
    "direction": local_wind(winds.direction),
    "heading_east": local_wind(component(0)),
    "heading_north": local_wind(component(1)),
    "divergence": sloping(winds.divergence),
    "vorticity": sloping(winds.vorticity),
    "saturating_vorticity": sloping(winds.vorticity, shapes.saturating),
}
OPERATORS = OF_VARIABLE | OF_AIR | OF_WIND


def build(name: str, sites: Sites, variable: str, **settings: Any) -> Operator:
    """Return the operator of that name, one of ours or of an installed package.

    Args:
        name: A key of ``OPERATORS``, or the name of an entry point of ``dpdm.operators``.
        sites: Where and when the values were measured.
        variable: The variable that was measured; the wind's operators find their own.
        settings: What the operator needs to know, such as radius, or level and width.
    """
    if name not in OPERATORS:
        return plugins.find(known(name))
    taken = list(inspect.signature(OPERATORS[name]).parameters.values())[2:]
    needs = [p.name for p in taken if p.default is p.empty]
    if not set(needs) <= settings.keys() <= {p.name for p in taken}:
        raise DpdmError(
            f"The operator {name} needs {spoken(needs)}, and was given {spoken(list(settings))}.",
            f"Give it {spoken(needs)}.",
        )
    return OPERATORS[name](sites, variable, **settings)


def known(name: str) -> str:
    """Return a plugin's name."""
    others = plugins.names()
    if name not in others:
        every = [*OPERATORS, *others]
        hint = did_you_mean(name, every, f"There are {', '.join(every)}.")
        raise DpdmError(f"There is no observation operator {name}.", hint)
    return name


def spoken(words: list[str]) -> str:
    """Return words as a sentence has them.

    Example:
        >>> spoken([]), spoken(["level", "width"])
        ('no settings', 'level and width')
    """
    return " and ".join(words) or "no settings"
