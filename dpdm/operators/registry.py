"""Observation operators by name, as in the column ``operator`` of observations.

A builder makes an operator of N values from their locations, the name of the variable, and the
settings of the operator.

The user's own operators are Python functions of an installed package, from physical fields
(B, C, H, W) to values (B, N), which its ``pyproject.toml`` lists:

    [project.entry-points."dpdm.operators"]
    snowline = "mypackage:snowline"

They are written in torch, for their derivatives, and tested on a field of zeros before use.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from dpdm.errors import DpdmError, did_you_mean
from dpdm.operators import linear, radiance, winds
from dpdm.operators.geometry import GridLayout
from dpdm.operators.interpolation import (
    block_mean_operator,
    correct_pressure,
    correct_temperature,
    disc_mean_operator,
    point_operator,
)
from dpdm.operators.linear import SparseOperator, apply_per_channel
from dpdm.types import Operator

ENTRY_POINT_GROUP = "dpdm.operators"


def list_plugins() -> list[str]:
    """List the operators of installed packages."""
    return sorted({point.name for point in entry_points(group=ENTRY_POINT_GROUP)})


def find_plugin(name: str) -> Operator:
    """Return an operator of an installed package by name."""
    found = entry_points(group=ENTRY_POINT_GROUP, name=name)
    values = sorted({point.value for point in found})
    if len(values) != 1:
        raise DpdmError(*explain_missing_plugin(name, values))
    (point,) = list(found)[:1]
    operator = load_plugin(point)
    if not callable(operator):
        raise DpdmError(f"The operator {name} ({point.value}) is not a function.", "Name one.")
    return operator  # type: ignore[no-any-return]


def explain_missing_plugin(name: str, values: list[str]) -> tuple[str, str]:
    """Return the error message for a name without exactly one operator."""
    if values:
        return (
            f"Several packages announce the operator {name}: {', '.join(values)}.",
            "Uninstall all but one.",
        )
    return (
        f"No installed package announces the operator {name}.",
        did_you_mean(
            name, list_plugins(), f"Announce it as an entry point of {ENTRY_POINT_GROUP}."
        ),
    )


def load_plugin(point: EntryPoint) -> Any:
    """Import the object of an entry point."""
    try:
        return point.load()
    except Exception as error:  # of any kind, by the package's code
        raise DpdmError(
            f"The operator {point.name} ({point.value}) cannot be imported: {error}.",
            "Fix the package that announces it.",
        ) from error


def check_plugin(operator: Operator, name: str, shape: tuple[int, ...], count: int) -> Operator:
    """Return an operator after a test on two fields of zeros.

    Args:
        operator: From fields to values.
        name: Its name in messages.
        shape: Shape of one field: (C, H, W) or (C, T, H, W).
        count: Required number of values.
    """
    zeros = torch.zeros(2, *shape, requires_grad=True)
    try:
        values = operator(zeros)
    except Exception as error:  # of any kind, by the package's code
        raise DpdmError(
            f"The operator {name} fails on a field of zeros of shape {tuple(zeros.shape)}: "
            f"{type(error).__name__}: {error}.",
            "Fix it.",
        ) from error
    fault = describe_flaw(values, count)
    if fault:
        raise DpdmError(f"The operator {name} {fault}, on two fields of zeros.", "Fix it.")
    return operator


def describe_flaw(values: Any, count: int) -> str:
    """Describe the fault of the values (2, N) of two fields of zeros; '' for none."""
    if not isinstance(values, Tensor):
        return f"gives a {type(values).__name__} instead of a tensor"
    if values.shape != (2, count):
        return f"gives the shape {tuple(values.shape)} instead of (2, {count})"
    if not bool(values.isfinite().all()):
        return "gives a value that is not finite"
    return "" if values.requires_grad else "has no derivative, as it does not use torch throughout"


WIND_PAIRS = (("u10", "v10"), ("u", "v"))


@dataclass(frozen=True)
class ObsLocations:
    """Locations and times of N values.

    Attributes:
        layout: The cells of the fields.
        names: The variables of the channels, in order.
        rows: Latitudes, or y, with shape (N,).
        columns: Longitudes, or x, with shape (N,).
        first: First step of a time mean, with shape (N,) or ().
        last: Last step, with shape (N,) or (); None for the first step only.
        height_offset: Height above the topography, with shape (N,), m; None for no correction.
        pressure: Pressure of values on levels, with shape (N,), Pa; NaN for values on none; None
            if all are on none.
        levels: Pressures of the channels, Pa, 0 for channels on none.
        weights: Weighting function of each channel of a sounder, by name: of the levels of
            temperature, from the highest down, and of the surface.
    """

    layout: GridLayout
    names: tuple[str, ...]
    rows: ArrayLike
    columns: ArrayLike
    first: int | Tensor = 0
    last: int | Tensor | None = None
    height_offset: Tensor | None = None
    pressure: ArrayLike | None = None
    levels: tuple[float, ...] = ()
    weights: Mapping[str, ArrayLike] = field(default_factory=dict)

    def link_steps(self, links: SparseOperator) -> SparseOperator:
        """Return the links at the steps of these sites."""
        if self.last is None:
            return links.at_step(self.first)
        return links.average_steps(self.first, self.last)

    def points(self) -> SparseOperator:
        """Return the operator of the first channel's values at the sites."""
        return self.link_steps(point_operator(self.layout, self.rows, self.columns))

    def channel(self, name: str) -> int:
        """Return the number of a variable's channel."""
        if name not in self.names:
            raise DpdmError(
                f"The variable {name} is observed, but the fields hold {', '.join(self.names)}.",
                "Remove these observations, or use a prior that was trained for it.",
            )
        return self.names.index(name)

    def variable_levels(self, variable: str = "t") -> radiance.LevelColumn:
        """Return the levels of a variable."""
        return radiance.find_level_column(
            self.names, self.levels or (0.0,) * len(self.names), variable
        )

    def footprints(self, radius: float) -> SparseOperator:
        """Return the operator of means over discs around the sites; of points for radius 0."""
        if not radius:
            return self.points()
        return self.link_steps(disc_mean_operator(self.layout, self.rows, self.columns, radius))

    def surface(self) -> int:
        """Return the channel of air temperature at the surface, or else at the lowest level."""
        return self.channel("t2m") if "t2m" in self.names else self.variable_levels().channel[-1]

    def wind(self) -> tuple[int, int]:
        """Return the channels of the eastward and the northward wind."""
        for u, v in WIND_PAIRS:
            if u in self.names and v in self.names:
                return self.channel(u), self.channel(v)
        raise DpdmError(
            f"A wind is observed, but the fields hold {', '.join(self.names)}.",
            "Remove these observations, or use a prior that was trained for u10 and v10.",
        )


