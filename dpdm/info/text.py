"""Group and format the lines of a description."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dpdm.fields.level_names import Level


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


def format_description(description: dict[str, Any], indent: str = "") -> str:
    """Format a description as lines of ``name: value``.

    Example:
        >>> description = {"file": "a.nc", "variables": {"t2m": "[K]"}, "shape": [2, 3]}
        >>> print(format_description(description))
        file: a.nc
        variables:
          t2m: [K]
        shape: 2, 3
    """
    lines = []
    for key, value in description.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", format_description(value, indent + "  ")]
        elif isinstance(value, list | tuple):
            lines.append(f"{indent}{key}: {', '.join(map(str, value))}")
        else:
            lines.append(f"{indent}{key}: {value}")
    return "\n".join(lines)
