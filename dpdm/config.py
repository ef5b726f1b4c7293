"""Settings from TOML files: dataclasses whose fields are the allowed keys, and rules of values.

The limits of numbers are far beyond any use; whether memory and disk suffice is checked elsewhere.
"""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_type_hints

from dpdm.errors import DpdmError, did_you_mean
from dpdm.system import read_text

T = TypeVar("T")
ValueRule = tuple[Callable[[Any], bool], str]
MAX_KEY_PARTS = 100  # parts of a key a.b.c, as the time of tomllib is quadratic in them
KEY_DELIMITERS = re.compile(r"[=,{\[\n]")
KILOMETRES = re.compile(r"(\d{1,6}(\.\d{1,9})?)\s*km")
MAX_SHOWN_CHARACTERS = 100  # characters of a value in a message


def read_settings(path: Path, shape: type[T]) -> T:
    """Read a TOML file into a dataclass of dataclasses, one section for each field."""
    return fill_dataclass(shape, read_toml(path), str(path))


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file."""
    text = read_text(path)
    lengths = (sum(map(bool, map(str.strip, p.split(".")))) for p in KEY_DELIMITERS.split(text))
    if any(length > MAX_KEY_PARTS for length in lengths):
        what = f"{path} is nested too deep: a key of more than {MAX_KEY_PARTS} parts."
        raise DpdmError(what, "See https://toml.io.")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise DpdmError(f"{path} is nested too deep.", "See https://toml.io.") from error
    except ValueError as error:  # invalid TOML, or a number of thousands of digits
        raise DpdmError(f"{path} is not valid TOML: {error}.", "See https://toml.io.") from error


def fill_dataclass(shape: type[T], values: dict[str, Any], where: str) -> T:
    """Fill a dataclass from a dictionary, refusing unknown and missing keys."""
    types = get_type_hints(shape)
    fields = dataclasses.fields(shape)  # type: ignore[arg-type]
    known = [f.name for f in fields]
    for key in values:
        if key not in known:
            hint = did_you_mean(key[:MAX_SHOWN_CHARACTERS], known, f"Known: {', '.join(known)}.")
            raise DpdmError(f"{where} has an unknown key {key[:MAX_SHOWN_CHARACTERS]}.", hint)
    for each in fields:
        missing = dataclasses.MISSING
        if each.name not in values and each.default is each.default_factory is missing:
            raise DpdmError(f"{where} lacks the key {each.name}.", "Add it.")
    return shape(
        **{key: parse_value(types[key], values[key], f"{where}, {key}") for key in values}
    )


def parse_value(kind: Any, value: Any, where: str) -> Any:
    """Return a value, checked against its annotation.

    Example:
        >>> parse_value(tuple[float, ...], [1, 2.5], "a.toml, key")
        (1.0, 2.5)
        >>> parse_value(dict[str, float] | str, "auto", "a.toml, key")
        'auto'
    """
    if kind is Any:
        return value
    if isinstance(kind, UnionType):
        words = isinstance(value, str)
        (kind,) = (each for each in get_args(kind) if (each is str) == words)
    if dataclasses.is_dataclass(kind) or str(kind).startswith(("tuple", "dict")):
        return parse_container(kind, value, where)
    allowed = (int, float) if kind is float else (kind,)
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise DpdmError(
            f"{where} is {format_setting(value)}.", f"Give a value of type {kind.__name__}."
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise DpdmError(f"{where} is {format_setting(value)}.", "Give a finite number.")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise DpdmError(f"{where} is {format_setting(value)}.", "Give a number of up to 64 bits.")
    return kind(value)


def parse_container(kind: Any, value: Any, where: str) -> Any:
    """Return a section, a list or pairs, checked against the annotation."""
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise DpdmError(
                f"{where} is {format_setting(value)}.",
                "It is a section: write [name] above its keys.",
            )
        return fill_dataclass(kind, value, where)  # type: ignore[arg-type]
    if str(kind).startswith("tuple"):
        if not isinstance(value, list):
            raise DpdmError(f"{where} is {format_setting(value)}.", "Give a list, like [4, 12].")
        return tuple(parse_value(get_args(kind)[0], each, where) for each in value)
    if not isinstance(value, dict):
        raise DpdmError(
            f"{where} is {format_setting(value)}.", 'Give pairs, like { tas = "t2m" }.'
        )
    return {key: parse_value(get_args(kind)[1], each, where) for key, each in value.items()}


def format_setting(value: Any) -> str:
    """Return a value as text, shortened if it is long.

    Example:
        >>> format_setting("ab"), len(format_setting("a" * 1000))
        ("'ab'", 100)
    """
    try:
        text = repr(list(value) if isinstance(value, tuple) else value)
    except ValueError:  # a number of thousands of digits
        text = "a number of more than 4000 digits"
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[: MAX_SHOWN_CHARACTERS - 3]}..."


DATE_PATTERN = r"\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?"


def is_period(dates: Sequence[str]) -> bool:
    """Return whether dates are empty, or two in order; a year ends with its last day.

    Example:
        >>> [is_period(dates) for dates in (["1872", "1872-02"], ["1872-02", "1871"], ["1872"])]
        [True, False, False]
    """
    if len(dates) != 2 or not all(re.fullmatch(DATE_PATTERN, date) for date in dates):
        return not dates
    first, last = dates
    return first[: len(last)] <= last[: len(first)]


def parse_kilometres(text: str) -> float:
    """Return a length with its unit as kilometres.

    Example:
        >>> parse_kilometres("100km"), parse_kilometres("2.5 km")
        (100.0, 2.5)
    """
    found = KILOMETRES.fullmatch(text.strip())
    if found is None or not float(found[1]):
        raise ValueError(f"{text!r} is not a length in kilometres, as in 100km.")
    return float(found[1])


def check_settings(settings: Any, rules: Mapping[str, ValueRule], path: Path | str | None) -> None:
    """Refuse a setting, named ``section.key``, that violates its rule."""
    for key, (fits, hint) in rules.items():
        section, name = key.split(".")
        if not hasattr(getattr(settings, section, None), name):
            continue
        value = getattr(getattr(settings, section), name)
        if not fits(value):
            raise DpdmError(f"{path}, {section}, {name} is {format_setting(value)}.", hint)


def minimum_rule(least: float) -> ValueRule:
    """Return the rule of a least value."""
    return lambda value: value >= least, f"Give {least} or more."


def is_fraction(value: float) -> bool:
    """Tell whether a number is from 0 to less than 1."""
    return 0 <= value < 1


def choice_rule(*words: str | Collection[str]) -> ValueRule:
    """Return the rule that a word is one of some, or a key of a registry when it is checked.

    Example:
        >>> choice_rule("", ["heun", "ddim"])[0]("ddim")
        True
    """
    shown = ", ".join(w if isinstance(w, str) else ", ".join(w) for w in words)
    fits = lambda value: any(value == w if isinstance(w, str) else value in w for w in words)  # noqa: E731
    return fits, f"Give one of {shown}."


def range_rule(least: float, most: float) -> ValueRule:
    """Return the rule that a number, or each of a list, is in a range."""

    def fits(value: Any) -> bool:
        return all(
            least <= one <= most for one in (value if isinstance(value, tuple) else [value])
        )

    return fits, f"Give {least:g} to {most if isinstance(most, int) else f'{most:g}'}."


def list_rule(number: int, least: float, most: float) -> ValueRule:
    """Return the rule that a list has ``number`` numbers, each in a range."""
    fits, hint = range_rule(least, most)
    return lambda value: len(value) == number and fits(value), f"{hint} Give {number} of them."


def interval_rule(least: float, most: float) -> ValueRule:
    """Return the rule of two numbers in a range, the smaller first."""
    return (
        lambda value: len(value) == 2 and least <= value[0] <= value[1] <= most,
        f"Give two numbers from {least:g} to {most:g}, the smaller first.",
    )


FRACTION_RULE: ValueRule = is_fraction, "Give a number from 0 to less than 1."

OPTION_LIMITS = {
    "members": 100_000,
    "seed": 2**63 - 1,
    "steps": 1_000,  # of a sampler
    "corrections": 1_000,
    "iterations": 10_000,
    "draws": 100_000,
    "factor": 10_000,
    "workers": 1_024,
    "member_block": 100_000,
    "window": 10_000,
    "lead": 1_000_000,
    "forecast_steps": 1_000_000,
    "trajectories": 10_000_000,
    "length": 10_000_000,
    "years": 200,  # from 2000 on: dates in nanoseconds end in 2262
    "burn_in": 10_000_000,
    "size": 4_096,
    "resolution": 16_384,
    "training_steps": 1_000_000_000,
    "batch": 100_000,
    "width": 16_384,  # channels of a network
    "depth": 64,
}