OperatorBuilder: TypeAlias = Callable[..., Operator]


def build_point(sites: ObsLocations, variable: str) -> Operator:
    """Return values at points, at the height of the stations for t2m and sp."""
    channel, local = sites.channel(variable), apply_per_channel(sites.points())
    if sites.height_offset is not None and variable == "t2m":
        return linear.compose_maps(
            local, correct_temperature(channel, sites.height_offset), linear.flatten_values
        )
    if sites.height_offset is not None and variable == "sp":
        t2m = sites.names.index("t2m") if "t2m" in sites.names else None
        return linear.compose_maps(
            local, correct_pressure(channel, sites.height_offset, t2m), linear.flatten_values
        )
    return sites.points().for_channel(channel)


def build_disc_mean(sites: ObsLocations, variable: str, radius: float) -> Operator:
    """Return means over discs; the radius is in m on the sphere."""
    return sites.footprints(radius).for_channel(sites.channel(variable))


def build_block_mean(sites: ObsLocations, variable: str, factor: float) -> Operator:
    """Return means over blocks of ``factor`` x ``factor`` cells around the sites."""
    links = block_mean_operator(sites.layout, sites.rows, sites.columns, factor)
    return sites.link_steps(links).for_channel(sites.channel(variable))


def pointwise_builder(shape: Callable[..., linear.TensorMap]) -> OperatorBuilder:
    """Return the builder of a function of point values, which takes the function's settings."""

    def build(sites: ObsLocations, variable: str, level: float, width: float) -> Operator:
        return linear.compose_maps(build_point(sites, variable), shape(level, width))

    return build


def build_saturating(sites: ObsLocations, variable: str) -> Operator:
    """Return saturated point values."""
    return linear.compose_maps(build_point(sites, variable), linear.saturate)


def build_log1p(sites: ObsLocations, variable: str) -> Operator:
    """Return logarithms of point values."""
    return linear.compose_maps(build_point(sites, variable), linear.signed_log1p)


def wind_builder(of: Callable[[int, int], winds.FieldMap]) -> OperatorBuilder:
    """Return the builder of a function of the wind at points."""

    def build(sites: ObsLocations, variable: str = "") -> Operator:
        return linear.compose_maps(
            apply_per_channel(sites.points()), of(*sites.wind()), linear.flatten_values
        )

    return build


