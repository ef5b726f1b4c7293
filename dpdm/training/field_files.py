"""Read the files of a training on fields: series, static fields, and the cells that blocks fill.

Variables may be spread over files, as the Climate Data Store gives them: instantaneous means in
one file, accumulations in another, stamped six hours apart. Files are joined by what their steps
stand for, and constant fields among them (geopotential, land fraction) are static fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.read import join_opened, open_each, open_fields
from dpdm.fields.statics import constant_statics, make_statics
from dpdm.fields.time_axis import select_with_bounds
from dpdm.fields.value_checks import common_missing_codes, load_checked_fields
from dpdm.system import check_field_memory
from dpdm.training import TrainingFiles


@dataclass(frozen=True)
class OpenedFiles:
    """Files of a training, opened.

    Attributes:
        series: Files with variables to train on.
        paths: Their paths.
        statics: Static fields found in the files.
        notes: What was done with variables and files, for the user.
    """

    series: list[xr.Dataset]
    paths: list[Path]
    statics: list[xr.Dataset]
    notes: list[str]


def load_series(
    paths: Sequence[Path], sources: TrainingFiles
) -> tuple[xr.Dataset, xr.Dataset | None, list[str]]:
    """Load the fields of some files, checked, if they fit into memory.

    Returns:
        The fields, the static fields found in the files, and notes for the user.
    """
    opened = open_each(paths, None, sources.rename, sources.units, None, sources.missing)
    found = separate_statics(opened, paths)
    order = chronological_order(found.series)
    series, names = [found.series[i] for i in order], [found.paths[i] for i in order]
    fields = join_opened(series, names, tuple(sources.rename), common_times=True)
    notes = found.notes + describe_omitted_steps(series, names, fields)
    check_field_memory(fields)
    return load_checked_fields(fields), merge_statics(found.statics), notes


def separate_statics(opened: Sequence[xr.Dataset], paths: Sequence[Path]) -> OpenedFiles:
    """Separate static fields from variables; files of one step with statics hold no variable."""
    out = OpenedFiles([], [], [], [])
    longest = max(ds.sizes.get("time", 1) for ds in opened)
    for ds, path in zip(opened, paths, strict=True):
        names = constant_statics(ds)
        rest = ds.drop_vars(names)
        if names:
            out.statics.append(ds[names].assign_attrs(source=str(path)))
        if names and rest.sizes.get("time", 1) == 1 < longest and rest.data_vars:
            unused = ", ".join(map(str, rest.data_vars))
            out.notes.append(f"not used: {unused} of {path.name}, a file of static fields")
        elif rest.data_vars:
            out.series.append(rest)
            out.paths.append(path)
    if not out.series:
        raise DpdmError(
            f"{', '.join(map(str, paths))} hold static fields only.", "Add a series to train on."
        )
    return out


def chronological_order(series: Sequence[xr.Dataset]) -> list[int]:
    """Return the order of files by time; files of other variables remain behind the first ones."""
    kinds = [tuple(sorted(map(str, ds.data_vars))) for ds in series]
    starts = [str(ds["time"].values[0]) if "time" in ds.dims else "" for ds in series]
    return sorted(range(len(series)), key=lambda i: (kinds.index(kinds[i]), starts[i], i))


def describe_omitted_steps(
    series: Sequence[xr.Dataset], paths: Sequence[Path], fields: xr.Dataset
) -> list[str]:
    """Name the steps of files that other variables do not have."""
    totals: dict[tuple[str, ...], int] = {}
    for ds in series:
        kind = tuple(map(str, ds.data_vars))
        totals[kind] = totals.get(kind, 0) + ds.sizes.get("time", 1)
    count = fields.sizes.get("time", 1)
    return [
        f"not used: {total - count} of {total} steps of {', '.join(kind)}, which the other "
        "variables do not have"
        for kind, total in totals.items()
        if total > count
    ]


def merge_statics(found: Sequence[xr.Dataset]) -> xr.Dataset | None:
    """Return the static fields of several files as one dataset, or None without any."""
    if not found:
        return None
    first = found[0]
    for other in found[1:]:
        if not grid_of(other).is_same(grid_of(first)):
            raise DpdmError(
                f"The static fields of {first.attrs['source']} and of {other.attrs['source']} "
                "lie on different grids.",
                "Give them on one grid, or in one file with --statics.",
            )
    fields: dict[Any, xr.DataArray] = {}
    for ds in found:
        flat = ds.isel(time=0, drop=True) if "time" in ds.dims else ds
        for name, array in flat.data_vars.items():
            fields.setdefault(name, array.assign_coords(first[["lat", "lon"]].coords))
    merged = xr.Dataset(fields)
    merged.encoding = {"source": ", ".join(ds.attrs["source"] for ds in found)}
    return merged


def load_statics(
    sources: TrainingFiles, grid: Grid, found: xr.Dataset | None = None
) -> xr.Dataset:
    """Return topography and land fraction on a grid.

    They are those of ``--statics`` if given, else those ``found`` in the series, else the bundled.
    """
    own = found
    if sources.statics is not None:
        own = open_fields(sources.statics, missing=common_missing_codes(sources.missing))
    return make_statics(grid, own)[["topography", "land_fraction"]]


def describe_statics(sources: TrainingFiles, found: xr.Dataset | None) -> str:
    """Name the static fields that are used."""
    if sources.statics is not None:
        return f"statics: {sources.statics}"
    if found is None:
        return "statics: those bundled with dpdm"
    return f"statics: {' and '.join(map(str, found.data_vars))} of {found.encoding['source']}"


def match_fields(
    fine: xr.Dataset, coarse: xr.Dataset | None
) -> tuple[xr.Dataset, xr.Dataset | None]:
    """Return the times and variables that fine and coarse fields have in common."""
    if coarse is None:
        return fine, None
    names = [n for n in fine.data_vars if n in coarse]
    times = np.intersect1d(fine["time"].values, coarse["time"].values)
    if not names or not len(times):
        raise DpdmError(
            f"The fine and the coarse files share {len(names)} variables and {len(times)} times.",
            "Give the same variables at the same time stamps in both.",
        )
    if not grid_of(coarse).covers(grid_of(fine)):
        raise DpdmError("The fine grid reaches beyond the coarse one.", "Cut the fine files.")
    both = (select_with_bounds(each, names).sel(time=times) for each in (fine, coarse))
    return next(both), next(both)


def check_training_factor(factor: tuple[int, int], grid: Grid) -> None:
    """Refuse a factor that leaves fewer than two blocks along an axis."""
    if 2 * factor[1] > min(grid.shape):
        height, width = grid.shape
        raise DpdmError(
            f"A factor of {factor[1]} leaves less than two blocks of {height} by {width} cells.",
            "Give a smaller --factor, or fields of a larger region.",
        )


def training_factor(fine: xr.Dataset, coarse: xr.Dataset | None) -> tuple[int, int]:
    """Return the ratio of coarse to fine spacing, as the one factor of training."""
    if coarse is None:
        raise DpdmError("Neither a factor nor coarse files were given.", "Give --factor 10.")
    found = round(
        float(np.sqrt(np.prod(grid_of(coarse).spacing) / np.prod(grid_of(fine).spacing)))
    )
    return found, found


def cut_to_blocks(fine: xr.Dataset, factor: tuple[int, int]) -> tuple[xr.Dataset, list[str]]:
    """Cut the rows and columns that do not fill a block of a single factor, and name them.

    Blocks of a range of factors start anywhere, and so do those of cyclic columns: nothing is cut.
    """
    grid, (least, most) = grid_of(fine), factor
    if least != most:
        return fine, []
    rows, columns = grid.shape[0] % most, 0 if grid.cyclic else grid.shape[1] % most
    if not rows and not columns:
        return fine, []
    count, (height, width) = f"{grid.shape[0]} x {grid.shape[1]}", grid.shape
    counts = {"northern row": rows, "eastern column": columns}
    edges = [f"{n} {name}{'s' * (n > 1)}" for name, n in counts.items() if n]
    note = (
        f"not used: the {' and '.join(edges)} of {count} cells, which do not fill a block of "
        f"{most} x {most}; a range, as --factor {max(2, most - 2)}-{most + 2}, uses all"
    )
    return fine.isel(lat=slice(height - rows), lon=slice(width - columns)), [note]
