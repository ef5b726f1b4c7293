"""The one way dpdm says no: a sentence that names the fault, and one that says what to do.

What may be right is done, with a `DpdmWarning`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class DpdmError(Exception):
    """Report a fault that the user can mend.

    Args:
        what: What is wrong, with the file, the variable and the value.
        hint: What to do about it.
        code: With which the command ends.

    Example:
        >>> str(DpdmError("a.nc holds no latitude.", "Name it lat or latitude."))
        'a.nc holds no latitude. Name it lat or latitude.'
    """

    def __init__(self, what: str, hint: str = "", code: int = 1) -> None:
        super().__init__(what, hint)
        self.what = what
        self.hint = hint
        self.code = code

    def __str__(self) -> str:
        return f"{self.what} {self.hint}".strip()


class DpdmWarning(UserWarning):
    """Tell of what is possible, and unlikely; a command prints it in one line."""


def nearest_names(
    word: str, names: Iterable[object], count: int = 0, alike: float = 0.0
) -> list[str]:
    """Return names, those that are spelled most like a word first, others in their order.

    Args:
        word: What was written.
        names: What could have been.
        count: How many to return at most; 0 for all.
        alike: From 0 for any name to 1 for equal ones.
    """
    from difflib import SequenceMatcher

    ratios = {str(n): SequenceMatcher(None, str(n), word).ratio() for n in names}
    near = sorted((n for n, ratio in ratios.items() if ratio >= alike), key=lambda n: -ratios[n])
    return near[: count or None]


def did_you_mean(word: str, names: Iterable[object], otherwise: str) -> str:
    """Return a hint for a word that is almost a name.

    Example:
        >>> did_you_mean("heum", ["heun", "dpmpp_2m"], "There are two.")
        'Did you mean heun?'
    """
    near = nearest_names(word, names, 1, 0.4)
    return f"Did you mean {near[0]}?" if near else otherwise


def name_not_found(
    name: str, there: Iterable[object], hint: str, where: object = "", kind: str = "variable"
) -> DpdmError:
    """Return the error for a name that is not there, with those that are, the nearest first.

    Args:
        name: What was asked for.
        there: What could be asked for.
        hint: What to do, with braces for the nearest name.
        where: What has no such thing; without it, the message begins with "there is".
        kind: What the names are of.

    Example:
        >>> str(not_found("t2n", ["tp", "t2m"], "Did you mean --variable {}?", "a.nc"))
        'a.nc has no variable t2n; it has t2m, tp. Did you mean --variable t2m?'
    """
    near = nearest_names(name, there) or ["nothing"]
    word = f"{kind} {name}".strip()
    what = f"{where} has no {word}; it has" if where else f"there is no {word}; there is"
    return DpdmError(f"{what} {', '.join(near)}.", hint.format(near[0]))


def variables_not_found(
    where: object, whose: str, names: list[str], there: Iterable[object]
) -> DpdmError:
    """Return the error for a file that has none of the variables that it should have.

    Example:
        >>> none_found("a.nc", "the prior's", ["t2m"], ["sst"]).hint
        'Say which one is meant, as in --var t2m=sst.'
    """
    known = [str(name) for name in there] or ["nothing"]
    return DpdmError(
        f"{where} has none of {whose} variables {', '.join(names)}; it has {', '.join(known)}.",
        f"Say which one is meant, as in --var {names[0]}={known[0]}.",
    )


# What a terminal obeys instead of showing it: control characters, C1 too, and those that turn the
# direction of writing; and what stands for bytes that are no text.
CONTROL_CHARACTERS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escape_controls(text: str) -> str:
    r"""Return a text with what a terminal would obey written as escapes.

    Example:
        >>> printable("a\x1b[31m red\r")
        'a\\x1b[31m red\\r'
    """
    return CONTROL_CHARACTERS.sub(lambda found: ascii(found[0])[1:-1], text)


@contextmanager
def prefix_file_name(path: Path | str) -> Iterator[None]:
    """Prefix errors about a file's content with its name."""
    try:
        yield
    except DpdmError as fault:
        if fault.what.startswith(f"{path}: "):
            raise
        raise DpdmError(f"{path}: {fault.what}", fault.hint) from fault.__cause__
