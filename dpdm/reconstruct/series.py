"""A long coarse series out of many files, and what is odd about it.

A step that is missing is listed and never filled; a step that comes twice is used once, if both
say the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.join import joined
from dpdm.fields.store import open_each
from dpdm.fit import wanted
from dpdm.prior import Prior
from dpdm.task import labels

OPEN = 512  # files at a time, short of what systems allow
MONTH = (27, 32)  # days between steps that make a series monthly


@dataclass(frozen=True)
class Series:
    """A coarse series.

    Attributes:
        fields: Canonical fields of the period's steps, lazy.
        whole: The same of all steps that there are.
        offset: Where the period begins in them.
        labels: The steps' names, as short as tells them apart: ``1862-07``.
        missing: What should be there and is not.
        repeated: Steps that several files hold.
        paths: The files.
    """

    fields: xr.Dataset
    whole: xr.Dataset
    offset: int
    labels: tuple[str, ...]
    missing: tuple[str, ...]
    repeated: tuple[str, ...]
    paths: tuple[Path, ...]

    @cached_property
    def places(self) -> dict[str, int]:
        """Give where each step stands."""
        return {label: at for at, label in enumerate(self.labels)}

    def step(self, label: str) -> int:
        """Return where a step stands."""
        return self.places[label]


def open_series(
    paths: Sequence[Path],
    prior: Prior,
    rename: Mapping[str, str] = {},
    units: Mapping[str, str] = {},
    period: Sequence[str] = (),
) -> Series:
    """Open files as one series of those variables that the prior has.

    Raises:
        DpdmError: When the files do not fit the prior or each other.
    """
    xr.set_options(file_cache_maxsize=OPEN)  # type: ignore[no-untyped-call]
    opened = open_each(paths, None, rename, units)
    parts = [wanted(ds, prior, p, rename) for ds, p in zip(opened, paths, strict=True)]
    for part, path in zip(parts, paths, strict=True):
        if "time" not in part.dims:
            raise DpdmError(f"{path} has no time axis.", "Set one, or use dpdm downscale.")
    kept, repeated = once(parts, paths)
    whole = joined([ds for ds, _ in kept], [p for _, p in kept]) if len(kept) > 1 else kept[0][0]
    chosen, names = within(whole, period)
    fields = whole.isel(time=chosen)
    absent = missing(fields, names, period)
    return Series(fields, whole, chosen.start, names, tuple(absent), tuple(repeated), tuple(paths))


def once(
    parts: Sequence[xr.Dataset], paths: Sequence[Path]
) -> tuple[list[tuple[xr.Dataset, Path]], list[str]]:
    """Return the files in order of time, each step in one of them, and what came twice."""
    order = sorted(range(len(parts)), key=lambda i: _start(parts[i], paths[i]))
    seen: dict[tuple[str, ...], dict[Any, int]] = {}  # by variables: which file holds a time
    kept: list[tuple[xr.Dataset, Path]] = []
    repeated: list[str] = []
    for i in order:
        holder = seen.setdefault(tuple(sorted(map(str, parts[i].data_vars))), {})
        times = parts[i]["time"].values.tolist()
        twice = [n for n, t in enumerate(times) if t in holder]
        for n in twice:
            _check_same(parts, paths, holder[times[n]], i, parts[i]["time"].values[n])
        repeated += [labels(parts[i])[n] for n in twice]
        fresh = [n for n, t in enumerate(times) if t not in holder]
        holder |= {times[n]: i for n in fresh}
        if fresh:
            kept.append((parts[i].isel(time=fresh) if twice else parts[i], paths[i]))
    return kept, sorted(set(repeated))


def _start(ds: xr.Dataset, path: Path) -> tuple[str, str]:
    return labels(ds.isel(time=[0]))[0], str(path)


def _check_same(
    parts: Sequence[xr.Dataset], paths: Sequence[Path], one: int, other: int, time: Any
) -> None:
    """Refuse a step that two files hold with different values."""
    a, b = (parts[i].drop_vars("time_bnds", errors="ignore").sel(time=time) for i in (one, other))
    for name in a.data_vars:
        if not np.array_equal(a[name].values, b[name].values, equal_nan=True):
            raise DpdmError(
                f"{paths[one]} and {paths[other]} both hold {name} at {time}, and differ.",
                "Leave one of them out of the plan.",
            )


def within(fields: xr.Dataset, period: Sequence[str]) -> tuple[slice, tuple[str, ...]]:
    """Return which steps lie in a period, and their names.

    Raises:
        DpdmError: When there is none.
    """
    full = labels(fields)
    where = [i for i, name in enumerate(full) if not period or inside(name, period)]
    if not where:
        raise DpdmError(
            f"The input runs from {full[0]} to {full[-1]}; nothing of it lies in "
            f"{' to '.join(period)}.",
            "Change period or files under [input].",
        )
    chosen = slice(where[0], where[-1] + 1)
    return chosen, names_of(full[chosen])


def inside(label: str, period: Sequence[str]) -> bool:
    """Tell whether a step lies in a period, whose ends count in.

    Example:
        >>> inside("1862-07-16T12", ["1862-07", "1862-07"]), inside("1862", ["1863", "1864"])
        (True, False)
    """
    first, last = period
    return first <= label[: len(first)] and label[: len(last)] <= last


def names_of(full: Sequence[str]) -> tuple[str, ...]:
    """Return labels as short as tells all of them apart, at least to the month.

    Example:
        >>> names_of(["1862-06-16T00", "1862-07-16T12"])
        ('1862-06', '1862-07')
    """
    for length in (7, 10, 13):
        short = tuple(name[:length] for name in full)
        if len(set(short)) == len(short):
            return short
    raise DpdmError(
        "Steps lie less than an hour apart.", "Give a series of hours, days or months."
    )


def missing(fields: xr.Dataset, names: Sequence[str], period: Sequence[str]) -> list[str]:
    """Return the months that are not there, or, in another rhythm, the gaps."""
    time = fields["time"].values
    if len(time) < 2:
        return []
    days = pd.TimedeltaIndex(np.diff(time)) / pd.Timedelta(days=1)
    usual = float(np.median(days))
    if MONTH[0] <= usual <= MONTH[1]:
        first = period[0] if period and len(period[0]) >= 7 else names[0]
        return [name for name in months(first, names[-1]) if name not in {n[:7] for n in names}]
    steps = zip(names, days.to_numpy(float) / usual, strict=False)
    return [f"{round(gap) - 1} after {name}" for name, gap in steps if gap > 1.5]


def months(first: str, last: str) -> list[str]:
    """Return all months from one to another.

    Example:
        >>> months("1862-11", "1863-02")
        ['1862-11', '1862-12', '1863-01', '1863-02']
    """
    start, end = (int(n[:4]) * 12 + int(n[5:7]) - 1 for n in (first, last))
    return [f"{at // 12:04d}-{at % 12 + 1:02d}" for at in range(start, end + 1)]
