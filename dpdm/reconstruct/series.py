"""A long coarse series out of many files, and what is odd about it.

A step that is missing, or that one of the variables lacks, is listed and never filled; a step that
comes twice is used once, if both say the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.checks import Missing
from dpdm.fields.clock import pick
from dpdm.fields.join import joined, side_by_side
from dpdm.fields.store import open_each
from dpdm.fields.time import bounds_of, is_stamped_as_month, labels, period_of
from dpdm.fit import wanted
from dpdm.prior import Prior
from dpdm.reconstruct.gaps import missing
from dpdm.reconstruct.stack import stacked

OPEN = 512  # files at a time, short of what systems allow
MONTH, DAY, HOUR = 7, 10, 13  # characters of a label that tell them


@dataclass(frozen=True)
class Series:
    """A coarse series.

    Attributes:
        fields: Canonical fields of the period's steps, lazy.
        whole: The same of all steps that there are.
        offset: Where the period begins in them.
        labels: The steps' names, as short as tells them apart: ``1862-07``.
        missing: What should be there and is not: months and spans of them, or gaps.
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
    codes: Missing = {},
) -> Series:
    """Open files as one series of those variables that the prior has.

    Raises:
        DpdmError: When the files do not fit the prior or each other.
    """
    xr.set_options(file_cache_maxsize=OPEN)  # type: ignore[no-untyped-call]
    opened = open_each(paths, None, rename, units, missing=codes)
    parts = [wanted(ds, prior, p, rename) for ds, p in zip(opened, paths, strict=True)]
    check_time(parts, paths)
    names = [n for n in prior.normaliser.names if any(n in part for part in parts)]
    tracks, twice = zip(*(track(name, parts, paths) for name in names), strict=True)
    whole = beside(tracks).assign_attrs(tracks[0].attrs)
    whole.encoding = {"source": str(paths[0]) + (f" to {paths[-1]}" if len(paths) > 1 else "")}
    chosen, steps = within(whole, period, opened[0])
    fields, again = whole.isel(time=chosen), {n[: len(steps[0])] for n in set().union(*twice)}
    known = sorted({n for ds in tracks for n in labels(ds) if not period or inside(n, period)})
    absent = missing(fields, known, period)
    return Series(fields, whole, chosen.start, steps, absent, tuple(sorted(again)), tuple(paths))


def check_time(parts: Sequence[xr.Dataset], paths: Sequence[Path]) -> None:
    """Refuse files without time, or of several calendars."""
    for part, path in zip(parts, paths, strict=True):
        if "time" not in part.dims:
            raise DpdmError(f"{path} has no time axis.", "Set one, or use dpdm downscale.")
        one, other = (ds["time"].dt.calendar for ds in (parts[0], part))
        if one != other:
            raise DpdmError(
                f"The calendar of {paths[0]} is {one}, that of {path} is {other}.",
                "Give all files one calendar.",
            )


def track(
    name: str, parts: Sequence[xr.Dataset], paths: Sequence[Path]
) -> tuple[xr.Dataset, set[str]]:
    """Return a variable along time, out of the files that have it, and what came twice."""
    having = [
        (pick(part, [name]), path) for part, path in zip(parts, paths, strict=True) if name in part
    ]
    kept, repeated = once(*zip(*having, strict=True))
    fields = [ds[name] for ds, _ in kept]
    whole = kept[0][0] if len(kept) == 1 else joined(*map(list, zip(*kept, strict=True)))
    return whole.assign({name: whole[name].copy(data=stacked(fields))}), repeated


