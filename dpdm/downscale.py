"""A coarse file in, an ensemble of fine fields out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.draw import Posterior
from dpdm.fields.cf import finish
from dpdm.fields.store import sha256
from dpdm.fields.units import from_canonical
from dpdm.fields.write import Writer, check_output
from dpdm.prior import find, load
from dpdm.task import Task, Wish, label_of, plan

Report = Callable[[int, int], None]
QUANTILES = (10, 50, 90)
METHODS = {50: "median"}  # the only percentile that CF has a cell method for
STATISTICS = {
    "mean": ("mean", "mean over the ensemble of"),
    "spread": ("standard_deviation", "standard deviation over the ensemble of"),
    **{f"p{q}": (METHODS.get(q, ""), f"{q}th percentile over the ensemble of") for q in QUANTILES},
}


def downscale(
    coarse: Path,
    fine: Path,
    prior: str = "default",
    wish: Wish = Wish(),
    grid: Path | None = None,
    own_statics: Path | None = None,
    overwrite: bool = False,
    report: Report = lambda done, total: None,
) -> None:
    """Write the fine ensemble of a coarse file, step by step, whole or not at all.

    Raises:
        DpdmError: When input, target, prior or output do not fit each other.
    """
    check_output(fine, [p for p in (coarse, grid, own_statics) if p], overwrite)
    path = find(prior)
    task = plan(coarse, load(path), wish, grid, own_statics)
    what = "Fine fields" if wish.members else "Mean of the infinite ensemble of fine fields"
    title = f"{what} downscaled from {coarse.name} with the prior {path.stem}"
    template = finish(template_of(task), title, provenance(task, path, coarse), wish.history)
    with Writer(fine, template, overwrite) as writer:
        done, total = 0, max(1, task.wish.members) * task.steps
        for step in range(task.steps):
            for block in results(task, step):
                writer.write(block)
                done += 1
                report(min(done, total), total)


def provenance(task: Task, prior: Path, coarse: Path) -> dict[str, str]:
    """Return what the output was made from; a mean knows neither seed nor sampler."""
    made = {
        "prior": prior.stem,
        "prior_sha256": sha256(prior),
        "input": coarse.name,
        "input_sha256": sha256(coarse),
        "consistent": str(task.wish.consistent).lower(),
    }
    if not task.wish.members:
        return made
    return made | {
        "seed": str(task.wish.seed),
        "members": str(task.wish.members),
        "sampler": task.how.sampler,
        "steps": str(task.how.steps),
    }


def results(task: Task, step: int) -> Iterator[xr.Dataset]:
    """Yield one step's results: the mean alone, or every member and then the statistics."""
    posterior = Posterior(task.prior, task.given(step), task.how)
    lost = posterior.given.lerp.isnan().numpy()
    if not task.wish.members:
        yield labelled(task, np.where(lost, np.nan, posterior.expectation()), step)
        return
    kept = []
    numbers, label = range(task.wish.members), label_of(task.coarse, step)
    for number, drawn in enumerate(posterior.members(numbers, task.wish.seed, label)):
        member = np.where(lost, np.nan, drawn).astype(np.float32)
        if task.wish.keep != "members":
            kept.append(member)
        yield labelled(task, member, step, number) if task.wish.keep != "stats" else xr.Dataset()
    if kept:
        found = statistics(np.stack(kept)).items()
        yield xr.merge([labelled(task, values, step, statistic=name) for name, values in found])


def labelled(
    task: Task, fields: NDArray[Any], step: int, member: int | None = None, statistic: str = ""
) -> xr.Dataset:
    """Return physical fields (C, H, W), labelled, in the units of the input."""
    coords: dict[str, Any] = dict(task.grid.coords())
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
    method, words = STATISTICS[statistic]
    attrs = {"long_name": f"{words} {array.attrs.get('long_name', array.name)}"}
    if method:
        before = str(array.attrs.get("cell_methods", ""))
        attrs["cell_methods"] = f"{before} realization: {method}".strip()
    else:
        attrs["comment"] = "Percentile over realization, linear between members."
    return array.assign_attrs(attrs)


def template_of(task: Task) -> xr.Dataset:
    """Return the output's structure: every variable with its axes, and no values yet."""
    empty = np.zeros((len(task.prior.normaliser.names), *task.grid.shape), np.float32)
    ensemble, keep = task.wish.members > 0, task.wish.keep
    parts = []
    if not ensemble or keep != "stats":
        parts.append(labelled(task, empty, 0, 0 if ensemble else None))
    if ensemble and keep != "members":
        parts += [labelled(task, empty, 0, statistic=name) for name in STATISTICS]
    whole = lazily(xr.merge(parts), task.coarse, task.wish.members)
    return whole.assign_attrs(task.coarse.attrs)


def statistics(members: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Return mean, spread (ddof 1, missing for one member) and quantiles over the first axis."""
    quantiles = np.percentile(members, QUANTILES, axis=0)
    lone = len(members) == 1
    spread = np.full_like(members[0], np.nan) if lone else members.std(0, dtype=float, ddof=1)
    found = [members.mean(0, dtype=float), spread, *quantiles]
    return dict(zip(STATISTICS, found, strict=True))


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
