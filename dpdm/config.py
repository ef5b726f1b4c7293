"""Settings from TOML: dataclasses whose fields are the only keys allowed."""

from __future__ import annotations

import dataclasses
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from dpdm.errors import DpdmError

T = TypeVar("T")


def read(path: Path, shape: type[T]) -> T:
    """Return a dataclass of dataclasses filled from a TOML file, one section a field.

    Raises:
        DpdmError: When the file is missing, is no TOML, or holds an unknown key or a wrong type.
    """
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DpdmError(f"There is no file {path}.", "Check the path after --config.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DpdmError(f"{path} is not valid TOML: {error}.", "See https://toml.io.") from error
    return fill(shape, said, str(path))


def fill(shape: type[T], said: dict[str, Any], where: str) -> T:
    """Return a dataclass filled from a dictionary, refusing what it does not know."""
    types = get_type_hints(shape)
    known = [f.name for f in dataclasses.fields(shape)]  # type: ignore[arg-type]
    for key in said:
        if key not in known:
            nearest = get_close_matches(key, known, 1, 0.4)
            raise DpdmError(
                f"{where} has an unknown key {key}.",
                f"Did you mean {nearest[0]}?" if nearest else f"Known: {', '.join(known)}.",
            )
    return shape(**{key: value(types[key], said[key], f"{where}, {key}") for key in said})


def value(kind: Any, said: Any, where: str) -> Any:
    """Return one value, checked against its annotation.

    Example:
        >>> value(tuple[float, ...], [1, 2.5], "a.toml, key")
        (1.0, 2.5)
    """
    if dataclasses.is_dataclass(kind):
        if not isinstance(said, dict):
            raise DpdmError(
                f"{where} is {said!r}.", "It is a section: write [name] over its keys."
            )
        return fill(kind, said, where)  # type: ignore[arg-type]
    if str(kind).startswith("tuple"):
        if not isinstance(said, list):
            raise DpdmError(f"{where} is {said!r}.", "Give a list, like [4, 12].")
        return tuple(value(get_args(kind)[0], each, where) for each in said)
    if str(kind).startswith("dict"):
        if not isinstance(said, dict):
            raise DpdmError(f"{where} is {said!r}.", 'Give pairs, like { tas = "t2m" }.')
        return {key: value(get_args(kind)[1], each, where) for key, each in said.items()}
    allowed = (int, float) if kind is float else (kind,)
    if not isinstance(said, allowed) or (isinstance(said, bool) and kind is not bool):
        raise DpdmError(f"{where} is {said!r}.", f"Give a value of type {kind.__name__}.")
    return kind(said)