def wind_gradient_builder(
    of: Callable[..., winds.FieldMap], *then: linear.TensorMap
) -> OperatorBuilder:
    """Return the builder of point values of a derivative of the wind."""

    def build(sites: ObsLocations, variable: str = "") -> Operator:
        return linear.compose_maps(of(sites.layout, *sites.wind()), *then, sites.points())

    return build


def wind_component(number: int) -> Callable[[int, int], winds.FieldMap]:
    """Return the function of one component of the unit vector along the wind."""
    return lambda u, v: linear.compose_maps(
        winds.wind_heading(u, v), linear.select_channel(number)
    )


def build_level(sites: ObsLocations, variable: str) -> Operator:
    """Return values of a variable at points and pressures between its levels."""
    if sites.pressure is None:
        raise DpdmError(f"{variable} is on levels, but has no pressure.", "Give its pressure.")
    return radiance.level_operator(sites.points(), sites.variable_levels(variable), sites.pressure)


def build_brightness(
    sites: ObsLocations, variable: str, channel: str, radius: float = 0.0
) -> Operator:
    """Return brightness temperatures of a sounder's channel, means over discs or at points."""
    if channel not in sites.weights:
        raise DpdmError(
            f"The brightness temperature of channel {channel or '(without a name)'} is observed, "
            "but its weighting function is unknown.",
            "Give a file with its weighting function: --channels FILE.",
        )
    *air, ground = np.asarray(sites.weights[channel], dtype=float)
    return radiance.brightness_operator(
        sites.footprints(radius), sites.variable_levels(), air, (sites.surface(), ground)
    )


def build_olr(sites: ObsLocations, variable: str, radius: float = 0.0) -> Operator:
    """Return the outgoing longwave radiation, of means over discs or at points."""
    links = sites.footprints(radius)
    return radiance.olr_operator(links, sites.variable_levels(), sites.rows, sites.surface())


VARIABLE_OPERATORS: dict[str, OperatorBuilder] = {
    "point": build_point,
    "mean": build_disc_mean,
    "coarse": build_block_mean,
    "log1p": build_log1p,
    "saturating": build_saturating,
    "threshold": pointwise_builder(linear.smooth_threshold),
    "exceedance": pointwise_builder(linear.exceedance),
}
PROFILE_OPERATORS: dict[str, OperatorBuilder] = {
    "level": build_level,
    "brightness": build_brightness,
    "olr": build_olr,
}
WIND_OPERATORS: dict[str, OperatorBuilder] = {
    "speed": wind_builder(winds.wind_speed),
    "direction": wind_builder(winds.wind_direction),
    "heading_east": wind_builder(wind_component(0)),
    "heading_north": wind_builder(wind_component(1)),
    "divergence": wind_gradient_builder(winds.wind_divergence),
    "vorticity": wind_gradient_builder(winds.wind_vorticity),
    "saturating_vorticity": wind_gradient_builder(winds.wind_vorticity, linear.saturate),
}
AMOUNT_OPERATORS = (
    "point",
    "mean",
    "coarse",
    "exceedance",
)  # whose values are amounts, if fields are
OPERATORS = VARIABLE_OPERATORS | PROFILE_OPERATORS | WIND_OPERATORS


def build_operator(name: str, sites: ObsLocations, variable: str, **settings: Any) -> Operator:
    """Return an operator of dpdm or of an installed package by name.

    Args:
        name: A key of ``OPERATORS``, or the name of an entry point of ``dpdm.operators``.
        sites: Locations and times of the values.
        variable: The observed variable; unused by operators of the wind.
        settings: Settings of the operator, such as radius, or level and width.
    """
    if name not in OPERATORS:
        return find_plugin(require_plugin(name))
    known = list(inspect.signature(OPERATORS[name]).parameters.values())[2:]
    needs = [p.name for p in known if p.default is p.empty]
    if not set(needs) <= settings.keys() <= {p.name for p in known}:
        raise DpdmError(
            f"The operator {name} needs {join_settings(needs)}, but was given "
            f"{join_settings(list(settings))}.",
            f"Give it {join_settings(needs)}.",
        )
    return OPERATORS[name](sites, variable, **settings)


def require_plugin(name: str) -> str:
    """Return the name of an operator of an installed package, refusing unknown names."""
    plugins = list_plugins()
    if name not in plugins:
        every = [*OPERATORS, *plugins]
        hint = did_you_mean(name, every, f"There are {', '.join(every)}.")
        raise DpdmError(f"There is no observation operator {name}.", hint)
    return name


def join_settings(words: list[str]) -> str:
    """Join the names of settings for a message.

    Example:
        >>> join_settings([]), join_settings(["level", "width"])
        ('no settings', 'level and width')
    """
    return " and ".join(words) or "no settings"
