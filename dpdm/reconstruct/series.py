"""A coarse series from many files, with its missing and repeated steps.

A step that is missing, or in which a variable is missing, is listed and never filled; a repeated
step is used once, if both have the same values. Missing steps are months of a monthly series, or
larger gaps than the usual time step, the lower quartile of all distances between steps.

Concatenated dask arrays have a graph that grows with each file, and all of it is visited for every
step. Here a step is read from the array of its file, so its cost does not grow with the series.
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
from dpdm.fields.join import align_variables, concatenate_in_time, order_files, share_grid
from dpdm.fields.plausibility import MissingCodes
from dpdm.fields.read import open_each
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
from dpdm.states.physical_variables import physical_names, take_physical, warn_of_omission
from dpdm.states.requirements import select_prior_variables


def missing_steps(
    fields: xr.Dataset, known: Sequence[str], period: Sequence[str]
) -> tuple[str, ...]:
    """Return the missing steps: spans of months, or numbers of steps after a step.

    ``known`` are the labels of steps with any variable, and the period if none is given.
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
    first = [f"{before} before {full[0][:10]}"] if before else []
    return (*first, *(f"{gap} after {name[:10]}" for name, gap in gaps.items() if gap > 0))


def missing_months(months: Sequence[str], period: Sequence[str]) -> tuple[str, ...]:
    """Return the spans of months that are missing in a period.

    Example:
        >>> missing_months(["1862-05", "1862-06", "1862-08"], ["1862-01", "1862"])
        ('1862-01 to 1862-04', '1862-07', '1862-09 to 1862-12')
    """
    for one, other in pairwise(months):
        if one == other:
            raise DpdmError(
                f"Two steps of this monthly series are in {one}.",
                "Leave one of them out, or give all files the same time stamps.",
            )
    known, spans = set(months), list[str]()
    for absent, run in groupby(list_months(*period), key=lambda month: month not in known):
        first, *rest = run
        spans += [f"{first} to {rest[-1]}" if rest else first] if absent else []
    return tuple(spans)


def list_months(first: str, last: str) -> list[str]:
    """Return all months from one to another; a year stands for all its months.

    Example:
        >>> list_months("1862-11", "1863-02")
        ['1862-11', '1862-12', '1863-01', '1863-02']
        >>> list_months("1862", "1862") == list_months("1862-01", "1862-12")
        True
    """
    ends = f"{first}-01"[:7], f"{last}-12"[:7]
    start, end = (int(n[:4]) * 12 + int(n[5:]) - 1 for n in ends)
    return [f"{at // 12:04d}-{at % 12 + 1:02d}" for at in range(start, end + 1)]


