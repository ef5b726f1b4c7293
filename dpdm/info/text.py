"""Group and format the lines of a description."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dpdm.fields.level_names import Level

NAMED_SECTIONS = (
    "sampling",
    "training",
)  # their keys are dpdm's own
LABELS = {
    "size_MB": "size (MB)",
    "dpdm": "dpdm version",
    "by_network": "drawn by the network",
    "by_physics": "derived by physics",
    "fine_spacing_degrees": "output spacing (degrees)",
    "spacing_degrees": "spacing (degrees)",
    "factors": "refinement factor",
    "region": "region (west, east, south, north)",
    "excluded": "excluded (west, east, south, north)",
    "validation_box": "validation box (west, east, south, north)",
    "window_cells": "window (cells)",
    "window_states": "window (states)",
    "cyclic": "global in longitude",
    "dates": "period",
    "most": "sigma_max",
    "least": "sigma_min",
    "inflation": "spread inflation",
    "reference_inflation": "spread inflation with a climatology",
    "seen": "data seen",
    "code_rmse": "reconstruction RMSE of the codes",
    "held_out_rmse_over_lerp": "held-out RMSE, ratio to bilinear interpolation (lerp)",
    "held_out_rmse_over_noise": "held-out RMSE, ratio to the noise",
}
JOINTS = dict.fromkeys(
    ("period", "dates", "climate_period", "latitude", "longitude", "factors"), " to "
) | dict.fromkeys(("fine_spacing_degrees", "spacing_degrees"), " x ")


def group_by_family(values: Mapping[str, Any], families: Mapping[str, str]) -> dict[str, Any]:
    """Group values of variables by family, as one value if equal on all levels, else a list.

    Example:
        >>> families = {"t850": "t", "t500": "t"}
        >>> group_by_family({"t850": 1.0, "t500": 2.0, "tp": 3.0}, families)
        {'t': [1.0, 2.0], 'tp': 3.0}
        >>> group_by_family({"t850": "[K]", "t500": "[K]"}, families)
        {'t': '[K]'}
    """
    groups: dict[str, list[Any]] = {}
    for name, value in values.items():
        groups.setdefault(families.get(name, name), []).append(value)
    return {n: v[0] if all(one == v[0] for one in v) else v for n, v in groups.items()}


def describe_levels(levels: Iterable[Level | None]) -> dict[str, dict[str, str]]:
    """Describe the levels of each family, if any.

    Example:
        >>> describe_levels([Level("t", 85000.0, "Pa"), None, Level("t", 50000.0, "Pa")])
        {'levels': {'t': '850, 500 hPa'}}
    """
    labels: dict[str, list[str]] = {}
    for level in dict.fromkeys(levels):
        if level is not None:
            labels.setdefault(level.family, []).append(level.label)
    lines = {family: join_quantities(words) for family, words in labels.items()}
    return {"levels": lines} if lines else {}


def join_quantities(words: list[str]) -> str:
    """Join quantities of the same unit.

    Example:
        >>> join_quantities(["850 hPa", "500 hPa"])
        '850, 500 hPa'
    """
    return f"{', '.join(word.split()[0] for word in words)} {words[-1].split()[1]}"


def format_description(
    description: Mapping[str, Any], indent: str = "", named: bool = True
) -> str:
    """Format a description for readers as lines of ``name: value``, without empty ones.

    Args:
        description: Names and values; JSON has them unchanged.
        indent: Spaces before each line.
        named: Whether the keys are dpdm's own, not names of variables or scores.

    Example:
        >>> description = {"file": "a.nc", "variables": {"t_2m": "[K]"}, "history": ""}
        >>> print(format_description(description | {"latitude": [-90.0, 90.0]}))
        file: a.nc
        variables:
          t_2m: [K]
        latitude: -90 to 90
    """
    lines = []
    for key, value in description.items():
        if value in ("", [], {}, None) or (key == "period" and "dates" in description):
            continue
        name = LABELS.get(key, key.replace("_", " ")) if named else key
        if isinstance(value, dict):
            nested = format_description(value, indent + "  ", key in NAMED_SECTIONS)
            lines += [f"{indent}{name}:", nested]
        else:
            lines.append(f"{indent}{name}: {format_value(value, JOINTS.get(key, ', '))}")
    return "\n".join(lines)


def format_value(value: Any, joint: str = ", ") -> str:
    """Format a value, or a list of them; equal ends of a range and sides of a cell are one.

    Example:
        >>> format_value([0.0, 359.875], " to "), format_value([0.25, 0.25], " x ")
        ('0 to 359.875', '0.25')
        >>> format_value(False), format_value(0.08944227871336408)
        ('no', '0.0894')
    """
    if isinstance(value, list | tuple):
        words = [format_value(one) for one in value]
        return joint.join(words if joint == ", " else dict.fromkeys(words))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) >= 1 else f"{value:.3g}"
    return str(value)
