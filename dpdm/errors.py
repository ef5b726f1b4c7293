"""Errors and warnings of dpdm: a sentence on the fault, and a sentence on what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class DpdmError(Exception):
    """An error that the user can fix.

    Args:
        what: The fault, with the file, the variable and the value.
        hint: How to fix it.
        code: Exit code of the command.
        details: Sentences on the single faults, where there are several.

    Example:
        >>> str(DpdmError("a.nc holds no latitude.", "Name it lat or latitude."))
        'a.nc holds no latitude. Name it lat or latitude.'
    """

    def __init__(
        self, what: str, hint: str = "", code: int = 1, details: tuple[str, ...] = ()
    ) -> None:
        super().__init__(what, hint, code, details)
        self.what = what
        self.hint = hint
        self.code = code
        self.details = details

    def __str__(self) -> str:
        return " ".join(part for part in (self.what, *self.details, self.hint) if part)


class DpdmWarning(UserWarning):
    """A warning of doubtful input, which a command prints in one line."""


def nearest_names(
    word: str, names: Iterable[object], count: int = 0, similarity: float = 0.0
) -> list[str]:
    """Return names in the order of their similarity to a word.

    Args:
        word: The misspelled name.
        names: The known names.
        count: Number of names at most; 0 for all.
        similarity: Least similarity, from 0 for any name to 1 for equal ones.
    """
    from difflib import SequenceMatcher

    ratios = {str(n): SequenceMatcher(None, str(n), word).ratio() for n in names}
    near = sorted(
        (n for n, ratio in ratios.items() if ratio >= similarity), key=lambda n: -ratios[n]
    )
    return near[: count or None]


def did_you_mean(word: str, names: Iterable[object], otherwise: str) -> str:
    """Return a hint with the most similar name, if there is one.

    Example:
        >>> did_you_mean("heum", ["heun", "dpmpp_2m"], "There are two.")
        'Did you mean heun?'
    """
    near = nearest_names(word, names, 1, 0.4)
    return f"Did you mean {near[0]}?" if near else otherwise


def name_not_found(
    name: str, known: Iterable[object], hint: str, where: object = "", kind: str = "variable"
) -> DpdmError:
    """Return the error for an unknown name, with the known names, the most similar first.

    Args:
        name: The unknown name.
        known: The known names.
        hint: How to fix it, with braces for the most similar name.
        where: The file or object that lacks the name; if empty, the message begins "there is".
        kind: Kind of the names.

    Example:
        >>> str(name_not_found("t2n", ["tp", "t2m"], "Did you mean --variable {}?", "a.nc"))
        'a.nc has no variable t2n; it has t2m, tp. Did you mean --variable t2m?'
    """
    near = nearest_names(name, known) or ["nothing"]
    word = f"{kind} {name}".strip()
    what = f"{where} has no {word}; it has" if where else f"there is no {word}; there is"
    return DpdmError(f"{what} {', '.join(near)}.", hint.format(near[0]))


def variables_not_found(
    where: object, whose: str, names: list[str], found: Iterable[object]
) -> DpdmError:
    """Return the error for a file without any of the required variables.

    Example:
        >>> variables_not_found("a.nc", "the prior's", ["t2m"], ["sst"]).hint
        'Assign the variable, as in --var t2m=sst.'
    """
    known = [str(name) for name in found] or ["nothing"]
    return DpdmError(
        f"{where} has none of {whose} variables {', '.join(names)}; it has {', '.join(known)}.",
        f"Assign the variable, as in --var {names[0]}={known[0]}.",
    )


# Control characters (C0, C1), characters that change the writing direction, and surrogates of
# bytes that are not text.
CONTROL_CHARACTERS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escape_controls(text: str) -> str:
    r"""Replace control characters by escape sequences.

    Example:
        >>> escape_controls("a\x1b[31m red\r")
        'a\\x1b[31m red\\r'
    """
    return CONTROL_CHARACTERS.sub(lambda found: ascii(found[0])[1:-1], text)


@contextmanager
def prefix_file_name(path: object) -> Iterator[None]:
    """Prefix errors about a file's content with its name, which may be empty for none."""
    try:
        yield
    except DpdmError as fault:
        if not str(path) or fault.what.startswith(f"{path}: "):
            raise
        what = f"{path}: {fault.what}"
        raise DpdmError(what, fault.hint, details=fault.details) from fault.__cause__
