"""The faults of a file, collected so that all of them are reported together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from dpdm.errors import DpdmError

MAX_FAULTS = 20  # that are listed; the others are counted
MAX_HINTS = 3


@dataclass
class Faults:
    """The faults found in one file.

    Attributes:
        word: What a row's number counts: lines of a text file as an editor shows them, or rows.
        lines: The first faults of each check, as number of the row (0 for none) and sentence.
        hints: Corrections, each once.
        count: Number of all faults.
    """

    word: str = "row"
    lines: list[tuple[int, str]] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, rows: ArrayLike, describe: Callable[[int], str], hint: str) -> None:
        """Add a fault of each of some rows.

        Args:
            rows: The numbers of the rows in the file; several observations may share one.
            describe: Sentence on the fault, from the index among ``rows``.
            hint: The correction.
        """
        numbers, first = np.unique(np.asarray(rows, dtype=np.int64), return_index=True)
        for number, index in list(zip(numbers.tolist(), first.tolist(), strict=True))[:MAX_FAULTS]:
            self.lines.append((number, describe(index)))
        self._count(numbers.size, hint)

    def add_error(self, fault: DpdmError) -> None:
        """Add the fault that an error describes."""
        self.lines += [(0, fault.what)]
        self._count(1, fault.hint)

    def _count(self, number: int, hint: str) -> None:
        self.count += number
        if number and hint not in self.hints:
            self.hints.append(hint)

    @contextmanager
    def catch(self) -> Iterator[None]:
        """Add an error instead of raising it."""
        try:
            yield
        except DpdmError as fault:
            self.add_error(fault)

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Raise all faults found within, as one error."""
        try:
            yield
        except DpdmError as fault:
            if not self.count:
                raise
            self.add_error(fault)
        self.check()

    def check(self) -> None:
        """Raise the faults, if there are any, as one error."""
        if not self.count:
            return
        shown = sorted(self.lines)[:MAX_FAULTS]
        alike: dict[str, list[int]] = {}
        for number, what in shown:
            alike.setdefault(what, []).append(number)
        sentences = [self._place(what, numbers) for what, numbers in alike.items()]
        if rest := self.count - len(shown):
            sentences.append(f"and {rest} more.")
        hint = " ".join(h for h in self.hints[:MAX_HINTS] if h)
        if len(sentences) == 1:
            raise DpdmError(sentences[0], hint)
        raise DpdmError(f"there are {self.count} faults.", hint, details=tuple(sentences))

    def _place(self, what: str, numbers: list[int]) -> str:
        """Return a sentence with the rows that it is about."""
        if not any(numbers):
            return what
        word = f"{self.word}s" if len(numbers) > 1 else self.word
        return f"{word} {', '.join(map(str, numbers))}: {what}"
