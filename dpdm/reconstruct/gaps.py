"""What a series lacks: months of a series of months, gaps of one in another rhythm.

The rhythm is the lower quartile of the distances between steps, which a series keeps that lacks
many of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise

import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.time import days_between, labels, period_of_length, spacing_of


def missing(fields: xr.Dataset, known: Sequence[str], period: Sequence[str]) -> tuple[str, ...]:
    """Return what lacks: spans of months, or how many steps after which.

    Args:
        fields: The steps of the series that have all variables.
        known: Labels of the steps that have any.
        period: First and last month (year, or day) that are wanted; those of ``known`` if empty.

    Raises:
        DpdmError: When a month comes twice in a series of months.
    """
    time, full = fields["time"], labels(fields)
    if time.size < 2:
        return tuple(name[:10] for name in known if name not in full)
    usual = spacing_of(time)
    if period_of_length(usual) == "month":
        return lacking([name[:7] for name in full], period or (known[0][:7], known[-1][:7]))
    gaps = {
        name: round(gap) - 1
        for name, gap in zip(full, days_between(time[:-1], time[1:]) / usual, strict=False)
    }
    gaps[full[-1]] = sum(name > full[-1] for name in known)
    before = sum(name < full[0] for name in known)
    found = [f"{before} before {full[0][:10]}"] if before else []
    return (*found, *(f"{gap} after {name[:10]}" for name, gap in gaps.items() if gap > 0))


def lacking(there: Sequence[str], period: Sequence[str]) -> tuple[str, ...]:
    """Return the spans of months that a period lacks.

    Raises:
        DpdmError: When a month comes twice.

    Example:
        >>> lacking(["1862-05", "1862-06", "1862-08"], ["1862-01", "1862"])
        ('1862-01 to 1862-04', '1862-07', '1862-09 to 1862-12')
    """
    for one, other in pairwise(there):
        if one == other:
            raise DpdmError(
                f"Two steps of this series of months lie in {one}.",
                "Leave one of them out, or give all files the same time stamps.",
            )
    known, spans = set(there), list[str]()
    for absent, run in groupby(months(*period), key=lambda month: month not in known):
        first, *rest = run
        spans += [f"{first} to {rest[-1]}" if rest else first] if absent else []
    return tuple(spans)


def months(first: str, last: str) -> list[str]:
    """Return all months from one to another; a year is all of its months.

    Example:
        >>> months("1862-11", "1863-02")
        ['1862-11', '1862-12', '1863-01', '1863-02']
        >>> months("1862", "1862") == months("1862-01", "1862-12")
        True
    """
    ends = f"{first}-01"[:7], f"{last}-12"[:7]
    start, end = (int(n[:4]) * 12 + int(n[5:]) - 1 for n in ends)
    return [f"{at // 12:04d}-{at % 12 + 1:02d}" for at in range(start, end + 1)]
