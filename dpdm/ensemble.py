"""An ensemble of fine fields, labelled and laid out as the file that it will be."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import dask.array
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.units import from_canonical
from dpdm.memory import check_room
from dpdm.task import Task, Wish

BYTES = 20  # of a member's value for statistics: single precision twice, deviations in double
WORK = 64  # of a value of the member that is drawn
Report = Callable[[int, int], None]
STATISTICS = {
    "mean": ("mean", "mean over the ensemble of"),
    "spread": ("standard_deviation", "standard deviation over the ensemble of"),
    "p50": ("median", "median over the ensemble of"),  # CF knows no other percentile
}


def hiding(
    task: Task, fields: Iterable[NDArray[np.float64]], lost: NDArray[np.bool_]
) -> Iterator[NDArray[np.float64]]:
    """Yield the part of fields (C, H, W) that is written, missing where nothing is known.

    Args:
        task: Which part, and what its mask leaves out.
        fields: Fields, as they come.
        lost: Cells of which nothing is known (C, H, W).
    """
    part = (..., *task.cut)
    gone = lost[part] if task.outside is None else lost[part] | task.outside
    for field in fields:
        check_drawn(task, field, lost)
        yield np.where(gone, np.nan, field[part])


def check_drawn(task: Task, field: NDArray[np.float64], lost: NDArray[np.bool_]) -> None:
    """Refuse a field (C, H, W) without a finite value of a variable of which something is known.

    Raises:
        DpdmError: The prior draws such a field.
    """
    for name, values, gone in zip(task.prior.normaliser.names, field, lost, strict=True):
        if not gone.all() and not np.isfinite(values[~gone]).any():
            raise DpdmError(
                f"The prior draws no finite value of {name}.",
                "Its training may have diverged: use another --prior, or train it again.",
            )


def blocks(task: Task, step: int, members: Iterable[NDArray[Any]]) -> Iterator[xr.Dataset]:
    """Yield what one step writes: a block for every member, the statistics after the last.

    Args:
        task: What is kept, and where it lies.
        step: The time step.
        members: Physical members (C, H, W), in order.
    """
    kept = []
    for number, drawn in enumerate(members):
        member = drawn.astype(np.float32)
        if task.wish.keep != "members":
            kept.append(member)
        yield labelled(task, member, step, number) if task.wish.keep != "stats" else xr.Dataset()
    if kept:
        found = statistics(np.stack(kept), task.wish.quantiles).items()
        yield xr.merge([labelled(task, values, step, statistic=name) for name, values in found])


def labelled(
    task: Task, fields: NDArray[Any], step: int, member: int | None = None, statistic: str = ""
) -> xr.Dataset:
    """Return physical fields (C, H, W), labelled, in the units of the input."""
    coords: dict[str, Any] = dict(task.shown.coords())
    dims = ["lat", "lon"]
    if "time" in task.coarse.dims:
        coords["time"], dims = ("time", task.coarse["time"].values[[step]]), ["time", *dims]
    if member is not None:
        coords["realization"], dims = ("realization", [member]), ["realization", *dims]
    out = {}
    for name, values in zip(task.prior.normaliser.names, fields, strict=True):
        if name in task.coarse:
            whole = values.astype(np.float32)[(None,) * (len(dims) - 2)]
            array = xr.DataArray(whole, coords, dims, name, task.coarse[name].attrs)
            back = from_canonical(array, task.bounds(step), difference=statistic == "spread")
            out[f"{name}_{statistic}" if statistic else name] = described(back, statistic)
    return xr.Dataset(out)


def described(array: xr.DataArray, statistic: str) -> xr.DataArray:
    """Return a statistic of the ensemble that says so."""
    if not statistic:
        return array
    words = f"{statistic.removeprefix('p')}th percentile over the ensemble of"
    method, words = STATISTICS.get(statistic, ("", words))
    attrs = {"long_name": f"{words} {array.attrs.get('long_name', array.name)}"}
    if method:
        before = str(array.attrs.get("cell_methods", ""))
        attrs["cell_methods"] = f"{before} realization: {method}".strip()
    else:
        attrs["comment"] = "Percentile over realization, linear between members."
    return array.assign_attrs(attrs)


def check_members(task: Task) -> None:
    """Refuse an ensemble whose members of one step do not fit into memory.

    Raises:
        DpdmError: When they do not.
    """
    values = len(task.prior.normaliser.names) * math.prod(task.shown.shape)
    kept = 0 if task.wish.keep == "members" else task.wish.members
    needed = values * (BYTES * kept + WORK)
    hint = "Give fewer --members, --keep members, or a smaller region with --bbox."
    check_room(needed, f"{task.wish.members} members of one step take", hint, share=0.8)


def template_of(task: Task) -> xr.Dataset:
    """Return the output's structure: every variable with its axes, and no values yet."""
    check_members(task)
    empty = np.zeros((len(task.prior.normaliser.names), *task.shown.shape), np.float32)
    ensemble, keep = task.wish.members > 0, task.wish.keep
    parts = []
    if not ensemble or keep != "stats":
        parts.append(labelled(task, empty, 0, 0 if ensemble else None))
    if ensemble and keep != "members":
        kinds = statistics(empty[None], task.wish.quantiles)
        parts += [labelled(task, empty, 0, statistic=name) for name in kinds]
    whole = lazily(xr.merge(parts), task.coarse, task.wish.members)
    return whole.assign_attrs(task.coarse.attrs)


def statistics(
    members: NDArray[np.float32], quantiles: Sequence[int] = Wish.quantiles
) -> dict[str, NDArray[Any]]:
    """Return mean, spread (ddof 1, missing for one member) and percentiles over the first axis."""
    lone = len(members) == 1
    spread = np.full_like(members[0], np.nan) if lone else members.std(0, dtype=float, ddof=1)
    names = [f"p{q}" for q in quantiles]
    found = np.percentile(members, list(quantiles), axis=0)
    moments = {"mean": members.mean(0, dtype=float), "spread": spread}
    return moments | dict(zip(names, found, strict=True))


def lazily(first: xr.Dataset, coarse: xr.Dataset, members: int) -> xr.Dataset:
    """Return the structure of all steps and members, from that of the first."""
    sizes = {"time": coarse.sizes.get("time", 1), "realization": members}
    out = {}
    for name, array in first.data_vars.items():
        shape = [sizes.get(str(d), n) for d, n in array.sizes.items()]
        chunks = [1 if d in sizes else n for d, n in array.sizes.items()]
        values = dask.array.zeros(shape, dtype=np.float32, chunks=chunks)
        out[name] = xr.DataArray(values, dims=array.dims, attrs=array.attrs)
    coords: dict[str, Any] = {axis: first[axis] for axis in ("lat", "lon")}
    if "realization" in first.dims:
        coords["realization"] = np.arange(members)
    for name in ("time", "time_bnds"):
        if name in coarse.variables:
            coords[name] = coarse[name].load()
    return xr.Dataset(out, coords)
