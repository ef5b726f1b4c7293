"""Settings from TOML: dataclasses whose fields are the only keys allowed."""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from dpdm.errors import DpdmError, did_you_mean
from dpdm.readable import read_text

T = TypeVar("T")
Rule = tuple[Callable[[Any], bool], str]
DEEPEST = 100  # parts of a key, as a.b.c has three: tomllib takes their square in time
PARTS = re.compile(r"[=,{\[\n]")
LONGEST = 100  # characters of a value in a message


def read(path: Path, shape: type[T]) -> T:
    """Return a dataclass of dataclasses filled from a TOML file, one section a field."""
    text = read_text(path)
    if any(sum(map(bool, map(str.strip, p.split(".")))) > DEEPEST for p in PARTS.split(text)):
        what = f"{path} is nested too deep: a key of more than {DEEPEST} parts."
        raise DpdmError(what, "See https://toml.io.")
    try:
        said = tomllib.loads(text)
    except RecursionError as error:
        raise DpdmError(f"{path} is nested too deep.", "See https://toml.io.") from error
    except ValueError as error:  # no TOML, no text, or a number of thousands of digits
        raise DpdmError(f"{path} is not valid TOML: {error}.", "See https://toml.io.") from error
    return fill(shape, said, str(path))


def fill(shape: type[T], said: dict[str, Any], where: str) -> T:
    """Return a dataclass filled from a dictionary, refusing what it does not know."""
    types = get_type_hints(shape)
    fields = dataclasses.fields(shape)  # type: ignore[arg-type]
    known = [f.name for f in fields]
    for key in said:
        if key not in known:
            hint = did_you_mean(key[:LONGEST], known, f"Known: {', '.join(known)}.")
            raise DpdmError(f"{where} has an unknown key {key[:LONGEST]}.", hint)
    for each in fields:
        missing = dataclasses.MISSING
        if each.name not in said and each.default is each.default_factory is missing:
            raise DpdmError(f"{where} lacks the key {each.name}.", "Add it.")
    return shape(**{key: value(types[key], said[key], f"{where}, {key}") for key in said})


def value(kind: Any, said: Any, where: str) -> Any:
    """Return one value, checked against its annotation.

    Example:
        >>> value(tuple[float, ...], [1, 2.5], "a.toml, key")
        (1.0, 2.5)
    """
    if kind is Any:
        return said
    if dataclasses.is_dataclass(kind) or str(kind).startswith(("tuple", "dict")):
        return several(kind, said, where)
    allowed = (int, float) if kind is float else (kind,)
    if not isinstance(said, allowed) or (isinstance(said, bool) and kind is not bool):
        raise DpdmError(f"{where} is {shown(said)}.", f"Give a value of type {kind.__name__}.")
    if isinstance(said, float) and not math.isfinite(said):
        raise DpdmError(f"{where} is {shown(said)}.", "Give a finite number.")
    if isinstance(said, int) and not -(2**63) <= said < 2**63:
        raise DpdmError(f"{where} is {shown(said)}.", "Give a number of up to 64 bits.")
    return kind(said)


def several(kind: Any, said: Any, where: str) -> Any:
    """Return a section, a list or pairs, checked against their annotation."""
    if dataclasses.is_dataclass(kind):
        if not isinstance(said, dict):
            raise DpdmError(
                f"{where} is {shown(said)}.", "It is a section: write [name] over its keys."
            )
        return fill(kind, said, where)  # type: ignore[arg-type]
    if str(kind).startswith("tuple"):
        if not isinstance(said, list):
            raise DpdmError(f"{where} is {shown(said)}.", "Give a list, like [4, 12].")
        return tuple(value(get_args(kind)[0], each, where) for each in said)
    if not isinstance(said, dict):
        raise DpdmError(f"{where} is {shown(said)}.", 'Give pairs, like { tas = "t2m" }.')
    return {key: value(get_args(kind)[1], each, where) for key, each in said.items()}


def shown(said: Any) -> str:
    """Return a value as it was written, or its beginning where it is long.

    Example:
        >>> shown("ab"), len(shown("a" * 1000))
        ("'ab'", 100)
    """
    try:
        text = repr(list(said) if isinstance(said, tuple) else said)
    except ValueError:  # a number of thousands of digits
        text = "a number of more than 4000 digits"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def check(settings: Any, rules: Mapping[str, Rule], path: Path | str | None) -> None:
    """Refuse a setting, called ``section.key``, that breaks its rule."""
    for key, (fits, hint) in rules.items():
        section, name = key.split(".")
        if not hasattr(getattr(settings, section, None), name):
            continue
        said = getattr(getattr(settings, section), name)
        if not fits(said):
            raise DpdmError(f"{path}, {section}, {name} is {shown(said)}.", hint)


def at_least(least: float) -> Rule:
    """Return the rule that a number is not less than another."""
    return lambda said: said >= least, f"Give {least} or more."


def share(said: float) -> bool:
    """Tell whether a number is a share, short of all."""
    return 0 <= said < 1


def one_of(*words: str | Collection[str]) -> Rule:
    """Return the rule that a word is one of some, or of a registry, whatever it holds by then.

    Example:
        >>> one_of("", ["heun", "ddim"])[0]("ddim")
        True
    """
    shown = ", ".join(w if isinstance(w, str) else ", ".join(w) for w in words)
    fits = lambda said: any(said == w if isinstance(w, str) else said in w for w in words)  # noqa: E731
    return fits, f"Give one of {shown}."


def within(least: float, most: float) -> Rule:
    """Return the rule that a number, or each of a list, lies in a range."""

    def fits(said: Any) -> bool:
        return all(least <= one <= most for one in (said if isinstance(said, tuple) else [said]))

    return fits, f"Give {least:g} to {most if isinstance(most, int) else f'{most:g}'}."


def counts(number: int, least: float, most: float) -> Rule:
    """Return the rule that a list holds some numbers, each in a range."""
    fits, hint = within(least, most)
    return lambda said: len(said) == number and fits(said), f"{hint} Give {number} of them."


def rising(least: float, most: float) -> Rule:
    """Return the rule that two numbers lie in a range, the smaller first."""
    return (
        lambda said: len(said) == 2 and least <= said[0] <= said[1] <= most,
        f"Give two numbers from {least:g} to {most:g}, the smaller first.",
    )


SHARE: Rule = share, "Give a number from 0 to less than 1."
