"""Join files to one series: along time, and variables of different files side by side.

Steps of different files are matched by what they stand for: months are the same months wherever
they are stamped. Files may come in any order. A step that several files hold is used once if they
agree, with a warning; so is a gap between files. Nothing is filled.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError, DpdmWarning
from dpdm.fields.grid import grid_of
from dpdm.fields.time import copy_times, days_between, time_labels, time_spacing

Part: TypeAlias = tuple[xr.Dataset, Path]  # the fields of a file, and the file
GAP = 1.5  # time steps between the last step of a file and the first of the next


def join_files(
    parts: list[xr.Dataset], paths: Sequence[Path], common_times: bool = False
) -> xr.Dataset:
    """Join files along time; files of different variables lie side by side.

    They must have the same steps, or with ``common_times`` some steps in common.

    Warns:
        DpdmWarning: There is a gap between files, or a step is in several files.
    """
    if twice := [path for path in paths if list(paths).count(path) > 1]:
        raise DpdmError(f"{twice[0]} is given twice.", "Give each file once.")
    groups: dict[tuple[str, ...], list[Part]] = {}
    for ds, path in zip(parts, paths, strict=True):
        shared = share_grid(ds, parts[0], path, paths[0])
        groups.setdefault(tuple(sorted(map(str, ds.data_vars))), []).append((shared, path))
    series = align_variables([_join_in_time(group) for group in groups.values()])
    series = select_common_steps(series) if common_times else series
    try:
        out = xr.merge(series, join="exact", compat="no_conflicts", combine_attrs="drop_conflicts")
    except ValueError as fault:
        spans = "; ".join(_describe_span(ds) for ds in series)
        raise DpdmError(
            f"{', '.join(map(str, paths))} do not hold the same times: {spans}.",
            "Give files that cover the same period for every variable.",
        ) from fault
    out.encoding = {"source": ", ".join(map(str, paths))}
    out.attrs = _common_attributes(parts)
    return out


def _common_attributes(parts: Sequence[xr.Dataset]) -> dict[str, Any]:
    """Return the attributes that all files share, and the history of the first."""
    first, *rest = (ds.attrs for ds in parts)
    return {
        key: value
        for key, value in first.items()
        if key == "history" or all(key in ds and np.array_equal(value, ds[key]) for ds in rest)
    }


def share_grid(ds: xr.Dataset, first: xr.Dataset, path: Path, other: Path) -> xr.Dataset:
    """Return fields on the axes of the first file; refuse other cells."""
    if not grid_of(ds).is_same(grid_of(first)):
        raise DpdmError(f"{path} and {other} lie on different grids.", "Interpolate one first.")
    return ds.assign_coords({axis: first[axis].variable for axis in ("lat", "lon")})


def _describe_span(ds: xr.Dataset) -> str:
    """Return the variables of a series with its first and last step."""
    names = " and ".join(map(str, ds.data_vars))
    if "time" not in ds.dims:
        return f"{names} without time"
    labels = time_labels(ds)
    return f"{names} {labels[0][:10]} to {labels[-1][:10]}, {len(labels)} steps"


def select_common_steps(series: list[xr.Dataset]) -> list[xr.Dataset]:
    """Return the steps that all datasets have; all steps where there are none or no times."""
    if not all("time" in ds.dims for ds in series):
        return series
    common = reduce(lambda a, b: a[a.isin(b)], (ds.indexes["time"] for ds in series))
    return (
        [ds.isel(time=ds.indexes["time"].isin(common)) for ds in series] if len(common) else series
    )


def align_variables(series: list[xr.Dataset]) -> list[xr.Dataset]:
    """Give datasets of different variables the time stamps and bounds of the first one."""
    first, *rest = series
    if "time_bnds" in first.coords:
        rest = [copy_times(ds, first).drop_vars("time_bnds", errors="ignore") for ds in rest]
    else:
        rest = [copy_times(ds, first) for ds in rest]
    return [first, *rest]


def _join_in_time(group: list[Part]) -> xr.Dataset:
    """Return files of the same variables as one series, and say what is missing or repeated."""
    if len(group) == 1:
        return group[0][0]
    _check_times(group)
    ordered, repeated = order_files(*zip(*group, strict=True))
    if repeated:
        steps = ", ".join(sorted(repeated)[:3]) + (", ..." if len(repeated) > 3 else "")
        _warn(f"Steps that are in several files are used once: {steps}.")
    out = concatenate_in_time(ordered)
    usual = time_spacing(out["time"])
    for (left, first), (right, second) in pairwise(ordered):
        last, start = left["time"].values[-1:], right["time"].values[:1]
        if days_between(last, start)[0] > GAP * usual:
            _warn(
                f"There is a gap after {time_labels(left)[-1][:10]}: {first} ends there, and "
                f"{second} starts at {time_labels(right)[0][:10]}."
            )
    return out


def _warn(sentence: str) -> None:
    warnings.warn(sentence, DpdmWarning, stacklevel=2)


def _check_times(group: Sequence[Part]) -> None:
    """Refuse files of the same variables without time, or with several calendars."""
    first, path = group[0]
    for ds, other in group[1:]:
        if "time" not in first.dims or "time" not in ds.dims:
            raise DpdmError(
                f"{path} and {other} hold the same variables without time.",
                "Give one of them, or set their times.",
            )
        one, two = first["time"].dt.calendar, ds["time"].dt.calendar
        if one != two or first["time"].dtype != ds["time"].dtype:
            raise DpdmError(
                f"The files differ in their calendars: {path} has {one}, {other} has {two}.",
                "Give all files one calendar.",
            )


def order_files(parts: Sequence[xr.Dataset], paths: Sequence[Path]) -> tuple[list[Part], set[str]]:
    """Return the files in order of time, each step in one of them, and the repeated steps."""
    named = [time_labels(part) for part in parts]
    order = sorted(range(len(parts)), key=lambda i: (named[i][0], str(paths[i])))
    holder: dict[Any, int] = {}  # the file of each time
    unique: list[Part] = []
    repeated: set[str] = set()
    for i in order:
        names, times = named[i], parts[i]["time"].values.tolist()
        again = [n for n, t in enumerate(times) if t in holder]
        for n in again:
            held = holder[times[n]]
            _check_same(names[n], (parts[held], paths[held]), (parts[i], paths[i]))
        repeated |= {names[n] for n in again}
        new = [n for n, t in enumerate(times) if t not in holder]
        holder |= {times[n]: i for n in new}
        if new:
            unique.append((parts[i].isel(time=new) if again else parts[i], paths[i]))
    return unique, repeated


def _check_same(at: str, one: Part, other: Part) -> None:
    """Refuse a step with different values in two files."""
    a, b = (ds.isel(time=time_labels(ds).index(at)) for ds, _ in (one, other))
    for name in a.data_vars:
        if not np.array_equal(a[name].values, b[name].values, equal_nan=True):
            raise DpdmError(
                f"{one[1]} and {other[1]} both hold {name} of {at}, and differ.",
                "Leave one of them out.",
            )


def concatenate_in_time(ordered: Sequence[Part]) -> xr.Dataset:
    """Return files of the same variables, in order of time, as one series."""
    parts = [ds for ds, _ in ordered]
    if len(parts) == 1:
        return parts[0]
    if not all("time_bnds" in ds.coords for ds in parts):
        parts = [ds.drop_vars("time_bnds", errors="ignore") for ds in parts]
    for (left, first), (right, second) in pairwise(ordered):
        if not left["time"].values[-1] < right["time"].values[0]:
            raise DpdmError(
                f"{second} starts at {right['time'].values[0]}, not after {first} ends at "
                f"{left['time'].values[-1]}.",
                "Give files of periods that do not interlock.",
            )
    out: xr.Dataset = xr.concat(
        parts,
        "time",
        join="exact",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        combine_attrs="override",
    )
    return out