class LazyConcat:
    """Lazy arrays (time, lat, lon), concatenated for dask, which reads slices of steps."""

    ndim = 3

    def __init__(self, parts: Sequence[xr.DataArray]) -> None:
        self.parts = parts
        self.ends = np.cumsum([len(part) for part in parts])
        self.shape = int(self.ends[-1]), *parts[0].shape[1:]
        self.dtype = np.result_type(*{part.dtype for part in parts})

    def __getitem__(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        """Read one or several steps."""
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
    """Return concatenated arrays (time, lat, lon), lazy, in chunks of a step."""
    stack = LazyConcat(parts)
    chunks = (1, *stack.shape[1:])
    return da.from_array(
        stack, chunks, name=False, fancy=False, meta=np.empty((0, 0, 0), stack.dtype)
    )


MAX_OPEN_FILES = 512  # below the limit of systems
MONTH, DAY, HOUR = 7, 10, 13  # characters of a label down to them


@dataclass(frozen=True)
class CoarseSeries:
    """A coarse series.

    Attributes:
        fields: Canonical fields of the period's steps, lazy.
        complete: The same of all steps of the files.
        offset: Position in ``complete`` of the first step of the period.
        labels: Labels of the steps, as short as distinguishes them: ``1862-07``.
        missing: Missing months and spans of months, or gaps.
        repeated: Steps in several files.
        paths: The files.
    """

    fields: xr.Dataset
    complete: xr.Dataset
    offset: int
    labels: tuple[str, ...]
    missing: tuple[str, ...]
    repeated: tuple[str, ...]
    paths: tuple[Path, ...]

    @cached_property
    def positions(self) -> dict[str, int]:
        """Return the position of each step."""
        return {label: at for at, label in enumerate(self.labels)}

    def select(self, labels: Sequence[str]) -> xr.Dataset:
        """Return the lazy fields of some steps, in order of time."""
        return self.fields.isel(time=sorted(self.step(label) for label in labels))

    def step(self, label: str) -> int:
        """Return the position of a step."""
        return self.positions[label]


def open_series(
    paths: Sequence[Path],
    prior: Prior,
    rename: Mapping[str, str] = {},
    units: Mapping[str, str] = {},
    period: Sequence[str] = (),
    codes: MissingCodes = {},
    physics: bool = True,
) -> CoarseSeries:
    """Open files as one series of the variables of the prior, and with physics of its others."""
    xr.set_options(file_cache_maxsize=MAX_OPEN_FILES)  # type: ignore[no-untyped-call]
    opened = open_each(paths, None, rename, units, missing=codes)
    others = physical_names(prior) if physics else ()
    for ds in opened[: 0 if physics else None]:
        warn_of_omission(ds, prior)
    parts = [
        select_prior_variables(take_physical(ds, prior), prior, p, rename, others)
        for ds, p in zip(opened, paths, strict=True)
    ]
    check_common_calendar(parts, paths)
    names = [n for n in (*prior.normaliser.names, *others) if any(n in part for part in parts)]
    tracks, repeated = zip(*(join_variable(name, parts, paths) for name in names), strict=True)
    complete = merge_shared_times(tracks).assign_attrs(tracks[0].attrs)
    complete.encoding = {"source": str(paths[0]) + (f" to {paths[-1]}" if len(paths) > 1 else "")}
    chosen, steps = select_plan_period(complete, period, opened[0])
    fields, labels = (
        complete.isel(time=chosen),
        {n[: len(steps[0])] for n in set().union(*repeated)},
    )
    known = sorted(
        {n for ds in tracks for n in time_labels(ds) if not period or label_in_period(n, period)}
    )
    missing = missing_steps(fields, known, period)
    return CoarseSeries(
        fields, complete, chosen.start, steps, missing, tuple(sorted(labels)), tuple(paths)
    )


def check_common_calendar(parts: Sequence[xr.Dataset], paths: Sequence[Path]) -> None:
    """Refuse files without time, or with several calendars."""
    for part, path in zip(parts, paths, strict=True):
        if "time" not in part.dims:
            raise DpdmError(f"{path} has no time axis.", "Set one, or use dpdm downscale.")
        one, other = (ds["time"].dt.calendar for ds in (parts[0], part))
        if one != other:
            raise DpdmError(
                f"The calendar of {paths[0]} is {one}, that of {path} is {other}.",
                "Convert all files to one calendar.",
            )


def join_variable(
    name: str, parts: Sequence[xr.Dataset], paths: Sequence[Path]
) -> tuple[xr.Dataset, set[str]]:
    """Return a variable along time, from the files that hold it, and the repeated steps."""
    files = [
        (select_with_bounds(part, [name]), path)
        for part, path in zip(parts, paths, strict=True)
        if name in part
    ]
    first, path = files[0]
    files = [(share_grid(ds, first, other, path), other) for ds, other in files]
    ordered, repeated = order_files(*zip(*files, strict=True))
    fields = [ds[name] for ds, _ in ordered]
    series = concatenate_in_time(ordered)
    return series.assign({name: series[name].copy(data=concat_lazily(fields))}), repeated


def merge_shared_times(tracks: Sequence[xr.Dataset]) -> xr.Dataset:
    """Return variables merged at their common times."""
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


def select_plan_period(
    fields: xr.Dataset, period: Sequence[str], first: xr.Dataset
) -> tuple[slice, tuple[str, ...]]:
    """Return the slice of the steps in a period, and their labels; the first file has bounds."""
    full = time_labels(fields)
    inside = [i for i, name in enumerate(full) if not period or label_in_period(name, period)]
    if not inside:
        raise DpdmError(
            f"The input is from {full[0]} to {full[-1]}, which is outside {' to '.join(period)}.",
            "Change period or files under [input].",
        )
    chosen = slice(inside[0], inside[-1] + 1)
    length = DAY if len(full) == 1 and not is_monthly_step(first) else MONTH
    return chosen, shortest_labels(full, length)[chosen]


def is_monthly_step(fields: xr.Dataset) -> bool:
    """Return whether a single step is a month or longer, by its bounds or its time stamp."""
    if (bounds := time_bounds(fields)) is not None:
        return period_of(fields["time"], bounds) in ("month", "season", "year")
    return is_stamped_as_month(fields["time"])


def label_in_period(label: str, period: Sequence[str]) -> bool:
    """Return whether a step is in a period, its ends included.

    Example:
        >>> label_in_period("1862-07-16T12", ["1862-07", "1862-07"])
        True
        >>> label_in_period("1862", ["1863", "1864"])
        False
    """
    first, last = period
    return first <= label[: len(first)] and label[: len(last)] <= last


def shortest_labels(full: Sequence[str], shortest: int = MONTH) -> tuple[str, ...]:
    """Return labels as short as distinguishes all of them, at least down to the month.

    Example:
        >>> shortest_labels(["1862-06-16T00", "1862-07-16T12"])
        ('1862-06', '1862-07')
        >>> shortest_labels(["1862-06-16T00"], DAY)
        ('1862-06-16',)
    """
    for length in range(shortest, HOUR + 1, DAY - MONTH):
        short = tuple(name[:length] for name in full)
        if len(set(short)) == len(short):
            return short
    raise DpdmError(
        "Steps are less than an hour apart.", "Give a series of hours, days or months."
    )