def beside(tracks: Sequence[xr.Dataset]) -> xr.Dataset:
    """Return variables side by side, at the times that all of them have.

    Raises:
        DpdmError: When there is none.
    """
    tracks = side_by_side(list(tracks))
    shared = reduce(pd.Index.intersection, [ds.indexes["time"] for ds in tracks])
    if not len(shared):
        starts = (f"{name} from {labels(ds)[0]}" for ds in tracks for name in ds.data_vars)
        raise DpdmError(
            f"The variables have no time in common: {', '.join(starts)}.",
            "Give them the same time stamps, or leave one out of files.",
        )
    cut = [ds if len(ds["time"]) == len(shared) else ds.sel(time=shared) for ds in tracks]
    return xr.merge(cut, join="exact", compat="no_conflicts", combine_attrs="drop_conflicts")


def once(
    parts: Sequence[xr.Dataset], paths: Sequence[Path]
) -> tuple[list[tuple[xr.Dataset, Path]], set[str]]:
    """Return the files in order of time, each step in one of them, and what came twice."""
    named = [labels(part) for part in parts]
    order = sorted(range(len(parts)), key=lambda i: (named[i][0], str(paths[i])))
    holder: dict[Any, int] = {}  # which file holds a time
    kept: list[tuple[xr.Dataset, Path]] = []
    repeated: set[str] = set()
    for i in order:
        names, times = named[i], parts[i]["time"].values.tolist()
        twice = [n for n, t in enumerate(times) if t in holder]
        for n in twice:
            held = holder[times[n]]
            _check_same(names[n], (parts[held], paths[held]), (parts[i], paths[i]))
        repeated |= {names[n] for n in twice}
        fresh = [n for n, t in enumerate(times) if t not in holder]
        holder |= {times[n]: i for n in fresh}
        if fresh:
            kept.append((parts[i].isel(time=fresh) if twice else parts[i], paths[i]))
    return kept, repeated


def _check_same(at: str, one: tuple[xr.Dataset, Path], other: tuple[xr.Dataset, Path]) -> None:
    """Refuse a step that two files hold with different values."""
    a, b = (ds.isel(time=labels(ds).index(at)) for ds, _ in (one, other))
    for name in a.data_vars:
        if not np.array_equal(a[name].values, b[name].values, equal_nan=True):
            raise DpdmError(
                f"{one[1]} and {other[1]} both hold {name} of {at}, and differ.",
                "Leave one of them out of the plan.",
            )


def within(
    fields: xr.Dataset, period: Sequence[str], first: xr.Dataset
) -> tuple[slice, tuple[str, ...]]:
    """Return which steps lie in a period, and their names.

    Args:
        fields: The series.
        period: Its first and last step, or nothing for all.
        first: The first file, with its bounds, which tell how long a lone step is.

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
    least = DAY if len(full) == 1 and not is_month(first) else MONTH
    return chosen, names_of(full, least)[chosen]


def is_month(fields: xr.Dataset) -> bool:
    """Return whether a single step is a month or longer: by its bounds, or by its stamp."""
    if (bounds := bounds_of(fields)) is not None:
        return period_of(fields["time"], bounds) in ("month", "season", "year")
    return is_stamped_as_month(fields["time"])


def inside(label: str, period: Sequence[str]) -> bool:
    """Tell whether a step lies in a period, whose ends count in.

    Example:
        >>> inside("1862-07-16T12", ["1862-07", "1862-07"]), inside("1862", ["1863", "1864"])
        (True, False)
    """
    first, last = period
    return first <= label[: len(first)] and label[: len(last)] <= last


def names_of(full: Sequence[str], least: int = MONTH) -> tuple[str, ...]:
    """Return labels as short as tells all of them apart, at least to the month.

    Example:
        >>> names_of(["1862-06-16T00", "1862-07-16T12"])
        ('1862-06', '1862-07')
        >>> names_of(["1862-06-16T00"], DAY)
        ('1862-06-16',)
    """
    for length in range(least, HOUR + 1, DAY - MONTH):
        short = tuple(name[:length] for name in full)
        if len(set(short)) == len(short):
            return short
    raise DpdmError(
        "Steps lie less than an hour apart.", "Give a series of hours, days or months."
    )
