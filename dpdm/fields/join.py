"""Join files to one series: along time, and variables of different files side by side.

Steps of different files are matched by what they stand for: months are the same months wherever
they are stamped.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from pathlib import Path

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.time import copy_times


def join_files(
    parts: list[xr.Dataset], paths: Sequence[Path], common_times: bool = False
) -> xr.Dataset:
    """Join files along time; files of different variables lie side by side.

    They must have the same steps, or with ``common_times`` some steps in common.
    """
    groups: dict[tuple[str, ...], list[tuple[xr.Dataset, Path]]] = {}
    for ds, path in zip(parts, paths, strict=True):
        _check_grid(ds, parts[0], path, paths[0])
        groups.setdefault(tuple(sorted(map(str, ds.data_vars))), []).append((ds, path))
    series = align_variables([_concatenate_in_time(group) for group in groups.values()])
    series = select_common_steps(series) if common_times else series
    try:
        out = xr.merge(series, join="exact", compat="no_conflicts", combine_attrs="drop_conflicts")
    except ValueError as fault:
        raise DpdmError(
            f"{', '.join(map(str, paths))} do not hold the same times.",
            "Give files that cover the same period for every variable.",
        ) from fault
    out.encoding = {"source": ", ".join(map(str, paths))}
    return out.assign_attrs(parts[0].attrs)


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


def _check_grid(ds: xr.Dataset, first: xr.Dataset, path: Path, other: Path) -> None:
    if not all(np.array_equal(ds[axis], first[axis]) for axis in ("lat", "lon")):
        raise DpdmError(f"{path} and {other} lie on different grids.", "Interpolate one first.")


def _concatenate_in_time(group: list[tuple[xr.Dataset, Path]]) -> xr.Dataset:
    parts = [ds for ds, _ in group]
    if len(parts) == 1:
        return parts[0]
    if not all("time_bnds" in ds.coords for ds in parts):
        parts = [ds.drop_vars("time_bnds", errors="ignore") for ds in parts]
    for (left, first), (right, second) in pairwise(group):
        if "time" not in left.dims or "time" not in right.dims:
            raise DpdmError(
                f"{first} and {second} hold the same variables without time.",
                "Give one of them, or set their times.",
            )
        if not _precedes(left, right):
            raise DpdmError(
                f"{second} starts at {right['time'].values[0]}, not after {first} ends at "
                f"{left['time'].values[-1]}.",
                "Give files in order of time and without overlap.",
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


def _precedes(left: xr.Dataset, right: xr.Dataset) -> bool:
    try:
        return bool(left["time"].values[-1] < right["time"].values[0])
    except TypeError as fault:
        raise DpdmError(
            "The files differ in their calendars.", "Give all files one calendar."
        ) from fault
