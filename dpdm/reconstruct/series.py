"""A long coarse series out of many files, and what is odd about it.

A step that is missing, or that one of the variables lacks, is listed and never filled; a step that
comes twice is used once, if both say the same.

What a series lacks: months of a series of months, gaps of one in another rhythm.

The rhythm is the lower quartile of the distances between steps, which a series keeps that lacks
many of them.

Fields of many files as one lazy array, of which a step costs the same however many there are.

Arrays of dask that are concatenated keep a graph that grows with each file, and all of it is gone
through for every step. Here a step knows its file, and only the graph of that file is run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.plausibility import MissingCodes
from dpdm.fields.read import align_variables, join_files, open_each
from dpdm.fields.time import (
    days_between,
    is_stamped_as_month,
    period_of,
    period_of_length,
    time_bounds,
    time_labels,
    time_spacing,
)
from dpdm.fields.time_axis import select_with_bounds
from dpdm.prior import Prior
from dpdm.states.field_domain import select_prior_variables


def missing_steps(
    fields: xr.Dataset, known: Sequence[str], period: Sequence[str]
) -> tuple[str, ...]:
    """Return what lacks: spans of months, or how many steps after which.

    Args:
        fields: The steps of the series that have all variables.
        known: Labels of the steps that have any.
        period: First and last month (year, or day) that are wanted; those of ``known`` if empty.
    """
    time, full = fields["time"], time_labels(fields)
    if time.size < 2:
        return tuple(name[:10] for name in known if name not in full)
    usual = time_spacing(time)
    if period_of_length(usual) == "month":
        return missing_months([name[:7] for name in full], period or (known[0][:7], known[-1][:7]))
    gaps = {
        name: round(gap) - 1
        for name, gap in zip(full, days_between(time[:-1], time[1:]) / usual, strict=False)
    }
    gaps[full[-1]] = sum(name > full[-1] for name in known)
    before = sum(name < full[0] for name in known)
    found = [f"{before} before {full[0][:10]}"] if before else []
    return (*found, *(f"{gap} after {name[:10]}" for name, gap in gaps.items() if gap > 0))


def missing_months(there: Sequence[str], period: Sequence[str]) -> tuple[str, ...]:
    """Return the spans of months that a period lacks.

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
    for absent, run in groupby(list_months(*period), key=lambda month: month not in known):
        first, *rest = run
        spans += [f"{first} to {rest[-1]}" if rest else first] if absent else []
    return tuple(spans)


def list_months(first: str, last: str) -> list[str]:
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


class LazyConcat:
    """Arrays (time, lat, lon), end to end, as dask reads them: a slice of steps at a time.

    Args:
        parts: The arrays, lazy.
    """

    ndim = 3

    def __init__(self, parts: Sequence[xr.DataArray]) -> None:
        self.parts = parts
        self.ends = np.cumsum([len(part) for part in parts])
        self.shape = int(self.ends[-1]), *parts[0].shape[1:]
        self.dtype = np.result_type(*{part.dtype for part in parts})

    def __getitem__(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        """Read a step, or some."""
        steps, *rest = key
        if not isinstance(steps, slice):
            return self.row(int(steps))[tuple(rest)]
        rows = [self.row(at) for at in range(*steps.indices(self.shape[0]))]
        return np.stack(rows)[(slice(None), *rest)]

    def row(self, at: int) -> NDArray[Any]:
        """Read a step."""
        part = int(np.searchsorted(self.ends, at, "right"))
        inner = at - (int(self.ends[part - 1]) if part else 0)
        return self.parts[part][inner].values.astype(self.dtype, copy=False)


def concat_lazily(parts: Sequence[xr.DataArray]) -> da.Array:
    """Return arrays (time, lat, lon) end to end, lazy, in chunks of a step."""
    stack = LazyConcat(parts)
    chunks = (1, *stack.shape[1:])
    return da.from_array(
        stack, chunks, name=False, fancy=False, meta=np.empty((0, 0, 0), stack.dtype)
    )


MAX_OPEN_FILES = 512  # files at a time, short of what systems allow
MONTH, DAY, HOUR = 7, 10, 13  # characters of a label that tell them


@dataclass(frozen=True)
class CoarseSeries:
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
    codes: MissingCodes = {},
) -> CoarseSeries:
    """Open files as one series of those variables that the prior has."""
    xr.set_options(file_cache_maxsize=MAX_OPEN_FILES)  # type: ignore[no-untyped-call]
    opened = open_each(paths, None, rename, units, missing=codes)
    parts = [
        select_prior_variables(ds, prior, p, rename) for ds, p in zip(opened, paths, strict=True)
    ]
    check_common_calendar(parts, paths)
    names = [n for n in prior.normaliser.names if any(n in part for part in parts)]
    tracks, twice = zip(*(join_variable(name, parts, paths) for name in names), strict=True)
    whole = merge_shared_times(tracks).assign_attrs(tracks[0].attrs)
    whole.encoding = {"source": str(paths[0]) + (f" to {paths[-1]}" if len(paths) > 1 else "")}
    chosen, steps = select_plan_period(whole, period, opened[0])
    fields, again = whole.isel(time=chosen), {n[: len(steps[0])] for n in set().union(*twice)}
    known = sorted(
        {n for ds in tracks for n in time_labels(ds) if not period or label_in_period(n, period)}
    )
    absent = missing_steps(fields, known, period)
    return CoarseSeries(
        fields, whole, chosen.start, steps, absent, tuple(sorted(again)), tuple(paths)
    )


