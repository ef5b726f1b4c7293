"""A period of months within a series, to which its climate refers.

Months are counted from January of the year 0, in any calendar.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.climatology import MONTHS_PER_YEAR

Indices = NDArray[np.intp]
MonthSpan = tuple[int, int]
_MONTH = re.compile(r"(\d{4})(?:-(0[1-9]|1[0-2]))?")


@dataclass(frozen=True)
class ReferencePeriod:
    """A period within a monthly series.

    Attributes:
        span: Its first and last month, counted from the year 0.
        month_indices: The month of each step of the series (T,), counted alike.
    """

    span: MonthSpan
    month_indices: Indices

    def month(self, index: int) -> int:
        """Return the calendar month of a step, 0 to 11."""
        return int(self.month_indices[index]) % MONTHS_PER_YEAR

    def month_steps(self, month: int) -> Indices:
        """Return the steps of a calendar month within the period."""
        return self.select_years(month, *self.year_range(month))

    def ranking_steps(self, index: int) -> Indices:
        """Return the steps of the same calendar month among which a step is ranked."""
        year, month = divmod(int(self.month_indices[index]), MONTHS_PER_YEAR)
        first, last = self.year_range(month)
        shift = min(year - first, 0) + max(year - last, 0)
        return self.select_years(month, first + shift, last + shift)

    def year_range(self, month: int) -> MonthSpan:
        """Return the first and the last year of a calendar month within the period."""
        first, last = self.span
        return -((month - first) // MONTHS_PER_YEAR), (last - month) // MONTHS_PER_YEAR

    def select_years(self, month: int, first: int, last: int) -> Indices:
        """Return the steps of a calendar month from one year to another."""
        years, months = np.divmod(self.month_indices, MONTHS_PER_YEAR)
        return np.flatnonzero((months == month) & (years >= first) & (years <= last))

    def years_of_months(self) -> list[int]:
        """Count the years of each calendar month (12) within the period."""
        steps = (self.month_indices[self.month_steps(m)] for m in range(MONTHS_PER_YEAR))
        return [len(np.unique(each)) for each in steps]

    def __str__(self) -> str:
        return format_month_span(self.span)


def select_reference_period(
    month_indices: Indices, span: MonthSpan, series: str, period: str, hint: str
) -> ReferencePeriod:
    """Return a period of a series, and refuse one that reaches beyond it.

    Args:
        month_indices: The month of each step of the series (T,), counted from the year 0.
        span: The first and the last month of the period.
        series: What the series is, for the message.
        period: What the period is, for the message.
        hint: How to fix it.
    """
    available = int(month_indices.min()), int(month_indices.max())
    if span[0] < available[0] or span[1] > available[1]:
        raise DpdmError(
            f"{series} is from {format_month_span(available)}, {period} from "
            f"{format_month_span(span)}.",
            hint,
        )
    return ReferencePeriod(span, month_indices)


def parse_month_span(ends: Sequence[str]) -> MonthSpan:
    """Return the first and the last month of a period, counted from the year 0.

    Example:
        >>> parse_month_span(["1981", "2010-12"])
        (23772, 24131)
    """
    matches = [_MONTH.fullmatch(str(end)) for end in ends]
    if len(matches) == 2 and matches[0] and matches[1]:
        first = int(matches[0][1]) * MONTHS_PER_YEAR + int(matches[0][2] or 1) - 1
        last = int(matches[1][1]) * MONTHS_PER_YEAR + int(matches[1][2] or MONTHS_PER_YEAR) - 1
        if first <= last:
            return first, last
    raise DpdmError(
        f"[adjust] reference is {list(ends)}.",
        'Give its first and its last month, as ["1981-01", "2010-12"].',
    )


def format_month_span(span: MonthSpan) -> str:
    """Return the first and the last month of a period as text.

    Example:
        >>> format_month_span((23772, 24131))
        '1981-01 to 2010-12'
    """
    return " to ".join(
        f"{month // MONTHS_PER_YEAR:04d}-{month % MONTHS_PER_YEAR + 1:02d}" for month in span
    )
