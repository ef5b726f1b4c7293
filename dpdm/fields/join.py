"""Join files: those of the same variables along time, those of other variables side by side.

Within a file, `versions_merged` joins the final and the preliminary part of a reanalysis.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.time import with_times_of


def joined(parts: list[xr.Dataset], paths: Sequence[Path]) -> xr.Dataset:
    """Join files along time; files of different variables lie side by side."""
    groups: dict[tuple[str, ...], list[tuple[xr.Dataset, Path]]] = {}
    for ds, path in zip(parts, paths, strict=True):
        _check_grid(ds, parts[0], path, paths[0])
        groups.setdefault(tuple(sorted(map(str, ds.data_vars))), []).append((ds, path))
    rows = side_by_side([_in_time(group) for group in groups.values()])
    try:
        out = xr.merge(rows, join="exact", compat="no_conflicts", combine_attrs="drop_conflicts")
    except ValueError as fault:
        raise DpdmError(
            f"{', '.join(map(str, paths))} do not hold the same times.",
            "Give files that cover the same period for every variable.",
        ) from fault
    out.encoding = {"source": ", ".join(map(str, paths))}
    return out.assign_attrs(parts[0].attrs)


def side_by_side(rows: list[xr.Dataset]) -> list[xr.Dataset]:
    """Return datasets of different variables under the stamps and bounds of the first one."""
    first, *rest = rows
    if "time_bnds" in first.coords:
        rest = [with_times_of(ds, first).drop_vars("time_bnds", errors="ignore") for ds in rest]
    else:
        rest = [with_times_of(ds, first) for ds in rest]
    return [first, *rest]


def _check_grid(ds: xr.Dataset, first: xr.Dataset, path: Path, other: Path) -> None:
    if not all(np.array_equal(ds[axis], first[axis]) for axis in ("lat", "lon")):
        raise DpdmError(f"{path} and {other} lie on different grids.", "Interpolate one first.")


def _in_time(group: list[tuple[xr.Dataset, Path]]) -> xr.Dataset:
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
        if not _before(left, right):
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


def _before(left: xr.Dataset, right: xr.Dataset) -> bool:
    try:
        return bool(left["time"].values[-1] < right["time"].values[0])
    except TypeError as fault:
        raise DpdmError(
            "The files differ in their calendars.", "Give all files one calendar."
        ) from fault


def versions_merged(ds: xr.Dataset) -> xr.Dataset:
    """Fill what is missing in the final version of a reanalysis from the preliminary one.

    The Climate Data Store gives the latest months of ERA5 with a dimension `expver`: 1 is ERA5,
    5 is ERA5T, and each step is in one of the two.
    """
    if "expver" not in ds.dims:
        return ds
    order = np.argsort(ds["expver"].values.astype(int)) if "expver" in ds.coords else [0, 1]
    first, *others = (ds.isel(expver=at, drop=True) for at in order)
    arrays = {name: array for name, array in first.data_vars.items() if "expver" in ds[name].dims}
    for other in others:
        arrays = {name: array.fillna(other[name]) for name, array in arrays.items()}
    for name, array in arrays.items():
        array.encoding = dict(ds[name].encoding)
    return first.assign(arrays)
