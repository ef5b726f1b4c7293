"""The reference period of a monthly series, and the years among which a month is ranked.

Months are counted from January of the year 0, in whatever calendar, so that no date is ever made.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.climate import MONTHS
from dpdm.fields.time import bounds_of, month_numbers, period_of

Indices = NDArray[np.intp]
Span = tuple[int, int]
_MONTH = re.compile(r"(\d{4})(?:-(0[1-9]|1[0-2]))?")


@dataclass(frozen=True)
class Reference:
    """A period within a monthly series.

    Attributes:
        span: Its first and last month, counted from the year 0.
        labels: The month of each step of the series (T,), counted alike.
    """

    span: Span
    labels: Indices

    def month(self, index: int) -> int:
        """Return the calendar month of a step, 0 to 11."""
        return int(self.labels[index]) % MONTHS

    def steps(self, month: int) -> Indices:
        """Return the steps of a calendar month within the period."""
        return self.between(month, *self.years(month))

    def window(self, index: int) -> Indices:
        """Return the steps of the same calendar month among which a step is ranked.

        They are those of the period, or of as many years from the step on before it, and up to the
        step after it.
        """
        year, month = divmod(int(self.labels[index]), MONTHS)
        first, last = self.years(month)
        off = min(year - first, 0) + max(year - last, 0)
        return self.between(month, first + off, last + off)

    def years(self, month: int) -> Span:
        """Return the first and the last year of a calendar month within the period."""
        first, last = self.span
        return -((month - first) // MONTHS), (last - month) // MONTHS

    def between(self, month: int, first: int, last: int) -> Indices:
        """Return the steps of a calendar month from one year to another."""
        years, months = np.divmod(self.labels, MONTHS)
        return np.flatnonzero((months == month) & (years >= first) & (years <= last))

    def __str__(self) -> str:
        return spell(self.span)


def reference_of(fields: xr.Dataset, words: Sequence[str], least: int) -> Reference:
    """Return the reference period of a series.

    Args:
        fields: The whole series.
        words: First and last month, or year, of the period.
        least: Years that each calendar month needs.
    """
    span, labels = span_of(words), labels_of(fields)
    whole = int(labels.min()), int(labels.max())
    if span[0] < whole[0] or span[1] > whole[1]:
        raise DpdmError(
            f"The input reaches from {spell(whole)}, the reference period of [adjust] from "
            f"{spell(span)}.",
            "Give a reference period within the input.",
        )
    reference = Reference(span, labels)
    years = [len(np.unique(labels[reference.steps(month)])) for month in range(MONTHS)]
    if min(years) < least:
        raise DpdmError(
            f"The input has {min(years)} years of month {int(np.argmin(years)) + 1} in the "
            f"reference period of [adjust], {reference}; {least} are needed.",
            "Give a longer reference period" + ('; "mean" needs 2 years.' if least > 2 else "."),
        )
    return reference


def span_of(words: Sequence[str]) -> Span:
    """Return the first and the last month of a period, counted from the year 0.

    Example:
        >>> span_of(["1981", "2010-12"])
        (23772, 24131)
    """
    found = [_MONTH.fullmatch(str(word)) for word in words]
    if len(found) == 2 and found[0] and found[1]:
        first = int(found[0][1]) * MONTHS + int(found[0][2] or 1) - 1
        last = int(found[1][1]) * MONTHS + int(found[1][2] or MONTHS) - 1
        if first <= last:
            return first, last
    raise DpdmError(
        f"[adjust] reference is {list(words)}.",
        'Give its first and its last month, as ["1981-01", "2010-12"].',
    )


def labels_of(fields: xr.Dataset) -> Indices:
    """Return the month of each step, counted from the year 0."""
    if period_of(fields.get("time"), bounds_of(fields)) != "month":
        raise DpdmError(
            "The input's steps are not months, and the climate is one of months.",
            'Give monthly means, or set method = "none" in [adjust].',
        )
    return month_numbers(fields["time"], bounds_of(fields))


def spell(span: Span) -> str:
    """Say from which month to which a period reaches.

    Example:
        >>> spell((23772, 24131))
        '1981-01 to 2010-12'
    """
    return " to ".join(f"{month // MONTHS:04d}-{month % MONTHS + 1:02d}" for month in span)