def check_common_calendar(parts: Sequence[xr.Dataset], paths: Sequence[Path]) -> None:
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


def join_variable(
    name: str, parts: Sequence[xr.Dataset], paths: Sequence[Path]
) -> tuple[xr.Dataset, set[str]]:
    """Return a variable along time, out of the files that have it, and what came twice."""
    having = [
        (select_with_bounds(part, [name]), path)
        for part, path in zip(parts, paths, strict=True)
        if name in part
    ]
    kept, repeated = order_files(*zip(*having, strict=True))
    fields = [ds[name] for ds, _ in kept]
    whole = kept[0][0] if len(kept) == 1 else join_files(*map(list, zip(*kept, strict=True)))
    return whole.assign({name: whole[name].copy(data=concat_lazily(fields))}), repeated


def merge_shared_times(tracks: Sequence[xr.Dataset]) -> xr.Dataset:
    """Return variables side by side, at the times that all of them have."""
    tracks = align_variables(list(tracks))
    shared = reduce(pd.Index.intersection, [ds.indexes["time"] for ds in tracks])
    if not len(shared):
        starts = (f"{name} from {time_labels(ds)[0]}" for ds in tracks for name in ds.data_vars)
        raise DpdmError(
            f"The variables have no time in common: {', '.join(starts)}.",
            "Give them the same time stamps, or leave one out of files.",
        )
    cut = [ds if len(ds["time"]) == len(shared) else ds.sel(time=shared) for ds in tracks]
    return xr.merge(cut, join="exact", compat="no_conflicts", combine_attrs="drop_conflicts")


def order_files(
    parts: Sequence[xr.Dataset], paths: Sequence[Path]
) -> tuple[list[tuple[xr.Dataset, Path]], set[str]]:
    """Return the files in order of time, each step in one of them, and what came twice."""
    named = [time_labels(part) for part in parts]
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
    a, b = (ds.isel(time=time_labels(ds).index(at)) for ds, _ in (one, other))
    for name in a.data_vars:
        if not np.array_equal(a[name].values, b[name].values, equal_nan=True):
            raise DpdmError(
                f"{one[1]} and {other[1]} both hold {name} of {at}, and differ.",
                "Leave one of them out of the plan.",
            )


def select_plan_period(
    fields: xr.Dataset, period: Sequence[str], first: xr.Dataset
) -> tuple[slice, tuple[str, ...]]:
    """Return which steps lie in a period, and their names.

    Args:
        fields: The series.
        period: Its first and last step, or nothing for all.
        first: The first file, with its bounds, which tell how long a lone step is.
    """
    full = time_labels(fields)
    where = [i for i, name in enumerate(full) if not period or label_in_period(name, period)]
    if not where:
        raise DpdmError(
            f"The input runs from {full[0]} to {full[-1]}; nothing of it lies in "
            f"{' to '.join(period)}.",
            "Change period or files under [input].",
        )
    chosen = slice(where[0], where[-1] + 1)
    least = DAY if len(full) == 1 and not is_monthly_step(first) else MONTH
    return chosen, shortest_labels(full, least)[chosen]


def is_monthly_step(fields: xr.Dataset) -> bool:
    """Return whether a single step is a month or longer: by its bounds, or by its stamp."""
    if (bounds := time_bounds(fields)) is not None:
        return period_of(fields["time"], bounds) in ("month", "season", "year")
    return is_stamped_as_month(fields["time"])


def label_in_period(label: str, period: Sequence[str]) -> bool:
    """Tell whether a step lies in a period, whose ends count in.

    Example:
        >>> inside("1862-07-16T12", ["1862-07", "1862-07"]), inside("1862", ["1863", "1864"])
        (True, False)
    """
    first, last = period
    return first <= label[: len(first)] and label[: len(last)] <= last


def shortest_labels(full: Sequence[str], least: int = MONTH) -> tuple[str, ...]:
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
