"""Defaults of options from a TOML file, with a table for each command.

    [downscale]
    members = 10
    out-units = { t2m = "degC" }
    bbox = [100, 130, 10, 40]

The command line takes precedence, also over an option that excludes the one on it. What a file
gives is part of the command in the history of the output.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from dpdm.config import format_setting, read_toml
from dpdm.errors import DpdmError, did_you_mean

NOT_IN_FILE = ("defaults", "help")
# Options of which one at most is given.
EXCLUSIVE = (
    {"mean", "members"}, {"grid", "factor"}, {"factor", "coarse"}, {"factor", "window"},
    {"factor", "blind"}, {"strength", "target_spread"}, {"check", "verify"},
    {"workers", "scheduler"}, {"bbox", "lon"}, {"bbox", "lat"}, {"grid", "res"}, {"factor", "res"},
)  # fmt: skip
Words = list[str]


@dataclass(frozen=True)
class Defaults:
    """The defaults of one command.

    Attributes:
        path: Their file.
        values: Values for click, by parameter.
        words: The same as words of a command line, by parameter.
    """

    path: Path
    values: Mapping[str, Any]
    words: Mapping[str, Words]


def read_defaults(path: Path, command: click.Command, group: click.Group) -> Defaults:
    """Return the defaults of a command, and refuse a file with an unknown command or option."""
    tables = read_toml(path)
    for name, table in tables.items():
        if name not in group.commands:
            hint = "Write it below the name of a command, as in [downscale]."
            hint = did_you_mean(name, group.commands, hint) if isinstance(table, dict) else hint
            raise DpdmError(f"{path} has an unknown key {name}, which is not a command.", hint)
        if not isinstance(table, dict):
            raise DpdmError(
                f"{path}, {name} is {format_setting(table)}.", f"Write [{name}] above its keys."
            )
        for key in table:
            find_option(key, group.commands[name], f"{path}, {name}")
    values, words = {}, {}
    for key, value in tables.get(str(command.name), {}).items():
        option = find_option(key, command, f"{path}, {command.name}")
        assert option.name is not None
        values[option.name] = option_value(option, value, f"{path}, {command.name}, {key}")
        words[option.name] = option_words(option, values[option.name])
    return Defaults(path, values, words)


def find_option(key: str, command: click.Command, where: str) -> click.Option:
    """Return the option of a key, spelled with - or _."""
    found = {
        text.removeprefix("--"): parameter
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.name not in NOT_IN_FILE
        for text in parameter.opts
        if text.startswith("--")
    }
    name = key.replace("_", "-")
    if name not in found:
        hint = did_you_mean(name, found, f"Known: {', '.join(found)}.")
        raise DpdmError(f"{where} has an unknown key {key}.", hint)
    return found[name]


def option_value(option: click.Option, value: Any, where: str) -> Any:
    """Return the value of a key as the command line would give it."""
    if option.is_flag != isinstance(value, bool):
        hint = "Give true or false." if option.is_flag else "Give a value, not true or false."
        raise DpdmError(f"{where} is {format_setting(value)}.", hint)
    if option.is_flag:
        return value
    if isinstance(value, dict) and not option.multiple:
        raise DpdmError(f"{where} is {format_setting(value)}.", "Give a single value.")
    if option.multiple:
        return list_words(value)
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def list_words(value: Any) -> Words:
    """Return the values of a repeatable option.

    Example:
        >>> list_words({"tp": "mm", "t2m": ["K", "degC"]}), list_words([1, "a"]), list_words(2)
        (['tp=mm', 't2m=K', 't2m=degC'], ['1', 'a'], ['2'])
    """
    if isinstance(value, dict):
        return [f"{name}={word}" for name, one in value.items() for word in list_words(one)]
    return [str(each) for each in (value if isinstance(value, list) else [value])]


def option_words(option: click.Option, value: Any) -> Words:
    """Return an option and its value as words of a command line."""
    name = next(text for text in option.opts if text.startswith("--"))
    if option.is_flag:
        return [name] if value else []
    return [word for each in (value if option.multiple else [value]) for word in (name, each)]


def without_excluded(values: Mapping[str, Any], given: Collection[str]) -> dict[str, Any]:
    """Return defaults without those that exclude an option on the command line.

    Example:
        >>> without_excluded({"members": "9", "seed": "1"}, {"mean"})
        {'seed': '1'}
    """
    excluded = {name for pair in EXCLUSIVE if pair & set(given) for name in pair}
    return {name: value for name, value in values.items() if name not in excluded}
